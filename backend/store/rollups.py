"""Minute roll-ups as stored: one row per signal and minute, combined on write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    String,
    Table,
    and_,
    delete,
    or_,
    select,
)
from sqlmodel import SQLModel

from backend.domain.rollup import MinutePart, combine
from backend.store.columns import ORG_ID_CHARS, Microseconds, RowId
from backend.store.upsert import insert

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlmodel import Session

ROLLUP_MINUTE = Table(
    "rollup_minute",
    SQLModel.metadata,
    Column(
        "signal_ref", RowId, ForeignKey("device_signal.signal_ref"), primary_key=True, autoincrement=False
    ),
    Column("minute", Integer, primary_key=True, autoincrement=False),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("count", Integer, nullable=False),
    Column("least", Float(53), nullable=False),
    Column("most", Float(53), nullable=False),
    Column("last", Float(53), nullable=False),
    Column("last_us", Microseconds, nullable=False),
    Column("sum_raw", BigInteger, nullable=False),
    Column("sum_physical", Float(53), nullable=False),
    sqlite_with_rowid=False,
)

_VALUES = ("count", "least", "most", "last", "last_us", "sum_raw", "sum_physical")

SignalMinute = tuple[int, int]
"""(signal_ref, minute)."""


def add_parts(session: Session, parts: Iterable[tuple[str, int, MinutePart]]) -> None:
    """Combine parts, given as (organisation, signal_ref, part), into the stored minutes."""
    gathered: dict[SignalMinute, MinutePart] = {}
    org_of: dict[int, str] = {}
    for org_id, signal_ref, part in parts:
        name = (signal_ref, part.minute)
        gathered[name] = combine(gathered[name], part) if name in gathered else part
        org_of[signal_ref] = org_id
    if not gathered:
        return
    connection = session.connection()
    minutes = {minute for _, minute in gathered}
    rows = connection.execute(
        select(ROLLUP_MINUTE)
        .where(
            ROLLUP_MINUTE.c.signal_ref.in_(sorted(org_of)),
            ROLLUP_MINUTE.c.minute >= min(minutes),
            ROLLUP_MINUTE.c.minute <= max(minutes),
        )
        .with_for_update()
    )
    for row in rows:
        name = (row.signal_ref, row.minute)
        if name in gathered:
            stored = MinutePart(minute=row.minute, **{value: getattr(row, value) for value in _VALUES})
            gathered[name] = combine(stored, gathered[name])
    statement = insert(session, ROLLUP_MINUTE)
    statement = statement.on_conflict_do_update(
        index_elements=["signal_ref", "minute"], set_={value: statement.excluded[value] for value in _VALUES}
    )
    connection.execute(
        statement,
        [
            {"signal_ref": signal_ref, "minute": minute, "org_id": org_of[signal_ref]}
            | {value: getattr(part, value) for value in _VALUES}
            for (signal_ref, minute), part in sorted(gathered.items())
        ],
    )


def page_of_rollups(
    session: Session,
    *,
    org_id: str,
    signal_refs: Collection[int],
    from_minute: int,
    to_minute: int,
    after: tuple[int, int] | None,
    limit: int,
) -> list[tuple[int, MinutePart]]:
    """Return (signal_ref, minute) rows of some signals in [from_minute, to_minute), by minute and signal.

    Args:
        session: Any session.
        org_id: Whose rows.
        signal_refs: Which signals.
        from_minute: Minutes since the epoch, included.
        to_minute: Excluded.
        after: (minute, signal_ref) of the last row seen.
        limit: At most this many rows.
    """
    query = select(ROLLUP_MINUTE).where(
        ROLLUP_MINUTE.c.org_id == org_id,
        ROLLUP_MINUTE.c.signal_ref.in_(list(signal_refs)),
        ROLLUP_MINUTE.c.minute >= from_minute,
        ROLLUP_MINUTE.c.minute < to_minute,
    )
    if after is not None:
        minute, signal_ref = after
        query = query.where(
            or_(
                ROLLUP_MINUTE.c.minute > minute,
                and_(ROLLUP_MINUTE.c.minute == minute, ROLLUP_MINUTE.c.signal_ref > signal_ref),
            )
        )
    query = query.order_by(ROLLUP_MINUTE.c.minute, ROLLUP_MINUTE.c.signal_ref).limit(limit)
    return [
        (row.signal_ref, MinutePart(minute=row.minute, **{value: getattr(row, value) for value in _VALUES}))
        for row in session.connection().execute(query)
    ]


def forget_rollups(session: Session, *, signal_refs: Collection[int]) -> None:
    """Delete the roll-ups of some signals, before they are derived anew."""
    session.connection().execute(
        delete(ROLLUP_MINUTE).where(ROLLUP_MINUTE.c.signal_ref.in_(list(signal_refs)))
    )
