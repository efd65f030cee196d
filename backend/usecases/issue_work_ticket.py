"""An installer gets the work ticket of his job: permission to commission one vehicle, once, in one window.

Rules: the backend's policy key signs; a ticket is authority over nothing. Asked again, the same ticket comes
back until it was used, or until another key of this person is in force. It begins and ends with the job.

Example:
    >>> issue_work_ticket(session, caller=caller, job=job, signer=identity.policy_signer, now_us=utc_us())
"""

import secrets

from sqlmodel import Session

from backend.domain.installing import EventKind, JobState
from backend.domain.refusal import Reason, Refusal
from backend.store.jobs import Job
from backend.store.vehicles import find_vehicle_by_id
from backend.usecases.installer_keys import find_installer
from backend.usecases.job_events import note_event
from protocol.envelope import Signer
from protocol.install_forms import Wiring, WorkTicket, sign_work_ticket
from protocol.install_vocabulary import Act

_SECOND_US = 1_000_000


def issue_work_ticket(session: Session, *, job: Job, signer: Signer, now_us: int) -> Job | Refusal:
    """Give out a job's ticket in the caller's transaction, which holds the job's row."""
    if job.ticket_used_us is not None or job.state == JobState.DONE:
        return Refusal(reason=Reason.TICKET_USED, detail="the job is done; plan another one")
    if job.to_us <= now_us:
        return Refusal(reason=Reason.TICKET_OVER, detail="the job's time is over; plan another one")
    installer = find_installer(session, org_id=job.org_id, person=job.installer, now_s=now_us // _SECOND_US)
    if installer is None:
        return Refusal(
            reason=Reason.NOT_DELEGATED,
            detail="no delegation in force names this installer; bring it to /v1/authority/documents",
        )
    if job.ticket is not None and job.ticket_kid == installer.kid.hex():
        return job
    vehicle = find_vehicle_by_id(session, org_id=job.org_id, vehicle_id=job.vehicle_id)
    assert vehicle is not None, "a job refers to its vehicle"
    ticket = WorkTicket(
        ticket_id=secrets.token_bytes(16),
        job_id=bytes.fromhex(job.job_id),
        installer=installer.kid,
        nbf_s=job.from_us // _SECOND_US,
        exp_s=job.to_us // _SECOND_US,
        acts=tuple(Act(act) for act in job.acts.split(",")),
        vin=vehicle.vin,
        label=job.label,
        lender_id=vehicle.lender_id,
        contract_ref=vehicle.contract_ref,
        jurisdiction=vehicle.jurisdiction,
        start_type=vehicle.start_type,
        profile=vehicle.profile,
        vin_salt=vehicle.vin_salt,
        wiring=Wiring(
            ignition_wire=vehicle.ignition_wire, crank_wire=vehicle.crank_wire, start_note=vehicle.start_note
        ),
    )
    job.ticket, job.ticket_id = sign_work_ticket(ticket, signer), ticket.ticket_id.hex()
    job.ticket_kid = installer.kid.hex()
    job.state = JobState.OPEN if job.state == JobState.PLANNED else job.state
    session.add(job)
    session.flush()
    note_event(session, job, EventKind.TICKET, {"ticket_id": job.ticket_id}, now_us=now_us)
    return job
