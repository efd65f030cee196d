"""The CA issues certificates for boxes and servers, and the list of revoked ones.

Each certificate is entered in the database in the same transaction.

Example:
    >>> with database.writing() as session, session.begin():
    ...     pem = issue_device_certificate(
    ...         session, issuer=issuer, org_id=org, device_id=device, request=request, now_us=utc_us()
    ...     )
"""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session

from backend.clock import from_datetime
from backend.domain.certificates import (
    CertificateRequest,
    Issuer,
    RevokedSerial,
    issue_client,
    issue_device,
    issue_server,
    make_crl,
)
from backend.store.certificates import Certificate, list_revoked
from protocol.limits import CERTIFICATE_BACKDATE_S

_S_US = 1_000_000


def issue_device_certificate(
    session: Session,
    *,
    issuer: Issuer,
    org_id: str,
    device_id: str,
    request: CertificateRequest,
    now_us: int,
) -> str:
    """Issue a box's TLS certificate inside the caller's transaction; return the PEM chain, its own first."""
    certificate = issue_device(
        issuer,
        public_key=request.public_key,
        device_id=device_id,
        serial=x509.random_serial_number(),
        now_us=now_us,
    )
    row = _row(certificate, org_id=org_id, subject=device_id, now_us=now_us)
    row.device_id = device_id
    row.key_sha256 = request.key_sha256
    session.add(row)
    return chain_pem(row, issuer=issuer)


def issue_server_certificate(
    session: Session,
    *,
    issuer: Issuer,
    org_id: str,
    public_key: EllipticCurvePublicKey,
    names: Sequence[str],
    now_us: int,
) -> str:
    """Issue a broker's or the API's certificate and commit it; return the chain in PEM, the server's first.

    Raises:
        ValueError: A name cannot stand in a certificate.
    """
    certificate = issue_server(
        issuer, public_key=public_key, names=names, serial=x509.random_serial_number(), now_us=now_us
    )
    with session.begin():
        row = _row(certificate, org_id=org_id, subject=names[0], now_us=now_us)
        session.add(row)
    return chain_pem(row, issuer=issuer)


def issue_client_certificate(
    session: Session,
    *,
    issuer: Issuer,
    org_id: str,
    public_key: EllipticCurvePublicKey,
    name: str,
    now_us: int,
) -> str:
    """Issue a certificate for a process of the server and commit it; return the PEM chain, its own first.

    Raises:
        ValueError: The name is not a service's.
    """
    certificate = issue_client(
        issuer, public_key=public_key, name=name, serial=x509.random_serial_number(), now_us=now_us
    )
    with session.begin():
        row = _row(certificate, org_id=org_id, subject=name, now_us=now_us)
        session.add(row)
    return chain_pem(row, issuer=issuer)


def publish_crl(session: Session, *, issuer: Issuer, now_us: int) -> str:
    """Return the revocation list in PEM: every revoked certificate that could still be shown."""
    # A certificate that has just expired stays listed while clocks may differ.
    rows = list_revoked(session, not_after_us=now_us - CERTIFICATE_BACKDATE_S * _S_US)
    revoked = [
        RevokedSerial(serial=int(row.serial, 16), revoked_us=row.revoked_us)
        for row in rows
        if row.revoked_us is not None
    ]
    return make_crl(issuer, revoked=revoked, now_us=now_us).public_bytes(Encoding.PEM).decode()


def chain_pem(row: Certificate, *, issuer: Issuer) -> str:
    """Return a stored certificate and the CA's in PEM."""
    certificate = x509.load_der_x509_certificate(row.der)
    return "".join(item.public_bytes(Encoding.PEM).decode() for item in (certificate, issuer.certificate))


def _row(certificate: x509.Certificate, *, org_id: str, subject: str, now_us: int) -> Certificate:
    return Certificate(
        serial=f"{certificate.serial_number:x}",
        org_id=org_id,
        subject=subject[:200],
        not_before_us=from_datetime(certificate.not_valid_before_utc),
        not_after_us=from_datetime(certificate.not_valid_after_utc),
        issued_us=now_us,
        der=certificate.public_bytes(Encoding.DER),
    )
