"""Who read exact positions, of which box, when and what for. Rows are added, never changed."""

from collections.abc import Sequence

from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device


class AccessLogEntry(SQLModel, table=True):
    """One read of exact positions, written before the positions are returned."""

    __tablename__ = "access_log"
    __table_args__ = (owned_by_device(),)

    entry_id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS, index=True)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    at_us: int = Field(sa_type=Microseconds)
    key_id: str = Field(max_length=16)
    role: str = Field(max_length=32)
    purpose: str = Field(max_length=32)
    subject: str = Field(max_length=64)
    from_us: int | None = Field(default=None, sa_type=Microseconds)
    to_us: int | None = Field(default=None, sa_type=Microseconds)


def list_access(session: Session, *, org_id: str, after: int | None, limit: int) -> Sequence[AccessLogEntry]:
    """Return entries of this organisation in the order they were written, those after `after`."""
    query = select(AccessLogEntry).where(AccessLogEntry.org_id == org_id)
    if after is not None:
        query = query.where(col(AccessLogEntry.entry_id) > after)
    return session.exec(query.order_by(col(AccessLogEntry.entry_id)).limit(limit)).all()
