"""Jobs: one appointment at one car, its work ticket, what happened, the photos.

Rules:
- A job has at most one ticket in force; once a record under it was accepted it is used, for good.
- Events only grow and are numbered over all jobs, so that a reader goes on where it stopped. Of the box's
  reports only the newest stays: each says everything that the ones before it said.
- A photo is kept under its SHA-256, once a job.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    delete,
)
from sqlmodel import Field, Session, SQLModel, col, func, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device
from backend.store.vehicles import VEHICLE_ID_CHARS

JOB_ID_CHARS = 32


class Job(SQLModel, table=True):
    """One appointment.

    `installer` is the person as the delegation of his key names him; `installer_key` the API key with which
    he sees the job, None for any key of that name. `device_id` is the box that was scanned or began.
    """

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("org_id", "job_id"),
        UniqueConstraint("ticket_id"),
        owned_by_device(),
        ForeignKeyConstraint(["org_id", "vehicle_id"], ["vehicle.org_id", "vehicle.vehicle_id"]),
        Index("ix_job_org_id", "org_id", "from_us"),
    )

    job_id: str = Field(primary_key=True, max_length=JOB_ID_CHARS)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    vehicle_id: str = Field(max_length=VEHICLE_ID_CHARS)
    acts: str = Field(max_length=64)
    installer: str = Field(max_length=200)
    installer_key: str | None = Field(default=None, max_length=16)
    label: str | None = Field(default=None, max_length=64)
    from_us: int = Field(sa_type=Microseconds)
    to_us: int = Field(sa_type=Microseconds)
    state: str = Field(max_length=16)
    device_id: str | None = Field(default=None, max_length=DEVICE_ID_CHARS)
    ticket_id: str | None = Field(default=None, max_length=32)
    ticket: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    ticket_kid: str | None = Field(default=None, max_length=64)
    ticket_used_us: int | None = Field(default=None, sa_type=Microseconds)
    report: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    report_seq: int = Field(default=0, sa_type=BigInteger)
    report_us: int | None = Field(default=None, sa_type=Microseconds)
    workshop_until_us: int | None = Field(default=None, sa_type=Microseconds)
    created_by: str = Field(max_length=16)
    created_us: int = Field(sa_type=Microseconds)


class JobEvent(SQLModel, table=True):
    """Something that happened in a job; `body` is JSON."""

    __tablename__ = "job_event"
    __table_args__ = (
        ForeignKeyConstraint(["org_id", "job_id"], ["job.org_id", "job.job_id"]),
        Index("ix_job_event_job_id", "job_id", "event_no"),
        {"sqlite_autoincrement": True},  # a number that was used never comes back
    )

    event_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    job_id: str = Field(max_length=JOB_ID_CHARS)
    kind: str = Field(max_length=16)
    body: str = Field(sa_column=Column(Text, nullable=False))
    at_us: int = Field(sa_type=Microseconds)


class JobPhoto(SQLModel, table=True):
    """A picture, by its hash."""

    __tablename__ = "job_photo"
    __table_args__ = (ForeignKeyConstraint(["org_id", "job_id"], ["job.org_id", "job.job_id"]),)

    job_id: str = Field(primary_key=True, max_length=JOB_ID_CHARS)
    sha256: str = Field(primary_key=True, max_length=64)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    media_type: str = Field(max_length=16)
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    size: int
    at_us: int = Field(sa_type=Microseconds)


def find_job(session: Session, *, org_id: str, job_id: str, lock: bool = False) -> Job | None:
    """Return a job of this organisation; `lock` keeps other writers away until the transaction ends."""
    query = select(Job).where(Job.org_id == org_id, Job.job_id == job_id)
    return session.exec(query.with_for_update() if lock else query).one_or_none()


def find_job_by_ticket(session: Session, *, org_id: str, ticket_id: str, lock: bool = False) -> Job | None:
    """Return the job of a ticket, in this organisation."""
    query = select(Job).where(Job.org_id == org_id, Job.ticket_id == ticket_id)
    return session.exec(query.with_for_update() if lock else query).one_or_none()


def list_jobs(session: Session, *, org_id: str, from_us: int, to_us: int, limit: int) -> Sequence[Job]:
    """Return an organisation's jobs that touch an interval, by their beginning."""
    return session.exec(
        select(Job)
        .where(Job.org_id == org_id, Job.to_us > from_us, Job.from_us < to_us)
        .order_by(col(Job.from_us), Job.job_id)
        .limit(limit)
    ).all()


def list_vehicle_jobs(session: Session, *, org_id: str, vehicle_id: str) -> Sequence[Job]:
    """Return the jobs at a vehicle, the newest last."""
    return session.exec(
        select(Job)
        .where(Job.org_id == org_id, Job.vehicle_id == vehicle_id)
        .order_by(col(Job.created_us), Job.job_id)
    ).all()


def list_events(session: Session, *, org_id: str, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
    """Return what happened in a job after an event's number, in order."""
    return session.exec(
        select(JobEvent)
        .where(JobEvent.org_id == org_id, JobEvent.job_id == job_id, col(JobEvent.event_no) > after)
        .order_by(col(JobEvent.event_no))
        .limit(limit)
    ).all()


def drop_events(session: Session, *, job_id: str, kind: str) -> None:
    """Take a job's events of a kind out: a newer one says all of it."""
    session.exec(delete(JobEvent).where(col(JobEvent.job_id) == job_id, col(JobEvent.kind) == kind))


def count_events(session: Session, *, job_id: str, kind: str) -> int:
    """Return how many events of a kind a job has."""
    return session.exec(
        select(func.count()).select_from(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind == kind)
    ).one()


def find_photo(session: Session, *, org_id: str, job_id: str, sha256: str) -> JobPhoto | None:
    """Return one picture."""
    return session.exec(
        select(JobPhoto).where(
            JobPhoto.org_id == org_id, JobPhoto.job_id == job_id, JobPhoto.sha256 == sha256
        )
    ).one_or_none()


def list_photos(session: Session, *, org_id: str, job_id: str) -> list[tuple[str, str, int, int]]:
    """Return hash, media type, size and time of a job's pictures, without their content."""
    rows = session.exec(
        select(JobPhoto.sha256, JobPhoto.media_type, JobPhoto.size, JobPhoto.at_us)
        .where(JobPhoto.org_id == org_id, JobPhoto.job_id == job_id)
        .order_by(col(JobPhoto.at_us), JobPhoto.sha256)
    )
    return [(sha256, media, size, at_us) for sha256, media, size, at_us in rows]
