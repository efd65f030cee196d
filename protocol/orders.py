"""Orders as people and servers make them: typed words, signing, and reading with the same core as the car.

Rules: what is signed was first read by the strict reader that the microcontroller runs, so that nobody signs
what the car would not decode. Each signer signs for itself, over the payload's bytes and its own header
(C-01, C-09); whoever collects the signatures changes neither. The enums repeat `orders_vocabulary` for
CPython, a test compares them.

This module holds no rule of acceptance: see `orders_reader`, `orders_checks` and `orders_authority`.

Example:
    >>> Code.SIGNER_SET, OrderType.LOCK, State.LOCKED
    (<Code.SIGNER_SET: 1>, <OrderType.LOCK: 1>, <State.LOCKED: 6>)

Source: RFC 9052 §4.1, §4.4.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from protocol import cose_sign, orders_payload, strict_cbor
from protocol.envelope import P256_ORDER, Kind, Signer, is_low_s, sign1

_VERIFY = ECDSA(Prehashed(SHA256()))
_SCALAR_BYTES = 32

PayloadFields = Mapping[int, object]
"""A payload before encoding: integer keys, values of `strict_cbor`."""


class OrderType(IntEnum):
    """Payload key 3. Types 6 and 7 are documents of their own, 10 is unused."""

    LOCK = 1
    UNLOCK = 2
    RENEW = 3
    CANCEL = 4
    WARN = 5
    QUERY = 8
    DECOMMISSION = 9
    BIND = 11
    BENCH = 12
    TRACE = 13


class Role(IntEnum):
    """Signer header -65537: what a key signs as."""

    PLATFORM_ROOT = 0
    LENDER_ROOT = 1
    MAKER = 2
    CHECKER = 3
    GATE = 4
    SAFETY_OFFICER = 5
    OMBUDS = 6
    INSTALLER = 7
    MCU = 8


class State(IntEnum):
    """Disposition key 9: where an order stands in the car."""

    NONE = 0
    RECEIVED = 1
    REJECTED = 2
    ACCEPTED_PENDING = 3
    WARNING = 4
    ARMED = 5
    LOCKED = 6
    RELEASED = 7
    LEASE_EXPIRED = 8
    OVERRIDDEN = 9
    FAULT_RELEASED = 10
    SUPERSEDED = 11
    CANCELLED = 12
    EXPIRED = 13
    DONE = 14


class Code(IntEnum):
    """Disposition key 10: why, signed."""

    OK = 0
    SIGNER_SET = 1
    ROLE_CONFLICT = 2
    KEY_REVOKED = 3
    DELEGATION_SCOPE = 4
    WRONG_DEVICE = 5
    VIN_MISMATCH = 6
    WRONG_LENDER = 7
    WRONG_EPOCH = 8
    REPLAY_CTR = 9
    CHALLENGE = 10
    EXPIRED = 11
    NOT_YET = 12
    TTL_TOO_LONG = 13
    CLOCK_UNCERTAIN = 14
    METADATA_STALE = 15
    CHAIN_GAP = 16
    NO_GO = 17
    IN_MOTION = 18
    MOTION_DISAGREE = 19
    SOURCES_INSUFFICIENT = 20
    IGN_ON = 21
    ENGINE_RUNNING = 22
    NO_LOCK_ZONE = 23
    ZONE_UNKNOWN = 24
    QUIET_HOURS = 25
    TEMP_RANGE = 26
    OVERRIDE_ACTIVE = 27
    MONITOR_ONLY = 28
    RATE_LIMIT = 29
    DUPLICATE = 30
    REASON_REFUSED = 31
    CRASH_HOLD = 32
    WRONG_JURISDICTION = 33
    CTR_JUMP = 34
    UNSUPPORTED = 35
    WRONG_MODE = 36
    NOT_WARNED = 37
    HAZARD_LIGHTS = 38


class LinkCode(StrEnum):
    """Why a message got no signed answer: nothing authentic was said, or it cannot be judged yet."""

    BAD_ENCODING = "BAD_ENCODING"
    BAD_SIG = "BAD_SIG"
    HIGH_S = "HIGH_S"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    DELEGATION_MISSING = "DELEGATION_MISSING"
    BUSY = "BUSY"


class SignKind(StrEnum):
    """Kinds that travel as COSE_Sign; it stands in each signature as `tbox/<kind>/1`."""

    COMMAND = "command"
    DELEGATION = "delegation"
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSigner:
    """A key, and what it signs as.

    Attributes:
        signer: holds the private key.
        role: the role it claims.
        delegation: SHA-256 of the delegation that gives it; None for a root's key and the MCU's own.
        log_ref: [origin, index, size, root] of the log, by the gate only.
        attestation: [pack version, rule ids passed, breaker window count], by the gate only.
    """

    signer: Signer
    role: Role
    delegation: bytes | None = None
    log_ref: Sequence[object] | None = None
    attestation: Sequence[object] | None = None


def encode_order(order: PayloadFields) -> bytes:
    """Return an order's payload: what all its signers sign.

    Raises:
        ValueError: the car would not decode it, or does not know its type.
    """
    payload = bytes(strict_cbor.dumps(dict(order)))
    _, is_known = orders_payload.read_order(payload)
    if not is_known:
        raise ValueError(f"version {order.get(1)}, type {order.get(3)} is no order of this version")
    return payload


def cmd_hash(payload: bytes) -> bytes:
    """Return the name of an order's content, 32 bytes."""
    return hashlib.sha256(payload).digest()


