"""A lender enters a vehicle, so that a box can be fitted to it.

Rules: a VIN once an organisation. Entering the same again changes nothing and returns it; other words about
a vehicle without a box correct it; once it has a box, what orders name (lender, contract, jurisdiction) is
changed by a record alone. The salt of the VIN is made here and never changes.

Example:
    >>> enter_vehicle(session, caller=caller, asked=AskedVehicle(...), now_us=utc_us())
"""

import secrets
from dataclasses import asdict, dataclass

from sqlmodel import Session

from backend.domain.access import Caller
from backend.domain.refusal import Reason, Refusal
from backend.store.vehicles import Vehicle, find_vehicle, open_binding_of_vehicle


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedVehicle:
    """What is entered; forms as in SPEC §22."""

    vin: str
    lender_id: bytes
    contract_ref: bytes
    jurisdiction: str
    start_type: str
    profile: str | None
    ignition_wire: str
    crank_wire: str
    start_note: str


def enter_vehicle(session: Session, *, caller: Caller, asked: AskedVehicle, now_us: int) -> Vehicle | Refusal:
    """Store a vehicle, or correct it, in the caller's transaction."""
    words = asdict(asked)
    vehicle = find_vehicle(session, org_id=caller.org_id, vin=asked.vin)
    if vehicle is None:
        vehicle = Vehicle(
            vehicle_id=secrets.token_hex(16),
            org_id=caller.org_id,
            vin_salt=secrets.token_bytes(16),
            created_us=now_us,
            updated_us=now_us,
            **words,
        )
    elif any(getattr(vehicle, name) != value for name, value in words.items()):
        bound = open_binding_of_vehicle(session, org_id=caller.org_id, vehicle_id=vehicle.vehicle_id)
        if bound is not None:
            return Refusal(
                reason=Reason.VEHICLE_BOUND, detail="plan a swap or a removal; its record changes the vehicle"
            )
        for name, value in words.items():
            setattr(vehicle, name, value)
        vehicle.updated_us = now_us
    session.add(vehicle)
    session.flush()
    return vehicle
