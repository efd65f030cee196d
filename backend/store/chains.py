"""Chains of batches: what is stored, lost and refused in each, kept as ranges on one row.

Rules:
- `chain_ref` is our short name for (device, chain) in the rows of batches; the database refuses a row whose
  organisation is not the chain's.
- `load_chains` locks the rows (PostgreSQL; SQLite's writer is alone anyway), in the order of `chain_ref`,
  so that two bridges never decide on one chain at the same time nor wait for each other in a circle. The lock
  lets others refer to the chain meanwhile, or the derived tables would wait for ingest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    func,
    select,
    update,
)
from sqlmodel import SQLModel

from backend.domain.coverage import Ranges
from backend.domain.ingest import ChainState
from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device
from backend.store.upsert import insert
from protocol.receipts import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy import ColumnElement, Row
    from sqlmodel import Session

CHAIN = Table(
    "chain",
    SQLModel.metadata,
    Column("chain_ref", RowId, primary_key=True),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("device_id", String(DEVICE_ID_CHARS), nullable=False),
    Column("chain", LargeBinary(16), nullable=False),
    Column("stored", Text, nullable=False),  # JSON [[first, last], …]
    Column("lost", Text, nullable=False),  # JSON [[first, last], …]
    Column("lost_later", Text, nullable=False, server_default="[]"),  # the same, declared by later chains
    Column("refused", Text, nullable=False),  # JSON [[seq, code], …]
    Column("span_us_max", Microseconds, nullable=False),  # longest timed batch, for interval queries
    Column("opened_us", Microseconds),  # when batch 1 was stored
    Column("first_received_us", Microseconds, nullable=False),
    Column("last_received_us", Microseconds, nullable=False),
    owned_by_device(),
    UniqueConstraint("device_id", "chain", name="uq_chain_device_id_chain"),
    UniqueConstraint("org_id", "chain_ref", name="uq_chain_org_id_chain_ref"),
)


def owned_by_chain() -> ForeignKeyConstraint:
    """Return the constraint that a row's chain belongs to the row's organisation."""
    return ForeignKeyConstraint(["org_id", "chain_ref"], ["chain.org_id", "chain.chain_ref"])


@dataclass(slots=True, kw_only=True)
class StoredChain:
    """One chain as loaded, with the state that decisions change."""

    chain_ref: int
    org_id: str
    device_id: str
    chain: bytes
    state: ChainState
    span_us_max: int
    opened_us: int | None
    first_received_us: int
    last_received_us: int


def load_chains(
    session: Session, *, org_of: dict[tuple[str, bytes], str], received_us: int
) -> dict[tuple[str, bytes], StoredChain]:
    """Return the named chains, locked until the transaction ends; those not known yet are added.

    Args:
        session: A writing session in a transaction.
        org_of: Organisation by (device id, chain id).
        received_us: UTC in µs for the rows that are added.
    """
    if not org_of:
        return {}
    known = _find_locked(session, org_of)
    new = [
        {
            "org_id": org_id,
            "device_id": device_id,
            "chain": chain,
            "stored": "[]",
            "lost": "[]",
            "lost_later": "[]",
            "refused": "[]",
            "span_us_max": 0,
            "opened_us": None,
            "first_received_us": received_us,
            "last_received_us": received_us,
        }
        for (device_id, chain), org_id in org_of.items()
        if (device_id, chain) not in known
    ]
    if new:
        session.connection().execute(insert(session, CHAIN).on_conflict_do_nothing(), new)
        known = _find_locked(session, org_of)
    return known


def _find_locked(
    session: Session, names: Iterable[tuple[str, bytes]]
) -> dict[tuple[str, bytes], StoredChain]:
    wanted = set(names)
    query = select(CHAIN).where(_named(wanted)).order_by(CHAIN.c.chain_ref)
    rows = session.connection().execute(query.with_for_update(key_share=True))
    chains = (_stored_chain(row) for row in rows)
    return {(at.device_id, at.chain): at for at in chains if (at.device_id, at.chain) in wanted}


def _named(names: Collection[tuple[str, bytes]]) -> ColumnElement[bool]:
    """Return a condition that all the pairs meet, and hardly any other row.

    The chain stands in an expression, so that the index finds by device alone: SQLite would look up each
    chain beneath each device, ten thousand times for a group of a hundred boxes.
    """
    chain = func.coalesce(CHAIN.c.chain, CHAIN.c.chain)
    return and_(
        CHAIN.c.device_id.in_({device for device, _ in names}), chain.in_({chain for _, chain in names})
    )


def _stored_chain(row: Row[tuple[object, ...]]) -> StoredChain:
    return StoredChain(
        chain_ref=row.chain_ref,
        org_id=row.org_id,
        device_id=row.device_id,
        chain=bytes(row.chain),
        state=ChainState(
            stored=_ranges(row.stored),
            lost=_ranges(row.lost),
            lost_later=_ranges(row.lost_later),
            refused={} if row.refused == "[]" else _refused(row.refused),
        ),
        span_us_max=row.span_us_max,
        opened_us=row.opened_us,
        first_received_us=row.first_received_us,
        last_received_us=row.last_received_us,
    )


def _refused(text: str) -> dict[int, RefusalCode]:
    return {seq: RefusalCode(code) for seq, code in json.loads(text)}


def _ranges(text: str) -> Ranges:
    if text == "[]":  # nothing lost, as nearly always
        return Ranges()
    return Ranges(tuple((first, last) for first, last in json.loads(text)))


def save_chains(session: Session, chains: Iterable[StoredChain]) -> None:
    """Write back the chains that changed."""
    rows = [
        {
            "ref": at.chain_ref,
            "stored": json.dumps(at.state.stored.pairs),
            "lost": json.dumps(at.state.lost.pairs),
            "lost_later": json.dumps(at.state.lost_later.pairs),
            "refused": json.dumps(list(at.state.refused.items())),
            "span_us_max": at.span_us_max,
            "opened_us": at.opened_us,
            "last_received_us": at.last_received_us,
        }
        for at in chains
        if at.state.is_changed
    ]
    if rows:
        columns = ("stored", "lost", "lost_later", "refused", "span_us_max", "opened_us", "last_received_us")
        statement = update(CHAIN).where(CHAIN.c.chain_ref == bindparam("ref"))
        session.connection().execute(statement.values({name: bindparam(name) for name in columns}), rows)


def widen_span(session: Session, *, chain_ref: int, span_us: int) -> None:
    """Note that a chain has a timed batch of at least this length."""
    session.connection().execute(
        update(CHAIN)
        .where(CHAIN.c.chain_ref == chain_ref, CHAIN.c.span_us_max < span_us)
        .values(span_us_max=span_us)
    )


def count_chains(session: Session, *, device_ids: Collection[str]) -> dict[str, int]:
    """Return how many chains each device has; a device without one is not in the answer."""
    rows = session.connection().execute(
        select(CHAIN.c.device_id, func.count())
        .where(CHAIN.c.device_id.in_(set(device_ids)))
        .group_by(CHAIN.c.device_id)
    )
    return {row[0]: row[1] for row in rows}


def known_chains(session: Session, *, names: Collection[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    """Return which of the (device id, chain id) pairs are stored."""
    if not names:
        return set()
    rows = session.connection().execute(select(CHAIN.c.device_id, CHAIN.c.chain).where(_named(names)))
    return {(device_id, bytes(chain)) for device_id, chain in rows} & set(names)


def opened_chains(session: Session, *, device_id: str) -> list[bytes]:
    """Return the ids of a device's chains whose first batch is stored, oldest first."""
    rows = session.connection().execute(
        select(CHAIN.c.chain)
        .where(CHAIN.c.device_id == device_id, CHAIN.c.opened_us.is_not(None))
        .order_by(CHAIN.c.chain_ref)
    )
    return [bytes(row.chain) for row in rows]


