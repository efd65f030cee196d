"""Public halves of the server's own signing keys: receipts and policies.

The private halves are files under the home. A key that follows another carries the succession signed by the
old one, which is what a box that pinned the old key believes.
"""

from collections.abc import Sequence

from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import ORG_ID_CHARS, Microseconds


class ServiceKey(SQLModel, table=True):
    """One public key of the platform; `kid` is its thumbprint in hex."""

    __tablename__ = "service_key"

    kid: str = Field(primary_key=True, max_length=64)
    org_id: str = Field(foreign_key="organisation.org_id", max_length=ORG_ID_CHARS)
    purpose: str = Field(max_length=16)
    cose_key: bytes = Field(max_length=256)
    created_us: int = Field(sa_type=Microseconds)
    retired_us: int | None = Field(default=None, sa_type=Microseconds)
    succession: bytes | None = Field(default=None, max_length=4096)


def list_service_keys(session: Session, *, purpose: str) -> Sequence[ServiceKey]:
    """Return the platform's keys of one purpose, newest first, retired ones too: old evidence names them."""
    return session.exec(
        select(ServiceKey)
        .where(ServiceKey.purpose == purpose)
        .order_by(col(ServiceKey.created_us).desc(), ServiceKey.kid)
    ).all()


def find_service_key(session: Session, *, kid: str) -> ServiceKey | None:
    """Return one key of the platform."""
    return session.get(ServiceKey, kid)
