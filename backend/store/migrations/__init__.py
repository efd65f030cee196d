"""Alembic migrations: `env.py` and one file a step in `versions/`."""
