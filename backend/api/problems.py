"""Everything that is not a 2xx answer, as problem+json (RFC 9457). Only this file knows status codes.

Rules:
- `type` is `urn:tbox:problem:<slug>`, stable over versions; `detail` is for people and may change.
- What the caller sent is never repeated in a problem: it may be a token.
- A box of another organisation and one that does not exist are the same answer.

Example:
    raise ProblemError(DEVICE_NOT_FOUND)
    raise from_refusal(refusal)
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from backend.api.headers import HEADERS
from backend.domain.refusal import Reason, Refusal

LOG = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
URN: Final = "urn:tbox:problem:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemKind:
    """One kind of problem: its slug in `type`, its title, and its status code."""

    slug: str
    title: str
    status: int


def _kind(slug: str, title: str, status: HTTPStatus) -> ProblemKind:
    return ProblemKind(slug=slug, title=title, status=int(status))


_S = HTTPStatus
BAD_CURSOR: Final = _kind("bad-cursor", "The paging cursor is not one of this list", _S.BAD_REQUEST)
PURPOSE_REQUIRED: Final = _kind("purpose-required", "Reading exact positions needs a purpose", _S.BAD_REQUEST)
UNAUTHENTICATED: Final = _kind("unauthenticated", "A valid API key is needed", _S.UNAUTHORIZED)
FORBIDDEN: Final = _kind("forbidden", "The role of this key does not allow it", _S.FORBIDDEN)
NOT_FOUND: Final = _kind("not-found", "There is no such thing", _S.NOT_FOUND)
DEVICE_NOT_FOUND: Final = _kind("device-not-found", "There is no such box in this organisation", _S.NOT_FOUND)
METHOD_NOT_ALLOWED: Final = _kind(
    "method-not-allowed", "This address knows other methods", _S.METHOD_NOT_ALLOWED
)
TOO_LARGE: Final = _kind("too-large", "The request is too large", _S.REQUEST_ENTITY_TOO_LARGE)
INVALID_REQUEST: Final = _kind(
    "invalid-request", "The request does not have the expected form", _S.UNPROCESSABLE_ENTITY
)
RANGE_REVERSED: Final = _kind("reversed-range", "The range ends before it begins", _S.UNPROCESSABLE_ENTITY)
RANGE_TOO_LONG: Final = _kind(
    "range-too-long", "The range is longer than one request may ask", _S.UNPROCESSABLE_ENTITY
)
UNKNOWN_SIGNAL: Final = _kind("unknown-signal", "The box has no signal of this name", _S.UNPROCESSABLE_ENTITY)
CHAIN_NOT_FOUND: Final = _kind("chain-not-found", "The box has no such chain", _S.NOT_FOUND)
INTERNAL: Final = _kind("internal", "The server failed", _S.INTERNAL_SERVER_ERROR)
DATABASE_BUSY: Final = _kind("database-busy", "The database does not answer", _S.SERVICE_UNAVAILABLE)

# Every reason of refusal has a status: a test proves the table complete.
REFUSALS: Final[Mapping[Reason, ProblemKind]] = MappingProxyType(
    {
        Reason.ENROLMENT_UNKNOWN: _kind("enrolment-unknown", "No such enrolment token", _S.FORBIDDEN),
        Reason.ENROLMENT_EXPIRED: _kind("enrolment-expired", "The enrolment token has expired", _S.FORBIDDEN),
        Reason.ENROLMENT_USED: _kind("enrolment-used", "The enrolment token was used before", _S.CONFLICT),
        Reason.TOO_MANY_TOKENS: _kind(
            "too-many-tokens", "Too many open enrolment tokens", _S.TOO_MANY_REQUESTS
        ),
        Reason.TOO_MANY_ENROLMENTS: _kind("too-many-enrolments", "Too many enrolments", _S.TOO_MANY_REQUESTS),
        Reason.BAD_REQUEST_FOR_CERTIFICATE: _kind(
            "bad-csr", "The CSR is not acceptable", _S.UNPROCESSABLE_ENTITY
        ),
        Reason.BAD_PROOF: _kind("bad-proof", "The proof by the box's key does not hold", _S.FORBIDDEN),
        Reason.BAD_NONCE: _kind("bad-nonce", "The nonce is unknown, too old, or was used", _S.CONFLICT),
        Reason.DEVICE_UNKNOWN: _kind(
            "device-not-found", "There is no such box in this organisation", _S.NOT_FOUND
        ),
        Reason.DEVICE_ELSEWHERE: _kind("device-elsewhere", "The box is registered elsewhere", _S.CONFLICT),
        Reason.DEVICE_REVOKED: _kind("device-revoked", "The box has been revoked", _S.FORBIDDEN),
        Reason.KEY_UNKNOWN: _kind("not-found", "There is no such key", _S.NOT_FOUND),
        Reason.KEY_IN_USE: _kind("key-in-use", "The key belongs to another box", _S.CONFLICT),
        Reason.KEY_ENDED: _kind("key-ended", "The box's key is not in force", _S.FORBIDDEN),
        Reason.BAD_SUCCESSION: _kind("bad-succession", "The key succession does not hold", _S.FORBIDDEN),
        Reason.BAD_NAME: _kind("bad-name", "The name is not usable", _S.UNPROCESSABLE_ENTITY),
        Reason.NAME_TAKEN: _kind("name-taken", "The name is taken", _S.CONFLICT),
        Reason.ROLE_NOT_GRANTABLE: _kind("role-not-grantable", "This role is not given here", _S.FORBIDDEN),
        Reason.TOO_MUCH_EVIDENCE: _kind(
            "too-much-evidence", "The interval holds more than one file may", _S.UNPROCESSABLE_ENTITY
        ),
        Reason.BAD_LIFE: _kind("bad-life", "The lifetime is out of range", _S.UNPROCESSABLE_ENTITY),
        Reason.MCU_UNREGISTERED: _kind(
            "mcu-unregistered", "The box has no registered microcontroller", _S.CONFLICT
        ),
        Reason.MCU_ELSEWHERE: _kind("mcu-elsewhere", "The key belongs to another box", _S.CONFLICT),
        Reason.BAD_MCU: _kind("bad-mcu", "This is no microcontroller's key", _S.UNPROCESSABLE_ENTITY),
        Reason.BAD_ORDER: _kind("bad-order", "The car would not read this order", _S.UNPROCESSABLE_ENTITY),
        Reason.BAD_PART: _kind("bad-part", "The signature does not hold", _S.UNPROCESSABLE_ENTITY),
        Reason.NOT_FOR_THIS_CAR: _kind(
            "not-for-this-car", "The car would refuse this order", _S.UNPROCESSABLE_ENTITY
        ),
        Reason.NOT_DELEGATED: _kind(
            "not-delegated", "The signer has not been given this", _S.UNPROCESSABLE_ENTITY
        ),
        Reason.ORDER_UNKNOWN: _kind("not-found", "There is no such order", _S.NOT_FOUND),
        Reason.ORDER_ID_TAKEN: _kind("order-id-taken", "The order's id is taken", _S.CONFLICT),
        Reason.ORDER_OPEN: _kind("order-open", "The vehicle has an open restrictive order", _S.CONFLICT),
        Reason.WRONG_STAGE: _kind("wrong-stage", "The order is past this", _S.CONFLICT),
        Reason.SAME_PERSON: _kind("same-person", "Maker and checker must be two people", _S.CONFLICT),
        Reason.KILL_SWITCH_ON: _kind("kill-switch-on", "The kill switch is on", _S.CONFLICT),
        Reason.KEY_REUSED: _kind(
            "idempotency-key-reused", "The idempotency key was used for another request", _S.CONFLICT
        ),
        Reason.BAD_DOCUMENT: _kind("bad-document", "The document does not hold", _S.UNPROCESSABLE_ENTITY),
        Reason.ISSUER_ELSEWHERE: _kind(
            "issuer-elsewhere", "The issuer belongs to another organisation", _S.CONFLICT
        ),
        Reason.VEHICLE_UNKNOWN: _kind("vehicle-not-found", "There is no such vehicle", _S.NOT_FOUND),
        Reason.VEHICLE_BOUND: _kind("vehicle-bound", "The vehicle has a box", _S.CONFLICT),
        Reason.JOB_UNKNOWN: _kind("job-not-found", "There is no such job", _S.NOT_FOUND),
        Reason.BAD_JOB: _kind("bad-job", "The job cannot be planned so", _S.UNPROCESSABLE_ENTITY),
        Reason.JOB_CLOSED: _kind("job-closed", "The job is not open", _S.CONFLICT),
        Reason.TICKET_USED: _kind("ticket-used", "The work ticket was used before", _S.CONFLICT),
        Reason.TICKET_OVER: _kind("ticket-over", "The work ticket is over or not yet valid", _S.CONFLICT),
        Reason.BAD_INSTALL: _kind("bad-install", "The message does not hold", _S.UNPROCESSABLE_ENTITY),
        Reason.IDENTITY: _kind("identity", "Box, keys, SIM and vehicle do not belong together", _S.CONFLICT),
        Reason.GATE_AWAY: _kind("gate-away", "The gate does not answer", _S.SERVICE_UNAVAILABLE),
        Reason.GATE_REFUSED: _kind("gate-refused", "The gate says no", _S.CONFLICT),
        Reason.PROBATION: _kind("probation", "The car's probation is not passed", _S.CONFLICT),
        Reason.WORKSHOP: _kind("workshop", "The car is in workshop mode", _S.CONFLICT),
        Reason.LABEL_TAKEN: _kind("label-taken", "The label is of another box", _S.CONFLICT),
        Reason.ENROLMENT_REFUSED: _kind("enrolment-refused", "The box may not be enrolled", _S.FORBIDDEN),
        Reason.MCU_BY_RECORD: _kind(
            "mcu-by-record", "Another microcontroller comes by a commissioning record only", _S.CONFLICT
        ),
        Reason.TOO_MANY_PHOTOS: _kind("too-many-photos", "The job has as many photos as it may", _S.CONFLICT),
        Reason.ROLLOUT_UNKNOWN: _kind("rollout-not-found", "There is no such rollout", _S.NOT_FOUND),
        Reason.ROLLOUT_OPEN: _kind("rollout-open", "Another rollout stands in the way", _S.CONFLICT),
        Reason.ROLLOUT_STATE: _kind("rollout-state", "The rollout is past this", _S.CONFLICT),
        Reason.BAD_ROLLOUT: _kind("bad-rollout", "The rollout cannot be made so", _S.UNPROCESSABLE_ENTITY),
        Reason.BAD_PHOTO: _kind("bad-photo", "This is not the picture announced", _S.UNPROCESSABLE_ENTITY),
    }
)


class FieldProblem(BaseModel):
    """One field of the request that is not as expected."""

    where: str = Field(description="Path of the field, e.g. `body.csr_pem` or `query.limit`.")
    message: str = Field(description="What is expected of it.")


class Problem(BaseModel):
    """An answer that is not a success, as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:tbox:problem:device-not-found",
                    "title": "There is no such box in this organisation",
                    "status": 404,
                }
            ]
        }
    )

    type: str = Field(description="Stable name of the kind of problem, `urn:tbox:problem:<slug>`.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status code.")
    detail: str | None = Field(default=None, description="This occurrence, for a person.")
    errors: list[FieldProblem] | None = Field(
        default=None, description="Fields of the request, if it was their form."
    )


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        kind: One of this module's kinds.
        detail: One sentence about this occurrence, without anything secret.
        headers: Further response headers.
    """

    def __init__(
        self, kind: ProblemKind, detail: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(kind.slug)
        self.kind = kind
        self.detail = detail
        self.headers = headers


def from_refusal(refusal: Refusal) -> ProblemError:
    """Return the problem that says why a use-case refused."""
    return ProblemError(REFUSALS[refusal.reason], refusal.detail)


def install(app: FastAPI) -> None:
    """Make every failure of this application a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(OperationalError, _on_database)
    app.add_exception_handler(PoolTimeoutError, _on_database)
    app.add_exception_handler(DataError, _on_data)
    app.add_exception_handler(Exception, _on_failure)


