"""The order journal on a real disk: durable before told, whole or not at all, moved aside when damaged."""

import hashlib
import queue
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from device.adapters.order_journal import JournalError, SqliteOrderJournal
from device.events import JournalEvent, JournalFailed, JournalWritten
from device.order_state import Answered, JournalChange, JournalImage
from device.orders.inbox import read_order
from protocol.vectors.orders_good import good_orders
from tests.builders.orders_desk import disposition

ARRIVAL = read_order(good_orders()["lock"][0]).arrival
MESSAGE = disposition(1)
ANSWER = Answered(
    epoch=bytes(16),
    seq=1,
    digest=hashlib.sha256(MESSAGE).digest(),
    cmd_hash=bytes(32),
    message=MESSAGE,
)

Opened = tuple[SqliteOrderJournal, JournalImage, "queue.Queue[JournalEvent]"]


def opened(path: Path) -> Opened:
    told: queue.Queue[JournalEvent] = queue.Queue()
    journal = SqliteOrderJournal(path, listener=told.put)
    return journal, journal.load(), told


def lived(path: Path, *changes: JournalChange) -> JournalImage:
    """Make changes in one life, and return what the next one finds."""
    journal, _, told = opened(path)
    for change in changes:
        journal.submit(change)
        assert told.get(timeout=10) == JournalWritten(number=change.number)
    journal.close()
    journal, image, _ = opened(path)
    journal.close()
    return image


def test_what_was_told_written_is_there_in_the_next_life(tmp_path: Path) -> None:
    change = JournalChange(number=1, add=(ARRIVAL,), answer=(ANSWER,), order_head=ARRIVAL.cmd_hash)
    image = lived(tmp_path / "orders.sqlite", change)
    assert image == JournalImage(arrivals=(ARRIVAL,), answers=(ANSWER,), order_head=ARRIVAL.cmd_hash)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (JournalChange(number=2, remove=(ARRIVAL.digest,)), lambda image: image.arrivals == ()),
        (JournalChange(number=2, receipted=(ANSWER.digest,)), lambda image: image.answers[0].is_receipted),
        (JournalChange(number=2, refused=(ANSWER.digest,)), lambda image: image.answers[0].is_refused),
        (JournalChange(number=2, forget=(ANSWER.digest,)), lambda image: image.answers == ()),
        (JournalChange(number=2, add=(ARRIVAL,), answer=(ANSWER,)), lambda image: len(image.answers) == 1),
        (
            JournalChange(number=2, disposition_head=bytes(32)),
            lambda image: image.disposition_head == bytes(32),
        ),
    ],
    ids=["remove", "receipted", "refused", "forget", "again", "head"],
)
def test_each_change_is_what_the_next_life_finds(
    change: JournalChange, left: Callable[[JournalImage], bool], tmp_path: Path
) -> None:
    first = JournalChange(number=1, add=(ARRIVAL,), answer=(ANSWER,))
    assert left(lived(tmp_path / "orders.sqlite", first, change))


def test_what_a_restored_backend_wants_again_is_pending_again(tmp_path: Path) -> None:
    changes = (
        JournalChange(number=1, answer=(ANSWER,)),
        JournalChange(number=2, receipted=(ANSWER.digest,)),
        JournalChange(number=3, reopened=(ANSWER.digest,)),
    )
    assert lived(tmp_path / "orders.sqlite", *changes).answers == (ANSWER,)


def test_a_damaged_file_is_moved_aside_and_an_empty_one_begins(tmp_path: Path) -> None:
    path = tmp_path / "orders.sqlite"
    path.write_bytes(b"not a database, whatever its name says" * 200)
    journal, image, _ = opened(path)
    journal.close()
    assert image.arrivals == ()
    assert "moved aside" in image.notes[0]
    assert (tmp_path / "orders.sqlite.damaged-1").exists()


def test_a_message_that_does_not_fit_its_digest_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "orders.sqlite"
    lived(path, JournalChange(number=1, add=(ARRIVAL,)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE arrival SET message = x'00'")
    connection.close()
    journal, image, _ = opened(path)
    journal.close()
    assert image.arrivals == ()
    assert len(image.notes) == 1


def test_a_disk_that_refuses_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "orders.sqlite"
    journal, _, told = opened(path)
    assert journal._connection is not None
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count={pages}")
    large = [
        Answered(epoch=bytes(16), seq=at, digest=bytes([at] * 32), cmd_hash=bytes(32), message=bytes(2_000))
        for at in range(1, 40)
    ]
    journal.submit(JournalChange(number=7, add=(ARRIVAL,), answer=tuple(large)))
    failed = told.get(timeout=10)
    assert isinstance(failed, JournalFailed)
    assert failed.number == 7
    journal.close()
    journal, image, _ = opened(path)
    journal.close()
    assert image == JournalImage()


def test_a_second_agent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.sqlite"
    journal, _, _ = opened(path)
    journal.submit(JournalChange(number=1))
    with pytest.raises(JournalError, match=r"orders\.sqlite"):
        SqliteOrderJournal(path, listener=lambda _: None).load()
    journal.close()
