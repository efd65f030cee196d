"""Messages that our own signers would never make: each part of the envelope can be set to anything.

Rules: used by the vectors and by tests only; nothing that runs imports it.

Example:
    >>> from protocol.vectors.keys import published_signer
    >>> from protocol.envelope import read_sign1
    >>> read_sign1(forge(Kind.TIME, b"", published_signer("stranger")), max_bytes=1000).payload
    b''
"""

from collections.abc import Mapping

from protocol import codec
from protocol.envelope import ESP256, P256_ORDER, Kind, SoftwareSigner, external_aad, sig_structure

TAG_SIGN1 = b"\xd2"


def forge(
    kind: Kind,
    payload: bytes | None,
    signer: SoftwareSigner,
    *,
    protected: Mapping[int, object] | bytes | None = None,
    unprotected: Mapping[int, object] | None = None,
    signature: bytes | None = None,
    tag: bytes = TAG_SIGN1,
) -> bytes:
    """Return a COSE_Sign1 with any part replaced; what is not given is as `sign1` makes it.

    Args:
        kind: goes into the signature.
        payload: None makes it detached.
        signer: signs what is there, unless `signature` is given.
        protected: another header, as a map or as encoded bytes.
        unprotected: another header.
        signature: another signature.
        tag: another tag, encoded; empty for none.
    """
    header: Mapping[int, object] | bytes = {1: ESP256, 4: signer.kid} if protected is None else protected
    encoded = header if isinstance(header, bytes) else codec.encode(header)
    if signature is None:
        signature = signer.sign(sig_structure("Signature1", encoded, external_aad(kind), payload or b""))
    return tag + codec.encode([encoded, unprotected or {}, payload, signature])


def with_high_s(signature64: bytes) -> bytes:
    """Return the malleable twin of a signature, s above n/2."""
    s = int.from_bytes(signature64[32:], "big")
    return signature64[:32] + (P256_ORDER - s).to_bytes(32, "big")


def flipped(data: bytes, bit: int) -> bytes:
    """Return the bytes with one bit changed, counted from the first byte's lowest."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
