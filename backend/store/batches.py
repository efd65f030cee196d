"""Batches as received: the signed header verbatim, each section apart, and the key that makes them unique.

Rules:
- `batch_key` is the one place that says a number is taken. It is written in the same transaction as the
  body and is never partitioned, so that uniqueness holds over all time.
- Header and sections have a retention class each: facts of a batch outlive its fine data. A section whose
  body is null was erased; one without a row was withheld by the box.
- `utc_start_us` is what the product believes, by `backend.domain.batch_time`; the box's own claim stays in
  the header. Null is unknown.
- Bytes are never re-encoded on their way in or out, and a row is not written again once it is stored, but
  for a time that is inferred later and for a body that is erased. Where a batch stands on its way into the
  derived tables is kept apart, in `batch_queue`: on PostgreSQL an update writes the whole row anew.
- On PostgreSQL batch and batch_section are partitioned by the month of `received_us`, sections by retention
  before that: see `backend.store.partitions`. Uniqueness is batch_key's and the chain lock's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Index, LargeBinary, SmallInteger, String, Table, and_, func, select
from sqlmodel import SQLModel

from backend.domain.batch_time import TimeSource
from backend.domain.ingest import Link
from backend.store.chains import owned_by_chain
from backend.store.columns import ORG_ID_CHARS, Microseconds, RowId
from backend.store.ref_list import ref_list, same_ref

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Row, Select
    from sqlmodel import Session

_IN_MAX = 400  # parameters of one IN list, well below SQLite's limit of 32,766 and kind to the planner


class Retention(IntEnum):
    """How long a part is kept; the number is stored."""

    FACTS = 1  # headers, dictionary, events: 180 days
    FINE = 2  # signals, frames, fixes, windows: 30 days


class DecodeState(IntEnum):
    """Where a batch stands on its way into the derived tables; the number is stored, but for DONE."""

    PENDING = 0
    DONE = 1  # it is not in the queue
    UNDECODABLE = 2  # a group has no dictionary yet
    UNTIMED = 3  # no UTC yet
    UNREADABLE = 4  # authentic, but a section is not what its number promises


BATCH_KEY = Table(
    "batch_key",
    SQLModel.metadata,
    Column("chain_ref", RowId, primary_key=True, autoincrement=False),
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("prev", LargeBinary(32)),
    Column("received_us", Microseconds, nullable=False),
    owned_by_chain(),
    sqlite_with_rowid=False,
)

BATCH = Table(
    "batch",
    SQLModel.metadata,
    Column("chain_ref", RowId, primary_key=True, autoincrement=False),
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("received_us", Microseconds, nullable=False),
    Column("boot", LargeBinary(16), nullable=False),
    Column("mono_start_us", Microseconds, nullable=False),
    Column("mono_end_us", Microseconds, nullable=False),
    Column("utc_start_us", Microseconds),
    Column("utc_end_us", Microseconds),
    Column("time_source", SmallInteger, nullable=False),
    Column("header", LargeBinary, nullable=False),
    owned_by_chain(),
    Index("ix_batch_time", "chain_ref", "utc_start_us"),
)

BATCH_SECTION = Table(
    "batch_section",
    SQLModel.metadata,
    Column("chain_ref", RowId, primary_key=True, autoincrement=False),
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("section", SmallInteger, primary_key=True, autoincrement=False),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("received_us", Microseconds, nullable=False),
    Column("retention", SmallInteger, nullable=False),
    Column("erased_us", Microseconds),
    Column("body", LargeBinary),
    owned_by_chain(),
)

BATCH_QUEUE = Table(
    "batch_queue",
    SQLModel.metadata,
    Column("chain_ref", RowId, primary_key=True, autoincrement=False),
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("received_us", Microseconds, nullable=False),
    Column("boot", LargeBinary(16), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("sections", SmallInteger, nullable=False),  # bit n: section n is not in the derived tables yet
    owned_by_chain(),
    Index("ix_batch_queue_state", "state", "received_us"),
)

BatchRef = tuple[int, int]
"""(chain_ref, seq): our name of one stored batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """One batch row."""

    chain_ref: int
    seq: int
    received_us: int
    boot: bytes
    mono_start_us: int
    mono_end_us: int
    utc_start_us: int | None
    utc_end_us: int | None
    time_source: TimeSource
    decode_state: DecodeState
    header: bytes

    @property
    def ref(self) -> BatchRef:
        """Our name of it."""
        return self.chain_ref, self.seq


def add_batches(
    session: Session,
    *,
    keys: Sequence[Mapping[str, object]],
    batches: Sequence[Mapping[str, object]],
    sections: Sequence[Mapping[str, object]],
    queue: Sequence[Mapping[str, object]],
) -> None:
    """Write the rows of one group, keys first: a number that is taken fails the transaction."""
    connection = session.connection()
    for table, rows in (
        (BATCH_KEY, keys),
        (BATCH, batches),
        (BATCH_SECTION, sections),
        (BATCH_QUEUE, queue),
    ):
        if rows:
            connection.execute(table.insert(), list(rows))


