"""What our CA writes into a certificate, and what it believes of a request for one.

Rules:
- P-256 only. Of a CSR only the public key is taken, after its signature has been checked: names and
  extensions in it are ignored, since the name is decided by the registry. One misspelling is read, see
  `csr_encoding`; the hash is always that of the bytes sent.
- A box's certificate has CN = device id and is for TLS clients only; a server's has the names asked for on
  the command line and is for TLS servers only. Neither can sign certificates; the CA can sign nothing but
  them and the CRL.
- A certificate ends with the CA's own at the latest.
- Signatures are deterministic (RFC 6979), serial numbers are given by the caller and random.

This module reads no file and asks for no time.

Example:
    >>> request = read_csr(pem)
    >>> key = request.public_key
    >>> issued = issue_device(issuer, public_key=key, device_id="9f" * 32, serial=serial, now_us=now_us)

Source: RFC 5280 §4.2 (extensions), §5 (CRL), §4.1.2.2 (serial of at most 20 octets).
"""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from backend.domain.csr_encoding import der_of, without_null
from backend.domain.refusal import Reason, Refusal
from protocol.limits import (
    CA_LIFE_DAYS,
    CERTIFICATE_BACKDATE_S,
    CRL_LIFE_DAYS,
    CSR_CHARS_MAX,
    DEVICE_CERTIFICATE_LIFE_DAYS,
    SERVER_CERTIFICATE_LIFE_DAYS,
)

BRIDGE_NAME: Final = "bridge"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
# Too short for a device id, so that neither is taken for the other.
_SERVICE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
# RFC 1123 §2.1, without a final dot; addresses are read as such before.
_HOST_NAME: Final = re.compile(
    r"(?=.{1,64}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*",
    re.ASCII,
)
_BACKDATE: Final = timedelta(seconds=CERTIFICATE_BACKDATE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The CA: its certificate and the key that signs."""

    certificate: x509.Certificate
    private_key: EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedSerial:
    """One line of the CRL."""

    serial: int
    revoked_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """All that is taken from a CSR: its key, and its hash, which the box's proof names."""

    public_key: EllipticCurvePublicKey
    der_sha256: bytes

    @property
    def key_sha256(self) -> bytes:
        """SHA-256 of the key's SubjectPublicKeyInfo: the same for every CSR of one key."""
        spki = self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).digest()


def read_csr(pem: str) -> CertificateRequest | Refusal:
    """Return what a CSR asks a certificate for, if the owner of its key has signed it."""
    if len(pem) > CSR_CHARS_MAX:
        return _bad_csr(f"it has more than {CSR_CHARS_MAX} characters")
    try:
        csr, der = _load_csr(pem)
        public_key = csr.public_key()
        if not isinstance(public_key, EllipticCurvePublicKey) or not isinstance(public_key.curve, SECP256R1):
            return _bad_csr("its key is not on P-256")
        if not csr.is_signature_valid:
            return _bad_csr("its signature does not verify")
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion):
        return _bad_csr("it cannot be read as PKCS#10 in PEM")
    if der[-len(csr.signature) - 1] != 0:  # unused bits: the same signature, written in another way
        return _bad_csr("its signature is not of whole octets")
    return CertificateRequest(public_key=public_key, der_sha256=hashlib.sha256(der).digest())


def _load_csr(pem: str) -> tuple[x509.CertificateSigningRequest, bytes]:
    """Return a CSR and its DER as it was sent, which is what the box's proof names.

    Raises:
        ValueError: It cannot be read, not even without a NULL that does not belong there.
    """
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
    except ValueError:
        sent = der_of(pem)
        mended = None if sent is None else without_null(sent)
        if sent is None or mended is None:
            raise
        return x509.load_der_x509_csr(mended), sent
    return csr, csr.public_bytes(Encoding.DER)


def make_authority(
    private_key: EllipticCurvePrivateKey, *, name: str, serial: int, now_us: int
) -> x509.Certificate:
    """Return the CA's own certificate, signed by itself."""
    subject = _name(name)
    now = _moment(now_us)
    public_key = private_key.public_key()
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=CA_LIFE_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False)
        .sign(private_key, SHA256(), ecdsa_deterministic=True)
    )


