"""The database: one engine, and sessions that say whether they will write.

Rules:
- Stores never commit. A use-case opens the transaction: `with session.begin(): ...`.
- A session is made for reading or for writing. On SQLite a writing transaction takes the write lock at once
  (`BEGIN IMMEDIATE`): a reader that turns writer in mid-transaction gets SQLITE_BUSY without any waiting,
  since its snapshot is old, and no time-out helps. On PostgreSQL both are ordinary transactions.
- SQLite runs in WAL mode with `synchronous=FULL`: a receipt is sent only for what is on the disk, and WAL
  with NORMAL may lose the last commits at power-off. Source:
  https://www.sqlite.org/pragma.html#pragma_synchronous
- Foreign keys are enforced (SQLite does so only when asked, for each connection).

Example:
    >>> database = open_database("sqlite+pysqlite:////srv/tbox/tbox.sqlite")
    >>> with database.writing() as session, session.begin():
    ...     session.add(Organisation(org_id="0f" * 16, name="Example Leasing", created_us=0))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlmodel import Session

from backend.errors import SettingsError
from protocol.limits import DATABASE_BUSY_MS_MAX, DATABASE_CONNECTIONS_MAX

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

_WRITES = "tbox_writes"
_POOLED = 10  # connections kept open between requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """An engine and its two kinds of session. Close it to give back every connection."""

    engine: Engine
    _writer: Engine

    def reading(self) -> Session:
        """Return a session that only reads; closing it ends its snapshot."""
        return Session(self.engine, expire_on_commit=False)

    def writing(self) -> Session:
        """Return a session whose transactions may write from their first statement on."""
        return Session(self._writer, expire_on_commit=False)

    def close(self) -> None:
        """Close all pooled connections; the database can be opened again."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database; nothing is connected until the first statement.

    Args:
        url: SQLAlchemy address, e.g. `sqlite+pysqlite:////srv/tbox/tbox.sqlite`. A SQLite database has to be
            a file: in memory each connection would have its own.

    Raises:
        SettingsError: The address is not one, or names SQLite in memory.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as wrong:
        raise SettingsError(what="database: not a SQLAlchemy address") from wrong
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and parsed.database in {None, "", ":memory:"}:
        raise SettingsError(
            what="database: SQLite needs a file, a database in memory is gone with its connection"
        )
    engine = create_engine(
        parsed,
        hide_parameters=True,
        pool_pre_ping=not is_sqlite,
        pool_size=_POOLED,
        max_overflow=DATABASE_CONNECTIONS_MAX - _POOLED,
    )
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return Database(engine=engine, _writer=engine.execution_options(**{_WRITES: True}))


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Set what SQLite keeps per connection, and take BEGIN into our own hands."""
    del entry
    connection.isolation_level = (
        None  # the driver would begin late and deferred; `_begin_sqlite` does it instead
    )
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={DATABASE_BUSY_MS_MAX}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Begin; a writer takes the write lock now, waiting for it up to the busy time-out."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
