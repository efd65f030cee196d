"""Enrolment over HTTP: who becomes known, who does not, and what a repeat changes.

Nobody registers himself: a box needs a token that its organisation has made (B-05).
"""

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi.testclient import TestClient
from sqlmodel import select

from backend.domain.access import Role
from backend.store.enrolment_tokens import EnrolmentToken
from protocol.enrolment import enrolment_proof, sign_enrolment_proof
from protocol.envelope import Kind, sign1
from protocol.ids import cose_key_bytes
from protocol.limits import (
    ENROLMENT_TOKENS_PER_REQUEST_MAX,
    ENROLMENTS_PER_HOUR_MAX,
)
from tests.builders.backend import (
    DAY,
    Backend,
    Box,
    b64,
    make_backend,
    make_csr,
    problem,
    registry_rows,
    serial,
)

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


@pytest.fixture
def client(backend: Backend) -> Iterator[TestClient]:
    with backend.client() as client:
        yield client


def used_tokens(backend: Backend) -> list[str | None]:
    with backend.database() as database, database.reading() as session:
        return [row.used_by for row in session.exec(select(EnrolmentToken)).all() if row.used_us is not None]


def test_a_box_gets_its_name_a_certificate_and_whom_to_believe(backend: Backend, client: TestClient) -> None:
    box = Box()
    answer = box.enrol(backend, client)
    own, authority = x509.load_pem_x509_certificates(answer["certificate_pem"].encode())
    assert answer["device"] == box.device_id
    assert own.subject.rfc4514_string() == f"CN={box.device_id}"
    assert own.public_key() == box.tls_key.public_key()
    own.verify_directly_issued_by(authority)
    assert authority.public_bytes(Encoding.PEM).decode() == answer["ca_pem"]
    assert answer["receipt_keys"] == [cose_key_bytes(backend.identity.receipt_signer.public_key).hex()]
    assert answer["policy_keys"] == [cose_key_bytes(backend.identity.policy_signer.public_key).hex()]
    assert answer["broker"] == {"host": "localhost", "port": 8883}


def test_names_in_a_request_decide_nothing(backend: Backend, client: TestClient) -> None:
    box, other = Box(), Box()
    box.csr = make_csr(box.tls_key, name=other.device_id)
    own = x509.load_pem_x509_certificates(box.enrol(backend, client)["certificate_pem"].encode())[0]
    assert own.subject.rfc4514_string() == f"CN={box.device_id}"


def test_a_token_enrols_one_box(backend: Backend, client: TestClient) -> None:
    token = backend.token()
    assert client.post("/v1/enrol", json=Box().request(token)).status_code == 201
    before = registry_rows(backend)
    second = client.post("/v1/enrol", json=Box().request(token))
    assert (second.status_code, problem(second)) == (409, "enrolment-used")
    assert registry_rows(backend) == before


def test_a_request_sent_again_gets_the_same_answer_and_changes_nothing(
    backend: Backend, client: TestClient
) -> None:
    request = Box().request(backend.token())
    first = client.post("/v1/enrol", json=request)
    before = registry_rows(backend)
    again = client.post("/v1/enrol", json=request)
    assert (again.status_code, again.json()) == (201, first.json())
    assert registry_rows(backend) == before


def test_a_box_whose_answer_got_lost_may_sign_a_new_request_for_the_same_key(
    backend: Backend, client: TestClient
) -> None:
    box, token = Box(), backend.token()
    first = client.post("/v1/enrol", json=box.request(token)).json()
    box.csr = make_csr(box.tls_key, name="signed anew")
    backend.clock.pass_seconds(10 * 86_400)  # the token has expired since
    again = client.post("/v1/enrol", json=box.request(token))
    assert again.json()["certificate_pem"] == first["certificate_pem"]


def test_a_used_token_gets_the_same_box_no_certificate_for_another_key(
    backend: Backend, client: TestClient
) -> None:
    box, token = Box(), backend.token()
    client.post("/v1/enrol", json=box.request(token))
    again = client.post("/v1/enrol", json=Box(agent_key=box.agent_key).request(token))
    assert problem(again) == "enrolment-used"


