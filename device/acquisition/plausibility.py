"""Values that cannot be: outside their limits, changing too fast, or not a number.

Rules:
- A limit belongs to one column and is in its physical unit: least, greatest, and the greatest change per
  second between neighbouring rows of the group.
- An implausible value is counted and reported; **the raw value is never altered and never dropped**. Who
  reads the trace sees what the car said.
- Findings say changes, not conditions: one when a column becomes implausible in one way, none while it stays
  so.
- Two rows of the same time, or a step back in time, have no rate.

It knows no clock and no catalogue: the profile says which limits apply.

Example:
    >>> limit = Limit(column=0, definition=speed, minimum=0, maximum=300, rate_per_s=None)   # doctest: +SKIP
    >>> PlausibilityCheck({4: (limit,)}).check(group)                                        # doctest: +SKIP
    [Finding(index=4, column=0, kind=<Implausible.ABOVE: 'above'>, t_us=17000, value=655.35)]
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from protocol.signals import physical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from device.acquisition.decode import DecodedGroup
    from protocol.signals import ColumnDef

_US_PER_S = 1_000_000


class Implausible(StrEnum):
    """In which way a value cannot be."""

    BELOW = "below"
    ABOVE = "above"
    TOO_FAST = "too-fast"
    NOT_A_NUMBER = "not-a-number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a column may be.

    Attributes:
        column: Number of the column in its group.
        definition: The column, for its physical values.
        minimum: Least value, in the column's unit; None sets no limit.
        maximum: Greatest value.
        rate_per_s: Greatest change between neighbouring rows, unit per second.
    """

    column: int
    definition: ColumnDef
    minimum: float | None
    maximum: float | None
    rate_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A column became implausible: where, how, when, and the value that showed it."""

    index: int
    column: int
    kind: Implausible
    t_us: int
    value: float


class PlausibilityCheck:
    """Watches limited columns over successive rows.

    Attributes:
        implausible: Values found implausible since it was made (a value that fails in two ways counts once).
    """

    def __init__(self, limits: Mapping[int, tuple[Limit, ...]]) -> None:
        """Take the limits by group index."""
        self.implausible = 0
        self._limits = dict(limits)
        self._before: dict[tuple[int, int], tuple[int, float]] = {}
        self._failing: set[tuple[int, int, Implausible]] = set()

    def check(self, group: DecodedGroup) -> list[Finding]:
        """Check the next rows of a group, before sampling.

        Args:
            group: At least one row, following on those of earlier calls.

        Returns:
            One finding for each way in which a column became implausible, in order of the columns.
        """
        findings: list[Finding] = []
        for limit in self._limits.get(group.index, ()):
            values = physical(limit.definition, group.raw[limit.column]).astype(np.float64)
            failures = self._failures(limit, group, values)
            self.implausible += int(np.count_nonzero(np.logical_or.reduce(list(failures.values()))))
            for kind, mask in failures.items():
                findings += self._started(limit, group, values, kind, mask)
        return findings

    def _failures(
        self, limit: Limit, group: DecodedGroup, values: NDArray[np.float64]
    ) -> dict[Implausible, NDArray[np.bool_]]:
        failures = {Implausible.NOT_A_NUMBER: np.isnan(values)}
        if limit.minimum is not None:
            failures[Implausible.BELOW] = values < limit.minimum
        if limit.maximum is not None:
            failures[Implausible.ABOVE] = values > limit.maximum
        if limit.rate_per_s is not None:
            failures[Implausible.TOO_FAST] = self._is_too_fast(limit, limit.rate_per_s, group, values)
        return failures

    def _is_too_fast(
        self, limit: Limit, rate_per_s: float, group: DecodedGroup, values: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        key = (group.index, limit.column)
        before_t, before_value = self._before.get(key, (int(group.t_us[0]), float(values[0])))
        self._before[key] = (int(group.t_us[-1]), float(values[-1]))
        with np.errstate(invalid="ignore"):  # infinities differ by NaN, which is never too fast
            change = np.abs(np.diff(values, prepend=before_value))
        elapsed_us = np.diff(group.t_us, prepend=before_t)
        return (elapsed_us > 0) & (change * _US_PER_S > rate_per_s * elapsed_us)

    def _started(
        self,
        limit: Limit,
        group: DecodedGroup,
        values: NDArray[np.float64],
        kind: Implausible,
        mask: NDArray[np.bool_],
    ) -> list[Finding]:
        """Return a finding for the first row that fails after one that did not; remember how the rows end."""
        key = (group.index, limit.column, kind)
        starts = (mask & ~np.concatenate(([key in self._failing], mask[:-1]))).nonzero()[0]
        if mask[-1]:
            self._failing.add(key)
        else:
            self._failing.discard(key)
        return [
            Finding(
                index=group.index,
                column=limit.column,
                kind=kind,
                t_us=int(group.t_us[row]),
                value=float(values[row]),
            )
            for row in starts[:1].tolist()
        ]
