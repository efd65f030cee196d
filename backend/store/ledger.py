"""Rows of the ledger: its head, leaves, tree and checkpoints, what leaves commit to, and what waits.

Rules:
- `ledger_head` is one row. Whoever appends locks it until the end of the transaction (PostgreSQL; SQLite's
  writer is alone anyway), so that indices have no gaps and no two leaves one index: a transaction that ends
  without commit gives its indices back.
- Leaves, nodes and checkpoints are added, never changed. What a leaf commits to stands in `ledger_content`,
  apart from it: deleting that row erases salt and content together, and the leaf stays as an inert hash.
- Of the tree only the perfect subtrees of NODE_LEVEL_MIN levels and more are kept; smaller ones are computed
  from at most 2^NODE_LEVEL_MIN leaves. That is a quarter of a row for each leaf instead of two.

This module knows no rules of trees: see `backend.ledger`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    and_,
    delete,
    or_,
    select,
    update,
)
from sqlmodel import SQLModel

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Row
    from sqlmodel import Session

HEAD_ID: Final = 1
NODE_LEVEL_MIN: Final = 3

LEDGER_HEAD = Table(
    "ledger_head",
    SQLModel.metadata,
    Column("head_id", SmallInteger, primary_key=True, autoincrement=False),
    Column("size", RowId, nullable=False),
    Column("peaks", LargeBinary, nullable=False),  # 32 bytes each, largest first
    Column("origin", String(256)),  # of the first checkpoint; no other log's key signs this tree
    Column("halted", Text),  # why nothing may be appended, null when it may
)

LEDGER_LEAF = Table(
    "ledger_leaf",
    SQLModel.metadata,
    Column("leaf_index", RowId, primary_key=True, autoincrement=False),
    Column("leaf_type", SmallInteger, nullable=False),
    Column("commitment", LargeBinary(32), nullable=False),
    Column("at_us", Microseconds, nullable=False),
    Column("is_late", Boolean, nullable=False),
)

LEDGER_NODE = Table(
    "ledger_node",
    SQLModel.metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", RowId, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)

LEDGER_CONTENT = Table(
    "ledger_content",
    SQLModel.metadata,
    Column("leaf_index", RowId, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),  # SHA-256 of the content, to find its leaf
    Column("org_id", String(ORG_ID_CHARS)),
    Column("device_id", String(DEVICE_ID_CHARS)),
    owned_by_device(),  # where both are named; the platform's own entries name neither
    Index("ix_ledger_content_digest", "digest"),
    Index("ix_ledger_content_device_id", "device_id", "leaf_index"),
)

LEDGER_CHECKPOINT = Table(
    "ledger_checkpoint",
    SQLModel.metadata,
    Column("size", RowId, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("at_us", Microseconds, nullable=False),
    Column("witnessed", SmallInteger, nullable=False),  # cosignatures of configured witnesses in the note
)

LEDGER_LATE = Table(
    "ledger_late",
    SQLModel.metadata,
    Column("late_id", RowId, primary_key=True),
    Column("leaf_type", SmallInteger, nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("org_id", String(ORG_ID_CHARS)),
    Column("device_id", String(DEVICE_ID_CHARS)),
    Column("asked_us", Microseconds, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("leaf_index", RowId),  # once it is entered
    owned_by_device(),
)


def lock_head(session: Session) -> Row[int, bytes, str | None, str | None]:
    """Return size, peaks, origin and halted, locked until the end of the transaction."""
    head = LEDGER_HEAD.c
    query = select(head.size, head.peaks, head.origin, head.halted).where(head.head_id == HEAD_ID)
    return session.connection().execute(query.with_for_update()).one()


def read_head(session: Session) -> Row[int, bytes, str | None, str | None]:
    """Return size, peaks, origin and halted as they stand."""
    head = LEDGER_HEAD.c
    query = select(head.size, head.peaks, head.origin, head.halted).where(head.head_id == HEAD_ID)
    return session.connection().execute(query).one()


def move_head(session: Session, *, size: int, peaks: bytes) -> None:
    """Write the head after leaves were added."""
    session.connection().execute(update(LEDGER_HEAD).values(size=size, peaks=peaks))


def name_head(session: Session, *, origin: str) -> None:
    """Write whose log this is, at its first checkpoint."""
    session.connection().execute(update(LEDGER_HEAD).values(origin=origin))


def halt_head(session: Session, *, reason: str | None) -> None:
    """Write why nothing may be appended, or None when it may again."""
    session.connection().execute(update(LEDGER_HEAD).values(halted=reason))


def add_leaves(
    session: Session,
    *,
    leaves: Sequence[dict[str, object]],
    contents: Sequence[dict[str, object]],
    nodes: Sequence[dict[str, object]],
) -> None:
    """Add rows of leaves, of what they commit to, and of the subtrees that they complete."""
    for table, rows in ((LEDGER_LEAF, leaves), (LEDGER_CONTENT, contents), (LEDGER_NODE, nodes)):
        if rows:
            session.connection().execute(table.insert(), list(rows))


def find_leaf(session: Session, *, index: int) -> Row[int, int, bytes, int, bool] | None:
    """Return one leaf: index, type, commitment, time and whether it was late."""
    query = select(*LEDGER_LEAF.c).where(LEDGER_LEAF.c.leaf_index == index)
    return session.connection().execute(query).one_or_none()


def leaves_between(session: Session, *, first: int, end: int) -> list[tuple[int, bytes]]:
    """Return type and commitment of the leaves [first, end), in order."""
    leaf = LEDGER_LEAF.c
    query = select(leaf.leaf_type, leaf.commitment).where(leaf.leaf_index >= first, leaf.leaf_index < end)
    rows = session.connection().execute(query.order_by(leaf.leaf_index))
    return [(row.leaf_type, bytes(row.commitment)) for row in rows]


def load_nodes(session: Session, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """Return the hashes of perfect subtrees, by (level, position)."""
    if not places:
        return {}
    node = LEDGER_NODE.c
    wanted = or_(*(and_(node.level == level, node.position == position) for level, position in places))
    rows = session.connection().execute(select(node.level, node.position, node.hash).where(wanted))
    return {(row.level, row.position): bytes(row.hash) for row in rows}


def find_content(session: Session, *, index: int) -> tuple[bytes, bytes] | None:
    """Return salt and content of a leaf, or None when they were erased."""
    content = LEDGER_CONTENT.c
    query = select(content.salt, content.content).where(content.leaf_index == index)
    row = session.connection().execute(query).one_or_none()
    return None if row is None else (bytes(row.salt), bytes(row.content))


def places_of_content(session: Session, digests: Collection[bytes]) -> dict[bytes, tuple[int, bytes]]:
    """Return, by SHA-256 of the content, index and salt of the first leaf that commits to it."""
    content = LEDGER_CONTENT.c
    query = select(content.digest, content.leaf_index, content.salt).where(content.digest.in_(list(digests)))
    found: dict[bytes, tuple[int, bytes]] = {}
    for row in session.connection().execute(query.order_by(content.leaf_index)):
        found.setdefault(bytes(row.digest), (row.leaf_index, bytes(row.salt)))
    return found


def contents_of_device(
    session: Session, *, device_id: str, leaf_type: int, after: int = -1
) -> Iterable[Row[int, bytes, bytes]]:
    """Return index, salt and content of a box's leaves of one type, in order."""
    content, leaf = LEDGER_CONTENT.c, LEDGER_LEAF.c
    query = (
        select(content.leaf_index, content.salt, content.content)
        .join(LEDGER_LEAF, leaf.leaf_index == content.leaf_index)
        .where(content.device_id == device_id, leaf.leaf_type == leaf_type, content.leaf_index > after)
        .order_by(content.leaf_index)
    )
    return session.connection().execute(query)


