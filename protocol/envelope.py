"""The one signed envelope: COSE_Sign1 by ESP256, bound to a kind, in deterministic CBOR.

Rules: tag 18; the protected header holds exactly the algorithm (-9, ESP256: P-256 with SHA-256) and the
32-byte kid; the unprotected header is empty; the payload travels inside; the signature is r‖s, 64 bytes, with
s ≤ n/2. The `external_aad` names the kind, so a receipt can never be read as a policy. Read strictly, verify,
only then look at the payload; the bytes signed are the bytes kept, sent and hashed, and nobody encodes them
again.

This module does not know which key may sign which kind (`KeyLookup` does) nor what a payload means.

Example:
    >>> from cryptography.hazmat.primitives.asymmetric import ec
    >>> signer = SoftwareSigner(ec.derive_private_key(7, ec.SECP256R1()))
    >>> message = sign1(Kind.TIME, b"payload", signer)
    >>> open_sign1(message, Kind.TIME, {signer.kid: signer.public_key}.get, max_bytes=1000).payload
    b'payload'

Source: RFC 9052 §4.2, §4.4 (Sign1, Sig_structure), RFC 9053 §2.1 (signature as r‖s), RFC 9864 (ESP256 = -9).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from typing import Protocol as Port

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from protocol import codec
from protocol.errors import ProtocolError, Reject
from protocol.ids import THUMBPRINT_BYTES, thumbprint

ESP256: Final = -9
"""The only algorithm: ECDSA on P-256 with SHA-256, fully specified."""

SIGNATURE_BYTES: Final = 64
"""r and s, 32 bytes each, big-endian."""

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""n, the number of points of P-256. Source: SEC 2 §2.4.2, FIPS 186-4 D.1.2.3."""

_HALF_ORDER = P256_ORDER // 2
_SCALAR_BYTES = 32
_HEADER_ALG, _HEADER_KID = 1, 4
_TAG_SIGN1 = b"\xd2"  # tag 18 as its single byte; the codec itself knows no tags
_PROTECTED_HEAD = bytes.fromhex("a20128045820")  # {1: -9, 4: 32 bytes …
_PROTECTED_BYTES = len(_PROTECTED_HEAD) + THUMBPRINT_BYTES
_SIGN1_DEPTH = 2
_BSTR = 0x40  # major type 2, lengths up to 23 within the byte
_USUAL_HEAD = _TAG_SIGN1 + bytes([0x84, _BSTR + 24, _PROTECTED_BYTES]) + _PROTECTED_HEAD
_NO_UNPROTECTED = b"\xa0"  # the empty map
_SIGNATURE_HEAD = bytes([_BSTR + 24, SIGNATURE_BYTES])
_VERIFY = ECDSA(SHA256())
_SIGN = ECDSA(SHA256(), deterministic_signing=True)

KeyLookup = Callable[[bytes], EllipticCurvePublicKey | None]
"""From a kid to the key that may sign here, parsed once and cached; None when there is none."""


class Kind(StrEnum):
    """What a signed message is; it stands in the signature as `tbox/<kind>/1`."""

    BATCH = "batch"
    RECEIPT = "receipt"
    TIME = "time"
    TIME_REQUEST = "time-request"
    STANDING_REQUEST = "standing-request"
    POLICY = "policy"
    ENROL = "enrol"
    RENEW = "renew"
    EVIDENCE = "evidence"
    DISPOSITION = "disposition"
    KEY_SUCCESSION = "key-succession"
    CHALLENGE = "challenge"
    GO_REQUEST = "go-request"
    GO = "go"
    TICKET = "ticket"
    REVOCATION = "revocation"
    LOAN_FACTS = "loan-facts"
    LOAN_RECORD = "loan-record"
    GATE_RECORD = "gate-record"
    PACK = "pack"
    FIRMWARE = "firmware"
    WORK_TICKET = "work-ticket"
    INSTALL_COMMAND = "install-command"
    INSTALL_REPORT = "install-report"
    COMMISSIONING = "commissioning"
    COMMISSIONING_RECORD = "commissioning-record"
    UPDATE_QUESTION = "update-question"


class Signer(Port):
    """Whatever holds a private key: a file, a secure element, a PKCS#11 token."""

    @property
    def kid(self) -> bytes:
        """The 32-byte thumbprint of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return r‖s over SHA-256 of the message: 64 bytes with s ≤ n/2."""
        ...


