"""Every accepted message again, in every later state, also after a reboot: nothing happens."""

import pytest

from device.mcu import brain as link
from protocol.orders import OrderType, State
from tests.builders.mcu import Box


def whole_life() -> tuple[Box, list[tuple[int, bytes]]]:
    """Return a car that was locked and unlocked, and every message that it took."""
    box = Box.armed()
    token = box.go_token()
    box.send(link.GO, token)
    box.run(4)
    unlock, query = box.unlock(), box.query()
    for order in (unlock, query):
        box.send_order(order)
    box.acknowledge()
    assert box.state is State.NONE
    return box, [(link.ORDER, box.order), (link.GO, token), (link.ORDER, unlock), (link.ORDER, query)]


@pytest.mark.parametrize("reset", ["none", "watchdog", "power", "rtc lost"])
def test_a_replay_after_the_end_has_no_effect(reset: str) -> None:
    box, messages = whole_life()
    if reset == "watchdog":
        box.reset("watchdog")
    elif reset != "none":
        box.cut_power(60, rtc_lost=reset == "rtc lost")
    heads, seq = list(box.brain.record.heads), box.brain.record.disp_seq
    for kind, body in messages:
        box.send(kind, body)
        box.run(20)
    assert box.state is State.NONE
    assert (box.brain.record.heads, box.brain.record.disp_seq) == (heads, seq), (
        "the stored answer comes again"
    )
    assert not box.board.coil


@pytest.mark.parametrize("state", ["armed", "locked"])
def test_a_replay_while_the_lock_stands_returns_its_stored_answer_only(state: str) -> None:
    box = Box.armed() if state == "armed" else Box.locked()
    before, seq = box.state, box.brain.record.disp_seq
    box.send_order(box.order)
    assert box.state is before
    assert box.brain.record.disp_seq == seq


def test_an_unlock_of_the_past_does_not_release_a_later_lock() -> None:
    box = Box.bound()
    old = box.unlock()
    box.send_order(old)
    box.acknowledge()
    box.order = box.lock()
    box.send_order(box.order)
    box.hear_warnings()
    while box.state is not State.ARMED:
        box.run(10)
    box.send_go()
    box.run(4)
    box.send_order(old)
    box.send_order(box.releasing(OrderType.CANCEL, "maker"))
    assert box.state is State.LOCKED
