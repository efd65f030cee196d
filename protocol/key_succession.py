"""How a backend key hands over: the key in force signs its successor, and the box follows link by link.

Rules: receipt and policy keys are pinned at enrolment. A succession names the role, the new public key, and
from when it may sign; it is signed by the key that the box trusts now for that role. The old key stays good
for what it signed. A key that was never reached by such links is never trusted, whoever sends it.

This module keeps no trust store and asks no clock.

Example:
    >>> from cryptography.hazmat.primitives.asymmetric import ec
    >>> from protocol.envelope import SoftwareSigner
    >>> old, new = (SoftwareSigner(ec.derive_private_key(k, ec.SECP256R1())) for k in (7, 8))
    >>> link = KeySuccession(role=KeyRole.RECEIPT, successor=cose_key_bytes(new.public_key), valid_from_us=0)
    >>> message = sign_key_succession(link, old)
    >>> open_key_succession(message, {old.kid: old.public_key}.get, role=KeyRole.RECEIPT) == link
    True
"""

from dataclasses import dataclass
from enum import IntEnum

from protocol import codec
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.fields import known, versioned
from protocol.header import ENUM_MAX
from protocol.ids import COSE_KEY_BYTES, cose_key_bytes, public_key_from_cose, thumbprint
from protocol.limits import SIGN1_BYTES_MAX, TIME_US_MAX

__all__ = ["KeyRole", "KeySuccession", "cose_key_bytes", "open_key_succession", "sign_key_succession"]

VERSION = 1


class KeyRole(IntEnum):
    """What a backend key may sign; wire values."""

    RECEIPT = 1  # receipts and time
    POLICY = 2  # policy documents


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySuccession:
    """One link from a key to the next.

    Attributes:
        role: a KeyRole, or an int this reader does not know.
        successor: the new public key as a COSE_Key, 75 bytes.
        valid_from_us: UTC µs from which the new key may sign.
    """

    role: int
    successor: bytes
    valid_from_us: int


def sign_key_succession(link: KeySuccession, signer: Signer) -> bytes:
    """Return the link, signed by the key in force."""
    payload = codec.encode({1: VERSION, 2: link.role, 3: link.successor, 4: link.valid_from_us})
    return sign1(Kind.KEY_SUCCESSION, payload, signer)


def open_key_succession(data: bytes, keys: KeyLookup, *, role: KeyRole) -> KeySuccession:
    """Read and verify one link.

    Args:
        data: the whole message.
        keys: gives the keys trusted now for `role`, and only those.
        role: which role is being handed over.

    Raises:
        ProtocolError: as `open_sign1`; UNSUPPORTED_VERSION; BAD_FIELD when the successor is no key;
            NOT_SUCCESSOR when the link is for another role, or a key names itself.
    """
    message = open_sign1(data, Kind.KEY_SUCCESSION, keys, max_bytes=SIGN1_BYTES_MAX)
    fields = versioned(message.payload, Kind.KEY_SUCCESSION, version=VERSION, max_bytes=SIGN1_BYTES_MAX)
    link = KeySuccession(
        role=known(KeyRole, fields.integer(2, least=0, most=ENUM_MAX)),
        successor=fields.octets(3, size=COSE_KEY_BYTES),
        valid_from_us=fields.integer(4, least=0, most=TIME_US_MAX),
    )
    if link.role != role:
        raise ProtocolError(Reject.NOT_SUCCESSOR, f"a link for role {link.role}, not {role}")
    if thumbprint(public_key_from_cose(link.successor)) == message.kid:
        raise ProtocolError(Reject.NOT_SUCCESSOR, "a key names itself")
    return link
