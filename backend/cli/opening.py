"""How every command opens the instance it is about: settings, a current database, an organisation by name.

Example:
    with open_instance(home) as instance:
        org_id = instance.org_id(org)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from backend.clock import to_datetime
from backend.errors import NotFoundError
from backend.settings import Settings, load_settings
from backend.store.database import Database, open_database
from backend.store.migrate import require_current
from backend.store.organisations import find_organisation_by_name, find_platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance whose database is there and current."""

    settings: Settings
    database: Database

    def org_id(self, name: str | None) -> str:
        """Return the id of the organisation of this name; None names the platform's own.

        Raises:
            NotFoundError: There is none of this name.
        """
        with self.database.reading() as session:
            found = find_platform(session) if name is None else find_organisation_by_name(session, name=name)
        if found is None:
            raise NotFoundError(
                what="no such organisation" if name else "no organisation has been made",
                next_step="`tbox backend org list` shows all" if name else "run `tbox backend init`",
            )
        return found.org_id


@contextmanager
def open_instance(home: Path | None) -> Iterator[Instance]:
    """Open an instance for one command.

    Raises:
        BackendError: The settings, or the database, are not usable.
    """
    settings = load_settings(home=home)
    database = open_database(settings.database_url)
    try:
        require_current(database)
        yield Instance(settings=settings, database=database)
    finally:
        database.close()


def shown_time(instant_us: int | None) -> str | None:
    """Return an instant as a person reads it, UTC to the second; None for none."""
    return (
        None if instant_us is None else to_datetime(instant_us).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
