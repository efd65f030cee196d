"""API keys: what a client shows, kept only as a hash.

A key is found by its public prefix; the use-case compares the hash of its secret in constant time. The
look-up by prefix is the one query without an organisation: it is how the organisation becomes known.
"""

from collections.abc import Sequence

from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import ORG_ID_CHARS, Microseconds


class ApiKey(SQLModel, table=True):
    """One bearer key: organisation, role, life, and the SHA-256 of its secret."""

    __tablename__ = "api_key"

    key_id: str = Field(primary_key=True, max_length=16)
    org_id: str = Field(foreign_key="organisation.org_id", max_length=ORG_ID_CHARS, index=True)
    name: str = Field(max_length=200)
    role: str = Field(max_length=32)
    secret_sha256: bytes = Field(max_length=32)
    created_us: int = Field(sa_type=Microseconds)
    expires_us: int | None = Field(default=None, sa_type=Microseconds)
    revoked_us: int | None = Field(default=None, sa_type=Microseconds)


def find_api_key_by_prefix(session: Session, *, key_id: str) -> ApiKey | None:
    """Return the key with this public prefix, whatever its organisation: authentication only."""
    return session.get(ApiKey, key_id)


def find_api_key(session: Session, *, org_id: str, key_id: str) -> ApiKey | None:
    """Return one key of this organisation."""
    return session.exec(select(ApiKey).where(ApiKey.org_id == org_id, ApiKey.key_id == key_id)).one_or_none()


def list_api_keys(session: Session, *, org_id: str, after: str | None, limit: int) -> Sequence[ApiKey]:
    """Return keys of this organisation in the order of their ids, those after `after`."""
    query = select(ApiKey).where(ApiKey.org_id == org_id).order_by(ApiKey.key_id).limit(limit)
    if after is not None:
        query = query.where(col(ApiKey.key_id) > after)
    return session.exec(query).all()
