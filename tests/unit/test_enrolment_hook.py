"""A box is enrolled only when the depot's label and the operator's hook do not speak against it."""

from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from backend.api.app import create_app
from backend.domain.access import Role
from backend.settings import Settings
from backend.usecases.enrolment_hook import ask_hook
from tests.builders.backend import Backend, Box, make_backend, problem

QUESTION = {"device": "ab" * 32, "label": None, "organisation": "0" * 32}


def enrolled(backend: Backend, box: Box, *, label: str | None = None) -> httpx2.Response:
    with backend.client() as client:
        return client.post("/v1/enrol", json=box.request(backend.token(), label=label))


def hook(folder: Path, text: str) -> str:
    path = folder / "may-enrol"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def register(backend: Backend, client: TestClient, box: Box, label: str, org_id: str | None = None) -> int:
    body = {
        "label": label,
        "device": box.device_id,
        "mcu_id": "5f" * 32,
        "iccid": None,
        "report_sha256": "5f" * 32,
    }
    headers = backend.key(Role.INSTALLER, org_id=org_id) | {"Idempotency-Key": f"label-{label}"}
    return client.post("/v1/labels", json=body, headers=headers).status_code


def test_a_label_in_the_depots_book_enrols_its_own_box_alone(tmp_path: Path) -> None:
    backend, box = make_backend(tmp_path), Box()
    with backend.client() as client:
        assert register(backend, client, box, "TB-000123-Y") == 201
    wrong = enrolled(backend, Box(), label="TB-000123-Y")
    assert (wrong.status_code, problem(wrong)) == (403, "enrolment-refused")
    assert problem(enrolled(backend, Box(), label="TB-000042-Y")) == "enrolment-refused"
    assert enrolled(backend, box, label="TB-000123-Y").status_code == 201


def test_a_box_with_another_organisations_label_is_not_enrolled_here(tmp_path: Path) -> None:
    backend, box = make_backend(tmp_path), Box()
    other = backend.organisation("Another Lender")
    with backend.client() as client:
        assert register(backend, client, box, "TB-000123-Y", other) == 201
    assert problem(enrolled(backend, box)) == "enrolment-refused"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exit 0", None),
        ("echo 'This box was stolen from the depot.'; exit 1", "This box was stolen from the depot."),
        ("exit 3", "the enrolment hook refuses this box"),
    ],
)
def test_a_command_says_yes_or_no_with_its_sentence(tmp_path: Path, text: str, says: str | None) -> None:
    refused = ask_hook(hook(tmp_path, text), QUESTION)
    assert (None if refused is None else refused.detail) == says


@pytest.mark.parametrize(
    "where", ["/nowhere/at/all", "relative", "http://hooks.example/", "http://127.0.0.1:9/"]
)
def test_a_hook_that_does_not_answer_refuses(where: str) -> None:
    refused = ask_hook(where, QUESTION)
    assert refused is not None
    assert "ask the operator" in refused.detail


def test_the_hook_of_the_settings_is_asked_before_a_box_is_entered(tmp_path: Path) -> None:
    backend, box = make_backend(tmp_path / "home"), Box()
    command = hook(tmp_path, 'grep -q organisation && echo "Not today." && exit 1')
    settings = Settings(**(backend.settings.model_dump(exclude_unset=True) | {"enrol_hook": command}))
    client = TestClient(create_app(settings, clock=backend.clock), raise_server_exceptions=False)
    answer = client.post("/v1/enrol", json=box.request(backend.token()))
    assert (problem(answer), answer.json()["detail"]) == ("enrolment-refused", "Not today.")
    assert enrolled(backend, box).status_code == 201
