"""The latest value of each signal, the latest fix of each device, and one clock anchor per boot.

Rules:
- "Latest" is by the time of the sample, never by arrival, so a backlog does not move a car backwards.
- A value is kept raw; its definition turns it into the physical value, exactly.
- Of two samples at the same instant the larger raw value stays: the order of arrival decides nothing.
- The first anchor of a boot stays, so that times once inferred do not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    and_,
    delete,
    or_,
    select,
)
from sqlmodel import SQLModel

from backend.domain.batch_time import BootAnchor, TimeSource
from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device
from backend.store.upsert import insert
from protocol.fixes import Fix, Precision

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlmodel import Session

LATEST_STATE = Table(
    "latest_state",
    SQLModel.metadata,
    Column(
        "signal_ref", RowId, ForeignKey("device_signal.signal_ref"), primary_key=True, autoincrement=False
    ),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("utc_us", Microseconds, nullable=False),
    Column("raw", BigInteger, nullable=False),
    Column("time_source", SmallInteger, nullable=False),
)

LATEST_FIX = Table(
    "latest_fix",
    SQLModel.metadata,
    Column("device_id", String(DEVICE_ID_CHARS), primary_key=True),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("utc_us", Microseconds, nullable=False),
    Column("time_source", SmallInteger, nullable=False),
    Column("precision", SmallInteger, nullable=False),
    Column("t_us", Microseconds, nullable=False),
    Column("mode", SmallInteger, nullable=False),
    Column("lat_e7", Integer),
    Column("lon_e7", Integer),
    Column("alt_mm", Integer),
    Column("speed_mm_s", Integer),
    Column("course_cdeg", Integer),
    Column("hdop_centi", Integer),
    Column("sats_used", SmallInteger),
    Column("sats_in_view", SmallInteger),
    owned_by_device(),
)

BOOT_CLOCK = Table(
    "boot_clock",
    SQLModel.metadata,
    Column("device_id", String(DEVICE_ID_CHARS), primary_key=True),
    Column("boot", LargeBinary(16), primary_key=True),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("mono_us", Microseconds, nullable=False),
    Column("utc_us", Microseconds, nullable=False),
    owned_by_device(),
)

_FIX_FIELDS = (
    "t_us",
    "mode",
    "lat_e7",
    "lon_e7",
    "alt_mm",
    "speed_mm_s",
    "course_cdeg",
    "hdop_centi",
    "sats_used",
    "sats_in_view",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestValue:
    """One signal's latest sample."""

    signal_ref: int
    utc_us: int
    raw: int
    time_source: TimeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestFix:
    """One device's latest position."""

    fix: Fix
    utc_us: int
    precision: Precision
    time_source: TimeSource


def put_latest(session: Session, values: Sequence[tuple[str, LatestValue]]) -> None:
    """Keep each (organisation, value) whose sample is later than the one stored."""
    if not values:
        return
    statement = insert(session, LATEST_STATE)
    excluded = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["signal_ref"],
        set_={name: excluded[name] for name in ("utc_us", "raw", "time_source")},
        where=or_(
            LATEST_STATE.c.utc_us < excluded.utc_us,
            and_(LATEST_STATE.c.utc_us == excluded.utc_us, LATEST_STATE.c.raw < excluded.raw),
        ),
    )
    session.connection().execute(
        statement,
        [
            {
                "signal_ref": value.signal_ref,
                "org_id": org_id,
                "utc_us": value.utc_us,
                "raw": value.raw,
                "time_source": int(value.time_source),
            }
            for org_id, value in values
        ],
    )


def put_fix(session: Session, latest: LatestFix, *, org_id: str, device_id: str) -> None:
    """Keep a fix that is later than the one stored."""
    row = {
        "device_id": device_id,
        "org_id": org_id,
        "utc_us": latest.utc_us,
        "time_source": int(latest.time_source),
        "precision": int(latest.precision),
    } | {name: getattr(latest.fix, name) for name in _FIX_FIELDS}
    statement = insert(session, LATEST_FIX).values(row)
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=["device_id"],
            set_={name: statement.excluded[name] for name in row if name != "device_id"},
            where=LATEST_FIX.c.utc_us < statement.excluded.utc_us,
        )
    )


def load_latest(session: Session, *, org_id: str, signal_refs: Collection[int]) -> list[LatestValue]:
    """Return the latest samples of some signals."""
    rows = session.connection().execute(
        select(LATEST_STATE).where(
            LATEST_STATE.c.org_id == org_id, LATEST_STATE.c.signal_ref.in_(list(signal_refs))
        )
    )
    return [
        LatestValue(
            signal_ref=row.signal_ref,
            utc_us=row.utc_us,
            raw=row.raw,
            time_source=TimeSource(row.time_source),
        )
        for row in rows
    ]


def load_fix(session: Session, *, org_id: str, device_id: str) -> LatestFix | None:
    """Return a device's latest fix."""
    row = (
        session.connection()
        .execute(select(LATEST_FIX).where(LATEST_FIX.c.org_id == org_id, LATEST_FIX.c.device_id == device_id))
        .one_or_none()
    )
    if row is None:
        return None
    return LatestFix(
        fix=Fix(utc_us=row.utc_us, **{name: getattr(row, name) for name in _FIX_FIELDS}),
        utc_us=row.utc_us,
        precision=Precision(row.precision),
        time_source=TimeSource(row.time_source),
    )


def put_anchor(session: Session, anchor: BootAnchor, *, org_id: str, device_id: str, boot: bytes) -> bool:
    """Keep the first anchor of a boot; return whether this was it."""
    statement = insert(session, BOOT_CLOCK).on_conflict_do_nothing(index_elements=["device_id", "boot"])
    done = session.connection().execute(
        statement.values(
            device_id=device_id, boot=boot, org_id=org_id, mono_us=anchor.mono_us, utc_us=anchor.utc_us
        ).returning(BOOT_CLOCK.c.boot)  # a row only if it was new: drivers count rows differently
    )
    return done.first() is not None


def load_anchors(
    session: Session, boots: Collection[tuple[str, bytes]]
) -> Mapping[tuple[str, bytes], BootAnchor]:
    """Return the anchors of the (device id, boot) pairs that have one."""
    if not boots:
        return {}
    rows = session.connection().execute(
        select(BOOT_CLOCK).where(
            BOOT_CLOCK.c.device_id.in_({device for device, _ in boots}),
            BOOT_CLOCK.c.boot.in_({boot for _, boot in boots}),
        )
    )
    return {
        (row.device_id, bytes(row.boot)): BootAnchor(mono_us=row.mono_us, utc_us=row.utc_us) for row in rows
    }


def forget_latest(session: Session, *, device_id: str, signal_refs: Collection[int]) -> None:
    """Delete a device's latest state and anchors, before they are derived anew."""
    connection = session.connection()
    connection.execute(delete(LATEST_STATE).where(LATEST_STATE.c.signal_ref.in_(list(signal_refs))))
    connection.execute(delete(LATEST_FIX).where(LATEST_FIX.c.device_id == device_id))
    connection.execute(delete(BOOT_CLOCK).where(BOOT_CLOCK.c.device_id == device_id))
