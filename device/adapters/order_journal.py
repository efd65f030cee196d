"""The order journal on SQLite: its own small file and thread, so that no order waits behind batches.

Rules:
- A change is one transaction; JournalWritten is told after COMMIT has returned (WAL, `synchronous=FULL`).
- A change that the disk refuses is answered by JournalFailed and leaves nothing behind; the engine tries it
  again.
- A file that cannot be read is moved aside, kept, and an empty one begins: the microcontroller still has what
  it was not told to forget, and the backend sends again what nobody answered.
- A message that no longer fits its digest is left out at start, and said.

It does not decide what to keep. Why a file of its own: docs/adr/0045.

Example:
    journal = SqliteOrderJournal(home / "orders.sqlite", listener=inbox.put)
    image = journal.load()
    journal.submit(change)
    journal.close()
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import sqlite3
import threading
from typing import TYPE_CHECKING

from device.adapters.spool_errors import is_damage
from device.adapters.spool_schema import move_aside
from device.errors import EdgeError
from device.events import JournalFailed, JournalWritten
from device.order_state import Answered, Arrival, JournalImage
from protocol.limits import JOURNAL_QUEUE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.events import JournalEvent
    from device.order_state import JournalChange

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
BUSY_MS = 2_000  # another agent that is just ending gets this long to let go of the file
_PENDING, _RECEIPTED, _REFUSED = range(3)
_CLOSE_S = 10.0

_SCHEMA = (
    """CREATE TABLE arrival (
        number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, cmd_hash BLOB NOT NULL, cmd_id BLOB NOT NULL,
        type INTEGER NOT NULL, ends_s INTEGER, message BLOB NOT NULL)""",
    """CREATE TABLE answer (
        number INTEGER PRIMARY KEY, epoch BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL UNIQUE,
        cmd_hash BLOB NOT NULL, state INTEGER NOT NULL, message BLOB NOT NULL)""",
    "CREATE TABLE head (name TEXT PRIMARY KEY, hash BLOB NOT NULL)",
)


class JournalError(EdgeError):
    """The journal's file or disk failed."""


class SqliteOrderJournal:
    """The thread that owns the journal's file.

    Args:
        path: the database file.
        listener: gets the answers, on the journal's thread.
    """

    def __init__(self, path: Path, *, listener: Callable[[JournalEvent], object]) -> None:
        self._path = path
        self._listener = listener
        self._changes: queue.Queue[JournalChange | None] = queue.Queue(maxsize=JOURNAL_QUEUE_MAX)
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
        self._connection: sqlite3.Connection | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; once started it ends by `close` only, else the file is damaged."""
        return self._thread.is_alive()

    def load(self) -> JournalImage:
        """Open (or create) the file and return what it holds. Blocks; once, before anything else.

        Raises:
            JournalError: the disk refused, another agent holds the file, or a newer version wrote it.
        """
        notes: tuple[str, ...] = ()
        try:
            image = self._open()
        except sqlite3.Error as error:
            self._drop_connection()
            if not is_damage(error):
                raise _refusal(self._path, error) from error
            aside = move_aside(self._path)
            _log.error("order journal moved aside: file=%s error=%s", aside.name, error)
            notes = (f"order journal moved aside to {aside.name}",)
            try:
                image = self._open()
            except sqlite3.Error as again:
                raise _refusal(self._path, again) from again
        self._thread.start()
        return JournalImage(
            arrivals=image.arrivals,
            answers=image.answers,
            order_head=image.order_head,
            disposition_head=image.disposition_head,
            notes=notes + image.notes,
        )

    def submit(self, change: JournalChange) -> None:
        """Queue one change; a queue that is full answers as a refusing disk does."""
        try:
            self._changes.put_nowait(change)
        except queue.Full:
            self._listener(JournalFailed(number=change.number, detail="the queue before the disk is full"))

    def close(self) -> None:
        """Finish what is queued and close. Blocks."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._changes.put(None, timeout=_CLOSE_S)
            self._thread.join(_CLOSE_S)
        self._drop_connection()

    def _open(self) -> JournalImage:
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1_000
        )
        self._connection = connection
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{self._path}: journal of schema {version}, this program knows {SCHEMA_VERSION}",
                is_transient=False,
                meaning="a newer version of the agent wrote it; nothing in it was touched",
                next_step="start the newer agent again",
            )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        if version < SCHEMA_VERSION:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
        return _load(connection)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self) -> None:
        connection = self._connection
        assert connection is not None
        while (change := self._changes.get()) is not None:
            try:
                connection.execute("BEGIN IMMEDIATE")
                _apply(connection, change)
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                self._listener(JournalFailed(number=change.number, detail=str(error)))
                if is_damage(error):
                    raise
            else:
                self._listener(JournalWritten(number=change.number))


