"""Jobs: planned for an installer, shown to him, with ticket and wiring card, and what his box reported."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field
from sqlmodel import Session
from starlette.responses import JSONResponse

from backend.api.deps import CurrentCaller, CurrentServices, NowUs, ReadSession, WriteSession, allow
from backend.api.idempotency import Repeated
from backend.api.install_schemas import (
    EXAMPLE_JOB,
    EXAMPLE_REPORT,
    CommandIn,
    JobIn,
    JobOut,
    JobsOut,
    PhotoOut,
    RelayedOut,
    ReportOut,
    TicketOut,
    WiringOut,
)
from backend.api.job_deps import VisibleJob, held
from backend.api.openapi import problems
from backend.api.problems import from_refusal
from backend.clock import from_datetime, to_datetime
from backend.domain.access import Permission
from backend.domain.installing import ProbationState
from backend.domain.refusal import Refusal
from backend.store.contention import in_transaction
from backend.store.install_records import list_job_records, newest_probation
from backend.store.jobs import Job, list_jobs, list_photos
from backend.store.vehicles import find_vehicle_by_id
from backend.usecases.issue_work_ticket import issue_work_ticket
from backend.usecases.plan_job import AskedJob, plan_job
from backend.usecases.relay_command import relay_command
from backend.usecases.show_job import is_visible, report_of
from protocol.base64url import to_bytes, to_text
from protocol.install_forms import OpenedCommand, ticket_qr
from protocol.limits import JOBS_PAGE_MAX

router = APIRouter(tags=["installation"])

_SECOND_US = 1_000_000


class JobDetailOut(JobOut):
    """A job with all that its page shows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE_JOB
                | {
                    "profile": "demo",
                    "report": EXAMPLE_REPORT,
                    "photos": [],
                    "record": None,
                    "probation": "NONE",
                }
            ]
        }
    )

    profile: str | None = Field(description="Vehicle profile expected.")
    report: ReportOut | None = Field(description="The box's newest report; null before any.")
    photos: list[PhotoOut] = Field(description="Pictures that are stored.")
    record: str | None = Field(description="SHA-256 of its accepted record; see `records`.")
    probation: str = Field(description="Of the box that it fitted: NONE, RUNNING, PASSED or FAILED.")


@router.post(
    "/jobs",
    summary="Plan a job",
    status_code=201,
    response_model=JobOut,
    responses=problems(404, 409),
    dependencies=[allow(Permission.INSTALL_PLAN)],
)
def post_job(caller: CurrentCaller, job: JobIn, repeated: Repeated, now_us: NowUs) -> JSONResponse:
    """Plan an appointment: one installer, one vehicle, one window of at most 14 h."""
    asked = AskedJob(
        vin=job.vehicle,
        acts=tuple(dict.fromkeys(job.acts)),
        installer=job.installer,
        installer_key=job.installer_key,
        from_us=from_datetime(job.begins_at),
        to_us=from_datetime(job.ends_at),
        label=job.label,
        workshop_until_us=None if job.workshop_until is None else from_datetime(job.workshop_until),
    )
    return repeated.answer(
        201,
        lambda row: show_job(repeated.session, row),
        lambda: plan_job(repeated.session, caller=caller, asked=asked, now_us=now_us),
    )


@router.get("/jobs", summary="List the jobs of a day", dependencies=[allow(Permission.INSTALL_READ)])
def read_jobs(
    caller: CurrentCaller,
    session: ReadSession,
    now_us: NowUs,
    day: Annotated[
        date | None, Query(description="The day, in UTC; today without it.", examples=["2026-11-24"])
    ] = None,
    offset_min: Annotated[
        int, Query(ge=-840, le=840, description="Minutes by which the day's zone is ahead of UTC.")
    ] = 0,
) -> JobsOut:
    """Return the jobs that touch a day; an installer sees his own."""
    start = to_datetime(now_us).date() if day is None else day
    from_us = (
        from_datetime(datetime(start.year, start.month, start.day, tzinfo=UTC)) - offset_min * 60 * _SECOND_US
    )
    to_us = from_us + int(timedelta(days=1).total_seconds()) * _SECOND_US
    rows = list_jobs(session, org_id=caller.org_id, from_us=from_us, to_us=to_us, limit=JOBS_PAGE_MAX)
    return JobsOut(items=[show_job(session, row) for row in rows if is_visible(session, row, caller)])


