"""After enrolment: renewal, revocation, and how a box learns the server's next keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from fastapi.testclient import TestClient
from sqlmodel import select

from backend.store.devices import DeviceKey
from backend.usecases.issue_certificates import publish_crl
from backend.usecases.register_service_keys import ServicePurpose
from backend.usecases.succeed_service_key import succeed_service_key
from protocol.ids import cose_key_bytes
from protocol.limits import (
    DEVICE_CERTIFICATE_LIFE_DAYS,
    RENEWAL_NONCE_LIFE_S_MAX,
)
from tests.builders.backend import DAY, SECOND, Backend, Box, make_backend, problem, registry_rows, serial

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


@pytest.fixture
def client(backend: Backend) -> Iterator[TestClient]:
    with backend.client() as client:
        yield client


# --- renewal ---


def test_a_box_renews_after_its_certificate_has_expired(backend: Backend, client: TestClient) -> None:
    box = Box()
    first = box.enrol(backend, client)
    backend.clock.now_us += 2 * DEVICE_CERTIFICATE_LIFE_DAYS * DAY
    answer = client.post("/v1/renewals", json=box.renewal(box.ask_nonce(client)))
    assert answer.status_code == 201
    renewed = x509.load_pem_x509_certificates(answer.json()["certificate_pem"].encode())[0]
    assert renewed.serial_number != serial(first)
    assert renewed.public_key() == box.tls_key.public_key()


def test_a_box_renews_with_a_new_tls_key(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    fresh = Box(agent_key=box.agent_key)
    answer = client.post("/v1/renewals", json=fresh.renewal(fresh.ask_nonce(client))).json()
    assert x509.load_pem_x509_certificates(answer["certificate_pem"].encode())[0].public_key() == (
        fresh.tls_key.public_key()
    )


def test_a_renewal_sent_again_gets_the_same_answer_and_changes_nothing(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    box.enrol(backend, client)
    fresh = Box(agent_key=box.agent_key)
    request = fresh.renewal(fresh.ask_nonce(client))
    first = client.post("/v1/renewals", json=request)
    before = registry_rows(backend)
    again = client.post("/v1/renewals", json=request)
    assert again.json() == first.json()
    assert registry_rows(backend) == before


@pytest.mark.parametrize("validity", [(0, -1), (3_600 * SECOND, None)], ids=["ended", "not yet begun"])
def test_an_agent_key_out_of_its_time_renews_nothing(
    backend: Backend, client: TestClient, validity: tuple[int, int | None]
) -> None:
    """A box that changed its key is not revoked, yet the old key opens the broker to nobody any more."""
    box = Box()
    box.enrol(backend, client)
    since, until = validity
    with backend.database() as database, database.writing() as session, session.begin():
        (key,) = session.exec(select(DeviceKey))
        key.valid_from_us += since
        key.valid_to_us = None if until is None else backend.clock() + until
    before = registry_rows(backend)
    answer = client.post("/v1/renewals", json=box.renewal(box.ask_nonce(client)))
    assert (answer.status_code, problem(answer)) == (403, "key-ended")
    assert "present agent key" in answer.json()["detail"]
    assert registry_rows(backend) == before


def test_a_nonce_renews_once(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    nonce = box.ask_nonce(client)
    assert client.post("/v1/renewals", json=box.renewal(nonce)).status_code == 201
    answer = client.post("/v1/renewals", json=Box(agent_key=box.agent_key).renewal(nonce))
    assert (answer.status_code, problem(answer)) == (409, "bad-nonce")


def test_a_nonce_is_good_for_a_few_minutes(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    nonce = box.ask_nonce(client)
    backend.clock.pass_seconds(RENEWAL_NONCE_LIFE_S_MAX)
    assert problem(client.post("/v1/renewals", json=box.renewal(nonce))) == "bad-nonce"


def test_used_nonces_are_forgotten_when_they_would_be_refused_anyway(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    box.enrol(backend, client)
    for _ in range(3):
        client.post("/v1/renewals", json=box.renewal(box.ask_nonce(client)))
        backend.clock.pass_seconds(RENEWAL_NONCE_LIFE_S_MAX + 1)
    assert registry_rows(backend)["renewal_nonce"] == 1


def test_a_nonce_that_the_server_did_not_give_is_refused(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    assert problem(client.post("/v1/renewals", json=box.renewal(bytes(16)))) == "bad-nonce"
    other = Box()
    assert problem(client.post("/v1/renewals", json=box.renewal(other.ask_nonce(client)))) == "bad-nonce"


def test_asking_for_a_nonce_does_not_tell_whether_a_box_is_known(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    box.enrol(backend, client)
    answers = [
        client.post("/v1/renewals/nonce", json={"device": device}).json()
        for device in (box.device_id, "00" * 32)
    ]
    assert [sorted(answer) for answer in answers] == [["expires_at", "nonce"]] * 2
    assert answers[0]["expires_at"] == answers[1]["expires_at"]


def test_an_unknown_box_does_not_renew(client: TestClient) -> None:
    box = Box()
    answer = client.post("/v1/renewals", json=box.renewal(box.ask_nonce(client)))
    assert (answer.status_code, problem(answer)) == (403, "bad-proof")


def test_one_box_does_not_renew_for_another(backend: Backend, client: TestClient) -> None:
    box, victim = Box(), Box()
    box.enrol(backend, client)
    victim.enrol(backend, client)
    request = box.renewal(victim.ask_nonce(client), device=victim.device_id)
    assert problem(client.post("/v1/renewals", json=request)) == "bad-proof"


def test_a_proof_for_another_request_does_not_renew(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    request = box.renewal(box.ask_nonce(client), csr_pem=Box().csr_pem)
    assert problem(client.post("/v1/renewals", json=request)) == "bad-proof"


# --- revocation ---


def test_a_revoked_box_is_on_the_list_and_neither_renews_nor_enrols(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    enrolled = serial(box.enrol(backend, client))
    renewed = serial(client.post("/v1/renewals", json=box.renewal(box.ask_nonce(client))).json())
    answer = client.post(f"/v1/devices/{box.device_id}/revoke", headers=backend.admin)
    assert answer.json()["status"] == "revoked"
    assert problem(client.post("/v1/renewals", json=box.renewal(box.ask_nonce(client)))) == "device-revoked"
    assert problem(client.post("/v1/enrol", json=box.request(backend.token()))) == "device-revoked"
    with backend.database() as database, database.reading() as session:
        crl = x509.load_pem_x509_crl(
            publish_crl(session, issuer=backend.identity.issuer, now_us=backend.clock()).encode()
        )
    assert {line.serial_number for line in crl} == {enrolled, renewed}


def test_revoking_again_changes_nothing(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    first = client.post(f"/v1/devices/{box.device_id}/revoke", headers=backend.admin)
    backend.clock.pass_seconds(60)
    assert client.post(f"/v1/devices/{box.device_id}/revoke", headers=backend.admin).json() == first.json()
    shown = client.get(f"/v1/devices/{box.device_id}", headers=backend.admin).json()
    assert shown["keys"][0]["valid_to"] == first.json()["revoked_at"]


def test_a_revoked_box_does_not_get_its_old_answer_again(backend: Backend, client: TestClient) -> None:
    box = Box()
    request = box.request(backend.token())
    client.post("/v1/enrol", json=request)
    client.post(f"/v1/devices/{box.device_id}/revoke", headers=backend.admin)
    assert client.post("/v1/enrol", json=request).status_code == 409


def test_an_expired_certificate_leaves_the_revocation_list(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    client.post(f"/v1/devices/{box.device_id}/revoke", headers=backend.admin)
    late_us = backend.clock() + (DEVICE_CERTIFICATE_LIFE_DAYS + 1) * DAY
    with backend.database() as database, database.reading() as session:
        crl = x509.load_pem_x509_crl(
            publish_crl(session, issuer=backend.identity.issuer, now_us=late_us).encode()
        )
    assert list(crl) == []


# --- succession of the server's keys ---


def test_a_box_learns_the_new_receipt_key_with_the_old_ones_signature(
    backend: Backend, client: TestClient
) -> None:
    box = Box()
    before = box.enrol(backend, client)
    old = backend.identity.receipt_signer
    with backend.database() as database, database.writing() as session:
        new = succeed_service_key(
            session,
            path=backend.settings.receipt_key_path,
            signer=old,
            purpose=ServicePurpose.RECEIPT,
            org_id=backend.org_id,
            now_us=backend.clock() + SECOND,
        )
    after = client.post("/v1/renewals", json=box.renewal(box.ask_nonce(client))).json()
    assert before["successions"] == []
    assert after["receipt_keys"] == [cose_key_bytes(new.public_key).hex()]
    assert len(after["successions"]) == 1
