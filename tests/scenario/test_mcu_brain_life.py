"""A lock's life in the microcontroller, by real messages in virtual time."""

from itertools import pairwise

import pytest

from device.mcu import brain as link
from protocol import strict_cbor
from protocol.dispositions import follows
from protocol.orders import Code, OrderType, State
from protocol.orders_override import code as override_code
from simulators.order_lives.world import K_OVR
from tests.builders.mcu import EPISODE, PARKED_FACTS, Box

DAY = 86_400


def states(box: Box) -> list[str]:
    return [found.state.name for found in box.chain]


def test_a_lock_is_accepted_warned_armed_locked_and_unlocked_with_a_whole_chain() -> None:
    box = Box.locked()
    box.turn_key(crank=True)
    assert not box.board.is_running, "the coil holds the starter"
    order = box.unlock()
    box.send_order(order)
    assert not box.board.coil
    box.turn_key(crank=True)
    assert box.board.is_running
    assert states(box) == ["DONE", "ACCEPTED_PENDING", "WARNING", "ARMED", "LOCKED", "RELEASED", "DONE"]
    assert follows(box.chain[0], None)
    assert all(follows(later, earlier) for earlier, later in pairwise(box.chain))


def test_a_car_that_moves_says_why_it_waits_and_does_not_arm() -> None:
    box = Box.bound()
    box.send_order(box.lock())
    box.hear_warnings()
    box.facts = {**PARKED_FACTS, 1: [9_000, 0]}
    box.run(1_500)
    assert box.state is State.WARNING
    assert Code(box.status[15]) in (Code.MOTION_DISAGREE, Code.IN_MOTION)


def test_an_agent_that_lies_parked_while_the_ignition_wire_is_on_gets_no_lock() -> None:
    box = Box.bound()
    box.send_order(box.lock())
    box.hear_warnings()
    box.board.is_on = True
    box.run(3_000)
    assert box.state is State.WARNING
    assert box.status[15] == Code.IGN_ON


def test_armed_falls_back_after_fifteen_minutes_and_asks_again_later_with_another_challenge() -> None:
    box = Box.armed()
    first = box.go_requests[-1]
    while box.state is State.ARMED:
        box.run(10)
    assert box.state is State.ACCEPTED_PENDING
    assert 900 <= box.last.tick_s - box.chain[-2].tick_s <= 910
    box.run(310)
    assert box.state is State.ARMED
    box.send(link.GO, box.go_token(request=first))
    box.run(4)
    assert box.state is State.ARMED, "a token of another parking does not lock"
    box.send_go()
    box.run(4)
    assert box.state is State.LOCKED


def test_a_token_that_the_gate_refuses_cancels_the_lock() -> None:
    box = Box.armed()
    box.send_go(verdict=2)
    assert box.answers(box.order)[-1] == (State.CANCELLED, Code.NO_GO)


def test_one_press_opens_a_window_and_the_car_locks_again_only_by_a_fresh_token() -> None:
    """O-04: each start is a signed disposition and changes nothing else about the order."""
    box = Box.locked()
    token = box.go_token()
    box.board.is_pressed = True
    box.run(8, 1)
    box.board.is_pressed = False
    assert box.state is State.OVERRIDDEN
    box.drive()
    asked = len(box.go_requests)
    box.tell_time()
    for _ in range(24):
        box.run(3_600, 60)
        if box.status[11]:
            box.tell_time()
    box.run(1_300)
    assert box.state is State.OVERRIDDEN
    assert len(box.go_requests) > asked
    box.send(link.GO, token)
    box.run(4)
    assert box.state is State.OVERRIDDEN, "the old token is of another parking"
    box.send_go()
    box.run(4)
    assert box.state is State.LOCKED
    box.cut_power(10)
    box.run(60)
    assert box.state is State.LOCKED, "the window is in the record too"


def test_a_code_delivered_with_the_notice_opens_the_window_offline() -> None:
    box = Box.locked()
    for digits, word in (("123456789", "MALFORMED"), (override_code(K_OVR, EPISODE, 1), "OPENED")):
        box.send(link.OVERRIDE_CODE, strict_cbor.dumps({1: digits}))
        assert f"CODE_{word}" in box.events()
    assert box.state is State.OVERRIDDEN
    assert box.last.overrides_used == 1


def test_a_warn_plays_and_ends_done_when_it_was_heard() -> None:
    box = Box.bound()
    order = box.warn()
    box.send_order(order)
    box.hear_warnings(2)
    box.run(DAY, 60)
    assert [state for state, _ in box.answers(order)] == [
        State.ACCEPTED_PENDING,
        State.WARNING,
        State.WARNING,
        State.DONE,
    ]


def test_a_renew_waits_for_its_own_token_and_extends_the_lease() -> None:
    box = Box.locked(lock={"key_15": 3_600})
    end = box.brain.lease.end_tick(box.brain.tick)
    order = box.renew(key_15=7_200)
    box.send_order(order)
    box.run(4)
    box.send_go()
    box.run(4)
    assert box.answers(order) == [(State.ACCEPTED_PENDING, Code.OK), (State.DONE, Code.OK)]
    assert box.brain.lease.end_tick(box.brain.tick) > end + 3_000


def test_a_renew_without_a_lock_is_refused() -> None:
    box = Box.bound()
    order = box.renew()
    box.send_order(order)
    assert box.answers(order) == [(State.REJECTED, Code.CHAIN_GAP)]


def test_cancel_ends_a_pending_lock_and_never_a_locked_one() -> None:
    box = Box.armed()
    box.send_order(box.releasing(OrderType.CANCEL, "checker"))
    assert box.answers(box.order)[-1] == (State.CANCELLED, Code.OK)
    locked = Box.locked()
    locked.send_order(locked.releasing(OrderType.CANCEL, "checker"))
    assert locked.state is State.LOCKED


def test_a_second_lock_within_seven_days_is_refused_by_the_rate() -> None:
    box = Box.locked()
    box.send_order(box.unlock())
    box.acknowledge()
    order = box.lock()
    box.send_order(order)
    assert box.answers(order) == [(State.REJECTED, Code.RATE_LIMIT)]


def test_decommission_erases_class_a_in_both_slots_and_says_so() -> None:
    box = Box.locked()
    order = box.releasing(OrderType.DECOMMISSION, "maker", "gate")
    late = box.lock()
    box.send_order(order)
    assert box.answers(order) == [(State.DONE, Code.OK)]
    assert box.answers(box.order)[-1][0] is State.RELEASED
    box.send_order(late)
    assert "DELEGATION_MISSING" in box.link_codes()
    assert list(box.brain.record.roots) == ["platform"]
    names = [slot for slot in box.board.slots if slot is not None and b"lender:" in slot]
    assert names == []


@pytest.mark.parametrize("by", ["maker", "checker", "gate", "safety-officer", "ombuds"])
def test_any_releasing_role_unlocks_alone_without_clock(by: str) -> None:
    box = Box.locked()
    box.cut_power(600, rtc_lost=True)
    assert box.brain.clock.interval(box.brain.tick) == (None, None)
    box.send_order(box.unlock(by))
    assert box.state is State.NONE
    assert box.chain[-2].state is State.RELEASED


def test_query_and_trace_are_answered() -> None:
    box = Box.bound()
    for order in (box.query(), box.trace()):
        box.send_order(order)
        assert box.answers(order) == [(State.DONE, Code.OK)]
