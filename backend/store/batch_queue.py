"""The queue of batches that wait for the derived tables: one small row each, gone when all is derived.

Rules:
- A batch in the queue is PENDING, or waits for its dictionary or its time, or cannot be read; see
  `DecodeState`. Its `sections` say which of its sections the derived tables do not have yet. Both change in
  the transaction that writes what was derived; a batch of which nothing waits has no row.
- PENDING batches are taken in the order they came.
- One worker at a time derives from a device (`own_devices`): what it combines, nobody else combines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, SmallInteger, and_, bindparam, case, cast, delete, func, select, update

from backend.domain.batch_time import TimeSource
from backend.store.batches import (
    BATCH,
    BATCH_QUEUE,
    BATCH_SECTION,
    BatchRef,
    DecodeState,
    StoredBatch,
    by_chain,
    load_sections,
    stored_batch,
)
from backend.store.upsert import insert
from protocol.batch import Section

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlmodel import Session

DERIVED_FROM: Final = (Section.FACTS, Section.SIGNALS, Section.FIXES)


def sections_mask(sections: Iterable[int]) -> int:
    """Return sections as bits, those that anything is derived from."""
    return sum(1 << int(section) for section in set(sections) & set(DERIVED_FROM))


def set_pending(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Queue batches again, given as rows of the queue: sections that were withheld have come."""
    if not rows:
        return
    statement = insert(session, BATCH_QUEUE)
    statement = statement.on_conflict_do_update(
        index_elements=["chain_ref", "seq"],
        set_={
            "state": int(DecodeState.PENDING),
            "sections": BATCH_QUEUE.c.sections.op("|")(statement.excluded["sections"]),
        },
    )
    session.connection().execute(statement, list(rows))


def pending_batches(session: Session, *, limit: int) -> list[StoredBatch]:
    """Return batches that wait for the derived tables, in the order they came.

    They are locked until the transaction ends (PostgreSQL), so that two workers never take the same one.
    """
    query = (
        select(BATCH, BATCH_QUEUE.c.state.label("decode_state"))
        .select_from(BATCH_QUEUE.join(BATCH, _is_same()))
        .where(BATCH_QUEUE.c.state == int(DecodeState.PENDING))
        .order_by(BATCH_QUEUE.c.received_us, BATCH_QUEUE.c.chain_ref, BATCH_QUEUE.c.seq)
        .limit(limit)
        .with_for_update(of=BATCH_QUEUE, skip_locked=True)
    )
    return [stored_batch(row) for row in session.connection().execute(query)]


def own_devices(session: Session, device_ids: Collection[str]) -> set[str]:
    """Return those of the devices that this transaction has to itself until it ends; it waits for none.

    On SQLite a writing transaction has everything to itself.
    """
    if session.get_bind().dialect.name != "postgresql":
        return set(device_ids)
    owned: set[str] = set()
    for device_id in sorted(device_ids):
        key = int.from_bytes(bytes.fromhex(device_id[:16]), "big", signed=True)
        lock = select(func.pg_try_advisory_xact_lock(cast(key, BigInteger)))
        if session.connection().execute(lock).scalar_one():
            owned.add(device_id)
    return owned


def pending_in_chains(session: Session, *, chain_refs: Collection[int], limit: int) -> list[BatchRef]:
    """Return which batches of some chains wait with their facts, in the order they came; no lock."""
    query = (
        select(BATCH_QUEUE.c.chain_ref, BATCH_QUEUE.c.seq)
        .where(
            BATCH_QUEUE.c.state == int(DecodeState.PENDING),
            BATCH_QUEUE.c.chain_ref.in_(list(chain_refs)),
            BATCH_QUEUE.c.sections.op("&")(sections_mask([Section.FACTS])) != 0,
        )
        .order_by(BATCH_QUEUE.c.received_us, BATCH_QUEUE.c.chain_ref, BATCH_QUEUE.c.seq)
        .limit(limit)
    )
    return [(row.chain_ref, row.seq) for row in session.connection().execute(query)]


def count_waiting(session: Session, *, chain_refs: Collection[int]) -> dict[DecodeState, int]:
    """Return how many batches of some chains are in each state of the queue."""
    rows = session.connection().execute(
        select(BATCH_QUEUE.c.state, func.count())
        .where(BATCH_QUEUE.c.chain_ref.in_(list(chain_refs)))
        .group_by(BATCH_QUEUE.c.state)
    )
    return {DecodeState(state): count for state, count in rows}


