"""The OpenAPI document: complete, with examples, and kept by the application when a fuzzer reads it."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings

from backend.api.app import create_app, endpoints
from backend.api.deps import PURPOSE_HEADER
from backend.api.docs_page import find_example, render
from backend.domain.access import Purpose
from tests.builders.backend import Backend, Box, make_backend
from tests.builders.orders_backend import OrderWorld

Document = Mapping[str, Any]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    return make_backend(tmp_path_factory.mktemp("openapi"))


@pytest.fixture(scope="module")
def client(backend: Backend) -> Iterator[TestClient]:
    with backend.client() as client:
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> Document:
    answer: Document = client.get("/openapi.json").json()
    return answer


def operations(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_the_document_is_of_version_3_1_and_has_every_address(backend: Backend, document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    described = {name for name, _ in operations(document)}
    app = create_app(backend.settings)
    assert described == {f"{endpoint.method} {endpoint.path}" for endpoint in endpoints(app)}


def test_every_address_has_a_summary_a_description_and_one_known_tag(document: Document) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
        assert set(operation["tags"]) <= tags, name
        assert len(operation["tags"]) == 1, name


def test_every_parameter_and_field_is_described(document: Document) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (name, parameter["name"])
    for name, schema in document["components"]["schemas"].items():
        for field, form in schema.get("properties", {}).items():
            if "$ref" not in form:
                assert form.get("description"), (name, field)


def test_every_body_has_an_example_that_fits_its_schema(document: Document) -> None:
    for name, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        bodies += [form for status, form in operation["responses"].items() if status.startswith("2")]
        for body in bodies:
            for media_type, form in body.get("content", {}).items():
                example = form.get("example", find_example(document, form.get("schema", {})))
                assert example is not None, (name, media_type)
                if media_type == "application/json":
                    whole = {"components": document["components"], **form["schema"]}
                    jsonschema_rs.validate(whole, example)


def test_every_failure_is_described_as_a_problem(document: Document) -> None:
    for name, operation in operations(document):
        for status, form in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert list(form["content"]) == ["application/problem+json"], (name, status)
        if operation.get("security"):
            assert {"401", "403"} <= set(operation["responses"]), name


def test_the_page_shows_every_address_and_takes_nothing_from_elsewhere(
    client: TestClient, document: Document
) -> None:
    page = client.get("/docs").text
    for name, _ in operations(document):
        assert f"<code>{name}</code>" in page
    assert "<script" not in page
    # An address within an example is text; one that the browser would follow or load is not ours.
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//|url\(|@import""", page)


def test_the_page_shows_text_as_text() -> None:
    hostile = {
        "info": {"title": "<b>", "version": "1", "description": "<i>"},
        "tags": [{"name": "<u>", "description": "<s>"}],
        "paths": {"/<q>": {"get": {"tags": ["<u>"], "summary": "<em>", "responses": {}}}},
    }
    page = render(hostile)
    assert not any(tag in page for tag in ("<b>", "<i>", "<u>", "<s>", "<q>", "<em>"))


# --- fuzzing ---


def test_the_application_answers_only_what_it_describes(tmp_path: Path) -> None:
    """Read the document, send what it allows and what it does not, and compare each answer with it."""
    backend = make_backend(tmp_path)
    box = Box()
    with backend.client() as client:
        box.enrol(backend, client)
    app = create_app(backend.settings, clock=backend.clock)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.checks.status_code_conformance,
        schemathesis.checks.content_type_conformance,
        schemathesis.checks.response_schema_conformance,
    ]
    headers = backend.admin | {PURPOSE_HEADER: Purpose.SUPPORT}
    answered = fuzz(schema, checks, box, lambda _: headers)
    assert {200, 201, 404, 422} <= answered


def test_the_routes_of_orders_answer_officers_only_what_they_describe(tmp_path: Path) -> None:
    """An administrator's key is refused there before its body is looked at, an officer's is not."""
    world = OrderWorld.make(tmp_path)
    schema = schemathesis.openapi.from_asgi("/openapi.json", world.client.app)
    orders = schema.include(method="POST", path_regex=r"/(orders|approvals|withdraw|challenge)$")
    checks = [
        schemathesis.checks.not_a_server_error,
        schemathesis.checks.status_code_conformance,
        schemathesis.checks.content_type_conformance,
        schemathesis.checks.response_schema_conformance,
    ]

    def by(path: str) -> dict[str, str]:
        return world.key(world.checker if path.endswith("/approvals") else world.maker)

    answered = fuzz(orders, checks, world.box, by)
    world.close()
    assert {202, 404, 422} <= answered
    assert 403 not in answered


def fuzz(schema: Any, checks: list[Any], box: Box, headers: Callable[[str], Mapping[str, str]]) -> set[int]:
    """Send what the document allows and what it does not; return the status codes that came."""
    answered: set[int] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        takes_input = bool(operation.body or operation.query or operation.path_parameters)
        for mode in schemathesis.GenerationMode:
            if takes_input or not mode.is_negative:
                answered |= fuzz_operation(operation, mode, checks, box, dict(headers(operation.path)))
    return answered


def fuzz_operation(
    operation: Any, mode: Any, checks: list[Any], box: Box, headers: dict[str, str]
) -> set[int]:
    """Send a dozen requests to one address; return the status codes that came."""
    answered: set[int] = set()

    @hypothesis_settings(max_examples=12, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        if "device_id" in case.path_parameters and case.meta is not None:
            case.path_parameters["device_id"] = box.device_id
        answered.add(case.call_and_validate(headers=headers, checks=checks).status_code)

    send()
    return answered
