"""The box's engine and spool against the server's own ingest, while a seeded world does its worst to both.

Both sides are real; only the wire between them and the time are simulated, so minutes pass in a second.
Every frame carries a number. At the end the world is healed, and each number that reached the box's disk is
on the server exactly once, or its batch is declared lost.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from backend.store.database import open_database
from backend.usecases.ingest import Inbound
from device.config import BatchLimits, SpoolLimits
from protocol.batch import LossCause, Section, assemble, open_batch
from protocol.facts import decode_facts
from protocol.ids import cose_key_bytes
from protocol.receipts import open_receipt, sign_receipt
from protocol.signals import decode_signals
from protocol.topics import Up, up_topic
from simulators.disk import DatabaseImage
from tests.builders import engine as box_side
from tests.builders import ingest as server_side
from tests.builders.engine import DEVICE_KEYS, SECOND, STRANGER_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from device.state import BatchKey, ChainId

COUNT_COLUMN = 1
STEPS = 120


class Registered(server_side.Box):
    """The box of the engine's builder, as the server's builder knows boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.signer = box_side.DEVICE_KEY
        self.device = box_side.DEVICE
        self.cose_key = cose_key_bytes(self.signer.public_key)


class Server:
    """The real ingest on SQLite, with a backup that can be restored."""

    def __init__(self, folder: Path) -> None:
        self.backend = server_side.Backend(folder, boxes=[Registered()])
        self.keys = {self.backend.signer.kid: self.backend.signer.public_key}
        self._file = folder / "tbox.sqlite"
        self._backup: DatabaseImage | None = None
        self.answers: list[bytes] = []

    def take(self, payload: bytes, kind: Up = Up.BATCH) -> list[bytes]:
        """Take one message and return the signed receipts that answer it."""
        topic = up_topic(box_side.DEVICE, kind)
        taken = self.backend.take_messages(Inbound(topic=topic, payload=payload))
        receipts = [answer.payload for answer in taken.answers]
        self.answers += receipts
        return receipts

    def back_up(self) -> None:
        self._backup = DatabaseImage.take(self._file, self._file.with_suffix(".backup"))

    def restore(self) -> None:
        if self._backup is not None:
            self.backend.database.close()
            self._backup.put_back()
            self.backend.database = open_database(f"sqlite+pysqlite:///{self._file}")

    def payloads(self) -> list[bytes]:
        """Return every stored batch as it could be shown again."""
        with self.backend.database.reading() as session:
            connection = session.connection()
            batches = connection.exec_driver_sql("select chain_ref, seq, header from batch").all()
            parts = connection.exec_driver_sql(
                "select chain_ref, seq, section, body from batch_section"
            ).all()
        sections: dict[tuple[int, int], dict[int, bytes]] = {}
        for chain_ref, seq, section, body in parts:
            sections.setdefault((chain_ref, seq), {})[section] = body
        return [assemble(header, sections.get((ref, seq), {})) for ref, seq, header in batches]


