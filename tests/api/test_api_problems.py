"""Every failure is problem+json, says nothing secret, and carries the same headers as a success."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from sqlalchemy import text

from backend.api.app import ROUTERS, create_app
from backend.api.deps import PURPOSE_HEADER, CurrentCaller, OwnDevice, PositionAccess, allow
from backend.api.headers import HEADERS
from backend.domain.access import Permission, Purpose, Role
from protocol.limits import REQUEST_BODY_BYTES_MAX
from tests.builders.backend import Backend, Box, make_backend, problem
from tests.builders.databases import fill_up, outage, take_away

pytestmark = pytest.mark.usefixtures("each_database")

JSON = {"content-type": "application/json"}


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


@pytest.fixture
def client(backend: Backend) -> Iterator[TestClient]:
    with backend.client() as client:
        yield client


# --- what the framework refuses by itself ---


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/nothing", "/v1/devices/", "/v2/me", "/v1/%2e%2e/etc", "//"]
)
def test_an_unknown_address_is_a_problem(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, problem(answer)) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/me"), ("DELETE", "/v1/devices"), ("TRACE", "/v1/me")]
)
def test_an_unknown_method_is_a_problem_that_names_the_known_ones(
    client: TestClient, method: str, path: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, problem(answer)) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("body", [b"{", b"", b"null", b"[]", b"\xff\xfe", b'{"device": 1e999}', b"[" * 5_000])
def test_a_body_that_is_not_the_expected_json_is_a_problem(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/renewals/nonce", content=body, headers=JSON)
    assert answer.status_code in {400, 422}
    assert problem(answer) in {"bad-request", "invalid-request"}


def test_a_body_without_a_content_type_is_a_problem(client: TestClient) -> None:
    answer = client.post("/v1/renewals/nonce", content=b'{"device": "' + b"0" * 64 + b'"}')
    assert problem(answer) == "invalid-request"


def test_a_wrong_field_is_named_and_its_value_is_not_repeated(client: TestClient) -> None:
    answer = client.post("/v1/enrol", json={"token": 7, "csr_pem": "secret-csr", "proof": "secret-proof?"})
    assert problem(answer) == "invalid-request"
    assert {item["where"] for item in answer.json()["errors"]} == {"body.token", "body.proof"}
    assert "secret" not in answer.text


def test_a_body_of_the_largest_size_is_read_and_one_byte_more_is_not(client: TestClient) -> None:
    frame = b'{"device": "%s"}'
    largest = frame % (b"0" * (REQUEST_BODY_BYTES_MAX - len(frame) + 2))
    assert client.post("/v1/renewals/nonce", content=largest, headers=JSON).status_code == 422
    answer = client.post("/v1/renewals/nonce", content=largest + b" ", headers=JSON)
    assert (answer.status_code, problem(answer)) == (413, "too-large")


def test_a_body_that_grows_without_saying_how_much_is_stopped(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield b"x" * 1_024

    answer = client.post("/v1/renewals/nonce", content=endless(), headers=JSON)
    assert (answer.status_code, problem(answer)) == (413, "too-large")


# --- what fails inside ---


def failing_client(backend: Backend) -> TestClient:
    """Return a client of an application with one more address, which fails."""
    router = APIRouter(dependencies=[allow(Permission.SELF_READ)])

    @router.get("/failing")
    def fail() -> str:
        raise RuntimeError("secret detail")

    app = create_app(backend.settings, clock=backend.clock, routers=[*ROUTERS, router])
    return TestClient(app, raise_server_exceptions=False)


def test_a_failure_of_ours_is_a_problem_without_detail(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    with failing_client(backend) as client, caplog.at_level(logging.ERROR, "backend"):
        answer = client.get("/v1/failing", headers=backend.admin)
    assert (answer.status_code, problem(answer)) == (500, "internal")
    assert "secret" not in answer.text
    assert "/v1/failing" in caplog.text


def test_a_database_that_fails_is_a_problem_that_says_when_to_come_back(
    backend: Backend, client: TestClient
) -> None:
    with backend.database() as database, outage(database, table="api_key"):
        answer = client.get("/v1/me", headers=backend.admin)
    assert (answer.status_code, problem(answer)) == (503, "database-busy")
    assert answer.headers["retry-after"] == "5"


def test_every_answer_has_the_security_headers(backend: Backend, client: TestClient) -> None:
    answers = [
        client.get("/v1/health"),
        client.get("/v1/me"),
        client.get("/v1/nothing"),
        client.get("/docs"),
        client.get("/openapi.json"),
        client.post("/v1/enrol", content=b"x" * 20_000, headers=JSON),
    ]
    with failing_client(backend) as failing:
        answers.append(failing.get("/v1/failing", headers=backend.admin))
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, answer.url


def test_a_text_that_a_database_cannot_keep_is_no_failure_of_ours(
    backend: Backend, client: TestClient
) -> None:
    """PostgreSQL has no U+0000; SQLite keeps it."""
    answer = client.post("/v1/api-keys", json={"name": "a\0b", "role": "auditor"}, headers=backend.admin)
    assert answer.status_code in {201, 422}
    if answer.status_code == 422:
        assert problem(answer) == "invalid-request"


# --- health ---


def test_health_says_whether_database_and_program_agree(backend: Backend, client: TestClient) -> None:
    assert client.get("/v1/health").json()["status"] == "ok"
    with backend.database() as database, database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    outdated = client.get("/v1/health").json()
    assert (outdated["status"], outdated["migration"]) == ("outdated", "0001")


def test_health_without_a_database_is_a_problem(backend: Backend) -> None:
    with backend.client() as client, backend.database() as database:
        take_away(database)
        answer = client.get("/v1/health")
        assert (answer.status_code, problem(answer)) == (503, "database-busy")


# --- exact positions ---


def position_client(backend: Backend) -> TestClient:
    """Return a client of an application with one more address, which gives a position."""
    router = APIRouter(dependencies=[allow(Permission.DEVICE_READ)])

    @router.get("/devices/{device_id}/where")  # noqa: FAST003  # `OwnDevice` takes the id
    def where(caller: CurrentCaller, device: OwnDevice, positions: PositionAccess) -> str:
        del caller
        positions.record(device_id=device.device_id, subject="fixes", from_us=5, to_us=None)
        return "here"

    app = create_app(backend.settings, clock=backend.clock, routers=[*ROUTERS, router])
    return TestClient(app, raise_server_exceptions=False)


def test_reading_a_position_needs_permission_and_purpose_and_is_logged(backend: Backend) -> None:
    box = Box()
    with position_client(backend) as client:
        box.enrol(backend, client)
        path = f"/v1/devices/{box.device_id}/where"
        operator = backend.key(Role.OPERATOR)
        purpose = {PURPOSE_HEADER: Purpose.THEFT_REPORT}

        without = client.get(path, headers=operator)
        assert (without.status_code, problem(without)) == (400, "purpose-required")
        unknown = client.get(path, headers=operator | {PURPOSE_HEADER: "curiosity"})
        assert problem(unknown) == "invalid-request"
        not_allowed = client.get(path, headers=backend.key(Role.INSTALLER) | purpose)
        assert problem(not_allowed) == "forbidden"
        assert client.get("/v1/access-log", headers=backend.admin).json()["items"] == []

        assert client.get(path, headers=operator | purpose).json() == "here"
        (entry,) = client.get("/v1/access-log", headers=backend.admin).json()["items"]
        assert (
            entry["device"],
            entry["purpose"],
            entry["role"],
            entry["subject"],
            entry["from"],
            entry["to"],
        ) == (
            box.device_id,
            "theft-report",
            "operator",
            "fixes",
            "1970-01-01T00:00:00.000005Z",
            None,
        )


def test_a_position_that_cannot_be_logged_is_not_shown(backend: Backend) -> None:
    box = Box()
    with position_client(backend) as client:
        box.enrol(backend, client)
        with backend.database() as database:
            fill_up(database, "access_log")
        headers = backend.admin | {PURPOSE_HEADER: Purpose.SUPPORT}
        answer = client.get(f"/v1/devices/{box.device_id}/where", headers=headers)
    assert answer.status_code == 503
    assert "here" not in answer.text