def sign_part(kind: SignKind, payload: bytes, by: OrderSigner) -> tuple[bytes, bytes]:
    """Sign a payload as one of its signers.

    Returns:
        Protected header and signature: what `assemble` puts into the message.
    """
    protected: bytes = cose_sign.protected_header(
        by.signer.kid,
        int(by.role),
        by.delegation,
        None if by.log_ref is None else list(by.log_ref),
        None if by.attestation is None else list(by.attestation),
    )
    signature = by.signer.sign(cose_sign.sig_structure(kind.value, payload, protected))
    assert is_low_s(signature), "a signer normalises"
    return protected, signature


def assemble(payload: bytes, parts: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the COSE_Sign of a payload and its signatures, which must read back.

    Raises:
        ValueError: no signature, too many, or a message above 2,048 bytes.
    """
    message = bytes(cose_sign.write_sign(payload, parts))
    cose_sign.read_sign(message)
    return message


def sign_order(order: PayloadFields, *signers: OrderSigner) -> bytes:
    """Return a whole order; for tests and tools, since in life each signer signs elsewhere."""
    payload = encode_order(order)
    return assemble(payload, [sign_part(SignKind.COMMAND, payload, by) for by in signers])


def sign_with_root(kind: SignKind, fields: PayloadFields, signers: Sequence[OrderSigner]) -> bytes:
    """Return a delegation or an authority snapshot, signed by root keys.

    Raises:
        ValueError: not the form of its kind.
    """
    payload = encode_document(kind.value, fields)
    return assemble(payload, [sign_part(kind, payload, by) for by in signers])


def sign_document(kind: Kind, fields: PayloadFields, signer: Signer) -> bytes:
    """Return a go token, go request, challenge, ticket, revocation or disposition: one key, one signature.

    Raises:
        ValueError: not the form of its kind.
    """
    return sign1(kind, encode_document(kind.value, fields), signer)


def encode_document(kind: str, fields: PayloadFields) -> bytes:
    """Return the payload of a document that is no order.

    Raises:
        ValueError: not exactly the keys and forms of its kind.
    """
    payload = bytes(strict_cbor.dumps(dict(fields)))
    orders_payload.read_document(kind, payload)
    return payload


def check_signature(
    xy: bytes, digest: bytes, signature64: bytes, feed: Callable[[], None] | None = None
) -> str:
    """Answer as `device.mcu.p256.verify` does, by the `cryptography` package; `feed` is not needed here."""
    del feed
    r, s = (
        int.from_bytes(part, "big") for part in (signature64[:_SCALAR_BYTES], signature64[_SCALAR_BYTES:])
    )
    try:
        key = EllipticCurvePublicNumbers(
            int.from_bytes(xy[:_SCALAR_BYTES], "big"), int.from_bytes(xy[_SCALAR_BYTES:], "big"), SECP256R1()
        ).public_key()
    except ValueError:
        return "BAD_KEY"
    if not (0 < r < P256_ORDER and 0 < s < P256_ORDER):
        return "BAD_SIG"
    try:
        key.verify(encode_dss_signature(r, s), digest, _VERIFY)
    except InvalidSignature:
        return "BAD_SIG"
    return "OK" if is_low_s(signature64) else "HIGH_S"
