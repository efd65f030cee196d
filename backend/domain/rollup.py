"""Minute roll-ups of signals, in parts that add up in any order, and the form they are stored in.

A part has count, smallest, largest and last value and the sum.

Rules:
- A part is about one signal and one UTC minute. Two parts of the same minute combine into one; the order
  does not matter, so late batches, several bridges and a rebuild all give the same numbers.
- Smallest, largest and last are kept as *ranks*: integers in the order of the physical values, from which
  the raw value comes back bit for bit. So they compare as integers whatever the column is, and pack well.
- The sum of integers of up to 40 bits is kept as an exact integer of raw values. The sum of wider and of
  floating columns is a double, whose last digits may depend on the order.
- NaN and infinite values are counted as rows of the trace, not in roll-ups.
- A block holds up to BLOCK_MINUTES minutes of one signal: packed, a minute takes about a tenth of a row.

It does not know where blocks are stored.

Example:
    >>> (parts,) = group_parts([column], utc_us=np.array([0, 30_000_000]), raw=np.array([[2, 4]]))
    >>> [(at.minute, at.count, at.mean) for at in values_of(column, parts)]
    [(0, 2, 3.0)]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from protocol.dictionary import RawType, physical
from protocol.planes import decode_planes, encode_planes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from protocol.dictionary import ColumnDef

MINUTE_US: Final = 60_000_000

# Every new minute writes its block again, every block has a row's overhead: at twenty minutes a block is
# written ten times over and its overhead is a third of its content.
BLOCK_MINUTES: Final = 20

# 2^40 times the two million samples a minute can hold stays within 2^62, so the exact sum fits a 64-bit
# column.
_EXACT_BITS_MAX: Final = 40

_TOTAL_MAX: Final = 2**63 - 1
_WORD_VALUES: Final = 2.0**64
_SIGN: Final = np.int64(-(2**63))
_BELOW_SIGN: Final = np.int64(2**63 - 1)
_NARROW_FLOATS: Final[dict[int, tuple[type[np.unsignedinteger[Any]], type[np.floating[Any]]]]] = {
    RawType.FLOAT32: (np.uint32, np.float32),
    RawType.FLOAT16: (np.uint16, np.float16),
}


class MinutePart(NamedTuple):  # several thousand a second: a tuple is made in a third of the time
    """What one batch adds to one signal's minute.

    Attributes:
        minute: whole minutes since the Unix epoch, UTC.
        rows: rows with a finite value, at least 1.
        least: rank of the smallest physical value.
        most: rank of the largest physical value.
        last: rank of the latest row's value.
        last_us: UTC of the latest row in µs.
        total: exact sum of raw values where the column has one, else the sum of physical values, a float.
    """

    minute: int
    rows: int
    least: int
    most: int
    last: int
    last_us: int
    total: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteValues:
    """One minute as it is shown: physical values, UTC minute and UTC µs."""

    minute: int
    count: int
    least: float
    most: float
    last: float
    last_us: int
    mean: float


def has_exact_sum(column: ColumnDef) -> bool:
    """Whether a column's sum is kept as an exact integer of raw values."""
    return column.raw_type in {RawType.UINT, RawType.INT} and column.bits <= _EXACT_BITS_MAX


