"""The enrolment client against a real HTTP server: what it sends, believes and says."""

from __future__ import annotations

import base64
import hashlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device.adapters.enrolment_http import EnrolmentClient
from device.adapters.https_json import HttpError
from protocol.enrolment import open_enrolment_proof, open_renewal_proof
from protocol.envelope import SoftwareSigner
from protocol.ids import device_id
from protocol.limits import HTTP_ANSWER_BYTES_MAX
from simulators.pki import CertificateAuthority
from tests.builders.agent import dated_server_certificate
from tests.builders.agent_http import DAY, RECEIPT_KEY, Answer, Json, Server, good_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "tboxe_" + "ab" * 24
NONCE = bytes(range(16))
D2 = ec.derive_private_key(7, ec.SECP256R1())
TLS_KEY = ec.derive_private_key(8, ec.SECP256R1())
DEVICE = device_id(D2.public_key())


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path / "ca")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def csr_hash(body: Json) -> bytes:
    csr = x509.load_pem_x509_csr(body["csr_pem"].encode())
    return hashlib.sha256(csr.public_bytes(serialization.Encoding.DER)).digest()


def enrol(server: Server, **more: Any) -> Any:
    client = EnrolmentClient(server.url, **more)
    return client.enrol(token=TOKEN, d2=SoftwareSigner(D2), tls_key=TLS_KEY, label="T-1")


def test_enrolment_shows_token_csr_and_a_proof_that_ties_them_together(
    server: Server, authority: CertificateAuthority
) -> None:
    server.answer = lambda _path, body: (201, good_answer(authority, body))
    enrolled = enrol(server)
    [(path, body)] = server.asked
    proof = open_enrolment_proof(base64.b64decode(body["proof"]))
    assert path == "/v1/enrol"
    assert (body["token"], body["label"]) == (TOKEN, "T-1")
    assert (proof.device, proof.token_sha256) == (DEVICE, hashlib.sha256(TOKEN.encode()).digest())
    assert proof.csr_sha256 == csr_hash(body)
    assert (enrolled.device, enrolled.broker_host, enrolled.broker_port) == (DEVICE, "broker.example", 8883)
    assert enrolled.receipt_keys == (RECEIPT_KEY,)


def test_renewal_signs_the_servers_nonce(server: Server, authority: CertificateAuthority) -> None:
    def answer(path: str, body: Json) -> Answer:
        return (
            (200, {"nonce": NONCE.hex()}) if path.endswith("/nonce") else (200, good_answer(authority, body))
        )

    server.answer = answer
    renewed = EnrolmentClient(server.url).renew(device=DEVICE, d2=SoftwareSigner(D2), tls_key=TLS_KEY)
    body = server.asked[1][1]
    signer = SoftwareSigner(D2)
    proof = open_renewal_proof(base64.b64decode(body["proof"]), {signer.kid: signer.public_key}.get)
    assert (proof.device, proof.nonce, proof.csr_sha256) == (DEVICE, NONCE, csr_hash(body))
    assert "BEGIN CERTIFICATE" in renewed.certificate_pem


def test_a_refusal_repeats_what_the_server_said(server: Server) -> None:
    server.answer = lambda *_: (
        409,
        {"title": "Token used", "detail": "a token enrols once; ask for a fresh one"},
    )
    with pytest.raises(HttpError) as refused:
        enrol(server)
    assert (refused.value.status, refused.value.is_transient) == (409, False)
    assert "Token used" in refused.value.diagnostics()
    assert "Next step: a token enrols once; ask for a fresh one" in refused.value.diagnostics()


@pytest.mark.parametrize(
    ("status", "is_transient"), [(400, False), (403, False), (429, True), (500, True), (503, True)]
)
def test_a_refusal_without_words_is_explained_by_its_status(
    server: Server, status: int, *, is_transient: bool
) -> None:
    server.answer = lambda *_: (status, b"<html>")
    with pytest.raises(HttpError) as refused:
        enrol(server)
    assert refused.value.is_transient is is_transient
    assert "Meaning:" in refused.value.diagnostics()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(server: Server, status: int) -> None:
    server.answer = lambda *_: (status, {})
    with pytest.raises(HttpError) as refused:
        enrol(server)
    assert refused.value.status == status
    assert [path for path, _ in server.asked] == ["/v1/enrol"]


