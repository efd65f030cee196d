"""The signals of a box, and their minute roll-ups."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from backend.api.deps import CurrentCaller, OwnDevice, ReadSession, allow
from backend.api.paging import Page, Paging
from backend.api.problems import INVALID_REQUEST, UNKNOWN_SIGNAL, ProblemError
from backend.api.ranges import FromTime, ToTime, checked_range
from backend.api.schemas import EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.rollup import MINUTE_US, MinuteValues
from backend.store.devices import Device
from backend.store.dictionaries import DeviceSignal, list_signals
from backend.usecases.query_state import read_rollups
from backend.usecases.query_trace import find_unknown_signals
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


_NAMES_SHOWN = 10  # an answer repeats no more of a question than helps to find the mistake
_NAME_CHARS_SHOWN = 100


def checked_names(signals: str | None, *, session: Session, device: Device) -> frozenset[str] | None:
    """Return the names in a `signals` parameter; None for all.

    Raises:
        ProblemError: INVALID_REQUEST for none or for more than TRACE_SIGNALS_MAX; UNKNOWN_SIGNAL for a name
            that no signal of the box has.
    """
    if signals is None:
        return None
    names = frozenset(name for name in signals.split(",") if name)
    if not names:
        raise ProblemError(INVALID_REQUEST, "`signals` names none; leave it out for all")
    if len(names) > TRACE_SIGNALS_MAX:
        raise ProblemError(INVALID_REQUEST, f"at most {TRACE_SIGNALS_MAX} signals at once")
    unknown = find_unknown_signals(session, org_id=device.org_id, device_id=device.device_id, names=names)
    if unknown:
        shown = ", ".join(name[:_NAME_CHARS_SHOWN] for name in unknown[:_NAMES_SHOWN])
        raise ProblemError(UNKNOWN_SIGNAL, f"{shown}: see /v1/devices/{device.device_id}/signals")
    return names


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
    raw_type: str = Field(description="`uint`, `int`, `float16`, `float32`, `float64`.")
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
    def of(cls, row: tuple[DeviceSignal, MinuteValues]) -> Self:
        """Show a row."""
        signal, minute = row
        return cls(
            minute=to_datetime(minute.minute * MINUTE_US),
            signal=signal.name,
            unit=signal.column.unit,
            count=minute.count,
            min=minute.least,
            max=minute.most,
            mean=minute.mean,
            last=minute.last,
            last_at=to_datetime(minute.last_us),
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
        signals=checked_names(signals, session=session, device=device),
        after=None if after is None else (int(after[0]), int(after[1])),
        limit=paging.limit + 1,
    )
    return paging.page(
        rows, scope=scope, key=lambda row: [row[1].minute, row[0].signal_ref], show=RollupOut.of
    )
