"""The power goes at any call of accept, lock, unlock and storage writes, torn at any byte.

After each cut, and cuts of the boot that follows: the state is legal or unlocked, the chain is whole
or its gap declared, the coil is off, and a release works.
"""

import contextlib
import random
from itertools import pairwise

import pytest

from device.mcu import brain as link
from protocol.dispositions import follows
from protocol.orders import State
from tests.builders.mcu import Box, FakeBoard, PowerCutError

CUTS = 250  # of each of the four acts


class Recorder(FakeBoard):
    """A board that notes at which of its calls it writes."""

    writes: list[int]

    def slot_write(self, index: int, data: bytes) -> None:
        self.writes.append(self.calls)
        super().slot_write(index, data)

    def blob_write(self, name: str, data: bytes) -> None:
        self.writes.append(self.calls)
        super().blob_write(name, data)


def ready(act: str) -> Box:
    """A car before the act."""
    box = {"accept": Box.bound, "lock": Box.armed, "unlock": Box.locked, "save": Box.locked}[act]()
    if act == "accept":
        box.order = box.lock()
    return box


def do(act: str, box: Box) -> None:
    if act == "accept":
        box.send_order(box.order)
    elif act == "lock":
        box.send(link.GO, box.go_token())
        box.run(4)
    elif act == "unlock":
        box.send_order(box.unlock())
    else:
        box.run(70)


LEGAL = {
    "accept": {State.NONE, State.ACCEPTED_PENDING},
    "lock": {State.ARMED, State.ACCEPTED_PENDING, State.LOCKED},
    "unlock": {State.LOCKED, State.NONE},
    "save": {State.LOCKED},
}


def calls_of(act: str) -> tuple[int, list[int]]:
    """Return how many calls of the board an act makes, and which of them write."""
    box = ready(act)
    box.board.__class__ = Recorder
    box.board.writes = []  # type: ignore[attr-defined]
    first = box.board.calls
    do(act, box)
    writes: list[int] = box.board.writes  # type: ignore[attr-defined]
    return box.board.calls - first, [at - first for at in writes]


def cut(act: str, count: int, seed: int) -> None:
    """Cut the power that many times, each time of another car, half of the cuts within a write."""
    chance = random.Random(seed)
    calls, writes = calls_of(act)
    assert writes, "an act that writes nothing tests nothing"
    for number in range(count):
        box = ready(act)
        box.board.cut_after = chance.choice(writes) if number % 2 else chance.randrange(calls)
        box.board.torn_bytes = chance.choice((0, chance.randrange(64), chance.randrange(8_000)))
        with contextlib.suppress(PowerCutError):
            do(act, box)
            pytest.fail("the power did not go")
        box.collect()
        cut_boots(box, chance)
        judge(act, box)


def cut_boots(box: Box, chance: random.Random) -> None:
    """Boot, the power going again up to twice meanwhile."""
    for _ in range(chance.choice((0, 0, 1, 2))):
        box.board.lose_power()
        box.board.boot_ms = box.board.now_ms
        box.board.cut_after, box.board.torn_bytes = chance.randrange(60), chance.randrange(8_000)
        with contextlib.suppress(PowerCutError):
            box.start()
    box.cut_power(chance.choice((0, 1, 100)))


def judge(act: str, box: Box) -> None:
    assert box.state in LEGAL[act]
    assert not box.board.coil
    box.run(30)
    chain = sorted(box.chain, key=lambda found: found.sequence)
    assert len({found.sequence for found in chain}) == len(chain), "no number is used for two answers"
    assert all(follows(later, earlier) for earlier, later in pairwise(chain))
    missing = chain[-1].sequence - len(chain)
    assert missing <= box.brain.record.ring_lost, "a gap is declared"
    unlock = box.unlock()
    box.send_order(unlock)
    assert box.state is State.NONE, "a release works after every cut"
    assert box.answers(unlock), "and is answered"


@pytest.mark.parametrize("act", LEGAL)
def test_a_cut_leaves_a_legal_state_and_a_whole_chain(act: str) -> None:
    cut(act, 12, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("act", LEGAL)
def test_a_thousand_cuts_leave_a_legal_state_and_a_whole_chain(act: str) -> None:
    cut(act, CUTS, seed=2)
