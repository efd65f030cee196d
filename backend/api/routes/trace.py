"""The trace of a box by time: values and positions, as JSON pages or files."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.api.deps import (
    CurrentCaller,
    CurrentServices,
    OwnDevice,
    PositionAccess,
    ReadSession,
    Services,
    allow,
)
from backend.api.openapi import problems
from backend.api.paging import Paging, decode_cursor, encode_cursor
from backend.api.problems import BAD_CURSOR, INVALID_REQUEST, ProblemError
from backend.api.ranges import FromTime, Range, ToTime, checked_range
from backend.api.routes.signals import SignalNames, checked_names
from backend.api.routes.state import clock_name
from backend.api.schemas import EXAMPLE_TIME
from backend.api.trace_formats import (
    FixRow,
    csv_of_fixes,
    csv_of_rows,
    geojson_of_fixes,
    gpx_of_fixes,
    iso_us,
    precision_name,
)
from backend.domain.access import Caller, Permission
from backend.domain.trace import RowTuple
from backend.usecases.query_trace import read_fixes, read_trace
from protocol.limits import TRACE_RANGE_US_MAX

router = APIRouter(tags=["telemetry"])


class TraceKind(StrEnum):
    """What of the trace."""

    SIGNALS = "signals"
    FIXES = "fixes"


class TraceFormat(StrEnum):
    """How it is written."""

    JSON = "json"
    CSV = "csv"
    GEOJSON = "geojson"
    GPX = "gpx"


_MEDIA = {
    TraceFormat.CSV: "text/csv; charset=utf-8",
    TraceFormat.GEOJSON: "application/geo+json",
    TraceFormat.GPX: "application/gpx+xml",
}


class SampleOut(BaseModel):
    """One value at one time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "time": EXAMPLE_TIME,
                    "signal": "Vehicle.Speed",
                    "value": 42.5,
                    "unit": "km/h",
                    "clock": "device",
                }
            ]
        }
    )

    time: datetime = Field(description="RFC 3339, UTC, to the microsecond.")
    signal: str = Field(description="Catalogue path if mapped, else `bus.Message.Signal`.")
    value: int | float | None = Field(description="Physical value; null when it is no number.")
    unit: str | None = Field(description="Its unit.")
    clock: str = Field(description="`device`: the box's clock. `inferred`: from a later batch of its boot.")


class FixOut(BaseModel):
    """One fix of the receiver."""

    time: datetime = Field(description="RFC 3339, UTC, to the microsecond.")
    mode: int = Field(description="0 unknown, 1 no fix, 2 two-dimensional, 3 three-dimensional.")
    lat_deg: float | None = Field(description="Latitude, WGS 84, degrees.")
    lon_deg: float | None = Field(description="Longitude, degrees.")
    alt_m: float | None = Field(description="Altitude above mean sea level, metres.")
    speed_m_s: float | None = Field(description="Speed over ground, metres a second.")
    course_deg: float | None = Field(description="Course over ground, degrees from true north.")
    hdop: float | None = Field(description="Horizontal dilution of precision.")
    sats_used: int | None = Field(description="Satellites in the solution.")
    sats_in_view: int | None = Field(description="Satellites in view.")
    precision: str = Field(description="How exact it was recorded: `exact`, `cell`, `in_out`.")
    clock: str = Field(description="Where its time comes from.")


class TracePage(BaseModel):
    """A page of values, or of fixes with `kind=fixes`."""

    items: list[SampleOut | FixOut] = Field(description="In order of time, then name.")
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


_FILES: dict[str, Any] = {
    "text/csv": {"example": f"time,signal,value,unit\r\n{EXAMPLE_TIME},Vehicle.Speed,42.5,km/h\r\n"},
    "application/geo+json": {
        "schema": {"type": "object"},
        "example": {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": {"type": "Point", "coordinates": [11.6, 48.1, 520.1]},
                    "properties": {"precision": "exact", "coordTimes": EXAMPLE_TIME},
                }
            ],
        },
    },
    "application/gpx+xml": {
        "schema": {"type": "string"},
        "example": '<gpx version="1.1" creator="T-Box" xmlns="…"><trk><trkseg>'
        f'<trkpt lat="48.1000000" lon="11.6000000"><time>{EXAMPLE_TIME}</time></trkpt></trkseg></trk></gpx>',
    },
}


