"""A batch on the wire: a signed header and the sections it commits to, each of which may be missing.

Rules: a batch is the CBOR array [bstr(tagged COSE_Sign1 of the header), {section id: bstr(salt16 ‖ data)}].
The Sign1 travels inside a byte string so that the very bytes signed are spooled, sent, stored and hashed. Its
SHA-256 is the batch's *head hash*: the `prev` of the next batch. A committed section that is absent reads
WITHHELD and the chain still verifies; one that does not fit its commitment, or that nobody committed to, is
transit damage.

A `ProtocolError` of `open_batch` says by `code.is_transit_damage` whether sending again may heal it.
`SignedRefusalError` is
different: the signature is good and the content is not, so the sender will never do better and a receipt says
so.

This module does not know chains: whether `prev` fits and what a conflict means is the backend's.

Example:
    >>> salted(b"data", bytes(16))[16:]
    b'data'
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from protocol import codec
from protocol.envelope import KeyLookup, Kind, Sign1, open_sign1
from protocol.errors import ProtocolError, Reject
from protocol.header import (
    FRAME_DROPS,
    BatchHeader,
    ChainHead,
    Checkpoint,
    Counts,
    DropCause,
    EndedLoss,
    Gap,
    GapCause,
    Loss,
    LossCause,
    Origin,
    OriginKind,
    Section,
    SectionRef,
)
from protocol.header_codec import decode_header, encode_header
from protocol.ids import ID_BYTES, THUMBPRINT_BYTES, ChainId, DeviceId
from protocol.limits import HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, SALT_BYTES, SECTIONS_MAX, SEQ_MAX

__all__ = [
    "FRAME_DROPS",
    "BatchHeader",
    "ChainHead",
    "Checkpoint",
    "Counts",
    "DropCause",
    "EndedLoss",
    "Gap",
    "GapCause",
    "Loss",
    "LossCause",
    "OpenedBatch",
    "Origin",
    "OriginKind",
    "Section",
    "SectionRef",
    "SectionState",
    "SignedRefusalError",
    "assemble",
    "decode_header",
    "disassemble",
    "encode_header",
    "head_hash",
    "open_batch",
    "salted",
    "section_ref",
]

_WIRE_DEPTH = 2


class SectionState(StrEnum):
    """What became of a section the header commits to."""

    PRESENT = "present"
    WITHHELD = "withheld"


class SignedRefusalError(ProtocolError):
    """A batch with a good signature that this reader refuses; sending it again cannot help.

    Attributes:
        sign1: the verified message.
        device: the device the header names, or None when even that cannot be read.
        chain: its chain, or None.
        seq: its seq, or None; a receipt can name the batch exactly when all three are known.
    """

    def __init__(self, cause: ProtocolError, sign1: Sign1) -> None:
        super().__init__(cause.code, cause.detail)
        self.sign1 = sign1
        self.device, self.chain, self.seq = signed_place(sign1.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedBatch:
    """A batch whose header is verified and whose present sections fit it.

    Attributes:
        header: what was signed.
        sign1: the signed message, bytes included.
        head_hash: SHA-256 of the Sign1, 32 bytes: what the next batch calls `prev`.
        sections: the sections present, salt included, as received.
        states: every section the header commits to.
    """

    header: BatchHeader
    sign1: Sign1
    head_hash: bytes
    sections: Mapping[int, bytes]
    states: Mapping[int, SectionState]

    def data(self, section: int) -> bytes | None:
        """Return a section's data without its salt, or None when it is withheld or was never there."""
        stored = self.sections.get(section)
        return None if stored is None else stored[SALT_BYTES:]


def salted(data: bytes, salt16: bytes) -> bytes:
    """Return a section as it travels: 16 bytes of salt, then the data."""
    if len(salt16) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt16)}")
    return salt16 + data


def section_ref(section_bytes: bytes) -> SectionRef:
    """Return the commitment to a section, salt included."""
    return SectionRef(digest=hashlib.sha256(section_bytes).digest(), size=len(section_bytes))


