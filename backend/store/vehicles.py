"""Vehicles, and which box was in which of them from when to when.

Rules:
- A vehicle is of one organisation and has one VIN there. It stays when its box is swapped, with all that was.
- A binding is never changed but to end it. A box is in one vehicle at a time, and a vehicle has one box:
  two partial unique indexes say so.
- The VIN stands here in the clear, for people; on the wire and in orders there is only its salted hash.
"""

from collections.abc import Sequence

from sqlalchemy import ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device

VEHICLE_ID_CHARS = 32
VIN_CHARS = 17


class Vehicle(SQLModel, table=True):
    """One vehicle, and what its orders and its fitter need to know."""

    __tablename__ = "vehicle"
    __table_args__ = (
        UniqueConstraint("org_id", "vin"),
        UniqueConstraint("org_id", "vehicle_id"),
    )

    vehicle_id: str = Field(primary_key=True, max_length=VEHICLE_ID_CHARS)
    org_id: str = Field(foreign_key="organisation.org_id", max_length=ORG_ID_CHARS)
    vin: str = Field(max_length=VIN_CHARS)
    vin_salt: bytes = Field(max_length=16)
    lender_id: bytes = Field(max_length=8)
    contract_ref: bytes = Field(max_length=32)
    jurisdiction: str = Field(max_length=6)
    start_type: str = Field(max_length=16)
    profile: str | None = Field(default=None, max_length=64)
    ignition_wire: str = Field(max_length=200)
    crank_wire: str = Field(max_length=200)
    start_note: str = Field(max_length=200)
    workshop_until_us: int | None = Field(default=None, sa_type=Microseconds)
    created_us: int = Field(sa_type=Microseconds)
    updated_us: int = Field(sa_type=Microseconds)


class VehicleBinding(SQLModel, table=True):
    """A box in a vehicle, from one record to another; `ended_us` None while it is there."""

    __tablename__ = "vehicle_binding"
    __table_args__ = (
        owned_by_device(),
        ForeignKeyConstraint(["org_id", "vehicle_id"], ["vehicle.org_id", "vehicle.vehicle_id"]),
        Index(
            "uq_vehicle_binding_open_device",
            "device_id",
            unique=True,
            sqlite_where=text("ended_us IS NULL"),
            postgresql_where=text("ended_us IS NULL"),
        ),
        Index(
            "uq_vehicle_binding_open_vehicle",
            "vehicle_id",
            unique=True,
            sqlite_where=text("ended_us IS NULL"),
            postgresql_where=text("ended_us IS NULL"),
        ),
    )

    binding_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    vehicle_id: str = Field(max_length=VEHICLE_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    mcu_id: str = Field(max_length=64)
    record_sha256: str = Field(max_length=64)
    begun_us: int = Field(sa_type=Microseconds)
    ended_us: int | None = Field(default=None, sa_type=Microseconds)
    ended_by: str | None = Field(default=None, max_length=64)


def find_vehicle(session: Session, *, org_id: str, vin: str) -> Vehicle | None:
    """Return a vehicle of this organisation by its VIN."""
    return session.exec(select(Vehicle).where(Vehicle.org_id == org_id, Vehicle.vin == vin)).one_or_none()


def find_vehicle_by_id(
    session: Session, *, org_id: str, vehicle_id: str, lock: bool = False
) -> Vehicle | None:
    """Return a vehicle of this organisation; `lock` keeps other writers away until the transaction ends."""
    query = select(Vehicle).where(Vehicle.org_id == org_id, Vehicle.vehicle_id == vehicle_id)
    return session.exec(query.with_for_update() if lock else query).one_or_none()


def list_bindings(session: Session, *, org_id: str, vehicle_id: str) -> Sequence[VehicleBinding]:
    """Return all boxes that a vehicle has had, the newest last."""
    return session.exec(
        select(VehicleBinding)
        .where(VehicleBinding.org_id == org_id, VehicleBinding.vehicle_id == vehicle_id)
        .order_by(col(VehicleBinding.binding_no))
    ).all()


def open_binding_of_vehicle(session: Session, *, org_id: str, vehicle_id: str) -> VehicleBinding | None:
    """Return which box is in a vehicle now."""
    return session.exec(
        select(VehicleBinding).where(
            VehicleBinding.org_id == org_id,
            VehicleBinding.vehicle_id == vehicle_id,
            col(VehicleBinding.ended_us).is_(None),
        )
    ).one_or_none()


def open_binding_of_device(session: Session, *, org_id: str, device_id: str) -> VehicleBinding | None:
    """Return which vehicle a box is in now."""
    return session.exec(
        select(VehicleBinding).where(
            VehicleBinding.org_id == org_id,
            VehicleBinding.device_id == device_id,
            col(VehicleBinding.ended_us).is_(None),
        )
    ).one_or_none()
