"""Which sequence numbers of a chain are covered, kept as ranges.

A car sends for years, so a chain is never a list of numbers: `Ranges` holds closed intervals, ascending,
disjoint and never adjacent. Most chains are one range; more than one means that something is on its way or
lost.

It knows numbers only: whether a number was stored, declared lost or refused is the caller's meaning.

Example:
    >>> held = Ranges.of([(1, 3), (7, 7)]).add(4, 5)
    >>> held.pairs, held.holes(1, held.last)
    (((1, 5), (7, 7)), ((6, 6),))
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Closed ranges of positive integers, ascending, disjoint, not adjacent."""

    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Return the union of `pairs`, given in any order, overlapping or not.

        Raises:
            ValueError: a pair begins below 1 or ends before it begins.
        """
        merged: list[Pair] = []
        for first, last in sorted(pairs):
            if first < 1 or last < first:
                raise ValueError(_no_range(first, last))
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return cls(tuple(merged))

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.range_of(number) is not None

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def last(self) -> int:
        """The highest number covered, 0 when nothing is."""
        return self.pairs[-1][1] if self.pairs else 0

    @property
    def total(self) -> int:
        """How many numbers are covered."""
        return sum(last - first + 1 for first, last in self.pairs)

    def range_of(self, number: int) -> Pair | None:
        """Return the range that holds `number`, or None."""
        at = bisect_right(self.pairs, number, key=lambda pair: pair[0]) - 1
        if at >= 0 and self.pairs[at][1] >= number:
            return self.pairs[at]
        return None

    def next_from(self, number: int) -> int | None:
        """Return the lowest covered number from `number` on, or None."""
        at = bisect_left(self.pairs, number, key=lambda pair: pair[1])
        return max(self.pairs[at][0], number) if at < len(self.pairs) else None

    def last_until(self, number: int) -> int:
        """Return the highest covered number up to `number`, 0 when there is none."""
        at = bisect_right(self.pairs, number, key=lambda pair: pair[0]) - 1
        return min(self.pairs[at][1], number) if at >= 0 else 0

    def above(self, number: int) -> tuple[Pair, ...]:
        """Return the ranges that begin above `number`."""
        return self.pairs[bisect_right(self.pairs, number, key=lambda pair: pair[0]) :]

    def add(self, first: int, last: int | None = None) -> Self:
        """Return the ranges with `first..last` added; `last` defaults to `first`.

        Raises:
            ValueError: it begins below 1 or ends before it begins.
        """
        last = first if last is None else last
        if first < 1 or last < first:
            raise ValueError(_no_range(first, last))
        begin = bisect_left(self.pairs, first - 1, key=lambda pair: pair[1])
        end = bisect_right(self.pairs, last + 1, key=lambda pair: pair[0])
        if begin < end:  # touches these, which become one
            first, last = min(first, self.pairs[begin][0]), max(last, self.pairs[end - 1][1])
        return type(self)((*self.pairs[:begin], (first, last), *self.pairs[end:]))

    def union(self, other: Ranges) -> Self:
        """Return what either covers."""
        return self.of((*self.pairs, *other.pairs)) if other.pairs else self

    def holes(self, first: int, last: int) -> tuple[Pair, ...]:
        """Return the maximal ranges within `first..last` that are not covered, ascending."""
        found: list[Pair] = []
        at = first
        start = bisect_left(self.pairs, first, key=lambda pair: pair[1])
        for index in range(start, len(self.pairs)):
            begin, end = self.pairs[index]
            if begin > last:
                break
            if begin > at:
                found.append((at, begin - 1))
            at = max(at, end + 1)
        if at <= last:
            found.append((at, last))
        return tuple(found)

    def minus(self, other: Ranges) -> Self:
        """Return what this covers and `other` does not."""
        return self.of(hole for first, last in self.pairs for hole in other.holes(first, last))


def _no_range(first: int, last: int) -> str:
    return f"not a range of sequence numbers: {first}..{last}"