def issue_device(
    issuer: Issuer, *, public_key: EllipticCurvePublicKey, device_id: str, serial: int, now_us: int
) -> x509.Certificate:
    """Return a certificate with which a box proves its name to the broker."""
    # 64 characters are too many for a DNS label, so the name stands as a URI besides the CN.
    alternative = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(f"urn:tbox:device:{device_id}")]
    )
    return _issue(
        issuer,
        public_key=public_key,
        subject=device_id,
        alternative=alternative,
        use=ExtendedKeyUsageOID.CLIENT_AUTH,
        life=timedelta(days=DEVICE_CERTIFICATE_LIFE_DAYS),
        serial=serial,
        now_us=now_us,
    )


def issue_client(
    issuer: Issuer, *, public_key: EllipticCurvePublicKey, name: str, serial: int, now_us: int
) -> x509.Certificate:
    """Return a certificate with which a process of the server shows itself to the broker.

    Raises:
        ValueError: The name could be taken for a box's.
    """
    check_service_name(name)
    return _issue(
        issuer,
        public_key=public_key,
        subject=name,
        alternative=x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:tbox:service:{name}")]),
        use=ExtendedKeyUsageOID.CLIENT_AUTH,
        life=timedelta(days=SERVER_CERTIFICATE_LIFE_DAYS),
        serial=serial,
        now_us=now_us,
    )


def issue_server(
    issuer: Issuer, *, public_key: EllipticCurvePublicKey, names: Sequence[str], serial: int, now_us: int
) -> x509.Certificate:
    """Return a certificate for a broker or the API under these host names and addresses, the first one as CN.

    Raises:
        ValueError: No name was given, or one cannot stand in a certificate.
    """
    check_host_names(names)
    return _issue(
        issuer,
        public_key=public_key,
        subject=names[0],
        alternative=x509.SubjectAlternativeName([_general_name(name) for name in names]),
        use=ExtendedKeyUsageOID.SERVER_AUTH,
        life=timedelta(days=SERVER_CERTIFICATE_LIFE_DAYS),
        serial=serial,
        now_us=now_us,
    )


def check_service_name(name: str) -> None:
    """Accept what a process of the server may be called.

    Raises:
        ValueError: It is something else.
    """
    if _SERVICE_NAME.fullmatch(name) is None:
        raise ValueError("a service's name is 1 to 40 of a-z, 0-9 and -, a letter first")


def common_name(certificate: x509.Certificate) -> str:
    """Return the name a certificate was issued under; empty when it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def is_bridge_name(name: str) -> bool:
    """Whether a service of this name is a bridge: `bridge`, or `bridge-` and a suffix where several run."""
    return name == BRIDGE_NAME or (
        name.startswith(f"{BRIDGE_NAME}-") and _SERVICE_NAME.fullmatch(name) is not None
    )


def check_host_names(names: Sequence[str]) -> None:
    """Accept one or more host names and addresses.

    Raises:
        ValueError: There is none, or one is something else.
    """
    if not names:
        raise ValueError("a server certificate needs at least one host name or address")
    for name in names:
        _general_name(name)


def make_crl(
    issuer: Issuer, *, revoked: Sequence[RevokedSerial], now_us: int
) -> x509.CertificateRevocationList:
    """Return the CA's revocation list; its number is the microsecond it was made, so it grows."""
    now = _moment(now_us)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - _BACKDATE)
        .next_update(now + timedelta(days=CRL_LIFE_DAYS))
        .add_extension(x509.CRLNumber(now_us), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key()),
            critical=False,
        )
    )
    for line in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(line.serial)
            .revocation_date(_moment(line.revoked_us))
            .build()
        )
    return builder.sign(issuer.private_key, SHA256(), ecdsa_deterministic=True)


def _issue(
    issuer: Issuer,
    *,
    public_key: EllipticCurvePublicKey,
    subject: str,
    alternative: x509.SubjectAlternativeName,
    use: x509.ObjectIdentifier,
    life: timedelta,
    serial: int,
    now_us: int,
) -> x509.Certificate:
    now = _moment(now_us)
    authority_key = issuer.private_key.public_key()
    return (
        x509.CertificateBuilder(subject_name=_name(subject), issuer_name=issuer.certificate.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(min(now + life, issuer.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(alternative, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), critical=False)
        .sign(issuer.private_key, SHA256(), ecdsa_deterministic=True)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if _HOST_NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name!r} is neither a host name of at most 64 characters nor an address"
            ) from None
        return x509.DNSName(name)


def _moment(instant_us: int) -> datetime:
    """Return an instant as X.509 keeps it, whole seconds."""
    return (_EPOCH + instant_us * _US).replace(microsecond=0)


def _bad_csr(detail: str) -> Refusal:
    return Refusal(reason=Reason.BAD_REQUEST_FOR_CERTIFICATE, detail=detail)
