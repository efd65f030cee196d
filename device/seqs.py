"""Ranges of seqs: pairs (first, last), both included, ascending, neighbours joined.

It knows numbers only, and neither batches nor chains.

Example:
    >>> with_seq(of_seqs([1, 2, 5]), 3)
    ((1, 3), (5, 5))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Ranges: TypeAlias = "tuple[tuple[int, int], ...]"


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return ranges in any order as ascending ones that neither touch nor overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def of_seqs(seqs: Iterable[int]) -> Ranges:
    """Return numbers as ranges."""
    return joined((seq, seq) for seq in seqs)


def with_seq(ranges: Ranges, seq: int) -> Ranges:
    """Return the ranges with one number more."""
    return joined((*ranges, (seq, seq)))


def without(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> Ranges:
    """Return what of `ranges` lies outside all of `taken`.

    Example:
        >>> without([(1, 9)], [(3, 4), (9, 12)])
        ((1, 2), (5, 8))
    """
    left = list(ranges)
    for first, last in taken:
        parts = [((low, min(high, first - 1)), (max(low, last + 1), high)) for low, high in left]
        left = [part for pair in parts for part in pair if part[0] <= part[1]]
    return joined(left)


def overlap(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Ranges:
    """Return what lies in both.

    Example:
        >>> overlap([(1, 9)], [(3, 4), (9, 12)])
        ((3, 4), (9, 9))
    """
    others = tuple(others)  # a chain has few ranges, so every pair may be looked at
    both = [(max(first, low), min(last, high)) for first, last in ranges for low, high in others]
    return joined(part for part in both if part[0] <= part[1])
