"""A spool replaced by an older image: its chain ends, its content goes on in a new one, nothing is twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from device.config import UplinkLimits
from device.effects import StartChain
from device.state import BatchKey
from protocol.batch import EndedLoss, LossCause, OriginKind
from protocol.receipts import Have, RefusalCode, sign_receipt
from tests.builders.engine import (
    BACKEND_KEY,
    SECOND,
    Box,
    Ledger,
    config,
    drive,
    facts_of,
    moves_of,
    numbers_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    home = tmp_path / "home"
    home.mkdir()
    made = Box(home)
    yield made
    made.spool.close()


def numbers(ledger: Ledger) -> list[int]:
    return sorted(number for stored in ledger.batches.values() for number in numbers_of(stored))


def fork(box: Box, ledger: Ledger, tmp_path: Path) -> None:
    """Batches reach the backend after the image was taken; then the image comes back, anchor and all."""
    box.connect()
    drive(box, 1)
    box.drain(ledger)
    box.crash()
    box.copy_spool(tmp_path / "image")
    box.start()
    box.connect()
    drive(box, 2)
    drive(box, 3)
    box.drain(ledger)
    box.crash()
    box.replace_spool(tmp_path / "image", with_anchor=True)
    box.start()


def test_a_head_that_we_never_sealed_ends_the_chain(box: Box, tmp_path: Path) -> None:
    ledger = Ledger()
    fork(box, ledger, tmp_path)
    old = box.image.chain.chain
    effects = box.receive(ledger.receipt(old))
    [started] = [effect for effect in effects if isinstance(effect, StartChain)]
    assert started.origin.kind == OriginKind.CONFLICT
    head = started.origin.last_head
    assert head is not None
    assert (head.chain, head.seq) == (old, ledger.upto(old))
    assert box.engine._outbox.keeper.current != old
    assert "chain forked" in box.phrases()


def test_the_new_chain_opens_with_its_origin_its_dictionary_and_a_fact(box: Box, tmp_path: Path) -> None:
    ledger = Ledger()
    fork(box, ledger, tmp_path)
    box.receive(ledger.receipt(box.image.chain.chain))
    box.connect()
    box.drain(ledger)
    new = box.engine._outbox.keeper.current
    first = ledger.batches[BatchKey(new, 1)]
    assert first.opened.header.origin is not None
    assert len(facts_of(first).dictionary) == 1
    assert "chain_started" in {event.name for event in facts_of(first).events}


@pytest.mark.parametrize("hears_first", [True, False])
def test_batches_sealed_under_numbers_that_were_taken_are_sealed_again_and_none_is_there_twice(
    box: Box, tmp_path: Path, *, hears_first: bool
) -> None:
    ledger = Ledger()
    fork(box, ledger, tmp_path)
    old = box.image.chain.chain
    drive(box, 4)
    drive(box, 5)
    if hears_first:
        box.receive(ledger.receipt(old))
    box.connect()
    box.drain(ledger)
    assert numbers(ledger) == [1, 2, 3, 4, 5]
    assert all(code in {RefusalCode.CONFLICT, RefusalCode.FORK} for code in ledger.refused[old].values())
    again = [stored for stored in ledger.batches.values() if moves_of(stored)]
    assert again
    for stored in again:
        [event] = moves_of(stored)
        assert event.fields["chain"] == old.hex()
        assert stored.opened.header.are_frames_accounted
    metrics = box.engine.metrics()
    assert metrics["spool_pending"] == 0
    assert metrics["batches_rehomed"] == len(again)


def test_a_batch_sealed_again_keeps_its_boot_its_times_and_its_gaps(box: Box, tmp_path: Path) -> None:
    ledger = Ledger()
    fork(box, ledger, tmp_path)
    drive(box, 4)
    boot, forked = box.boot, {batch.key: batch for batch in box.take_stored()}
    box.reboot()
    box.connect()
    box.drain(ledger)
    [stored] = [stored for stored in ledger.batches.values() if moves_of(stored) and 4 in numbers_of(stored)]
    header = stored.opened.header
    assert header.boot == boot
    assert header.mono_end_us == next(
        batch.mono_end_us for batch in reversed(forked.values()) if batch.boot == boot
    )
    gaps = {gap.boot for item in ledger.batches.values() for gap in item.opened.header.gaps}
    assert boot in gaps, "what the forked batch declared is told again"


def test_what_both_lives_share_is_recognised_and_not_sealed_again(box: Box, tmp_path: Path) -> None:
    ledger = Ledger()
    box.connect()
    drive(box, 1)
    box.deliver(ledger, answers=False)
    box.crash()
    box.copy_spool(tmp_path / "image")
    box.start()
    box.connect()
    drive(box, 2)
    box.drain(ledger)
    box.crash()
    box.replace_spool(tmp_path / "image", with_anchor=True)
    box.start()
    drive(box, 3)
    box.connect()
    box.drain(ledger)
    assert numbers(ledger) == [1, 2, 3]
    assert [1 in numbers_of(stored) for stored in ledger.batches.values() if moves_of(stored)] == [False]


def test_a_backend_that_confirms_nothing_of_the_old_chain_gets_its_content_in_the_new_one(
    box: Box, tmp_path: Path
) -> None:
    """Such a backend answers with `upto` alone, which a box with exchanged storage cannot check."""
    ledger = Ledger()
    box.connect()
    drive(box, 1)
    box.deliver(ledger, answers=False)
    box.crash()
    box.copy_spool(tmp_path / "image")
    box.start()
    box.connect()
    drive(box, 2)
    box.drain(ledger)
    box.crash()
    box.replace_spool(tmp_path / "image", with_anchor=False)
    box.start()
    old = box.image.ended[-1].chain
    box.connect()
    for _ in range(60):
        while box.wire:
            _, payload = box.wire.popleft()
            ledger.take(payload)
            chain = ledger.statement(old)
            box.receive(sign_receipt(replace(chain, have=()), BACKEND_KEY))
            box.receive(ledger.receipt(box.engine._outbox.keeper.current))
        box.pass_time(1)
    assert box.engine.metrics()["spool_pending"] == 0
    twice = [stored for stored in ledger.batches.values() if 1 in numbers_of(stored)]
    assert len(twice) == 2
    assert sum(bool(moves_of(stored)) for stored in twice) == 1, "the second says what it repeats"


def test_a_hash_other_than_ours_ends_the_chain_and_frees_nothing(box: Box) -> None:
    drive(box, 1)
    chain = box.image.chain.chain
    lie = replace(Ledger().statement(chain), have=(Have(first=1, last=1, hash=b"x" * 32),))
    effects = box.receive(sign_receipt(lie, BACKEND_KEY))
    assert any(isinstance(effect, StartChain) for effect in effects)
    assert box.freed == []


def test_a_peer_that_always_contradicts_cannot_make_us_spin(tmp_path: Path) -> None:
    limits = UplinkLimits(chain_rest_us=60 * SECOND)
    box = Box(tmp_path, config(uplink=limits))
    begun = 0
    for _ in range(30):
        drive(box, 1)
        chain = box.engine._outbox.keeper.current
        lie = replace(Ledger().statement(chain), have=(Have(first=1, last=1, hash=b"x" * 32),))
        effects = box.receive(sign_receipt(lie, BACKEND_KEY))
        begun += sum(isinstance(effect, StartChain) for effect in effects)
        box.pass_time(1)
    assert begun == 1
    box.spool.close()


def test_losses_of_the_old_chain_are_declared_in_headers_of_the_new_one(box: Box, tmp_path: Path) -> None:
    ledger = Ledger()
    fork(box, ledger, tmp_path)
    old = box.image.chain.chain
    drive(box, 4)
    lost = BatchKey(old, max(entry.key.seq for entry in box.engine._outbox.keeper.index.of_chain(old)))
    ledger.refuse_with[lost] = RefusalCode.TOO_LARGE
    box.receive(ledger.receipt(old))
    box.connect()
    box.drain(ledger)
    drive(box, 5)
    box.drain(ledger)
    told = [
        loss
        for stored in ledger.batches.values()
        for loss in stored.opened.header.ended_losses
        if loss.cause != LossCause.RESEALED
    ]
    assert told == [EndedLoss(chain=old, first=lost.seq, last=lost.seq, cause=LossCause.REFUSED)]


def test_a_backend_that_was_restored_and_also_contradicts_gets_again_what_it_had_confirmed(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    drive(box, 1)
    box.drain(ledger)
    backup = ledger.copy()
    drive(box, 2)
    drive(box, 3)
    box.drain(ledger)
    ledger.restore(backup)
    old = box.image.chain.chain
    contradiction = Have(first=3, last=3, hash=b"x" * 32)
    box.receive(sign_receipt(replace(ledger.statement(old), have=(contradiction,)), BACKEND_KEY))
    assert box.engine._outbox.keeper.current != old
    box.drain(ledger)
    assert numbers(ledger) == [1, 2, 3]
