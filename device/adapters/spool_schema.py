"""The spool's database file: its tables, how it is opened, and what happens to one that cannot be read.

Rules:
- WAL with `synchronous=FULL`: what COMMIT has returned from survives a power cut (SQLite, "synchronous").
- One process at a time: the connection keeps the file's lock, a second agent is refused with a clear message.
- The schema has a number. An older file is carried forward step by step; a newer one is left untouched and
  refused.
- A file that SQLite cannot read is moved aside, never deleted: whoever examines the box finds it there.
- Bodies stand apart from what the engine needs at start, so that loading does not read the bodies.

It knows no batch and no chain (`spool_tables` does).

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     connection = open_database(Path(folder, "spool.sqlite"))
    ...     connection.execute("PRAGMA user_version").fetchone()
    (2,)
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from device.errors import SpoolTooNewError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 2
BUSY_MS = 2_000  # another agent that is just ending gets this long to let go of the file

# Bodies of a few KiB go into whole pages; 4 KiB is the page of flash file systems.
PAGE_BYTES = 4_096

_STEPS = (
    """
    CREATE TABLE chain (
        number INTEGER PRIMARY KEY,
        chain BLOB NOT NULL UNIQUE,
        salt_secret BLOB NOT NULL,
        origin_kind INTEGER NOT NULL,
        origin_chain BLOB, origin_seq INTEGER, origin_hash BLOB,
        last_seq INTEGER NOT NULL DEFAULT 0,
        last_digest BLOB,
        upto_seq INTEGER, upto_hash BLOB
    );
    CREATE TABLE batch (
        id INTEGER PRIMARY KEY,
        chain INTEGER NOT NULL REFERENCES chain (number),
        seq INTEGER NOT NULL,
        digest BLOB NOT NULL,
        size INTEGER NOT NULL,
        class INTEGER NOT NULL,
        state INTEGER NOT NULL,
        code INTEGER,
        checksum BLOB NOT NULL,
        UNIQUE (chain, seq)
    );
    CREATE TABLE body (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
    CREATE TABLE dictionary (gid INTEGER PRIMARY KEY, definition BLOB NOT NULL);
    CREATE TABLE statement (
        number INTEGER PRIMARY KEY,
        boot BLOB, start_us INTEGER, end_us INTEGER,
        chain BLOB, first INTEGER, last INTEGER,
        cause INTEGER NOT NULL,
        declared_chain BLOB, declared_seq INTEGER
    );
    CREATE TABLE boot (
        number INTEGER PRIMARY KEY,
        boot BLOB NOT NULL UNIQUE,
        host_boot TEXT,
        tick_us INTEGER NOT NULL,
        covered_us INTEGER NOT NULL,
        is_clean INTEGER NOT NULL
    );
    """,
    # Seqs of an ended chain whose content was sealed again in a later one: JSON [[first, last], …].
    "ALTER TABLE chain ADD COLUMN moved TEXT NOT NULL DEFAULT '[]'",
)

assert len(_STEPS) == SCHEMA_VERSION


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file and bring it to the current schema.

    Returns:
        A connection without implicit transactions, to be used by one thread.

    Raises:
        SpoolTooNewError: A newer version wrote it.
        sqlite3.Error: Another agent holds it, the disk refused, or the file is damaged: `spool_errors`
        tells which.
    """
    path.touch(mode=0o600)  # before SQLite makes it: the salts' secret lives in it
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1_000, cached_statements=64
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def move_aside(path: Path) -> Path:
    """Give a file that cannot be read another name, with its log; returns that name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            companion.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside


def require_sound(connection: sqlite3.Connection) -> None:
    """Read the whole file to see whether its structure holds. Slow: only when there is a reason to doubt.

    Raises:
        sqlite3.DatabaseError: It does not hold.
    """
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise sqlite3.DatabaseError(f"the structure of the file does not hold: {found}")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise SpoolTooNewError(
            f"{path}: spool of schema {version}, this program knows {SCHEMA_VERSION}",
            is_transient=False,
            meaning="a newer version of the agent wrote it; nothing in it was touched",
            next_step="start the newer agent again, or move the file away to begin a new chain",
        )
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("BEGIN IMMEDIATE")  # takes the lock for good: see locking_mode
    if version < SCHEMA_VERSION:  # else nothing is written: an agent must start on a full disk, too
        for step in _STEPS[version:]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")
