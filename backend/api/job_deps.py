"""What the routes of a job ask for: the job that the caller may see, and the same row held for writing.

Rules: a job of another organisation, one of another installer, and one that does not exist are the same 404.

Example:
    @router.get("/jobs/{job_id}", dependencies=[allow(Permission.INSTALL_READ)])
    def read_job(job: VisibleJob, session: ReadSession) -> JobDetailOut: ...
"""

from typing import Annotated

from fastapi import Depends, Path
from sqlmodel import Session

from backend.api.deps import CurrentCaller, ReadSession
from backend.api.problems import REFUSALS, ProblemError
from backend.domain.refusal import Reason
from backend.store.jobs import Job, find_job
from backend.usecases.show_job import find_visible_job

JobPath = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{32}$",
        description="The job's id, 32 hex digits.",
        examples=["019abf00000070008000000000000001"],
    ),
]


def _visible_job(job_id: JobPath, caller: CurrentCaller, session: ReadSession) -> Job:
    job = find_visible_job(session, caller=caller, job_id=job_id)
    if job is None:
        raise ProblemError(REFUSALS[Reason.JOB_UNKNOWN])
    return job


VisibleJob = Annotated[Job, Depends(_visible_job)]


def held(session: Session, job: Job) -> Job:
    """Return the row of a visible job, held in a writing transaction."""
    found = find_job(session, org_id=job.org_id, job_id=job.job_id, lock=True)
    assert found is not None, "no job is ever deleted"
    return found
