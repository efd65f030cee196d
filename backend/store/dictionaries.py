"""What a chain's numbers mean: group definitions as announced, and the signals a device has ever had.

Rules:
- A group id names one definition within its chain for ever; the first one received stays.
- A signal is the same series as long as its bus, message, name, path, unit and scaling are the same, whatever
  chain, group id or DBC version announced it.
- Scale and offset are kept as JSON numbers, so that 1 stays an integer and 0.01 the very same double.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    delete,
    select,
)
from sqlmodel import SQLModel

from backend.store.chains import owned_by_chain
from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, RowId, owned_by_device, storable
from backend.store.upsert import insert
from protocol.dictionary import ColumnDef, RawType
from protocol.facts import Facts, decode_facts, encode_facts
from protocol.fields import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlmodel import Session

    from protocol.dictionary import GroupDef

DICTIONARY_GROUP = Table(
    "dictionary_group",
    SQLModel.metadata,
    Column("chain_ref", RowId, primary_key=True, autoincrement=False),
    Column("gid", Integer, primary_key=True, autoincrement=False),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("seq", BigInteger, nullable=False),  # the batch that announced it
    Column("sha256", LargeBinary(32), nullable=False),
    Column("definition", LargeBinary, nullable=False),  # a `facts` dictionary of this one group
    owned_by_chain(),
)

DEVICE_SIGNAL = Table(
    "device_signal",
    SQLModel.metadata,
    Column("signal_ref", RowId, primary_key=True),
    Column("org_id", String(ORG_ID_CHARS), nullable=False),
    Column("device_id", String(DEVICE_ID_CHARS), nullable=False),
    Column("fingerprint", LargeBinary(32), nullable=False),
    Column("bus", String(256), nullable=False),
    Column("message", String(256), nullable=False),
    Column("signal", String(256), nullable=False),
    Column("path", String(256)),
    Column("unit", String(256)),
    Column("raw_type", SmallInteger, nullable=False),
    Column("bits", SmallInteger, nullable=False),
    Column("scale", String(40), nullable=False),
    Column("offset", String(40), nullable=False),
    owned_by_device(),
    UniqueConstraint("device_id", "fingerprint", name="uq_device_signal_device_id_fingerprint"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSignal:
    """One series of a device."""

    signal_ref: int
    bus: str
    message: str
    column: ColumnDef

    @property
    def full_name(self) -> str:
        """`bus.Message.Signal`."""
        return full_name(self.bus, self.message, self.column.signal)

    @property
    def name(self) -> str:
        """Catalogue path if mapped, else `bus.Message.Signal`."""
        return self.column.path or self.full_name


def full_name(bus: str, message: str, signal: str) -> str:
    """Return a signal's name without the catalogue."""
    return f"{bus}.{message}.{signal}"


def fingerprint(group: GroupDef, column: ColumnDef) -> bytes:
    """Return what makes a signal the same series: SHA-256 over its definition, DBC and branch left out."""
    definition = [
        group.bus,
        group.message,
        column.signal,
        column.path,
        column.unit,
        int(column.raw_type),
        column.bits,
        column.scale,
        column.offset,
    ]
    return hashlib.sha256(json.dumps(definition, ensure_ascii=False).encode()).digest()


def announce_groups(
    session: Session, *, org_id: str, chain_ref: int, seq: int, groups: Iterable[GroupDef]
) -> list[int]:
    """Add a chain's group definitions; return the gids that were announced before with another meaning."""
    offered = {group.gid: encode_facts(Facts(dictionary=(group,), events=(), health={})) for group in groups}
    if not offered:
        return []
    connection = session.connection()
    known = {
        row.gid: bytes(row.sha256)
        for row in connection.execute(
            select(DICTIONARY_GROUP.c.gid, DICTIONARY_GROUP.c.sha256).where(
                DICTIONARY_GROUP.c.chain_ref == chain_ref
            )
        )
    }
    hashes = {gid: hashlib.sha256(definition).digest() for gid, definition in offered.items()}
    new = [
        {
            "chain_ref": chain_ref,
            "gid": gid,
            "org_id": org_id,
            "seq": seq,
            "sha256": hashes[gid],
            "definition": definition,
        }
        for gid, definition in offered.items()
        if gid not in known
    ]
    if new:
        connection.execute(DICTIONARY_GROUP.insert(), new)
    return sorted(gid for gid, digest in hashes.items() if known.get(gid, digest) != digest)


