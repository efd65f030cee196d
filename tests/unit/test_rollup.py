"""Minute roll-ups: parts that add up, ranks that keep the order and the bits, blocks that come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.rollup import (
    BLOCK_MINUTES,
    MINUTE_US,
    MinutePart,
    combine,
    combined,
    group_parts,
    has_exact_sum,
    pack_block,
    ranks_of,
    raw_of,
    unpack_block,
    values_of,
)
from protocol.dictionary import ColumnDef, RawType, physical
from tests.builders.ingest import SPEED

INT = replace(SPEED, raw_type=RawType.INT)
COLUMNS = [
    replace(SPEED, raw_type=raw_type, bits=bits, scale=scale)
    for raw_type, bits in [
        (RawType.INT, 64),
        (RawType.UINT, 16),
        (RawType.UINT, 64),
        (RawType.FLOAT16, 16),
        (RawType.FLOAT32, 32),
        (RawType.FLOAT64, 64),
    ]
    for scale in (0.5, -2, 1)
]

row = st.tuples(st.integers(0, 200_000_000), st.integers(-(2**15), 2**15 - 1))
rows_of_a_signal = st.lists(row, min_size=1, max_size=40)


def one_column(column: ColumnDef, rows: list[tuple[int, int]]) -> dict[int, MinutePart]:
    utc_us = np.array([at for at, _ in rows], dtype=np.int64)
    raw = np.array([[value for _, value in rows]], dtype=np.int64)
    (parts,) = group_parts([column], utc_us=utc_us, raw=raw)
    return {part.minute: part for part in parts}


@given(rows_of_a_signal, st.integers(0, 40))
def test_parts_of_a_minute_add_up_to_the_whole(rows: list[tuple[int, int]], cut: int) -> None:
    whole, one, two = one_column(INT, rows), one_column(INT, rows[:cut]), one_column(INT, rows[cut:])
    for minute in one.keys() & two.keys():
        assert combine(one[minute], two[minute]) == combine(two[minute], one[minute]) == whole[minute]
    assert one.keys() | two.keys() == whole.keys()


@given(rows_of_a_signal, st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_nothing(rows: list[tuple[int, int]], random: st.DataObject) -> None:
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert one_column(INT, mixed) == one_column(INT, rows)


@given(rows_of_a_signal)
def test_a_minute_says_what_a_person_would_count(rows: list[tuple[int, int]]) -> None:
    shown = {at.minute: at for at in values_of(INT, list(one_column(INT, rows).values()))}
    for minute in {at // MINUTE_US for at, _ in rows}:
        inside = [(at, value) for at, value in rows if at // MINUTE_US == minute]
        values = [value for _, value in inside]
        last_us, last = max(inside)
        found = shown[minute]
        assert (found.count, found.last_us) == (len(inside), last_us)
        assert (found.least, found.most, found.last) == (
            min(values) * 0.01,
            max(values) * 0.01,
            last * 0.01,
        )
        assert found.mean == sum(values) / len(values) * 0.01


@pytest.mark.parametrize("column", COLUMNS, ids=lambda at: f"{at.raw_type.name}{at.bits} x {at.scale}")
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=20))
def test_ranks_are_in_the_order_of_the_values_and_give_the_raw_value_back(
    column: ColumnDef, bits: list[int]
) -> None:
    raw = np.array(bits, dtype=np.int64)
    if column.raw_type != RawType.INT and column.bits < 64:
        raw &= (1 << column.bits) - 1
    values = physical(column, raw)
    raw = raw[np.isfinite(values.astype(np.float64))]
    ranks = ranks_of(column, raw)
    assert raw_of(column, ranks).tolist() == raw.tolist()
    in_order = physical(column, raw_of(column, np.sort(ranks))).tolist()
    assert in_order == sorted(in_order)


parts_of_a_block = st.lists(
    st.tuples(st.integers(0, BLOCK_MINUTES - 1), st.integers(-(2**39), 2**39 - 1)), min_size=1, max_size=60
)


@given(st.integers(0, 2**24), parts_of_a_block)
def test_a_block_comes_back_as_it_was(block: int, rows: list[tuple[int, int]]) -> None:
    column = replace(INT, bits=40)
    start_us = block * BLOCK_MINUTES * MINUTE_US
    parts = list(
        one_column(column, [(start_us + minute * MINUTE_US + 7, value) for minute, value in rows]).values()
    )
    assert unpack_block(column, block, pack_block(parts)) == parts


def test_a_block_of_doubles_comes_back_bit_for_bit() -> None:
    column = replace(SPEED, raw_type=RawType.FLOAT64, bits=64, scale=1)
    raw = np.array([[0.1, 0.2, -1e300, 5e-324]]).view(np.int64)
    utc_us = np.arange(4, dtype=np.int64) * 30_000_000
    (parts,) = group_parts([column], utc_us=utc_us, raw=raw)
    assert unpack_block(column, 0, pack_block(parts)) == parts
    assert [at.least for at in values_of(column, parts)] == [0.1, -1e300]


def test_a_minute_of_a_block_takes_a_few_bytes() -> None:
    rows = [(at, 1_000 + at // 1_000_000 % 50) for at in range(0, BLOCK_MINUTES * MINUTE_US, 2_500_000)]
    body = pack_block(list(one_column(SPEED, rows).values()))
    assert len(body) / BLOCK_MINUTES < 20


def test_the_sum_of_the_largest_raw_values_is_exact() -> None:
    wide = replace(SPEED, bits=40)
    raw = np.full((1, 100_000), 2**40 - 1, dtype=np.int64)
    ((part,),) = group_parts([wide], utc_us=np.zeros(100_000, dtype=np.int64), raw=raw)
    assert has_exact_sum(wide)
    assert part.total == 100_000 * (2**40 - 1)


def test_a_sum_beyond_its_column_is_kept_as_the_largest() -> None:
    """A box may send more bits than it announced; that must not stop the others."""
    part = MinutePart(0, 1, 0, 0, 0, 0, 2**63 - 1)
    (kept,) = unpack_block(SPEED, 0, pack_block(combined([part, part])))
    assert kept.total == 2**63 - 1


def test_values_that_are_no_numbers_are_left_out() -> None:
    column = replace(SPEED, raw_type=RawType.FLOAT64, bits=64, scale=1)
    raw = np.array([[1.5, np.nan, np.inf, 2.5]]).view(np.int64)
    (parts,) = group_parts([column], utc_us=np.arange(4, dtype=np.int64), raw=raw)
    (shown,) = values_of(column, parts)
    assert (shown.count, shown.least, shown.most, shown.mean) == (2, 1.5, 2.5, 2.0)


def test_a_scale_beyond_every_float_is_left_out() -> None:
    column = replace(SPEED, scale=1e308, offset=1e308)  # whole numbers, so values are exact integers
    assert group_parts([column], utc_us=np.zeros(1, dtype=np.int64), raw=np.array([[1000]])) == [[]]
