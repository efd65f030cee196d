"""Writers that met: a transaction that the database ended because of another one is done again, and counted.

Rules:
- Done again is what a repetition settles: a deadlock, a serialization failure, and a unique key that another
  writer took between our look and our write. The repetition sees what the other wrote and decides anew.
- A database that is away or busy for longer is not repeated here; the bridge waits and gives the group again,
  the API answers 503.
- At most TRANSACTION_ATTEMPTS_MAX times, with a random pause that doubles, so that two that met part. After
  that the last error goes out as it is.
- The work is a function without side effects outside the database: it may run several times.

On SQLite a writer holds the write lock from its first statement on, so none of this happens there.

Example:
    >>> in_transaction(session, lambda: add_group(session, group))
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy.exc import DBAPIError

from protocol.limits import TRANSACTION_ATTEMPTS_MAX, TRANSACTION_PAUSE_S_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlmodel import Session

Result = TypeVar("Result")

CONTENTION: Final = "contention"
"""Key of a session's `info` that holds the database's counter of repetitions, by cause."""

_PAUSE_FIRST_S: Final = 0.005

# https://www.postgresql.org/docs/15/errcodes-appendix.html
_CAUSES: Final = {"40001": "serialization", "40P01": "deadlock", "23505": "unique"}
_SQLITE_UNIQUE: Final = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


def contention_of(error: DBAPIError) -> str | None:
    """Return what kind of meeting an error tells of, or None when a repetition would not help."""
    if isinstance(error.orig, sqlite3.Error):
        return "unique" if getattr(error.orig, "sqlite_errorcode", None) in _SQLITE_UNIQUE else None
    return _CAUSES.get(str(getattr(error.orig, "sqlstate", "")))


def in_transaction(session: Session, work: Callable[[], Result]) -> Result:
    """Do the work in a transaction of its own and commit it, again if another writer was in the way.

    Args:
        session: A writing session without an open transaction.
        work: Reads and writes through the session; may run several times.

    Raises:
        DBAPIError: The database does not answer, the work is wrong, or the others were in the way each time;
            nothing was stored.
    """
    counts: Counter[str] = session.info.get(CONTENTION, Counter())
    pause_s = _PAUSE_FIRST_S
    for attempt in range(1, TRANSACTION_ATTEMPTS_MAX + 1):
        try:
            with session.begin():
                return work()
        except DBAPIError as error:
            cause = contention_of(error)
            if cause is None or attempt == TRANSACTION_ATTEMPTS_MAX:
                raise
            counts[cause] += 1
        session.expunge_all()  # what was read belongs to the attempt that failed
        time.sleep(pause_s * (0.5 + random.random()))  # noqa: S311  # to part two writers, not to hide anything
        pause_s = min(2 * pause_s, TRANSACTION_PAUSE_S_MAX)
    raise AssertionError("the last attempt returns or raises")
