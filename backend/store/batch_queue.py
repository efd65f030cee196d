"""The queue of batches that wait for the derived tables: a state on each batch, a mark on each section.

Rules:
- A batch is PENDING, DONE, or waits for its dictionary or its time; see `DecodeState`. A section is
  projected or it is not. Both are changed in the transaction that writes what was derived.
- PENDING batches are taken in the order they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select, update

from backend.domain.batch_time import TimeSource
from backend.store.batches import (
    BATCH,
    BATCH_SECTION,
    BatchRef,
    DecodeState,
    StoredBatch,
    by_chain,
    stored_batch,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlmodel import Session


def set_pending(session: Session, refs: Iterable[BatchRef]) -> None:
    """Queue batches for the derived tables again: something new is known about them."""
    for chain_ref, seqs in by_chain(refs):
        session.connection().execute(
            update(BATCH)
            .where(BATCH.c.chain_ref == chain_ref, BATCH.c.seq.in_(seqs))
            .values(decode_state=int(DecodeState.PENDING))
        )


def pending_batches(session: Session, *, limit: int) -> list[StoredBatch]:
    """Return batches that wait for the derived tables, in the order they came.

    They are locked until the transaction ends (PostgreSQL), so that two workers never take the same one.
    """
    query = (
        select(BATCH)
        .where(BATCH.c.decode_state == int(DecodeState.PENDING))
        .order_by(BATCH.c.received_us, BATCH.c.chain_ref, BATCH.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [stored_batch(row) for row in session.connection().execute(query)]


def pending_in_chains(session: Session, *, chain_refs: Collection[int], limit: int) -> list[BatchRef]:
    """Return which batches of some chains wait for the derived tables, in the order they came; no lock."""
    query = (
        select(BATCH.c.chain_ref, BATCH.c.seq)
        .where(BATCH.c.decode_state == int(DecodeState.PENDING), BATCH.c.chain_ref.in_(list(chain_refs)))
        .order_by(BATCH.c.received_us, BATCH.c.chain_ref, BATCH.c.seq)
        .limit(limit)
    )
    return [(row.chain_ref, row.seq) for row in session.connection().execute(query)]


def count_states(session: Session, *, chain_refs: Collection[int]) -> dict[DecodeState, int]:
    """Return how many batches of some chains are in each state."""
    rows = session.connection().execute(
        select(BATCH.c.decode_state, func.count())
        .where(BATCH.c.chain_ref.in_(list(chain_refs)))
        .group_by(BATCH.c.decode_state)
    )
    return {DecodeState(state): count for state, count in rows}


def unprojected_sections(
    session: Session, refs: Iterable[BatchRef], *, only: Collection[int]
) -> dict[BatchRef, dict[int, bytes]]:
    """Return the section bodies, salt included, that the derived tables do not have yet."""
    found: dict[BatchRef, dict[int, bytes]] = {}
    for chain_ref, seqs in by_chain(refs):
        query = select(BATCH_SECTION.c.seq, BATCH_SECTION.c.section, BATCH_SECTION.c.body).where(
            BATCH_SECTION.c.chain_ref == chain_ref,
            BATCH_SECTION.c.seq.in_(seqs),
            BATCH_SECTION.c.section.in_(list(only)),
            BATCH_SECTION.c.is_projected.is_(False),
            BATCH_SECTION.c.body.is_not(None),
        )
        for seq, section, body in session.connection().execute(query):
            found.setdefault((chain_ref, seq), {})[section] = bytes(body)
    return found


def settle_batches(
    session: Session,
    *,
    batches: Sequence[Mapping[str, object]],
    sections: Sequence[Mapping[str, object]],
) -> None:
    """Note what was projected.

    Args:
        session: A writing session.
        batches: {at_chain, at_seq, utc_start_us, utc_end_us, time_source, decode_state} each.
        sections: {at_chain, at_seq, at_section} each, of sections that the derived tables have now.
    """
    connection = session.connection()
    if batches:
        names = ("utc_start_us", "utc_end_us", "time_source", "decode_state")
        statement = update(BATCH).where(
            BATCH.c.chain_ref == bindparam("at_chain"), BATCH.c.seq == bindparam("at_seq")
        )
        connection.execute(statement.values({name: bindparam(name) for name in names}), list(batches))
    if sections:
        connection.execute(
            update(BATCH_SECTION)
            .where(
                BATCH_SECTION.c.chain_ref == bindparam("at_chain"),
                BATCH_SECTION.c.seq == bindparam("at_seq"),
                BATCH_SECTION.c.section == bindparam("at_section"),
            )
            .values(is_projected=True),
            list(sections),
        )


def requeue(
    session: Session, *, chain_refs: Collection[int], state: DecodeState, boot: bytes | None = None
) -> None:
    """Queue the batches of some chains that wait in `state`, perhaps only those of one boot."""
    query = update(BATCH).where(BATCH.c.chain_ref.in_(list(chain_refs)), BATCH.c.decode_state == int(state))
    if boot is not None:
        query = query.where(BATCH.c.boot == boot)
    session.connection().execute(query.values(decode_state=int(DecodeState.PENDING)))


def reset_projection(session: Session, *, chain_refs: Collection[int]) -> None:
    """Queue all batches of some chains, and forget inferred times, before everything is derived anew."""
    connection = session.connection()
    wanted = list(chain_refs)
    connection.execute(
        update(BATCH)
        .where(BATCH.c.chain_ref.in_(wanted), BATCH.c.time_source == int(TimeSource.INFERRED))
        .values(utc_start_us=None, utc_end_us=None, time_source=int(TimeSource.UNKNOWN))
    )
    connection.execute(
        update(BATCH).where(BATCH.c.chain_ref.in_(wanted)).values(decode_state=int(DecodeState.PENDING))
    )
    connection.execute(
        update(BATCH_SECTION).where(BATCH_SECTION.c.chain_ref.in_(wanted)).values(is_projected=False)
    )


def has_erased(session: Session, *, chain_refs: Collection[int]) -> bool:
    """Whether any section of some chains was erased."""
    found = session.connection().execute(
        select(BATCH_SECTION.c.seq)
        .where(BATCH_SECTION.c.chain_ref.in_(list(chain_refs)), BATCH_SECTION.c.erased_us.is_not(None))
        .limit(1)
    )
    return found.first() is not None
