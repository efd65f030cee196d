"""Denied by default: every address of the API without a key, with the wrong role, and for another's box."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from backend.api.app import OPEN_ROUTES, Endpoint, create_app, endpoints
from backend.api.deps import PURPOSE_HEADER
from backend.domain.access import GRANTS, Permission, Purpose, Role, is_allowed
from backend.store.api_keys import ApiKey
from tests.builders.backend import DAY, Backend, Box, bearer, make_backend, problem

pytestmark = pytest.mark.usefixtures("each_database")

NOBODY = "00" * 32

# Permissions that every role has: for these, 403 cannot happen.
EVERYONES = {Permission.SELF_READ, Permission.DEVICE_READ, Permission.AUTHORITY_READ}


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


@pytest.fixture
def client(backend: Backend) -> Iterator[TestClient]:
    with backend.client() as client:
        yield client


@pytest.fixture
def walk(backend: Backend) -> list[Endpoint]:
    return endpoints(create_app(backend.settings))


def guarded(walk: list[Endpoint]) -> list[Endpoint]:
    return [endpoint for endpoint in walk if not endpoint.is_open]


def address(endpoint: Endpoint, device: str = NOBODY) -> str:
    return endpoint.path.replace("{device_id}", device).replace("{key_id}", "0" * 12)


# --- the walk ---


def test_the_open_addresses_are_these_and_no_others(walk: list[Endpoint]) -> None:
    assert {
        (endpoint.method, endpoint.path) for endpoint in walk if endpoint.permission is None
    } == OPEN_ROUTES


def test_every_address_is_versioned(walk: list[Endpoint]) -> None:
    assert all(endpoint.path.startswith("/v1/") for endpoint in walk)


def test_without_a_key_every_address_but_the_open_ones_answers_401(
    client: TestClient, walk: list[Endpoint]
) -> None:
    for endpoint in guarded(walk):
        answer = client.request(endpoint.method, address(endpoint))
        assert (answer.status_code, problem(answer)) == (401, "unauthenticated"), endpoint
        assert answer.headers["www-authenticate"] == "Bearer"


def test_with_every_role_that_lacks_the_permission_every_address_answers_403(
    backend: Backend, client: TestClient, walk: list[Endpoint]
) -> None:
    keys = {role: backend.key(role) for role in Role}
    for endpoint in guarded(walk):
        assert endpoint.permission is not None
        without = [role for role in Role if not is_allowed(role, endpoint.permission)]
        assert without or endpoint.permission in EVERYONES
        for role in without:
            answer = client.request(endpoint.method, address(endpoint), headers=keys[role])
            assert (answer.status_code, problem(answer)) == (403, "forbidden"), (endpoint, role)


def test_another_organisations_box_and_a_missing_one_are_the_same_404_at_every_address(
    backend: Backend, client: TestClient, walk: list[Endpoint]
) -> None:
    """B-03: no object of another organisation is told from one that does not exist."""
    theirs = Box()
    theirs.enrol(backend, client, org_id=backend.organisation("Another Lender"))
    keys = {role: backend.key(role) | {PURPOSE_HEADER: Purpose.SUPPORT} for role in Role}
    about_a_box = [endpoint for endpoint in guarded(walk) if "{device_id}" in endpoint.path]
    assert about_a_box
    for endpoint in about_a_box:
        query = {"from": "0", "to": "1"}
        assert endpoint.permission is not None
        headers = next(keys[role] for role in Role if is_allowed(role, endpoint.permission))
        answers = [
            client.request(endpoint.method, address(endpoint, device), headers=headers, params=query)
            for device in (theirs.device_id, NOBODY)
        ]
        assert [problem(answer) for answer in answers] == ["device-not-found"] * 2, (
            endpoint,
            answers[0].text,
        )
        assert answers[0].content == answers[1].content


def test_the_application_does_not_start_with_an_address_that_names_no_permission(
    backend: Backend,
) -> None:
    router = APIRouter()

    @router.get("/left-open")
    def read() -> str:
        return "all of it"

    with pytest.raises(AssertionError, match="left-open"):
        create_app(backend.settings, routers=[router])


# --- keys ---


def test_a_key_shows_its_holder_what_he_may_do(backend: Backend, client: TestClient) -> None:
    for role in Role:
        me = client.get("/v1/me", headers=backend.key(role)).json()
        assert (me["role"], set(me["permissions"])) == (role, {str(item) for item in GRANTS[role]})
        assert me["organisation"] == "Example Leasing"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer tbox_0123456789ab_" + "0" * 48,
        "Basic dXNlcjpwYXNz",
        "tbox_0123456789ab_" + "0" * 48,
    ],
)
def test_a_header_that_is_no_key_in_force_answers_401(client: TestClient, header: str) -> None:
    assert client.get("/v1/me", headers={"Authorization": header}).status_code == 401


def test_a_wrong_secret_and_an_unknown_key_are_the_same_answer(backend: Backend, client: TestClient) -> None:
    key_id = backend.admin_key.split("_")[1]
    wrong = client.get("/v1/me", headers=bearer(f"tbox_{key_id}_{'0' * 48}"))
    unknown = client.get("/v1/me", headers=bearer(f"tbox_{'0' * 12}_{'0' * 48}"))
    assert wrong.status_code == 401
    assert wrong.content == unknown.content


def test_a_key_ends_when_its_time_is_over(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    headers = backend.key(Role.OPERATOR, life_days=1)
    with backend.client() as client:
        backend.clock.now_us += DAY - 1
        assert client.get("/v1/me", headers=headers).status_code == 200
        backend.clock.now_us += 1
        assert client.get("/v1/me", headers=headers).status_code == 401


def test_a_key_ends_when_it_is_revoked(backend: Backend, client: TestClient) -> None:
    headers = backend.key(Role.OPERATOR)
    key_id = client.get("/v1/me", headers=headers).json()["key_id"]
    first = client.post(f"/v1/api-keys/{key_id}/revoke", headers=backend.admin)
    again = client.post(f"/v1/api-keys/{key_id}/revoke", headers=backend.admin)
    assert (first.status_code, again.json()) == (200, first.json())
    assert client.get("/v1/me", headers=headers).status_code == 401


def test_a_role_that_this_program_does_not_know_may_do_nothing(backend: Backend, client: TestClient) -> None:
    headers = backend.key(Role.OPERATOR)
    key_id = client.get("/v1/me", headers=headers).json()["key_id"]
    with backend.database() as database, database.writing() as session, session.begin():
        row = session.get(ApiKey, key_id)
        assert row is not None
        row.role = "emperor"
    assert client.get("/v1/me", headers=headers).status_code == 401


# --- lists stay inside the organisation ---


def test_lists_hold_nothing_of_another_organisation(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    other = backend.organisation("Another Lender")
    with backend.client() as client:
        mine, theirs = Box(), Box()
        mine.enrol(backend, client)
        theirs.enrol(backend, client, org_id=other)
        their_key = backend.key(Role.ORG_ADMIN, org_id=other)
        devices = client.get("/v1/devices", headers=their_key).json()["items"]
        assert [item["device"] for item in devices] == [theirs.device_id]
        tokens = client.get("/v1/enrolment-tokens", headers=their_key).json()["items"]
        assert [item["used_by"] for item in tokens] == [theirs.device_id]
        keys = client.get("/v1/api-keys", headers=their_key).json()["items"]
        assert [item["role"] for item in keys] == ["org-admin"]
        admin_id = backend.admin_key.split("_")[1]
        foreign = client.post(f"/v1/api-keys/{admin_id}/revoke", headers=their_key)
        assert foreign.status_code == 404
        assert client.get("/v1/me", headers=backend.admin).status_code == 200
