"""The evidence file (.tbe): a sealed list of parts, then the parts, so that any change has a name.

Rules: a CBOR sequence (RFC 8742) of the text `tbox-evidence/1`, a byte string with the manifest's COSE_Sign1
(kind `evidence`, by a backend receipt key), and one byte string for each part, in the manifest's order. The
manifest has the size and SHA-256 of every part, so a reader knows where each must stand and what it must be:
one that was altered, removed, moved or added is told by name. Parts are the bytes as they were signed or
received; nothing is encoded again.

This module packs and finds parts. Whether what they say is true is `evidence`'s question.

Example:
    >>> MAGIC[1:], bytes_head(300).hex()
    (b'tbox-evidence/1', '59012c')

Source: `protocol/SPEC-evidence.md`.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from protocol.envelope import Kind, Sign1, Signer, read_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.evidence_manifest import (
    Manifest,
    Part,
    PartRef,
    decode_manifest,
    encode_manifest,
    part_ref,
)
from protocol.limits import (
    EVIDENCE_BYTES_MAX,
    EVIDENCE_MANIFEST_BYTES_MAX,
    EVIDENCE_PARTS_MAX,
)

MAGIC = b"\x6ftbox-evidence/1"  # the CBOR text of 15 bytes
_BYTES_MAJOR = 2 << 5
_LONG_FORMS = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}  # info → octets, least value


class PartState(StrEnum):
    """What became of a part since the file was sealed."""

    INTACT = "intact"
    ALTERED = "altered"
    MISSING = "missing"
    MOVED = "moved"


@dataclass(slots=True, kw_only=True)
class FoundPart:
    """A part of the manifest as it stands in the file; `data` is None unless it is what was sealed."""

    ref: PartRef
    state: PartState
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFile:
    """A file taken apart.

    Attributes:
        sign1: the manifest's message, read but not verified.
        manifest: its content.
        parts: every part of the manifest, in its order.
        strangers: (offset, bytes) of what stands in the file and not in the manifest.
        cut_at: the file's length when it ends too early, else None.
    """

    sign1: Sign1
    manifest: Manifest
    parts: tuple[FoundPart, ...]
    strangers: tuple[tuple[int, int], ...]
    cut_at: int | None


class NotEvidenceError(ValueError):
    """The bytes are no evidence file at all."""


def bytes_head(size: int) -> bytes:
    """Return the CBOR head of a byte string of this size.

    Source: RFC 8949 §3, shortest form.
    """
    for info, (octet_count, least) in reversed(_LONG_FORMS.items()):
        if size >= least:
            return bytes([_BYTES_MAJOR | info]) + size.to_bytes(octet_count, "big")
    return bytes([_BYTES_MAJOR | size])


def write_file(manifest: Manifest, parts: Sequence[Part], signer: Signer) -> bytes:
    """Return the sealed file.

    Args:
        manifest: its `parts` are those of `parts`, by `part_ref`, in the same order.
        parts: at most EVIDENCE_PARTS_MAX.
        signer: a backend receipt key.

    Raises:
        ValueError: larger than a reader accepts.
    """
    assert manifest.parts == tuple(map(part_ref, parts)), "the manifest lists the parts as they are"
    payload = encode_manifest(manifest)
    sealed = sign1(Kind.EVIDENCE, payload, signer)
    data = b"".join(
        [
            MAGIC,
            bytes_head(len(sealed)),
            sealed,
            *(piece for part in parts for piece in (bytes_head(len(part.data)), part.data)),
        ]
    )
    if len(parts) > EVIDENCE_PARTS_MAX or len(data) > EVIDENCE_BYTES_MAX:
        raise ValueError(f"{len(parts)} parts and {len(data)} B are more than one evidence file may hold")
    return data


def read_file(data: bytes) -> EvidenceFile:
    """Take a file apart; nothing is verified but sizes and hashes of parts.

    Args:
        data: the whole file.

    Raises:
        NotEvidenceError: it does not begin as one, or is larger than one may be.
        ProtocolError: it begins as one, and its manifest cannot be read.
    """
    if not data.startswith(MAGIC):
        raise NotEvidenceError("this is not an evidence file of version 1")
    if len(data) > EVIDENCE_BYTES_MAX:
        raise NotEvidenceError(f"{len(data)} B are more than an evidence file may have")
    sealed, offset = _take_bytes(data, len(MAGIC))
    if sealed is None:
        raise ProtocolError(Reject.BAD_ENCODING, "the manifest is cut off, or its length was changed")
    message = read_sign1(sealed, max_bytes=EVIDENCE_MANIFEST_BYTES_MAX)
    manifest = decode_manifest(message.payload)
    reading = _Reading(data, manifest.parts)
    reading.run(offset)
    return EvidenceFile(
        sign1=message,
        manifest=manifest,
        parts=tuple(reading.found),
        strangers=tuple(reading.strangers),
        cut_at=reading.cut_at,
    )


def _take_bytes(data: bytes, offset: int) -> tuple[bytes | None, int]:
    """Return the byte string that stands at an offset and where it ends; None when none does."""
    if offset >= len(data):
        return None, offset
    info = data[offset] - _BYTES_MAJOR
    begin = offset + 1
    if 0 <= info < min(_LONG_FORMS):
        size = info
    elif info in _LONG_FORMS:
        octet_count, least = _LONG_FORMS[info]
        size = int.from_bytes(data[begin : begin + octet_count], "big")
        begin += octet_count
        if size < least:
            return None, offset
    else:
        return None, offset
    end = begin + size
    return (data[begin:end], end) if end <= len(data) else (None, offset)


def _length(ref: PartRef) -> int:
    """Return the bytes a part takes in the file, its CBOR head included."""
    return len(bytes_head(ref.size)) + ref.size


class _Reading:
    """Finds every sealed part in what follows the manifest, whatever was done to it.

    Parts are known by their hashes, wherever they stand. Bytes that are none take the place of the part that
    was expected there when a known one, or the end, follows in the right distance; else they are foreign.
    """

    def __init__(self, data: bytes, refs: Sequence[PartRef]) -> None:
        self._data = data
        self._refs = refs
        self._places: dict[bytes, list[int]] = {}
        for at in range(len(refs) - 1, -1, -1):
            self._places.setdefault(refs[at].digest, []).append(at)
        self.found = [FoundPart(ref=ref, state=PartState.MISSING, data=None) for ref in refs]
        self.strangers: list[tuple[int, int]] = []
        self.cut_at: int | None = None
        self._order: list[int] = []

    def run(self, offset: int) -> None:
        """Read from an offset to the end."""
        expected = 0
        while offset < len(self._data):
            item, end = _take_bytes(self._data, offset)
            at = None if item is None else self._place_of(item)
            if at is not None:
                self.found[at].state, self.found[at].data = PartState.INTACT, item
                self._order.append(at)
                offset, expected = end, at + 1
                continue
            length = _length(self._refs[expected]) if expected < len(self._refs) else 0
            if length and self._is_boundary(offset + length):
                self.found[expected].state = PartState.ALTERED
                offset, expected = offset + length, expected + 1
            elif item is not None:
                self.strangers.append((offset, end - offset))
                offset = end
            else:
                expected, offset = self._skip(expected, offset, length)
        self._mark_moved()

    def _place_of(self, item: bytes) -> int | None:
        """Return which part these bytes are, each part once."""
        places = self._places.get(hashlib.sha256(item).digest())
        return places.pop() if places else None

    def _is_boundary(self, offset: int) -> bool:
        """Whether the file ends here, or a part that is still looked for begins."""
        if offset >= len(self._data):
            return offset == len(self._data)
        item, _ = _take_bytes(self._data, offset)
        return item is not None and bool(self._places.get(hashlib.sha256(item).digest()))

    def _skip(self, expected: int, offset: int, length: int) -> tuple[int, int]:
        """Leave behind what is no byte string: the part expected here, or the rest of the file."""
        rest = len(self._data) - offset
        if not length:
            self.strangers.append((offset, rest))
            return expected, len(self._data)
        if length > rest:
            self.cut_at = len(self._data)
            return expected, len(self._data)
        self.found[expected].state = PartState.ALTERED
        return expected + 1, offset + length

    def _mark_moved(self) -> None:
        """Leave the longest run of parts that are still in order, and call the others moved."""
        tails: list[int] = []
        length_at: list[int] = []
        for at in self._order:
            place = bisect_left(tails, at)
            tails[place : place + 1] = [at]
            length_at.append(place + 1)
        wanted = len(tails)
        for at, length in zip(reversed(self._order), reversed(length_at), strict=True):
            if length == wanted:
                wanted -= 1
            else:
                self.found[at].state = PartState.MOVED
