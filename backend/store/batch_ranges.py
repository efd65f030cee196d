"""Which batches: by place in a chain, by time, by page.

Rules:
- Time is what the product believes, `utc_start_us` and `utc_end_us`; batches whose time is unknown are
  found by place only.
- Batches of a chain overlap a range that begins up to `span_us` later, its longest batch: that keeps the
  search within one index range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, literal, or_, select, tuple_

from backend.domain.batch_time import TimeSource
from backend.store.batches import (
    BATCH,
    BATCH_QUEUE,
    BATCH_SECTION,
    BatchRef,
    StoredBatch,
    select_batches,
    stored_batch,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlmodel import Session


def batches_in_chain(
    session: Session, *, chain_ref: int, first: int, last: int, limit: int | None = None
) -> list[StoredBatch]:
    """Return the batches first … last of a chain that are stored, ascending."""
    query = (
        select_batches()
        .where(BATCH.c.chain_ref == chain_ref, BATCH.c.seq >= first, BATCH.c.seq <= last)
        .order_by(BATCH.c.seq)
    )
    if limit is not None:
        query = query.limit(limit)
    return [stored_batch(row) for row in session.connection().execute(query)]


def page_of_batches(
    session: Session,
    *,
    org_id: str,
    chain_refs: Collection[int],
    after: BatchRef | None,
    limit: int,
    from_us: int | None = None,
    to_us: int | None = None,
) -> list[StoredBatch]:
    """Return batches after `after`, by chain and number, perhaps only those of a time range."""
    query = select_batches().where(BATCH.c.org_id == org_id, BATCH.c.chain_ref.in_(list(chain_refs)))
    if from_us is not None:
        query = query.where(BATCH.c.utc_end_us >= from_us)
    if to_us is not None:
        query = query.where(BATCH.c.utc_start_us < to_us)
    if after is not None:
        query = query.where(
            or_(
                BATCH.c.chain_ref > after[0],
                and_(BATCH.c.chain_ref == after[0], BATCH.c.seq > after[1]),
            )
        )
    query = query.order_by(BATCH.c.chain_ref, BATCH.c.seq).limit(limit)
    return [stored_batch(row) for row in session.connection().execute(query)]


def next_start_us(session: Session, *, chain_refs: Collection[int], from_us: int, to_us: int) -> int | None:
    """Return the earliest start within [from_us, to_us) of a timed batch of some chains, or None."""
    found: int | None = (
        session.connection()
        .execute(
            select(func.min(BATCH.c.utc_start_us)).where(
                BATCH.c.chain_ref.in_(list(chain_refs)),
                BATCH.c.utc_start_us >= from_us,
                BATCH.c.utc_start_us < to_us,
            )
        )
        .scalar_one()
    )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedBody:
    """One section of a timed batch, with what it takes to give its rows their UTC; all times in µs."""

    chain_ref: int
    seq: int
    mono_start_us: int
    mono_end_us: int
    utc_start_us: int
    utc_end_us: int
    time_source: TimeSource
    is_derived: bool
    """Whether the derived tables have the batch: then its sections have been read before, strictly."""
    body: bytes


Place = tuple[int, int, int]
"""(utc_start_us, chain_ref, seq): where a batch stands in the order of time."""


def bodies_starting(
    session: Session,
    *,
    chain_refs: Collection[int],
    section: int,
    from_us: int,
    to_us: int,
    after: Place | None,
    limit: int,
) -> list[TimedBody]:
    """Return one section of the timed batches of some chains that start within [from_us, to_us).

    Args:
        session: Any session.
        chain_refs: Which chains.
        section: Which section; batches without its body are left out.
        from_us: UTC in µs, included.
        to_us: UTC in µs, excluded.
        after: The last place seen; None for the first.
        limit: At most this many, by start, chain, number.
    """
    place = (BATCH.c.utc_start_us, BATCH.c.chain_ref, BATCH.c.seq)
    query = (
        select(
            BATCH.c.chain_ref,
            BATCH.c.seq,
            BATCH.c.mono_start_us,
            BATCH.c.mono_end_us,
            BATCH.c.utc_start_us,
            BATCH.c.utc_end_us,
            BATCH.c.time_source,
            BATCH_QUEUE.c.state.is_(None).label("is_derived"),
            BATCH_SECTION.c.body,
        )
        .select_from(
            BATCH.join(
                BATCH_SECTION,
                and_(BATCH_SECTION.c.chain_ref == BATCH.c.chain_ref, BATCH_SECTION.c.seq == BATCH.c.seq),
            ).outerjoin(
                BATCH_QUEUE,
                and_(BATCH_QUEUE.c.chain_ref == BATCH.c.chain_ref, BATCH_QUEUE.c.seq == BATCH.c.seq),
            )
        )
        .where(
            BATCH.c.chain_ref.in_(list(chain_refs)),
            BATCH.c.utc_start_us >= from_us,
            BATCH.c.utc_start_us < to_us,
            BATCH_SECTION.c.section == section,
            BATCH_SECTION.c.body.is_not(None),
        )
        .order_by(*place)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(*place) > tuple_(*map(literal, after)))
    rows = session.connection().execute(query)
    return [
        TimedBody(
            chain_ref=row.chain_ref,
            seq=row.seq,
            mono_start_us=row.mono_start_us,
            mono_end_us=row.mono_end_us,
            utc_start_us=row.utc_start_us,
            utc_end_us=row.utc_end_us,
            time_source=TimeSource(row.time_source),
            is_derived=row.is_derived,
            body=bytes(row.body),
        )
        for row in rows
    ]


def seqs_in_time(
    session: Session, *, chain_ref: int, from_us: int, to_us: int, span_us: int
) -> tuple[int, int] | None:
    """Return lowest and highest number of a chain's timed batches that overlap [from_us, to_us), or None."""
    row = (
        session.connection()
        .execute(
            select(func.min(BATCH.c.seq), func.max(BATCH.c.seq)).where(
                BATCH.c.chain_ref == chain_ref,
                BATCH.c.utc_start_us >= from_us - span_us,
                BATCH.c.utc_start_us < to_us,
                BATCH.c.utc_end_us >= from_us,
            )
        )
        .one()
    )
    return None if row[0] is None else (row[0], row[1])


