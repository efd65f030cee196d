"""The five commands of a TPM 2.0 that a signing key needs, as bytes.

Rules: big-endian structures of the TPM library specification; one password session, no encryption of
parameters. A response is read strictly; a code other than success becomes `TpmCodeError`, which keeps the
number.

It opens no device (`tpm_key` does) and knows no more commands than these.

Example:
    >>> flush_context(0x80000000).hex()
    '80010000000e0000016580000000'

Source: TPM 2.0 Library, Part 2 (structures), Part 3 §24.1 (CreatePrimary), §28.5 (EvictControl), §28.4
(FlushContext), §12.4 (ReadPublic), §20.2 (Sign), Part 1 §19.4 (password authorisation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.limits import TPM_RESPONSE_BYTES_MAX

OWNER: Final = 0x40000001
HEADER_BYTES: Final = 10
COORDINATE_BYTES: Final = 32
MADE_HERE: Final = (1 << 1) | (1 << 4) | (1 << 5)
"""fixedTPM, fixedParent, sensitiveDataOrigin: made in this chip, and cannot leave it."""

MAY_SIGN: Final = 1 << 18
RESTRICTED: Final = 1 << 16
_USER_WITH_AUTH: Final = 1 << 6
_NO_DA: Final = 1 << 10

_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_PASSWORD: Final = 0x40000009
_RH_NULL: Final = 0x40000007
_HASHCHECK: Final = 0x8024
_ALG_NULL: Final = 0x0010
_SHA256: Final = 0x000B
_ECDSA: Final = 0x0018
_ECC: Final = 0x0023
_P256: Final = 0x0003

_CREATE_PRIMARY: Final = 0x131
_EVICT_CONTROL: Final = 0x120
_FLUSH_CONTEXT: Final = 0x165
_READ_PUBLIC: Final = 0x173
_SIGN: Final = 0x15D


class TpmCodeError(Exception):
    """The chip answered with a code that is not success.

    Attributes:
        code: as it came.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"TPM code 0x{code:x}")
        self.code = code


class TpmFormError(Exception):
    """The answer is not what the specification says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmPublic:
    """What `read_public` tells of a key: its attributes and its point on P-256, 32 bytes each."""

    attributes: int
    x: bytes
    y: bytes


def create_primary(auth: bytes, unique: bytes, *, owner_auth: bytes = b"") -> bytes:
    """Return the command that makes a P-256 signing key in the owner's hierarchy.

    Args:
        auth: what will be asked when the key signs.
        unique: 32 random bytes; a primary key follows from the chip's seed and these, so that another home
            on the same chip gets another key.
        owner_auth: of the owner's hierarchy; empty on a chip as it comes.
    """
    attributes = MADE_HERE | _USER_WITH_AUTH | _NO_DA | MAY_SIGN
    public = (
        _u16(_ECC, _SHA256)
        + _u32(attributes)
        + _sized(b"")  # no policy
        + _u16(_ALG_NULL, _ECDSA, _SHA256, _P256, _ALG_NULL)
        + _sized(unique)
        + _sized(b"")
    )
    body = _sized(_sized(auth) + _sized(b"")) + _sized(public) + _sized(b"") + _u32(0)
    return _command(_CREATE_PRIMARY, _u32(OWNER), body, auth=owner_auth)


def evict_control(handle: int, persistent: int, *, owner_auth: bytes = b"") -> bytes:
    """Return the command that keeps a key under a persistent handle."""
    return _command(_EVICT_CONTROL, _u32(OWNER, handle), _u32(persistent), auth=owner_auth)


def flush_context(handle: int) -> bytes:
    """Return the command that frees a transient handle's place: a chip has three."""
    return _command(_FLUSH_CONTEXT, b"", _u32(handle))


def read_public(handle: int) -> bytes:
    """Return the command that asks what a key is."""
    return _command(_READ_PUBLIC, _u32(handle), b"")