def _apply(connection: sqlite3.Connection, change: JournalChange) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO arrival (digest, cmd_hash, cmd_id, type, ends_s, message)"
        " VALUES (?,?,?,?,?,?)",
        [
            (item.digest, item.cmd_hash, item.cmd_id, item.order_type, item.ends_s, item.message)
            for item in change.add
        ],
    )
    connection.executemany("DELETE FROM arrival WHERE digest = ?", [(digest,) for digest in change.remove])
    connection.executemany(
        "INSERT OR IGNORE INTO answer (epoch, seq, digest, cmd_hash, state, message) VALUES (?,?,?,?,?,?)",
        [
            (item.epoch, item.seq, item.digest, item.cmd_hash, _PENDING, item.message)
            for item in change.answer
        ],
    )
    for state, digests in (
        (_RECEIPTED, change.receipted),
        (_PENDING, change.reopened),
        (_REFUSED, change.refused),
    ):
        connection.executemany(
            "UPDATE answer SET state = ? WHERE digest = ?", [(state, digest) for digest in digests]
        )
    connection.executemany("DELETE FROM answer WHERE digest = ?", [(digest,) for digest in change.forget])
    heads = (("order", change.order_head), ("disposition", change.disposition_head))
    connection.executemany(
        "INSERT OR REPLACE INTO head (name, hash) VALUES (?,?)",
        [(name, digest) for name, digest in heads if digest is not None],
    )


def _load(connection: sqlite3.Connection) -> JournalImage:
    notes: list[str] = []
    arrivals = [
        Arrival(
            digest=row[0], cmd_hash=row[1], cmd_id=row[2], order_type=row[3], ends_s=row[4], message=row[5]
        )
        for row in connection.execute(
            "SELECT digest, cmd_hash, cmd_id, type, ends_s, message FROM arrival ORDER BY number"
        )
        if _is_whole(row[0], row[5], notes)
    ]
    answers = [
        Answered(
            epoch=epoch,
            seq=seq,
            digest=digest,
            cmd_hash=cmd_hash,
            message=message,
            is_receipted=state == _RECEIPTED,
            is_refused=state == _REFUSED,
        )
        for epoch, seq, digest, cmd_hash, state, message in connection.execute(
            "SELECT epoch, seq, digest, cmd_hash, state, message FROM answer ORDER BY number"
        )
        if _is_whole(digest, message, notes)
    ]
    heads: dict[str, bytes] = dict(connection.execute("SELECT name, hash FROM head").fetchall())
    return JournalImage(
        arrivals=tuple(arrivals),
        answers=tuple(answers),
        order_head=heads.get("order"),
        disposition_head=heads.get("disposition"),
        notes=tuple(notes),
    )


def _is_whole(digest: bytes, message: bytes, notes: list[str]) -> bool:
    if hashlib.sha256(message).digest() == digest:
        return True
    notes.append(f"order journal: a message does not fit its digest {digest[:4].hex()}")
    return False


def _refusal(path: Path, error: sqlite3.Error) -> JournalError:
    return JournalError(
        f"{path}: {error}",
        is_transient=isinstance(error, sqlite3.OperationalError),
        meaning="orders could not be kept over a restart, so none is taken",
        next_step="free space, or end the other agent that holds the file",
    )
