"""Integrity events as stored: added once per cause, never changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Index, String, Table, Text, UniqueConstraint, select
from sqlmodel import SQLModel

from backend.domain.integrity import Detail, IntegrityKind
from backend.store.chains import CHAIN, owned_by_chain
from backend.store.columns import ORG_ID_CHARS, Microseconds, RowId
from backend.store.upsert import insert

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlmodel import Session

    from backend.domain.coverage import Pair
    from backend.domain.integrity import IntegrityEvent

INTEGRITY_EVENT = Table(
    "integrity_event",
    SQLModel.metadata,
    Column("event_id", RowId, primary_key=True),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("chain_ref", RowId, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("seq", BigInteger),
    Column("key", String(80), nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("at_us", Microseconds, nullable=False),
    owned_by_chain(),
    UniqueConstraint("chain_ref", "kind", "key", name="uq_integrity_event_chain_ref_kind_key"),
    Index("ix_integrity_event_chain_ref", "chain_ref", "event_id"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One event with its chain and the time it was found."""

    event_id: int
    chain: bytes
    kind: IntegrityKind
    seq: int | None
    detail: Mapping[str, Detail]
    at_us: int


def add_events(session: Session, events: Iterable[tuple[str, int, IntegrityEvent]], *, at_us: int) -> None:
    """Add (organisation, chain_ref, event) each; a cause that is known already changes nothing."""
    rows = [
        {
            "org_id": org_id,
            "chain_ref": chain_ref,
            "kind": event.kind.value,
            "seq": event.seq,
            "key": event.key,
            "detail": json.dumps(dict(event.detail)),
            "at_us": at_us,
        }
        for org_id, chain_ref, event in events
    ]
    if rows:
        statement = insert(session, INTEGRITY_EVENT).on_conflict_do_nothing(
            index_elements=["chain_ref", "kind", "key"]
        )
        session.connection().execute(statement, rows)


def page_of_events(
    session: Session, *, org_id: str, device_id: str, after: int | None, limit: int
) -> list[StoredEvent]:
    """Return a device's events in the order they were found, those after `after`."""
    query = (
        select(INTEGRITY_EVENT, CHAIN.c.chain)
        .join(CHAIN, CHAIN.c.chain_ref == INTEGRITY_EVENT.c.chain_ref)
        .where(CHAIN.c.org_id == org_id, CHAIN.c.device_id == device_id)
        .order_by(INTEGRITY_EVENT.c.event_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(INTEGRITY_EVENT.c.event_id > after)
    return [
        StoredEvent(
            event_id=row.event_id,
            chain=bytes(row.chain),
            kind=IntegrityKind(row.kind),
            seq=row.seq,
            detail=json.loads(row.detail),
            at_us=row.at_us,
        )
        for row in session.connection().execute(query)
    ]


def reported_holes(session: Session, *, chain_ref: int) -> list[Pair]:
    """Return the holes of a chain that have an event and none yet that says they were filled."""
    filled = select(INTEGRITY_EVENT.c.key).where(
        INTEGRITY_EVENT.c.chain_ref == chain_ref, INTEGRITY_EVENT.c.kind == IntegrityKind.HOLE_FILLED.value
    )
    rows = session.connection().execute(
        select(INTEGRITY_EVENT.c.detail)
        .where(
            INTEGRITY_EVENT.c.chain_ref == chain_ref,
            INTEGRITY_EVENT.c.kind == IntegrityKind.HOLE_UNDECLARED.value,
            INTEGRITY_EVENT.c.key.not_in(filled),
        )
        .order_by(INTEGRITY_EVENT.c.event_id)
    )
    details = (json.loads(row.detail) for row in rows)
    return [(detail["first"], detail["last"]) for detail in details]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossDeclaration:
    """Which batch declares a loss: `chain` is None when it is of the chain itself, else of a later one."""

    chain: bytes | None
    seq: int
    lost: Pair


def loss_declarations(session: Session, *, chain_ref: int) -> list[LossDeclaration]:
    """Return what was declared lost of a chain, with the declaring batches."""
    rows = session.connection().execute(
        select(INTEGRITY_EVENT.c.seq, INTEGRITY_EVENT.c.detail)
        .where(
            INTEGRITY_EVENT.c.chain_ref == chain_ref,
            INTEGRITY_EVENT.c.kind == IntegrityKind.LOSS_DECLARED.value,
        )
        .order_by(INTEGRITY_EVENT.c.event_id)
    )
    return [
        LossDeclaration(
            chain=bytes.fromhex(detail["in_chain"]) if "in_chain" in detail else None,
            seq=detail.get("in_seq", row.seq),
            lost=(detail["first"], detail["last"]),
        )
        for row in rows
        for detail in [json.loads(row.detail)]
    ]
