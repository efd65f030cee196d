"""Minute roll-ups as stored: one row per signal and block of twenty minutes, combined on write.

The caller has the device to himself (`backend.store.batch_queue.own_devices`), so no two writers combine into
one block at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String, Table, delete, select
from sqlmodel import SQLModel

from backend.domain.rollup import BLOCK_MINUTES, combined, pack_block, unpack_block
from backend.store.columns import ORG_ID_CHARS, RowId
from backend.store.upsert import insert

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlmodel import Session

    from backend.domain.rollup import MinutePart
    from protocol.dictionary import ColumnDef

ROLLUP_BLOCK = Table(
    "rollup_block",
    SQLModel.metadata,
    Column(
        "signal_ref", RowId, ForeignKey("device_signal.signal_ref"), primary_key=True, autoincrement=False
    ),
    Column("block", Integer, primary_key=True, autoincrement=False),  # whole twenty minutes since the epoch
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

_REFS_AT_ONCE: Final = 400  # parameters of one IN list


def add_parts(
    session: Session, parts: Mapping[int, list[MinutePart]], *, columns: Mapping[int, tuple[str, ColumnDef]]
) -> None:
    """Combine parts into the stored blocks.

    Args:
        session: A writing session that has the devices to itself.
        parts: By signal_ref, in any order.
        columns: (organisation, definition) by signal_ref.
    """
    gathered: dict[tuple[int, int], list[MinutePart]] = {}
    for signal_ref, added in parts.items():
        for part in combined(added):
            gathered.setdefault((signal_ref, part.minute // BLOCK_MINUTES), []).append(part)
    if not gathered:
        return
    for (signal_ref, block), body in _load(session, gathered):
        stored = unpack_block(columns[signal_ref][1], block, body)
        gathered[signal_ref, block] = combined((*stored, *gathered[signal_ref, block]))
    statement = insert(session, ROLLUP_BLOCK)
    statement = statement.on_conflict_do_update(
        index_elements=["signal_ref", "block"], set_={"body": statement.excluded["body"]}
    )
    session.connection().execute(
        statement,
        [
            {
                "signal_ref": signal_ref,
                "block": block,
                "org_id": columns[signal_ref][0],
                "body": pack_block(minutes),
            }
            for (signal_ref, block), minutes in sorted(gathered.items())
        ],
    )


def _load(session: Session, wanted: Collection[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield the wanted (signal_ref, block) that are stored, with their bodies."""
    by_block: dict[int, list[int]] = {}
    for signal_ref, block in wanted:
        by_block.setdefault(block, []).append(signal_ref)
    for block, refs in sorted(by_block.items()):
        for at in range(0, len(refs), _REFS_AT_ONCE):
            rows = session.connection().execute(
                select(ROLLUP_BLOCK.c.signal_ref, ROLLUP_BLOCK.c.body).where(
                    ROLLUP_BLOCK.c.signal_ref.in_(refs[at : at + _REFS_AT_ONCE]),
                    ROLLUP_BLOCK.c.block == block,
                )
            )
            yield from (((signal_ref, block), bytes(body)) for signal_ref, body in rows)


def page_of_rollups(
    session: Session,
    *,
    org_id: str,
    columns: Mapping[int, ColumnDef],
    from_minute: int,
    to_minute: int,
    after: tuple[int, int] | None,
    limit: int,
) -> list[tuple[int, MinutePart]]:
    """Return (signal_ref, minute) parts of some signals in [from_minute, to_minute), by minute and signal.

    Args:
        session: Any session.
        org_id: Whose rows.
        columns: Which signals, by signal_ref.
        from_minute: Minutes since the epoch, included.
        to_minute: Excluded.
        after: (minute, signal_ref) of the last row seen.
        limit: At most this many rows.
    """
    if not columns or from_minute >= to_minute:
        return []
    found: list[tuple[int, MinutePart]] = []
    first = (after or (from_minute, -1))[0]
    for block, bodies in _blocks(
        session,
        org_id=org_id,
        signal_refs=columns,
        first=first // BLOCK_MINUTES,
        last=(to_minute - 1) // BLOCK_MINUTES,
        limit=limit,
    ):
        minutes = [
            (signal_ref, part)
            for signal_ref, body in bodies
            for part in unpack_block(columns[signal_ref], block, body)
            if from_minute <= part.minute < to_minute and (after is None or (part.minute, signal_ref) > after)
        ]
        found += sorted(minutes, key=lambda at: (at[1].minute, at[0]))
        if len(found) >= limit:
            break
    return found[:limit]


def _blocks(
    session: Session, *, org_id: str, signal_refs: Collection[int], first: int, last: int, limit: int
) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
    """Yield (block, [(signal_ref, body)]) ascending, each block with all of its signals."""
    at_once = len(signal_refs) + limit // BLOCK_MINUTES + 1  # one whole block at least
    while True:
        rows = (
            session.connection()
            .execute(
                select(ROLLUP_BLOCK.c.block, ROLLUP_BLOCK.c.signal_ref, ROLLUP_BLOCK.c.body)
                .where(
                    ROLLUP_BLOCK.c.org_id == org_id,
                    ROLLUP_BLOCK.c.signal_ref.in_(list(signal_refs)),
                    ROLLUP_BLOCK.c.block >= first,
                    ROLLUP_BLOCK.c.block <= last,
                )
                .order_by(ROLLUP_BLOCK.c.block, ROLLUP_BLOCK.c.signal_ref)
                .limit(at_once)
            )
            .all()
        )
        blocks: dict[int, list[tuple[int, bytes]]] = {}
        for block, signal_ref, body in rows:
            blocks.setdefault(block, []).append((signal_ref, bytes(body)))
        is_all = len(rows) < at_once
        if not is_all:
            first, _ = blocks.popitem()  # the last one may have been cut
        yield from blocks.items()
        if is_all:
            return


def forget_rollups(session: Session, *, signal_refs: Iterable[int]) -> None:
    """Delete the roll-ups of some signals, before they are derived anew."""
    session.connection().execute(delete(ROLLUP_BLOCK).where(ROLLUP_BLOCK.c.signal_ref.in_(list(signal_refs))))
