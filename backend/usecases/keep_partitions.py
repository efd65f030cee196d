"""The server keeps the months of its large tables ahead of time, on PostgreSQL.

The bridge does it when it starts and every hour, `tbox backend migrate` and `partitions` do it when called:
nobody has to remember, and a batch of a month that was not made is stored all the same (`default`).

Example:
    >>> keep_partitions(database, now_us=utc_us())
    []
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.store.contention import in_transaction
from backend.store.partitions import Partition, list_partitions, make_partitions

if TYPE_CHECKING:
    from backend.store.database import Database


def keep_partitions(database: Database, *, now_us: int) -> list[str]:
    """Make the months that are missing and return their names; nothing on SQLite.

    Args:
        database: Where.
        now_us: UTC in µs.

    Raises:
        OperationalError: The database does not answer, or a table was busy for too long; try again later.
    """
    with database.writing() as session:
        return in_transaction(session, lambda: make_partitions(session, now_us=now_us))


def read_partitions(database: Database) -> list[Partition]:
    """Return all months as the database has them; none on SQLite."""
    with database.reading() as session:
        return list_partitions(session)
