"""A box that signs batches, and a backend's database that knows it: what the ingest tests stand on.

Example:
    box = Box(seed=1)
    chain = box.chain()
    first, second = chain.next(), chain.next(speeds=[10, 20])
    with Backend(tmp_path, boxes=[box]) as backend:
        backend.take(first, second)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from backend.store.database import open_database
from backend.store.devices import Device, DeviceKey
from backend.store.migrate import upgrade
from backend.store.organisations import Organisation
from backend.usecases.ingest import Inbound, Taken, ingest
from backend.usecases.project import project
from protocol.batch import (
    BatchHeader,
    Counts,
    Origin,
    OriginKind,
    Section,
    assemble,
    encode_header,
    head_hash,
    salted,
    section_ref,
)
from protocol.clock import ClockClass
from protocol.dictionary import ColumnDef, GroupDef, RawType
from protocol.envelope import Kind, SoftwareSigner, sign1
from protocol.facts import Facts, encode_facts
from protocol.fixes import Fix, Precision, encode_fixes
from protocol.ids import BootId, ChainId, cose_key_bytes, device_id
from protocol.receipts import Receipt, open_receipt
from protocol.signals import GroupRows, encode_signals
from protocol.topics import Up, up_topic
from tests.builders.databases import database_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from backend.store.database import Database
    from protocol.envelope import Signer
    from tests.builders import backend as backend_builders

START_US = 1_795_500_000_000_000
"""UTC of mono 0 in these tests: 2026-11-24T06:00:00Z."""

ORG = "0f" * 16
OTHER_ORG = "1e" * 16

SPEED = ColumnDef(
    signal="Speed",
    path="Vehicle.Speed",
    raw_type=RawType.UINT,
    bits=16,
    scale=0.01,
    offset=0,
    unit="km/h",
)
GEAR = ColumnDef(signal="Gear", path=None, raw_type=RawType.INT, bits=8, scale=1, offset=0, unit=None)
RPM = ColumnDef(signal="Rpm", path=None, raw_type=RawType.UINT, bits=16, scale=0.25, offset=0, unit="1/min")
WHEELS = GroupDef(
    gid=1, bus="pt", can_id=0x123, message="WHEELS", branch=None, dbc_hash=bytes(32), columns=(SPEED, GEAR)
)
ENGINE = GroupDef(
    gid=2, bus="pt", can_id=0x200, message="ENGINE", branch=None, dbc_hash=bytes(32), columns=(RPM,)
)
DICTIONARY = (WHEELS, ENGINE)


@dataclass(frozen=True, kw_only=True)
class MadeBatch:
    """One signed batch, and what it was made of."""

    header: BatchHeader
    sign1: bytes
    sections: Mapping[int, bytes]

    @property
    def payload(self) -> bytes:
        return assemble(self.sign1, self.sections)

    @property
    def hash(self) -> bytes:
        return head_hash(self.sign1)

    def without(self, *sections: int) -> MadeBatch:
        """The same batch with sections withheld."""
        kept = {section: body for section, body in self.sections.items() if section not in sections}
        return replace(self, sections=kept)


class Box:
    """A box with a key that its seed decides."""

    def __init__(self, seed: int = 1) -> None:
        self.signer = SoftwareSigner(ec.derive_private_key(seed + 1000, ec.SECP256R1()))
        self.device = device_id(self.signer.public_key)
        self.cose_key = cose_key_bytes(self.signer.public_key)

    def chain(self, seed: int = 1, **changes: Any) -> Chain:
        """A new chain; `origin` and `boot` may be given."""
        return Chain(box=self, chain=ChainId(bytes([seed]) * 16), **changes)


@dataclass(kw_only=True)
class Chain:
    """Writes batches one after the other, ten seconds each."""

    box: Box
    chain: ChainId
    boot: BootId = field(default=BootId(b"\xb0" * 16))
    origin: Origin = field(default=Origin(kind=OriginKind.FIRST, last_head=None))
    seq: int = 0
    prev: bytes | None = None
    mono_us: int = 0
    utc_at_mono_0_us: int | None = START_US
    signer: Signer | None = None

    def next(
        self,
        *,
        speeds: Sequence[int] = (1000, 1010, 1020),
        gears: Sequence[int] | None = None,
        dictionary: Sequence[GroupDef] | None = None,
        groups: Sequence[GroupRows] | None = None,
        fixes: Sequence[Fix] = (),
        precision: Precision = Precision.EXACT,
        length_us: int = 10_000_000,
        **changes: Any,
    ) -> MadeBatch:
        """Return the next batch of the chain; `changes` replace fields of its header before it is signed."""
        self.seq += 1
        start_us = self.mono_us
        step_us = length_us // max(len(speeds), 1)
        t_us = np.arange(len(speeds), dtype=np.int64) * step_us + start_us
        raw = np.array([list(speeds), list(gears or [1] * len(speeds))], dtype=np.int64)
        rows = [GroupRows(gid=1, t_us=t_us, raw=raw)] if groups is None else list(groups)
        told = DICTIONARY if dictionary is None and self.seq == 1 else tuple(dictionary or ())
        data = {
            int(Section.FACTS): encode_facts(Facts(dictionary=told)),
            int(Section.SIGNALS): encode_signals(rows),
        }
        if fixes:
            data[int(Section.FIXES)] = encode_fixes(fixes, precision)
        sections = {section: salted(body, self._salt(section)) for section, body in data.items()}
        utc_us = self.utc_at_mono_0_us
        header = BatchHeader(
            device=self.box.device,
            chain=self.chain,
            seq=self.seq,
            prev=self.prev,
            boot=self.boot,
            mono_start_us=start_us,
            mono_end_us=start_us + length_us,
            utc_start_us=None if utc_us is None else utc_us + start_us,
            utc_end_us=None if utc_us is None else utc_us + start_us + length_us,
            clock=ClockClass.NONE if utc_us is None else ClockClass.GNSS,
            clock_error_us=None if utc_us is None else 1_000,
            counts=Counts(rows=len(speeds), samples=2 * len(speeds), fixes=len(fixes)),
            gaps=(),
            losses=(),
            drops={},
            policy=None,
            profile=None,
            order_head=None,
            disposition_head=None,
            checkpoint=None,
            sections={section: section_ref(body) for section, body in sections.items()},
            origin=self.origin if self.seq == 1 else None,
        )
        header = replace(header, **changes)
        signed = sign1(Kind.BATCH, encode_header(header), self.signer or self.box.signer)
        self.prev = head_hash(signed)
        self.mono_us = start_us + length_us
        return MadeBatch(header=header, sign1=signed, sections=sections)

    def many(self, count: int, **changes: Any) -> list[MadeBatch]:
        """Return the next `count` batches."""
        return [self.next(**changes) for _ in range(count)]

    def twin(self) -> Chain:
        """A copy that goes its own way from here: an old image of the box's storage."""
        return replace(self)

    def _salt(self, section: int) -> bytes:
        return hashlib.sha256(self.chain + self.seq.to_bytes(8, "big") + bytes([section])).digest()[:16]