def load_groups(session: Session, *, chain_refs: Iterable[int]) -> dict[int, dict[int, GroupDef]]:
    """Return {chain_ref: {gid: definition}}."""
    found: dict[int, dict[int, GroupDef]] = {}
    rows = session.connection().execute(
        select(DICTIONARY_GROUP.c.chain_ref, DICTIONARY_GROUP.c.gid, DICTIONARY_GROUP.c.definition).where(
            DICTIONARY_GROUP.c.chain_ref.in_(list(chain_refs))
        )
    )
    for chain_ref, gid, definition in rows:
        found.setdefault(chain_ref, {})[gid] = _definition(bytes(definition))
    return found


@lru_cache(maxsize=16_384)  # of about a kilobyte each; boxes of one make share most of them
def _definition(data: bytes) -> GroupDef:
    return decode_facts(data).dictionary[0]


def announcing_seqs(session: Session, *, chain_ref: int) -> list[int]:
    """Return the numbers of the batches that announced a chain's groups, ascending."""
    rows = session.connection().execute(
        select(DICTIONARY_GROUP.c.seq)
        .where(DICTIONARY_GROUP.c.chain_ref == chain_ref)
        .distinct()
        .order_by(DICTIONARY_GROUP.c.seq)
    )
    return [row.seq for row in rows]


def register_signals(
    session: Session, *, org_id: str, device_id: str, groups: Iterable[GroupDef]
) -> Mapping[bytes, int]:
    """Return {fingerprint: signal_ref} of all signals of the groups, adding those that are new."""
    offered = {fingerprint(group, column): (group, column) for group in groups for column in group.columns}
    connection = session.connection()
    known = signal_refs(session, device_id=device_id)
    new = [
        {
            "org_id": org_id,
            "device_id": device_id,
            "fingerprint": print_,
            "bus": storable(group.bus),
            "message": storable(group.message),
            "signal": storable(column.signal),
            "path": None if column.path is None else storable(column.path),
            "unit": None if column.unit is None else storable(column.unit),
            "raw_type": int(column.raw_type),
            "bits": column.bits,
            "scale": json.dumps(column.scale),
            "offset": json.dumps(column.offset),
        }
        for print_, (group, column) in offered.items()
        if print_ not in known
    ]
    if new:
        statement = insert(session, DEVICE_SIGNAL).on_conflict_do_nothing(
            index_elements=["device_id", "fingerprint"]
        )
        connection.execute(statement, new)
        known = signal_refs(session, device_id=device_id)
    return known


def signal_refs(session: Session, *, device_id: str) -> dict[bytes, int]:
    """Return {fingerprint: signal_ref} of all signals of a device."""
    rows = session.connection().execute(
        select(DEVICE_SIGNAL.c.fingerprint, DEVICE_SIGNAL.c.signal_ref).where(
            DEVICE_SIGNAL.c.device_id == device_id
        )
    )
    return {bytes(row.fingerprint): row.signal_ref for row in rows}


def list_signals(session: Session, *, org_id: str, device_id: str) -> Sequence[DeviceSignal]:
    """Return all signals of one of the organisation's devices, by name."""
    rows = session.connection().execute(
        select(DEVICE_SIGNAL).where(DEVICE_SIGNAL.c.org_id == org_id, DEVICE_SIGNAL.c.device_id == device_id)
    )
    signals = [
        DeviceSignal(
            signal_ref=row.signal_ref,
            bus=row.bus,
            message=row.message,
            column=ColumnDef(
                signal=row.signal,
                path=row.path,
                raw_type=known(RawType, row.raw_type),
                bits=row.bits,
                scale=json.loads(row.scale),
                offset=json.loads(row.offset),
                unit=row.unit,
            ),
        )
        for row in rows
    ]
    return sorted(signals, key=lambda at: (at.name, at.signal_ref))


def forget_dictionaries(session: Session, *, chain_refs: Iterable[int]) -> None:
    """Delete the definitions of some chains, before they are derived anew."""
    session.connection().execute(
        delete(DICTIONARY_GROUP).where(DICTIONARY_GROUP.c.chain_ref.in_(list(chain_refs)))
    )
