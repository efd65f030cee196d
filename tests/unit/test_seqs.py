"""Ranges of seqs against plain sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from device.seqs import joined, of_seqs, overlap, with_seq, without

RANGES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    max_size=8,
)


def numbers(ranges: object) -> set[int]:
    return {seq for first, last in ranges for seq in range(first, last + 1)}  # type: ignore[attr-defined]


@given(RANGES, RANGES, st.integers(1, 50))
def test_ranges_say_what_sets_of_their_numbers_say(
    some: list[tuple[int, int]], others: list[tuple[int, int]], seq: int
) -> None:
    for found, expected in (
        (joined(some), numbers(some)),
        (of_seqs(numbers(some)), numbers(some)),
        (with_seq(joined(some), seq), numbers(some) | {seq}),
        (without(some, others), numbers(some) - numbers(others)),
        (overlap(some, others), numbers(some) & numbers(others)),
    ):
        assert numbers(found) == expected
        assert all(above[0] > below[1] + 1 for below, above in pairwise(found))
