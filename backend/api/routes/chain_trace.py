"""The trace of a box by place in a chain: also for batches whose time is unknown."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.api.deps import CurrentCaller, OwnDevice, ReadSession, allow
from backend.api.paging import Paging, encode_cursor
from backend.api.problems import CHAIN_NOT_FOUND, ProblemError
from backend.api.routes.signals import SignalNames, checked_names
from backend.api.routes.state import clock_name
from backend.api.trace_formats import iso_us
from backend.domain.access import Permission
from backend.domain.batch_time import TimeSource
from backend.domain.trace import TraceRows
from backend.store.batches import StoredBatch
from backend.store.chains import find_chain
from backend.usecases.query_trace import read_chain
from protocol.limits import SEQ_MAX

router = APIRouter(tags=["telemetry"])


class ChainSampleOut(BaseModel):
    """One value at one place of a chain."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "seq": 7,
                    "boot": "b0" * 16,
                    "mono_us": 61_000_000,
                    "time": None,
                    "signal": "Vehicle.Speed",
                    "value": 42.5,
                    "unit": "km/h",
                    "clock": "unknown",
                }
            ]
        }
    )

    seq: int = Field(description="The batch's number.")
    boot: str = Field(description="The agent's life whose monotonic clock this is, hex.")
    mono_us: int = Field(description="Monotonic time in that boot, µs.")
    time: datetime | None = Field(description="UTC, or null while it is unknown.")
    signal: str = Field(description="Catalogue path if mapped, else `bus.Message.Signal`.")
    value: int | float | None = Field(description="Physical value; null when it is no number.")
    unit: str | None = Field(description="Its unit.")
    clock: str = Field(description="`device`, `inferred` or `unknown`.")


class ChainTracePage(BaseModel):
    """A page of values by place in a chain."""

    items: list[ChainSampleOut] = Field(description="By batch, then time, then name.")
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


ChainPath = Annotated[
    str, Path(pattern="^[0-9a-f]{32}$", description="Chain id, 32 hex digits.", examples=["01" * 16])
]


@router.get(
    "/devices/{device_id}/chains/{chain}/trace",
    summary="Trace of a box by place in a chain",
    dependencies=[allow(Permission.TELEMETRY_READ)],
    response_model=ChainTracePage,
)
def read_trace_by_chain(
    *,
    device: OwnDevice,
    caller: CurrentCaller,
    session: ReadSession,
    paging: Paging,
    chain: ChainPath,
    first: Annotated[int, Query(ge=1, le=SEQ_MAX, description="First batch.")] = 1,
    last: Annotated[int, Query(ge=1, le=SEQ_MAX, description="Last batch.")] = SEQ_MAX,
    signals: SignalNames = None,
) -> Response:
    """Return the values of batches first … last of a chain, also of those whose time is unknown."""
    names = checked_names(signals, session=session, device=device)
    ask = {"org_id": caller.org_id, "device_id": device.device_id}
    chain_id = bytes.fromhex(chain)
    if find_chain(session, chain=chain_id, **ask) is None:
        raise ProblemError(CHAIN_NOT_FOUND)
    scope = f"chain:{device.device_id}:{chain}:{first}:{last}:{signals}"
    after = paging.after(scope, int, int)
    at, skip = (first, 0) if after is None else (int(after[0]), int(after[1]))
    placed = _placed(
        read_chain(session, chain=chain_id, first=max(at, first), last=last, signals=names, **ask)
    )
    shown = list(islice(placed, max(skip, 0), max(skip, 0) + paging.limit + 1))
    cursor = None
    if len(shown) > paging.limit:
        seq, row, _ = shown[paging.limit - 1]
        cursor = encode_cursor(scope, [seq, row + 1])
    return JSONResponse({"items": [item for *_, item in shown[: paging.limit]], "next_cursor": cursor})


def _placed(
    batches: Iterator[tuple[StoredBatch, TraceRows]],
) -> Iterator[tuple[int, int, dict[str, object]]]:
    """Yield (seq, row within the batch, item)."""
    for batch, rows in batches:
        is_timed = batch.time_source is not TimeSource.UNKNOWN
        for at, (utc_us, mono_us, signal, value, source) in enumerate(rows):
            yield (
                batch.seq,
                at,
                {
                    "seq": batch.seq,
                    "boot": batch.boot.hex(),
                    "mono_us": mono_us,
                    "time": iso_us([utc_us])[0] if is_timed else None,
                    "signal": signal.name,
                    "value": value,
                    "unit": signal.unit,
                    "clock": clock_name(source),
                },
            )
