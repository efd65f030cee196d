"""Commissioning records as they were accepted, and the probation that follows each installation.

Rules: kept verbatim for at least three years (README §1.22), as their own class, without tracks; nothing
deletes them. Probation is of one box in one epoch of its microcontroller: another epoch needs another record.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, LargeBinary, Text
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, owned_by_device
from backend.store.vehicles import VEHICLE_ID_CHARS


class InstallRecord(SQLModel, table=True):
    """One accepted record: `sha256` is of its payload, what the microcontroller's word names."""

    __tablename__ = "install_record"
    __table_args__ = (
        owned_by_device(),
        ForeignKeyConstraint(["org_id", "job_id"], ["job.org_id", "job.job_id"]),
        ForeignKeyConstraint(["org_id", "vehicle_id"], ["vehicle.org_id", "vehicle.vehicle_id"]),
    )

    sha256: str = Field(primary_key=True, max_length=64)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    job_id: str = Field(max_length=32, index=True)
    vehicle_id: str = Field(max_length=VEHICLE_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    mcu_id: str = Field(max_length=64)
    act: str = Field(max_length=16)
    verdict: str = Field(max_length=16)
    came_from: str = Field(max_length=8)
    record: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    attestation: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    mcu_key: bytes = Field(max_length=75)
    leaf_index: int | None = Field(default=None, sa_type=BigInteger)
    told_gate_us: int | None = Field(default=None, sa_type=Microseconds)
    at_us: int = Field(sa_type=Microseconds)


class Probation(SQLModel, table=True):
    """What has been seen of a box since its record; `evidence` is JSON: condition → [since µs, words]."""

    __tablename__ = "probation"
    __table_args__ = (
        owned_by_device(),
        ForeignKeyConstraint(["org_id", "vehicle_id"], ["vehicle.org_id", "vehicle.vehicle_id"]),
    )

    device_id: str = Field(primary_key=True, max_length=DEVICE_ID_CHARS)
    mcu_id: str = Field(primary_key=True, max_length=64)
    epoch: bytes = Field(primary_key=True, max_length=16)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    vehicle_id: str = Field(max_length=VEHICLE_ID_CHARS)
    record_sha256: str = Field(max_length=64)
    state: str = Field(max_length=16)
    evidence: str = Field(sa_column=Column(Text, nullable=False))
    begun_us: int = Field(sa_type=Microseconds)
    ended_us: int | None = Field(default=None, sa_type=Microseconds)


class IdentityChange(SQLModel, table=True):
    """A box said another identity than was registered: what, what it was, what it is now."""

    __tablename__ = "identity_change"
    __table_args__ = (owned_by_device(),)

    device_id: str = Field(primary_key=True, max_length=DEVICE_ID_CHARS)
    what: str = Field(primary_key=True, max_length=16)
    said: str = Field(primary_key=True, max_length=64)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    registered: str = Field(max_length=64)
    first_us: int = Field(sa_type=Microseconds)
    cleared_us: int | None = Field(default=None, sa_type=Microseconds)


def find_record(session: Session, *, org_id: str, sha256: str) -> InstallRecord | None:
    """Return an accepted record of this organisation."""
    return session.exec(
        select(InstallRecord).where(InstallRecord.org_id == org_id, InstallRecord.sha256 == sha256)
    ).one_or_none()


def list_job_records(session: Session, *, org_id: str, job_id: str) -> Sequence[InstallRecord]:
    """Return the records of a job, the oldest first."""
    return session.exec(
        select(InstallRecord)
        .where(InstallRecord.org_id == org_id, InstallRecord.job_id == job_id)
        .order_by(col(InstallRecord.at_us))
    ).all()


def records_to_tell(session: Session, *, limit: int) -> Sequence[InstallRecord]:
    """Return records that the gate has not been told of, the oldest first, of all organisations."""
    return session.exec(
        select(InstallRecord)
        .where(col(InstallRecord.told_gate_us).is_(None))
        .order_by(col(InstallRecord.at_us))
        .limit(limit)
    ).all()


def find_probation(session: Session, *, device_id: str, mcu_id: str, epoch: bytes) -> Probation | None:
    """Return the probation of a box in an epoch."""
    return session.get(Probation, (device_id, mcu_id, epoch))


def newest_probation(session: Session, *, org_id: str, vehicle_id: str, device_id: str) -> Probation | None:
    """Return the last probation that a box began in a vehicle."""
    return session.exec(
        select(Probation)
        .where(
            Probation.org_id == org_id, Probation.vehicle_id == vehicle_id, Probation.device_id == device_id
        )
        .order_by(col(Probation.begun_us).desc())
        .limit(1)
    ).first()


def list_identity_changes(session: Session, *, org_id: str, device_id: str) -> Sequence[IdentityChange]:
    """Return what a box said that does not fit, and that no later record has settled."""
    return session.exec(
        select(IdentityChange)
        .where(
            IdentityChange.org_id == org_id,
            IdentityChange.device_id == device_id,
            col(IdentityChange.cleared_us).is_(None),
        )
        .order_by(col(IdentityChange.first_us), IdentityChange.what)
    ).all()
