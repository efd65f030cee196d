"""Published test keys, derived from their names: whoever reads the name has the private key.

Rules: never trusted by anything that runs; each name gives the same key for ever. The private scalar is
SHA-256("tbox test key " ‖ name) mod (n - 1) + 1.

This module holds no secret.

Example:
    >>> published_signer("device-1").kid.hex()[:16] == published_signer("device-1").kid.hex()[:16]
    True
"""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, derive_private_key

from protocol.envelope import P256_ORDER, KeyLookup, SoftwareSigner

NAMES = (
    *("device-1", "device-1-rotated", "device-2", "receipt-1", "receipt-2", "policy-1", "stranger"),
    *("mcu-1", "maker-1", "maker-2", "checker-1", "checker-2", "gate-1", "safety-1", "ombuds-1"),
    *("installer-1", "online-1", "other-root-1"),
    *(f"platform-root-{number}" for number in range(1, 7)),
    *(f"lender-root-{number}" for number in range(1, 4)),
)
"""Keys that the vectors use; `stranger` is in no trust store."""


def published_scalar(name: str) -> int:
    """Return the private scalar of a published test key, 1 … n - 1."""
    return (
        int.from_bytes(hashlib.sha256(f"tbox test key {name}".encode()).digest(), "big") % (P256_ORDER - 1)
        + 1
    )


def published_signer(name: str) -> SoftwareSigner:
    """Return the signer of a published test key."""
    return SoftwareSigner(derive_private_key(published_scalar(name), SECP256R1()))


def published_lookup(*names: str) -> KeyLookup:
    """Return a key lookup that knows exactly these published test keys."""
    keys: dict[bytes, EllipticCurvePublicKey] = {}
    for name in names:
        signer = published_signer(name)
        keys[signer.kid] = signer.public_key
    return keys.get