def list_chains(session: Session, *, org_id: str, device_id: str) -> Sequence[StoredChain]:
    """Return all chains of one of the organisation's devices, oldest first."""
    rows = session.connection().execute(
        select(CHAIN)
        .where(CHAIN.c.org_id == org_id, CHAIN.c.device_id == device_id)
        .order_by(CHAIN.c.chain_ref)
    )
    return [_stored_chain(row) for row in rows]


def list_active_chains(session: Session, *, after: int, limit: int) -> Sequence[StoredChain]:
    """Return chains of all organisations with more than one stored range, for the bridge's own sweep."""
    rows = session.connection().execute(
        select(CHAIN)
        .where(CHAIN.c.chain_ref > after, CHAIN.c.stored.like("%],%") | CHAIN.c.stored.not_like("[[1,%"))
        .order_by(CHAIN.c.chain_ref)
        .limit(limit)
    )
    return [_stored_chain(row) for row in rows]


def chains_by_ref(session: Session, *, chain_refs: Collection[int]) -> dict[int, StoredChain]:
    """Return chains by our short name, for the projection of all organisations' batches."""
    rows = session.connection().execute(select(CHAIN).where(CHAIN.c.chain_ref.in_(list(chain_refs))))
    return {row.chain_ref: _stored_chain(row) for row in rows}


def refs_of_devices(session: Session, *, device_ids: Collection[str]) -> dict[str, list[int]]:
    """Return {device id: chain_refs} of some devices."""
    rows = session.connection().execute(
        select(CHAIN.c.device_id, CHAIN.c.chain_ref).where(CHAIN.c.device_id.in_(list(device_ids)))
    )
    found: dict[str, list[int]] = {}
    for device_id, chain_ref in rows:
        found.setdefault(device_id, []).append(chain_ref)
    return found


def devices_with_chains(session: Session) -> list[str]:
    """Return the ids of all devices that ever sent a batch, of all organisations: for a rebuild."""
    rows = session.connection().execute(select(CHAIN.c.device_id).distinct().order_by(CHAIN.c.device_id))
    return [row.device_id for row in rows]


def heads_received_since(session: Session, *, since_us: int) -> list[tuple[str, str, bytes, tuple[int, int]]]:
    """Return organisation, device, chain and (chain_ref, highest number) of chains that moved."""
    rows = session.connection().execute(
        select(CHAIN.c.org_id, CHAIN.c.device_id, CHAIN.c.chain, CHAIN.c.chain_ref, CHAIN.c.stored)
        .where(CHAIN.c.last_received_us >= since_us, CHAIN.c.stored != "[]")
        .order_by(CHAIN.c.device_id, CHAIN.c.chain)
    )
    return [
        (row.org_id, row.device_id, bytes(row.chain), (row.chain_ref, _ranges(row.stored).last))
        for row in rows
    ]


def find_chain(session: Session, *, org_id: str, device_id: str, chain: bytes) -> StoredChain | None:
    """Return one chain of one of the organisation's devices."""
    row = (
        session.connection()
        .execute(
            select(CHAIN).where(
                CHAIN.c.org_id == org_id, CHAIN.c.device_id == device_id, CHAIN.c.chain == chain
            )
        )
        .one_or_none()
    )
    return None if row is None else _stored_chain(row)
