"""Keys that anyone can use: the test keys published with the protocol, and scalars small enough to try.

A server that signs with one of them proves nothing, so it refuses to start outside a demonstration.

Example:
    >>> is_published(derive_private_key(7, SECP256R1()))
    True
"""

from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from protocol.ids import thumbprint
from protocol.vectors.keys import NAMES, published_signer

# A random scalar is below this once in 2^192 keys; one written by hand for an example always is.
_GUESSABLE_SCALAR: Final = 2**64


def is_published(key: EllipticCurvePrivateKey) -> bool:
    """Whether the private half of this key is known to everyone."""
    return (
        key.private_numbers().private_value < _GUESSABLE_SCALAR
        or thumbprint(key.public_key()) in _published_kids()
    )


@cache
def _published_kids() -> frozenset[bytes]:
    return frozenset(published_signer(name).kid for name in NAMES)
