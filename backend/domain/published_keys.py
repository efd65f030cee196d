"""Keys that anyone can use: the examples printed in this project, and scalars small enough to try.

A server that signs with one of them proves nothing, so it refuses to start outside a demonstration.

Example:
    >>> is_published(derive_private_key(7, SECP256R1()))
    True
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from protocol.ids import thumbprint

# A random scalar is below this once in 2^192 keys; one written by hand for an example always is.
_GUESSABLE_SCALAR: Final = 2**64

# Thumbprints of the keys printed in `protocol/SPEC.md`; a test compares them with the vectors.
PUBLISHED: Final[frozenset[str]] = frozenset()


def is_published(key: EllipticCurvePrivateKey) -> bool:
    """Whether the private half of this key is known to everyone."""
    if key.private_numbers().private_value < _GUESSABLE_SCALAR:
        return True
    return thumbprint(key.public_key()).hex() in PUBLISHED
