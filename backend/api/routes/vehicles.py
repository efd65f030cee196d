"""Vehicles: entered by the lender, with every box that was ever in them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session
from starlette.responses import JSONResponse

from backend.api.deps import CurrentCaller, NowUs, ReadSession, WriteSession, allow
from backend.api.idempotency import Repeated
from backend.api.install_schemas import (
    EXAMPLE_VEHICLE_IN,
    EXAMPLE_VIN,
    VIN_PATTERN,
    BindingOut,
    IdentityOut,
    VehicleIn,
    VehicleOut,
)
from backend.api.openapi import problems
from backend.api.order_schemas import EXAMPLE_ID
from backend.api.problems import REFUSALS, ProblemError
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, optional_time
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.installing import Condition, ProbationState
from backend.domain.refusal import Reason
from backend.store.contention import in_transaction
from backend.store.install_records import list_identity_changes, newest_probation
from backend.store.jobs import list_vehicle_jobs
from backend.store.mcus import find_mcu
from backend.store.vehicles import (
    Vehicle,
    VehicleBinding,
    find_vehicle,
    list_bindings,
    open_binding_of_vehicle,
)
from backend.usecases.enter_vehicle import AskedVehicle, enter_vehicle
from backend.usecases.judge_probation import look_again, seen_of

router = APIRouter(tags=["installation"])

VinPath = Annotated[str, Path(pattern=VIN_PATTERN, description="The vehicle's VIN.", examples=[EXAMPLE_VIN])]


class VehicleDetailOut(VehicleOut):
    """A vehicle with its boxes and jobs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE_VEHICLE_IN
                | {
                    "vehicle_id": EXAMPLE_ID,
                    "workshop_until": None,
                    "created_at": EXAMPLE_TIME,
                    "bindings": [],
                    "jobs": [EXAMPLE_ID],
                    "identity": [],
                    "is_another_car": False,
                }
            ]
        }
    )

    bindings: list[BindingOut] = Field(description="Boxes that it has had, the newest last.")
    jobs: list[str] = Field(description="Ids of its jobs, the newest last.")
    identity: list[IdentityOut] = Field(description="What its box said that does not fit.")
    is_another_car: bool = Field(description="True: its box says that it is in another car.")


@router.post(
    "/vehicles",
    summary="Enter a vehicle",
    status_code=201,
    response_model=VehicleOut,
    responses=problems(409),
    dependencies=[allow(Permission.INSTALL_PLAN)],
)
def post_vehicle(
    caller: CurrentCaller, vehicle: VehicleIn, repeated: Repeated, now_us: NowUs
) -> JSONResponse:
    """Enter a vehicle that is to get a box, or correct one that has none yet."""
    asked = AskedVehicle(
        **vehicle.model_dump(exclude={"lender_id", "contract_ref"}),
        lender_id=bytes.fromhex(vehicle.lender_id),
        contract_ref=bytes.fromhex(vehicle.contract_ref),
    )
    return repeated.answer(
        201,
        VehicleOut.of,
        lambda: enter_vehicle(repeated.session, caller=caller, asked=asked, now_us=now_us),
    )


@router.get("/vehicles/{vin}", summary="Show a vehicle", dependencies=[allow(Permission.INSTALL_READ)])
def read_vehicle(vin: VinPath, caller: CurrentCaller, session: ReadSession) -> VehicleDetailOut:
    """Return a vehicle with every box that was in it, and whether its box says that it is elsewhere."""
    vehicle = own_vehicle(session, org_id=caller.org_id, vin=vin)
    bindings = list_bindings(session, org_id=caller.org_id, vehicle_id=vehicle.vehicle_id)
    identity = _identity(session, bindings)
    return VehicleDetailOut(
        **VehicleOut.of(vehicle).model_dump(),
        bindings=[BindingOut.of(row) for row in bindings],
        jobs=[
            row.job_id
            for row in list_vehicle_jobs(session, org_id=caller.org_id, vehicle_id=vehicle.vehicle_id)
        ],
        identity=identity,
        is_another_car=any(item.what == "vin" for item in identity),
    )


