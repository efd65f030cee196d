"""Who read exact positions, of which box, when and what for."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from backend.api.deps import CurrentCaller, ReadSession, allow
from backend.api.paging import Page, Paging
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.domain.access import Permission, Purpose, Role
from backend.store.access_log import AccessLogEntry, list_access

router = APIRouter(tags=["devices"])

_SCOPE = "access-log"


class AccessOut(BaseModel):
    """One read of exact positions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "at": EXAMPLE_TIME,
                    "device": EXAMPLE_DEVICE,
                    "key_id": "0123456789ab",
                    "role": "operator",
                    "purpose": "theft-report",
                    "subject": "fixes",
                    "from": EXAMPLE_TIME,
                    "to": None,
                }
            ]
        },
        serialize_by_alias=True,
    )

    at: UtcTime
    device: str = Field(description="Device id of the box.")
    key_id: str = Field(description="Key that read.")
    role: Role = Field(description="Its role at that time.")
    purpose: Purpose = Field(description="What for.")
    subject: str = Field(description="What was read.")
    from_: datetime | None = Field(alias="from", description="Start of the range; null when open.")
    to: datetime | None = Field(description="End of the range; null when open.")

    @classmethod
    def of(cls, row: AccessLogEntry) -> Self:
        """Show a row."""
        return cls.model_validate(
            {
                "at": to_datetime(row.at_us),
                "device": row.device_id,
                "key_id": row.key_id,
                "role": row.role,
                "purpose": row.purpose,
                "subject": row.subject,
                "from": optional_time(row.from_us),
                "to": optional_time(row.to_us),
            }
        )


@router.get(
    "/access-log", summary="List reads of exact positions", dependencies=[allow(Permission.ACCESS_LOG_READ)]
)
def read_access_log(caller: CurrentCaller, session: ReadSession, paging: Paging) -> Page[AccessOut]:
    """Return who of the organisation read exact positions, oldest first."""
    rows = list_access(
        session, org_id=caller.org_id, after=paging.after_number(_SCOPE), limit=paging.limit + 1
    )
    return paging.page(rows, scope=_SCOPE, key=lambda row: [row.entry_id or 0], show=AccessOut.of)
