"""Alembic's entry: runs migrations on the connection that `backend.store.migrate` hands over.

There is no offline mode and no configuration file; a migration is always run by the program that needs it.
"""

from alembic import context

from backend.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite alters a table by making it anew
    compare_type=True,
)
context.run_migrations()