def ranks_of(column: ColumnDef, raw: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return integers in the order of the physical values of raw ones, any shape; NaN has no place in it."""
    ranks = raw
    if column.raw_type == RawType.UINT:
        ranks = raw ^ _SIGN
    elif column.raw_type in _NARROW_FLOATS:
        bits, floats = _NARROW_FLOATS[column.raw_type]
        ranks = _float_ranks(raw.view(np.uint64).astype(bits).view(floats).astype(np.float64).view(np.int64))
    elif column.raw_type == RawType.FLOAT64:
        ranks = _float_ranks(raw)
    return ~ranks if column.scale < 0 else ranks


def raw_of(column: ColumnDef, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the raw values of ranks: what `ranks_of` was given."""
    ranks = ~ranks if column.scale < 0 else ranks
    if column.raw_type == RawType.UINT:
        return ranks ^ _SIGN
    if column.raw_type in _NARROW_FLOATS:
        bits, floats = _NARROW_FLOATS[column.raw_type]
        return _float_ranks(ranks).view(np.float64).astype(floats).view(bits).astype(np.int64)
    return _float_ranks(ranks) if column.raw_type == RawType.FLOAT64 else ranks


def _float_ranks(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bits of doubles as integers of the same order, or such integers as bits: its own inverse."""
    return np.where(bits < 0, bits ^ _BELOW_SIGN, bits)


def group_parts(
    columns: Sequence[ColumnDef], *, utc_us: NDArray[np.int64], raw: NDArray[np.int64]
) -> list[list[MinutePart]]:
    """Return for each column one part for each minute that has a finite value, ascending.

    Args:
        columns: Definitions, of raw types that are known.
        utc_us: UTC of each row in µs, shape (n,), in any order.
        raw: Raw values, shape (columns, n).
    """
    if utc_us.size and (utc_us[1:] < utc_us[:-1]).any():
        order = np.argsort(utc_us, kind="stable")
        utc_us, raw = utc_us[order], raw[:, order]
    together = [at for at, column in enumerate(columns) if _is_always_finite(column)]
    found: list[list[MinutePart]] = [[] for _ in columns]
    for at, parts in zip(
        together, _parts([columns[at] for at in together], utc_us, raw[together]), strict=True
    ):
        found[at] = parts
    for at in set(range(len(columns))) - set(together):
        kept = np.isfinite(_as_floats(physical(columns[at], raw[at])))
        (found[at],) = _parts([columns[at]], utc_us[kept], raw[at : at + 1, kept])
    return found


def _is_always_finite(column: ColumnDef) -> bool:
    """Whether every raw value has a finite physical value, also one beyond the column's own width."""
    if column.raw_type not in {RawType.UINT, RawType.INT}:
        return False
    try:
        return math.isfinite(_WORD_VALUES * float(column.scale) + float(column.offset))
    except OverflowError:
        return False


def _parts(
    columns: Sequence[ColumnDef], utc_us: NDArray[np.int64], raw: NDArray[np.int64]
) -> list[list[MinutePart]]:
    """Return the parts of columns whose rows are in order of time and all finite."""
    if utc_us.size == 0 or not columns:
        return [[] for _ in columns]
    minutes = utc_us // MINUTE_US
    starts = np.flatnonzero(np.concatenate(([True], minutes[1:] != minutes[:-1])))
    ends = np.concatenate((starts[1:], [minutes.size]))
    ranks = np.stack([ranks_of(column, row) for column, row in zip(columns, raw, strict=True)])
    last_us = utc_us[ends - 1]
    # Of rows at the same last instant the larger value is last, so that the order of arrival decides nothing.
    bounds = np.stack((np.searchsorted(utc_us, last_us), ends), axis=1).ravel()[:-1]
    shared = (minutes[starts].tolist(), (ends - starts).tolist(), last_us.tolist())
    ranges = zip(
        columns,
        raw,
        np.minimum.reduceat(ranks, starts, axis=1).tolist(),
        np.maximum.reduceat(ranks, starts, axis=1).tolist(),
        np.maximum.reduceat(ranks, bounds, axis=1)[:, ::2].tolist(),
        strict=True,
    )
    return [
        [
            MinutePart(minute, count, low, high, latest, at_us, total)
            for minute, count, at_us, low, high, latest, total in zip(
                *shared, least, most, last, _totals(column, row, starts), strict=True
            )
        ]
        for column, row, least, most, last in ranges
    ]


def _totals(column: ColumnDef, raw: NDArray[np.int64], starts: NDArray[np.intp]) -> list[int] | list[float]:
    summed = raw if has_exact_sum(column) else _as_floats(physical(column, raw))
    totals: list[int] | list[float] = np.add.reduceat(summed, starts).tolist()
    return totals


def combine(one: MinutePart, other: MinutePart) -> MinutePart:
    """Return two parts of one minute as one; of rows at the same instant the larger value is last."""
    last_us, last = max((one.last_us, one.last), (other.last_us, other.last))
    return MinutePart(
        one.minute,
        one.rows + other.rows,
        min(one.least, other.least),
        max(one.most, other.most),
        last,
        last_us,
        one.total + other.total,
    )


def combined(parts: Iterable[MinutePart]) -> list[MinutePart]:
    """Return one part for each minute, ascending."""
    found: dict[int, MinutePart] = {}
    for part in parts:
        known = found.get(part.minute)
        found[part.minute] = part if known is None else combine(known, part)
    return [found[minute] for minute in sorted(found)]


def pack_block(parts: Sequence[MinutePart]) -> bytes:
    """Return the minutes of one block as they are stored.

    The form: one byte that counts the minutes, then the delta byte planes of seven columns, as in
    `protocol.planes`: minute within the block, count, ranks of least, most and last, µs of the last row
    within its minute, total (an integer, or the bits of a double).

    Args:
        parts: One for each minute, ascending, all of one block.
    """
    assert 0 < len(parts) <= BLOCK_MINUTES, "a block holds one to twenty minutes"
    minute, count, least, most, last, last_us, total = zip(*parts, strict=True)
    minutes = np.array(minute, dtype=np.int64)
    if isinstance(total[0], float):
        totals = np.array(total, dtype=np.float64).view(np.int64)
    else:  # a box that sends more bits than it announced gets a sum as large as there is
        totals = np.array([max(-_TOTAL_MAX, min(at, _TOTAL_MAX)) for at in total], dtype=np.int64)
    matrix = np.array(
        (
            minutes % BLOCK_MINUTES,
            count,
            least,
            most,
            last,
            np.array(last_us, dtype=np.int64) - minutes * MINUTE_US,
            totals,
        ),
        dtype=np.int64,
    )
    return bytes([len(parts)]) + encode_planes(matrix)


def unpack_block(column: ColumnDef, block: int, body: bytes) -> list[MinutePart]:
    """Return the minutes of a stored block of this column, ascending."""
    matrix = decode_planes(body[1:], columns=7, rows=body[0])
    minutes = matrix[0] + block * BLOCK_MINUTES
    totals = matrix[6] if has_exact_sum(column) else matrix[6].view(np.float64)
    return [
        MinutePart(*values)
        for values in zip(
            minutes.tolist(),
            *matrix[1:5].tolist(),
            (matrix[5] + minutes * MINUTE_US).tolist(),
            totals.tolist(),
            strict=True,
        )
    ]


def values_of(column: ColumnDef, parts: Sequence[MinutePart]) -> list[MinuteValues]:
    """Return parts of a column as they are shown."""
    ranks = np.array([(part.least, part.most, part.last) for part in parts], dtype=np.int64).reshape(-1, 3)
    shown = _as_floats(physical(column, raw_of(column, ranks))).tolist()
    is_exact = has_exact_sum(column)
    return [
        MinuteValues(
            minute=part.minute,
            count=part.rows,
            least=least,
            most=most,
            last=last,
            last_us=part.last_us,
            mean=part.total / part.rows * column.scale + column.offset
            if is_exact
            else part.total / part.rows,
        )
        for part, (least, most, last) in zip(parts, shown, strict=True)
    ]


def _as_floats(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return values as floats; an integer beyond every float, from a box's own scale, as infinite."""
    try:
        return values.astype(np.float64)
    except OverflowError:
        return np.array([_as_float(value) for value in values.ravel().tolist()], dtype=np.float64).reshape(
            values.shape
        )


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