def latest_content(
    session: Session, *, leaf_type: int, device_id: str | None = None
) -> Row[int, bytes, int] | None:
    """Return index, content and time of the newest leaf of a type that still has its content."""
    content, leaf = LEDGER_CONTENT.c, LEDGER_LEAF.c
    query = (
        select(content.leaf_index, content.content, leaf.at_us)
        .join(LEDGER_LEAF, leaf.leaf_index == content.leaf_index)
        .where(leaf.leaf_type == leaf_type)
        .order_by(content.leaf_index.desc())
        .limit(1)
    )
    if device_id is not None:
        query = query.where(content.device_id == device_id)
    return session.connection().execute(query).one_or_none()


def erase_contents(session: Session, indices: Collection[int]) -> int:
    """Delete salt and content of leaves; return how many still had them."""
    gone = delete(LEDGER_CONTENT).where(LEDGER_CONTENT.c.leaf_index.in_(list(indices)))
    return session.connection().execute(gone).rowcount


def add_checkpoint(session: Session, *, size: int, root: bytes, note: bytes, at_us: int) -> None:
    """Add a checkpoint."""
    row = {"size": size, "root": root, "note": note, "at_us": at_us, "witnessed": 0}
    session.connection().execute(LEDGER_CHECKPOINT.insert(), [row])