@router.get(
    "/devices/{device_id}/trace",
    summary="Trace of a box by time",
    dependencies=[allow(Permission.TELEMETRY_READ)],
    response_model=TracePage,
    responses=problems(400) | {200: {"content": _FILES}},
)
def read_trace_by_time(
    *,
    device: OwnDevice,
    caller: CurrentCaller,
    session: ReadSession,
    services: CurrentServices,
    positions: PositionAccess,
    paging: Paging,
    begin: FromTime,
    end: ToTime,
    signals: SignalNames = None,
    kind: Annotated[TraceKind, Query(description="`signals`, or `fixes` (needs `Access-Purpose`).")] = (
        TraceKind.SIGNALS
    ),
    format_: Annotated[
        TraceFormat,
        Query(
            alias="format",
            description="`json` is paged; `csv` streams everything; `geojson` and `gpx` need `kind=fixes`.",
        ),
    ] = TraceFormat.JSON,
) -> Response:
    """Return what the box recorded in [from, to), at most 31 days.

    Values are exactly those of the DBC for the recorded frames. Batches whose time or dictionary is unknown
    are not here: see the box's batches, and read them by chain.
    """
    wanted = checked_range(begin, end, longest_us=TRACE_RANGE_US_MAX)
    names = checked_names(signals, session=session, device=device)
    if format_ in {TraceFormat.GEOJSON, TraceFormat.GPX} and kind is not TraceKind.FIXES:
        raise ProblemError(INVALID_REQUEST, f"{format_} holds positions: add kind=fixes")
    if kind is TraceKind.FIXES:
        positions.record(
            device_id=device.device_id,
            subject=f"trace.{format_}",
            from_us=wanted.from_us,
            to_us=wanted.to_us,
        )
    if format_ is not TraceFormat.JSON:
        lines = _stream(services, caller, device.device_id, wanted, names=names, kind=kind, format_=format_)
        return StreamingResponse(lines, media_type=_MEDIA[format_])
    scope = f"trace:{device.device_id}:{wanted.from_us}:{wanted.to_us}:{kind}:{signals}"
    start, skip = _place(paging.cursor, scope, wanted)
    ask = {"org_id": caller.org_id, "device_id": device.device_id}
    if kind is TraceKind.FIXES:
        fixes = read_fixes(session, from_us=start.from_us, to_us=start.to_us, **ask)
        timed = ((row[0], _fix_out(row)) for row in fixes)
    else:
        blocks = read_trace(session, from_us=start.from_us, to_us=start.to_us, signals=names, **ask)
        timed = ((row[0], _sample_out(row)) for block in blocks for row in block)
    return _page(timed, scope=scope, start_us=start.from_us, skip=skip, limit=paging.limit)


def _stream(
    services: Services,
    caller: Caller,
    device_id: str,
    wanted: Range,
    *,
    names: frozenset[str] | None,
    kind: TraceKind,
    format_: TraceFormat,
) -> Iterator[str]:
    """Yield a file; it has a session of its own, since the request's may be closed by then."""
    with services.database.reading() as session:
        ask = {"org_id": caller.org_id, "device_id": device_id}
        if kind is TraceKind.SIGNALS:
            blocks = read_trace(session, from_us=wanted.from_us, to_us=wanted.to_us, signals=names, **ask)
            yield from csv_of_rows(blocks)
            return
        fixes = read_fixes(session, from_us=wanted.from_us, to_us=wanted.to_us, **ask)
        if format_ is TraceFormat.GPX:
            yield from gpx_of_fixes(fixes, device=device_id)
        elif format_ is TraceFormat.GEOJSON:
            yield from geojson_of_fixes(fixes, device=device_id)
        else:
            yield from csv_of_fixes(fixes)


def _place(cursor: str | None, scope: str, wanted: Range) -> tuple[Range, int]:
    """Return the range that is left, and how many rows at its very start the page before has shown."""
    if cursor is None:
        return wanted, 0
    match decode_cursor(scope, cursor):
        case [int(from_us), int(skip)] if wanted.from_us <= from_us < wanted.to_us and skip >= 0:
            return Range(from_us=from_us, to_us=wanted.to_us), skip
        case _:
            raise ProblemError(BAD_CURSOR)


def _page(
    timed: Iterator[tuple[int, dict[str, object]]], *, scope: str, start_us: int, skip: int, limit: int
) -> JSONResponse:
    """Return a page; its cursor is the time of its last row and the number of rows shown at that time."""
    shown = list(islice(timed, skip, skip + limit + 1))
    cursor = None
    if len(shown) > limit:
        last_us = shown[limit - 1][0]
        at_last = sum(1 for utc_us, _ in shown[:limit] if utc_us == last_us)
        cursor = encode_cursor(scope, [last_us, at_last + (skip if last_us == start_us else 0)])
    return JSONResponse({"items": [item for _, item in shown[:limit]], "next_cursor": cursor})


def _sample_out(row: RowTuple) -> dict[str, object]:
    utc_us, _, signal, value, source = row
    return {
        "time": iso_us([utc_us])[0],
        "signal": signal.name,
        "value": value,
        "unit": signal.unit,
        "clock": clock_name(source),
    }


def _fix_out(row: FixRow) -> dict[str, object]:
    utc_us, fix, precision, source = row
    return {
        "time": iso_us([utc_us])[0],
        "mode": fix.mode,
        "lat_deg": None if fix.lat_e7 is None else fix.lat_e7 / 10_000_000,
        "lon_deg": None if fix.lon_e7 is None else fix.lon_e7 / 10_000_000,
        "alt_m": None if fix.alt_mm is None else fix.alt_mm / 1_000,
        "speed_m_s": None if fix.speed_mm_s is None else fix.speed_mm_s / 1_000,
        "course_deg": None if fix.course_cdeg is None else fix.course_cdeg / 100,
        "hdop": None if fix.hdop_centi is None else fix.hdop_centi / 100,
        "sats_used": fix.sats_used,
        "sats_in_view": fix.sats_in_view,
        "precision": precision_name(precision),
        "clock": clock_name(source),
    }
