"""One-time enrolment tokens, kept only as hashes.

A token is locked when it is looked up and taken by one conditional update, so of two boxes that show it at
the same moment exactly one gets it, on any database, and the other is told what became of it.
"""

from collections.abc import Sequence

from sqlalchemy import func, update
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds


class EnrolmentToken(SQLModel, table=True):
    """One token: whose, until when, and which box used it."""

    __tablename__ = "enrolment_token"

    token_id: str = Field(primary_key=True, max_length=16)
    org_id: str = Field(foreign_key="organisation.org_id", max_length=ORG_ID_CHARS, index=True)
    token_sha256: bytes = Field(max_length=32, unique=True)
    created_us: int = Field(sa_type=Microseconds)
    created_by: str = Field(max_length=16)
    expires_us: int = Field(sa_type=Microseconds)
    used_us: int | None = Field(default=None, sa_type=Microseconds)
    used_by: str | None = Field(default=None, max_length=DEVICE_ID_CHARS)


def find_token_by_hash(session: Session, *, token_sha256: bytes) -> EnrolmentToken | None:
    """Return the token with this hash, locked: the token itself is what names the organisation."""
    return session.exec(
        select(EnrolmentToken).where(EnrolmentToken.token_sha256 == token_sha256).with_for_update()
    ).one_or_none()


def take_token(session: Session, *, org_id: str, token_id: str, device_id: str, now_us: int) -> bool:
    """Mark a token used by this box, if no one has; return whether this call did it."""
    taken = session.exec(
        update(EnrolmentToken)
        .where(
            col(EnrolmentToken.org_id) == org_id,
            col(EnrolmentToken.token_id) == token_id,
            col(EnrolmentToken.used_us).is_(None),
        )
        .values(used_us=now_us, used_by=device_id)
    )
    return bool(taken.rowcount == 1)


def count_open_tokens(session: Session, *, org_id: str, now_us: int) -> int:
    """Return how many tokens of this organisation could still be used."""
    return session.exec(
        select(func.count())
        .select_from(EnrolmentToken)
        .where(
            EnrolmentToken.org_id == org_id,
            col(EnrolmentToken.used_us).is_(None),
            col(EnrolmentToken.expires_us) > now_us,
        )
    ).one()


def count_tokens_used_since(session: Session, *, org_id: str, since_us: int) -> int:
    """Return how many tokens of this organisation were used since then."""
    return session.exec(
        select(func.count())
        .select_from(EnrolmentToken)
        .where(EnrolmentToken.org_id == org_id, col(EnrolmentToken.used_us) >= since_us)
    ).one()


def list_tokens(session: Session, *, org_id: str, after: str | None, limit: int) -> Sequence[EnrolmentToken]:
    """Return tokens of this organisation in the order of their ids, those after `after`."""
    query = (
        select(EnrolmentToken)
        .where(EnrolmentToken.org_id == org_id)
        .order_by(EnrolmentToken.token_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(col(EnrolmentToken.token_id) > after)
    return session.exec(query).all()