def cosign_checkpoint(session: Session, *, size: int, note: bytes, witnessed: int) -> None:
    """Write a checkpoint's note again, with more signatures."""
    changed = update(LEDGER_CHECKPOINT).where(LEDGER_CHECKPOINT.c.size == size)
    session.connection().execute(changed.values(note=note, witnessed=witnessed))


def find_checkpoint(
    session: Session, *, size: int | None = None, witnessed_min: int = 0
) -> Row[int, bytes, bytes, int, int] | None:
    """Return the checkpoint of a size, or the largest, with at least so many cosignatures."""
    checkpoint = LEDGER_CHECKPOINT.c
    query = select(*checkpoint).where(checkpoint.witnessed >= witnessed_min)
    if size is not None:
        query = query.where(checkpoint.size == size)
    return session.connection().execute(query.order_by(checkpoint.size.desc()).limit(1)).one_or_none()


def checkpoint_covering(
    session: Session, *, index: int, witnessed_min: int = 0
) -> Row[int, bytes, bytes, int, int] | None:
    """Return the smallest checkpoint that has a leaf, with at least so many cosignatures."""
    checkpoint = LEDGER_CHECKPOINT.c
    query = select(*checkpoint).where(checkpoint.size > index, checkpoint.witnessed >= witnessed_min)
    return session.connection().execute(query.order_by(checkpoint.size).limit(1)).one_or_none()


def add_late(session: Session, row: Mapping[str, object]) -> None:
    """Put what could not be entered into the queue."""
    session.connection().execute(LEDGER_LATE.insert(), [dict(row)])


def list_late(session: Session, *, limit: int) -> list[Row[int, int, bytes, bytes, str, str]]:
    """Return what waits, oldest first: late_id, leaf_type, salt, content, org_id, device_id; locked."""
    late = LEDGER_LATE.c
    query = (
        select(late.late_id, late.leaf_type, late.salt, late.content, late.org_id, late.device_id)
        .where(late.leaf_index.is_(None))
        .order_by(late.late_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.connection().execute(query))


def count_late(session: Session) -> int:
    """Return how many wait."""
    query = select(LEDGER_LATE.c.late_id).where(LEDGER_LATE.c.leaf_index.is_(None))
    return len(session.connection().execute(query).all())


def settle_late(session: Session, *, late_id: int, leaf_index: int) -> None:
    """Note where a late entry stands; its content now lives beside the leaf alone, to be erased with it."""
    settled = update(LEDGER_LATE).where(LEDGER_LATE.c.late_id == late_id)
    session.connection().execute(settled.values(leaf_index=leaf_index, content=b"", salt=b""))
