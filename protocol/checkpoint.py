"""Checkpoints: what the log signs about itself, and what witnesses sign beside it, as C2SP writes them.

Rules: a checkpoint is a signed note whose text is origin, size and root, one line each. The log signs the
text (Ed25519, note type 1); a witness signs the same text below `cosignature/v1` and a time (type 4), which
says: at this time this was the largest tree of this log that I had seen, and it begins with all I had seen.
A signature counts when name and key id are those of a key that the reader brought; others are ignored. One
that is a known key's and does not hold makes the whole note false. A witness is a name of its own: it is
neither the log's name nor its key.

The request that a log sends to a witness, and its two answers, are here too. This module does not know which
keys are trusted and keeps no state: see `backend.witness` and `evidence_orders`.

Example:
    >>> from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    >>> log = NoteSigner.of_log("log.example/tbox", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    >>> note = sign_checkpoint(Checkpoint(origin="log.example/tbox", size=0, root=EMPTY_ROOT), log)
    >>> open_checkpoint(note, log.key).checkpoint.size
    0

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-witness; RFC 8032 (Ed25519).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.limits import (
    CHECKPOINT_BYTES_MAX,
    CONSISTENCY_HASHES_MAX,
    LOG_ORIGIN_BYTES_MAX,
    NOTE_SIGNATURES_MAX,
)
from protocol.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX

__all__ = [
    "EMPTY_ROOT",
    "AddCheckpoint",
    "Checkpoint",
    "Cosignature",
    "NoteError",
    "NoteKey",
    "NoteSigner",
    "OpenedCheckpoint",
    "add_signatures",
    "cosign",
    "decode_add_checkpoint",
    "encode_add_checkpoint",
    "open_checkpoint",
    "read_checkpoint",
    "sign_checkpoint",
]

LOG_KEY: Final = 0x01
"""Note type of a log's own signature: Ed25519 over the text."""

WITNESS_KEY: Final = 0x04
"""Note type of a witness: Ed25519 over `cosignature/v1`, a time and the text."""

_ED25519_BYTES = 32
_SIGNATURE_BYTES = 64
_TIME_BYTES = 8
_TIME_S_MAX = (1 << 63) - 1
_DASH = "— "
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_NAMED_SIGNATURE = 2  # words of a signature line after the dash
_CHECKPOINT_LINES = 3


class NoteError(ValueError):
    """A note, a request or a key is not of its form, or a signature of a known key does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A public key as notes name it.

    Attributes:
        name: of the log (its origin) or of the witness; a URL without schema by custom.
        kind: LOG_KEY or WITNESS_KEY.
        public: the Ed25519 key, 32 bytes.
    """

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name.encode()) > LOG_ORIGIN_BYTES_MAX:
            raise NoteError("the name of a key has no spaces, no plus and at most 256 bytes")
        if self.kind not in (LOG_KEY, WITNESS_KEY) or len(self.public) != _ED25519_BYTES:
            raise NoteError("a key is an Ed25519 key of a log (type 1) or of a witness (type 4)")

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that stand before a signature."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(named).digest()[:4]

    def to_text(self) -> str:
        """Return the key as text, `name+id in hex+base64 of type and key`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.kind]) + self.public)}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a key's text.

        Raises:
            NoteError: not one, or the id is not that of the key.
        """
        try:
            name, key_id, material = text.split("+", 2)
        except ValueError:
            raise NoteError("a key is written name+id+base64") from None
        raw = _from_base64(material)
        if not raw:
            raise NoteError("a key is written name+id+base64")
        key = cls(name=name, kind=raw[0], public=raw[1:])
        if key.key_id.hex() != key_id:
            raise NoteError(f"the id of the key {name} is {key.key_id.hex()}, not {key_id}")
        return key

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Return whether a signature holds."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSigner:
    """A private key with its name."""

    key: NoteKey
    private: Ed25519PrivateKey

    @classmethod
    def of_log(cls, origin: str, private: Ed25519PrivateKey) -> Self:
        """Return the signer of a log: its key's name is the log's origin."""
        return cls(key=NoteKey(name=origin, kind=LOG_KEY, public=_raw(private)), private=private)

    @classmethod
    def of_witness(cls, name: str, private: Ed25519PrivateKey) -> Self:
        """Return the signer of a witness."""
        return cls(key=NoteKey(name=name, kind=WITNESS_KEY, public=_raw(private)), private=private)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a log: which, how long, and the root over all its leaves."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> bytes:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """A witness that saw a checkpoint, and when, POSIX seconds by its clock."""

    witness: str
    at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCheckpoint:
    """A checkpoint whose log signature holds, with the cosignatures of known witnesses that hold."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    text: bytes
    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes, bytes], ...]
    """Name, key id and what follows it, of each line."""


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> bytes:
    """Return the note of a checkpoint, signed by its log."""
    assert signer.key.kind == LOG_KEY, "a log signs as a log"
    assert signer.key.name == checkpoint.origin, "a log's key is named as its origin"
    text = checkpoint.text
    note = text + b"\n" + _line(signer.key, signer.private.sign(text))
    assert read_checkpoint(note) == checkpoint, "a checkpoint reads back as it was written"
    return note


