"""Lists of boxes, keys and tokens: pages without gaps, details, and keys made over the API."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.domain.access import Role
from backend.store.devices import Device
from protocol.limits import API_KEY_LIFE_DAYS_MAX, PAGE_ITEMS_MAX
from tests.builders.backend import Backend, Box, bearer, make_backend, problem

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


@pytest.fixture
def client(backend: Backend) -> Iterator[TestClient]:
    with backend.client() as client:
        yield client


def add_boxes(backend: Backend, *numbers: int) -> None:
    """Add boxes with these numbers as ids."""
    with backend.database() as database, database.writing() as session, session.begin():
        for number in numbers:
            session.add(
                Device(
                    device_id=f"{number:064x}",
                    org_id=backend.org_id,
                    status="enrolled",
                    created_us=backend.clock(),
                )
            )


def pages(
    client: TestClient, path: str, headers: dict[str, str], limit: int
) -> Iterator[list[dict[str, Any]]]:
    """Walk a list to its end."""
    query: dict[str, str | int] = {"limit": limit}
    while True:
        answer = client.get(path, headers=headers, params=query)
        assert answer.status_code == 200, answer.text
        yield answer.json()["items"]
        if answer.json()["next_cursor"] is None:
            return
        query["cursor"] = answer.json()["next_cursor"]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, PAGE_ITEMS_MAX])
def test_pages_hold_every_box_once_and_in_order(backend: Backend, client: TestClient, limit: int) -> None:
    add_boxes(backend, *range(7))
    walked = list(pages(client, "/v1/devices", backend.admin, limit))
    numbers = [int(item["device"], 16) for page in walked for item in page]
    assert numbers == list(range(7))
    assert all(len(page) == limit for page in walked[:-1])


def test_a_box_that_arrives_meanwhile_neither_hides_nor_repeats_another(
    backend: Backend, client: TestClient
) -> None:
    add_boxes(backend, 10, 20, 30, 40)
    walk = pages(client, "/v1/devices", backend.admin, 2)
    first = next(walk)
    add_boxes(backend, 5, 35)
    numbers = [int(item["device"], 16) for page in (first, *walk) for item in page]
    assert numbers == [10, 20, 30, 35, 40]


def test_an_empty_list_is_a_page(client: TestClient, backend: Backend) -> None:
    assert client.get("/v1/devices", headers=backend.admin).json() == {"items": [], "next_cursor": None}


def test_a_cursor_of_another_list_is_a_problem(backend: Backend, client: TestClient) -> None:
    add_boxes(backend, 1, 2)
    cursor = client.get("/v1/devices", headers=backend.admin, params={"limit": 1}).json()["next_cursor"]
    for wrong in (cursor[:-1], cursor + "A", "AAAA", "%00", "\N{SNOWMAN}"):
        answer = client.get("/v1/devices", headers=backend.admin, params={"cursor": wrong})
        assert (answer.status_code, problem(answer)) == (400, "bad-cursor"), wrong
    for path in ("/v1/api-keys", "/v1/enrolment-tokens", "/v1/access-log"):
        answer = client.get(path, headers=backend.admin, params={"cursor": cursor})
        assert (answer.status_code, problem(answer)) == (400, "bad-cursor"), path


@pytest.mark.parametrize("limit", ["0", "-1", str(PAGE_ITEMS_MAX + 1), "many", "9" * 5_000])
def test_a_limit_beyond_the_bounds_is_a_problem(backend: Backend, client: TestClient, limit: str) -> None:
    answer = client.get("/v1/devices", headers=backend.admin, params={"limit": limit})
    assert problem(answer) == "invalid-request"


@pytest.mark.parametrize("device", ["0", "G" * 64, "A" * 64, "0" * 65, "../../etc", "0" * 63 + "%0a"])
def test_an_id_of_another_form_is_a_problem(backend: Backend, client: TestClient, device: str) -> None:
    answer = client.get(f"/v1/devices/{device}", headers=backend.admin)
    assert problem(answer) in {"invalid-request", "not-found"}


def test_a_box_is_shown_with_its_keys_and_certificates(backend: Backend, client: TestClient) -> None:
    box = Box()
    box.enrol(backend, client)
    backend.clock.pass_seconds(60)
    Box(agent_key=box.agent_key).enrol(backend, client)
    shown = client.get(f"/v1/devices/{box.device_id}", headers=backend.admin).json()
    assert (shown["device"], shown["status"], shown["revoked_at"]) == (box.device_id, "enrolled", None)
    (key,) = shown["keys"]
    assert (key["kid"], key["role"], key["valid_to"]) == (box.device_id, "d2", None)
    newest, oldest = shown["certificates"]
    assert newest["not_after"] > oldest["not_after"]


def test_a_key_made_over_the_api_works_and_is_shown_once(backend: Backend, client: TestClient) -> None:
    wanted = {"name": "loan system", "role": "operator", "life_days": 30}
    made = client.post("/v1/api-keys", json=wanted, headers=backend.admin)
    assert made.status_code == 201
    text = made.json()["key"]
    assert client.get("/v1/me", headers=bearer(text)).json()["role"] == "operator"
    assert text not in client.get("/v1/api-keys", headers=backend.admin).text


def test_a_platform_administrator_is_not_made_over_the_api(backend: Backend, client: TestClient) -> None:
    wanted = {"name": "me", "role": Role.PLATFORM_ADMIN}
    answer = client.post("/v1/api-keys", json=wanted, headers=backend.admin)
    assert (answer.status_code, problem(answer)) == (403, "role-not-grantable")


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "", "role": "operator"},
        {"name": "   ", "role": "operator"},
        {"name": "x" * 201, "role": "operator"},
        {"name": "x", "role": "emperor"},
        {"name": "x", "role": "operator", "life_days": 0},
        {"name": "x", "role": "operator", "life_days": API_KEY_LIFE_DAYS_MAX + 1},
        {"name": "x", "role": "operator", "org_id": "0" * 32},
    ],
)
def test_a_key_beyond_the_limits_is_not_made(
    backend: Backend, client: TestClient, wanted: dict[str, str | int]
) -> None:
    answer = client.post("/v1/api-keys", json=wanted, headers=backend.admin)
    assert problem(answer) == "invalid-request"


def test_more_requests_at_once_than_the_server_has_threads_are_all_answered(
    backend: Backend, client: TestClient
) -> None:
    count = 60
    add_boxes(backend, *range(count))

    def revoke(number: int) -> int:
        # Reads, then writes: each request holds two connections for a moment.
        return client.post(f"/v1/devices/{number:064x}/revoke", headers=backend.admin).status_code

    with ThreadPoolExecutor(count) as pool:
        assert set(pool.map(revoke, range(count))) == {200}
    items = client.get("/v1/devices", headers=backend.admin).json()["items"]
    assert [item["status"] for item in items] == ["revoked"] * count
