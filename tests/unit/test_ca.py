"""The own CA: what it believes of a request, what it writes, and what TLS accepts and refuses of it."""

import base64
import ssl
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.certificates import (
    CertificateRequest,
    Issuer,
    RevokedSerial,
    issue_client,
    issue_device,
    issue_server,
    make_authority,
    make_crl,
    read_csr,
)
from backend.domain.refusal import Reason, Refusal
from protocol.limits import CA_LIFE_DAYS, CSR_CHARS_MAX, DEVICE_CERTIFICATE_LIFE_DAYS
from tests.builders.backend import DAY, TODAY_US, make_csr

DEVICE = "9f" * 32
KEY = ec.derive_private_key(11, ec.SECP256R1())
DEVICE_KEY = ec.derive_private_key(12, ec.SECP256R1())
SERVER_KEY = ec.derive_private_key(13, ec.SECP256R1())
# TLS libraries ask the machine's clock, so what they judge is made for now and not for the tests' day.
ISSUER = Issuer(
    certificate=make_authority(KEY, name="a test's CA", serial=1, now_us=TODAY_US), private_key=KEY
)


def device_certificate(*, now_us: int = TODAY_US, issuer: Issuer = ISSUER) -> x509.Certificate:
    return issue_device(issuer, public_key=DEVICE_KEY.public_key(), device_id=DEVICE, serial=2, now_us=now_us)


def server_certificate(*names: str, now_us: int = TODAY_US) -> x509.Certificate:
    return issue_server(ISSUER, public_key=SERVER_KEY.public_key(), names=names, serial=3, now_us=now_us)


def pem(csr: x509.CertificateSigningRequest) -> str:
    return csr.public_bytes(Encoding.PEM).decode()


# --- requests ---


def test_of_a_request_only_the_key_is_taken() -> None:
    read = read_csr(pem(make_csr(DEVICE_KEY, name="administrator")))
    assert isinstance(read, CertificateRequest)
    assert read.public_key == DEVICE_KEY.public_key()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "secp256k1", "RSA", "Ed25519"],
)
def test_a_request_for_another_kind_of_key_is_refused(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    csr = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([])).sign(key, algorithm)
    assert refused(pem(csr))


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_in_a_request_is_refused(place: int, bit: int) -> None:
    der = bytearray(CSR_DER)
    der[place % len(der)] ^= 1 << bit
    assert refused(as_pem(bytes(der)))


def test_a_signature_that_leaves_its_last_bit_out_is_refused() -> None:
    """DER may say so when that bit is 0, and the signature verifies all the same."""
    made = (make_csr(ec.derive_private_key(number, ec.SECP256R1())) for number in range(1, 100))
    csr = next(csr for csr in made if not csr.signature[-1] & 1)
    der = bytearray(csr.public_bytes(Encoding.DER))
    der[-len(csr.signature) - 1] = 1
    assert x509.load_der_x509_csr(bytes(der)).is_signature_valid
    assert refused(as_pem(bytes(der)))


def test_a_request_of_another_version_is_refused() -> None:
    """Its reader has an error of its own for that, which is no ValueError."""
    head = CSR_DER.index(b"\x02\x01\x00")  # INTEGER 0: version 1. Source: RFC 2986 §4.1
    assert refused(as_pem(CSR_DER[:head] + b"\x02\x01\x01" + CSR_DER[head + 3 :]))


CSR_DER = make_csr(DEVICE_KEY).public_bytes(Encoding.DER)


@given(st.text())
def test_a_text_that_is_no_request_is_refused(text: str) -> None:
    assert refused(text)


def test_an_oversized_request_is_refused_before_it_is_read() -> None:
    assert refused(pem(make_csr(DEVICE_KEY)) + " " * CSR_CHARS_MAX)


def as_pem(der: bytes) -> str:
    """Return bytes as a request's PEM, whether or not they are one."""
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"


def refused(text: str) -> bool:
    read = read_csr(text)
    return isinstance(read, Refusal) and read.reason is Reason.BAD_REQUEST_FOR_CERTIFICATE


# --- what is written ---


def test_a_boxs_certificate_names_the_box_and_is_for_clients_only() -> None:
    certificate = device_certificate()
    certificate.verify_directly_issued_by(ISSUER.certificate)
    assert certificate.subject.rfc4514_string() == f"CN={DEVICE}"
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert not basic.value.ca
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:tbox:device:{DEVICE}"]


def test_a_certificate_says_which_key_signed_it() -> None:
    authority = ISSUER.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    for certificate in (device_certificate(), server_certificate("localhost")):
        named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert named.key_identifier == authority.digest


def test_a_boxs_certificate_lives_as_long_as_the_limit_says_and_began_a_little_ago() -> None:
    certificate = device_certificate()
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life == timedelta(days=DEVICE_CERTIFICATE_LIFE_DAYS, hours=1)


def test_no_certificate_outlives_the_ca() -> None:
    late = device_certificate(now_us=TODAY_US + (CA_LIFE_DAYS - 1) * DAY)
    assert late.not_valid_after_utc == ISSUER.certificate.not_valid_after_utc


def test_a_servers_certificate_has_its_names_and_addresses() -> None:
    certificate = server_certificate("broker.example.com", "192.0.2.7", "::1")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example.com"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "::1"]


@pytest.mark.parametrize(
    "name", ["", "*.example.com", "a b", "../x", "-a.example", "a..b", "a" * 65, "ex\nample"]
)
def test_what_is_neither_a_host_name_nor_an_address_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        server_certificate(name)


