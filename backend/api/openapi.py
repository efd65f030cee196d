"""The OpenAPI 3.1 document: what the framework derives from the routes, made true for failures.

Rules:
- Every failure is described as problem+json; a route with a permission lists 401 and 403, one about a box
  404, one with a body 413, and any with input 422.
- A route states only what is special to it, with `problems(409)`.

Example:
    @router.post("/enrol", responses=problems(403, 409))
"""

from collections.abc import Iterator, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from backend.api.problems import MEDIA_TYPE, Problem

_REF: Final = "#/components/schemas/"
_FIRST_FAILURE: Final = 400

DESCRIPTION: Final = """\
Registry of boxes, their signed telemetry, and the proof of it.

Send an API key as `Authorization: Bearer tbox_...`. Everything is seen through the key's organisation: what
belongs to another one does not exist. Lists come in pages: send `next_cursor` back as `cursor`. Failures are
`application/problem+json` (RFC 9457) with a stable `type`. Reading exact positions needs the header
`Access-Purpose` and is logged.
"""

Responses = dict[int | str, dict[str, Any]]
"""The framework's own type for a route's `responses`."""


def problems(*statuses: int) -> Responses:
    """Return a route's `responses` for the failures that are special to it."""
    return {status: _failure(status) for status in statuses}


def install(app: FastAPI) -> None:
    """Make the application describe itself by `build`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend it


def build(app: FastAPI) -> dict[str, Any]:
    """Return the document, from the routes alone."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(ref_template=_REF + "{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for schema in schemas.values():
        for example in schema.get("examples", ()):
            _restore_nulls(schemas, schema, example)
    for path, operation in _operations(document):
        _describe_failures(path, operation)
    return document


def _restore_nulls(schemas: Mapping[str, Any], schema: Mapping[str, Any], example: object) -> None:
    """Give an example back its nulls, which the framework takes out of the whole document."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].removeprefix(_REF)]
    if isinstance(example, list):
        for item in example:
            _restore_nulls(schemas, schema.get("items", {}), item)
    if isinstance(example, dict):
        for name in schema.get("required", ()):
            example.setdefault(name, None)
        for name, form in schema.get("properties", {}).items():
            _restore_nulls(schemas, form, example.get(name))


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, MutableMapping[str, Any]]]:
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def _describe_failures(path: str, operation: MutableMapping[str, Any]) -> None:
    """Add the failures that follow from what the operation is, and give each one its form."""
    wanted = {500, 503}
    if operation.get("security"):
        wanted |= {401, 403}
    if operation.get("parameters") or "requestBody" in operation:
        wanted |= {400, 422}
    if "requestBody" in operation:
        wanted |= {413}
    if "{" in path:
        wanted |= {404}
    responses = operation["responses"]
    for status in wanted | {int(code) for code in responses if code.isdigit()}:
        if status >= _FIRST_FAILURE:
            responses[str(status)] = _failure(status)
    operation["responses"] = dict(sorted(responses.items()))


def _failure(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF + "Problem"}}},
    }