def unprojected_sections(
    session: Session, refs: Iterable[BatchRef]
) -> dict[BatchRef, tuple[int, dict[int, bytes]]]:
    """Return for each batch the bits of the sections that wait, and the bodies of those, salt included."""
    masks: dict[BatchRef, int] = {}
    for chain_ref, seqs in by_chain(refs):
        rows = session.connection().execute(
            select(BATCH_QUEUE.c.seq, BATCH_QUEUE.c.sections).where(
                BATCH_QUEUE.c.chain_ref == chain_ref, BATCH_QUEUE.c.seq.in_(seqs)
            )
        )
        masks |= {(chain_ref, seq): mask for seq, mask in rows}
    bodies = load_sections(session, masks, only=DERIVED_FROM)
    return {
        ref: (
            mask,
            {section: body for section, body in bodies.get(ref, {}).items() if mask & 1 << section},
        )
        for ref, mask in masks.items()
    }


def settle_batches(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Note where batches stand: {at_chain, at_seq, state, sections} each; those that are DONE leave."""
    done = [
        (int(str(row["at_chain"])), int(str(row["at_seq"])))
        for row in rows
        if row["state"] == int(DecodeState.DONE)
    ]
    for chain_ref, seqs in by_chain(done):
        session.connection().execute(
            delete(BATCH_QUEUE).where(BATCH_QUEUE.c.chain_ref == chain_ref, BATCH_QUEUE.c.seq.in_(seqs))
        )
    left = [row for row in rows if row["state"] != int(DecodeState.DONE)]
    if left:
        statement = update(BATCH_QUEUE).where(
            BATCH_QUEUE.c.chain_ref == bindparam("at_chain"), BATCH_QUEUE.c.seq == bindparam("at_seq")
        )
        session.connection().execute(
            statement.values(state=bindparam("state"), sections=bindparam("sections")), left
        )


def put_times(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Note times that were inferred: {at_chain, at_seq, utc_start_us, utc_end_us, time_source} each."""
    if rows:
        names = ("utc_start_us", "utc_end_us", "time_source")
        statement = update(BATCH).where(
            BATCH.c.chain_ref == bindparam("at_chain"), BATCH.c.seq == bindparam("at_seq")
        )
        session.connection().execute(statement.values({name: bindparam(name) for name in names}), list(rows))


def requeue(
    session: Session, *, chain_refs: Collection[int], state: DecodeState, boot: bytes | None = None
) -> None:
    """Queue the batches of some chains that wait in `state`, perhaps only those of one boot."""
    query = update(BATCH_QUEUE).where(
        BATCH_QUEUE.c.chain_ref.in_(list(chain_refs)), BATCH_QUEUE.c.state == int(state)
    )
    if boot is not None:
        query = query.where(BATCH_QUEUE.c.boot == boot)
    session.connection().execute(query.values(state=int(DecodeState.PENDING)))


def reset_projection(session: Session, *, chain_refs: Collection[int]) -> None:
    """Queue all batches of some chains, and forget inferred times, before everything is derived anew."""
    connection = session.connection()
    wanted = list(chain_refs)
    connection.execute(
        update(BATCH)
        .where(BATCH.c.chain_ref.in_(wanted), BATCH.c.time_source == int(TimeSource.INFERRED))
        .values(utc_start_us=None, utc_end_us=None, time_source=int(TimeSource.UNKNOWN))
    )
    connection.execute(delete(BATCH_QUEUE).where(BATCH_QUEUE.c.chain_ref.in_(wanted)))
    bits = {int(section): sections_mask([section]) for section in DERIVED_FROM}
    bit = case(bits, value=BATCH_SECTION.c.section, else_=0)
    held = func.coalesce(func.sum(case((BATCH_SECTION.c.body.is_not(None), bit), else_=0)), 0)
    mask = (
        select(cast(held, SmallInteger))
        .where(BATCH_SECTION.c.chain_ref == BATCH.c.chain_ref, BATCH_SECTION.c.seq == BATCH.c.seq)
        .scalar_subquery()
    )
    columns = (BATCH.c.chain_ref, BATCH.c.seq, BATCH.c.org_id, BATCH.c.received_us, BATCH.c.boot)
    connection.execute(
        BATCH_QUEUE.insert().from_select(
            [*(column.name for column in columns), "state", "sections"],
            select(*columns, cast(int(DecodeState.PENDING), SmallInteger), mask).where(
                BATCH.c.chain_ref.in_(wanted)
            ),
        )
    )


def has_erased(session: Session, *, chain_refs: Collection[int]) -> bool:
    """Whether any section of some chains was erased."""
    found = session.connection().execute(
        select(BATCH_SECTION.c.seq)
        .where(BATCH_SECTION.c.chain_ref.in_(list(chain_refs)), BATCH_SECTION.c.erased_us.is_not(None))
        .limit(1)
    )
    return found.first() is not None


def _is_same() -> ColumnElement[bool]:
    return and_(BATCH.c.chain_ref == BATCH_QUEUE.c.chain_ref, BATCH.c.seq == BATCH_QUEUE.c.seq)
