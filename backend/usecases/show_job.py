"""What a job's page shows, from what is stored.

Rules: an installer sees his own jobs and no others: those planned for his API key, or without one for the
name of his key. A report that is stored was verified; it is read again by the box's keys, never trusted from
a column.

Example:
    >>> is_own(job, caller, key_name="Avery Fitter")
    True
"""

from sqlmodel import Session

from backend.domain.access import Caller, Role
from backend.store.api_keys import find_api_key
from backend.store.devices import list_device_keys
from backend.store.jobs import Job, find_job
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose
from protocol.install_report import InstallReport, open_report


def find_visible_job(session: Session, *, caller: Caller, job_id: str) -> Job | None:
    """Return a job of the caller's organisation that he may see."""
    job = find_job(session, org_id=caller.org_id, job_id=job_id)
    return job if job is not None and is_visible(session, job, caller) else None


def is_visible(session: Session, job: Job, caller: Caller) -> bool:
    """Return whether a caller of the same organisation may see a job."""
    if caller.role is not Role.INSTALLER:
        return True
    key = find_api_key(session, org_id=caller.org_id, key_id=caller.key_id)
    return is_own(job, caller, key_name=None if key is None else key.name)


def is_own(job: Job, caller: Caller, *, key_name: str | None) -> bool:
    """Return whether a job is planned for this key."""
    if job.installer_key is not None:
        return job.installer_key == caller.key_id
    return job.installer == key_name


def report_of(session: Session, job: Job) -> InstallReport | None:
    """Return the newest report of a job's box, or None before any."""
    if job.report is None or job.device_id is None:
        return None
    keys = {
        bytes.fromhex(row.kid): row.cose_key
        for row in list_device_keys(session, org_id=job.org_id, device_id=job.device_id)
    }
    try:
        return open_report(job.report, lambda kid: public_key_from_cose(keys[kid]) if kid in keys else None)
    except ProtocolError:
        return None  # of a box whose keys are gone