def load_links(session: Session, refs: Iterable[BatchRef]) -> dict[BatchRef, Link]:
    """Return hash and prev of those of the batches that are stored."""
    wanted = ref_list(session, refs)
    columns = (BATCH_KEY.c.chain_ref, BATCH_KEY.c.seq, BATCH_KEY.c.hash, BATCH_KEY.c.prev)
    query = select(*columns).join_from(wanted, BATCH_KEY, same_ref(wanted, BATCH_KEY))
    return {
        (chain_ref, seq): Link(head_hash=bytes(head_hash), prev=None if prev is None else bytes(prev))
        for chain_ref, seq, head_hash, prev in session.connection().execute(query)
    }


def load_held(session: Session, refs: Iterable[BatchRef]) -> dict[BatchRef, frozenset[int]]:
    """Return the section ids that have a row, erased ones too: what was erased does not come back."""
    found: dict[BatchRef, set[int]] = {}
    wanted = ref_list(session, refs)
    columns = (BATCH_SECTION.c.chain_ref, BATCH_SECTION.c.seq, BATCH_SECTION.c.section)
    query = select(*columns).join_from(wanted, BATCH_SECTION, same_ref(wanted, BATCH_SECTION))
    for chain_ref, seq, section in session.connection().execute(query):
        found.setdefault((chain_ref, seq), set()).add(section)
    return {ref: frozenset(sections) for ref, sections in found.items()}


def load_received(session: Session, refs: Iterable[BatchRef]) -> dict[BatchRef, int]:
    """Return when each of the batches arrived, UTC in µs."""
    found: dict[BatchRef, int] = {}
    for chain_ref, seqs in by_chain(refs):
        rows = session.connection().execute(
            select(BATCH_KEY.c.seq, BATCH_KEY.c.received_us).where(
                BATCH_KEY.c.chain_ref == chain_ref, BATCH_KEY.c.seq.in_(seqs)
            )
        )
        found |= {(chain_ref, seq): received_us for seq, received_us in rows}
    return found


def by_chain(refs: Iterable[BatchRef]) -> Iterator[tuple[int, list[int]]]:
    """Yield (chain_ref, numbers) in lists short enough for one query."""
    grouped: dict[int, set[int]] = {}
    for chain_ref, seq in refs:
        grouped.setdefault(chain_ref, set()).add(seq)
    for chain_ref, seqs in grouped.items():
        ordered = sorted(seqs)
        for at in range(0, len(ordered), _IN_MAX):
            yield chain_ref, ordered[at : at + _IN_MAX]


def select_batches() -> Select[tuple[Any, ...]]:
    """Return the query for batches as `stored_batch` reads them; the caller says which."""
    state = func.coalesce(BATCH_QUEUE.c.state, int(DecodeState.DONE)).label("decode_state")
    is_same = and_(BATCH_QUEUE.c.chain_ref == BATCH.c.chain_ref, BATCH_QUEUE.c.seq == BATCH.c.seq)
    return select(BATCH, state).select_from(BATCH.outerjoin(BATCH_QUEUE, is_same))


def stored_batch(row: Row[tuple[object, ...]]) -> StoredBatch:
    """Return a row of `select_batches` as a value."""
    return StoredBatch(
        chain_ref=row.chain_ref,
        seq=row.seq,
        received_us=row.received_us,
        boot=bytes(row.boot),
        mono_start_us=row.mono_start_us,
        mono_end_us=row.mono_end_us,
        utc_start_us=row.utc_start_us,
        utc_end_us=row.utc_end_us,
        time_source=TimeSource(row.time_source),
        decode_state=DecodeState(row.decode_state),
        header=bytes(row.header),
    )


def load_sections(
    session: Session, refs: Iterable[BatchRef], *, only: Collection[int] | None = None
) -> dict[BatchRef, dict[int, bytes]]:
    """Return the bodies of sections, salt included, of the batches named.

    Args:
        session: Any session.
        refs: Which batches.
        only: Section ids wanted; None for all.
    """
    found: dict[BatchRef, dict[int, bytes]] = {}
    for chain_ref, seqs in by_chain(refs):
        query = select(BATCH_SECTION.c.seq, BATCH_SECTION.c.section, BATCH_SECTION.c.body).where(
            BATCH_SECTION.c.chain_ref == chain_ref,
            BATCH_SECTION.c.seq.in_(seqs),
            BATCH_SECTION.c.body.is_not(None),
        )
        if only is not None:
            query = query.where(BATCH_SECTION.c.section.in_(list(only)))
        for seq, section, body in session.connection().execute(query):
            found.setdefault((chain_ref, seq), {})[section] = bytes(body)
    return found


def load_erased(session: Session, refs: Iterable[BatchRef]) -> dict[BatchRef, dict[int, int]]:
    """Return {section id: when it was erased, UTC in µs} of the batches named."""
    found: dict[BatchRef, dict[int, int]] = {}
    for chain_ref, seqs in by_chain(refs):
        query = select(BATCH_SECTION.c.seq, BATCH_SECTION.c.section, BATCH_SECTION.c.erased_us).where(
            BATCH_SECTION.c.chain_ref == chain_ref,
            BATCH_SECTION.c.seq.in_(seqs),
            BATCH_SECTION.c.erased_us.is_not(None),
        )
        for seq, section, erased_us in session.connection().execute(query):
            found.setdefault((chain_ref, seq), {})[section] = erased_us
    return found
