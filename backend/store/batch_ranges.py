"""Which batches: by place in a chain, by time, by page.

Rules:
- Time is what the product believes, `utc_start_us` and `utc_end_us`; batches whose time is unknown are
  found by place only.
- Batches of a chain overlap a range that begins up to `span_us` later, its longest batch: that keeps the
  search within one index range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from backend.domain.batch_time import TimeSource
from backend.store.batches import BATCH, BatchRef, StoredBatch, select_batches, stored_batch

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


def batches_starting(
    session: Session, *, chain_refs: Collection[int], from_us: int, to_us: int
) -> list[StoredBatch]:
    """Return the timed batches of some chains that start within [from_us, to_us), by start, chain, number."""
    query = (
        select_batches()
        .where(
            BATCH.c.chain_ref.in_(list(chain_refs)),
            BATCH.c.utc_start_us >= from_us,
            BATCH.c.utc_start_us < to_us,
        )
        .order_by(BATCH.c.utc_start_us, BATCH.c.chain_ref, BATCH.c.seq)
    )
    return [stored_batch(row) for row in session.connection().execute(query)]


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
