"""Traces as files: CSV for values and fixes, GeoJSON (RFC 7946) and GPX 1.1 for positions.

Rules:
- Times are ISO 8601, UTC, with microseconds; nothing is rounded.
- CSV is long form: `time,signal,value,unit`. A value that is no number is empty. Text that a spreadsheet
  would take for a formula gets an apostrophe in front.
- A line is broken where a minute is missing: a straight line across a gap would claim a way nobody drove.
- Only fixes with a position are drawn; what the receiver did not say is left out.

Sources: RFC 4180 (CSV), RFC 7946 (GeoJSON), https://www.topografix.com/GPX/1/1/ (GPX 1.1).
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from protocol.fixes import Precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backend.domain.batch_time import TimeSource
    from backend.domain.trace import TraceRows
    from protocol.fixes import Fix

SEGMENT_GAP_US: Final = 60_000_000  # fixes come every second or so; a minute without one is a gap
POSITION_MODE_MIN: Final = 2

FixRow = tuple[int, "Fix", int, "TimeSource"]
"""UTC in µs, fix, precision, where the time comes from."""

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def iso_us(instants_us: Iterable[int]) -> list[str]:
    """Return instants in µs as ISO 8601, UTC, with microseconds."""
    moments = np.fromiter(instants_us, dtype=np.int64).astype("datetime64[us]")
    return [f"{text}Z" for text in np.datetime_as_string(moments, unit="us").tolist()]


def harmless(text: str) -> str:
    """Return a text that no spreadsheet runs; names come from a car's DBC, which anyone may have written."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def csv_of_rows(blocks: Iterable[TraceRows]) -> Iterator[str]:
    """Yield a CSV of values, block by block."""
    yield "time,signal,value,unit\r\n"
    for block in blocks:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        names = [(harmless(at.name), harmless(at.unit or "")) for at in block.signals]
        for time, value, at in zip(
            iso_us(block.utc_us.tolist()), block.values, block.which.tolist(), strict=True
        ):
            name, unit = names[at]
            writer.writerow((time, name, "" if value is None else repr(value), unit))
        yield text.getvalue()


def csv_of_fixes(fixes: Iterable[FixRow]) -> Iterator[str]:
    """Yield a CSV of fixes, one line each."""
    yield ("time,lat_deg,lon_deg,alt_m,speed_m_s,course_deg,hdop,sats_used,sats_in_view,mode,precision\r\n")
    for utc_us, fix, precision, _ in fixes:
        cells = [
            iso_us([utc_us])[0],
            _scaled(fix.lat_e7, 10_000_000),
            _scaled(fix.lon_e7, 10_000_000),
            _scaled(fix.alt_mm, 1_000),
            _scaled(fix.speed_mm_s, 1_000),
            _scaled(fix.course_cdeg, 100),
            _scaled(fix.hdop_centi, 100),
            fix.sats_used,
            fix.sats_in_view,
            fix.mode,
            precision_name(precision),
        ]
        yield ",".join("" if cell is None else str(cell) for cell in cells) + "\r\n"


def geojson_of_fixes(fixes: Iterable[FixRow], *, device: str) -> Iterator[str]:
    """Yield a GeoJSON FeatureCollection: a LineString for each unbroken way, a Point for a single fix."""
    yield '{"type":"FeatureCollection","features":['
    is_first = True
    for segment in segments(fixes):
        coordinates = [_coordinates(fix) for _, fix, _, _ in segment]
        times = iso_us([utc_us for utc_us, _, _, _ in segment])
        is_line = len(segment) > 1
        feature = {
            "type": "Feature",
            "geometry": {
                "type": "LineString" if is_line else "Point",
                "coordinates": coordinates if is_line else coordinates[0],
            },
            "properties": {
                "device": device,
                "precision": precision_name(segment[0][2]),
                "coordTimes": times if is_line else times[0],
                "speed_m_s": [_scaled(fix.speed_mm_s, 1_000) for _, fix, _, _ in segment],
                "course_deg": [_scaled(fix.course_cdeg, 100) for _, fix, _, _ in segment],
            },
        }
        yield ("" if is_first else ",") + json.dumps(feature, separators=(",", ":"))
        is_first = False
    yield "]}"


def gpx_of_fixes(fixes: Iterable[FixRow], *, device: str) -> Iterator[str]:
    """Yield a GPX 1.1 track: a segment for each unbroken way."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gpx version="1.1" creator="T-Box" xmlns="http://www.topografix.com/GPX/1/1">\n'
        f"<trk><name>{escape(device)}</name>\n"
    )
    for segment in segments(fixes):
        yield "<trkseg>\n"
        for utc_us, fix, _, _ in segment:
            yield _track_point(utc_us, fix)
        yield "</trkseg>\n"
    yield "</trk>\n</gpx>\n"


def segments(fixes: Iterable[FixRow]) -> Iterator[list[FixRow]]:
    """Yield runs of fixes with a position and the same precision, broken where a minute is missing."""
    run: list[FixRow] = []
    for row in fixes:
        utc_us, fix, precision, _ = row
        if fix.lat_e7 is None or fix.lon_e7 is None or fix.mode < POSITION_MODE_MIN:
            continue
        if run and (utc_us - run[-1][0] > SEGMENT_GAP_US or precision != run[-1][2]):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def precision_name(precision: int) -> str:
    """Return how exact positions are, in words."""
    try:
        return Precision(precision).name.lower()
    except ValueError:
        return f"unknown {precision}"


def _scaled(value: int | None, divisor: int) -> float | None:
    return None if value is None else value / divisor


def _coordinates(fix: Fix) -> list[float]:
    assert fix.lon_e7 is not None
    assert fix.lat_e7 is not None
    place = [fix.lon_e7 / 10_000_000, fix.lat_e7 / 10_000_000]
    return place if fix.alt_mm is None else [*place, fix.alt_mm / 1_000]


def _track_point(utc_us: int, fix: Fix) -> str:
    """Return one trkpt; children in the order the schema demands: ele, time, fix, sat, hdop."""
    assert fix.lat_e7 is not None
    assert fix.lon_e7 is not None
    lat, lon = (quoteattr(f"{value / 10_000_000:.7f}") for value in (fix.lat_e7, fix.lon_e7))
    children = [
        None if fix.alt_mm is None else f"<ele>{fix.alt_mm / 1_000}</ele>",
        f"<time>{iso_us([utc_us])[0]}</time>",
        f"<fix>{fix.mode}d</fix>" if fix.mode in {2, 3} else None,
        None if fix.sats_used is None else f"<sat>{fix.sats_used}</sat>",
        None if fix.hdop_centi is None else f"<hdop>{fix.hdop_centi / 100}</hdop>",
    ]
    return f"<trkpt lat={lat} lon={lon}>" + "".join(child for child in children if child) + "</trkpt>\n"