def cosign(note: bytes, signer: NoteSigner, *, at_s: int) -> bytes:
    """Return a witness's signature line for a checkpoint it has verified.

    Args:
        note: the checkpoint with the log's signature.
        signer: of the witness.
        at_s: POSIX seconds.

    Raises:
        NoteError: the note is none.
    """
    assert signer.key.kind == WITNESS_KEY, "a witness signs as a witness"
    assert 0 <= at_s <= _TIME_S_MAX, "POSIX seconds"
    signature = signer.private.sign(_cosigned(_read(note).text, at_s))
    return _line(signer.key, at_s.to_bytes(_TIME_BYTES, "big") + signature)


def add_signatures(note: bytes, lines: Sequence[bytes]) -> bytes:
    """Return a note with further signature lines, each once, in the order given.

    Raises:
        NoteError: the result is no note.
    """
    kept = note
    for line in lines:
        if line not in kept.split(b"\n\n")[-1].splitlines(keepends=True):
            kept += line
    _read(kept)
    return kept


def read_checkpoint(note: bytes) -> Checkpoint:
    """Read a checkpoint without believing it.

    Raises:
        NoteError: not one.
    """
    return _read(note).checkpoint


def signers(note: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return name and key id under each signature of a note, without believing any.

    Raises:
        NoteError: not a note of a checkpoint.
    """
    return tuple((name, key_id) for name, key_id, _ in _read(note).signatures)


def open_checkpoint(note: bytes, log: NoteKey, witnesses: Collection[NoteKey] = ()) -> OpenedCheckpoint:
    """Read and verify a checkpoint.

    Args:
        note: as it came.
        log: the key that must have signed; its name must be the origin.
        witnesses: keys whose cosignatures count.

    Raises:
        NoteError: not a checkpoint; another log; not signed by the log; a signature that names a known key
            does not hold.
    """
    assert log.kind == LOG_KEY, "a log's key"
    found = _read(note)
    if found.checkpoint.origin != log.name:
        raise NoteError(f"a checkpoint of another log, {found.checkpoint.origin!r}")
    is_signed = False
    times: dict[str, int] = {}
    known = {(key.name, key.key_id): key for key in (*witnesses, log)}
    for name, key_id, body in found.signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        if key.kind == LOG_KEY:
            if not key.verify(found.text, body):
                raise NoteError("the log's signature does not hold")
            is_signed = True
            continue
        at_s = int.from_bytes(body[:_TIME_BYTES], "big")
        if len(body) != _TIME_BYTES + _SIGNATURE_BYTES or at_s > _TIME_S_MAX:
            raise NoteError(f"the cosignature of {name} has another form")
        if not key.verify(_cosigned(found.text, at_s), body[_TIME_BYTES:]):
            raise NoteError(f"the cosignature of {name} does not hold")
        times[name] = max(at_s, times.get(name, 0))
    if not is_signed:
        raise NoteError(f"not signed by the log's key {log.key_id.hex()}")
    seen = tuple(Cosignature(witness=name, at_s=times[name]) for name in sorted(times))
    return OpenedCheckpoint(checkpoint=found.checkpoint, cosignatures=seen)


# --- What a log asks a witness ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """A request to a witness: the size it knew, the proof from there, and the new checkpoint's note."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes


def encode_add_checkpoint(request: AddCheckpoint) -> bytes:
    """Return the body of `POST …/add-checkpoint`."""
    lines = [f"old {request.old_size}", *(_base64(hash_) for hash_ in request.proof), "", ""]
    body = "\n".join(lines).encode() + request.note
    assert decode_add_checkpoint(body) == request, "a request reads back as it was written"
    return body


def decode_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Read the body of `POST …/add-checkpoint`.

    Raises:
        NoteError: not one.
    """
    head, separator, note = body.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteError("what stands before the checkpoint is not ASCII") from None
    word, _, number = lines[0].partition(" ")
    if not separator or word != "old" or not _NUMBER.fullmatch(number):
        raise NoteError("a request begins with `old` and a size")
    if len(lines) - 1 > CONSISTENCY_HASHES_MAX:
        raise NoteError(f"more than {CONSISTENCY_HASHES_MAX} hashes")
    proof = tuple(_from_base64(line) for line in lines[1:])
    if any(len(hash_) != HASH_BYTES for hash_ in proof):
        raise NoteError("a hash of a proof has 32 bytes")
    read_checkpoint(note)
    return AddCheckpoint(old_size=int(number), proof=proof, note=note)


# --- Notes --------------------------------------------------------------------------------------------------


def _read(note: bytes) -> _Note:
    """Read a note strictly; its text must be a checkpoint's."""
    if len(note) > CHECKPOINT_BYTES_MAX:
        raise NoteError(f"a note above {CHECKPOINT_BYTES_MAX} bytes")
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteError("a note is UTF-8") from None
    if any(character < " " and character != "\n" for character in whole):
        raise NoteError("control characters in a note")
    above, separator, below = whole.rpartition("\n\n")
    if not separator or not below.endswith("\n"):
        raise NoteError("a note is a text, an empty line and lines of signatures")
    lines = below[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise NoteError(f"more than {NOTE_SIGNATURES_MAX} signatures")
    text = above + "\n"
    return _Note(
        text=text.encode(),
        checkpoint=_checkpoint(text),
        signatures=tuple(_signature(line) for line in lines),
    )


def _checkpoint(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) < _CHECKPOINT_LINES or not all(lines):
        raise NoteError("a checkpoint has origin, size and root, one line each")
    origin, number, encoded = lines[:_CHECKPOINT_LINES]
    if len(origin.encode()) > LOG_ORIGIN_BYTES_MAX:
        raise NoteError("an origin has at most 256 bytes")
    root = _from_base64(encoded)
    if not _NUMBER.fullmatch(number) or int(number) > SIZE_MAX or len(root) != HASH_BYTES:
        raise NoteError("size or root of a checkpoint are not of their form")
    return Checkpoint(origin=origin, size=int(number), root=root)


def _signature(line: str) -> tuple[str, bytes, bytes]:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != _NAMED_SIGNATURE or not _NAME.fullmatch(parts[0]):
        raise NoteError("a signature line is a dash, a name and base64")
    raw = _from_base64(parts[1])
    if len(raw) <= len(b"kyid"):
        raise NoteError("a signature has a key id and something after it")
    return parts[0], raw[:4], raw[4:]


def _line(key: NoteKey, body: bytes) -> bytes:
    return f"{_DASH}{key.name} {_base64(key.key_id + body)}\n".encode()


def _cosigned(text: bytes, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n".encode() + text


def _raw(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    """Return what a text encodes, only in its one canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if _base64(data) != text:
        raise NoteError("not base64 in its canonical form")
    return data
