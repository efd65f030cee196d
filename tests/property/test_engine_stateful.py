"""The box against a strict backend while everything that can fail fails: nothing sealed is lost in silence
or stored twice.

One machine drives a real engine with a real SQLite spool. Frames carry a number each, so content can be
found again whatever chain it ends up in. At the end the world is healed, the box drained, and the books
must agree.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device.config import BatchLimits, SpoolLimits
from device.effects import FreeBatches
from device.events import Urgent
from device.state import BatchKey, BootId, ChainId
from protocol.batch import LossCause, Section, open_batch
from protocol.facts import decode_facts
from protocol.receipts import Have, sign_receipt
from protocol.signals import decode_signals
from tests.builders.engine import (
    BACKEND_KEY,
    DEVICE_KEYS,
    SECOND,
    STRANGER_KEY,
    Box,
    Ledger,
    Stored,
    config,
)

COUNT_COLUMN = 1


@dataclass
class Memory:
    """What the model knows of the box's disk: copied and replaced together with it."""

    stored: dict[BatchKey, bytes] = field(default_factory=dict)  # key → digest
    content: dict[BatchKey, set[int]] = field(default_factory=dict)  # key → frame numbers
    moved: dict[BatchKey, BatchKey] = field(default_factory=dict)  # sealed again: old → new

    def copy(self) -> Memory:
        return Memory(stored=dict(self.stored), content=dict(self.content), moved=dict(self.moved))


def numbers_in(stored: Stored) -> list[int]:
    data = stored.opened.data(Section.SIGNALS)
    groups = [] if data is None else decode_signals(data)
    return [int(value) for group in groups for value in group.raw[COUNT_COLUMN]]


def facts_in(stored: Stored, name: str) -> list[dict[str, object]]:
    data = stored.opened.data(Section.FACTS)
    events = () if data is None else decode_facts(data).events
    return [dict(event.fields) for event in events if event.name == name]