class SoftwareSigner:
    """A signer whose key is in this process's memory; the same message always gets the same signature.

    Attributes:
        kid: the 32-byte thumbprint of the key.
        public_key: the key that verifies.

    Source: RFC 6979 (deterministic nonce).
    """

    __slots__ = ("_private_key", "kid", "public_key")

    def __init__(self, private_key: EllipticCurvePrivateKey) -> None:
        if not isinstance(private_key.curve, SECP256R1):
            raise TypeError(f"our keys are on P-256, not {private_key.curve.name}")
        self._private_key = private_key
        self.public_key: Final = private_key.public_key()
        self.kid: Final = thumbprint(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return r‖s over SHA-256 of the message: 64 bytes with s ≤ n/2."""
        r, s = decode_dss_signature(self._private_key.sign(message, _SIGN))
        return normalise_low_s(r.to_bytes(_SCALAR_BYTES, "big") + s.to_bytes(_SCALAR_BYTES, "big"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign1:
    """A message read strictly; verified only if `open_sign1` or `verify_sign1` said so.

    Attributes:
        protected: the encoded protected header, as signed.
        kid: which key claims to have signed, 32 bytes.
        payload: the signed content.
        signature: r‖s, 64 bytes.
        raw: the whole tagged message; its SHA-256 is the message's hash everywhere.
    """

    protected: bytes
    kid: bytes
    payload: bytes
    signature: bytes
    raw: bytes


def external_aad(kind: Kind) -> bytes:
    """Return the bytes that bind a signature to a kind and a version: `tbox/<kind>/1`."""
    return f"tbox/{kind}/1".encode()


def sign1(kind: Kind, payload: bytes, signer: Signer) -> bytes:
    """Sign a payload.

    Args:
        kind: what the payload is.
        payload: encoded content, any length.
        signer: holds the key; its signature must be low-s, see `normalise_low_s`.

    Returns:
        The tagged COSE_Sign1.
    """
    protected = codec.encode({_HEADER_ALG: ESP256, _HEADER_KID: signer.kid})
    signature = signer.sign(sig_structure("Signature1", protected, external_aad(kind), payload))
    assert len(signature) == SIGNATURE_BYTES, "a signer returns r‖s"
    assert is_low_s(signature), "a signer normalises"
    return _TAG_SIGN1 + codec.encode([protected, {}, payload, signature])


def read_sign1(data: bytes, *, max_bytes: int) -> Sign1:
    """Read a message strictly without verifying it.

    Args:
        data: the whole message.
        max_bytes: longest message accepted.

    Raises:
        ProtocolError: TOO_LARGE, TOO_DEEP or BAD_ENCODING by the codec; BAD_ALG for any algorithm but ESP256;
            BAD_ENVELOPE when tag, array, headers, kid or signature are not our profile.
    """
    if len(data) <= max_bytes and (usual := _read_usual(data)) is not None:
        return usual
    if data[:1] != _TAG_SIGN1:
        raise ProtocolError(Reject.BAD_ENVELOPE, "not a tagged COSE_Sign1")
    match codec.decode(data[1:], max_bytes=max_bytes - 1, max_depth=_SIGN1_DEPTH):
        case [bytes() as protected, dict() as unprotected, bytes() as payload, bytes() as signature]:
            pass
        case _:
            raise ProtocolError(Reject.BAD_ENVELOPE, "not [protected, unprotected, payload, signature]")
    if unprotected:
        raise ProtocolError(Reject.BAD_ENVELOPE, "the unprotected header is not empty")
    if len(signature) != SIGNATURE_BYTES:
        raise ProtocolError(Reject.BAD_ENVELOPE, f"signature of {len(signature)} B, not {SIGNATURE_BYTES} B")
    return Sign1(
        protected=protected, kid=_read_protected(protected), payload=payload, signature=signature, raw=data
    )


def _read_usual(data: bytes) -> Sign1 | None:
    """Return a message that is, byte for byte, the one encoding of our profile; None for any other.

    Everything but kid, payload and signature is fixed, and a byte string's length has one shortest form, so
    comparing proves what decoding and encoding again would prove. `None` says nothing: the careful way reads
    the message or finds the reason.
    """
    at = len(_USUAL_HEAD) + THUMBPRINT_BYTES
    if not data.startswith(_USUAL_HEAD) or data[at : at + 1] != _NO_UNPROTECTED:
        return None
    size, start = _string_head(data, at + 1)
    end = start + size
    if data[end : end + 2] != _SIGNATURE_HEAD or len(data) != end + 2 + SIGNATURE_BYTES:
        return None
    protected = data[len(_USUAL_HEAD) - len(_PROTECTED_HEAD) : at]
    return Sign1(
        protected=protected,
        kid=protected[len(_PROTECTED_HEAD) :],
        payload=data[start:end],
        signature=data[end + 2 :],
        raw=data,
    )


def _string_head(data: bytes, at: int) -> tuple[int, int]:
    """Return the length of the byte string whose head stands at `at`, and where it starts.

    A head that is not the shortest, or of a string that no message holds, gives a length beyond the data.
    """
    head = data[at] if at < len(data) else 0
    if _BSTR <= head < _BSTR + 24:
        return head - _BSTR, at + 1
    for code, width, least in ((_BSTR + 24, 1, 24), (_BSTR + 25, 2, 2**8), (_BSTR + 26, 4, 2**16)):
        if head == code:
            size = int.from_bytes(data[at + 1 : at + 1 + width], "big")
            return (size if size >= least else len(data)), at + 1 + width
    return len(data), at + 1


def verify_sign1(message: Sign1, kind: Kind, key: EllipticCurvePublicKey) -> None:
    """Verify a message of a kind by a key.

    Raises:
        ProtocolError: BAD_SIG; HIGH_S when only the malleable twin of a good signature was sent.
    """
    signed = sig_structure("Signature1", message.protected, external_aad(kind), message.payload)
    verify_raw(key, signed, message.signature)
    if not is_low_s(message.signature):
        raise ProtocolError(Reject.HIGH_S, "the signature verifies, but its s is above n/2")


def open_sign1(data: bytes, kind: Kind, keys: KeyLookup, *, max_bytes: int) -> Sign1:
    """Read strictly, find the key, verify.

    Args:
        data: the whole message.
        kind: the kind expected; a message of another kind does not verify.
        keys: gives the key for a kid, or None.
        max_bytes: longest message accepted.

    Raises:
        ProtocolError: as `read_sign1` and `verify_sign1`; UNKNOWN_KEY when `keys` has none.
    """
    message = read_sign1(data, max_bytes=max_bytes)
    key = keys(message.kid)
    if key is None:
        raise ProtocolError(Reject.UNKNOWN_KEY, f"no key {message.kid.hex()}")
    verify_sign1(message, kind, key)
    return message


def sig_structure(
    context: str, protected: bytes, aad: bytes, payload: bytes, *, sign_protected: bytes | None = None
) -> bytes:
    """Return the bytes that are signed.

    Args:
        context: "Signature1" for COSE_Sign1, "Signature" for COSE_Sign.
        protected: the encoded protected header of the body; empty when that header is empty.
        aad: external_aad.
        payload: the content.
        sign_protected: the encoded protected header of one signer, for COSE_Sign only.

    Source: RFC 9052 §4.4.
    """
    signer_part = [] if sign_protected is None else [sign_protected]
    return codec.encode_strings([context, protected, *signer_part, aad, payload])


def verify_raw(key: EllipticCurvePublicKey, message: bytes, signature64: bytes) -> None:
    """Verify ECDSA P-256 with SHA-256 over a message, s of either half.

    Args:
        key: on P-256.
        message: what was signed, before hashing.
        signature64: r‖s, 64 bytes.

    Raises:
        ProtocolError: BAD_SIG, also for r or s outside 1 … n-1 or another length.

    Source: FIPS 186-5 §6.4.2, RFC 9053 §2.1.
    """
    if len(signature64) != SIGNATURE_BYTES:
        raise ProtocolError(Reject.BAD_SIG, f"signature of {len(signature64)} B, not {SIGNATURE_BYTES} B")
    r, s = _scalars(signature64)
    if not (0 < r < P256_ORDER and 0 < s < P256_ORDER):
        raise ProtocolError(Reject.BAD_SIG, "r or s is outside 1 … n-1")
    try:
        key.verify(encode_dss_signature(r, s), message, _VERIFY)
    except InvalidSignature as error:
        raise ProtocolError(Reject.BAD_SIG, "the signature does not verify") from error


def is_low_s(signature64: bytes) -> bool:
    """Whether s ≤ n/2, so that a signature has one form only."""
    return _scalars(signature64)[1] <= _HALF_ORDER


def normalise_low_s(signature64: bytes) -> bytes:
    """Return the form of a signature with s ≤ n/2; both forms verify alike (SEC 1 §4.1.4)."""
    r, s = _scalars(signature64)
    low = min(s, P256_ORDER - s)
    return r.to_bytes(_SCALAR_BYTES, "big") + low.to_bytes(_SCALAR_BYTES, "big")


def _scalars(signature64: bytes) -> tuple[int, int]:
    return (
        int.from_bytes(signature64[:_SCALAR_BYTES], "big"),
        int.from_bytes(signature64[_SCALAR_BYTES:], "big"),
    )


def _read_protected(protected: bytes) -> bytes:
    """Return the kid of a protected header that is exactly {1: -9, 4: kid}."""
    if protected[: len(_PROTECTED_HEAD)] == _PROTECTED_HEAD and len(protected) == _PROTECTED_BYTES:
        return protected[len(_PROTECTED_HEAD) :]  # has that one encoding; all below only finds the reason
    header = codec.decode(protected, max_bytes=len(protected), max_depth=_SIGN1_DEPTH)
    if not isinstance(header, dict):
        raise ProtocolError(Reject.BAD_ENVELOPE, "the protected header is not a map")
    if header.get(_HEADER_ALG) != ESP256:
        raise ProtocolError(
            Reject.BAD_ALG, f"algorithm {header.get(_HEADER_ALG)!r}, only {ESP256} is accepted"
        )
    kid = header.get(_HEADER_KID)
    if (
        header.keys() != {_HEADER_ALG, _HEADER_KID}
        or not isinstance(kid, bytes)
        or len(kid) != THUMBPRINT_BYTES
    ):
        raise ProtocolError(
            Reject.BAD_ENVELOPE, "the protected header is not exactly algorithm and 32-byte kid"
        )
    return kid