def head_hash(header_sign1: bytes) -> bytes:
    """Return the SHA-256 of a header's Sign1: the batch's hash in chains, receipts and evidence."""
    return hashlib.sha256(header_sign1).digest()


def assemble(header_sign1: bytes, sections: Mapping[int, bytes]) -> bytes:
    """Return a batch as it travels.

    Args:
        header_sign1: the tagged COSE_Sign1 of the header.
        sections: salted sections by id; leave one out to withhold it.

    Raises:
        ValueError: the batch would exceed PAYLOAD_BYTES_MAX.
    """
    data = codec.encode([header_sign1, sections])
    if len(data) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"batch of {len(data)} B, at most {PAYLOAD_BYTES_MAX} B")
    return data


def disassemble(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Split a batch into the header's Sign1 and its sections, verifying nothing.

    Raises:
        ProtocolError: TOO_LARGE, TOO_DEEP or BAD_ENCODING.
    """
    match codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX, max_depth=_WIRE_DEPTH):
        case [bytes() as header_sign1, dict() as sections] if len(sections) <= SECTIONS_MAX:
            pass
        case _:
            raise ProtocolError(Reject.BAD_ENCODING, "a batch is [header, {section id: bytes}]")
    if not all(isinstance(key, int) and isinstance(part, bytes) for key, part in sections.items()):
        raise ProtocolError(Reject.BAD_ENCODING, "a batch is [header, {section id: bytes}]")
    return header_sign1, sections


def open_batch(data: bytes, keys: KeyLookup, *, device: DeviceId | None) -> OpenedBatch:
    """Read, verify and check a batch in itself.

    Args:
        data: the batch as received.
        keys: gives the keys that may sign batches (of that device, if the caller knows it).
        device: whom topic or question named; None accepts any.

    Raises:
        SignedRefusalError: signed well, but of an unknown version, or with a field that cannot be.
        ProtocolError: all else: TOO_LARGE, TOO_DEEP, BAD_ENCODING, BAD_ENVELOPE, BAD_ALG, UNKNOWN_KEY,
            BAD_SIG, HIGH_S; WRONG_DEVICE when the header names another device than `device`; SECTION_HASH.
    """
    header_sign1, sections = disassemble(data)
    sign1 = open_sign1(header_sign1, Kind.BATCH, keys, max_bytes=HEADER_BYTES_MAX)
    try:
        header = decode_header(sign1.payload)
    except ProtocolError as error:
        raise SignedRefusalError(error, sign1) from error
    if device is not None and header.device != device:
        raise ProtocolError(Reject.WRONG_DEVICE, f"a batch of {header.device} where {device} was expected")
    _check_sections(header, sections)
    return OpenedBatch(
        header=header,
        sign1=sign1,
        head_hash=head_hash(header_sign1),
        sections=sections,
        states={
            section: SectionState.PRESENT if section in sections else SectionState.WITHHELD
            for section in header.sections
        },
    )


def _check_sections(header: BatchHeader, sections: Mapping[int, bytes]) -> None:
    for section, stored in sections.items():
        if header.sections.get(section) != section_ref(stored):
            raise ProtocolError(
                Reject.SECTION_HASH, f"section {section} is not what seq {header.seq} commits to"
            )


def signed_place(payload: bytes) -> tuple[DeviceId | None, ChainId | None, int | None]:
    """Return device, chain and seq of a header of any version, as far as they can be read."""
    try:
        members = codec.decode(payload, max_bytes=HEADER_BYTES_MAX)
    except ProtocolError:
        return None, None, None
    if not isinstance(members, dict):
        return None, None, None
    device, chain, seq = members.get(2), members.get(3), members.get(4)
    return (
        DeviceId(device.hex()) if isinstance(device, bytes) and len(device) == THUMBPRINT_BYTES else None,
        ChainId(chain) if isinstance(chain, bytes) and len(chain) == ID_BYTES else None,
        seq if type(seq) is int and 1 <= seq <= SEQ_MAX else None,
    )