def test_a_known_box_with_a_fresh_token_gets_a_new_certificate_and_stays_one_box(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    first = box.enrol(backend, client)
    second = Box(agent_key=box.agent_key).enrol(backend, client)
    assert serial(first) != serial(second)
    assert registry_rows(backend) | {"certificate": 0} == {
        "device": 1,
        "device_key": 1,
        "certificate": 0,
        "renewal_nonce": 0,
    }


def test_a_label_is_kept_until_another_is_given(backend: Backend, client: TestClient) -> None:
    box = Box()
    for label, expected in (("TB-1", "TB-1"), (None, "TB-1"), ("TB-2", "TB-2")):
        client.post("/v1/enrol", json=box.request(backend.token(), label=label))
        shown = client.get(f"/v1/devices/{box.device_id}", headers=backend.admin).json()
        assert shown["label"] == expected


def test_an_expired_token_enrols_no_one(backend: Backend, client: TestClient) -> None:
    token = backend.token(life_s=60)
    backend.clock.pass_seconds(60)
    answer = client.post("/v1/enrol", json=Box().request(token))
    assert (answer.status_code, problem(answer)) == (403, "enrolment-expired")


def test_another_organisations_box_does_not_change_hands_by_a_token(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    box.enrol(backend, client)
    answer = client.post("/v1/enrol", json=box.request(backend.token(org_id=backend.organisation("Another"))))
    assert (answer.status_code, problem(answer)) == (409, "device-elsewhere")
    assert client.get(f"/v1/devices/{box.device_id}", headers=backend.admin).status_code == 200


def test_an_hour_has_so_many_enrolments_and_the_next_hour_has_more(
    backend: Backend, client: TestClient
) -> None:
    with backend.database() as database, database.writing() as session, session.begin():
        for number in range(ENROLMENTS_PER_HOUR_MAX):
            session.add(
                EnrolmentToken(
                    token_id=f"{number:012x}",
                    org_id=backend.org_id,
                    token_sha256=number.to_bytes(32, "big"),
                    created_us=0,
                    created_by="test",
                    expires_us=1,
                    used_us=backend.clock(),
                    used_by="00" * 32,
                )
            )
    token = backend.token()
    full = client.post("/v1/enrol", json=Box().request(token))
    assert (full.status_code, problem(full)) == (429, "too-many-enrolments")
    assert full.headers["retry-after"] == "3600"
    backend.clock.pass_seconds(3601)
    assert client.post("/v1/enrol", json=Box().request(token)).status_code == 201


def wrong_requests() -> dict[str, tuple[Callable[[Box, str], dict[str, Any]], str]]:
    """Return requests that lack something, and the problem each one is answered with."""
    stranger = Box()

    def forged(box: Box, token: str) -> dict[str, Any]:
        proof = enrolment_proof(box.agent_key.public_key(), csr_der=box.csr_der, token=token)
        return box.request(token, proof=b64(sign_enrolment_proof(proof, stranger.signer)))

    def another_kind(box: Box, token: str) -> dict[str, Any]:
        return box.request(token, proof=b64(sign1(Kind.RENEW, b"\xa0", box.signer)))

    def agent_key_as_tls_key(box: Box, token: str) -> dict[str, Any]:
        return Box(agent_key=box.agent_key, tls_key=box.agent_key).request(token)

    p384 = make_csr(ec.generate_private_key(ec.SECP384R1())).public_bytes(Encoding.PEM).decode()
    return {
        "unknown token": (lambda box, _: box.request("tboxe_" + "0" * 48), "enrolment-unknown"),
        "token of another form": (lambda box, _: box.request("x"), "enrolment-unknown"),
        "proof for another token": (
            lambda box, token: box.request(token, proof=box.request("tboxe_" + "0" * 48)["proof"]),
            "bad-proof",
        ),
        "proof for another request": (
            lambda box, token: box.request(token, csr_pem=stranger.csr_pem),
            "bad-proof",
        ),
        "proof by another key": (forged, "bad-proof"),
        "proof of another kind": (another_kind, "bad-proof"),
        "no proof": (lambda box, token: box.request(token, proof=""), "bad-proof"),
        "random proof": (lambda box, token: box.request(token, proof="AAAA"), "bad-proof"),
        "no request": (lambda box, token: box.request(token, csr_pem="hello"), "bad-csr"),
        "P-384": (lambda box, token: box.request(token, csr_pem=p384), "bad-csr"),
        "agent key as TLS key": (agent_key_as_tls_key, "bad-csr"),
        "not base64": (lambda box, token: box.request(token, proof="?"), "invalid-request"),
        "unknown field": (lambda box, token: box.request(token, org="mine"), "invalid-request"),
    }


@pytest.mark.parametrize("case", wrong_requests())
def test_a_request_that_lacks_something_is_refused_and_its_token_stays_good(
    backend: Backend, client: TestClient, case: str
) -> None:
    build, expected = wrong_requests()[case]
    box, token = Box(), backend.token()
    before = registry_rows(backend)
    answer = client.post("/v1/enrol", json=build(box, token))
    assert problem(answer) == expected
    assert token not in answer.text
    assert registry_rows(backend) == before
    assert client.post("/v1/enrol", json=box.request(token)).status_code == 201


def test_every_flipped_byte_of_a_proof_is_refused(backend: Backend, client: TestClient) -> None:
    box, token = Box(), backend.token()
    request = box.request(token)
    proof = base64.b64decode(request["proof"])
    for place in range(0, len(proof), 7):
        flipped = bytearray(proof)
        flipped[place] ^= 1
        answer = client.post("/v1/enrol", json=request | {"proof": b64(bytes(flipped))})
        assert problem(answer) == "bad-proof", place
    assert registry_rows(backend)["device"] == 0


def test_of_boxes_that_show_one_token_at_once_exactly_one_wins(backend: Backend, client: TestClient) -> None:
    boxes = [Box() for _ in range(8)]
    token = backend.token()
    answers = at_once(client, "/v1/enrol", [box.request(token) for box in boxes])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    winner = next(answer.json()["device"] for answer in answers if answer.status_code == 201)
    assert used_tokens(backend) == [winner]
    assert registry_rows(backend)["device"] == 1


def test_one_box_that_asks_many_times_at_once_is_enrolled_once(backend: Backend, client: TestClient) -> None:
    answers = at_once(client, "/v1/enrol", [Box().request(backend.token())] * 8)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["certificate_pem"] for answer in answers}) == 1


