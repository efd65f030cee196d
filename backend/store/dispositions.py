"""Dispositions verbatim, one chain for each microcontroller and epoch, and those that contradict it.

Rules:
- A number of a chain is taken once. What contradicts it, or does not link to its neighbours, is kept apart
  with its bytes: it is signed, so it is evidence, but it moves nothing.
- `located` functions take no organisation: the bridge knows only the topic.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Index, LargeBinary, UniqueConstraint, func
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device


class StoredDisposition(SQLModel, table=True):
    """One disposition in its chain."""

    __tablename__ = "disposition"
    __table_args__ = (
        owned_by_device(),
        UniqueConstraint("mcu_id", "epoch", "seq"),
        Index("ix_disposition_cmd", "cmd_id"),
        Index("ix_disposition_device", "device_id", "item_no"),
    )

    item_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    mcu_id: str = Field(max_length=64)
    epoch: bytes = Field(max_length=16)
    seq: int = Field(sa_type=BigInteger)
    prev: bytes | None = Field(default=None, max_length=32)
    digest: bytes = Field(max_length=32)
    cmd_id: str = Field(max_length=32)
    state: int
    code: int
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    is_told: bool = Field(default=False, index=True)
    received_us: int = Field(sa_type=Microseconds)


class DispositionConflict(SQLModel, table=True):
    """A signed disposition that its chain has no place for."""

    __tablename__ = "disposition_conflict"
    __table_args__ = (owned_by_device(), UniqueConstraint("device_id", "digest"))

    item_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    mcu_id: str = Field(max_length=64)
    epoch: bytes = Field(max_length=16)
    seq: int = Field(sa_type=BigInteger)
    digest: bytes = Field(max_length=32)
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_us: int = Field(sa_type=Microseconds)


def located_around(
    session: Session, *, mcu_id: str, epoch: bytes, seq: int
) -> dict[int, tuple[bytes, bytes | None]]:
    """Return {seq: (digest, prev)} of a number and its two neighbours, as far as they are stored."""
    rows = session.exec(
        select(StoredDisposition.seq, StoredDisposition.digest, StoredDisposition.prev).where(
            StoredDisposition.mcu_id == mcu_id,
            StoredDisposition.epoch == epoch,
            col(StoredDisposition.seq).in_([seq - 1, seq, seq + 1]),
        )
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def located_chain(session: Session, *, mcu_id: str, epoch: bytes) -> list[tuple[int, bytes]]:
    """Return seq and digest of all that is stored of a chain, ascending."""
    rows = session.exec(
        select(StoredDisposition.seq, StoredDisposition.digest)
        .where(StoredDisposition.mcu_id == mcu_id, StoredDisposition.epoch == epoch)
        .order_by(col(StoredDisposition.seq))
    )
    return [(row[0], row[1]) for row in rows]


def list_untold(session: Session, *, limit: int) -> Sequence[StoredDisposition]:
    """Return dispositions that the gate has not been told of, whatever their organisation, oldest first."""
    return session.exec(
        select(StoredDisposition)
        .where(col(StoredDisposition.is_told).is_(False))
        .order_by(col(StoredDisposition.item_no))
        .limit(limit)
    ).all()


def is_conflict_known(session: Session, *, device_id: str, digest: bytes) -> bool:
    """Return whether this very conflict is kept already."""
    return (
        session.exec(
            select(DispositionConflict.item_no).where(
                DispositionConflict.device_id == device_id, DispositionConflict.digest == digest
            )
        ).first()
        is not None
    )


def count_conflicts(session: Session, *, device_id: str) -> int:
    """Return how many conflicts of a box are kept."""
    return int(
        session.exec(
            select(func.count())
            .select_from(DispositionConflict)
            .where(DispositionConflict.device_id == device_id)
        ).one()
    )


def list_dispositions(
    session: Session,
    *,
    org_id: str,
    device_id: str | None = None,
    cmd_id: str | None = None,
    after: int | None = None,
    limit: int,
) -> Sequence[StoredDisposition]:
    """Return dispositions in the order they came, of a box, of an order, or of both."""
    query = select(StoredDisposition).where(StoredDisposition.org_id == org_id)
    if device_id is not None:
        query = query.where(StoredDisposition.device_id == device_id)
    if cmd_id is not None:
        query = query.where(StoredDisposition.cmd_id == cmd_id)
    if after is not None:
        query = query.where(col(StoredDisposition.item_no) > after)
    return session.exec(query.order_by(col(StoredDisposition.item_no)).limit(limit)).all()
