"""The power goes at each call of the board while the brain boots: the next boot finds what this one found."""

import contextlib

import pytest

from protocol.dispositions import follows
from protocol.orders import State
from tests.builders.mcu import Box, PowerCutError

TORN = (0, 20, 3_000)


def pressed() -> Box:
    box = Box.locked()
    box.board.is_pressed = True
    box.run(8, 1)
    box.board.is_pressed = False
    return box


def released_but_not_written() -> Box:
    """Return a car whose release acted and is named beside the slots, which still hold the lock."""
    box = Box.locked()
    image = list(box.board.slots)
    box.send_order(box.unlock())
    box.board.slots = image
    return box


def spoilt() -> Box:
    box = Box.locked()
    box.board.slots = [b"spoilt", b"spoilt"]
    return box


LIVES = {
    "empty": (Box, State.NONE),
    "armed": (Box.armed, State.ACCEPTED_PENDING),
    "locked": (Box.locked, State.LOCKED),
    "emergency": (pressed, State.OVERRIDDEN),
    "released": (released_but_not_written, State.NONE),
    "spoilt": (spoilt, State.NONE),
}


@pytest.mark.parametrize("name", LIVES)
def test_a_cut_at_each_call_of_a_boot_changes_nothing_that_the_next_boot_finds(name: str) -> None:
    make, expected = LIVES[name]
    box = make()
    slots, blobs = list(box.board.slots), dict(box.board.blobs)
    box.cut_power(5)
    before = box.board.calls
    box.cut_power(5)
    calls = box.board.calls - before
    assert calls > 10
    for torn in TORN:
        for cut in range(calls + 12):
            box.board.slots, box.board.blobs = list(slots), dict(blobs)
            box.board.lose_power()
            box.board.boot_ms, box.board.cause = box.board.now_ms, "power"
            box.board.cut_after, box.board.torn_bytes = cut, torn
            with contextlib.suppress(PowerCutError):
                box.start()
            assert not box.board.coil
            box.cut_power(5)
            assert box.state is expected, (cut, torn)
            assert not box.board.coil


def test_three_boots_that_each_fall_over_are_counted_even_when_the_power_goes_in_between() -> None:
    box = Box.locked()
    for _ in range(2):
        box.reset("watchdog")
    box.cut_power(1)
    assert box.state is State.LOCKED
    box.reset("watchdog")
    assert box.last.state is State.FAULT_RELEASED
    assert follows(box.last, box.chain[-2])