def test_one_new_box_with_several_tokens_at_once_is_known_once_and_answered_each_time(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    answers = at_once(client, "/v1/enrol", [box.request(backend.token()) for _ in range(6)])
    assert {answer.status_code for answer in answers} == {201}
    assert used_tokens(backend) == [box.device_id] * 6
    rows = registry_rows(backend)
    assert (rows["device"], rows["device_key"]) == (1, 1)


def test_one_renewal_sent_many_times_at_once_is_answered_alike(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    fresh = Box(agent_key=box.agent_key)
    answers = at_once(client, "/v1/renewals", [fresh.renewal(fresh.ask_nonce(client))] * 6)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["certificate_pem"] for answer in answers}) == 1


def at_once(client: TestClient, path: str, bodies: list[dict[str, Any]]) -> list[Any]:
    """Send requests from as many threads, started together."""
    ready = threading.Barrier(len(bodies))
    answers: list[Any] = []

    def send(body: dict[str, Any]) -> None:
        ready.wait()
        answers.append(client.post(path, json=body))

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(bodies)
    return answers


# --- tokens ---


def test_a_token_is_shown_once_and_then_only_named(backend: Backend, client: TestClient) -> None:
    made = client.post("/v1/enrolment-tokens", json={"count": 3}, headers=backend.key(Role.INSTALLER))
    assert made.status_code == 201
    texts = [item["token"] for item in made.json()["items"]]
    box = Box()
    assert client.post("/v1/enrol", json=box.request(texts[0])).status_code == 201
    listed = client.get("/v1/enrolment-tokens", headers=backend.admin)
    assert not any(text in listed.text for text in texts)
    assert sorted(item["state"] for item in listed.json()["items"]) == ["open", "open", "used"]
    backend.clock.now_us += 2 * DAY
    later = client.get("/v1/enrolment-tokens", headers=backend.admin).json()["items"]
    assert sorted(item["state"] for item in later) == ["expired", "expired", "used"]


@pytest.mark.parametrize(
    "wanted",
    [{"count": 0}, {"count": ENROLMENT_TOKENS_PER_REQUEST_MAX + 1}, {"life_s": 0}, {"life_s": 10**9}],
)
def test_a_request_for_tokens_beyond_the_limits_is_refused(
    backend: Backend, client: TestClient, wanted: dict[str, int]
) -> None:
    answer = client.post("/v1/enrolment-tokens", json=wanted, headers=backend.admin)
    assert (answer.status_code, problem(answer)) == (422, "invalid-request")
