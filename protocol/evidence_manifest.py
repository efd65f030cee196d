"""The manifest of an evidence file: what the backend seals, and its encoding with integer keys.

Rules: see `evidence_file` for the file around it. The manifest lists every part with its size and SHA-256,
what of each chain belongs to the interval, and every committed section that is not in the file, with the
reason. Unknown kinds and reasons are kept as plain ints.

This module neither signs nor looks at the parts.

Example:
    >>> part_ref(Part(kind=PartKind.KEY, data=b"abc")).size
    3

Source: `protocol/SPEC-evidence.md`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from protocol import codec
from protocol.envelope import Kind
from protocol.errors import ProtocolError
from protocol.fields import integer, known, octets, record, versioned
from protocol.header import ENUM_MAX, HASH_BYTES
from protocol.ids import ID_BYTES, THUMBPRINT_BYTES, ChainId, DeviceId
from protocol.limits import (
    EVIDENCE_BYTES_MAX,
    EVIDENCE_CHAINS_MAX,
    EVIDENCE_MANIFEST_BYTES_MAX,
    EVIDENCE_PARTS_MAX,
    SEQ_MAX,
    TIME_US_MAX,
)

VERSION = 1


class PartKind(IntEnum):
    """What a part is; wire values."""

    KEY = 1  # a COSE_Key of the box
    SUCCESSION = 2  # a backend key hands over to the next
    RECEIPT = 3  # a signed receipt, as of the export
    HEADER = 4  # the COSE_Sign1 of a batch header
    SECTION = 5  # salt16 ‖ data of a section
    QUARANTINED = 6  # a whole batch that the box signed and the backend refused
    MCU_KEY = 7  # a COSE_Key of the box's microcontroller, D1
    ORDER = 8  # an order as it went to the car; chain is its cmd_id
    BASIS = 9  # the bundle that an order rests on; chain is its cmd_id
    AUTHORITY = 10  # a delegation (section 1), a root's snapshot (2), a revocation (3)
    DISPOSITION = 11  # the car's answer; chain is the epoch, seq its number
    LEAF = 12  # [leaf, size, path]; seq is the leaf's index + 1
    OPENING = 13  # salt16 ‖ content of a leaf; seq is the leaf's index + 1
    CHECKPOINT = 14  # a signed note of the log; seq is its size
    CONSISTENCY = 15  # [first size, second size, path]; seq is the first size


class WithheldReason(IntEnum):
    """Why a section that a header commits to is not in the file; wire values."""

    BOX = 1  # the box has not sent it
    ERASED = 2  # its time of retention is over
    CONTEXT = 3  # the batch lies outside the interval and stands here only to prove its edge or dictionary


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part to be written: what it is of, and its bytes. Fields that do not apply are None."""

    kind: PartKind
    chain: ChainId | None = None
    seq: int | None = None
    section: int | None = None
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRef:
    """One part as the manifest lists it; `kind` is a PartKind, or an int this reader does not know."""

    kind: int
    chain: ChainId | None
    seq: int | None
    section: int | None
    size: int
    digest: bytes

    @property
    def _id(self) -> str:
        return "" if self.chain is None else self.chain.hex()

    @property
    def name(self) -> str:
        """Name for people and programs, e.g. `section 2 of batch 7 of chain 0101…`."""
        of = "" if self.chain is None else f" of chain {self.chain.hex()}"
        names = {
            PartKind.KEY: "a key of the box",
            PartKind.SUCCESSION: "a succession of backend keys",
            PartKind.RECEIPT: f"the receipt{of}",
            PartKind.HEADER: f"the header of batch {self.seq}{of}",
            PartKind.SECTION: f"section {self.section} of batch {self.seq}{of}",
            PartKind.QUARANTINED: f"the refused batch {self.seq}{of}",
            PartKind.MCU_KEY: "a key of the box's microcontroller",
            PartKind.ORDER: f"the order {self._id}",
            PartKind.BASIS: f"the basis of the order {self._id}",
            PartKind.AUTHORITY: "a document of authority",
            PartKind.DISPOSITION: f"disposition {self.seq} of epoch {self._id}",
            PartKind.LEAF: f"the proof of leaf {(self.seq or 1) - 1} of the log",
            PartKind.OPENING: f"the content of leaf {(self.seq or 1) - 1} of the log",
            PartKind.CHECKPOINT: f"the log's checkpoint of {self.seq} leaves",
            PartKind.CONSISTENCY: f"the proof that the log grew from {self.seq} leaves",
        }
        return next(
            (name for kind, name in names.items() if kind == self.kind), f"a part of kind {self.kind}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A committed section that is not in the file, and why; reason is a WithheldReason or an unknown int."""

    chain: ChainId
    seq: int
    section: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainClaim:
    """Which batches of a chain the file is about, and up to where the backend has the chain.

    Attributes:
        chain: which chain.
        first: lowest seq that belongs to the interval.
        last: highest seq that belongs to it.
        highest: highest seq of the chain that the backend has.
    """

    chain: ChainId
    first: int
    last: int
    highest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the backend seals.

    Attributes:
        device: whose evidence.
        from_us: asked interval, UTC µs, included.
        to_us: excluded.
        sealed_us: when the file was made, UTC µs at the backend.
        purpose: why it was exported, as logged.
        chains: what of each chain belongs to the interval.
        withheld: committed sections that are not here.
        parts: every part, in the order of the file.
        dispositions: what of each epoch's dispositions is here; the id is the epoch.
        version: of this form; 1.
    """

    device: DeviceId
    from_us: int
    to_us: int
    sealed_us: int
    purpose: str
    chains: tuple[ChainClaim, ...]
    withheld: tuple[Withheld, ...]
    parts: tuple[PartRef, ...]
    dispositions: tuple[ChainClaim, ...] = ()
    version: int = VERSION


def part_ref(part: Part) -> PartRef:
    """Return what the manifest says about a part."""
    return PartRef(
        kind=part.kind,
        chain=part.chain,
        seq=part.seq,
        section=part.section,
        size=len(part.data),
        digest=hashlib.sha256(part.data).digest(),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the deterministic encoding of a manifest.

    Raises:
        ValueError: a field is out of its range, so no reader would accept it.
    """
    data = codec.encode(
        {
            1: manifest.version,
            2: bytes.fromhex(manifest.device),
            3: [manifest.from_us, manifest.to_us],
            4: manifest.sealed_us,
            5: manifest.purpose,
            6: _claims(manifest.chains),
            7: [[item.chain, item.seq, item.section, item.reason] for item in manifest.withheld],
            8: [
                [part.kind, part.chain, part.seq, part.section, part.size, part.digest]
                for part in manifest.parts
            ],
            **({9: _claims(manifest.dispositions)} if manifest.dispositions else {}),
        }
    )
    try:
        assert decode_manifest(data) == manifest, "a manifest reads back as it was written"
    except ProtocolError as error:
        raise ValueError(f"no reader would accept this manifest: {error}") from error
    return data


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        ProtocolError: by the codec; UNSUPPORTED_VERSION; BAD_FIELD.
    """
    fields = versioned(data, Kind.EVIDENCE, version=VERSION, max_bytes=EVIDENCE_MANIFEST_BYTES_MAX)
    begin, end = fields.record(3, size=2)
    return Manifest(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        from_us=integer(begin, "evidence[3] from", least=-TIME_US_MAX, most=TIME_US_MAX),
        to_us=integer(end, "evidence[3] to", least=-TIME_US_MAX, most=TIME_US_MAX),
        sealed_us=fields.integer(4, least=0, most=TIME_US_MAX),
        purpose=fields.text(5),
        chains=tuple(_claim(item) for item in fields.array(6, most=EVIDENCE_CHAINS_MAX)),
        withheld=tuple(_withheld(item) for item in fields.array(7, most=EVIDENCE_PARTS_MAX)),
        parts=tuple(_part(item) for item in fields.array(8, most=EVIDENCE_PARTS_MAX)),
        dispositions=tuple(_claim(item) for item in fields.array(9, most=EVIDENCE_CHAINS_MAX))
        if fields.has(9)
        else (),
    )


def _claims(claims: Iterable[ChainClaim]) -> list[list[object]]:
    return [[claim.chain, claim.first, claim.last, claim.highest] for claim in claims]


def _claim(value: object) -> ChainClaim:
    chain, first, last, highest = record(value, "evidence[6]", size=4)
    low = integer(first, "evidence[6] first", least=1, most=SEQ_MAX)
    return ChainClaim(
        chain=ChainId(octets(chain, "evidence[6] chain", size=ID_BYTES)),
        first=low,
        last=integer(last, "evidence[6] last", least=low, most=SEQ_MAX),
        highest=integer(highest, "evidence[6] highest", least=1, most=SEQ_MAX),
    )


def _withheld(value: object) -> Withheld:
    chain, seq, section, reason = record(value, "evidence[7]", size=4)
    return Withheld(
        chain=ChainId(octets(chain, "evidence[7] chain", size=ID_BYTES)),
        seq=integer(seq, "evidence[7] seq", least=1, most=SEQ_MAX),
        section=integer(section, "evidence[7] section", least=1, most=ENUM_MAX),
        reason=known(WithheldReason, integer(reason, "evidence[7] reason", least=1, most=ENUM_MAX)),
    )


def _part(value: object) -> PartRef:
    kind, chain, seq, section, size, digest = record(value, "evidence[8]", size=6)
    return PartRef(
        kind=known(PartKind, integer(kind, "evidence[8] kind", least=1, most=ENUM_MAX)),
        chain=None if chain is None else ChainId(octets(chain, "evidence[8] chain", size=ID_BYTES)),
        seq=None if seq is None else integer(seq, "evidence[8] seq", least=1, most=SEQ_MAX),
        section=None if section is None else integer(section, "evidence[8] id", least=1, most=ENUM_MAX),
        size=integer(size, "evidence[8] size", least=0, most=EVIDENCE_BYTES_MAX),
        digest=octets(digest, "evidence[8] digest", size=HASH_BYTES),
    )