@pytest.mark.parametrize("name", [DEVICE, "", "Bridge", "a_b", "9a", "a" * 41])
def test_a_service_cannot_be_called_like_a_box(name: str) -> None:
    with pytest.raises(ValueError, match="service's name"):
        issue_client(ISSUER, public_key=DEVICE_KEY.public_key(), name=name, serial=4, now_us=TODAY_US)


def test_the_same_input_gives_the_same_certificate() -> None:
    assert device_certificate() == device_certificate()


def test_the_revocation_list_names_what_was_revoked_and_verifies() -> None:
    crl = make_crl(ISSUER, revoked=[RevokedSerial(serial=2, revoked_us=TODAY_US)], now_us=TODAY_US)
    assert crl.is_signature_valid(KEY.public_key())
    assert crl.get_revoked_certificate_by_serial_number(2) is not None
    assert crl.get_revoked_certificate_by_serial_number(3) is None


def test_a_later_revocation_list_has_a_higher_number() -> None:
    numbers = [
        make_crl(ISSUER, revoked=[], now_us=now_us)
        .extensions.get_extension_for_class(x509.CRLNumber)
        .value.crl_number
        for now_us in (TODAY_US, TODAY_US + DAY)
    ]
    assert numbers == sorted(set(numbers))


# --- TLS ---


class Handshake:
    """Client and server of a TLS connection in memory, with certificates of this CA."""

    def __init__(self, folder: Path, now_us: int) -> None:
        self.folder = folder
        self.now_us = now_us
        self.issuer = Issuer(
            certificate=make_authority(KEY, name="a test's CA", serial=1, now_us=now_us), private_key=KEY
        )
        (folder / "ca.pem").write_bytes(self.issuer.certificate.public_bytes(Encoding.PEM))
        self.server_files = self.files("server", SERVER_KEY, self._server())
        self.device_files = self.files(
            "device", DEVICE_KEY, device_certificate(now_us=now_us, issuer=self.issuer)
        )

    def _server(self) -> x509.Certificate:
        return issue_server(
            self.issuer, public_key=SERVER_KEY.public_key(), names=["localhost"], serial=3, now_us=self.now_us
        )

    def files(
        self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> tuple[Path, Path]:
        chain, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain.write_bytes(certificate.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return chain, private

    def run(
        self, client_files: tuple[Path, Path], *, crl: x509.CertificateRevocationList | None = None
    ) -> str:
        """Shake hands and return the client's name as the server reads it.

        Raises:
            ssl.SSLError: One side refused the other.
        """
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.verify_mode = ssl.CERT_REQUIRED
        server.verify_flags |= ssl.VERIFY_X509_STRICT
        server.load_cert_chain(*self.server_files)
        server.load_verify_locations(self.folder / "ca.pem")
        if crl is not None:
            (self.folder / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
            server.load_verify_locations(self.folder / "crl.pem")
            server.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        client = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        client.load_cert_chain(*client_files)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [
            client.wrap_bio(to_client, to_server, server_hostname="localhost"),
            server.wrap_bio(to_server, to_client, server_side=True),
        ]
        for _ in range(4):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        subject = ends[1].getpeercert()["subject"]  # type: ignore[index]
        return str(dict(item[0] for item in subject)["commonName"])  # type: ignore[misc]


@pytest.fixture
def handshake(tmp_path: Path) -> Handshake:
    return Handshake(tmp_path, time.time_ns() // 1_000)


def test_box_and_broker_accept_each_other_under_strict_checks(handshake: Handshake) -> None:
    assert handshake.run(handshake.device_files) == DEVICE


def test_a_revoked_box_is_refused_by_a_broker_that_has_the_list(handshake: Handshake) -> None:
    revoked = [RevokedSerial(serial=2, revoked_us=handshake.now_us)]
    crl = make_crl(handshake.issuer, revoked=revoked, now_us=handshake.now_us)
    with pytest.raises(ssl.SSLError, match="revoked"):
        handshake.run(handshake.device_files, crl=crl)


def test_a_box_that_is_not_on_the_list_is_accepted(handshake: Handshake) -> None:
    crl = make_crl(
        handshake.issuer, revoked=[RevokedSerial(serial=99, revoked_us=1)], now_us=handshake.now_us
    )
    assert handshake.run(handshake.device_files, crl=crl) == DEVICE


def test_a_foreign_certificate_is_refused(handshake: Handshake) -> None:
    stranger = Issuer(
        certificate=make_authority(SERVER_KEY, name="a test's CA", serial=1, now_us=handshake.now_us),
        private_key=SERVER_KEY,
    )
    files = handshake.files(
        "stranger", DEVICE_KEY, device_certificate(now_us=handshake.now_us, issuer=stranger)
    )
    with pytest.raises(ssl.SSLError):
        handshake.run(files)


def test_a_servers_certificate_does_not_serve_as_a_boxs(handshake: Handshake) -> None:
    with pytest.raises(ssl.SSLError, match="purpose"):
        handshake.run(handshake.server_files)


def test_an_expired_box_is_refused(handshake: Handshake) -> None:
    old = device_certificate(now_us=handshake.now_us - 200 * DAY, issuer=handshake.issuer)
    with pytest.raises(ssl.SSLError, match="expired"):
        handshake.run(handshake.files("old", DEVICE_KEY, old))