def migrate_at(url: str) -> None:
    """Make all tables."""
    database = open_database(url)
    upgrade(database)
    database.close()


class Backend:
    """A migrated database that knows some boxes, and the receipt key."""

    def __init__(
        self,
        folder: Path,
        *,
        boxes: Sequence[Box] = (),
        foreign_boxes: Sequence[Box] = (),
        now_us: int = START_US,
    ) -> None:
        self.database: Database = open_database(database_url(folder, template="migrated", make=migrate_at))
        self.signer = SoftwareSigner(ec.derive_private_key(7, ec.SECP256R1()))
        self.org_id = ORG
        self.now_us = now_us
        with self.database.writing() as session, session.begin():
            for org_id, name in ((ORG, "Example Leasing"), (OTHER_ORG, "Another Bank")):
                session.add(Organisation(org_id=org_id, name=name, created_us=0))
        for org_id, owned in ((ORG, boxes), (OTHER_ORG, foreign_boxes)):
            for box in owned:
                self.register(box, org_id=org_id)

    @classmethod
    def at_home(cls, home: backend_builders.Backend, *, boxes: Sequence[Box] = ()) -> Self:
        """The same over a home that is set up, with its receipt key and organisation: for API tests."""
        made = cls.__new__(cls)
        made.database = open_database(home.settings.database_url)
        made.signer = home.identity.receipt_signer
        made.org_id = home.org_id
        made.now_us = START_US
        for box in boxes:
            made.register(box)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def register(self, box: Box, *, org_id: str | None = None) -> None:
        """Enrol a box."""
        org_id = org_id or self.org_id
        with self.database.writing() as session, session.begin():
            session.add(Device(device_id=box.device, org_id=org_id, status="enrolled", created_us=0))
            session.flush()
            self._add_key(session, box.device, box, org_id=org_id)

    def add_key(
        self, device: str, box: Box, *, valid_from_us: int = 0, valid_to_us: int | None = None
    ) -> None:
        """Give a device another key, that of `box`."""
        with self.database.writing() as session, session.begin():
            self._add_key(
                session,
                device,
                box,
                org_id=self.org_id,
                valid_from_us=valid_from_us,
                valid_to_us=valid_to_us,
            )

    def _add_key(
        self,
        session: Any,
        device: str,
        box: Box,
        *,
        org_id: str,
        valid_from_us: int = 0,
        valid_to_us: int | None = None,
    ) -> None:
        session.add(
            DeviceKey(
                kid=box.signer.kid.hex(),
                org_id=org_id,
                device_id=device,
                role="d2",
                cose_key=box.cose_key,
                valid_from_us=valid_from_us,
                valid_to_us=valid_to_us,
            )
        )

    def take(self, *batches: MadeBatch | bytes, device: str | None = None) -> Taken:
        """Take in batches as one group."""
        messages = [
            Inbound(
                topic=up_topic(device or batch.header.device, Up.BATCH)
                if isinstance(batch, MadeBatch)
                else up_topic(device or "", Up.BATCH),
                payload=batch.payload if isinstance(batch, MadeBatch) else batch,
            )
            for batch in batches
        ]
        return self.take_messages(*messages)

    def take_messages(self, *messages: Inbound) -> Taken:
        """Take in messages as one group, a second after the last."""
        self.now_us += 1_000_000
        return ingest(self.database, messages, signer=self.signer, now_us=self.now_us)

    def project(self) -> None:
        """Bring the derived tables up to date."""
        while project(self.database, now_us=self.now_us):
            pass

    def receipts(self, taken: Taken) -> list[Receipt]:
        """Return the verified receipts among the answers."""
        keys = {self.signer.kid: self.signer.public_key}
        return [open_receipt(answer.payload, keys.get) for answer in taken.answers]
