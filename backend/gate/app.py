"""The gate over HTTP: loopback with a bearer token, or mTLS; see `forms` for what travels.

Rules: bodies are bounded before they are parsed; every route but freeze and unfreeze wants the token, since a
freeze carries its own signature and must not depend on the backend that holds the token. What is not of its
form is 422, a refused document 409, both problem+json. No route lists loans or persons.

Example:
    >>> app = create_gate_app(gate, token=token)
"""

import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from backend.gate.asking import BadRequestError
from backend.gate.events import Dropped
from backend.gate.forms import (
    Answer,
    BindRequest,
    CommissioningRequest,
    Disposition,
    Document,
    Freeze,
    GoRequest,
    Held,
    Recorded,
    Release,
    ReleaseRequest,
    Releases,
    ReviewRequest,
    ScreenRequest,
    Status,
    TicketRequest,
)
from backend.gate.gate import Gate
from backend.gate.records import DocumentRefusedError
from protocol.base64url import to_bytes
from protocol.gate_records import RecordType
from protocol.limits import PAYLOAD_BYTES_MAX

_PROBLEM = "application/problem+json"
_Send = Callable[[Request], Awaitable[Response]]


class _UnauthorisedError(Exception):
    """No token, or another one."""


def create_gate_app(gate: Gate, *, token: str) -> FastAPI:
    """Return the application of one gate.

    Args:
        gate: decides.
        token: what `Authorization: Bearer` must carry.
    """

    def check_token(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise _UnauthorisedError

    app = FastAPI(title="T-Box policy gate", docs_url=None, redoc_url=None, openapi_url=None)
    dropped: Counter[Dropped] = Counter()
    app.include_router(_orders(gate, dropped), dependencies=[Depends(check_token)])
    app.include_router(_installations(gate), dependencies=[Depends(check_token)])
    app.include_router(_documents(gate), dependencies=[Depends(check_token)])
    app.include_router(_freezing(gate))
    _add_problems(app, dropped)
    return app


def _orders(gate: Gate, dropped: Mapping[Dropped, int]) -> APIRouter:
    router = APIRouter()

    @router.post("/screen")
    def screen(request: ScreenRequest) -> Answer:
        return gate.screen(request)

    @router.post("/review")
    def review(request: ReviewRequest) -> Answer:
        return gate.review(request)

    @router.post("/go")
    def go(request: GoRequest) -> Answer:
        return gate.go(request)

    @router.post("/release")
    def release(request: ReleaseRequest) -> Answer:
        return gate.release(request)

    @router.get("/releases")
    def releases() -> Releases:
        return read_releases(gate)

    @router.get("/status")
    def status() -> Status:
        return read_status(gate, dropped)

    @router.post("/dispositions")
    def dispositions(request: Disposition) -> Recorded:
        is_new, state = gate.heard(to_bytes(request.document), to_bytes(request.mcu_key))
        return Recorded(is_new=is_new, state=state)

    return router


def _installations(gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.post("/ticket")
    def ticket(request: TicketRequest) -> Answer:
        return gate.ticket(request)

    @router.post("/bind")
    def bind(request: BindRequest) -> Answer:
        return gate.bind(request)

    @router.post("/commissionings")
    def commissionings(request: CommissioningRequest) -> Recorded:
        is_new, state = gate.commissioned(request)
        return Recorded(is_new=is_new, state=state)

    return router


def _documents(gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.post("/notices")
    @router.post("/blocks")
    @router.post("/payments")
    @router.post("/records")
    def records(request: Document) -> Recorded:
        with gate.store.writing() as at:
            taken = gate.records.take_loan_record(at, to_bytes(request.document), gate.clock.now_s())
        return Recorded(is_new=taken[0], state=taken[1])

    @router.post("/authority")
    def authority(request: Document) -> Recorded:
        kind = request.kind or "delegation"
        with gate.store.writing() as at:
            taken = gate.records.take_authority(at, kind, to_bytes(request.document), gate.clock.now_s())
        return Recorded(is_new=taken[0], state=taken[1])

    @router.post("/breaker-limit")
    def breaker_limit(request: Document) -> Recorded:
        return _take(gate, request, RecordType.LIMIT)

    @router.post("/opinions")
    def opinions(request: Document) -> Recorded:
        return _take(gate, request, RecordType.OPINION)

    return router


def _freezing(gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.post("/freeze")
    def freeze(request: Document) -> Recorded:
        return _take(gate, request, RecordType.FREEZE)

    @router.post("/unfreeze")
    def unfreeze(request: Document) -> Recorded:
        return _take(gate, request, RecordType.UNFREEZE)

    return router


def _take(gate: Gate, request: Document, kind: RecordType) -> Recorded:
    now_s = gate.clock.now_s()
    with gate.store.writing() as at:
        if request.delegation is not None:
            gate.records.take_authority(at, "delegation", to_bytes(request.delegation), now_s)
        taken = gate.records.take_gate_record(at, to_bytes(request.document), (kind,), now_s)
    return Recorded(is_new=taken[0], state=taken[1])


def read_releases(gate: Gate) -> Releases:
    """Return the orders that payments have overtaken."""
    with gate.store.writing() as at:
        return Releases(
            items=[
                Release(
                    cmd_hash=order.cmd_hash.hex(),
                    mcu_id=order.mcu_id.hex(),
                    contract_ref=order.contract_ref.hex(),
                    since=order.overtaken_s or 0,
                )
                for order in at.overtaken()
            ]
        )


def read_status(gate: Gate, dropped: Mapping[Dropped, int] | None = None) -> Status:
    """Return how a gate stands.

    Args:
        gate: which.
        dropped: what its HTTP side has dropped since it began; None where it has none.
    """
    now_s = gate.clock.now_s()
    with gate.store.writing() as at:
        seq, head = at.head()
        return Status(
            kid=gate.signer.kid.hex(),
            delegation=gate.delegation.hex(),
            now=now_s,
            is_demo=gate.trust.is_demo,
            clock_doubt=gate.clock_doubt(at),
            packs=gate.packs.versions(now_s),
            freezes=[
                Freeze(
                    record_id=freeze.record_id.hex(),
                    scope=freeze.scope.name,
                    by=freeze.by,
                    reason=freeze.reason,
                    since=freeze.since_s,
                    lift_asked_by=freeze.lift_asked_by,
                )
                for freeze in gate.freezes.in_force(at)
            ],
            held=[
                Held(
                    cmd_hash=order.cmd_hash.hex(),
                    rule=order.rule or "",
                    detail=order.detail or "",
                    at=order.at_s,
                )
                for order in at.held(now_s - _HELD_SHOWN_S)
            ],
            journal=seq,
            head=head.hex(),
            counters=at.events() | {name.value: count for name, count in (dropped or {}).items()},
        )


_HELD_SHOWN_S = 2_592_000  # 30 days, as long as an episode


def _add_problems(app: FastAPI, dropped: Counter[Dropped]) -> None:
    @app.middleware("http")
    async def bound(request: Request, send: _Send) -> Response:
        length = request.headers.get("content-length", "")
        is_bounded = "transfer-encoding" not in request.headers and length.isdecimal()
        if request.method == "POST" and not (is_bounded and int(length) <= PAYLOAD_BYTES_MAX):
            dropped[Dropped.TOO_LARGE] += 1
            return _problem(413, f"a body of at most {PAYLOAD_BYTES_MAX} bytes, with its length")
        return await send(request)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
        dropped[Dropped.UNREADABLE] += 1
        where = "; ".join(f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors())
        return _problem(422, where)

    @app.exception_handler(BadRequestError)
    async def bad_request(_: Request, error: BadRequestError) -> JSONResponse:
        dropped[Dropped.UNREADABLE] += 1
        return _problem(422, str(error))

    @app.exception_handler(DocumentRefusedError)
    async def refused(_: Request, error: DocumentRefusedError) -> JSONResponse:
        dropped[Dropped.DOCUMENT_REFUSED] += 1
        return _problem(409, str(error))

    @app.exception_handler(_UnauthorisedError)
    async def unauthorised(_: Request, error: _UnauthorisedError) -> JSONResponse:
        del error
        dropped[Dropped.UNAUTHORISED] += 1
        return _problem(401, "Authorization: Bearer and the content of the gate's token file")


def _problem(status: int, detail: str) -> JSONResponse:
    titles = {401: "unauthorised", 409: "document refused", 413: "too large", 422: "unreadable request"}
    body = {"type": f"urn:tbox:gate:{titles[status].replace(' ', '-')}", "title": titles[status]}
    return JSONResponse(body | {"status": status, "detail": detail}, status_code=status, media_type=_PROBLEM)