def _answer(
    kind: ProblemKind,
    *,
    detail: str | None = None,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = Problem(type=URN + kind.slug, title=kind.title, status=kind.status, detail=detail, errors=errors)
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=kind.status, headers=headers, media_type=MEDIA_TYPE
    )


def _on_problem(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, ProblemError)
    headers = dict(error.headers or {})
    if error.kind.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.kind.status == HTTPStatus.TOO_MANY_REQUESTS:
        headers.setdefault("Retry-After", "3600")
    return _answer(error.kind, detail=error.detail, headers=headers)


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, RequestValidationError)
    fields = [
        FieldProblem(where=".".join(str(part) for part in item["loc"]), message=item["msg"])
        for item in error.errors()
    ]
    return _answer(INVALID_REQUEST, errors=fields)


def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses by itself: unknown address or method, oversized body."""
    del request
    assert isinstance(error, HTTPException)
    known = {kind.status: kind for kind in (NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE)}
    kind = known.get(error.status_code)
    if kind is None:
        phrase = HTTPStatus(error.status_code).phrase
        kind = ProblemKind(slug=phrase.lower().replace(" ", "-"), title=phrase, status=error.status_code)
    return _answer(kind, headers=error.headers)


def _on_database(request: Request, error: Exception) -> JSONResponse:
    LOG.error("database does not answer path=%s cause=%s", request.url.path, type(error).__name__)
    return _answer(DATABASE_BUSY, headers={"Retry-After": "5"})


def _on_data(request: Request, error: Exception) -> JSONResponse:
    """Answer a text that the database cannot keep: PostgreSQL has no U+0000."""
    LOG.warning("value refused by the database path=%s cause=%s", request.url.path, type(error).__name__)
    return _answer(INVALID_REQUEST, detail="a value holds a character that cannot be stored, such as U+0000")


def _on_failure(request: Request, error: Exception) -> JSONResponse:
    LOG.error("request failed path=%s cause=%s", request.url.path, type(error).__name__)
    return _answer(INTERNAL, headers=HEADERS)  # outside the middleware that adds them
