"""A box shows a one-time token, a CSR and a proof by its agent key, and becomes known.

Rules:
- The proof binds everything: it is signed by the agent key whose thumbprint is the device id, and names the
  hashes of the CSR and of the token. So a token that leaks after its use is worth nothing, and no one enrols
  under another's name.
- The certificate is for a TLS key of its own: the agent key signs evidence and nothing else.
- A token is used by one box. If the answer got lost, the same box, asking for the same TLS key, gets the same
  certificate again, and nothing else changes; anyone else is told that the token was used.
- Its label and the operator's hook may refuse it: see `enrolment_hook`.
- A box that is known already enrols again with a fresh token of the same organisation: it gets a new
  certificate. So two tokens shown for one new box at the same moment both count: the later finds it known.

Example:
    >>> with database.writing() as session:
    ...     outcome = enrol_device(session, request, identity=identity, now_us=utc_us())
"""

from dataclasses import dataclass

from sqlmodel import Session

from backend.domain.certificates import CertificateRequest, read_csr
from backend.domain.device_life import DeviceStatus
from backend.domain.enrolment import (
    HOUR_US,
    TokenFacts,
    hash_token,
    judge_owner,
    judge_rate,
    judge_token,
)
from backend.domain.refusal import Reason, Refusal
from backend.store.certificates import find_answered
from backend.store.contention import in_transaction
from backend.store.devices import Device, DeviceKey, locate_device
from backend.store.enrolment_tokens import (
    EnrolmentToken,
    count_tokens_used_since,
    find_token_by_hash,
    take_token,
)
from backend.usecases.enrolment_hook import ask_hook, judge_label
from backend.usecases.issue_certificates import chain_pem, issue_device_certificate
from backend.usecases.service_identity import ServiceIdentity
from protocol.enrolment import EnrolmentProof, open_enrolment_proof
from protocol.errors import ProtocolError
from protocol.ids import cose_key_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRequest:
    """What a box sends.

    Attributes:
        token: The one-time token's text.
        csr_pem: Request for a certificate for its TLS key.
        proof: COSE_Sign1 of kind ENROL.
        label: What is printed on the box, or None.
    """

    token: str
    csr_pem: str
    proof: bytes
    label: str | None

    def __repr__(self) -> str:
        return f"EnrolmentRequest(token=<hidden>, label={self.label!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledDevice:
    """What a box gets: its name and its certificate with the CA's, in PEM."""

    device_id: str
    certificate_pem: str


def enrol_device(
    session: Session,
    request: EnrolmentRequest,
    *,
    identity: ServiceIdentity,
    hook: str | None = None,
    now_us: int,
) -> EnrolledDevice | Refusal:
    """Enrol a box and commit it.

    Args:
        session: A writing session without an open transaction.
        request: What the box sent.
        identity: The server's CA.
        hook: The operator's own check, see `enrolment_hook`; None for none.
        now_us: When, µs UTC.
    """
    csr = read_csr(request.csr_pem)
    if isinstance(csr, Refusal):
        return csr
    proof = _read_proof(request, csr)
    if isinstance(proof, Refusal):
        return proof
    if hook is not None:
        refused = _ask_hook(session, request, proof, hook)
        if refused is not None:
            return refused
    return in_transaction(
        session, lambda: _enrol(session, request, proof, csr, identity=identity, now_us=now_us)
    )


def _enrol(
    session: Session,
    request: EnrolmentRequest,
    proof: EnrolmentProof,
    csr: CertificateRequest,
    *,
    identity: ServiceIdentity,
    now_us: int,
) -> EnrolledDevice | Refusal:
    """Enter the box, or say no; when another request entered it meanwhile, this runs again and finds it."""
    token = find_token_by_hash(session, token_sha256=proof.token_sha256)
    device = locate_device(session, device_id=proof.device)
    if token is not None and token.used_by == proof.device:
        return _answer_again(session, token, csr, device_id=proof.device, identity=identity)
    refusal = _judge(session, token, device, now_us=now_us)
    if refusal is not None:
        return refusal
    assert token is not None, "judge_token refuses what is not there"
    refusal = judge_label(session, org_id=token.org_id, device_id=proof.device, label=request.label)
    if refusal is not None:
        return refusal
    if not take_token(
        session, org_id=token.org_id, token_id=token.token_id, device_id=proof.device, now_us=now_us
    ):
        return Refusal(reason=Reason.ENROLMENT_USED, detail="another box was faster with this token")
    _register(session, device, proof, org_id=token.org_id, label=request.label, now_us=now_us)
    certificate_pem = issue_device_certificate(
        session,
        issuer=identity.issuer,
        org_id=token.org_id,
        device_id=proof.device,
        request=csr,
        now_us=now_us,
    )
    return EnrolledDevice(device_id=proof.device, certificate_pem=certificate_pem)


