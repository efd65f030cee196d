"""Why an order waits, as the agent sees it, over the whole bucketed space; and when the box must be awake."""

import itertools

import pytest

from device.orders.interlock import ROWS, why_waiting
from device.orders.link import read_status
from device.orders.wake import DUTIES, Cause, duty, plan
from tests.builders.mcu import PARKED_FACTS
from tests.builders.orders_desk import status

OPEN = read_status(status(key_5=3, key_6=bytes(16)))

BUCKETS: dict[int, tuple[tuple[object, bool], ...]] = {
    1: (([0, 0], True), ([0, 5], True), ([1, 0], False)),
    2: (([0, 0, 0], True), ([833, 5, 0], True), ([834, 0, 0], False), ([0, 0, 2], False)),
    3: (([0, 10, 3], True), ([1, 10, 3], False), ([2, 10, 3], False), (None, False)),
    4: (([380, 0], True), (None, True), ([381, 0], False), ([-101, 0], False)),
    5: ((480, True), (479, False), (1_080, False), (None, False), (True, False)),
    6: ((True, True), (False, False), (None, False)),
    8: ((False, True), (None, True), (True, False), (1, False)),
    9: ((False, True), (True, False), (None, False)),
    10: ((False, True), (True, False)),
    11: ((None, True), (True, False)),
}
"""By key of FACTS, values and whether each allows."""


def test_what_is_not_listed_as_allowing_is_a_reason_in_every_combination() -> None:
    """All pairs of buckets over an else parked car: each refusing value alone must show."""
    keys = sorted(BUCKETS)
    for first, second in itertools.combinations(keys, 2):
        for (one, allows_one), (two, allows_two) in itertools.product(BUCKETS[first], BUCKETS[second]):
            told = PARKED_FACTS | {first: one, second: two}
            reasons = why_waiting(OPEN, told, is_uplink_up=True)
            assert (reasons == ()) == (allows_one and allows_two), (told, reasons)


@pytest.mark.parametrize("key", sorted(PARKED_FACTS))
@pytest.mark.parametrize("value", ["text", b"bytes", [], [None, None], ["a", 0, 0], {}, -1, 1 << 70])
def test_a_value_of_a_wrong_kind_breaks_nothing(key: int, value: object) -> None:
    why_waiting(OPEN, PARKED_FACTS | {key: value}, is_uplink_up=True)


def test_no_facts_at_all_are_reasons_and_no_order_is_none() -> None:
    assert len(why_waiting(OPEN, {}, is_uplink_up=False)) >= 5
    assert why_waiting(read_status(status()), {}, is_uplink_up=False) == ()


def test_the_microcontrollers_word_comes_first_and_is_not_repeated() -> None:
    waits = read_status(status(key_5=3, key_6=bytes(16), key_15=21))
    told = PARKED_FACTS | {10: True}
    assert why_waiting(waits, told, is_uplink_up=False) == ("IGN_ON", "NO_GO")


def test_every_row_can_refuse_and_allow() -> None:
    for code, allows in ROWS:
        assert allows(PARKED_FACTS), code
        refusing = [PARKED_FACTS | {key: value} for key, values in BUCKETS.items() for value, _ in values] + [
            PARKED_FACTS | {1: None, 2: None}
        ]
        assert not all(allows(told) for told in refusing), code


def test_with_an_order_open_every_cause_wakes_and_is_answered_within_a_minute() -> None:
    for cause in Cause:
        assert DUTIES[cause, True].answer_within_s == 60
        assert DUTIES[cause, True].connect_first
        assert duty(cause, is_open=True, supply_ok=False) is None
    assert plan(is_open=True, supply_ok=True).wake_every_s == 60


def test_without_one_the_box_wakes_every_six_hours_and_a_call_is_still_answered() -> None:
    assert plan(is_open=False, supply_ok=True).wake_every_s == 6 * 3_600
    assert DUTIES[Cause.MODEM, False].answer_within_s == 60
    assert DUTIES[Cause.IGNITION, False].connect_first
    assert set(DUTIES) == set(itertools.product(Cause, (False, True)))


def test_below_the_supply_limit_nothing_wakes_it() -> None:
    assert plan(is_open=True, supply_ok=False).causes == ()