def sign(handle: int, digest: bytes, auth: bytes) -> bytes:
    """Return the command that signs a SHA-256 digest by ECDSA."""
    ticket = _u16(_HASHCHECK) + _u32(_RH_NULL) + _sized(b"")
    return _command(_SIGN, _u32(handle), _sized(digest) + _u16(_ECDSA, _SHA256) + ticket, auth=auth)


def response_size(head: bytes) -> int:
    """Return how long the response is whose first ten bytes these are.

    Raises:
        TpmFormError: no TPM answers so.
    """
    size = int.from_bytes(head[2:6], "big")
    if len(head) < HEADER_BYTES or not HEADER_BYTES <= size <= TPM_RESPONSE_BYTES_MAX:
        raise TpmFormError("not a TPM's response")
    return size


def handle_of(response: bytes) -> int:
    """Return the transient handle of a `create_primary`.

    Raises:
        TpmCodeError: the chip refused.
        TpmFormError: another form.
    """
    return _Reader(_body(response)).u32()


def done(response: bytes) -> None:
    """Accept the response of a command that returns nothing.

    Raises:
        TpmCodeError: the chip refused.
        TpmFormError: another form.
    """
    _body(response)


def public_of(response: bytes) -> TpmPublic:
    """Return what a `read_public` told.

    Raises:
        TpmCodeError: there is no such key.
        TpmFormError: it is not a P-256 key.
    """
    inner = _Reader(_Reader(_body(response)).sized())
    if (inner.u16(), inner.u16()) != (_ECC, _SHA256):
        raise TpmFormError("not a P-256 key")
    attributes = inner.u32()
    inner.sized()  # policy
    if inner.u16() != _ALG_NULL:
        raise TpmFormError("a key that stores others, not one that signs")
    if inner.u16() == _ECDSA:
        inner.u16()  # its hash
    if inner.u16() != _P256 or inner.u16() != _ALG_NULL:
        raise TpmFormError("not a P-256 key")
    x, y = (inner.sized().rjust(COORDINATE_BYTES, b"\0") for _ in "xy")
    return TpmPublic(attributes=attributes, x=x, y=y)


def signature_of(response: bytes) -> bytes:
    """Return r‖s of a `sign`, 64 bytes.

    Raises:
        TpmCodeError: the chip refused.
        TpmFormError: another form.
    """
    reader = _Reader(_body(response))
    reader.u32()  # size of the parameters
    if (reader.u16(), reader.u16()) != (_ECDSA, _SHA256):
        raise TpmFormError("not an ECDSA signature over SHA-256")
    r, s = (reader.sized().rjust(COORDINATE_BYTES, b"\0") for _ in "rs")
    if len(r) != COORDINATE_BYTES or len(s) != COORDINATE_BYTES:
        raise TpmFormError("a signature of another curve")
    return r + s


class _Reader:
    """Reads big-endian fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise TpmFormError("a response that ends early")
        return self._data[self._at - size : self._at]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def sized(self) -> bytes:
        return self.take(self.u16())


def _body(response: bytes) -> bytes:
    if response_size(response[:HEADER_BYTES]) != len(response):
        raise TpmFormError("a response of another length")
    code = int.from_bytes(response[6:10], "big")
    if code:
        raise TpmCodeError(code)
    return response[HEADER_BYTES:]


def _command(code: int, handles: bytes, body: bytes, *, auth: bytes | None = None) -> bytes:
    if auth is None:
        tag, session = _NO_SESSIONS, b""
    else:
        area = _u32(_PASSWORD) + _sized(b"") + b"\0" + _sized(auth)
        tag, session = _SESSIONS, _u32(len(area)) + area
    size = HEADER_BYTES + len(handles) + len(session) + len(body)
    return _u16(tag) + _u32(size, code) + handles + session + body


def _u16(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)


def _u32(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def _sized(data: bytes) -> bytes:
    return _u16(len(data)) + data
