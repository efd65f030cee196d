"""Enrolment and renewal over HTTP: how a box gets its certificate and learns whom to believe.

Rules:
- Enrolment shows a one-time token, a CSR of the TLS key and a proof by D2 that ties the two together.
- Renewal needs no certificate at all, also not an unexpired one: the server's nonce, signed by D2, is the
  proof.
- HTTPS, checked against the given authority (else the system's). Plain HTTP only to this machine, since a
  token on the wire belongs to whoever reads it first. No redirect and no proxy of the environment is
  followed.
- What the server answers is checked before it is kept: our id, our TLS key, certificates that can be read.

It stores nothing; the caller does.

Example:
    client = EnrolmentClient("https://fleet.example:8443", ca_file=Path("ca.pem"))
    enrolled = client.enrol(token="tboxe_…", d2=d2_key, tls_key=tls_key, label="T-000123")
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from device.adapters.https_json import JsonService, raise_unusable
from protocol.enrolment import RenewalProof, enrolment_proof, sign_enrolment_proof, sign_renewal_proof
from protocol.errors import ProtocolError
from protocol.ids import DeviceId, device_id, public_key_from_cose
from protocol.limits import NONCE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from device.adapters.key_store import BoxKey

PORT_MAX = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What an enrolment or a renewal brings.

    Attributes:
        device: our id, as the server and we computed it.
        certificate_pem: our TLS certificate and its chain.
        ca_pem: the authorities that vouch for the broker.
        receipt_keys: COSE_Key bytes of the keys that sign receipts and times now.
        policy_keys: COSE_Key bytes of the keys that sign policies now.
        successions: signed links from older keys to these, oldest first; at a renewal nothing else leads to a
            new key.
        broker_host: name or address of the broker.
        broker_port: its TCP port.
    """

    device: DeviceId
    certificate_pem: str
    ca_pem: str
    receipt_keys: tuple[bytes, ...]
    policy_keys: tuple[bytes, ...]
    successions: tuple[bytes, ...]
    broker_host: str
    broker_port: int


class EnrolmentClient:
    """A client of `/v1/enrol` and `/v1/renewals`.

    Args:
        api: where the server is, `https://host[:port]`.
        ca_file: PEM of the authority that vouches for it; None uses the system's.
        check_dates: False while nobody vouches for the clock.

    Raises:
        HttpError: the address cannot be used, or the authority file cannot be read.
    """

    def __init__(self, api: str, *, ca_file: Path | None = None, check_dates: bool = True) -> None:
        self._service = JsonService(api, ca_file=ca_file, check_dates=check_dates)

    def enrol(
        self,
        *,
        token: str,
        d2: BoxKey,
        tls_key: EllipticCurvePrivateKey,
        label: str | None = None,
    ) -> Enrolled:
        """Enrol this box.

        Args:
            token: the one-time token from the installer's work order.
            d2: the box's signing key; its first one names the box.
            tls_key: the key that the certificate is for.
            label: serial number on the box.

        Raises:
            HttpError: not reached, refused, or answered something unusable; nothing was stored here.
        """
        device = device_id(d2.public_key)
        csr = _csr(device, tls_key)
        proof = enrolment_proof(d2.public_key, csr_der=_der(csr), token=token)
        answer = self._service.post(
            "/v1/enrol",
            {
                "token": token,
                "csr_pem": _pem(csr),
                "proof": _base64(sign_enrolment_proof(proof, d2)),
                "label": label,
            },
        )
        return _read_enrolled(answer, device, tls_key)

    def renew(self, *, device: DeviceId, d2: BoxKey, tls_key: EllipticCurvePrivateKey) -> Enrolled:
        """Get a new certificate for the TLS key; works with an expired one, not for a revoked box.

        Raises:
            HttpError: as `enrol`.
        """
        nonce = _hex(self._service.post("/v1/renewals/nonce", {"device": device}), "nonce", NONCE_BYTES)
        csr = _csr(device, tls_key)
        proof = RenewalProof(device=device, csr_sha256=hashlib.sha256(_der(csr)).digest(), nonce=nonce)
        answer = self._service.post(
            "/v1/renewals",
            {
                "device": device,
                "csr_pem": _pem(csr),
                "proof": _base64(sign_renewal_proof(proof, d2)),
            },
        )
        return _read_enrolled(answer, device, tls_key)


def _csr(device: DeviceId, tls_key: EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(tls_key, hashes.SHA256())


def _der(csr: x509.CertificateSigningRequest) -> bytes:
    return csr.public_bytes(serialization.Encoding.DER)


def _pem(csr: x509.CertificateSigningRequest) -> str:
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _read_enrolled(answer: dict[str, object], device: DeviceId, tls_key: EllipticCurvePrivateKey) -> Enrolled:
    if answer.get("device") != device:
        raise_unusable("it is about another device")
    broker = answer.get("broker")
    host = broker.get("host") if isinstance(broker, dict) else None
    port = broker.get("port") if isinstance(broker, dict) else None
    if not isinstance(host, str) or not host or not isinstance(port, int) or not 0 < port <= PORT_MAX:
        raise_unusable("it names no broker")
    receipt_keys = _keys(answer, "receipt_keys")
    if not receipt_keys:
        raise_unusable("it has no receipt key, so nothing could ever be freed")
    return Enrolled(
        device=device,
        certificate_pem=_certificate(answer, device, tls_key),
        ca_pem=_authority(answer),
        receipt_keys=receipt_keys,
        policy_keys=_keys(answer, "policy_keys"),
        successions=_list_of_bytes(answer, "successions"),
        broker_host=host,
        broker_port=port,
    )


def _certificate(answer: dict[str, object], device: DeviceId, tls_key: EllipticCurvePrivateKey) -> str:
    """Return our chain; the first certificate is for our key and our name."""
    chain = answer.get("certificate_pem")
    try:
        own = x509.load_pem_x509_certificates(chain.encode())[0] if isinstance(chain, str) else None
    except ValueError:
        own = None
    if own is None or not isinstance(chain, str):
        raise_unusable("it has no certificate that can be read")
    names = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if own.public_key() != tls_key.public_key() or [name.value for name in names] != [device]:
        raise_unusable("its certificate is not for our key and name")
    return chain


def _authority(answer: dict[str, object]) -> str:
    authority = answer.get("ca_pem")
    try:
        is_one = isinstance(authority, str) and bool(x509.load_pem_x509_certificates(authority.encode()))
    except ValueError:
        is_one = False
    if not is_one or not isinstance(authority, str):
        raise_unusable("it has no authority that can be read")
    return authority


def _keys(answer: dict[str, object], name: str) -> tuple[bytes, ...]:
    """Return public keys, each proved to be one."""
    keys = _list_of_bytes(answer, name)
    try:
        for key in keys:
            public_key_from_cose(key)
    except ProtocolError:
        raise_unusable(f"{name} holds something that is no key")
    return keys


def _list_of_bytes(answer: dict[str, object], name: str) -> tuple[bytes, ...]:
    listed = answer.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise_unusable(f"{name} is not a list of texts")
    try:
        return tuple(bytes.fromhex(item) for item in listed)
    except ValueError:
        raise_unusable(f"{name} is not in hex")


def _hex(answer: dict[str, object], name: str, size: int) -> bytes:
    value = answer.get(name)
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != size:
        raise_unusable(f"{name} is not {size} bytes in hex")
    return data