class World:
    """One seeded run."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.server = Server(folder)
        home = folder / "box"
        home.mkdir()
        settings = box_side.config(
            backend_keys=(cose_key_bytes(self.server.backend.signer.public_key),),
            batch=BatchLimits(age_us=5 * SECOND),
            spool=SpoolLimits(memory_batches=4, retry_us=SECOND),
        )
        self.box = box_side.Box(home, settings)
        self.next_number = 0
        self.on_disk: dict[BatchKey, list[int]] = {}
        self.moved: dict[BatchKey, BatchKey] = {}
        self.image: tuple[Path, dict[BatchKey, list[int]], dict[BatchKey, BatchKey]] | None = None
        self.is_disk_full = False
        self.folder = folder
        self.acts = {  # what may happen next, and how often
            self.drive: 3,
            self.deliver: 2,
            self.toggle_link: 1,
            self.crash: 1,
            self.fill_or_free_disk: 1,
            self.forge: 1,
            self.repeat_receipt: 1,
            self.server.back_up: 1,
            self.server.restore: 1,
            self.image_or_exchange_disk: 1,
        }

    def close(self) -> None:
        self.box.spool.close()
        self.server.backend.database.close()

    def watch(self) -> None:
        """Note what reached the box's disk since the last look."""
        for batch in self.box.take_stored():
            self.on_disk[batch.key] = numbers_in(batch.payload)
            if batch.replaces is not None:
                self.moved[batch.replaces] = batch.key

    def step(self) -> None:
        (act,) = self.rng.choices(list(self.acts), list(self.acts.values()))
        act()
        self.watch()

    def drive(self) -> None:
        count = self.rng.randrange(1, 40)
        self.box.frames(range(self.next_number, self.next_number + count))
        self.next_number += count
        self.box.pass_time(self.rng.choice([1, 2, 6]))

    def toggle_link(self) -> None:
        if self.box.is_connected:
            self.box.disconnect()
            self.box.wire.clear()  # what was on the way is lost
            self.box.questions.clear()
        else:
            self.box.connect()

    def deliver(self) -> None:
        """Let the server take what is on the wire: all or part of it, once or twice, in any order."""
        self.deliver_questions(share_lost=0.2)
        wire = list(self.box.wire)
        self.box.wire.clear()
        if self.rng.random() < 0.4:
            self.rng.shuffle(wire)
        wire += self.rng.sample(wire, self.rng.randrange(len(wire) + 1))
        for key, payload in wire:
            if self.rng.random() < 0.2:
                continue  # lost behind the broker's PUBACK
            receipts = self.server.take(payload)
            self.box.handle(box_side.BatchPublished(key=key))
            for receipt in receipts:
                if self.rng.random() < 0.7:
                    self.box.receive(receipt)

    def deliver_questions(self, *, share_lost: float = 0.0) -> None:
        while self.box.questions:
            for receipt in self.server.take(self.box.questions.popleft(), Up.REQUEST):
                if self.rng.random() >= share_lost:
                    self.box.receive(receipt)

    def crash(self) -> None:
        self.box.reboot()
        self.is_disk_full = False

    def image_or_exchange_disk(self) -> None:
        """Keep a copy of the box's disk, or put the copy in the place of the disk."""
        self.watch()
        self.box.crash()
        self.is_disk_full = False
        if self.image is None or self.rng.random() < 0.5:
            self.image = (self.folder / "image", dict(self.on_disk), dict(self.moved))
            self.box.copy_spool(self.image[0])
        else:
            home, on_disk, moved = self.image
            self.box.replace_spool(home, with_anchor=self.rng.random() < 0.5)
            self.on_disk, self.moved = dict(on_disk), dict(moved)
        self.box.start()

    def fill_or_free_disk(self) -> None:
        self.is_disk_full = not self.is_disk_full
        self.box.spool.limit_pages(1 if self.is_disk_full else None)

    def forge(self) -> None:
        """Present what a stranger signed, and a true receipt with a bit changed."""
        if self.server.answers:
            true = self.rng.choice(self.server.answers)
            before = len(self.box.freed)
            self.box.receive(sign_receipt(open_receipt(true, self.server.keys.get), STRANGER_KEY))
            at = self.rng.randrange(len(true))
            self.box.receive(true[:at] + bytes([true[at] ^ 1]) + true[at + 1 :])
            assert len(self.box.freed) == before

    def repeat_receipt(self) -> None:
        if self.server.answers:
            self.box.receive(self.rng.choice(self.server.answers))

    def is_lost(self, key: BatchKey, lost: set[tuple[ChainId, int]]) -> bool:
        """Whether a batch, or what it was sealed again as, is declared lost."""
        while key not in lost and key in self.moved:
            key = self.moved[key]
        return key in lost

    def heal(self) -> None:
        """Let everything work again, with the car driving on now and then: its batches bring new receipts."""
        self.box.spool.limit_pages(None)
        self.box.wire.clear()
        self.box.questions.clear()
        self.box.disconnect()
        self.box.connect()
        for second in range(400):
            if second % 100 == 0:
                self.drive()
            self.box.pass_time(1)
            self.deliver_questions()
            while self.box.wire:
                key, payload = self.box.wire.popleft()
                receipts = self.server.take(payload)
                self.box.handle(box_side.BatchPublished(key=key))
                for receipt in receipts:
                    self.box.receive(receipt)
            self.watch()


def numbers_in(payload: bytes) -> list[int]:
    data = open_batch(payload, DEVICE_KEYS.get, device=None).data(Section.SIGNALS)
    groups = [] if data is None else decode_signals(data)
    return [int(value) for group in groups for value in group.raw[COUNT_COLUMN]]


def is_moved(payload: bytes) -> bool:
    data = open_batch(payload, DEVICE_KEYS.get, device=None).data(Section.FACTS)
    return data is not None and any(fact.name == "chain_rehomed" for fact in decode_facts(data).events)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_sealed_is_lost_or_stored_twice(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed)
    try:
        for _ in range(STEPS):
            world.step()
        world.heal()
        payloads = world.server.payloads()
        headers = [open_batch(payload, DEVICE_KEYS.get, device=None).header for payload in payloads]
        heads = Counter((header.chain, header.seq) for header in headers)
        # What the server had receipted may have been evicted from a full disk before the server lost it, too.
        lost = {
            (header.chain, seq)
            for header in headers
            for loss in header.losses
            for seq in range(loss.first, loss.last + 1)
        } | {
            (loss.chain, seq)
            for header in headers
            for loss in header.ended_losses
            if loss.cause != LossCause.RESEALED
            for seq in range(loss.first, loss.last + 1)
        }
        on_server = Counter(number for payload in payloads for number in numbers_in(payload))
        first_time = Counter(
            number for payload in payloads if not is_moved(payload) for number in numbers_in(payload)
        )
        owed = {n for key, numbers in world.on_disk.items() if not world.is_lost(key, lost) for n in numbers}
        assert len(world.on_disk) > 5
        assert set(heads.values()) == {1}
        assert owed <= on_server.keys()
        assert set(first_time.values()) == {1}, "what is there twice says what it repeats"
        assert world.box.engine.metrics()["spool_pending"] == 0
    finally:
        world.close()
