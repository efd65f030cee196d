"""Power cuts at any call of the board, torn writes at any byte: what a restart finds."""

import contextlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.mcu import brain as link
from protocol.dispositions import follows
from protocol.orders import State
from tests.builders.mcu import Box, PowerCutError

CALLS = 400  # more than any of the acts below make in what is cut


def lock_now(box: Box) -> None:
    box.send(link.GO, box.go_token())
    box.run(4)


def unlock_now(box: Box) -> None:
    box.send_order(box.unlock())


def accept_now(box: Box) -> None:
    box.send_order(box.order)


def save_now(box: Box) -> None:
    box.run(70)


def fresh_order() -> Box:
    box = Box.bound()
    box.order = box.lock()
    return box


ACTS: dict[str, tuple[Callable[[], Box], Callable[[Box], None], set[State]]] = {
    "accept": (fresh_order, accept_now, {State.NONE, State.ACCEPTED_PENDING}),
    "lock": (Box.armed, lock_now, {State.ARMED, State.ACCEPTED_PENDING, State.LOCKED}),
    "unlock": (Box.locked, unlock_now, {State.LOCKED, State.NONE}),
    "save": (Box.locked, save_now, {State.LOCKED}),
}


@pytest.mark.parametrize("name", ACTS)
@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, CALLS), torn=st.integers(0, 8_000), off_s=st.integers(0, 100))
def test_after_a_cut_the_state_is_legal_or_unlocked_and_the_chain_whole(
    name: str, cut: int, torn: int, off_s: int
) -> None:
    make, act, legal = ACTS[name]
    box = make()
    box.board.cut_after, box.board.torn_bytes = cut, torn
    with contextlib.suppress(PowerCutError):
        act(box)
    box.collect()
    box.cut_power(off_s)
    assert box.state in legal
    assert not box.board.coil
    box.run(30)
    chain = sorted(box.chain, key=lambda found: found.sequence)
    assert len({found.sequence for found in chain}) == len(chain), "no number is used for two answers"
    assert all(follows(later, earlier) for earlier, later in pairwise(chain))
    box.send_order(box.unlock())
    assert box.state is State.NONE, "a release works after every cut"