SPOILED: dict[str, Callable[[Json], Json | bytes]] = {
    "another device": lambda good: good | {"device": "00" * 32},
    "no broker": lambda good: good | {"broker": None},
    "a broker without a port": lambda good: good | {"broker": {"host": "x", "port": 0}},
    "no receipt keys": lambda good: good | {"receipt_keys": []},
    "a key that is no key": lambda good: good | {"receipt_keys": ["00"]},
    "keys that are no text": lambda good: good | {"policy_keys": [1]},
    "no certificate": lambda good: good | {"certificate_pem": None},
    "a torn certificate": lambda good: good | {"certificate_pem": good["certificate_pem"][:200]},
    "the authority's certificate as ours": lambda good: good | {"certificate_pem": good["ca_pem"]},
    "a list": lambda _: b"[]",
    "no JSON": lambda _: b"hello",
    "too much": lambda _: b" " * (HTTP_ANSWER_BYTES_MAX + 1),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_an_answer_that_is_not_ours_is_not_believed(
    server: Server, authority: CertificateAuthority, spoil: Callable[[Json], Json | bytes]
) -> None:
    server.answer = lambda _path, body: (201, spoil(good_answer(authority, body)))
    with pytest.raises(HttpError, match="answer not usable"):
        enrol(server)


def test_a_nonce_that_is_none_ends_the_renewal(server: Server) -> None:
    server.answer = lambda *_: (200, {"nonce": "zz"})
    with pytest.raises(HttpError, match="answer not usable"):
        EnrolmentClient(server.url).renew(device=DEVICE, d2=SoftwareSigner(D2), tls_key=TLS_KEY)


def test_a_server_that_is_away_is_transient_and_says_what_to_check() -> None:
    with Server() as gone:
        url = gone.url
    with pytest.raises(HttpError) as away:
        EnrolmentClient(url).enrol(token=TOKEN, d2=SoftwareSigner(D2), tls_key=TLS_KEY)
    assert away.value.is_transient
    assert "not reached" in away.value.diagnostics()


def tls_server(credential: Any) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credential.cert, credential.key)
    return Server(context)


def test_https_is_checked_against_the_given_authority(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    with tls_server(authority.issue_server("api")) as server:
        server.answer = lambda _path, body: (201, good_answer(authority, body))
        assert enrol(server, ca_file=authority.ca_file).device == DEVICE
        foreign = CertificateAuthority.create(tmp_path / "foreign")
        with pytest.raises(HttpError, match="not trusted"):
            enrol(server, ca_file=foreign.ca_file)
        with pytest.raises(HttpError, match="not trusted"):
            enrol(server)


def test_an_expired_server_is_believed_only_by_a_box_without_a_clock(authority: CertificateAuthority) -> None:
    with tls_server(dated_server_certificate(authority, start=-3 * DAY, end=-DAY)) as server:
        server.answer = lambda _path, body: (201, good_answer(authority, body))
        with pytest.raises(HttpError, match="expired"):
            enrol(server, ca_file=authority.ca_file)
        assert enrol(server, ca_file=authority.ca_file, check_dates=False).device == DEVICE


@pytest.mark.parametrize("api", ["http://fleet.example", "ftp://127.0.0.1", "fleet.example:8443", "https://"])
def test_an_address_that_would_leak_the_token_or_is_none_is_refused_before_anything_is_sent(api: str) -> None:
    with pytest.raises(HttpError):
        EnrolmentClient(api)


def test_an_authority_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(HttpError, match="authority file not usable"):
        EnrolmentClient("https://127.0.0.1", ca_file=tmp_path / "none.pem")