class ConditionOut(BaseModel):
    """One condition of probation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"condition": "crank", "seen_at": EXAMPLE_TIME, "evidence": "the engine ran"}]
        }
    )

    condition: str = Field(description="hours-48, sleep, crank, drive, night-supply, bind or relay-proof.")
    seen_at: datetime | None = Field(description="When it was seen; null: not yet.")
    evidence: str | None = Field(description="What was seen.")


class ProbationOut(BaseModel):
    """Whether a car may be restricted by now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "state": "RUNNING",
                    "device": EXAMPLE_DEVICE,
                    "begun_at": EXAMPLE_TIME,
                    "ended_at": None,
                    "workshop_until": None,
                    "conditions": [
                        {"condition": "crank", "seen_at": EXAMPLE_TIME, "evidence": "the engine ran"}
                    ],
                }
            ]
        }
    )

    state: str = Field(description="NONE, RUNNING, PASSED or FAILED; orders wait for PASSED.")
    device: str | None = Field(description="The box that is in the vehicle.")
    begun_at: datetime | None = Field(description="When its record was accepted.")
    ended_at: datetime | None = Field(description="When it was passed, or failed.")
    workshop_until: datetime | None = Field(description="End of workshop mode, which stops orders too.")
    conditions: list[ConditionOut] = Field(description="Each condition, with what was seen of it.")


@router.get(
    "/vehicles/{vin}/probation",
    summary="Show a vehicle's probation",
    dependencies=[allow(Permission.INSTALL_READ)],
)
def read_probation(vin: VinPath, caller: CurrentCaller, session: WriteSession, now_us: NowUs) -> ProbationOut:
    """Return each condition with what was seen of it, from what the box has sent until now."""

    def look() -> ProbationOut | None:
        vehicle = find_vehicle(session, org_id=caller.org_id, vin=vin)
        return None if vehicle is None else _probation(session, vehicle, now_us=now_us)

    found = in_transaction(session, look)
    if found is None:
        raise ProblemError(REFUSALS[Reason.VEHICLE_UNKNOWN])
    return found


def _probation(session: Session, vehicle: Vehicle, *, now_us: int) -> ProbationOut:
    org_id = vehicle.org_id
    bound = open_binding_of_vehicle(session, org_id=org_id, vehicle_id=vehicle.vehicle_id)
    row = (
        None
        if bound is None
        else newest_probation(
            session, org_id=org_id, vehicle_id=vehicle.vehicle_id, device_id=bound.device_id
        )
    )
    if row is None or bound is None:
        state, seen = ProbationState.NONE, {}
    else:
        mcu = find_mcu(session, org_id=org_id, device_id=bound.device_id)
        state = look_again(session, row, mcu=mcu, now_us=now_us)
        seen = dict(seen_of(row))
    return ProbationOut(
        state=state,
        device=None if bound is None else bound.device_id,
        begun_at=None if row is None else to_datetime(row.begun_us),
        ended_at=None if row is None else optional_time(row.ended_us),
        workshop_until=optional_time(vehicle.workshop_until_us),
        conditions=[
            ConditionOut(
                condition=item,
                seen_at=to_datetime(seen[item].since_us) if item in seen else None,
                evidence=seen[item].words if item in seen else None,
            )
            for item in Condition
        ],
    )


def own_vehicle(session: Session, *, org_id: str, vin: str) -> Vehicle:
    """Return a vehicle of this organisation.

    Raises:
        ProblemError: There is none.
    """
    vehicle = find_vehicle(session, org_id=org_id, vin=vin)
    if vehicle is None:
        raise ProblemError(REFUSALS[Reason.VEHICLE_UNKNOWN])
    return vehicle


def _identity(session: Session, bindings: Sequence[VehicleBinding]) -> list[IdentityOut]:
    return [
        IdentityOut(
            device=row.device_id,
            kind="IDENTITY_CHANGED",
            what=row.what,
            registered=row.registered,
            said=row.said,
            since=to_datetime(row.first_us),
        )
        for binding in bindings
        if binding.ended_us is None
        for row in list_identity_changes(session, org_id=binding.org_id, device_id=binding.device_id)
    ]
