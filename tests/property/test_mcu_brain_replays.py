"""Every accepted message again, in every later state, after reboots, old images, a lost RTC: no effect."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from device.mcu import brain as link
from protocol import strict_cbor
from protocol.orders import OrderType, State
from protocol.orders_override import code as override_code
from simulators.order_lives.world import K_OVR
from tests.builders.mcu import EPISODE, Box

if TYPE_CHECKING:
    from collections.abc import Callable

RESETS: dict[str, Callable[[Box], None]] = {
    "none": lambda _: None,
    "watchdog": lambda box: box.reset("watchdog"),
    "power": lambda box: box.cut_power(60),
    "rtc lost": lambda box: box.cut_power(60, rtc_lost=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A state of a life: what stands in flash and blobs, and the messages taken until then."""

    name: str
    box: Box
    messages: tuple[tuple[str, int, bytes], ...]


def copied(box: Box) -> Box:
    """Return the car as it is now; the floors are a module, which stays itself."""
    return copy.deepcopy(box, {id(box.floors): box.floors})


@functools.cache
def life() -> tuple[Moment, ...]:
    """Return a whole life: accepted, warned, armed, locked, emergency, locked again by a token, unlocked."""
    moments: list[Moment] = []
    messages: list[tuple[str, int, bytes]] = []
    box = Box.bound()

    def now(name: str) -> None:
        moments.append(Moment(name=name, box=copied(box), messages=tuple(messages)))

    def take(name: str, kind: int, body: bytes) -> None:
        messages.append((name, kind, body))
        box.send(kind, body)
        box.acknowledge()

    take("unlock of the past", link.ORDER, box.unlock())
    take("warn", link.ORDER, box.warn())
    box.order = box.lock()
    take("lock", link.ORDER, box.order)
    now("accepted")
    box.hear_warnings()
    now("warned")
    while box.state is not State.ARMED:
        box.run(10)
    box.acknowledge()
    now("armed")
    take("go", link.GO, box.go_token())
    box.run(4)
    box.acknowledge()
    now("locked")
    take("query", link.ORDER, box.query())
    take("renew", link.ORDER, box.renew())
    take("go of the renew", link.GO, box.go_token())
    box.run(4)
    take("cancel", link.ORDER, box.releasing(OrderType.CANCEL, "checker"))
    now("renewed")
    take("code", link.OVERRIDE_CODE, strict_cbor.dumps({1: override_code(K_OVR, EPISODE, 1)}))
    now("emergency")
    take("unlock", link.ORDER, box.unlock())
    now("unlocked")
    assert box.state is State.NONE
    return tuple(moments)


MOMENTS = ("accepted", "warned", "armed", "locked", "renewed", "emergency", "unlocked")


def moment(name: str) -> Moment:
    found = next(moment for moment in life() if moment.name == name)
    return Moment(name=name, box=copied(found.box), messages=found.messages)


def effect(box: Box) -> tuple[object, ...]:
    """Return all that a replay could change of what counts."""
    record, lease, override = box.brain.record, box.brain.lease, box.brain.override
    return (
        box.state,
        list(record.heads),
        record.disp_seq,
        record.challenge,
        None if lease is None else (lease.end_tick(box.brain.tick), lease.contact_tick),
        override.used,
        override.left_s(box.brain.tick) > 0,
        box.board.coil,
    )


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("name", MOMENTS)
def test_a_replay_in_any_later_state_has_no_effect(name: str, reset: str) -> None:
    found = moment(name)
    box = found.box
    RESETS[reset](box)
    box.acknowledge()
    for what, kind, body in found.messages:
        if what == "code" and box.state is State.LOCKED:
            continue  # the next code is another; this one is a wrong try, which is its effect
        before = effect(box)
        box.brain.receive(kind, body)
        for _ in range(3):
            box.brain.step()
        box.collect()
        assert effect(box) == before, what


@pytest.mark.parametrize("older", MOMENTS[:-2])
@pytest.mark.parametrize("name", ["emergency", "unlocked"])
@pytest.mark.parametrize("rtc_lost", [False, True])
def test_all_messages_again_over_an_older_image_never_lock(name: str, older: str, rtc_lost: bool) -> None:  # noqa: FBT001
    found = moment(name)
    box = found.box
    box.board.slots = list(moment(older).box.board.slots)
    box.cut_power(60, rtc_lost=rtc_lost)
    was = box.state
    for _, kind, body in found.messages:
        box.send(kind, body)
        box.run(20)
    box.run(2_000, 4)
    for _, kind, body in found.messages:
        box.send(kind, body)
    assert box.state is not State.LOCKED or was is State.LOCKED, "no token of the past locks"
    if name == "unlocked":
        assert box.state is not State.LOCKED, "a lock that ended is named beside the slots"
    box.send_order(box.unlock())
    assert box.state is State.NONE


def test_an_unlock_of_the_past_does_not_release_a_later_lock() -> None:
    found = moment("locked")
    old = next(body for what, _, body in found.messages if what == "unlock of the past")
    found.box.send_order(old)
    assert found.box.state is State.LOCKED
