"""The CA issues certificates for boxes and servers, and the list of revoked ones.

Each certificate is entered in the database in the same transaction.

Example:
    >>> with database.writing() as session, session.begin():
    ...     pem = issue_device_certificate(
    ...         session, issuer=issuer, org_id=org, device_id=device, public_key=key, now_us=utc_us()
    ...     )
"""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session

from backend.clock import from_datetime
from backend.domain.certificates import Issuer, RevokedSerial, issue_device, issue_server, make_crl
from backend.store.certificates import Certificate, list_revoked
from protocol.limits import CERTIFICATE_BACKDATE_S

_S_US = 1_000_000


def issue_device_certificate(
    session: Session,
    *,
    issuer: Issuer,
    org_id: str,
    device_id: str,
    public_key: EllipticCurvePublicKey,
    now_us: int,
) -> str:
    """Issue a box's TLS certificate inside the caller's transaction; return the PEM chain, its own first."""
    certificate = issue_device(
        issuer,
        public_key=public_key,
        device_id=device_id,
        serial=x509.random_serial_number(),
        now_us=now_us,
    )
    session.add(_row(certificate, org_id=org_id, device_id=device_id, subject=device_id, now_us=now_us))
    return _pem(certificate) + _pem(issuer.certificate)


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
        session.add(_row(certificate, org_id=org_id, device_id=None, subject=names[0], now_us=now_us))
    return _pem(certificate) + _pem(issuer.certificate)


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


def _row(
    certificate: x509.Certificate, *, org_id: str, device_id: str | None, subject: str, now_us: int
) -> Certificate:
    return Certificate(
        serial=f"{certificate.serial_number:x}",
        org_id=org_id,
        device_id=device_id,
        subject=subject[:200],
        not_before_us=from_datetime(certificate.not_valid_before_utc),
        not_after_us=from_datetime(certificate.not_valid_after_utc),
        issued_us=now_us,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