def untimed_between(
    session: Session, *, chain_ref: int, from_us: int, to_us: int, most: int
) -> tuple[int, int] | None:
    """Return the range of a chain's untimed batches that may be of [from_us, to_us), or None for none.

    They lie above every timed batch that starts before, below every one that starts after, and arrived when
    the interval had begun. No timed batch of the chain overlaps the interval: see `seqs_in_time`.

    Args:
        session: Any session.
        chain_ref: Which chain.
        from_us: UTC in µs, included.
        to_us: UTC in µs, excluded.
        most: Numbers in the range at most.
    """
    connection = session.connection()
    here = BATCH.c.chain_ref == chain_ref
    before = connection.execute(select(func.max(BATCH.c.seq)).where(here, BATCH.c.utc_start_us < from_us))
    after = connection.execute(select(func.min(BATCH.c.seq)).where(here, BATCH.c.utc_start_us >= to_us))
    low, high = before.scalar_one() or 0, after.scalar_one()
    query = select(func.min(BATCH.c.seq), func.max(BATCH.c.seq)).where(
        here,
        BATCH.c.seq > low,
        BATCH.c.time_source == int(TimeSource.UNKNOWN),
        BATCH.c.received_us >= from_us,
    )
    if high is not None:
        query = query.where(BATCH.c.seq < high)
    row = connection.execute(query).one()
    return None if row[0] is None else (row[0], min(row[1], row[0] + most - 1))


def is_untimed(session: Session, *, chain_ref: int, seq: int) -> bool:
    """Whether a batch is stored whose time is unknown."""
    found = session.connection().execute(
        select(BATCH.c.seq).where(
            BATCH.c.chain_ref == chain_ref,
            BATCH.c.seq == seq,
            BATCH.c.time_source == int(TimeSource.UNKNOWN),
        )
    )
    return found.first() is not None
