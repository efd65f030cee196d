"""The database: one engine, and sessions that say whether they will write.

Rules:
- Stores never commit. A use-case opens the transaction: `with session.begin(): ...`.
- A session is made for reading or for writing. On SQLite a writing transaction takes the write lock at once
  (`BEGIN IMMEDIATE`): a reader that turns writer in mid-transaction gets SQLITE_BUSY without any waiting,
  since its snapshot is old, and no time-out helps. On PostgreSQL a writer is READ COMMITTED and locks the
  rows it decides on (ADR 0009).
- All statements of a reading session see one snapshot: WAL gives it on SQLite, REPEATABLE READ on
  PostgreSQL, where the session is also READ ONLY.
- Committed is on the disk, since a receipt is sent only for what is. SQLite runs in WAL mode with
  `synchronous=FULL`: NORMAL may lose the last commits at power-off. On PostgreSQL a role or server with
  `synchronous_commit=off` is overruled. Sources: https://www.sqlite.org/pragma.html#pragma_synchronous,
  https://www.postgresql.org/docs/15/wal-async-commit.html
- A writer waits for a lock DATABASE_BUSY_MS_MAX on either, then gets an error that may be tried again.
- Foreign keys are enforced (SQLite does so only when asked, for each connection).

Example:
    >>> database = open_database("sqlite+pysqlite:////srv/tbox/tbox.sqlite")
    >>> with database.writing() as session, session.begin():
    ...     session.add(Organisation(org_id="0f" * 16, name="Example Leasing", created_us=0))
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlmodel import Session

from backend.errors import SettingsError
from backend.store.contention import CONTENTION
from protocol.limits import DATABASE_BUSY_MS_MAX, DATABASE_CONNECTIONS_MAX, DATABASE_IDLE_MS_MAX

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

_WRITES = "tbox_writes"
_POOLED = 10  # connections kept open between requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """An engine and its two kinds of session. Close it to give back every connection."""

    engine: Engine
    _reader: Engine
    _writer: Engine
    contended: Counter[str] = field(default_factory=Counter)
    """How often a transaction was done again because another writer was in its way, by cause."""

    @property
    def is_postgresql(self) -> bool:
        """Whether this is PostgreSQL; else it is SQLite."""
        return self.engine.dialect.name == POSTGRESQL

    def reading(self) -> Session:
        """Return a session that only reads; closing it ends its snapshot."""
        return Session(self._reader, expire_on_commit=False)

    def writing(self) -> Session:
        """Return a session whose transactions may write from their first statement on."""
        return Session(self._writer, expire_on_commit=False, info={CONTENTION: self.contended})

    def close(self) -> None:
        """Close all pooled connections; the database can be opened again."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database; nothing is connected until the first statement.

    Args:
        url: SQLAlchemy address, e.g. `sqlite+pysqlite:////srv/tbox/tbox.sqlite` or
            `postgresql://tbox@db.example/tbox?passfile=/srv/tbox/keys/pgpass`. A SQLite database has to be a
            file: in memory each connection would have its own.

    Raises:
        SettingsError: The address is not one, names SQLite in memory, or neither SQLite nor PostgreSQL.
    """
    parsed = parse_address(url)
    if parsed.get_backend_name() == SQLITE:
        engine = _engine(parsed)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return Database(engine=engine, _reader=engine, _writer=engine.execution_options(**{_WRITES: True}))
    engine = _engine(parsed, pool_pre_ping=True, connect_args=_POSTGRESQL_ARGUMENTS)
    event.listen(engine, "connect", _prepare_postgresql)
    return Database(
        engine=engine,
        _reader=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        _writer=engine.execution_options(isolation_level="READ COMMITTED"),
    )


def parse_address(url: str) -> URL:
    """Return a database's address, with our driver for PostgreSQL.

    Raises:
        SettingsError: As `open_database`. The message does not repeat the address: it may hold a password.
    """
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name()
    except ArgumentError as wrong:
        raise SettingsError(what="database: not a SQLAlchemy address") from wrong
    if name == "postgres":  # libpq's own spelling, which SQLAlchemy does not know
        name = POSTGRESQL
        parsed = parsed.set(drivername=POSTGRESQL)
    if name not in {SQLITE, POSTGRESQL}:
        raise SettingsError(what=f"database: {name} is not supported, only sqlite and postgresql are")
    if name == SQLITE and parsed.database in {None, "", ":memory:"}:
        raise SettingsError(
            what="database: SQLite needs a file, a database in memory is gone with its connection"
        )
    return parsed if name == SQLITE else parsed.set(drivername="postgresql+psycopg")


# The server names our sessions in its views; a wait for a lock ends as on SQLite; a session that lost its
# program in mid-transaction does not hold its locks for ever.
_POSTGRESQL_ARGUMENTS: Final = {
    "application_name": "tbox",
    "connect_timeout": DATABASE_BUSY_MS_MAX // 1_000,
}
_POSTGRESQL_SETTINGS: Final = (
    f"SET lock_timeout = {DATABASE_BUSY_MS_MAX}",
    f"SET idle_in_transaction_session_timeout = {DATABASE_IDLE_MS_MAX}",
    # Only a server that would answer before the disk has it is overruled; a stricter one is left alone.
    """SELECT set_config('synchronous_commit', 'on', false) FROM pg_settings
       WHERE name = 'synchronous_commit' AND setting = 'off'""",
)


def _engine(url: URL, **arguments: Any) -> Engine:  # noqa: ANN401  # SQLAlchemy's own keywords
    try:
        return create_engine(
            url,
            hide_parameters=True,
            pool_size=_POOLED,
            max_overflow=DATABASE_CONNECTIONS_MAX - _POOLED,
            **arguments,
        )
    except (ImportError, NoSuchModuleError) as missing:
        raise SettingsError(
            what="database: the PostgreSQL driver is not installed",
            next_step="pip install 'tbox[backend]'",
        ) from missing


def _prepare_postgresql(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Set what PostgreSQL keeps per connection."""
    del entry
    cursor = connection.cursor()
    for statement in _POSTGRESQL_SETTINGS:
        cursor.execute(statement)
    cursor.close()
    connection.commit()


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
