"""An operator plans a job: one installer, one vehicle, one time window.

Rules: the window is at most a working day, as long as a ticket may live. A vehicle that has a box is swapped,
not installed anew; one without has nothing to swap or remove. Workshop mode has an end.

Example:
    >>> plan_job(session, caller=caller, asked=AskedJob(...), now_us=utc_us())
"""

import secrets
from dataclasses import dataclass

from sqlmodel import Session

from backend.domain.access import Caller
from backend.domain.installing import EventKind, JobState, judge_acts
from backend.domain.refusal import Reason, Refusal
from backend.store.jobs import Job
from backend.store.vehicles import find_vehicle, open_binding_of_vehicle
from backend.usecases.job_events import note_event
from protocol.install_vocabulary import Act
from protocol.limits import WORK_TICKET_LIFE_S_MAX, WORKSHOP_DAYS_MAX

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedJob:
    """What is planned; times in µs UTC."""

    vin: str
    acts: tuple[Act, ...]
    installer: str
    installer_key: str | None
    from_us: int
    to_us: int
    label: str | None
    workshop_until_us: int | None


def plan_job(session: Session, *, caller: Caller, asked: AskedJob, now_us: int) -> Job | Refusal:
    """Store a job in the caller's transaction."""
    vehicle = find_vehicle(session, org_id=caller.org_id, vin=asked.vin)
    if vehicle is None:
        return Refusal(reason=Reason.VEHICLE_UNKNOWN, detail="enter the vehicle first")
    bound = open_binding_of_vehicle(session, org_id=caller.org_id, vehicle_id=vehicle.vehicle_id)
    wrong = judge_acts(asked.acts) or _judge(asked, is_bound=bound is not None, now_us=now_us)
    if wrong is not None:
        return Refusal(reason=Reason.BAD_JOB, detail=wrong)
    job = Job(
        job_id=secrets.token_hex(16),
        org_id=caller.org_id,
        vehicle_id=vehicle.vehicle_id,
        acts=",".join(asked.acts),
        installer=asked.installer,
        installer_key=asked.installer_key,
        label=asked.label,
        from_us=asked.from_us,
        to_us=asked.to_us,
        state=JobState.PLANNED,
        workshop_until_us=asked.workshop_until_us,
        created_by=caller.key_id,
        created_us=now_us,
    )
    session.add(job)
    session.flush()
    note_event(session, job, EventKind.PLANNED, {"acts": list(asked.acts)}, now_us=now_us)
    return job


def _judge(asked: AskedJob, *, is_bound: bool, now_us: int) -> str | None:
    """Return the first thing that is wrong with a job, or None."""
    until_us = asked.workshop_until_us
    is_within = asked.from_us < asked.to_us <= asked.from_us + WORK_TICKET_LIFE_S_MAX * _SECOND_US
    ends_soon = until_us is None or now_us < until_us <= now_us + WORKSHOP_DAYS_MAX * _DAY_US
    rules = (
        (is_within, f"a job lasts at most {WORK_TICKET_LIFE_S_MAX // 3_600} h and ends after it begins"),
        (asked.to_us > now_us, "the job would be over already"),
        (not (is_bound and Act.INSTALL in asked.acts), "the vehicle has a box: plan a swap"),
        (is_bound or {Act.INSTALL}.issuperset(asked.acts), "the vehicle has no box: plan an installation"),
        (
            (Act.WORKSHOP in asked.acts) == (until_us is not None),
            "workshop mode has an end, and nothing else has",
        ),
        (ends_soon, f"workshop mode ends within {WORKSHOP_DAYS_MAX} days"),
    )
    return next((words for holds, words in rules if not holds), None)
