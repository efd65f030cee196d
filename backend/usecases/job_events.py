"""A line in a job's story, in the caller's transaction.

Rules: a line is JSON of short texts, numbers and what a phone page needs; it holds no key and no position. Of
the box's reports only the newest line stays. A job has at most JOB_EVENTS_MAX lines of a kind: whoever sends
more is not a person at a car.

Example:
    >>> note_event(session, job, EventKind.TICKET, {"ticket_id": "…"}, now_us=now_us)
"""

import json
from collections.abc import Mapping

from pydantic import JsonValue
from sqlmodel import Session

from backend.domain.installing import EventKind
from backend.store.jobs import Job, JobEvent, count_events, drop_events
from protocol.limits import JOB_EVENTS_MAX


def note_event(
    session: Session, job: Job, kind: EventKind, body: Mapping[str, JsonValue], *, now_us: int
) -> None:
    """Add a line; beyond the limit, none."""
    if kind is EventKind.REPORT:
        drop_events(session, job_id=job.job_id, kind=kind)
    elif count_events(session, job_id=job.job_id, kind=kind) >= JOB_EVENTS_MAX:
        return
    session.add(
        JobEvent(org_id=job.org_id, job_id=job.job_id, kind=kind, body=json.dumps(dict(body)), at_us=now_us)
    )
    session.flush()
