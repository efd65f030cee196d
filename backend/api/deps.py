"""What a route asks for, as `Annotated` aliases: the caller, the box, sessions, the time, a page.

Rules:
- A route names its permission in the decorator, `dependencies=[allow(Permission.X)]`; `create_app` refuses
  to start with a route that names none and is not in the list of open ones.
- Order of answers: 401 without a key in force, 403 without the permission, 404 for a box that is not the
  caller's.
- All reads of a request see one snapshot: `ReadSession`. A use-case that writes gets a `WriteSession` and
  begins its own transaction.
- Ids in addresses are hex of one length or an enum's word, and never part of a path or of SQL text (B-04).
- Exact positions: take `positions: PositionAccess` and call `positions.record(...)` before reading any.

Example:
    @router.get("/devices/{device_id}/fixes", dependencies=[allow(Permission.POSITION_READ)])
    def read_fixes(caller: CurrentCaller, device: OwnDevice, session: ReadSession, positions: PositionAccess)
    -> Page[FixOut]:
        positions.record(device_id=device.device_id, subject="fixes", from_us=None, to_us=None)
        ...
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Request, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlmodel import Session

from backend.api.problems import (
    DEVICE_NOT_FOUND,
    FORBIDDEN,
    PURPOSE_REQUIRED,
    UNAUTHENTICATED,
    ProblemError,
)
from backend.clock import Clock
from backend.domain.access import Caller, Permission, Purpose, is_allowed
from backend.settings import Settings
from backend.store.database import Database
from backend.store.devices import Device, find_device
from backend.usecases.authenticate import authenticate
from backend.usecases.gate_port import FittingGate
from backend.usecases.log_access import log_position_read
from backend.usecases.service_identity import ServiceIdentity

PURPOSE_HEADER = "Access-Purpose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the application was built with; lives in `app.state.services`."""

    settings: Settings
    database: Database
    clock: Clock
    identity: ServiceIdentity
    gate: FittingGate | None = None


def _services(request: Request) -> Services:
    services: object = request.app.state.services
    assert isinstance(services, Services)
    return services


CurrentServices = Annotated[Services, Depends(_services)]


def _now_us(services: CurrentServices) -> int:
    return services.clock()


NowUs = Annotated[int, Depends(_now_us)]


def _read_session(services: CurrentServices) -> Iterator[Session]:
    with services.database.reading() as session:
        yield session


def _write_session(services: CurrentServices) -> Iterator[Session]:
    with services.database.writing() as session:
        yield session


ReadSession = Annotated[Session, Depends(_read_session)]
WriteSession = Annotated[Session, Depends(_write_session)]

_BEARER = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat="tbox_<key id>_<secret>",
    description="A key made by `tbox backend key create`, sent as `Authorization: Bearer tbox_...`.",
    auto_error=False,
)


def _caller(
    session: ReadSession,
    now_us: NowUs,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Caller:
    caller = (
        None if credentials is None else authenticate(session, bearer=credentials.credentials, now_us=now_us)
    )
    if caller is None:
        raise ProblemError(UNAUTHENTICATED)
    return caller


CurrentCaller = Annotated[Caller, Depends(_caller)]


@dataclass(frozen=True, slots=True)
class PermissionCheck:
    """Refuses a caller whose role does not have the permission."""

    permission: Permission

    def __call__(self, caller: CurrentCaller) -> None:
        """Let the request pass, or end it with 403."""
        if not is_allowed(caller.role, self.permission):
            raise ProblemError(FORBIDDEN, f"the role {caller.role} lacks the permission {self.permission}")


def allow(permission: Permission) -> params.Depends:
    """Return the dependency that names a route's permission."""
    dependency = Depends(PermissionCheck(permission))
    assert isinstance(dependency, params.Depends)
    return dependency


DevicePath = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{64}$",
        description="Device id: thumbprint of the box's first agent key, 64 hex digits.",
        examples=["9f" * 32],
    ),
]


def _own_device(device_id: DevicePath, caller: CurrentCaller, session: ReadSession) -> Device:
    device = find_device(session, org_id=caller.org_id, device_id=device_id)
    if device is None:
        raise ProblemError(DEVICE_NOT_FOUND)
    return device


OwnDevice = Annotated[Device, Depends(_own_device)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionGate:
    """Stands before exact positions: needs permission and purpose, and writes the log."""

    caller: Caller
    purpose: Purpose | None
    services: Services

    def record(
        self,
        *,
        device_id: str,
        subject: str,
        from_us: int | None,
        to_us: int | None,
        permission: Permission = Permission.POSITION_READ,
    ) -> None:
        """Check permission and purpose, and commit an access log entry, before anything is read.

        Raises:
            ProblemError: FORBIDDEN without the permission, PURPOSE_REQUIRED without the header.
        """
        if not is_allowed(self.caller.role, permission):
            raise ProblemError(FORBIDDEN, f"the role {self.caller.role} lacks the permission {permission}")
        if self.purpose is None:
            raise ProblemError(PURPOSE_REQUIRED, f"send the header {PURPOSE_HEADER}: " + " | ".join(Purpose))
        with self.services.database.writing() as session:
            log_position_read(
                session,
                caller=self.caller,
                device_id=device_id,
                purpose=self.purpose,
                subject=subject,
                from_us=from_us,
                to_us=to_us,
                now_us=self.services.clock(),
            )


def _position_gate(
    caller: CurrentCaller,
    services: CurrentServices,
    access_purpose: Annotated[
        Purpose | None,
        Header(description="Why exact positions are read. Needed for them, logged with the read."),
    ] = None,
) -> PositionGate:
    return PositionGate(caller=caller, purpose=access_purpose, services=services)


PositionAccess = Annotated[PositionGate, Depends(_position_gate)]
