"""A signature that lies beside what it signs: our COSE_Sign1 with its payload left out.

Rules: everything is as in `protocol.envelope` (ESP256, exactly algorithm and kid in the header, low s, the
kind in `external_aad`) but the payload is null and is the file's bytes instead. It is read strictly: one
encoding. One signature a file; counting signers is `release_trust`'s.

Example:
    >>> from protocol.vectors.keys import published_lookup, published_signer
    >>> data = sign_detached(b"manifest", published_signer("stranger"))
    >>> verify_detached(data, b"manifest", published_lookup("stranger")) == published_signer("stranger").kid
    True

Source: RFC 9052 §4.1 (detached content).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol import codec
from protocol.envelope import Kind, open_sign1, read_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.limits import FIRMWARE_MANIFEST_BYTES_MAX

if TYPE_CHECKING:
    from protocol.envelope import KeyLookup, Signer

DETACHED_BYTES_MAX: Final = 128
"""Bytes of a detached signature: header of 38, signature of 64, framing."""

_TAG: Final = b"\xd2"
_DEPTH: Final = 2
_MESSAGE_BYTES_MAX: Final = FIRMWARE_MANIFEST_BYTES_MAX + DETACHED_BYTES_MAX


def sign_detached(payload: bytes, signer: Signer) -> bytes:
    """Return the signature of a signer over a manifest's bytes."""
    message = read_sign1(sign1(Kind.FIRMWARE, payload, signer), max_bytes=_MESSAGE_BYTES_MAX)
    return _TAG + codec.encode([message.protected, {}, None, message.signature])


def verify_detached(data: bytes, payload: bytes, keys: KeyLookup) -> bytes:
    """Return the kid of the key that signed a manifest.

    Raises:
        ProtocolError: BAD_ENVELOPE or the codec's for another form, UNKNOWN_KEY, BAD_SIG or HIGH_S.
    """
    if data[:1] != _TAG:
        raise ProtocolError(Reject.BAD_ENVELOPE, "not a tagged COSE_Sign1")
    match codec.decode(data[1:], max_bytes=DETACHED_BYTES_MAX - 1, max_depth=_DEPTH):
        case [bytes() as protected, dict() as unprotected, None, bytes() as signature] if not unprotected:
            whole = _TAG + codec.encode([protected, {}, payload, signature])
        case _:
            raise ProtocolError(Reject.BAD_ENVELOPE, "not [protected, {}, null, signature]")
    return open_sign1(whole, Kind.FIRMWARE, keys, max_bytes=_MESSAGE_BYTES_MAX).kid
