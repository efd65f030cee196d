"""Names of devices, chains and boots, and of keys: the thumbprint of a key is its name.

Rules: a device id is the RFC 9679 thumbprint of the box's *first* agent key, 64 lowercase hex digits, and
stays when keys are rotated; a `kid` is the 32-byte thumbprint of the key that signs now. Chain and boot ids
are 16 random bytes. All our keys are on P-256 and travel as a COSE_Key with exactly the four members that the
thumbprint covers, so the bytes of a key and the input of its thumbprint are the same.

This module does not decide which key may sign what.

Example:
    >>> parse_device_id("00" * 32)[:4]
    '0000'
"""

import hashlib
from typing import NewType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from protocol.errors import ProtocolError, Reject

DeviceId = NewType("DeviceId", str)
"""64 lowercase hex digits: the thumbprint of the box's first agent key."""

ChainId = NewType("ChainId", bytes)
"""16 random bytes, made with the spool's database."""

BootId = NewType("BootId", bytes)
"""16 random bytes, made at each start of the agent."""

ID_BYTES = 16
"""Length of a chain or boot id."""

THUMBPRINT_BYTES = 32
"""Length of a thumbprint, and so of a kid and of a device id before hex."""

_COORDINATE_BYTES = 32
_DEVICE_ID_DIGITS = 64
_HEX = frozenset("0123456789abcdef")

# {1: 2 (EC2), -1: 1 (P-256), -2: x, -3: y} in deterministic order; x and y fill the two places.
_HEAD = bytes.fromhex("a401022001215820")
_MIDDLE = bytes.fromhex("225820")
COSE_KEY_BYTES = len(_HEAD) + _COORDINATE_BYTES + len(_MIDDLE) + _COORDINATE_BYTES
"""Length of a COSE_Key of ours: 75 bytes."""


def cose_key_bytes(public_key: EllipticCurvePublicKey) -> bytes:
    """Return a P-256 key as the 75 bytes of its COSE_Key.

    Source: RFC 9053 §7.1.1 (EC2 key), RFC 9679 §3 (the required members, deterministic order).
    """
    if not isinstance(public_key.curve, SECP256R1):
        raise TypeError(f"our keys are on P-256, not {public_key.curve.name}")
    numbers = public_key.public_numbers()
    x = numbers.x.to_bytes(_COORDINATE_BYTES, "big")
    y = numbers.y.to_bytes(_COORDINATE_BYTES, "big")
    return _HEAD + x + _MIDDLE + y


def public_key_from_cose(data: bytes) -> EllipticCurvePublicKey:
    """Read a key as `cose_key_bytes` writes it, and only so.

    No other curve, no compressed point, no further member: one key has one name and one encoding.

    Raises:
        ProtocolError: BAD_FIELD when the bytes are another form, or the point is not on the curve.
    """
    x, y = data[len(_HEAD) :][:_COORDINATE_BYTES], data[-_COORDINATE_BYTES:]
    if len(data) != COSE_KEY_BYTES or data != _HEAD + x + _MIDDLE + y:
        raise ProtocolError(Reject.BAD_FIELD, "not a P-256 COSE_Key of exactly kty, crv, x and y")
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), SECP256R1())
    try:
        return numbers.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ProtocolError(Reject.BAD_FIELD, "the point is not on P-256") from error


def thumbprint(public_key: EllipticCurvePublicKey) -> bytes:
    """Return the 32-byte SHA-256 thumbprint of a key.

    Source: RFC 9679 §3.
    """
    return hashlib.sha256(cose_key_bytes(public_key)).digest()


def device_id(public_key: EllipticCurvePublicKey) -> DeviceId:
    """Return the device id that a box gets from its first agent key."""
    return DeviceId(thumbprint(public_key).hex())


def parse_device_id(text: str) -> DeviceId:
    """Read a device id from a topic, a certificate or a form.

    Raises:
        ProtocolError: BAD_FIELD unless it is 64 lowercase hex digits.
    """
    if len(text) != _DEVICE_ID_DIGITS or not _HEX.issuperset(text):
        raise ProtocolError(Reject.BAD_FIELD, "a device id is 64 lowercase hex digits")
    return DeviceId(text)
