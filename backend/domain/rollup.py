"""Minute roll-ups of one column, in parts that add up in any order.

A part has count, smallest, largest and last value and the sum.

Rules:
- A part is about one signal and one UTC minute. Two parts of the same minute combine into one; the order
  does not matter, so late batches, several bridges and a rebuild all give the same numbers.
- For that the sum of integers of up to 40 bits is kept as an exact integer of raw values. The sum of wider
  and of floating columns is a double, whose last digits may depend on the order.
- NaN and infinite values are counted as rows of the trace, not in roll-ups.

It does not know where parts are stored.

Example:
    >>> parts = minute_parts(column, utc_us=np.array([0, 30_000_000]), raw=np.array([2, 4]))
    >>> [(part.minute, part.count, part.mean(column)) for part in parts]
    [(0, 2, 3.0)]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from protocol.dictionary import RawType, physical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protocol.dictionary import ColumnDef

MINUTE_US: Final = 60_000_000

# 2^40 times the two million samples a minute can hold stays within 2^62, so the exact sum fits a 64-bit
# column.
_EXACT_BITS_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class MinutePart:
    """What one batch adds to one signal's minute.

    Attributes:
        minute: whole minutes since the Unix epoch, UTC.
        count: rows with a finite value, at least 1.
        least: smallest physical value.
        most: largest physical value.
        last: physical value of the latest row.
        last_us: UTC of the latest row in µs.
        sum_raw: exact sum of raw values, 0 where the column has no exact sum.
        sum_physical: sum of physical values, 0.0 where the column has an exact sum.
    """

    minute: int
    count: int
    least: float
    most: float
    last: float
    last_us: int
    sum_raw: int
    sum_physical: float

    def mean(self, column: ColumnDef) -> float:
        """Return the mean of the physical values."""
        if has_exact_sum(column):
            return self.sum_raw / self.count * column.scale + column.offset
        return self.sum_physical / self.count


def has_exact_sum(column: ColumnDef) -> bool:
    """Whether a column's sum is kept as an exact integer of raw values."""
    return column.raw_type in {RawType.UINT, RawType.INT} and column.bits <= _EXACT_BITS_MAX


def minute_parts(column: ColumnDef, *, utc_us: NDArray[np.int64], raw: NDArray[np.int64]) -> list[MinutePart]:
    """Return one part for each minute that has a finite value, ascending.

    Args:
        column: The column's definition.
        utc_us: UTC of each row in µs, shape (n,), in any order.
        raw: Raw values, shape (n,).
    """
    values = _as_floats(physical(column, raw))
    order = np.argsort(utc_us, kind="stable")
    order = order[np.isfinite(values[order])]
    if order.size == 0:
        return []
    utc_us, raw, values = utc_us[order], raw[order], values[order]
    minutes = utc_us // MINUTE_US
    starts = np.flatnonzero(np.concatenate(([True], minutes[1:] != minutes[:-1])))
    ends = np.concatenate((starts[1:], [minutes.size]))
    is_exact = has_exact_sum(column)
    sums_raw = np.add.reduceat(raw, starts) if is_exact else np.zeros(starts.size, np.int64)
    sums = np.zeros(starts.size) if is_exact else np.add.reduceat(values, starts)
    least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return [
        MinutePart(
            minute=int(minutes[start]),
            count=int(end - start),
            least=float(least[at]),
            most=float(most[at]),
            last=float(values[end - 1]),
            last_us=int(utc_us[end - 1]),
            sum_raw=int(sums_raw[at]),
            sum_physical=float(sums[at]),
        )
        for at, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _as_floats(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return values as floats; an integer beyond every float, from a box's own scale, as infinite."""
    try:
        return values.astype(np.float64)
    except OverflowError:
        return np.array([_as_float(value) for value in values.tolist()], dtype=np.float64)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def combine(one: MinutePart, other: MinutePart) -> MinutePart:
    """Return two parts of one minute as one; of rows at the same instant the larger value is last."""
    latest = max((one, other), key=lambda part: (part.last_us, part.last))
    return MinutePart(
        minute=one.minute,
        count=one.count + other.count,
        least=min(one.least, other.least),
        most=max(one.most, other.most),
        last=latest.last,
        last_us=latest.last_us,
        sum_raw=one.sum_raw + other.sum_raw,
        sum_physical=one.sum_physical + other.sum_physical,
    )