@router.get("/jobs/{job_id}", summary="Show a job", dependencies=[allow(Permission.INSTALL_READ)])
def read_job(job: VisibleJob, session: ReadSession) -> JobDetailOut:
    """Return a job with its wiring card, the state of its ticket, the box's newest report and the photos."""
    vehicle = find_vehicle_by_id(session, org_id=job.org_id, vehicle_id=job.vehicle_id)
    assert vehicle is not None, "a job refers to its vehicle"
    report = report_of(session, job)
    records = list_job_records(session, org_id=job.org_id, job_id=job.job_id)
    probation = (
        None
        if job.device_id is None
        else newest_probation(session, org_id=job.org_id, vehicle_id=job.vehicle_id, device_id=job.device_id)
    )
    return JobDetailOut(
        **show_job(session, job).model_dump(),
        profile=vehicle.profile,
        report=None
        if report is None or job.report is None
        else ReportOut.of(report, to_text(job.report), job.report_us or 0),
        photos=[
            PhotoOut(sha256=sha256, media_type=media, bytes=size, at=to_datetime(at_us))
            for sha256, media, size, at_us in list_photos(session, org_id=job.org_id, job_id=job.job_id)
        ],
        record=records[-1].sha256 if records else None,
        probation=ProbationState.NONE if probation is None or not records else probation.state,
    )


@router.post(
    "/jobs/{job_id}/ticket",
    summary="Get a job's work ticket",
    responses=problems(409),
    dependencies=[allow(Permission.INSTALL_WORK)],
)
def post_ticket(
    job: VisibleJob, session: WriteSession, services: CurrentServices, now_us: NowUs
) -> TicketOut:
    """Return the signed ticket and the text of its QR code; asked again, the same one until it was used."""

    def issue() -> TicketOut | Refusal:
        found = issue_work_ticket(
            session, job=held(session, job), signer=services.identity.policy_signer, now_us=now_us
        )
        return found if isinstance(found, Refusal) else _ticket(found)

    outcome = in_transaction(session, issue)
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return outcome


@router.post(
    "/jobs/{job_id}/commands",
    summary="Send a command to the box",
    status_code=202,
    responses=problems(409),
    dependencies=[allow(Permission.INSTALL_WORK)],
)
def post_command(job: VisibleJob, command: CommandIn, session: WriteSession, now_us: NowUs) -> RelayedOut:
    """Pass on what the installer's key has signed, word for word; sent again, it goes out once more."""

    def relay() -> OpenedCommand | Refusal:
        message = to_bytes(command.command)
        return relay_command(session, job=held(session, job), command=message, now_us=now_us)

    outcome = in_transaction(session, relay)
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return RelayedOut(command_id=outcome.command.command_id.hex(), device=outcome.command.device)


def show_job(session: Session, row: Job) -> JobOut:
    """Show a row."""
    vehicle = find_vehicle_by_id(session, org_id=row.org_id, vehicle_id=row.vehicle_id)
    assert vehicle is not None, "a job refers to its vehicle"
    return JobOut(
        job_id=row.job_id,
        vin=vehicle.vin,
        acts=row.acts.split(","),
        installer=row.installer,
        begins_at=to_datetime(row.from_us),
        ends_at=to_datetime(row.to_us),
        state=row.state,
        label=row.label,
        device=row.device_id,
        ticket="used" if row.ticket_used_us is not None else "issued" if row.ticket is not None else "none",
        start_type=vehicle.start_type,
        wiring=WiringOut(
            ignition_wire=vehicle.ignition_wire,
            crank_wire=vehicle.crank_wire,
            start_note=vehicle.start_note,
        ),
    )


def _ticket(job: Job) -> TicketOut:
    assert job.ticket is not None and job.ticket_id is not None and job.ticket_kid is not None  # noqa: PT018
    return TicketOut(
        ticket_id=job.ticket_id,
        installer=job.ticket_kid,
        ticket=to_text(job.ticket),
        qr=ticket_qr(job.ticket),
    )
