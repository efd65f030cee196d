"""The engine by hand: seal, store, publish, free, and what each failure on the way leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from device.config import BatchLimits, SpoolLimits
from device.effects import EvictBatches, PersistTick, PublishBatch, StoreBatch
from device.events import (
    BatchDamaged,
    BatchPublished,
    DropsReported,
    MessageArrived,
    PublishFailed,
    Stop,
    StoreFailed,
    StoreFailure,
    Tick,
    Urgent,
)
from device.state import BatchKey, BootId
from protocol.batch import DropCause, GapCause, LossCause, Section, open_batch
from protocol.clock import ClockClass
from protocol.facts import Facts, decode_facts
from protocol.receipts import Have, RefusalCode, Stream, sign_receipt
from protocol.signals import decode_signals
from protocol.topics import Down
from tests.builders.engine import (
    BACKEND_KEY,
    DEVICE_KEYS,
    SECOND,
    STRANGER_KEY,
    TODAY_US,
    Box,
    Ledger,
    config,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.header import BatchHeader


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.spool.close()


def headers(ledger: Ledger) -> list[BatchHeader]:
    return [stored.opened.header for _, stored in sorted(ledger.batches.items())]


def facts(ledger: Ledger, seq: int) -> Facts:
    [stored] = [stored for key, stored in ledger.batches.items() if key.seq == seq]
    data = stored.opened.data(Section.FACTS)
    return Facts() if data is None else decode_facts(data)


def small_box(home: Path, **changes: object) -> Box:
    """A spool of 64 KiB: fourteen small batches."""
    spool = SpoolLimits(quota_bytes=64 * 1024, memory_batches=4, retry_us=SECOND)
    return Box(home, config(spool=spool, **changes))


def night(box: Box, batches: int) -> None:
    for _ in range(batches):
        box.frames([1])
        box.handle(Urgent(reason="night"))


# --- the way of one batch ---


def test_nothing_is_published_before_the_spool_said_stored(box: Box) -> None:
    box.connect()
    box.frames(range(10))
    effects = box.engine.handle(Urgent(reason="now"), box.now())
    assert any(isinstance(effect, StoreBatch) for effect in effects)
    assert not any(isinstance(effect, PublishBatch) for effect in effects)


def test_a_puback_frees_nothing_and_a_receipt_frees_but_keeps(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    [receipt] = box.deliver(ledger, answers=False)
    assert box.freed == []
    assert box.engine.metrics()["spool_pending"] == 1
    box.receive(receipt)
    assert [effect.ranges for effect in box.freed] == [((1, 1),)]
    assert (box.engine.metrics()["spool_pending"], box.engine.metrics()["spool_batches"]) == (0, 1)


def test_a_batch_closes_by_age_and_its_dictionary_stands_before_its_first_use(box: Box) -> None:
    ledger = Ledger()
    box.frames(range(10))
    box.pass_time(12)
    box.frames(range(10, 20))
    box.pass_time(12)
    box.connect()
    box.drain(ledger)
    assert [len(facts(ledger, seq).dictionary) for seq in (1, 2)] == [1, 0]
    [first] = facts(ledger, 1).dictionary
    for stored in ledger.batches.values():
        [group] = decode_signals(stored.opened.data(Section.SIGNALS) or b"")
        assert group.gid == first.gid


def test_each_boot_announces_the_whole_dictionary_again(box: Box) -> None:
    ledger = Ledger()
    box.frames(range(10))
    box.pass_time(12)
    box.reboot()
    box.handle(Urgent(reason="no rows at all"))
    box.connect()
    box.drain(ledger)
    assert len(facts(ledger, 2).dictionary) == 1


def test_on_reconnect_the_open_batch_is_sealed_and_sent_before_alarms_and_older_ones(box: Box) -> None:
    box.frames([1])
    box.pass_time(12)
    box.frames([2])
    box.handle(Urgent(reason="tow"))
    box.frames([3])
    box.connect()
    assert [key.seq for key in box.sent] == [3, 2, 1]


def test_something_urgent_is_sealed_at_once_and_sent_again_after_a_reboot_until_it_has_a_receipt(
    box: Box,
) -> None:
    box.connect()
    box.deliver(Ledger(), answers=False)
    box.handle(Urgent(reason="unplugged", fields={"supply_mv": 9_000}))
    box.wire.clear()
    box.reboot()
    box.connect()
    ledger = Ledger()
    box.drain(ledger)
    [event] = [event for event in facts(ledger, 2).events if event.name == "urgent"]
    assert dict(event.fields) == {"reason": "unplugged", "supply_mv": 9_000}


def test_a_link_that_died_in_silence_costs_nothing(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    box.frames(range(5))
    box.handle(Urgent(reason="x"))
    box.wire.clear()
    box.disconnect()
    box.connect()
    box.drain(ledger)
    assert ledger.stored_seqs(box.image.chain.chain) == [1, 2]


def test_a_batch_the_broker_would_not_take_is_published_again(box: Box) -> None:
    box.connect()
    [(key, _)] = box.wire
    box.wire.clear()
    box.handle(PublishFailed(key=key))
    assert not box.wire
    box.pass_time(3)
    assert [sent for sent, _ in box.wire] == [key]


def test_a_silent_car_still_says_that_it_lives(tmp_path: Path) -> None:
    box = Box(tmp_path, config(batch=BatchLimits(age_us=10 * SECOND, heartbeat_us=60 * SECOND)))
    box.pass_time(200, step=10)
    assert box.engine.metrics()["chain_seq"] == 4
    box.spool.close()


# --- receipts ---


def test_receipts_that_are_forged_foreign_or_torn_free_nothing_and_are_counted(box: Box) -> None:
    box.connect()
    box.deliver(ledger := Ledger(), answers=False)
    true = ledger.statement(box.image.chain.chain)
    genuine = sign_receipt(true, BACKEND_KEY)
    for forged in (
        sign_receipt(true, STRANGER_KEY),
        genuine[:-1] + bytes([genuine[-1] ^ 1]),
        genuine[:40],
        b"",
    ):
        box.receive(forged)
    for foreign in (
        replace(true, device="ab" * 32),  # type: ignore[arg-type]
        replace(true, chain=bytes(16)),  # type: ignore[arg-type]
        replace(true, stream=Stream.DISPOSITION),
    ):
        box.receive(sign_receipt(foreign, BACKEND_KEY))
    metrics = box.engine.metrics()
    assert (metrics["receipts_rejected"], metrics["receipts_foreign"]) == (4, 3)
    assert box.freed == []
    box.receive(genuine)
    assert len(box.freed) == 1


def test_a_range_is_believed_only_when_our_own_hash_at_its_end_agrees(box: Box) -> None:
    for _ in range(3):
        box.handle(Urgent(reason="x"))
    chain = box.image.chain.chain
    digests = {entry.key.seq: entry.digest for entry in box.engine._outbox.keeper.index.of_chain(chain)}
    plain = replace(
        Ledger().statement(chain), upto=0, hash=None, have=(Have(first=1, last=2, hash=digests[2]),)
    )
    box.receive(sign_receipt(plain, BACKEND_KEY))
    assert [effect.ranges for effect in box.freed] == [((1, 2),)]
    lie = replace(plain, have=(Have(first=1, last=3, hash=digests[2]),))
    box.receive(sign_receipt(lie, BACKEND_KEY))
    assert len(box.freed) == 1


def test_a_receipt_heard_twice_changes_nothing_the_second_time(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    [receipt] = box.deliver(ledger)
    before = box.engine.metrics()
    box.receive(receipt)
    assert len(box.freed) == 1
    assert {**before, "receipts_taken": 2} == box.engine.metrics()


def test_a_refused_batch_is_set_aside_declared_lost_and_blocks_nothing(box: Box) -> None:
    ledger = Ledger()
    key = BatchKey(box.image.chain.chain, 1)
    ledger.refuse_with[key] = RefusalCode.BAD_FIELD
    box.connect()
    box.drain(ledger)
    box.frames(range(5))
    box.handle(Urgent(reason="x"))
    box.drain(ledger)
    [header] = headers(ledger)
    assert [(loss.first, loss.last, loss.cause) for loss in header.losses] == [(1, 1, LossCause.REFUSED)]
    assert ledger.upto(key.chain) == 2
    assert box.engine.metrics()["batches_quarantined"] == 1
    assert "batch quarantined" in box.phrases()
    assert len(facts(ledger, 2).dictionary) == 1, "the lost batch may have taken the dictionary along"


def test_a_refused_batch_stays_on_the_box_over_a_reboot_and_is_never_sent_again(box: Box) -> None:
    ledger = Ledger()
    key = BatchKey(box.image.chain.chain, 1)
    ledger.refuse_with[key] = RefusalCode.TOO_LARGE
    box.connect()
    box.drain(ledger)
    box.reboot()
    box.sent.clear()
    box.connect()
    box.drain(ledger)
    assert key not in box.sent
    assert box.spool.fetch(key).result() is not None


def test_a_restored_backend_gets_again_what_it_had_confirmed(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    box.drain(ledger)
    backup = ledger.copy()
    for _ in range(3):
        box.frames(range(5))
        box.handle(Urgent(reason="x"))
        box.drain(ledger)
    late = ledger.receipt(box.image.chain.chain)
    ledger.restore(backup)
    box.handle(Urgent(reason="after the restore"))
    box.drain(ledger)
    assert ledger.stored_seqs(box.image.chain.chain) == [1, 2, 3, 4, 5]
    assert box.engine.metrics()["batches_reopened"] == 3
    box.receive(late)
    assert box.engine.metrics()["spool_pending"] == 0


def test_an_older_receipt_that_comes_late_takes_nothing_back(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    box.drain(ledger)
    old = ledger.receipt(box.image.chain.chain)
    box.handle(Urgent(reason="x"))
    box.drain(ledger)
    box.receive(old)
    metrics = box.engine.metrics()
    assert (metrics["spool_pending"], metrics["receipts_late"]) == (0, 1)
    assert "batches_reopened" not in metrics


def test_what_is_wanted_and_gone_is_declared_lost_once(tmp_path: Path) -> None:
    box, ledger = small_box(tmp_path), Ledger()
    box.connect()
    backup = ledger.copy()
    for _ in range(30):
        box.handle(Urgent(reason="x"))
        box.deliver(ledger)
    ledger.restore(backup)
    for _ in range(3):
        box.handle(Urgent(reason="restored"))
        box.drain(ledger)
        box.pass_time(3)  # a receipt's want makes the box ask; what is gone is lost on the answer's word only
        box.drain(ledger)
    chain = box.image.chain.chain
    assert ledger.upto(chain) == max(ledger.stored_seqs(chain))
    declared = [loss for header in headers(ledger) for loss in header.losses]
    assert len(declared) == 1
    assert (declared[0].first, declared[0].cause) == (1, LossCause.QUOTA)
    box.spool.close()


# --- quota ---


def test_over_the_quota_confirmed_batches_go_first_and_silently(tmp_path: Path) -> None:
    box, ledger = small_box(tmp_path), Ledger()
    box.connect()
    for _ in range(30):
        box.handle(Urgent(reason="x"))
        box.deliver(ledger)
    metrics = box.engine.metrics()
    assert metrics["spool_bytes"] <= 64 * 1024
    assert metrics["batches_evicted"] > 0
    assert "batches_lost_to_quota" not in metrics
    assert all(not header.losses for header in headers(ledger))
    box.spool.close()


def test_without_a_link_bulk_goes_before_alarms_and_each_loss_is_declared(tmp_path: Path) -> None:
    box, ledger = small_box(tmp_path, batch=BatchLimits(age_us=SECOND)), Ledger()
    box.handle(Urgent(reason="the oldest of all"))
    for number in range(30):
        box.frames([number])
        box.pass_time(2)
    box.connect()
    box.drain(ledger)
    box.handle(Urgent(reason="more"))
    box.drain(ledger)
    chain = box.image.chain.chain
    assert 1 in ledger.stored_seqs(chain)
    assert ledger.lost_seqs(chain)
    assert ledger.upto(chain) == max(ledger.stored_seqs(chain))
    assert box.engine.metrics()["batches_lost_to_quota"] == len(ledger.lost_seqs(chain))
    box.spool.close()


def test_a_declaration_that_is_itself_evicted_is_made_again(tmp_path: Path) -> None:
    box, ledger = small_box(tmp_path), Ledger()
    night(box, 60)
    box.connect()
    box.drain(ledger)
    box.handle(Urgent(reason="more"))
    box.drain(ledger)
    chain = box.image.chain.chain
    assert ledger.upto(chain) == max(ledger.stored_seqs(chain)) == 61
    box.spool.close()


def test_evictions_and_their_losses_survive_a_crash(tmp_path: Path) -> None:
    box, ledger = small_box(tmp_path), Ledger()
    night(box, 20)
    box.reboot()
    night(box, 20)
    box.reboot()
    box.connect()
    box.drain(ledger)
    box.handle(Urgent(reason="more"))
    box.drain(ledger)
    chain = box.image.chain.chain
    assert ledger.upto(chain) == max(ledger.stored_seqs(chain))
    box.spool.close()


def test_a_day_without_a_broker_keeps_memory_and_disk_flat(tmp_path: Path) -> None:
    box = small_box(tmp_path)
    for _ in range(4):
        night(box, 100)
        assert box.engine.metrics()["spool_bytes"] <= 64 * 1024
    assert box.engine.metrics()["spool_batches"] == 14
    box.spool.close()
    assert (tmp_path / "spool.sqlite").stat().st_size < 2 * 64 * 1024


# --- disk ---


def fill_disk(box: Box) -> None:
    box.spool.limit_pages(1)
    for _ in range(40):
        box.frames(range(200))
        box.handle(Urgent(reason="filling"))


def test_a_full_disk_loses_nothing_sealed_and_counts_what_it_could_not_take(tmp_path: Path) -> None:
    box = Box(tmp_path, config(batch=BatchLimits(age_us=10 * SECOND, raw_bytes=4_096)))
    ledger = Ledger()
    box.frames([1])
    fill_disk(box)
    metrics = box.engine.metrics()
    assert metrics["store_queue"] == box.settings.spool.memory_batches
    assert box.phrases().count("spool refuses to store") == 1
    box.spool.limit_pages(None)
    box.pass_time(5)
    box.frames([2])
    box.connect()
    box.drain(ledger)
    chain = box.image.chain.chain
    seqs = ledger.stored_seqs(chain)
    assert seqs == list(range(1, len(seqs) + 1))
    received = sum(header.counts.frames_received for header in headers(ledger))
    dropped = sum(header.drops.get(DropCause.BACKPRESSURE, 0) for header in headers(ledger))
    assert received == 1 + 40 * 200 + 1
    assert dropped > 0
    assert all(header.are_frames_accounted for header in headers(ledger))
    gaps = [gap for header in headers(ledger) for gap in header.gaps]
    assert [gap.cause for gap in gaps] == [GapCause.STORAGE]
    assert box.phrases().count("spool stores again") == 1
    box.spool.close()


def test_a_full_disk_makes_room_from_confirmed_batches(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    for _ in range(5):
        box.handle(Urgent(reason="x"))
        box.drain(ledger)
    seq = box.engine.metrics()["chain_seq"]
    box.handle(Urgent(reason="y"))
    key = BatchKey(box.image.chain.chain, seq + 2)
    box.frames([1])
    box.engine.handle(Urgent(reason="z"), box.now())
    effects = box.engine.handle(StoreFailed(key=key, reason=StoreFailure.FULL), box.now())
    evicted = [effect for effect in effects if isinstance(effect, EvictBatches)]
    assert evicted
    assert all(not effect.losses for effect in evicted)


def test_a_damaged_batch_is_declared_lost_and_the_others_go_on(box: Box) -> None:
    ledger = Ledger()
    box.handle(Urgent(reason="x"))
    key = BatchKey(box.image.chain.chain, 1)
    box.handle(BatchDamaged(key=key, detail="test"))
    box.handle(Urgent(reason="y"))
    box.connect()
    box.drain(ledger)
    losses = [loss for header in headers(ledger) for loss in header.losses]
    assert [(loss.first, loss.cause) for loss in losses] == [(1, LossCause.DAMAGED)]
    assert ledger.stored_seqs(key.chain) == [2]


def test_damage_to_a_confirmed_batch_is_no_loss(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    box.drain(ledger)
    box.handle(BatchDamaged(key=BatchKey(box.image.chain.chain, 1)))
    box.handle(Urgent(reason="y"))
    box.drain(ledger)
    assert all(not header.losses for header in headers(ledger))


# --- boots and clocks ---


def test_an_open_batch_that_died_with_the_process_is_a_gap_up_to_the_last_tick(box: Box) -> None:
    ledger = Ledger()
    box.frames(range(5))
    box.pass_time(12)
    covered_us = box.now_us - 2 * SECOND
    died = box.boot
    box.frames(range(5, 10))
    box.reboot()
    box.connect()
    box.drain(ledger)
    [gap] = [gap for header in headers(ledger) for gap in header.gaps]
    assert (gap.boot, gap.cause) == (died, GapCause.POWER)
    assert gap.start_us == pytest.approx(covered_us, abs=SECOND)
    assert gap.start_us <= (gap.end_us or 0) <= 12 * SECOND + 10_000


def test_a_process_that_died_while_the_machine_lived_is_a_fault_not_a_power_cut(tmp_path: Path) -> None:
    box, ledger = Box(tmp_path, config(host_boot="kernel-1")), Ledger()
    box.reboot()
    box.connect()
    box.drain(ledger)
    [gap] = [gap for header in headers(ledger) for gap in header.gaps]
    assert gap.cause == GapCause.FAULT
    box.spool.close()


def test_boots_that_died_before_they_could_seal_are_all_declared(box: Box) -> None:
    ledger = Ledger()
    boots = [box.boot]
    for _ in range(3):
        box.reboot()
        boots.append(box.boot)
    box.connect()
    box.drain(ledger)
    assert [gap.boot for header in headers(ledger) for gap in header.gaps] == boots[:-1]


def test_an_orderly_stop_seals_and_stores_everything_and_leaves_no_gap(box: Box) -> None:
    ledger = Ledger()
    box.frames(range(5))
    box.handle(Stop())
    assert box.engine.is_stopped
    box.frames(range(5))
    box.reboot()
    box.connect()
    box.drain(ledger)
    assert [header.counts.frames_received for header in headers(ledger)] == [5, 0]
    assert all(not header.gaps for header in headers(ledger))


def test_a_stop_on_a_full_disk_is_not_called_clean(tmp_path: Path) -> None:
    box = Box(tmp_path, config(batch=BatchLimits(age_us=10 * SECOND, raw_bytes=4_096)))
    fill_disk(box)
    box.handle(Stop())
    assert not box.engine.is_stopped
    box.spool.close()


def test_ticks_are_persisted_at_their_pace_only(box: Box) -> None:
    marks = []
    for _ in range(40):
        box.now_us += SECOND // 4
        effects = box.engine.handle(Tick(), box.now())
        marks += [effect for effect in effects if isinstance(effect, PersistTick)]
    assert len(marks) == 10


@pytest.mark.parametrize("jump_us", [-86_400 * SECOND, 86_400 * SECOND, -10 * SECOND, -TODAY_US, 2**60])
def test_a_jumping_wall_clock_changes_neither_order_nor_ageing_nor_pauses(
    tmp_path: Path, jump_us: int
) -> None:
    def drive(home: Path, jump_us: int) -> tuple[list[tuple[int, int]], list[BatchKey]]:
        home.mkdir()
        box, ledger = Box(home), Ledger()
        box.connect()
        for number in range(6):
            box.frames([number])
            box.pass_time(7)
            box.utc_offset_us += jump_us if number == 2 else 0
            box.deliver(ledger, answers=number % 2 == 0)
        box.drain(ledger)
        spans = [(header.mono_start_us, header.mono_end_us) for header in headers(ledger)]
        box.spool.close()
        return spans, box.sent

    assert drive(tmp_path / "steady", 0) == drive(tmp_path / "jumping", jump_us)


def test_a_clock_in_1970_is_no_clock(box: Box) -> None:
    ledger = Ledger()
    box.utc_offset_us = 0
    box.clock = ClockClass.RTC
    box.frames([1])
    box.handle(Urgent(reason="x"))
    box.connect()
    box.pass_time(10)
    box.drain(ledger)
    assert [(header.utc_start_us, header.clock) for header in headers(ledger)] == [(None, ClockClass.NONE)]


# --- odds and ends ---


def test_frames_lost_before_the_engine_are_counted_by_cause(box: Box) -> None:
    ledger = Ledger()
    box.frames(range(3))
    box.handle(DropsReported(cause=DropCause.KERNEL, count=7, bus="can0"))
    box.handle(DropsReported(cause=DropCause.QUEUE, count=2, bus="can0"))
    box.connect()
    box.drain(ledger)
    [header] = headers(ledger)
    assert header.drops == {DropCause.KERNEL: 7, DropCause.QUEUE: 2}
    assert header.counts.frames_received == 3


def test_a_message_of_a_kind_we_do_not_know_is_counted(box: Box) -> None:
    box.handle(MessageArrived(kind=Down.POLICY, payload=b"\x00"))
    assert box.engine.metrics()["messages_of_unknown_kind"] == 1


def test_a_puback_for_a_batch_long_gone_is_harmless(box: Box) -> None:
    box.handle(BatchPublished(key=BatchKey(box.image.chain.chain, 99)))
    box.handle(PublishFailed(key=BatchKey(box.image.chain.chain, 99)))


def test_the_same_events_give_the_same_bytes(tmp_path: Path) -> None:
    payloads = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        box, ledger = Box(tmp_path / name), Ledger()
        box.frames(range(50))
        box.connect()
        box.drain(ledger)
        payloads.append([stored.payload for stored in ledger.batches.values()])
        box.spool.close()
    assert payloads[0] == payloads[1]


def test_what_was_published_is_what_was_sealed_bit_for_bit(box: Box) -> None:
    box.connect()
    box.frames(range(5))
    box.handle(Urgent(reason="x"))
    sealed = {batch.key: batch for batch in box.take_stored()}
    for key, payload in box.wire:
        assert payload == sealed[key].payload
        assert open_batch(payload, DEVICE_KEYS.get, device=None).head_hash == sealed[key].digest


def test_a_configuration_names_all_its_problems() -> None:
    broken = replace(config(), boot=BootId(b"short"), tick_us=1, profile_hash=b"x")
    assert [problem.split(" is ")[0] for problem in broken.problems()] == [
        "boot id",
        "profile hash",
        "tick 1 µs",
    ]
