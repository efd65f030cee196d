"""What is known of a box now, what signals it has, and its minute roll-ups."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
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
from backend.api.paging import Page, Paging
from backend.api.ranges import FromTime, ToTime, checked_range
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime, optional_time
from backend.api.trace_formats import precision_name
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.batch_time import TimeSource
from backend.domain.rollup import MINUTE_US, MinutePart
from backend.store.batches import DecodeState
from backend.store.dictionaries import DeviceSignal, list_signals
from backend.store.latest import LatestFix, load_fix
from backend.usecases.query_state import CurrentValue, read_freshness, read_latest, read_rollups
from protocol.dictionary import RawType
from protocol.limits import ROLLUP_RANGE_US_MAX, TRACE_SIGNALS_MAX

router = APIRouter(tags=["telemetry"])

SignalNames = Annotated[
    str | None,
    Query(
        description=f"Names, separated by commas, at most {TRACE_SIGNALS_MAX}: catalogue paths or "
        "`bus.Message.Signal`. Left out: all.",
        examples=["Vehicle.Speed,pt.ENGINE.Rpm"],
        max_length=65_536,
    ),
]

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


def names_of(signals: str | None) -> frozenset[str] | None:
    """Return the names in a `signals` parameter; None for all."""
    return None if signals is None else frozenset(name for name in signals.split(",") if name)


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


class SignalOut(BaseModel):
    """One signal of a box, as its dictionary announced it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "signal": "Vehicle.Speed",
                    "full_name": "pt.WHEELS.Speed",
                    "path": "Vehicle.Speed",
                    "bus": "pt",
                    "message": "WHEELS",
                    "unit": "km/h",
                    "raw_type": "uint",
                    "bits": 16,
                    "scale": 0.01,
                    "offset": 0,
                }
            ]
        }
    )

    signal: str = Field(description="How traces name it: the path if mapped, else the full name.")
    full_name: str = Field(description="`bus.Message.Signal`.")
    path: str | None = Field(description="Catalogue path (VSS), if mapped.")
    bus: str = Field(description="The bus it is received on.")
    message: str = Field(description="Its message in the DBC.")
    unit: str | None = Field(description="Unit of the physical value.")
    raw_type: str = Field(description="`uint`, `int`, `float32`, `float64`.")
    bits: int = Field(description="Width on the bus.")
    scale: int | float = Field(description="physical = raw * scale + offset.")
    offset: int | float = Field(description="See scale.")

    @classmethod
    def of(cls, row: DeviceSignal) -> Self:
        """Show a row."""
        kind = row.column.raw_type
        return cls(
            signal=row.name,
            full_name=row.full_name,
            path=row.column.path,
            bus=row.bus,
            message=row.message,
            unit=row.column.unit,
            raw_type=kind.name.lower() if isinstance(kind, RawType) else f"unknown {kind}",
            bits=row.column.bits,
            scale=row.column.scale,
            offset=row.column.offset,
        )


@router.get(
    "/devices/{device_id}/signals",
    summary="Signals of a box",
    dependencies=[allow(Permission.TELEMETRY_READ)],
)
def read_signals(
    device: OwnDevice, caller: CurrentCaller, session: ReadSession, paging: Paging
) -> Page[SignalOut]:
    """Return every signal the box has announced, by name."""
    scope = f"signals:{device.device_id}"
    after = paging.after(scope, str, int)
    rows = list_signals(session, org_id=caller.org_id, device_id=device.device_id)
    last = None if after is None else (str(after[0]), int(after[1]))
    later = [row for row in rows if last is None or (row.name, row.signal_ref) > last]
    return paging.page(
        later[: paging.limit + 1],
        scope=scope,
        key=lambda row: [row.name, row.signal_ref],
        show=SignalOut.of,
    )


class RollupOut(BaseModel):
    """One signal's minute."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "minute": "2026-11-24T08:00:00Z",
                    "signal": "Vehicle.Speed",
                    "unit": "km/h",
                    "count": 600,
                    "min": 41.0,
                    "max": 43.5,
                    "mean": 42.2,
                    "last": 42.5,
                    "last_at": EXAMPLE_TIME,
                }
            ]
        }
    )

    minute: UtcTime
    signal: str = Field(description="Its name.")
    unit: str | None = Field(description="Its unit.")
    count: int = Field(description="Values in this minute.")
    min: float = Field(description="Smallest.")
    max: float = Field(description="Largest.")
    mean: float = Field(description="Mean of the values.")
    last: float = Field(description="Latest.")
    last_at: UtcTime

    @classmethod
    def of(cls, row: tuple[DeviceSignal, MinutePart]) -> Self:
        """Show a row."""
        signal, part = row
        return cls(
            minute=to_datetime(part.minute * MINUTE_US),
            signal=signal.name,
            unit=signal.column.unit,
            count=part.count,
            min=part.least,
            max=part.most,
            mean=part.mean(signal.column),
            last=part.last,
            last_at=to_datetime(part.last_us),
        )


@router.get(
    "/devices/{device_id}/rollups",
    summary="Minute roll-ups of a box",
    dependencies=[allow(Permission.TELEMETRY_READ)],
)
def read_minutes(
    device: OwnDevice,
    caller: CurrentCaller,
    session: ReadSession,
    paging: Paging,
    begin: FromTime,
    end: ToTime,
    signals: SignalNames = None,
) -> Page[RollupOut]:
    """Return count, smallest, largest, mean and last value of each minute that begins in [from, to)."""
    wanted = checked_range(begin, end, longest_us=ROLLUP_RANGE_US_MAX)
    scope = f"rollups:{device.device_id}:{wanted.from_us}:{wanted.to_us}:{signals}"
    after = paging.after(scope, int, int)
    rows = read_rollups(
        session,
        org_id=caller.org_id,
        device_id=device.device_id,
        from_us=wanted.from_us,
        to_us=wanted.to_us,
        signals=names_of(signals),
        after=None if after is None else (int(after[0]), int(after[1])),
        limit=paging.limit + 1,
    )
    return paging.page(
        rows, scope=scope, key=lambda row: [row[1].minute, row[0].signal_ref], show=RollupOut.of
    )
