"""What a witness remembers: the latest checkpoint of each log, and the forks it was shown.

Rules: one SQLite file; `synchronous=FULL`, so what was kept before an answer is there after a power cut. A
writer has the file for itself from its first statement on.

Example:
    >>> with WitnessStore(path).writing("log.example/tbox") as kept:
    ...     kept.keep(note)
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_S = 10.0
_TABLES = (
    "CREATE TABLE IF NOT EXISTS latest (origin TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS fork (fork_id INTEGER PRIMARY KEY, origin TEXT NOT NULL,
       at_s INTEGER NOT NULL, kept BLOB NOT NULL, shown BLOB NOT NULL, UNIQUE (origin, shown))""",
)
_FORKS_MAX = 1_000
"""Forks kept of one log: two signed notes prove one; a log in trouble may show many."""


class Kept:
    """The checkpoint kept of one log, within a transaction."""

    def __init__(self, connection: sqlite3.Connection, origin: str) -> None:
        self._connection = connection
        self._origin = origin
        row = connection.execute("SELECT note FROM latest WHERE origin = ?", (origin,)).fetchone()
        self.note: bytes | None = None if row is None else bytes(row[0])

    def keep(self, note: bytes) -> None:
        """Keep a checkpoint instead of the one before."""
        self._connection.execute("INSERT OR REPLACE INTO latest VALUES (?, ?)", (self._origin, note))

    def keep_fork(self, shown: bytes, *, at_s: int) -> None:
        """Keep two signed notes that cannot both be true: whoever holds them proves that the log forked."""
        count = self._connection.execute(
            "SELECT count(*) FROM fork WHERE origin = ?", (self._origin,)
        ).fetchone()[0]
        if count < _FORKS_MAX:
            self._connection.execute(
                "INSERT OR IGNORE INTO fork (origin, at_s, kept, shown) VALUES (?, ?, ?, ?)",
                (self._origin, at_s, self.note or b"", shown),
            )


class WitnessStore:
    """The witness's file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as connection:
            for table in _TABLES:
                connection.execute(table)

    @contextmanager
    def writing(self, origin: str) -> Iterator[Kept]:
        """Return what is kept of a log; the transaction is committed at the end, unless it raises."""
        with self._open() as connection:
            yield Kept(connection, origin)

    def forks(self, origin: str) -> list[tuple[int, bytes, bytes]]:
        """Return (when, kept, shown) of the forks this log was caught at."""
        with self._open() as connection:
            query = "SELECT at_s, kept, shown FROM fork WHERE origin = ? ORDER BY fork_id"
            return [
                (at_s, bytes(kept), bytes(shown))
                for at_s, kept, shown in connection.execute(query, (origin,))
            ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()  # takes back what was not committed