class BoxAgainstBackend(RuleBasedStateMachine):
    """Rules are what the world does; invariants are what the product promises."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.home = self.folder / "home"
        self.home.mkdir()
        self.ledger = Ledger()
        self.memory = Memory()
        self.backups: list[Ledger] = []
        self.images: list[tuple[Path, Memory]] = []
        self.late: list[bytes] = []
        self.ever: set[tuple[BatchKey, bytes]] = set()
        self.ever_lost: set[BatchKey] = set()
        self.next_number = 0
        self.was_replaced = False
        self.was_restored = False
        self.went_on_blindly = False
        self.forgot_hashes = False
        self.is_full = False
        self.crashed: dict[BootId, int] = {}
        self.checked_frees = 0

    @initialize(quota=st.sampled_from([64 * 1024, 1024 * 1024]))
    def begin(self, quota: int) -> None:
        chosen = config(
            batch=BatchLimits(age_us=5 * SECOND, heartbeat_us=600 * SECOND),
            spool=SpoolLimits(quota_bytes=quota, memory_batches=3, retry_us=SECOND),
        )
        self.box = Box(self.home, chosen)
        self.watch()

    def watch(self) -> None:
        """Note what the box stored since the last look."""
        metrics = self.box.engine.metrics()
        self.went_on_blindly |= metrics.get("standing_unanswered", 0) > 0
        self.forgot_hashes |= metrics.get("batches_lost_to_quota", 0) > 0
        for batch in self.box.take_stored():
            opened = open_batch(batch.payload, DEVICE_KEYS.get, device=None)
            self.memory.stored[batch.key] = batch.digest
            self.memory.content[batch.key] = set(numbers_in(Stored(opened=opened, payload=batch.payload)))
            if batch.replaces is not None:
                self.memory.moved[batch.replaces] = batch.key

    # --- the car ---

    @rule(count=st.integers(1, 30))
    def frames(self, count: int) -> None:
        self.box.frames(range(self.next_number, self.next_number + count))
        self.next_number += count

    @rule(minutes=st.integers(1, 3), is_heard=st.booleans())
    def a_while_of_driving(self, *, minutes: int, is_heard: bool) -> None:
        """Several batches, all of which reach the backend; its answers may not come back."""
        self.link_up()
        for _ in range(minutes):
            self.frames(5)
            self.box.handle(Urgent(reason="minute"))
            self.the_backend_takes_what_is_on_the_wire(answers=is_heard, order="kept")

    @rule(batches=st.integers(5, 20))
    def a_night_without_a_link(self, batches: int) -> None:
        """More than a small spool can keep."""
        self.link_down()
        for _ in range(batches):
            self.frames(2)
            self.box.handle(Urgent(reason="night"))

    @rule(seconds=st.sampled_from([1, 3, 6, 12]))
    def time_passes(self, seconds: int) -> None:
        self.box.pass_time(seconds)

    @rule()
    def something_urgent(self) -> None:
        self.box.handle(Urgent(reason="unplugged"))

    @rule()
    def the_wall_clock_jumps_a_day(self) -> None:
        self.box.utc_offset_us = self.box.utc_offset_us ^ (1 << 40)

    # --- the link ---

    @rule()
    def link_up(self) -> None:
        if not self.box.is_connected:
            self.box.connect()

    @rule()
    def link_down(self) -> None:
        if self.box.is_connected:
            self.box.disconnect()

    @rule(answers=st.booleans(), order=st.sampled_from(["kept", "reversed", "twice", "lost"]))
    def the_backend_takes_what_is_on_the_wire(self, *, answers: bool, order: str) -> None:
        if order == "lost":
            self.box.wire.clear()
            self.box.questions.clear()
            return
        if order == "reversed":
            self.box.wire.reverse()
        if order == "twice":
            self.box.wire.extend(list(self.box.wire))
        self.late += self.box.deliver(self.ledger, answers=answers)
        self.note_ledger()

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def a_late_receipt_arrives(self, data: st.DataObject) -> None:
        self.box.receive(data.draw(st.sampled_from(self.late)))

    @precondition(lambda self: self.memory.stored)
    @rule()
    def a_forged_receipt_arrives(self) -> None:
        chain = self.box.image.chain.chain
        every = [Have(first=key.seq, last=key.seq, hash=digest) for key, digest in self.stored_of(chain)]
        claim = replace(self.ledger.statement(chain), have=tuple(every[-32:]))
        before = len(self.box.freed)
        self.box.receive(sign_receipt(claim, STRANGER_KEY))
        genuine = sign_receipt(claim, BACKEND_KEY)
        self.box.receive(genuine[:-1] + bytes([genuine[-1] ^ 1]))
        self.box.receive(sign_receipt(replace(claim, device="0" * 64), BACKEND_KEY))  # type: ignore[arg-type]
        assert len(self.box.freed) == before

    def stored_of(self, chain: ChainId) -> list[tuple[BatchKey, bytes]]:
        return sorted(item for item in self.memory.stored.items() if item[0].chain == chain)

    # --- power and disk ---

    @rule()
    def the_process_dies(self) -> None:
        self.crash()
        self.box.start()
        self.watch()

    @rule()
    def the_process_dies_before_its_last_wishes_reach_the_disk(self) -> None:
        self.box.engine.handle(Urgent(reason="crash"), self.box.now())
        self.crash()
        self.box.start()
        self.watch()

    def crash(self) -> None:
        self.watch()
        self.crashed[self.box.boot] = self.box.now_us
        self.box.crash()
        self.is_full = False

    @rule(is_full=st.booleans())
    def the_disk_fills_or_is_freed(self, *, is_full: bool) -> None:
        self.is_full = is_full
        self.box.spool.limit_pages(1 if is_full else None)

    @precondition(lambda self: len(self.images) < 2)
    @rule()
    def the_disk_is_imaged(self) -> None:
        self.crash()
        image = self.folder / f"image-{len(self.images)}"
        self.box.copy_spool(image)
        self.images.append((image, self.memory.copy()))
        self.box.start()
        self.watch()

    @precondition(lambda self: self.images)
    @rule(data=st.data(), with_anchor=st.booleans())
    def the_disk_is_replaced_by_an_image(self, *, data: st.DataObject, with_anchor: bool) -> None:
        image, memory = data.draw(st.sampled_from(self.images))
        self.crash()
        self.box.replace_spool(image, with_anchor=with_anchor)
        self.memory = memory.copy()
        self.was_replaced = True
        self.box.start()
        self.watch()

    # --- the backend ---

    @precondition(lambda self: len(self.backups) < 2)
    @rule()
    def the_backend_is_backed_up(self) -> None:
        self.backups.append(self.ledger.copy())

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def the_backend_is_restored(self, data: st.DataObject) -> None:
        self.ledger.restore(data.draw(st.sampled_from(self.backups)))
        self.was_restored = True

    # --- promises ---

    def note_ledger(self) -> None:
        self.ever |= {(key, stored.opened.head_hash) for key, stored in self.ledger.batches.items()}
        self.ever_lost |= self.lost_keys()

    @invariant()
    def only_what_the_backend_had_is_freed(self) -> None:
        self.watch()
        for effect in self.box.freed[self.checked_frees :]:
            assert isinstance(effect, FreeBatches)
            for first, last in effect.ranges:
                for seq in range(first, last + 1):
                    key = BatchKey(effect.chain, seq)
                    # A loss that the chain declared counts as filled: a box with an older image,
                    # in which the batch is still there, learns that it is expected no more.
                    assert (key, self.memory.stored[key]) in self.ever or key in self.ever_lost
        self.checked_frees = len(self.box.freed)

    @invariant()
    def every_frame_of_a_batch_is_decoded_or_dropped_by_name(self) -> None:
        assert all(stored.opened.header.are_frames_accounted for stored in self.ledger.batches.values())

    @invariant()
    def nothing_is_refused_unless_storage_was_exchanged(self) -> None:
        # But for a batch that comes behind the one that declares it lost: nothing proves what it is.
        lost = self.lost_keys()
        refused = {BatchKey(chain, seq) for chain, seqs in self.ledger.refused.items() for seq in seqs}
        assert self.was_replaced or refused <= lost

    @invariant()
    def the_spool_keeps_to_its_quota(self) -> None:
        metrics = self.box.engine.metrics()
        assert metrics["spool_bytes"] <= self.box.settings.spool.quota_bytes
        assert metrics["store_queue"] <= self.box.settings.spool.memory_batches + 1

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.heal()
            self.check_books()
            self.box.spool.close()
        shutil.rmtree(self.folder)

    def heal(self) -> None:
        """Everything works again: what can arrive must arrive."""
        self.box.spool.limit_pages(None)
        self.box.wire.clear()
        for _ in range(4):
            if self.box.is_connected:
                self.box.disconnect()
            self.box.connect()
            self.box.drain(self.ledger, seconds=120)
            self.box.handle(Urgent(reason="healed"))
            self.box.drain(self.ledger, seconds=120)
            self.note_ledger()
        self.watch()

    def check_books(self) -> None:
        self.only_what_the_backend_had_is_freed()
        assert self.box.engine.metrics()["spool_pending"] == 0
        lost = self.lost_keys()
        for key, digest in self.memory.stored.items():
            final = key
            while final in self.memory.moved:
                final = self.memory.moved[final]
            there = self.ledger.batches.get(final)
            is_there = there is not None and (final != key or there.opened.head_hash == digest)
            is_said = final in lost or key in lost
            assert is_there or is_said, f"{key} is neither stored nor declared lost"
        self.check_content()
        if not self.was_restored and not self.was_replaced:
            self.check_gaps()

    def lost_keys(self) -> set[BatchKey]:
        """What is declared lost. A batch sealed again is not: its successor must be there or be lost."""
        headers = [(key.chain, stored.opened.header) for key, stored in self.ledger.batches.items()]
        said = [(chain, loss) for chain, header in headers for loss in header.losses]
        said += [(loss.chain, loss) for _, header in headers for loss in header.ended_losses]
        return {
            BatchKey(chain, seq)
            for chain, loss in said
            if loss.cause != LossCause.RESEALED
            for seq in range(loss.first, loss.last + 1)
        }

    def check_content(self) -> None:
        """No frame is there twice, unless the second time says what it repeats; order is kept."""
        seen: dict[int, BatchKey] = {}
        in_order: dict[ChainId, list[int]] = defaultdict(list)
        for key, stored in sorted(self.ledger.batches.items()):
            is_moved = bool(facts_in(stored, "chain_rehomed"))
            for number in numbers_in(stored):
                if not is_moved:
                    assert number not in seen, f"frame {number} is in {seen[number]} and in {key}"
                    seen[number] = key
                    in_order[key.chain].append(number)
        # Exchanged storage goes unseen only when nobody answers the box's question, or when the box evicted
        # what would have contradicted the answer. Then content of two lives may stand in one chain.
        if not (self.was_replaced and (self.went_on_blindly or self.forgot_hashes)):
            assert all(numbers == sorted(numbers) for numbers in in_order.values())

    def check_gaps(self) -> None:
        gaps = {gap.boot: gap for stored in self.ledger.batches.values() for gap in stored.opened.header.gaps}
        for boot, died_us in self.crashed.items():
            assert boot in gaps, "a boot that ended without order is declared"
            assert gaps[boot].end_us is not None
            assert gaps[boot].start_us <= gaps[boot].end_us <= died_us


TestBoxAgainstBackend = BoxAgainstBackend.TestCase
TestBoxAgainstBackend.settings = settings(
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
