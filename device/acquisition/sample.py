"""Which rows are worth keeping: sampling by group, one decision for the whole row.

Rules, for each group by itself, rows in order; *last* is the last row that was kept:
- The first row is kept, and with `keep_all` every row.
- `period_us`: time is cut into slots of that length (`t_us // period_us`); the first row seen in a slot is
  kept. So the rate is exact on average, whatever the jitter.
- `on_change`: a row in which one of these columns differs from the last is kept.
- `dead_bands`: a row in which one of these columns is further from the last than its band is kept. The band
  is in raw counts (in the float's own unit for float columns); exactly at the band is still inside. A float
  that becomes or ceases to be NaN is outside.
- `max_interval_us`: a row at least that long after the last is kept; so is one whose time stepped back.
- Any one trigger keeps the whole row, and every kept row is the new *last* for all of them.
- A rule without any trigger keeps the first row only.

It never alters a value and knows no clock; rows that are not kept are counted in `skipped`.

Example:
    >>> sampler = Sampler({0: SampleRule(on_change=(0,))}, default=SampleRule(keep_all=True))
    >>> row = DecodedGroup(0, np.array([0, 10, 20]), np.array([[5, 5, 6]]))
    >>> sampler.select(row).tolist(), sampler.skipped
    ([True, False, True], 1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.decode import DecodedGroup
from protocol.signals import RawType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["DeadBand", "DecodedGroup", "SampleRule", "Sampler"]

_Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadBand:
    """How far a column may wander from the last kept row before it makes a new one.

    Attributes:
        column: Number of the column in its group.
        raw_type: How the column's bits are read.
        band: Raw counts, or the float's own unit; 0 or more.
    """

    column: int
    raw_type: RawType
    band: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRule:
    """When a row of a group is kept; the module says exactly what each trigger means.

    Attributes:
        keep_all: Every row.
        period_us: Length of a slot, µs, above 0.
        max_interval_us: Longest time without a kept row while rows arrive, µs, above 0.
        dead_bands: Columns with a band.
        on_change: Columns of which any change counts.
    """

    keep_all: bool = False
    period_us: int | None = None
    max_interval_us: int | None = None
    dead_bands: tuple[DeadBand, ...] = ()
    on_change: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert self.period_us is None or self.period_us > 0
        assert self.max_interval_us is None or self.max_interval_us > 0
        assert all(item.band >= 0 for item in self.dead_bands)


@dataclass(slots=True)
class _Last:
    """The last kept row as far as triggers need it, and the slot of the last row seen."""

    slot: int
    t_us: int
    changing: NDArray[np.int64]
    banded: list[_Number]


class Sampler:
    """Decides row by row; keeps one last row for each group.

    Attributes:
        skipped: Rows not kept since the sampler was made.
    """

    def __init__(self, rules: Mapping[int, SampleRule], default: SampleRule) -> None:
        """Take the rules by group index, and the rule of groups that have none."""
        self.skipped = 0
        self._rules = dict(rules)
        self._default = default
        self._last: dict[int, _Last] = {}

    def select(self, group: DecodedGroup) -> NDArray[np.bool_]:
        """Decide about the next rows of a group.

        Args:
            group: At least one row, following on those of earlier calls.

        Returns:
            bool (n,), True for rows to keep.
        """
        rule = self._rules.get(group.index, self._default)
        count = len(group.t_us)
        if rule.keep_all:
            return np.ones(count, bool)
        last = self._last.get(group.index)
        keep = _independent_triggers(rule, group, last)
        banded = [_numbers(item, group.raw) for item in rule.dead_bands]
        if rule.dead_bands or rule.max_interval_us is not None:
            _dependent_triggers(rule, group, banded, last, keep)
        self._remember(rule, group, banded, keep)
        self.skipped += count - int(np.count_nonzero(keep))
        return keep

    def _remember(
        self, rule: SampleRule, group: DecodedGroup, banded: list[list[_Number]], keep: NDArray[np.bool_]
    ) -> None:
        slot = int(group.t_us[-1]) // rule.period_us if rule.period_us else 0
        kept = keep.nonzero()[0]
        if len(kept):
            row = int(kept[-1])
            self._last[group.index] = _Last(
                slot,
                int(group.t_us[row]),
                group.raw[list(rule.on_change), row],
                [numbers[row] for numbers in banded],
            )
        else:
            self._last[group.index].slot = slot


def _independent_triggers(rule: SampleRule, group: DecodedGroup, last: _Last | None) -> NDArray[np.bool_]:
    """Return the rows kept by period and change, for which it does not matter what else keeps rows.

    A change is seen against the row before: had that one differed from the last kept, it would be the last
    kept.
    """
    keep = np.zeros(len(group.t_us), bool)
    keep[0] = last is None
    if rule.period_us:
        slots = group.t_us // rule.period_us
        keep[1:] |= slots[1:] != slots[:-1]
        keep[0] |= last is not None and bool(slots[0] != last.slot)
    if rule.on_change:
        changing = group.raw[list(rule.on_change)]
        keep[1:] |= (changing[:, 1:] != changing[:, :-1]).any(axis=0)
        keep[0] |= last is not None and bool((changing[:, 0] != last.changing).any())
    return keep


def _dependent_triggers(
    rule: SampleRule,
    group: DecodedGroup,
    banded: list[list[_Number]],
    last: _Last | None,
    keep: NDArray[np.bool_],
) -> None:
    """Add to `keep` the rows kept by dead band and interval, measured from the last kept by anything."""
    bands = [item.band for item in rule.dead_bands]
    times = group.t_us.tolist()
    is_kept = keep.tolist()
    last_t = times[0] if last is None else last.t_us
    reference = [numbers[0] for numbers in banded] if last is None else last.banded
    for row, t_us in enumerate(times):
        if not is_kept[row]:
            is_kept[row] = (
                rule.max_interval_us is not None and not 0 <= t_us - last_t < rule.max_interval_us
            ) or any(
                _is_outside(numbers[row], before, band)
                for numbers, before, band in zip(banded, reference, bands, strict=True)
            )
        if is_kept[row]:
            last_t = t_us
            reference = [numbers[row] for numbers in banded]
    keep[:] = is_kept


def _is_outside(value: _Number, before: _Number, band: _Number) -> bool:
    if value != value or before != before:  # noqa: PLR0124  (NaN is the one value that differs from itself)
        return (value != value) != (before != before)  # noqa: PLR0124
    return value != before and not abs(value - before) <= band


def _numbers(item: DeadBand, raw: NDArray[np.int64]) -> list[_Number]:
    """Return a column as Python numbers, in which differences are exact and never overflow."""
    column = np.ascontiguousarray(raw[item.column])
    match item.raw_type:
        case RawType.UINT:
            return _listed(column.view(np.uint64))
        case RawType.FLOAT32:
            return _listed(column.astype(np.uint32).view(np.float32))
        case RawType.FLOAT64:
            return _listed(column.view(np.float64))
        case _:
            return _listed(column)


def _listed(column: NDArray[np.generic]) -> list[_Number]:
    numbers: list[_Number] = column.tolist()
    return numbers
