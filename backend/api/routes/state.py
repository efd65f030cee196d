"""What is known of a box now."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backend.api.deps import (
    CurrentCaller,
    NowUs,
    OwnDevice,
    PositionAccess,
    ReadSession,
    allow,
)
from backend.api.openapi import problems
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime, optional_time
from backend.api.trace_formats import precision_name
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.batch_time import TimeSource
from backend.store.batches import DecodeState
from backend.store.latest import LatestFix, load_fix
from backend.usecases.query_state import CurrentValue, read_freshness, read_latest

router = APIRouter(tags=["telemetry"])

_VALUE_EXAMPLE: dict[str, JsonValue] = {
    "signal": "Vehicle.Speed",
    "value": 42.5,
    "unit": "km/h",
    "time": EXAMPLE_TIME,
    "age_s": 12.5,
    "clock": "device",
}
_POSITION_EXAMPLE: dict[str, JsonValue] = {
    "lat_deg": 48.1,
    "lon_deg": 11.6,
    "alt_m": 520.1,
    "speed_m_s": 11.8,
    "course_deg": 271.5,
    "precision": "exact",
    "time": EXAMPLE_TIME,
    "age_s": 12.5,
    "clock": "device",
}


def clock_name(source: TimeSource) -> str:
    """Return where a time comes from: `device`, `inferred` or `unknown`."""
    return source.name.lower()


class ValueOut(BaseModel):
    """One signal's latest value."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VALUE_EXAMPLE]})

    signal: str = Field(description="Catalogue path if mapped, else `bus.Message.Signal`.")
    value: int | float | None = Field(description="Physical value; null when it is no number.")
    unit: str | None = Field(description="Its unit.")
    time: UtcTime
    age_s: float = Field(description="Seconds since then; a value without its age would pass for live.")
    clock: str = Field(description="`device`: the box's clock. `inferred`: from a later batch of its boot.")

    @classmethod
    def of(cls, current: CurrentValue, *, now_us: int) -> Self:
        """Show a value."""
        return cls(
            signal=current.signal.name,
            value=current.value,
            unit=current.signal.column.unit,
            time=to_datetime(current.utc_us),
            age_s=(now_us - current.utc_us) / 1_000_000,
            clock=clock_name(current.source),
        )


class PositionOut(BaseModel):
    """A box's latest position."""

    model_config = ConfigDict(json_schema_extra={"examples": [_POSITION_EXAMPLE]})

    lat_deg: float = Field(description="Latitude, WGS 84, degrees.")
    lon_deg: float = Field(description="Longitude, degrees.")
    alt_m: float | None = Field(description="Altitude above mean sea level, metres.")
    speed_m_s: float | None = Field(description="Speed over ground, metres a second.")
    course_deg: float | None = Field(description="Course over ground, degrees from true north.")
    precision: str = Field(description="How exact it was recorded: `exact`, `cell`, `in_out`.")
    time: UtcTime
    age_s: float = Field(description="Seconds since then. It is never repeated as if it were live.")
    clock: str = Field(description="Where its time comes from.")

    @classmethod
    def of(cls, latest: LatestFix, *, now_us: int) -> Self:
        """Show a fix that has a position."""
        fix = latest.fix
        assert fix.lat_e7 is not None
        assert fix.lon_e7 is not None
        return cls(
            lat_deg=fix.lat_e7 / 10_000_000,
            lon_deg=fix.lon_e7 / 10_000_000,
            alt_m=None if fix.alt_mm is None else fix.alt_mm / 1_000,
            speed_m_s=None if fix.speed_mm_s is None else fix.speed_mm_s / 1_000,
            course_deg=None if fix.course_cdeg is None else fix.course_cdeg / 100,
            precision=precision_name(latest.precision),
            time=to_datetime(latest.utc_us),
            age_s=(now_us - latest.utc_us) / 1_000_000,
            clock=clock_name(latest.time_source),
        )


class StateOut(BaseModel):
    """What is known of a box now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "device": EXAMPLE_DEVICE,
                    "as_of": EXAMPLE_TIME,
                    "last_received_at": EXAMPLE_TIME,
                    "signals": [_VALUE_EXAMPLE],
                    "position": _POSITION_EXAMPLE,
                    "position_note": None,
                    "batches": {"done": 812, "untimed": 1},
                }
            ]
        }
    )

    device: str = Field(description="Device id.")
    as_of: UtcTime
    last_received_at: datetime | None = Field(description="When the last batch arrived.")
    signals: list[ValueOut] = Field(description="Latest value of every signal, by name.")
    position: PositionOut | None = Field(description="Latest position, with the header `Access-Purpose`.")
    position_note: str | None = Field(description="Why there is no position.")
    batches: dict[str, int] = Field(
        description="Stored batches by state: `done`, `pending`, `undecodable` (dictionary missing), "
        "`untimed` (clock unknown), `unreadable`."
    )


@router.get(
    "/devices/{device_id}/state",
    summary="Latest state of a box",
    dependencies=[allow(Permission.TELEMETRY_READ)],
    responses=problems(400),
)
def read_state(
    device: OwnDevice,
    caller: CurrentCaller,
    session: ReadSession,
    positions: PositionAccess,
    now_us: NowUs,
) -> StateOut:
    """Return latest values with unit, time and age. The position needs `Access-Purpose`, and is logged."""
    scope = {"org_id": caller.org_id, "device_id": device.device_id}
    position: PositionOut | None = None
    note: str | None = "send the header Access-Purpose to read it; the read is logged"
    if positions.purpose is not None:
        positions.record(device_id=device.device_id, subject="state", from_us=None, to_us=None)
        latest = load_fix(session, **scope)
        position = None if latest is None else PositionOut.of(latest, now_us=now_us)
        note = None if position is not None else "the box has sent no position"
    freshness = read_freshness(session, **scope)
    return StateOut(
        device=device.device_id,
        as_of=to_datetime(now_us),
        last_received_at=optional_time(freshness.last_received_us),
        signals=[ValueOut.of(value, now_us=now_us) for value in read_latest(session, **scope)],
        position=position,
        position_note=note,
        batches={state.name.lower(): freshness.states.get(state, 0) for state in DecodeState},
    )
