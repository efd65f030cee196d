"""What was not stored: refused batches with their bytes, and counts of everything else that was turned away.

Rules:
- Only what a device's key signed is kept as bytes, once each, up to a limit per device. It is evidence of
  what the box said, though not part of its trace.
- What did not verify is counted by cause, with the hash of the latest sample. Such rows belong to no one for
  certain, so a topic that names no known device is counted under the empty name: a flood makes no rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, UniqueConstraint, func, select
from sqlmodel import SQLModel

from backend.store.columns import (
    DEVICE_ID_CHARS,
    ORG_ID_CHARS,
    Microseconds,
    RowId,
    owned_by_device,
    storable,
)
from backend.store.upsert import insert
from protocol.limits import QUARANTINE_ITEMS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlmodel import Session

QUARANTINE = Table(
    "quarantine",
    SQLModel.metadata,
    Column("item_id", RowId, primary_key=True),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("device_id", String(DEVICE_ID_CHARS), nullable=False),
    Column("chain", LargeBinary(16)),
    Column("seq", BigInteger),
    Column("code", String(32), nullable=False),
    Column("detail", String(200), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("received_us", Microseconds, nullable=False),
    owned_by_device(),
    UniqueConstraint("device_id", "sha256", name="uq_quarantine_device_id_sha256"),
)

INGEST_COUNTER = Table(
    "ingest_counter",
    SQLModel.metadata,
    Column("org_id", String(ORG_ID_CHARS), primary_key=True),  # empty: nobody's
    Column("device_id", String(DEVICE_ID_CHARS), primary_key=True),  # empty: no known device
    Column("cause", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("sample_sha256", LargeBinary(32), nullable=False),
    Column("first_us", Microseconds, nullable=False),
    Column("last_us", Microseconds, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedBatch:
    """One refused batch, with its bytes as received."""

    device_id: str
    org_id: str
    chain: bytes | None
    seq: int | None
    code: str
    detail: str
    sha256: bytes
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """How often messages of one cause were turned away in one group."""

    org_id: str
    device_id: str
    cause: str
    count: int
    sample_sha256: bytes


def keep_refused(
    session: Session, items: Sequence[QuarantinedBatch], *, received_us: int
) -> list[QuarantinedBatch]:
    """Keep refused batches that are new, up to the limit per device; return those left out by it."""
    if not items:
        return []
    connection = session.connection()
    rows = connection.execute(
        select(QUARANTINE.c.device_id, func.count())
        .where(QUARANTINE.c.device_id.in_({item.device_id for item in items}))
        .group_by(QUARANTINE.c.device_id)
    )
    kept = {row[0]: row[1] for row in rows}
    left_out: list[QuarantinedBatch] = []
    for item in items:
        if kept.get(item.device_id, 0) >= QUARANTINE_ITEMS_MAX:
            left_out.append(item)
            continue
        statement = insert(session, QUARANTINE).on_conflict_do_nothing(index_elements=["device_id", "sha256"])
        done = connection.execute(
            statement.values(
                org_id=item.org_id,
                device_id=item.device_id,
                chain=item.chain,
                seq=item.seq,
                code=item.code,
                detail=storable(item.detail[:200]),
                sha256=item.sha256,
                payload=item.payload,
                received_us=received_us,
            ).returning(QUARANTINE.c.item_id)
        )
        if done.first() is not None:  # it was new
            kept[item.device_id] = kept.get(item.device_id, 0) + 1
    return left_out


def count_turned(session: Session, turned: Iterable[Turned], *, now_us: int) -> None:
    """Add to the counters."""
    # In one order, so that two bridges do not wait for each other in a circle.
    for item in sorted(turned, key=lambda at: (at.org_id, at.device_id, at.cause)):
        statement = insert(session, INGEST_COUNTER).values(
            org_id=item.org_id,
            device_id=item.device_id,
            cause=item.cause,
            count=item.count,
            sample_sha256=item.sample_sha256,
            first_us=now_us,
            last_us=now_us,
        )
        session.connection().execute(
            statement.on_conflict_do_update(
                index_elements=["org_id", "device_id", "cause"],
                set_={
                    "count": INGEST_COUNTER.c.count + statement.excluded["count"],
                    "sample_sha256": statement.excluded["sample_sha256"],
                    "last_us": statement.excluded["last_us"],
                },
            )
        )


def counters(session: Session, *, org_id: str, device_id: str) -> Mapping[str, int]:
    """Return {cause: count} of one device of the organisation; the empty names are the platform's own."""
    rows = session.connection().execute(
        select(INGEST_COUNTER.c.cause, INGEST_COUNTER.c.count).where(
            INGEST_COUNTER.c.org_id == org_id, INGEST_COUNTER.c.device_id == device_id
        )
    )
    return {row[0]: row[1] for row in rows}


def list_refused(session: Session, *, org_id: str, device_id: str) -> list[QuarantinedBatch]:
    """Return a device's refused batches in the order they came."""
    rows = session.connection().execute(
        select(QUARANTINE)
        .where(QUARANTINE.c.org_id == org_id, QUARANTINE.c.device_id == device_id)
        .order_by(QUARANTINE.c.item_id)
    )
    return [
        QuarantinedBatch(
            device_id=row.device_id,
            org_id=row.org_id,
            chain=bytes(row.chain) if row.chain is not None else None,
            seq=row.seq,
            code=row.code,
            detail=row.detail,
            sha256=bytes(row.sha256),
            payload=bytes(row.payload),
        )
        for row in rows
    ]
