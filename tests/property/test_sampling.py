"""Sampling: the rules as the module states them, told naively and compared row by row."""

import math
import struct
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.acquisition.decode import DecodedGroup
from device.acquisition.sample import DeadBand, Sampler, SampleRule
from protocol.signals import RawType

# Column 0 signed, 1 unsigned (64 bits), 2 float64, 3 float32.
TYPES = (RawType.INT, RawType.UINT, RawType.FLOAT64, RawType.FLOAT32)

floats = st.sampled_from([0.0, -0.0, 1.0, 1.25, -3.5, 1e300, math.inf, -math.inf, math.nan])
small_floats = st.sampled_from([0.0, 0.5, 1.0, 2.5, math.inf, math.nan])


def pattern(code: str, value: float) -> int:
    return int.from_bytes(struct.pack(code, value), "little", signed=code == "<d")


rows = st.tuples(
    st.integers(0, 60),  # time since the row before
    st.one_of(st.integers(-5, 5), st.sampled_from([-(2**63), 2**63 - 1])),
    st.one_of(st.integers(0, 5), st.sampled_from([-1, -(2**63), 2**63 - 1])),
    floats.map(lambda value: pattern("<d", value)),
    small_floats.map(lambda value: pattern("<f", value)),
)

bands = st.builds(
    lambda column, band: DeadBand(column=column, raw_type=TYPES[column], band=band),
    st.integers(0, 3),
    st.one_of(st.integers(0, 4), st.just(2**63)),
)

rules = st.builds(
    SampleRule,
    keep_all=st.booleans(),
    period_us=st.none() | st.integers(1, 100),
    max_interval_us=st.none() | st.integers(1, 200),
    dead_bands=st.lists(bands, max_size=3).map(tuple),
    on_change=st.lists(st.integers(0, 3), max_size=2).map(tuple),
)


def number(raw_type: RawType, raw: int) -> int | float:
    match raw_type:
        case RawType.INT:
            return raw
        case RawType.UINT:
            return raw % 2**64
        case RawType.FLOAT64:
            return float(struct.unpack("<d", raw.to_bytes(8, "little", signed=True))[0])
        case RawType.FLOAT32:
            return float(struct.unpack("<f", raw.to_bytes(4, "little"))[0])


def outside(before: float, now: float, band: float) -> bool:
    if math.isnan(before) or math.isnan(now):
        return math.isnan(before) != math.isnan(now)
    return now != before and not abs(now - before) <= band


def naive(rule: SampleRule, times: list[int], table: list[tuple[int, ...]]) -> list[bool]:
    """The rules of the module, one sentence after the other."""
    kept: list[bool] = []
    last: int | None = None
    for row, t_us in enumerate(times):
        keep = rule.keep_all or last is None
        if rule.period_us is not None and row and times[row - 1] // rule.period_us != t_us // rule.period_us:
            keep = True
        if last is not None:
            values, before = table[row], table[last]
            keep = keep or any(values[column] != before[column] for column in rule.on_change)
            for item in rule.dead_bands:
                one, two = (number(item.raw_type, line[item.column]) for line in (before, values))
                keep = keep or outside(one, two, item.band)
            if rule.max_interval_us is not None:
                keep = keep or not 0 <= t_us - times[last] < rule.max_interval_us
        kept.append(keep)
        last = row if keep else last
    return kept


@given(
    rules, st.lists(rows, min_size=1, max_size=40), st.lists(st.integers(1, 39), max_size=4), st.booleans()
)
def test_sampling_is_what_its_rules_say_however_the_rows_are_cut(
    rule: SampleRule, lines: list[tuple[int, int, int, int, int]], cuts: list[int], step_back_us: int
) -> None:
    times = np.cumsum([line[0] for line in lines]).tolist()
    half = len(times) // 2
    times[half:] = [t_us - step_back_us for t_us in times[half:]]
    table = [line[1:] for line in lines]
    sampler = Sampler({}, default=rule)
    kept: list[bool] = []
    edges = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    for start, stop in pairwise(edges):
        group = DecodedGroup(
            7,
            np.array(times[start:stop], np.int64),
            np.ascontiguousarray(np.array(table[start:stop], np.int64).T),
        )
        kept += sampler.select(group).tolist()
    assert kept == naive(rule, times, table)
    assert sampler.skipped == kept.count(False)


def group(index: int, times: list[int], values: list[int]) -> DecodedGroup:
    return DecodedGroup(index, np.array(times, np.int64), np.array([values], np.int64))


def test_groups_are_sampled_apart_and_each_by_its_rule() -> None:
    sampler = Sampler({1: SampleRule(on_change=(0,))}, default=SampleRule(keep_all=True))
    assert sampler.select(group(1, [0, 1, 2], [5, 5, 6])).tolist() == [True, False, True]
    assert sampler.select(group(2, [0, 1, 2], [5, 5, 6])).tolist() == [True, True, True]
    assert sampler.select(group(1, [3], [6])).tolist() == [False]
    assert sampler.skipped == 2


def test_a_period_keeps_the_first_row_of_each_slot_whatever_the_jitter() -> None:
    times = [0, 99, 101, 199, 200, 305, 399, 400]
    kept = Sampler({}, SampleRule(period_us=100)).select(group(0, times, [0] * 8)).tolist()
    assert kept == [True, False, True, False, True, True, False, True]


def test_a_slow_drift_leaves_the_band_once_it_has_gone_far_enough() -> None:
    rule = SampleRule(dead_bands=(DeadBand(column=0, raw_type=RawType.INT, band=3),))
    kept = Sampler({}, rule).select(group(0, list(range(10)), list(range(10)))).tolist()
    assert [row for row, keep in enumerate(kept) if keep] == [0, 4, 8]


def test_a_non_contiguous_block_is_sampled_as_its_copy() -> None:
    rule = SampleRule(on_change=(1,), dead_bands=(DeadBand(column=0, raw_type=RawType.UINT, band=1),))
    raw = np.array([[0, 7], [2, 7], [2, 8]], np.int64).T
    times = np.arange(3, dtype=np.int64)
    views = [Sampler({}, rule).select(DecodedGroup(0, times, block)).tolist() for block in (raw, raw.copy())]
    assert views == [[True, True, True]] * 2
