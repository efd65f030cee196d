"""INSERT … ON CONFLICT for SQLite and PostgreSQL from one place.

Both speak it alike; only SQLAlchemy has a class for each.

Example:
    insert(session, BATCH_KEY).on_conflict_do_nothing()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlmodel import Session


def insert(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT of the session's dialect, which knows `on_conflict_do_nothing` and `…_do_update`."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
