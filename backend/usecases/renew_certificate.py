"""A box renews its TLS certificate by proof of its agent key, with no API key and no valid certificate.

Rules:
- It works after the certificate has expired: a car may have been parked for a winter. A revoked box is
  refused.
- Only an agent key in force now renews. A key that ended, or has not begun, may be in hands that the registry
  has already turned away, and a certificate would let them back onto the broker. Its holder is told so, and a
  revoked box, all of whose keys have ended, is told that instead.
- The proof names a fresh nonce of this server and the CSR. A nonce works once; if the answer got lost, the
  same request gets the same certificate again.
- Asking for a nonce reveals nothing: known, unknown and revoked boxes get one alike.

Example:
    >>> nonce = renewal_nonce(device_id, identity=identity, now_us=utc_us())
    >>> with database.writing() as session:
    ...     outcome = renew_certificate(
    ...         session, device_id=device, csr_pem=pem, proof=proof, identity=identity, now_us=utc_us()
    ...     )
"""

import secrets

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from sqlmodel import Session

from backend.domain.certificates import CertificateRequest, read_csr
from backend.domain.device_life import DeviceEvent, DeviceStatus, is_legal
from backend.domain.refusal import Reason, Refusal
from backend.domain.renewal_nonce import make_nonce, nonce_expiry_us
from backend.store.batch_signers import AGENT_ROLE
from backend.store.certificates import RenewalNonce, find_answered, forget_expired_nonces, is_nonce_used
from backend.store.contention import in_transaction
from backend.store.devices import Device, DeviceKey, locate_device, locate_device_key
from backend.usecases.enrol_device import EnrolledDevice
from backend.usecases.issue_certificates import chain_pem, issue_device_certificate
from backend.usecases.service_identity import ServiceIdentity
from protocol.enrolment import RenewalProof, open_renewal_proof
from protocol.errors import ProtocolError
from protocol.ids import cose_key_bytes, public_key_from_cose

_RANDOM_BYTES = 4


def renewal_nonce(device_id: str, *, identity: ServiceIdentity, now_us: int) -> bytes:
    """Return a nonce for one box, 16 bytes; nothing is looked up and nothing kept."""
    return make_nonce(
        secret=identity.nonce_secret,
        device_id=device_id,
        now_us=now_us,
        random4=secrets.token_bytes(_RANDOM_BYTES),
    )


def renew_certificate(
    session: Session, *, device_id: str, csr_pem: str, proof: bytes, identity: ServiceIdentity, now_us: int
) -> EnrolledDevice | Refusal:
    """Issue a box's next certificate and commit it.

    Args:
        session: A writing session without an open transaction.
        device_id: Which box asks.
        csr_pem: Request for a certificate for its TLS key.
        proof: COSE_Sign1 of kind RENEW.
        identity: The server's CA and nonce secret.
        now_us: When, µs UTC.
    """
    csr = read_csr(csr_pem)
    if isinstance(csr, Refusal):
        return csr
    return in_transaction(
        session,
        lambda: _renew(session, device_id, csr, proof, identity=identity, now_us=now_us),
    )


def _renew(
    session: Session,
    device_id: str,
    csr: CertificateRequest,
    proof: bytes,
    *,
    identity: ServiceIdentity,
    now_us: int,
) -> EnrolledDevice | Refusal:
    """Renew, or say no; when the same request was faster on another line, this runs again and finds it."""
    read = _read_proof(session, proof, csr)
    if isinstance(read, Refusal):
        return read
    opened, key = read
    if opened.device != device_id:
        return Refusal(reason=Reason.BAD_PROOF, detail="it is about another box")
    device = locate_device(session, device_id=device_id)
    assert device is not None, "a key's box exists: the database holds the reference"
    if not is_legal(DeviceStatus(device.status), DeviceEvent.RENEW):
        return Refusal(reason=Reason.DEVICE_REVOKED, detail="a revoked box needs new keys to enrol")
    if not key.is_in_force(now_us):
        return Refusal(reason=Reason.KEY_ENDED, detail="sign with the box's present agent key")
    return _issue(session, device, opened, csr, identity=identity, now_us=now_us)


def _read_proof(
    session: Session, proof: bytes, csr: CertificateRequest
) -> tuple[RenewalProof, DeviceKey] | Refusal:
    """Return the proof and its key, verified by an agent key of the box it names, if it is about this CSR.

    A key that ended counts here: only who holds it learns, one step on, what became of it.
    """
    signers: list[DeviceKey] = []

    def look_up(kid: bytes) -> EllipticCurvePublicKey | None:
        row = locate_device_key(session, kid=kid.hex())
        if row is None or row.role != AGENT_ROLE:
            return None
        signers.append(row)
        return public_key_from_cose(row.cose_key)

    try:
        opened = open_renewal_proof(proof, look_up)
    except ProtocolError as wrong:
        return Refusal(reason=Reason.BAD_PROOF, detail=str(wrong.code))
    if opened.device != signers[0].device_id:
        return Refusal(reason=Reason.BAD_PROOF, detail="it is signed by another box")
    if opened.csr_sha256 != csr.der_sha256:
        return Refusal(reason=Reason.BAD_PROOF, detail="it is for another CSR")
    if cose_key_bytes(csr.public_key) == signers[0].cose_key:
        return Refusal(
            reason=Reason.BAD_REQUEST_FOR_CERTIFICATE, detail="its key must be another than the agent key"
        )
    return opened, signers[0]


def _issue(
    session: Session,
    device: Device,
    proof: RenewalProof,
    csr: CertificateRequest,
    *,
    identity: ServiceIdentity,
    now_us: int,
) -> EnrolledDevice | Refusal:
    """Use the nonce up and issue; for a nonce that this very request has used, answer the same again."""
    org_id, device_id = device.org_id, device.device_id
    expires_us = nonce_expiry_us(proof.nonce, secret=identity.nonce_secret, device_id=device_id)
    if expires_us is None or now_us >= expires_us:
        return Refusal(reason=Reason.BAD_NONCE, detail="ask for a fresh nonce")
    if is_nonce_used(session, org_id=org_id, nonce=proof.nonce):
        answered = find_answered(session, org_id=org_id, device_id=device_id, key_sha256=csr.key_sha256)
        if answered is None:
            return Refusal(reason=Reason.BAD_NONCE, detail="this nonce was used; ask for a fresh one")
        return EnrolledDevice(
            device_id=device_id, certificate_pem=chain_pem(answered, issuer=identity.issuer)
        )
    forget_expired_nonces(session, org_id=org_id, now_us=now_us)
    session.add(RenewalNonce(nonce=proof.nonce, org_id=org_id, device_id=device_id, expires_us=expires_us))
    certificate_pem = issue_device_certificate(
        session, issuer=identity.issuer, org_id=org_id, device_id=device_id, request=csr, now_us=now_us
    )
    return EnrolledDevice(device_id=device_id, certificate_pem=certificate_pem)
