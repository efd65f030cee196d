"""Before a box goes on in a chain of an earlier boot, it asks the backend where the chain stands."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from device.delivery.rehome import _with_move
from device.delivery.spool_policy import SpoolIndex, choose
from device.events import BatchPublished
from device.state import BatchKey, ChainId, EntryState, IndexEntry, SpoolClass
from protocol.batch import EndedLoss, LossCause
from protocol.facts import Event
from protocol.limits import STANDING_CHAINS_MAX
from protocol.receipts import sign_receipt
from protocol.standing import open_standing_request
from tests.builders.engine import (
    BACKEND_KEY,
    DEVICE,
    DEVICE_KEYS,
    SECOND,
    Box,
    Ledger,
    config,
    drive,
    moves_of,
    numbers_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.standing import StandingRequest


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    home = tmp_path / "home"
    home.mkdir()
    made = Box(home)
    yield made
    made.spool.close()


def asked(box: Box) -> list[StandingRequest]:
    return [open_standing_request(question, DEVICE_KEYS.get, device=DEVICE) for question in box.questions]


def test_a_chain_of_an_earlier_boot_is_not_sent_before_the_answer(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    drive(box, 1)
    box.drain(ledger)
    box.reboot()
    drive(box, 2)
    box.connect()
    chain = box.image.chain.chain
    assert [request.chains for request in asked(box)] == [((chain, 3),)]
    assert not box.wire
    box.deliver(ledger)
    assert ledger.stored_seqs(chain) == [1, 2, 3]
    assert box.engine.metrics()["standing_answers"] == 1


def test_a_new_chain_has_nothing_to_ask_about(box: Box) -> None:
    box.connect()
    assert not box.questions
    assert box.wire


def test_a_receipt_that_waited_at_the_broker_is_no_answer(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    drive(box, 1)
    box.drain(ledger)
    old = ledger.receipt(box.image.chain.chain)
    answer = ledger.answer  # an answer to a question of an earlier boot is old as well
    box.disconnect()
    box.connect()
    [earlier] = answer(box.questions.popleft())
    box.reboot()
    drive(box, 2)
    box.connect()
    box.receive(old)
    box.receive(earlier)
    assert not box.wire


def test_a_backend_that_never_answers_does_not_silence_the_box(box: Box) -> None:
    box.connect()
    drive(box, 1)
    box.drain(Ledger())
    box.reboot()
    drive(box, 2)
    box.connect()
    box.pass_time(29)
    assert not box.wire
    assert len(box.questions) > 5, "the question is repeated meanwhile"
    box.pass_time(2)
    assert box.wire
    assert box.engine.metrics()["standing_unanswered"] == 1
    assert "backend does not say where the chain stands" in box.phrases()
    before = len(box.questions)
    box.pass_time(120)
    assert len(box.questions) == before, "and then rests for an hour"


def test_what_another_life_left_open_is_never_filled_by_this_one(box: Box, tmp_path: Path) -> None:
    """The image comes back when two batches of the other life never arrived and a later one did."""
    ledger = Ledger()
    box.connect()
    drive(box, 1)
    box.drain(ledger)
    box.crash()
    box.copy_spool(tmp_path / "image")
    box.start()
    box.connect()
    for number in (2, 3, 9):
        drive(box, number)
    box.deliver(ledger)
    lost = [key for key in ledger.batches if numbers_of(ledger.batches[key]) in ([2], [3])]
    for key in lost:
        del ledger.batches[key]
    holes = {key.seq for key in lost}
    assert holes
    box.crash()
    box.replace_spool(tmp_path / "image", with_anchor=True)
    box.start()
    old = box.image.chain.chain
    drive(box, 4)
    drive(box, 5)
    box.connect()
    box.drain(ledger)
    assert holes.isdisjoint(ledger.stored_seqs(old)), "nothing stands where the other life's batches were"
    assert holes.isdisjoint(ledger.refused[old]), "and nothing was offered there"
    moved = [stored for stored in ledger.batches.values() if moves_of(stored)]
    assert sorted(number for stored in moved for number in numbers_of(stored)) == [4, 5]


def test_the_number_of_a_batch_sealed_again_is_declared_where_its_content_is(
    box: Box, tmp_path: Path
) -> None:
    ledger = Ledger()
    box.connect()
    drive(box, 1)
    box.drain(ledger)
    box.crash()
    box.copy_spool(tmp_path / "image")
    box.start()
    box.connect()
    drive(box, 2)
    box.drain(ledger)
    box.crash()
    box.replace_spool(tmp_path / "image", with_anchor=True)
    box.start()
    old = box.image.chain.chain
    for number in range(3, 9):
        drive(box, number)
    box.connect()
    box.drain(ledger)
    moved = [stored for stored in ledger.batches.values() if moves_of(stored)]
    told = [stored.opened.header.ended_losses for stored in moved]
    assert all(len(losses) == 1 and losses[0].cause == LossCause.RESEALED for losses in told)
    seqs = {losses[0].first for losses in told}
    assert seqs
    box.reboot()  # and the box remembers it: a restored backend that asks for them hears the truth again
    lost = ledger.batches
    ledger.batches = {key: stored for key, stored in lost.items() if key.chain == old and key.seq <= 2}
    box.connect()
    box.drain(ledger, seconds=120)
    headers = [stored.opened.header for stored in ledger.batches.values()]
    again = [loss for header in headers for loss in header.ended_losses if loss.chain == old]
    assert {loss.cause for loss in again} == {LossCause.RESEALED}
    assert {seq for loss in again for seq in range(loss.first, loss.last + 1)} == seqs


def test_a_restored_backend_gets_what_is_here_of_an_ended_chain_and_a_word_about_the_rest(
    box: Box,
) -> None:
    ledger = Ledger()
    empty = ledger.copy()
    box.connect()
    for number in range(1, 5):
        drive(box, number)
    box.drain(ledger)
    old = box.engine._outbox.keeper.current
    lie = replace(ledger.statement(old), hash=b"x" * 32)
    box.receive(sign_receipt(lie, BACKEND_KEY))  # whatever ended the chain
    box.drain(ledger)
    gone = BatchKey(old, 2)
    box.crash()
    box.start()
    entry = box.engine._outbox.keeper.index.find(gone)
    assert entry is not None
    for effect in box.engine._outbox.keeper._evict([entry]):
        box.spool.submit(effect)  # type: ignore[arg-type]
    box.settle()
    ledger.restore(empty)
    box.connect()
    box.drain(ledger, seconds=120)
    drive(box, 9)
    box.drain(ledger)
    assert ledger.stored_seqs(old) == [seq for seq in range(1, entry.key.seq + 4) if seq != gone.seq]
    headers = [stored.opened.header for stored in ledger.batches.values()]
    said = [loss for header in headers for loss in header.ended_losses]
    assert said == [EndedLoss(chain=old, first=2, last=2, cause=LossCause.QUOTA)]


def test_questions_come_with_each_connect_and_every_hour(tmp_path: Path) -> None:
    box, ledger = Box(tmp_path, config()), Ledger()
    box.connect()
    drive(box, 1)
    box.drain(ledger)
    box.disconnect()
    box.connect()
    assert len(box.questions) == 1
    box.drain(ledger)
    box.pass_time(3_500, step=10)
    box.deliver(ledger)
    before = box.engine.metrics()["standing_questions"]
    box.pass_time(3_000, step=10)
    assert box.engine.metrics()["standing_questions"] == before + 1
    nonces = {request.nonce for request in asked(box)}
    assert len(nonces) == len(box.questions)
    box.spool.close()


def test_only_the_newest_chains_are_asked_about(tmp_path: Path) -> None:
    box = Box(tmp_path, config())
    ledger = Ledger()
    box.connect()
    for number in range(STANDING_CHAINS_MAX + 3):
        drive(box, number)
        chain = box.engine._outbox.keeper.current
        lie = replace(ledger.statement(chain), upto=1, hash=b"x" * 32)
        box.receive(sign_receipt(lie, BACKEND_KEY))
        box.pass_time(1)
    box.disconnect()
    box.questions.clear()
    box.connect()
    [request] = asked(box)
    assert len(request.chains) == STANDING_CHAINS_MAX
    assert request.chains[0][0] == box.engine._outbox.keeper.current
    assert box.now_us < 600 * SECOND
    box.spool.close()


def test_an_old_receipt_declares_nothing_lost_that_was_stored_since(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    for number in range(1, 8):
        drive(box, number)
    chain = box.image.chain.chain
    on_the_wire = list(box.wire)
    box.wire.clear()
    for _, payload in (*on_the_wire[:2], on_the_wire[-1]):
        stale = ledger.take(payload)  # wants what is between
    for key, payload in on_the_wire[2:-1]:
        box.handle(BatchPublished(key=key))
        box.receive(ledger.take(payload))
    box.drain(ledger)
    index = box.engine._outbox.keeper.index
    gone = [entry for seq in (4, 5) if (entry := index.find(BatchKey(chain, seq))) is not None]
    assert len(gone) == 2
    for effect in box.engine._outbox.keeper._evict(gone):
        box.spool.submit(effect)  # type: ignore[arg-type]
    box.settle()
    box.reboot()
    box.receive(stale)
    drive(box, 9)
    box.connect()
    box.drain(ledger)
    assert ledger.lost_seqs(chain) == set()


def test_connections_that_never_last_do_not_silence_the_box(box: Box) -> None:
    box.connect()
    drive(box, 1)
    box.drain(Ledger())
    box.reboot()
    drive(box, 2)
    for _ in range(3):
        box.connect()
        box.pass_time(12)
        box.disconnect()
    assert box.sent.count(BatchKey(box.image.chain.chain, 3)) == 1


def test_an_answer_counts_although_the_backends_clock_once_stood_ahead(box: Box) -> None:
    ledger = Ledger()
    empty = ledger.copy()
    box.connect()
    ledger.issued_us += 10**15
    for number in range(1, 4):
        drive(box, number)
        box.drain(ledger)
    ledger.issued_us -= 10**15 - 10
    ledger.restore(empty)
    box.disconnect()
    box.connect()
    box.drain(ledger)
    assert ledger.upto(box.image.chain.chain) == 4


def test_an_image_from_before_the_first_batch_is_asked_about_too(box: Box, tmp_path: Path) -> None:
    ledger = Ledger()
    box.crash()
    box.copy_spool(tmp_path / "image")
    box.start()
    box.connect()
    for number in (1, 2, 3):
        drive(box, number)
    box.deliver(ledger)
    chain = box.image.chain.chain
    for seq in (1, 2):
        del ledger.batches[BatchKey(chain, seq)]
    box.crash()
    box.replace_spool(tmp_path / "image", with_anchor=True)
    box.start()
    box.connect()
    assert [request.chains for request in asked(box)] == [((chain, 0),)]
    box.drain(ledger)
    drive(box, 4)
    box.drain(ledger)
    assert ledger.stored_seqs(chain) == [3, 4], "what the other life left open stays open"
    assert "chain forked" in box.phrases()


def test_a_statement_whose_batch_is_gone_unheard_is_made_again_at_the_next_start(box: Box) -> None:
    box.crash()
    connection = sqlite3.connect(box.home / "spool.sqlite")
    connection.execute(
        "INSERT INTO statement VALUES (99, ?, 5, 6, NULL, NULL, NULL, 1, ?, 7)",
        (b"b" * 16, box.image.chain.chain),
    )
    connection.commit()
    connection.close()
    box.start()
    ledger = Ledger()
    drive(box, 1)
    box.connect()
    box.drain(ledger)
    gaps = [gap for stored in ledger.batches.values() for gap in stored.opened.header.gaps]
    assert (b"b" * 16, 5, 6) in [(gap.boot, gap.start_us, gap.end_us) for gap in gaps]


def test_what_was_sealed_again_does_not_give_way_before_its_successor_is_stored() -> None:
    index = SpoolIndex()
    rank, state = SpoolClass.BULK, EntryState.PENDING
    entries = [
        index.add(
            IndexEntry(key=BatchKey(ChainId(bytes(16)), seq), digest=b"", size=10, rank=rank, state=state)
        )
        for seq in (1, 2, 3)
    ]
    entries[0].has_successor = True
    assert choose(index, quota_bytes=0, newest=entries[2].key) == [entries[1]]


def test_a_batch_that_is_moved_again_and_again_names_its_first_and_its_last_move() -> None:
    facts = tuple(Event(t_us=at, name="chain_rehomed", fields={"seq": at}) for at in range(3))
    other = Event(t_us=9, name="urgent", fields={})
    assert _with_move((facts[0], other, facts[1]), facts[2]) == (other, facts[0], facts[2])
