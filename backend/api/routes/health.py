"""Is the server able to work: database and migrations. Open, and says nothing about content."""

import logging
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError

from backend.api.deps import CurrentServices
from backend.api.problems import DATABASE_BUSY, ProblemError
from backend.store.migrate import status

LOG = logging.getLogger(__name__)

router = APIRouter(tags=["server"])


class HealthOut(BaseModel):
    """State of the server."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ok", "database": "ok", "migration": "0001", "wanted": "0001"}]
        }
    )

    status: Literal["ok", "outdated"] = Field(description="`outdated`: run `tbox backend migrate`.")
    database: Literal["ok"] = Field(description="The database answered.")
    migration: str | None = Field(description="Migration the database is at.")
    wanted: str = Field(description="Migration this program needs.")


@router.get("/health", summary="Is the server able to work")
def read_health(services: CurrentServices) -> HealthOut:
    """Ask the database for its migration and compare it with the program's. Needs no key."""
    try:
        found = status(services.database)
    except SQLAlchemyError as down:
        LOG.warning("health: database does not answer cause=%s", type(down).__name__)
        raise ProblemError(DATABASE_BUSY) from down
    return HealthOut(
        status="ok" if found.is_current else "outdated",
        database="ok",
        migration=found.current,
        wanted=found.head,
    )
