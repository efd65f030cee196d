"""The microcontroller's clock: ticks over off-time, and the interval in which UTC lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.mcu import clock
from device.mcu.clock import Clock, ticks_after
from device.mcu.record import Record


def record(tick: int, rtc: int | None) -> Record:
    made = Record()
    made.tick, made.rtc = tick, rtc
    return made


@pytest.mark.parametrize(
    ("kept", "now", "expected"),
    [
        (100, 160, (560, 60)),
        (100, 100, (500, 0)),
        (100, 99, (500, None)),
        (None, 160, (500, None)),
        (100, None, (500, None)),
        (100, 100 + clock.OFF_S_MAX, (500 + clock.OFF_S_MAX, clock.OFF_S_MAX)),
        (100, 101 + clock.OFF_S_MAX, (500, None)),
    ],
)
def test_off_time_is_what_the_rtc_measured_or_unknown(
    kept: int | None, now: int | None, expected: tuple[int, int | None]
) -> None:
    assert ticks_after(record(500, kept), now) == expected


@given(
    low=st.integers(0, 1 << 40),
    width=st.integers(0, 300),
    spent=st.integers(0, 10**7),
    ppm=st.integers(-100, 100),
)
def test_the_truth_stays_inside_while_the_crystal_drifts_within_its_bound(
    low: int, width: int, spent: int, ppm: int
) -> None:
    made = Clock()
    made.learn(low, low + width, 50)
    earliest, latest = made.interval(50 + spent)
    true_spent = spent + spent * ppm // 1_000_000
    assert earliest <= low + true_spent <= latest
    assert earliest <= low + width + true_spent <= latest


@given(off_s=st.integers(0, 10**8), ppm=st.integers(-250, 250))
def test_the_truth_stays_inside_over_off_time_by_the_rtc(off_s: int, ppm: int) -> None:
    made = Clock()
    made.learn(1_000, 1_010, 5)
    made.slept(5, off_s, 5 + off_s)
    earliest, latest = made.interval(5 + off_s)
    true_off = off_s + off_s * ppm // 1_000_000
    assert earliest <= 1_000 + true_off
    assert 1_010 + true_off <= latest
    assert made.sources == clock.SIGNED | clock.RTC


def test_off_time_that_nobody_measured_loses_the_time() -> None:
    made = Clock()
    made.learn(1_000, 1_010, 5)
    made.slept(5, None, 5)
    assert made.interval(5) == (None, None)
    assert made.sources == 0


def test_a_narrower_known_interval_that_agrees_is_kept_and_one_that_contradicts_gives_way() -> None:
    made = Clock()
    made.learn(100, 104, 50)
    made.learn(90, 200, 50)
    assert made.interval(50) == (100, 104)
    made.learn(300, 310, 50)
    assert made.interval(50) == (300, 310)


def test_a_nonce_lives_four_minutes_and_a_new_one_is_said_each_minute() -> None:
    made = Clock()
    numbers = iter(range(1, 100))
    first = made.nonce(0, lambda count: bytes([next(numbers)]) * count)
    assert made.nonce(59, lambda count: bytes([next(numbers)]) * count) == first
    assert made.nonce(60, lambda count: bytes([next(numbers)]) * count) != first


def test_time_is_wanted_while_unknown_wide_or_old() -> None:
    made = Clock()
    assert made.wants(0, 3_600)
    made.learn(100, 104, 0)
    assert not made.wants(3_599, 3_600)
    assert made.wants(3_600, 3_600)
    made.learn(1_000_000, 1_000_121, 4_000)
    assert made.wants(4_001, 3_600), "121 s wide"
