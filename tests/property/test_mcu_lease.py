"""A lease ends by itself: in time, never beyond seven days, never later by resets, renewals or silence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.mcu import floors
from device.mcu.lease import Lease

HOUR, DAY = 3_600, 86_400
START = 1_000
CAP = 7 * DAY


def again(lease: Any) -> Any:
    """Return the lease as it is after a reset: from its record."""
    return Lease(floors, 0, kept=lease.dump())


def end_of(lease: Any, tick: int = START, step: int = 60) -> int:
    """Return the tick at which a device that looks every minute finds it over."""
    while not lease.is_over(tick):
        tick += step
        assert tick < START + 2 * CAP, "it never ends"
    return tick


@given(hold_s=st.integers(1, CAP))
def test_it_ends_after_its_hold_within_one_percent(hold_s: int) -> None:
    lease = Lease(floors, START, hold_s)
    assert not lease.is_over(START + hold_s - 1)
    assert lease.is_over(START + hold_s)
    found = end_of(lease, step=max(1, hold_s // 200)) - START
    assert abs(found - hold_s) <= hold_s / 100 + 1


def test_an_order_without_a_hold_has_three_days_and_none_has_more_than_seven() -> None:
    assert Lease(floors, START).end_tick(START) == START + 72 * HOUR
    assert Lease(floors, START, 10 * CAP).end_tick(START) == START + CAP
    assert Lease(floors, START, -5).is_over(START)
    assert Lease(floors, START, 0).is_over(START)


def test_hours_in_an_emergency_window_count_against_the_seven_days_only() -> None:
    lease = Lease(floors, START, 72 * HOUR)
    lease.window_opened(START + HOUR, DAY)
    assert lease.end_tick(START + HOUR) == START + 72 * HOUR
    assert lease.end_tick(START + 7 * HOUR) == START + 78 * HOUR
    assert lease.end_tick(START + 60 * HOUR) == START + 96 * HOUR, "after the window's end hold counts again"
    week = Lease(floors, START, CAP)
    week.window_opened(START + HOUR, DAY)
    assert week.end_tick(START + 2 * DAY) == START + CAP


def test_a_tick_before_the_window_has_spent_nothing_in_it() -> None:
    lease = Lease(floors, START, 72 * HOUR)
    lease.window_opened(START + 10, DAY)
    assert lease.end_tick(START + 5) == START + 72 * HOUR


def test_a_second_window_adds_to_the_first_and_cuts_nothing_twice() -> None:
    lease = Lease(floors, START, 72 * HOUR)
    lease.window_opened(START, DAY)
    lease.window_opened(START + 6 * HOUR, DAY)
    assert lease.end_tick(START + 60 * HOUR) == START + (72 + 6 + 24) * HOUR
    lease.window_opened(START + 61 * HOUR, DAY)
    assert lease.end_tick(START + 61 * HOUR) == START + (72 + 30) * HOUR
    assert lease.end_tick(START + 90 * HOUR) == START + (72 + 30 + 24) * HOUR


def test_power_lost_three_times_with_its_clock_ends_three_days_and_once_does_not() -> None:
    lease = Lease(floors, START, 72 * HOUR)
    lease.charge_unknown_off_time()
    assert not again(lease).is_over(START + 1)
    assert lease.end_tick(START) == START + 48 * HOUR
    lease.charge_unknown_off_time()
    assert not lease.is_over(START + 1)
    lease.charge_unknown_off_time()
    assert lease.is_over(START)


def test_a_charge_counts_against_the_seven_days_too() -> None:
    lease = Lease(floors, START, CAP)
    lease.charge_unknown_off_time()
    assert lease.end_tick(START) == START + 6 * DAY
    lease.renew(START + DAY, CAP)
    assert lease.end_tick(START + DAY) == START + 6 * DAY


def test_a_renewal_holds_from_its_token_and_never_shortens() -> None:
    lease = Lease(floors, START, 72 * HOUR)
    lease.renew(START + 70 * HOUR, 72 * HOUR)
    assert lease.end_tick(START + 70 * HOUR) == START + 142 * HOUR
    lease.renew(START + 71 * HOUR, HOUR)
    assert lease.end_tick(START + 71 * HOUR) == START + 142 * HOUR
    lease.renew(START + 140 * HOUR, 72 * HOUR)
    assert lease.end_tick(START + 140 * HOUR) == START + CAP


def test_a_renewal_after_a_window_and_a_charge_still_holds_from_its_token() -> None:
    lease = Lease(floors, START, 24 * HOUR)
    lease.window_opened(START + HOUR, DAY)
    lease.charge_unknown_off_time()
    lease.renew(START + 30 * HOUR, 48 * HOUR)
    assert lease.end_tick(START + 30 * HOUR) == START + 78 * HOUR


def test_a_day_without_authenticated_contact_is_too_long() -> None:
    lease = Lease(floors, START, 72 * HOUR)
    assert not lease.is_contact_lost(START + DAY - 1)
    assert lease.is_contact_lost(START + DAY)
    lease.contact(START + HOUR)
    lease.contact(START)
    assert lease.contact_tick == START + HOUR, "what was heard stays heard"
    assert not again(lease).is_contact_lost(START + DAY)
    assert lease.is_contact_lost(START + HOUR + DAY)
    lease.charge_unknown_off_time()
    assert not lease.is_contact_lost(START + DAY), "one pulled fuse is not a day of silence"


def test_a_tick_before_it_began_is_a_defect_and_ends_it() -> None:
    assert Lease(floors, START, 72 * HOUR).is_over(START - 1)


deeds = st.lists(
    st.tuples(
        st.sampled_from(["reset", "charge", "window", "renew", "contact", "wait"]),
        st.integers(0, 2 * DAY),
        st.integers(1, CAP),
    ),
    max_size=12,
)


@given(hold_s=st.integers(1, CAP), deeds=deeds, power_cycles=st.booleans())
def test_whatever_happens_it_is_over_after_seven_days_and_resets_never_lengthen_it(
    *, hold_s: int, deeds: list[tuple[str, int, int]], power_cycles: bool
) -> None:
    lease, tick = Lease(floors, START, hold_s), START
    for deed, wait_s, seconds in deeds:
        tick += wait_s
        before = lease.end_tick(tick)
        match deed:
            case "reset":
                lease = again(lease)
                assert lease.end_tick(tick) == before
            case "charge":
                lease.charge_unknown_off_time()
                assert lease.end_tick(tick) <= before
            case "window":
                lease.window_opened(tick, min(seconds, DAY))
                assert lease.end_tick(tick) == before
            case "renew":
                lease.renew(tick, seconds)
                assert before <= lease.end_tick(tick) <= START + CAP
            case "contact":
                lease.contact(tick)
        if power_cycles:
            lease = again(lease)
    assert lease.end_tick(tick) <= START + CAP
    assert lease.is_over(START + CAP)
    assert lease.is_over(2**50)


@pytest.mark.parametrize("hold_s", [HOUR, 72 * HOUR, CAP])
def test_the_record_is_whole_numbers_and_nothing_else(hold_s: int) -> None:
    lease = Lease(floors, START, hold_s)
    lease.window_opened(START + 5, DAY)
    assert lease.dump() == [START, hold_s, 0, 0, START + 5, DAY, START]
    assert again(lease).dump() == lease.dump()
