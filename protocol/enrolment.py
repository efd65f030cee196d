"""Proofs that the holder of an agent key asks for a certificate: the first time, and at each renewal.

Rules: a certificate belongs to a separate TLS key, so the agent key D2 signs what binds the two. At enrolment
it signs {device, hash of the CSR, hash of the one-time token, its own public key}: the device id must be that
key's thumbprint, so nobody can enrol under another's name. At renewal it signs {device, hash of the CSR, the
server's nonce}, which works with an expired certificate and needs no clock. The hash is of the CSR's DER, so
that PEM's white space does not matter.

This module issues nothing and keeps no token or nonce.

Example:
    >>> from cryptography.hazmat.primitives.asymmetric import ec
    >>> from protocol.envelope import SoftwareSigner
    >>> signer = SoftwareSigner(ec.derive_private_key(7, ec.SECP256R1()))
    >>> proof = enrolment_proof(signer.public_key, csr_der=b"csr", token="one-time")
    >>> open_enrolment_proof(sign_enrolment_proof(proof, signer)) == proof
    True
"""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from protocol import codec
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, read_sign1, sign1, verify_sign1
from protocol.errors import ProtocolError, Reject
from protocol.fields import Fields, versioned
from protocol.ids import (
    COSE_KEY_BYTES,
    THUMBPRINT_BYTES,
    DeviceId,
    cose_key_bytes,
    device_id,
    public_key_from_cose,
    thumbprint,
)
from protocol.limits import NONCE_BYTES, SIGN1_BYTES_MAX

VERSION = 1
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentProof:
    """What the agent key signs once.

    Attributes:
        device: thumbprint of `agent_key`.
        csr_sha256: SHA-256 of the CSR's DER, 32 bytes.
        token_sha256: SHA-256 of the one-time token's UTF-8, 32 bytes.
        agent_key: the public agent key as a COSE_Key, 75 bytes.
    """

    device: DeviceId
    csr_sha256: bytes
    token_sha256: bytes
    agent_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalProof:
    """What the agent key signs at each renewal: device, SHA-256 of the CSR's DER, the server's nonce."""

    device: DeviceId
    csr_sha256: bytes
    nonce: bytes


def enrolment_proof(public_key: EllipticCurvePublicKey, *, csr_der: bytes, token: str) -> EnrolmentProof:
    """Return the proof for an agent key, a CSR in DER and a one-time token."""
    return EnrolmentProof(
        device=device_id(public_key),
        csr_sha256=hashlib.sha256(csr_der).digest(),
        token_sha256=hashlib.sha256(token.encode()).digest(),
        agent_key=cose_key_bytes(public_key),
    )


def sign_enrolment_proof(proof: EnrolmentProof, signer: Signer) -> bytes:
    """Return the proof as it travels in the enrolment request."""
    payload = codec.encode(
        {
            1: VERSION,
            2: bytes.fromhex(proof.device),
            3: proof.csr_sha256,
            4: proof.token_sha256,
            5: proof.agent_key,
        }
    )
    return sign1(Kind.ENROL, payload, signer)


def open_enrolment_proof(data: bytes) -> EnrolmentProof:
    """Read a proof and verify it by the key it carries.

    That the token is good, unused and hashes to `token_sha256`, and the CSR to `csr_sha256`, is the caller's
    to check.

    Raises:
        ProtocolError: as `open_sign1`; UNSUPPORTED_VERSION, BAD_FIELD; UNKNOWN_KEY when the signer is not the
            key carried; WRONG_DEVICE when the device id is not its thumbprint.
    """
    message = read_sign1(data, max_bytes=SIGN1_BYTES_MAX)
    fields = _fields(message.payload, Kind.ENROL)
    proof = EnrolmentProof(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        csr_sha256=fields.octets(3, size=_HASH_BYTES),
        token_sha256=fields.octets(4, size=_HASH_BYTES),
        agent_key=fields.octets(5, size=COSE_KEY_BYTES),
    )
    public_key = public_key_from_cose(proof.agent_key)
    if thumbprint(public_key) != message.kid:
        raise ProtocolError(Reject.UNKNOWN_KEY, "signed by another key than the proof carries")
    verify_sign1(message, Kind.ENROL, public_key)
    if proof.device != device_id(public_key):
        raise ProtocolError(Reject.WRONG_DEVICE, "the device id is not the thumbprint of the agent key")
    return proof


def sign_renewal_proof(proof: RenewalProof, signer: Signer) -> bytes:
    """Return the proof as it travels in the renewal request."""
    payload = codec.encode({1: VERSION, 2: bytes.fromhex(proof.device), 3: proof.csr_sha256, 4: proof.nonce})
    return sign1(Kind.RENEW, payload, signer)


def open_renewal_proof(data: bytes, keys: KeyLookup) -> RenewalProof:
    """Read and verify a renewal proof.

    Args:
        data: the whole message.
        keys: gives the agent keys of devices that are not revoked.

    Raises:
        ProtocolError: as `open_sign1`; UNSUPPORTED_VERSION, BAD_FIELD. That the nonce is ours, fresh and
            unused, that the CSR fits, and that the key is this device's, is the caller's to check.
    """
    message = open_sign1(data, Kind.RENEW, keys, max_bytes=SIGN1_BYTES_MAX)
    fields = _fields(message.payload, Kind.RENEW)
    return RenewalProof(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        csr_sha256=fields.octets(3, size=_HASH_BYTES),
        nonce=fields.octets(4, size=NONCE_BYTES),
    )


def _fields(payload: bytes, kind: Kind) -> Fields:
    return versioned(payload, kind, version=VERSION, max_bytes=SIGN1_BYTES_MAX)
