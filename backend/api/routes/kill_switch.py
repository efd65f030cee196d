"""The organisation's kill switch: no restrictive order is taken, approved or sent while it is on."""

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import JSONResponse

from backend.api.deps import CurrentCaller, NowUs, ReadSession, allow
from backend.api.idempotency import Repeated
from backend.api.openapi import problems
from backend.api.schemas import EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.store.order_outbox import KillSwitch, kill_switch_of
from backend.usecases.turn_kill_switch import turn_kill_switch

router = APIRouter(tags=["orders"])

_EXAMPLE: dict[str, JsonValue] = {"on": True, "reason": "a list was imported twice"}


class KillSwitchIn(BaseModel):
    """How it is to stand."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    on: bool = Field(description="True stops restrictive orders; releases never look at it.")
    reason: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", description="Why.")


class KillSwitchOut(BaseModel):
    """How it stands."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE | {"at": EXAMPLE_TIME, "by": "0123456789ab"}]}
    )

    on: bool = Field(description="Whether restrictive orders are stopped.")
    reason: str | None = Field(description="Why it was turned last.")
    by: str | None = Field(description="The API key that turned it last.")
    at: Annotated[UtcTime | None, Field(description="When; null when it never was.")]

    @classmethod
    def of(cls, row: KillSwitch | None) -> Self:
        """Show a row, or that there is none."""
        if row is None:
            return cls(on=False, reason=None, by=None, at=None)
        return cls(on=row.is_on, reason=row.reason, by=row.key_id, at=to_datetime(row.at_us))


@router.post(
    "/kill-switch",
    summary="Turn the kill switch",
    response_model=KillSwitchOut,
    responses=problems(409),
    dependencies=[allow(Permission.KILL_SWITCH)],
)
def post_kill_switch(
    asked: KillSwitchIn, caller: CurrentCaller, repeated: Repeated, now_us: NowUs
) -> JSONResponse:
    """Stop all restrictive orders of the organisation, or let them go on. Both stand in the log."""
    return repeated.answer(
        200,
        KillSwitchOut.of,
        lambda: turn_kill_switch(
            repeated.session, caller=caller, is_on=asked.on, reason=asked.reason, now_us=now_us
        ),
    )


@router.get("/kill-switch", summary="Show the kill switch", dependencies=[allow(Permission.ORDER_READ)])
def read_kill_switch(caller: CurrentCaller, session: ReadSession) -> KillSwitchOut:
    """Return how the organisation's kill switch stands."""
    return KillSwitchOut.of(kill_switch_of(session, org_id=caller.org_id))
