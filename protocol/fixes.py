"""The section `fixes`: GNSS positions by column, with the precision that was allowed when they were recorded.

Rules: one row per epoch of the receiver, in integer units, null where the receiver said nothing; a position
is never repeated as if it were live. The precision is set by signed policy on the device, before anything is
written: what was not allowed is not in the section, and a reader cannot get it back. The section is the CBOR
array [precision, rows, columns, frame]; the frame holds the delta byte planes (see `planes`) of 12 columns:
time, a presence mask, then the ten optional or enumerated values in the order of `_COLUMNS`; an absent value
repeats the one before it and costs nothing.

This module does not parse NMEA and does not blur positions.

Example:
    >>> fix = Fix(t_us=5, mode=3, lat_e7=481234567, lon_e7=116543210)
    >>> decode_fixes(encode_fixes([fix], Precision.EXACT))[1] == [fix]
    True
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from protocol import codec
from protocol.compression import compress, decompress
from protocol.errors import ProtocolError, Reject
from protocol.fields import integer, known, record
from protocol.header import ENUM_MAX
from protocol.limits import FIXES_MAX, PAYLOAD_BYTES_MAX, TIME_US_MAX
from protocol.planes import block_bytes_max, decode_planes, encode_planes


class Precision(IntEnum):
    """How exactly positions may be recorded; wire values."""

    NONE = 0  # no positions
    IN_OUT = 1  # inside or outside of declared areas only
    CELL = 2  # the centre of a coarse cell
    EXACT = 3  # as the receiver said


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One epoch of the receiver.

    Attributes:
        t_us: monotonic µs of the batch's boot, when the epoch was received.
        utc_us: UTC µs as the receiver said, or None.
        mode: 0 unknown, 1 no fix, 2 two-dimensional, 3 three-dimensional.
        lat_e7: latitude in 1e-7 degrees, -900000000 … 900000000, north positive (WGS 84).
        lon_e7: longitude in 1e-7 degrees, -1800000000 … 1800000000, east positive.
        alt_mm: altitude above mean sea level in mm.
        speed_mm_s: speed over ground in mm/s, ≥ 0.
        course_cdeg: course over ground in 0.01 degrees from true north, 0 … 36000.
        hdop_centi: horizontal dilution of precision in 0.01, ≥ 0.
        sats_used: satellites in the solution, ≥ 0.
        sats_in_view: satellites in view, ≥ 0.
    """

    t_us: int
    utc_us: int | None = None
    mode: int = 0
    lat_e7: int | None = None
    lon_e7: int | None = None
    alt_mm: int | None = None
    speed_mm_s: int | None = None
    course_cdeg: int | None = None
    hdop_centi: int | None = None
    sats_used: int | None = None
    sats_in_view: int | None = None


_INT32_MAX = 2**31 - 1

# Name, least, most. The order is the wire's and grows only at the end; mask bit k: column k is present.
_COLUMNS = (
    ("utc_us", -TIME_US_MAX - 1, TIME_US_MAX),
    ("mode", 0, ENUM_MAX),
    ("lat_e7", -900_000_000, 900_000_000),
    ("lon_e7", -1_800_000_000, 1_800_000_000),
    ("alt_mm", -_INT32_MAX, _INT32_MAX),
    ("speed_mm_s", 0, _INT32_MAX),
    ("course_cdeg", 0, 36_000),
    ("hdop_centi", 0, _INT32_MAX),
    ("sats_used", 0, 1_000),
    ("sats_in_view", 0, 1_000),
)
_MODE_BIT = 1 << 1
_WIRE_COLUMNS = 2 + len(_COLUMNS)
_WIRE_COLUMNS_MAX = 64  # what a newer writer may send: one mask bit each


def encode_fixes(fixes: Sequence[Fix], precision: Precision) -> bytes:
    """Return the section's data.

    Args:
        fixes: at most FIXES_MAX, in order of time.
        precision: what policy allowed for all of them.

    Raises:
        ValueError: too many, a value out of its range, or a position where the precision allows none.
    """
    if len(fixes) > FIXES_MAX:
        raise ValueError(f"{len(fixes)} fixes, at most {FIXES_MAX}")
    if precision is Precision.NONE and any(fix.lat_e7 is not None or fix.lon_e7 is not None for fix in fixes):
        raise ValueError("precision NONE allows no position")
    try:
        matrix = _matrix(fixes)
        _check(matrix)
    except (ProtocolError, OverflowError) as error:  # OverflowError: beyond 64 bits, so beyond any range
        raise ValueError(str(error)) from error
    return codec.encode([precision, len(fixes), _WIRE_COLUMNS, compress(encode_planes(matrix))])


def decode_fixes(data: bytes) -> tuple[Precision | int, list[Fix]]:
    """Read the section's data.

    Returns:
        The precision (a plain int when this reader does not know it) and the fixes in the order written.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, or BAD_FIELD for a value out of its range.
    """
    precision, rows, columns, frame = record(codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX), "fixes", size=4)
    count = integer(rows, "fixes rows", least=0, most=FIXES_MAX)
    width = integer(columns, "fixes columns", least=_WIRE_COLUMNS, most=_WIRE_COLUMNS_MAX)
    if not isinstance(frame, bytes):
        raise ProtocolError(Reject.BAD_FIELD, "fixes[3]: expected bytes")
    block = decompress(frame, max_bytes=block_bytes_max(columns=width, rows=count))
    matrix = decode_planes(block, columns=width, rows=count)[:_WIRE_COLUMNS]
    _check(matrix)
    times, masks, *cells = matrix.tolist()
    present = [
        [value if mask >> place & 1 else None for value, mask in zip(column, masks, strict=True)]
        for place, column in enumerate(cells)
    ]
    fixes = [
        Fix(t_us=t_us, **dict(zip((name for name, _, _ in _COLUMNS), row, strict=True)))
        for t_us, *row in zip(times, *present, strict=True)
    ]
    return known(Precision, integer(precision, "fixes precision", least=0, most=ENUM_MAX)), fixes


def _matrix(fixes: Sequence[Fix]) -> NDArray[np.int64]:
    matrix = np.empty((_WIRE_COLUMNS, len(fixes)), dtype=np.int64)
    matrix[0] = [fix.t_us for fix in fixes]
    mask = np.zeros(len(fixes), dtype=np.int64)
    for place, (name, _, _) in enumerate(_COLUMNS):
        values = [getattr(fix, name) for fix in fixes]
        mask |= np.array([value is not None for value in values], dtype=np.int64) << place
        matrix[2 + place] = _filled(values)
    matrix[1] = mask
    return matrix


def _filled(values: Sequence[int | None]) -> list[int]:
    """Return the values with each None replaced by the one before, so that it costs no bytes."""
    filled: list[int] = []
    for value in values:
        filled.append(value if value is not None else filled[-1] if filled else 0)
    return filled


def _check(matrix: NDArray[np.int64]) -> None:
    """Refuse what is out of range; absent values repeat good ones, so all cells are checked alike."""
    if matrix.shape[1] == 0:
        return
    times, masks = matrix[0], matrix[1]
    if times.min() < 0 or masks.min() < 0 or not np.all(masks & _MODE_BIT):
        raise ProtocolError(Reject.BAD_FIELD, "fixes: a negative time, or a row without mode")
    for (name, least, most), column in zip(_COLUMNS, matrix[2:], strict=True):
        if column.min() < min(least, 0) or column.max() > most:
            raise ProtocolError(Reject.BAD_FIELD, f"fixes: {name} outside {least} … {most}")
