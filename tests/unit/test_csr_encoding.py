"""Requests of TPM keys, whose writer adds a NULL to ECDSA's algorithm: read, and nothing else is mended."""

import base64
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from backend.domain.certificates import CertificateRequest, read_csr
from backend.domain.csr_encoding import without_null
from backend.domain.refusal import Refusal

KEY = ec.derive_private_key(11, ec.SECP256R1())
ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")
WITH_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")


# Made by tpm2-openssl 1.1.1 of Debian 12 with a key in swtpm; its subject is 64 letters.
OF_A_TPM = """-----BEGIN CERTIFICATE REQUEST-----
MIIBCTCBrQIBADBLMUkwRwYDVQQDDEBhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJh
YmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEAE14iz1AWv1JZONUykeVAXC82iWSj3Qo+mDm9PMQ
0ufeYjkyUpQ8qTEXP7ky2Z7EpdYoWA2kJpE3Ibqj2AjsMqAAMAwGCCqGSM49BAMC
BQADSQAwRgIhAOGyqyiCi2IPYReXiOihVXnr8EcumMWUSfHeM2yp8ybrAiEAwVHc
rWpq7WhBURWlzoL+eqW1s96jBnOQ2JooaDNzmwc=
-----END CERTIFICATE REQUEST-----
"""


def _request(name: str = "ab" * 32, *, hashed: SHA256 | SHA384 | None = None) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(KEY, hashed or SHA256()).public_bytes(Encoding.DER)


def _wrapped(body: bytes) -> bytes:
    assert 128 <= len(body) < 65536
    return (
        b"\x30"
        + (b"\x81" + bytes([len(body)]) if len(body) < 256 else b"\x82" + len(body).to_bytes(2, "big"))
        + body
    )


def _body(der: bytes) -> bytes:
    return der[3:] if der[1] == 0x81 else der[4:]


def _with(der: bytes, algorithm: bytes) -> bytes:
    """Return a request whose last algorithm, the one beside the signature, is another."""
    before, found, after = _body(der).rpartition(ALGORITHM)
    assert found
    return _wrapped(before + algorithm + after)


def _pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("name", ["ab" * 32, "short", "x" * 60])
def test_a_request_with_the_null_is_read_and_its_hash_is_of_what_was_sent(name: str) -> None:
    sent = _with(_request(name), WITH_NULL)
    with pytest.raises(ValueError, match="error parsing"):
        x509.load_der_x509_csr(sent)
    read = read_csr(_pem(sent))
    assert isinstance(read, CertificateRequest)
    assert read.public_key == KEY.public_key()
    assert read.der_sha256 == hashlib.sha256(sent).digest()


def test_a_request_that_a_tpm_really_made_is_read() -> None:
    with pytest.raises(ValueError, match="signature_alg"):
        x509.load_pem_x509_csr(OF_A_TPM.encode())
    assert isinstance(read_csr(OF_A_TPM), CertificateRequest)


def test_leaving_the_null_out_gives_the_request_as_it_should_have_been_written() -> None:
    good = _request()
    assert without_null(_with(good, WITH_NULL)) == good


def test_a_request_with_the_null_is_still_refused_when_its_signature_is_of_something_else() -> None:
    sent = bytearray(_with(_request(), WITH_NULL))
    at = bytes(sent).index(b"abab")
    sent[at] ^= 1
    refused = read_csr(_pem(bytes(sent)))
    assert isinstance(refused, Refusal)
    assert "does not verify" in refused.detail


@pytest.mark.parametrize(
    "algorithm",
    [
        bytes.fromhex("300d06082a8648ce3d040302040100"),  # other parameters: an OCTET STRING
        bytes.fromhex("300e06082a8648ce3d04030205000500"),  # two of them
        bytes.fromhex("300c06082a8648ce3d0403010500"),  # another algorithm with a NULL
        bytes.fromhex("30810c06082a8648ce3d0403020500"),  # a longer spelling of the length
    ],
)
def test_no_other_algorithm_or_spelling_is_mended(algorithm: bytes) -> None:
    sent = _with(_request(), algorithm)
    assert without_null(sent) is None
    assert isinstance(read_csr(_pem(sent)), Refusal)


def test_bytes_after_the_end_and_every_cut_are_refused() -> None:
    sent = _with(_request(), WITH_NULL)
    for torn in (sent + b"\x00", *(sent[:size] for size in range(len(sent)))):
        assert without_null(torn) is None
        assert isinstance(read_csr(_pem(torn)), Refusal)


def test_two_requests_in_one_text_are_refused() -> None:
    pem = _pem(_with(_request(), WITH_NULL))
    assert isinstance(read_csr(pem + pem), Refusal)