def _ask_hook(
    session: Session, request: EnrolmentRequest, proof: EnrolmentProof, hook: str
) -> Refusal | None:
    """Ask the operator's check about a box with a token that is known; without one the rules say no."""
    token = in_transaction(session, lambda: find_token_by_hash(session, token_sha256=proof.token_sha256))
    if token is None:
        return None
    question = {"device": str(proof.device), "label": request.label, "organisation": token.org_id}
    return ask_hook(hook, question)


def _read_proof(request: EnrolmentRequest, csr: CertificateRequest) -> EnrolmentProof | Refusal:
    """Return the proof, verified, if it is about this token and this CSR."""
    try:
        proof = open_enrolment_proof(request.proof)
    except ProtocolError as wrong:
        return _bad_proof(str(wrong.code))
    if proof.token_sha256 != hash_token(request.token):
        return _bad_proof("it is for another token")
    if proof.csr_sha256 != csr.der_sha256:
        return _bad_proof("it is for another CSR")
    if cose_key_bytes(csr.public_key) == proof.agent_key:
        return Refusal(
            reason=Reason.BAD_REQUEST_FOR_CERTIFICATE, detail="its key must be another than the agent key"
        )
    return proof


def _judge(
    session: Session, token: EnrolmentToken | None, device: Device | None, *, now_us: int
) -> Refusal | None:
    """Ask every rule, the token's first, so that nobody without a token learns anything of a box."""
    facts = None if token is None else TokenFacts(expires_us=token.expires_us, used_us=token.used_us)
    refusal = judge_token(facts, now_us=now_us)
    if refusal is not None or token is None:
        return refusal
    last_hour = count_tokens_used_since(session, org_id=token.org_id, since_us=now_us - HOUR_US)
    return judge_rate(last_hour=last_hour) or judge_owner(
        owner=None if device is None else device.org_id,
        status=None if device is None else DeviceStatus(device.status),
        org_id=token.org_id,
    )


def _answer_again(
    session: Session,
    token: EnrolmentToken,
    csr: CertificateRequest,
    *,
    device_id: str,
    identity: ServiceIdentity,
) -> EnrolledDevice | Refusal:
    """Return what this box was answered before, if it asks for the same TLS key and is not revoked."""
    answered = find_answered(session, org_id=token.org_id, device_id=device_id, key_sha256=csr.key_sha256)
    if answered is None:
        return Refusal(reason=Reason.ENROLMENT_USED, detail="a token enrols once; ask for a fresh one")
    return EnrolledDevice(device_id=device_id, certificate_pem=chain_pem(answered, issuer=identity.issuer))


def _register(
    session: Session,
    device: Device | None,
    proof: EnrolmentProof,
    *,
    org_id: str,
    label: str | None,
    now_us: int,
) -> None:
    """Enter a new box and its key, or give a known one its new label."""
    if device is not None:
        device.label = label if label is not None else device.label
        return
    session.add(
        Device(
            device_id=proof.device,
            org_id=org_id,
            label=label,
            status=DeviceStatus.ENROLLED,
            created_us=now_us,
        )
    )
    session.flush()  # the key refers to the box
    session.add(
        DeviceKey(
            kid=proof.device,  # the id is the thumbprint of exactly this key
            org_id=org_id,
            device_id=proof.device,
            role="d2",
            cose_key=proof.agent_key,
            valid_from_us=now_us,
        )
    )


def _bad_proof(detail: str) -> Refusal:
    return Refusal(reason=Reason.BAD_PROOF, detail=detail)
