"""Brings a database to this program's migrations, forward and back; Alembic runs from the package itself.

No `alembic.ini` and no working directory are needed. `status` compares the database with the program without
changing anything.

Example:
    >>> database = open_database(settings.database_url)
    >>> upgrade(database)
    >>> status(database).is_current
    True
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from backend.errors import DatabaseMissingError, DatabaseOutdatedError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from backend.store.database import Database

SCRIPTS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """The revision a database has, and the one this program wants."""

    current: str | None
    head: str

    @property
    def is_current(self) -> bool:
        """Whether database and program agree."""
        return self.current == self.head


def status(database: Database) -> MigrationStatus:
    """Return the database's revision and the program's; None for a database without tables."""
    with database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return MigrationStatus(current=current, head=_head())


def require_current(database: Database) -> None:
    """Refuse to go on with a database that is missing or of another version.

    Raises:
        DatabaseMissingError: There is no database, or it is empty.
        DatabaseOutdatedError: It has other migrations than this program.
    """
    url = database.engine.url
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise DatabaseMissingError(what=f"no database at {url.database}")
    try:
        found = status(database)
    except OperationalError as down:
        raise DatabaseMissingError(what=f"the database does not answer: {down.orig}") from down
    if found.current is None:
        raise DatabaseMissingError(
            what=f"the database at {url.render_as_string(hide_password=True)} is empty"
        )
    if not found.is_current:
        raise DatabaseOutdatedError(
            what=f"the database is at migration {found.current}, this program at {found.head}"
        )


def upgrade(database: Database, *, revision: str = "head") -> None:
    """Apply migrations up to `revision`, all in one transaction."""
    with database.engine.connect() as connection, connection.begin():
        command.upgrade(_config(connection), revision)


def downgrade(database: Database, *, revision: str) -> None:
    """Take migrations back to `revision` (`base` for none), all in one transaction; their data is gone."""
    with database.engine.connect() as connection, connection.begin():
        command.downgrade(_config(connection), revision)


def _head() -> str:
    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert head is not None, "the package has at least one migration"
    return head


def _config(connection: Connection | None) -> Config:
    """Return Alembic's configuration in memory; `env.py` finds the connection in its attributes."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
