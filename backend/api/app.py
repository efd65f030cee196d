"""The API's composition root: builds the application from settings, and refuses to build an open door.

Rules:
- Every route is under `/v1`. One that names no permission and is not listed in `OPEN_ROUTES` stops the start.
- All routers are named in `ROUTERS`; a new one is added there.
- Nothing is connected on import.

Example:
    $ tbox backend serve --home /srv/tbox
    >>> app = create_app(load_settings(home=Path("/srv/tbox")))
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute, iter_route_contexts

from backend.api import docs_page, openapi, problems
from backend.api.deps import PermissionCheck, Services
from backend.api.headers import BodyLimit, SecurityHeaders
from backend.api.routes import (
    access_log,
    api_keys,
    authority,
    batches,
    chain_trace,
    chains,
    command,
    devices,
    enrol,
    enrolment_tokens,
    evidence,
    health,
    job_events,
    job_work,
    jobs,
    kill_switch,
    labels,
    ledger,
    me,
    orders,
    rollouts,
    signals,
    state,
    trace,
    vehicles,
)
from backend.clock import Clock, utc_us
from backend.domain.access import Permission
from backend.settings import Settings
from backend.store.database import Database, open_database
from backend.store.key_files import read_private
from backend.usecases.gate_port import FittingGate
from backend.usecases.http_gate import HttpGate
from backend.usecases.service_identity import load_identity
from protocol.limits import JOB_PHOTO_BYTES_MAX, REQUEST_BODY_BYTES_MAX

ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    me.router,
    enrol.router,
    enrolment_tokens.router,
    devices.router,
    access_log.router,
    api_keys.router,
    state.router,
    signals.router,
    trace.router,
    chain_trace.router,
    batches.router,
    chains.router,
    evidence.router,
    ledger.router,
    command.router,
    orders.router,
    authority.router,
    kill_switch.router,
    rollouts.router,
    vehicles.router,
    jobs.router,
    job_events.router,
    job_work.router,
    labels.router,
)

# The complete list of what answers without a key; the last word of the reason is what protects it instead.
OPEN_ROUTES: Final = frozenset(
    {
        ("GET", "/v1/health"),  # says only whether the server works
        ("POST", "/v1/enrol"),  # a box has no key yet: one-time token and proof
        ("POST", "/v1/renewals/nonce"),  # reveals nothing, keeps nothing: stateless
        ("POST", "/v1/renewals"),  # a box has no key: nonce and proof
        ("POST", "/v1/updates"),  # a box has no key: its question is signed
    }
)

TAGS: Final = [
    {"name": "server", "description": "Health, and who is asking."},
    {"name": "enrolment", "description": "How a box becomes known, and renews its certificate."},
    {"name": "devices", "description": "The registry of boxes."},
    {"name": "keys", "description": "API keys of the own organisation."},
    {"name": "telemetry", "description": "What the boxes sent, as they signed it."},
    {"name": "ledger", "description": "The append-only log: checkpoints, leaves, proofs."},
    {"name": "orders", "description": "What people have signed for a car, and what it has answered."},
    {"name": "installation", "description": "Vehicles, jobs, work tickets, what boxes report, records."},
    {"name": "updates", "description": "Which release reaches whom, and what it did to vehicles."},
    {"name": "evidence", "description": "Proof, verified and for verification elsewhere."},
]


def create_app(
    settings: Settings,
    *,
    clock: Clock = utc_us,
    database: Database | None = None,
    gate: FittingGate | None = None,
    routers: Sequence[APIRouter] = ROUTERS,
) -> FastAPI:
    """Build the application.

    Args:
        settings: Where things are.
        clock: What tells the time, µs UTC.
        database: An open database to use, left open at the end; None opens the one in the settings and
            closes it.
        gate: Whom installations ask; None takes the one of the settings, or none.
        routers: What it answers.

    Raises:
        SecretError: A key file of the home is missing or not usable.
        AssertionError: A route has no permission and is not meant to be open.
    """
    services = Services(
        settings=settings,
        identity=load_identity(settings),
        database=database or open_database(settings.database_url),
        clock=clock,
        gate=gate or _gate(settings),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        yield
        if database is None:
            services.database.close()

    app = FastAPI(
        title="T-Box backend",
        version=version("tbox"),
        openapi_tags=TAGS,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # Validation failures would be reported with the input that failed, which may be a token.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.services = services
    app.add_middleware(BodyLimit, bytes_max=REQUEST_BODY_BYTES_MAX, photo_bytes_max=JOB_PHOTO_BYTES_MAX)
    app.add_middleware(SecurityHeaders)
    problems.install(app)
    openapi.install(app)
    for router in routers:
        app.include_router(router, prefix="/v1")

    def docs(request: Request) -> HTMLResponse:
        del request
        return HTMLResponse(docs_page.render(app.openapi()))

    app.add_route("/docs", docs, include_in_schema=False)
    for endpoint in endpoints(app):
        assert endpoint.is_open or endpoint.permission, f"{endpoint.path} names no permission"
    return app


def _gate(settings: Settings) -> FittingGate | None:
    """Return the gate that the settings name; whether it answers shows when it is asked."""
    if settings.gate_url is None or settings.gate_token is None:
        return None
    certificate = (
        None
        if settings.gate_cert is None or settings.gate_key is None
        else (str(settings.gate_cert), str(settings.gate_key))
    )
    return HttpGate(
        settings.gate_url,
        token=read_private(settings.gate_token).decode().strip(),
        ca=None if settings.gate_ca is None else str(settings.gate_ca),
        certificate=certificate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one address, and the permission it asks for; None for an open one."""

    method: str
    path: str
    permission: Permission | None

    @property
    def is_open(self) -> bool:
        """Whether it is meant to answer without a key."""
        return (self.method, self.path) in OPEN_ROUTES


def endpoints(app: FastAPI) -> list[Endpoint]:
    """Return all the application answers, in order of adding, without `/docs` and `/openapi.json`."""
    found: list[Endpoint] = []
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            permission = _permission(context.dependant)
            found += [
                Endpoint(method=method, path=str(context.path), permission=permission)
                for method in sorted(context.methods or ())
            ]
    return found


def _permission(dependant: Dependant) -> Permission | None:
    """Return the permission that a route's dependencies ask for, looking into each one's own."""
    if isinstance(dependant.call, PermissionCheck):
        return dependant.call.permission
    return next(filter(None, map(_permission, dependant.dependencies)), None)
