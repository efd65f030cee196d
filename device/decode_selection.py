"""Which signals a person wants of a DBC: patterns to columns.

Rules:
- A pattern is `Signal`, `Message.Signal`, or either with `*`, `?` and `[…]` as a shell knows them; capitals
  count. Several are parted by commas.
- A pattern that fits no signal of the DBC is refused, with the names that are nearest.

It decodes nothing.

Example:
    >>> Selection.of(table, ["VehicleSpeed", "EngineStatus.*"]).columns(3)              # doctest: +SKIP
    (0, 1, 4)
"""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from device.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from device.acquisition.table import DecodeTable

_NEAR_MAX = 3


class Selection:
    """Columns by group.

    Args:
        columns: Wanted columns of each group that has any, ascending.
    """

    def __init__(self, columns: Mapping[int, tuple[int, ...]]) -> None:
        self._columns = dict(columns)

    def columns(self, group: int) -> tuple[int, ...]:
        """Return the wanted columns of a group of the table."""
        return self._columns.get(group, ())

    @classmethod
    def of(cls, table: DecodeTable, patterns: Sequence[str]) -> Self:
        """Return what patterns choose; everything when there are none.

        Raises:
            EdgeError: A pattern fits no signal.
        """
        wanted = [part.strip() for pattern in patterns for part in pattern.split(",") if part.strip()]
        chosen: dict[int, tuple[int, ...]] = {}
        fitting: set[str] = set()
        for index, group in enumerate(table.groups):
            columns = []
            for place, column in enumerate(group.columns):
                full = f"{group.message}.{column.signal}"
                fits = [one for one in wanted if fnmatchcase(column.signal, one) or fnmatchcase(full, one)]
                fitting.update(fits)
                if fits or not wanted:
                    columns.append(place)
            if columns:
                chosen[index] = tuple(columns)
        for pattern in wanted:
            if pattern not in fitting:
                raise _unknown(table, pattern)
        return cls(chosen)


def _unknown(table: DecodeTable, pattern: str) -> EdgeError:
    names = {column.signal for group in table.groups for column in group.columns}
    names |= {f"{group.message}.{column.signal}" for group in table.groups for column in group.columns}
    near = difflib.get_close_matches(pattern, sorted(names), n=_NEAR_MAX)
    step = f"Did you mean {' or '.join(near)}?" if near else "Look into the DBC for the names of its signals."
    return EdgeError(f"--signals {pattern}: the DBC has no such signal", is_transient=False, next_step=step)
