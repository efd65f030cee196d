"""The spool on SQLite: what survives, what is noticed, and what is refused."""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from device.adapters.spool_schema import SCHEMA_VERSION
from device.adapters.sqlite_spool import SqliteSpool
from device.effects import (
    EvictBatches,
    FreeBatches,
    PersistTick,
    Quarantine,
    ReadBatch,
    ReopenBatches,
    SealedBatch,
    StartChain,
    StoreBatch,
)
from device.errors import SpoolError, SpoolTooNewError
from device.events import (
    BatchDamaged,
    BatchRead,
    BatchStored,
    ChainStarted,
    SpoolEvent,
    StoreFailed,
    StoreFailure,
)
from device.state import BatchKey, BootId, BootMark, ChainId, EntryState, LostRange, SpoolClass, Statement
from protocol.batch import ChainHead, Gap, GapCause, LossCause, Origin, OriginKind
from tests.builders.engine import TABLE, Draw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from device.state import SpoolImage

BOOT = BootId(b"b" * 16)
NOTHING = BatchKey(ChainId(bytes(16)), 0)


class Opened:
    """A spool in a folder, its image, and the answers it gave."""

    def __init__(self, home: Path, seed: bytes = b"seed") -> None:
        self.answers: deque[SpoolEvent] = deque()
        self.spool = SqliteSpool(home / "spool.sqlite", listener=self.answers.append, entropy=Draw(seed))
        self.image: SpoolImage = self.spool.load()
        self.chain = self.image.chain.chain
        self.last = (self.image.chain.last_seq, self.image.chain.last_digest)

    def wait(self) -> list[SpoolEvent]:
        """Let the spool finish; return its answers since the last call."""
        self.spool.fetch(NOTHING).result()
        answers = list(self.answers)
        self.answers.clear()
        return answers

    def batch(self, size: int = 100, **changes: object) -> SealedBatch:
        """The next batch of the chain, stand-in bytes for content."""
        seq, prev = self.last[0] + 1, self.last[1]
        digest = seq.to_bytes(32, "big")
        self.last = (seq, digest)
        plain = SealedBatch(
            key=BatchKey(self.chain, seq),
            prev=prev,
            digest=digest,
            payload=bytes([seq % 256]) * size,
            rank=SpoolClass.BULK,
            boot=BOOT,
            mono_end_us=seq * 10,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def store(self, count: int = 1, size: int = 100) -> list[SealedBatch]:
        batches = [self.batch(size) for _ in range(count)]
        for batch in batches:
            self.spool.submit(StoreBatch(batch=batch))
        self.wait()
        return batches


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    return tmp_path


@pytest.fixture
def opened(home: Path) -> Iterator[Opened]:
    spool = Opened(home)
    yield spool
    spool.spool.close()


def reopened(before: Opened, home: Path, seed: bytes = b"next") -> Opened:
    before.spool.close()
    return Opened(home, seed)


def test_a_new_spool_begins_a_first_chain(opened: Opened) -> None:
    assert opened.image.chain.origin == Origin(kind=OriginKind.FIRST, last_head=None)
    assert (opened.image.chain.last_seq, opened.image.index, opened.image.notes[1:]) == (0, (), ())


def test_stored_means_that_it_is_there_after_a_restart(opened: Opened, home: Path) -> None:
    group = TABLE.groups[0].definition(3, "can0", TABLE.dbc_hash, {})
    gap = Statement(number=1, body=Gap(boot=BootId(b"o" * 16), start_us=1, end_us=2, cause=GapCause.POWER))
    loss = Statement(number=2, body=LostRange(chain=opened.chain, first=1, last=2, cause=LossCause.QUOTA))
    batch = opened.batch(
        groups=(group,), declares=(replace(gap, declared_in=BatchKey(opened.chain, 1)), loss)
    )
    opened.spool.submit(StoreBatch(batch=batch))
    assert opened.wait() == [BatchStored(key=batch.key)]
    again = reopened(opened, home)
    [entry] = again.image.index
    assert (entry.key, entry.digest, entry.size, entry.state) == (
        batch.key,
        batch.digest,
        100,
        EntryState.PENDING,
    )
    assert (again.image.chain.last_seq, again.image.chain.last_digest) == (1, batch.digest)
    assert again.image.dictionary == (group,)
    assert again.image.statements == batch.declares
    assert again.spool.fetch(batch.key).result() == batch.payload
    again.spool.close()


def test_the_same_batch_stored_twice_is_there_once(opened: Opened, home: Path) -> None:
    [batch] = opened.store()
    opened.spool.submit(StoreBatch(batch=batch))
    assert opened.wait() == [BatchStored(key=batch.key)]
    again = reopened(opened, home)
    assert len(again.image.index) == 1
    again.spool.close()


def test_confirmed_reopened_quarantined_and_evicted_batches_are_so_after_a_restart(
    opened: Opened, home: Path
) -> None:
    opened.store(5)
    head = ChainHead(chain=opened.chain, seq=4, hash=(4).to_bytes(32, "big"))
    lost = Statement(number=1, body=LostRange(chain=opened.chain, first=5, last=5, cause=LossCause.QUOTA))
    for effect in (
        FreeBatches(chain=opened.chain, ranges=((1, 4),), head=head),
        ReopenBatches(chain=opened.chain, ranges=((3, 4),), head=None),
        Quarantine(key=BatchKey(opened.chain, 3), code=1, losses=()),
        EvictBatches(keys=(BatchKey(opened.chain, 5), BatchKey(opened.chain, 1)), losses=(lost,)),
    ):
        opened.spool.submit(effect)
    again = reopened(opened, home)
    assert {entry.key.seq: entry.state for entry in again.image.index} == {
        2: EntryState.RECEIPTED,
        3: EntryState.QUARANTINED,
        4: EntryState.PENDING,
    }
    assert again.image.statements == (lost,)
    assert again.image.chain.receipted is None
    again.spool.close()


def test_a_receipt_forgets_what_its_batches_declared(opened: Opened, home: Path) -> None:
    body = LostRange(chain=opened.chain, first=1, last=1, cause=LossCause.QUOTA)
    batch = opened.batch(declares=(Statement(number=1, body=body, declared_in=BatchKey(opened.chain, 1)),))
    opened.spool.submit(StoreBatch(batch=batch))
    opened.spool.submit(FreeBatches(chain=opened.chain, ranges=((1, 1),), head=None))
    again = reopened(opened, home)
    assert again.image.statements == ()
    again.spool.close()


def test_a_boot_s_mark_moves_with_its_ticks_and_batches_until_a_batch_closes_it(
    opened: Opened, home: Path
) -> None:
    mark = BootMark(boot=BOOT, host_boot="h", tick_us=5, covered_us=0, is_clean=False)
    opened.spool.submit(PersistTick(mark=mark))
    opened.store(2)
    opened.spool.submit(PersistTick(mark=replace(mark, tick_us=50)))
    again = reopened(opened, home)
    assert again.image.boots == (replace(mark, tick_us=50, covered_us=20),)
    again.spool.submit(StoreBatch(batch=again.batch(closes_boots=(BOOT,), boot=BootId(b"2" * 16))))
    last = reopened(again, home)
    assert last.image.boots == ()
    last.spool.close()


def test_a_body_that_changed_on_disk_is_reported_and_not_handed_out(opened: Opened, home: Path) -> None:
    first, second = opened.store(2)
    opened.spool.close()
    with sqlite3.connect(home / "spool.sqlite") as connection:
        connection.execute("UPDATE body SET payload = X'00' WHERE id = 1")
    connection.close()
    again = Opened(home)
    assert again.spool.fetch(first.key).result() is None
    again.spool.submit(ReadBatch(key=first.key))
    again.spool.submit(ReadBatch(key=second.key))
    damaged, read_again, read = again.wait()
    assert damaged == read_again == BatchDamaged(key=first.key, detail="its body does not fit its checksum")
    assert read == BatchRead(key=second.key, payload=second.payload)
    again.spool.close()


def test_a_batch_that_is_gone_is_no_damage_for_a_publisher(opened: Opened) -> None:
    assert opened.spool.fetch(BatchKey(opened.chain, 9)).result() is None
    assert opened.wait() == []


def test_a_full_disk_refuses_cleanly_and_stores_the_same_batch_when_there_is_room(
    opened: Opened, home: Path
) -> None:
    opened.store()
    opened.spool.limit_pages(1)
    batch = opened.batch(size=50_000)
    opened.spool.submit(StoreBatch(batch=batch))
    [failed] = opened.wait()
    assert isinstance(failed, StoreFailed)
    assert (failed.key, failed.reason) == (batch.key, StoreFailure.FULL)
    opened.spool.limit_pages(None)
    opened.spool.submit(StoreBatch(batch=batch))
    assert opened.wait() == [BatchStored(key=batch.key)]
    again = reopened(opened, home)
    assert [entry.key.seq for entry in again.image.index] == [1, 2]
    again.spool.close()


def test_what_a_full_disk_refused_to_note_is_noted_with_the_next_transaction(
    opened: Opened, home: Path
) -> None:
    opened.store()
    opened.spool.limit_pages(1)
    # A boot whose text needs more pages than there are.
    opened.spool.submit(
        PersistTick(mark=BootMark(boot=BOOT, host_boot="h" * 50_000, tick_us=7, covered_us=0, is_clean=False))
    )
    opened.wait()
    opened.spool.limit_pages(None)
    opened.store()
    again = reopened(opened, home)
    assert [mark.tick_us for mark in again.image.boots] == [7]
    again.spool.close()


def test_a_new_chain_is_on_disk_when_it_is_announced_and_older_batches_stay(
    opened: Opened, home: Path
) -> None:
    [old] = opened.store()
    origin = Origin(kind=OriginKind.CONFLICT, last_head=ChainHead(chain=opened.chain, seq=9, hash=b"h" * 32))
    opened.spool.submit(StartChain(origin=origin))
    [started] = opened.wait()
    assert isinstance(started, ChainStarted)
    assert started.record.origin == origin
    again = reopened(opened, home)
    assert again.image.chain == started.record
    assert [chain.chain for chain in again.image.ended] == [opened.chain]
    assert [entry.key for entry in again.image.index] == [old.key]
    again.spool.close()


def test_a_successor_retires_its_original_in_one_transaction(opened: Opened, home: Path) -> None:
    [old] = opened.store()
    opened.spool.submit(StartChain(origin=Origin(kind=OriginKind.CONFLICT, last_head=None)))
    [started] = opened.wait()
    assert isinstance(started, ChainStarted)
    opened.chain, opened.last = started.record.chain, (0, None)
    successor = opened.batch(replaces=old.key)
    opened.spool.submit(StoreBatch(batch=successor))
    again = reopened(opened, home)
    assert [entry.key for entry in again.image.index] == [successor.key]
    again.spool.close()


def test_a_file_that_is_no_database_is_kept_aside_and_a_chain_of_lost_storage_begins(
    opened: Opened, home: Path
) -> None:
    batches = opened.store(3)
    opened.spool.close()
    (home / "spool.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)
    again = Opened(home, b"other")
    assert (home / "spool.sqlite.damaged-1").read_bytes().startswith(b"not a database")
    assert again.image.chain.origin == Origin(
        kind=OriginKind.STORAGE_LOST,
        last_head=ChainHead(chain=opened.chain, seq=3, hash=batches[-1].digest),
    )
    assert again.image.notes[0] == "spool damaged, kept as spool.sqlite.damaged-1"
    again.store()
    again.spool.close()


def test_a_spool_that_vanished_is_lost_storage_too(opened: Opened, home: Path) -> None:
    opened.store()
    opened.spool.close()
    for path in home.glob("spool.sqlite*"):
        path.unlink()
    again = Opened(home, b"other")
    assert again.image.chain.origin.kind == OriginKind.STORAGE_LOST
    again.spool.close()


def test_damage_met_while_running_ends_the_thread_and_the_next_start_examines_the_file(
    opened: Opened, home: Path
) -> None:
    opened.store(50, size=3_000)
    opened.spool.close()
    path = home / "spool.sqlite"
    data = bytearray(path.read_bytes())
    connection = sqlite3.connect(path)
    [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'body'").fetchall()
    connection.close()
    data[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(data)
    broken = Opened(home)
    broken.spool.submit(StoreBatch(batch=broken.batch()))
    broken.spool.fetch(NOTHING).result()
    mark = BootMark(boot=BOOT, host_boot=None, tick_us=1, covered_us=0, is_clean=False)
    with pytest.raises(SpoolError, match="thread has ended"):
        broken.spool.submit(PersistTick(mark=mark))
    broken.spool.close()
    assert json.loads((home / "anchor.json").read_bytes())["is_suspect"] is True
    again = Opened(home, b"other")
    assert again.image.chain.origin.kind == OriginKind.STORAGE_LOST
    assert (home / "spool.sqlite.damaged-1").exists()
    again.spool.close()


def test_a_newer_schema_is_refused_and_left_alone(opened: Opened, home: Path) -> None:
    opened.spool.close()
    path = home / "spool.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SpoolTooNewError, match=f"schema {SCHEMA_VERSION + 1}") as caught:
        Opened(home)
    assert "newer" in caught.value.diagnostics()
    assert path.read_bytes() == before


def test_an_older_schema_is_carried_forward_with_all_it_holds(opened: Opened, home: Path) -> None:
    [batch] = opened.store()
    opened.spool.close()
    connection = sqlite3.connect(home / "spool.sqlite")
    connection.execute("ALTER TABLE chain DROP COLUMN moved")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    again = Opened(home)
    assert [entry.key for entry in again.image.index] == [batch.key]
    assert again.image.chain.moved == ()
    again.spool.close()


def test_two_agents_cannot_share_a_spool(opened: Opened, home: Path) -> None:
    opened.store()
    with pytest.raises(SpoolError, match="another process uses this spool"):
        Opened(home)
    opened.store()


def test_an_older_image_beside_a_newer_anchor_goes_on_in_a_new_chain(opened: Opened, home: Path) -> None:
    opened.store(2)
    opened.spool.close()
    image = (home / "spool.sqlite").read_bytes()
    newer = Opened(home)
    last = newer.store(3)[-1]
    newer.spool.close()
    for path in home.glob("spool.sqlite*"):
        path.unlink()
    (home / "spool.sqlite").write_bytes(image)
    again = Opened(home, b"other")
    assert again.image.chain.origin == Origin(
        kind=OriginKind.CONFLICT, last_head=ChainHead(chain=opened.chain, seq=5, hash=last.digest)
    )
    assert [entry.key for entry in again.image.index] == [BatchKey(opened.chain, seq) for seq in (1, 2)]
    again.spool.close()


@pytest.mark.parametrize("content", [b"", b"{", b'{"chain": 1}', b"[]"])
def test_a_torn_anchor_costs_nothing_but_the_early_warning(
    opened: Opened, home: Path, content: bytes
) -> None:
    opened.store(2)
    opened.spool.close()
    (home / "anchor.json").write_bytes(content)
    again = Opened(home)
    assert (again.chain, again.image.chain.last_seq) == (opened.chain, 2)
    assert json.loads((home / "anchor.json").read_bytes())["seq"] == 2
    again.spool.close()


def test_the_spool_and_its_anchor_are_nobody_else_s(opened: Opened, home: Path) -> None:
    opened.store()
    assert {path.stat().st_mode & 0o077 for path in home.iterdir()} == {0}


def test_what_was_submitted_before_the_close_is_carried_out(opened: Opened, home: Path) -> None:
    for _ in range(50):
        opened.spool.submit(StoreBatch(batch=opened.batch()))
    answer: Future[bytes | None] = opened.spool.fetch(BatchKey(opened.chain, 50))
    again = reopened(opened, home)
    assert answer.result() is not None
    assert len(again.image.index) == 50
    with pytest.raises(SpoolError, match="thread has ended"):
        opened.spool.submit(ReadBatch(key=NOTHING))
    again.spool.close()


def test_opening_a_spool_writes_nothing_so_that_an_agent_starts_on_a_full_disk(
    opened: Opened, home: Path
) -> None:
    [batch] = opened.store()
    opened.spool.close()
    before = (home / "spool.sqlite").read_bytes()
    again = Opened(home)
    assert again.spool.fetch(batch.key).result() == batch.payload
    again.spool.close()
    assert (home / "spool.sqlite").read_bytes() == before
