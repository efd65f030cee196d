"""What an error of SQLite means for the spool: the disk hesitates, or the file is damaged.

Rules: a full, busy or unreadable disk may recover, so nothing is thrown away because of it. Everything else
    that SQLite says about
an existing file (no database, malformed, a table missing) is damage: the file is moved aside, never
repaired in place.

Example:
    >>> error = sqlite3.DatabaseError("file is not a database")
    >>> is_hesitation(error)
    False

Source: SQLite, "Result and Error Codes" (primary codes are the low byte).
"""

from __future__ import annotations

import sqlite3

from device.errors import SpoolError
from device.events import StoreFailure
from protocol.limits import SPOOL_QUEUE_MAX

_HESITATIONS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_hesitation(error: sqlite3.Error) -> bool:
    """Whether trying again later may help."""
    return _code(error) in _HESITATIONS


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken."""
    return _code(error) in _DAMAGE


def store_failure(error: sqlite3.Error) -> StoreFailure:
    """Return the reason that the engine is told."""
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return StoreFailure.FULL
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreFailure.BUSY
        case _:
            return StoreFailure.IO


def refusal_to_open(what: str, error: sqlite3.Error) -> SpoolError:
    """Return the error of a disk that does not let the spool be opened."""
    if _code(error) == sqlite3.SQLITE_BUSY:
        return SpoolError(
            f"{what}: another process uses this spool",
            is_transient=True,
            meaning="two agents on one spool would seal two batches under one number",
            next_step="end the other agent",
        )
    return SpoolError(
        f"{what}: {error}",
        is_transient=True,
        meaning="the disk refused to open the spool; nothing in it was changed",
        next_step="look at free space, mount state and permissions of the agent's home",
    )


def thread_ended() -> SpoolError:
    """Return the error of a spool that takes no more commands."""
    return SpoolError(
        "spool: its thread has ended",
        is_transient=True,
        meaning="nothing can be stored until the agent starts again",
        next_step="restart the agent; it examines the file and goes on",
    )


def disk_stalled() -> SpoolError:
    """Return the error of a disk that has not answered for too long."""
    return SpoolError(
        "spool: the disk does not answer",
        is_transient=True,
        meaning=f"{SPOOL_QUEUE_MAX} effects wait for it",
        next_step="look at the disk; restart the agent",
    )
