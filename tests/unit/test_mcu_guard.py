"""The coil over its whole input space: only what S-02 names energises it; and what it remembers of a
drive."""

from itertools import product
from typing import Any

import pytest

from device.mcu import floors
from device.mcu.guard import Guard, Relay
from protocol.orders_vocabulary import LOCKED, OVERRIDDEN, STATES

STARTS = ("turn-key", "one-touch", "ready", None)
MAYBE = (True, False, None)
SUPPLIES = (12_600, 9_000, 8_999, 0, None)


def coil(guard: Any, now_s: int = 1_000, **changes: Any) -> bool:
    """Ask a guard about a car that is being cranked while it is locked, with some inputs changed."""
    values: dict[str, Any] = {
        "state": LOCKED, "now_s": now_s, "ignition": True, "crank": True, "engine": False, "moving": False,
        "drive_cycle_ended": True, "start_type": "turn-key", "supply_mv": 12_600,
    }  # fmt: skip
    answer = guard.coil(**(values | changes))
    assert answer is True or answer is False
    return answer


def may_be_energised(
    *,
    state: int,
    ignition: Any,
    crank: Any,
    engine: Any,
    moving: Any,
    ended: Any,
    start: Any,
    supply: Any,
    on_s: Any,
) -> bool:
    """S-02 as it is written, and the brown-out; `on_s` is None when no ignition-on was seen."""
    starts = start in ("turn-key", "one-touch") and crank is True
    touches = start == "one-touch" and ignition is True and on_s is not None and on_s < 60
    return (
        state == LOCKED
        and engine is False
        and moving is False
        and ended is True
        and ignition is not None
        and supply is not None
        and supply >= 9_000
        and (starts or touches)
    )


def test_the_coil_is_energised_exactly_where_the_rule_says() -> None:
    energised = 0
    space = product(
        range(len(STATES)), MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, STARTS, SUPPLIES, (None, 0, 59, 60)
    )
    for state, ignition, crank, engine, moving, ended, start, supply, on_s in space:
        guard = Guard(floors)
        if on_s is not None:
            coil(guard, 0, ignition=False, crank=False, start_type=start)
            coil(guard, 1, ignition=True, crank=False, start_type=start)
        found = coil(
            guard, 1 + (on_s or 0), state=state, ignition=ignition, crank=crank, engine=engine, moving=moving,
            drive_cycle_ended=ended, start_type=start, supply_mv=supply,
        )  # fmt: skip
        assert found == may_be_energised(
            state=state, ignition=ignition, crank=crank, engine=engine, moving=moving, ended=ended,
            start=start, supply=supply, on_s=on_s,
        ), (state, ignition, crank, engine, moving, ended, start, supply, on_s)  # fmt: skip
        energised += found
    assert energised > 0


@pytest.mark.parametrize("ran", [{"engine": True}, {"moving": True}])
def test_a_run_or_motion_drops_it_until_the_next_ended_drive_cycle(ran: dict[str, Any]) -> None:
    guard = Guard(floors)
    assert coil(guard)
    assert not coil(guard, 1_001, **ran)
    assert not coil(guard, 1_002), "still ended, so still the same drive"
    assert not coil(guard, 1_003, drive_cycle_ended=False)
    assert coil(guard, 1_700), "the next one ended"


def test_what_is_not_sensed_for_a_moment_drops_it_for_that_moment() -> None:
    guard = Guard(floors)
    assert not coil(guard, engine=None)
    assert not coil(guard, moving=None)
    assert coil(guard)


def test_a_brown_out_drops_it_for_the_rest_of_that_crank() -> None:
    guard = Guard(floors)
    assert coil(guard, supply_mv=9_000)
    assert not coil(guard, supply_mv=8_999)
    assert not coil(guard, supply_mv=12_600), "never chop a starter that turns"
    assert not coil(guard, crank=False)
    assert coil(guard), "the next crank"


def test_a_brown_out_without_a_crank_is_forgotten() -> None:
    guard = Guard(floors)
    assert not coil(guard, crank=False, supply_mv=8_000)
    assert coil(guard)


def test_a_one_touch_start_is_held_for_a_minute_after_an_ignition_on_that_was_seen() -> None:
    guard = Guard(floors)
    touch = {"start_type": "one-touch", "crank": None}
    assert not coil(guard, 100, **touch), "on since before anybody looked"
    assert not coil(guard, 101, ignition=False, **touch)
    assert [coil(guard, 102 + second, **touch) for second in (0, 1, 59, 60, 61)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert not coil(guard, 200, ignition=False, **touch)
    assert coil(guard, 201, **touch), "the next one"
    assert not coil(guard, 200, **touch), "a count that went back"
    coil(guard, 203, ignition=None, **touch)
    assert not coil(guard, 204, **touch), "an ignition-on nobody saw"


def test_an_emergency_window_never_energises_it() -> None:
    assert not coil(Guard(floors), state=OVERRIDDEN)


@pytest.mark.parametrize(
    ("commanded", "sensed", "is_faulty"),
    [
        *[(True, True, False), (False, False, False), (False, None, False)],
        *[(True, False, True), (False, True, True), (True, None, True)],
    ],
)
def test_feedback_that_contradicts_the_command_becomes_a_fault(
    *, commanded: bool, sensed: bool | None, is_faulty: bool
) -> None:
    relay = Relay(floors)
    found = [relay.is_faulty(now_s, commanded, sensed) for now_s in (10, 11, 12, 13)]
    assert found == [False, False, is_faulty, is_faulty]


def test_a_relay_that_settles_each_time_is_never_faulty() -> None:
    relay = Relay(floors)
    for now_s in range(0, 100, 2):
        is_on = now_s % 4 == 0
        assert not relay.is_faulty(now_s, is_on, not is_on)
        assert not relay.is_faulty(now_s + 1, is_on, is_on)


def test_the_relays_patience_begins_with_the_first_contradiction() -> None:
    relay = Relay(floors)
    on = True
    assert not relay.is_faulty(10, on, on)
    assert not relay.is_faulty(12, on, not on)
    assert relay.is_faulty(14, on, not on)


def test_a_count_that_went_back_starts_the_relays_patience_again() -> None:
    relay = Relay(floors)
    off = False
    assert not relay.is_faulty(1_000, off, not off)
    assert not relay.is_faulty(5, off, not off)
    assert not relay.is_faulty(6, off, not off)
    assert relay.is_faulty(7, off, not off)
