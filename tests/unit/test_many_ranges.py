"""A chain of very many ranges costs a few passes over them, and has a limit that keeps no batch by half."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

import pytest

from backend.domain.coverage import Ranges
from backend.domain.ingest import ChainState, Verdict
from backend.domain.receipting import build_receipt, hash_points
from protocol import limits
from protocol.batch import EndedLoss, Loss, LossCause, OpenedBatch, Origin, OriginKind, SectionState
from protocol.envelope import read_sign1
from protocol.receipts import RefusalCode
from tests.builders.ingest import Box, Chain, MadeBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 4_000
EVERY_THIRD = tuple((3 * at + 1, 3 * at + 1) for at in range(MANY))
LATER_ORIGIN = Origin(kind=OriginKind.CONFLICT, last_head=None)


class CountedRanges(Ranges):
    """Ranges that count how often all of them are gone through to build new ones."""

    passes: ClassVar[int] = 0

    def union(self, other: Ranges) -> Self:
        CountedRanges.passes += 1
        return super().union(other)


@pytest.fixture
def passes() -> Iterator[type[CountedRanges]]:
    CountedRanges.passes = 0
    yield CountedRanges
    CountedRanges.passes = 0


def opened(batch: MadeBatch) -> OpenedBatch:
    return OpenedBatch(
        header=batch.header,
        sign1=read_sign1(batch.sign1, max_bytes=limits.HEADER_BYTES_MAX),
        head_hash=batch.hash,
        sections=batch.sections,
        states=dict.fromkeys(batch.sections, SectionState.PRESENT),
    )


def wide_state() -> ChainState:
    """4,000 stored ranges, a loss, and as many refusals as are kept."""
    return ChainState(
        stored=CountedRanges(EVERY_THIRD),
        lost=CountedRanges(((2, 2),)),
        lost_later=CountedRanges(((6, 6),)),
        refused={3 * at + 2: RefusalCode.TOO_LARGE for at in range(1, limits.QUARANTINE_ITEMS_MAX + 1)},
    )


def answer(state: ChainState, chain: Chain) -> None:
    points = hash_points(state, touched=range(1, 101))
    hashes = dict.fromkeys(points, bytes(32))
    receipt = build_receipt(
        state, device=chain.box.device, chain=chain.chain, hashes=hashes, touched=range(1, 101), issued_us=1
    )
    assert receipt.upto == 1
    assert len(receipt.have) == limits.RECEIPT_HAVE_MAX


def test_a_receipt_goes_through_the_ranges_once_however_many_there_are(passes: type[CountedRanges]) -> None:
    state = wide_state()
    answer(state, Box().chain())
    assert passes.passes == 2, "stored and lost, then lost later"
    assert len(state.holes) == MANY - 1
    assert passes.passes == 2, "nothing changed, so nothing is computed again"


def test_refusals_are_forgotten_without_a_pass_over_the_ranges(passes: type[CountedRanges]) -> None:
    state = wide_state()
    chain = Box().chain()
    chain.seq, chain.prev = 3 * MANY + 9, bytes(32)
    state.refused[4] = RefusalCode.TOO_LARGE
    assert state.take(opened(chain.next())).verdict is Verdict.STORE
    assert 4 not in state.refused
    assert len(state.refused) == limits.QUARANTINE_ITEMS_MAX
    assert passes.passes <= 1, "the losses of the batch, and nothing a refusal"


def test_all_losses_of_one_batch_and_chain_are_noted_in_one_pass(passes: type[CountedRanges]) -> None:
    box = Box()
    ended = ChainState(stored=CountedRanges(((1, 5),)), lost_later=CountedRanges(EVERY_THIRD[3:]))
    losses = tuple(
        EndedLoss(chain=box.chain().chain, first=seq, last=seq, cause=LossCause.RESEALED)
        for seq in range(3 * MANY + 9, 3 * MANY + 9 + 2 * limits.ENDED_LOSSES_MAX, 2)
    )
    later = box.chain(seed=2, origin=LATER_ORIGIN).next(ended_losses=losses)
    assert ChainState().take(opened(later), ended={box.chain().chain: ended}).verdict is Verdict.STORE
    assert passes.passes == 1
    assert all(loss.first in ended.lost_later for loss in losses)
    assert ended.is_changed


def test_the_widest_chain_is_answered_within_a_blink() -> None:
    """A bound a hundred times above what it takes, and far below what a pass for each range took."""
    began_s = time.process_time()
    answer(wide_state(), Box().chain())
    assert time.process_time() - began_s < 1.0


def full(*, beyond: int = 0) -> Ranges:
    return Ranges(tuple((2 * at + 2, 2 * at + 2) for at in range(limits.CHAIN_LOST_RANGES_MAX + beyond)))


def test_a_batch_that_declares_more_lost_than_is_noted_is_left_with_the_box_whole() -> None:
    chain = Box().chain()
    chain.seq, chain.prev = full().last + 9, bytes(32)
    batch = opened(chain.next(losses=(Loss(first=chain.seq, last=chain.seq, cause=LossCause.QUOTA),)))
    state = ChainState(stored=Ranges(((1, 1),)), lost=full())
    assert state.take(batch).verdict is Verdict.DEFER
    assert (state.stored, state.lost, state.links, state.is_changed) == (
        Ranges(((1, 1),)),
        full(),
        {},
        False,
    )


def test_a_batch_that_declares_more_lost_of_an_ended_chain_than_is_noted_is_left_with_the_box_whole() -> None:
    box = Box()
    one, two = (box.chain(seed=seed).chain for seed in (1, 2))
    losses = (
        EndedLoss(chain=one, first=3, last=3, cause=LossCause.RESEALED),
        EndedLoss(chain=two, first=full().last + 9, last=full().last + 9, cause=LossCause.RESEALED),
    )
    batch = opened(box.chain(seed=3, origin=LATER_ORIGIN).next(ended_losses=losses))
    states = {one: ChainState(), two: ChainState(lost_later=full())}
    state = ChainState()
    assert state.take(batch, ended=states).verdict is Verdict.DEFER
    assert not any(at.is_changed for at in (state, *states.values()))
    assert (state.stored, states[one].lost_later, states[two].lost_later) == (Ranges(), Ranges(), full())


def test_losses_that_join_what_is_noted_are_noted_at_the_limit() -> None:
    chain = Box().chain()
    chain.seq, chain.prev = full().last + 9, bytes(32)
    batch = opened(chain.next(losses=(Loss(first=3, last=3, cause=LossCause.QUOTA),)))
    state = ChainState(lost=full())
    assert state.take(batch).verdict is Verdict.STORE
    assert len(state.lost) == limits.CHAIN_LOST_RANGES_MAX - 1


def test_a_chain_with_more_losses_than_are_noted_now_goes_on() -> None:
    """Written before there was a limit: what makes it no wider is stored."""
    chain = Box().chain()
    chain.seq, chain.prev = full(beyond=9).last + 9, bytes(32)
    state = ChainState(lost=full(beyond=9))
    assert state.take(opened(chain.next())).verdict is Verdict.STORE


def test_a_repeat_of_a_stored_batch_is_a_duplicate_at_the_limit_too() -> None:
    chain = Box().chain()
    chain.seq, chain.prev = full().last + 9, bytes(32)
    batch = opened(chain.next(losses=(Loss(first=3, last=3, cause=LossCause.QUOTA),)))
    state = ChainState()
    state.take(batch)
    state.lost = full()
    assert state.take(replace(batch)).verdict is Verdict.DUPLICATE
