"""What an installer's phone signed goes to the box of its job, word for word.

Rules: the backend looks so as not to carry what nobody would take: a command under this job's ticket, by the
key that the ticket names, for a box of this organisation, and for the same box as before. Whether it is
carried out is the box's to say, which verifies everything again. A command sent twice goes out once.

Example:
    >>> relay_command(session, job=job, command=message, now_us=utc_us())
"""

from typing import TYPE_CHECKING

from sqlmodel import Session

from backend.domain.device_life import DeviceStatus
from backend.domain.installing import EventKind, JobState
from backend.domain.refusal import Reason, Refusal
from backend.store.devices import find_device
from backend.store.jobs import Job
from backend.store.order_outbox import Outgoing, put_outgoing
from backend.usecases.job_events import note_event
from protocol.errors import ProtocolError
from protocol.install_forms import OpenedCommand, open_command
from protocol.install_vocabulary import Act, Verb
from protocol.topics import Down

if TYPE_CHECKING:
    from pydantic import JsonValue

_PRIORITY = 1  # after releases, before what restricts: a person stands at the car


def relay_command(session: Session, *, job: Job, command: bytes, now_us: int) -> OpenedCommand | Refusal:
    """Queue a command in the caller's transaction, which holds the job's row."""
    try:
        opened = open_command(command)
    except ProtocolError as refused:
        return Refusal(reason=Reason.BAD_INSTALL, detail=f"command: {refused.code}")
    said = opened.command
    refusal = _judge(job, opened, now_us=now_us)
    if refusal is not None:
        return refusal
    device = find_device(session, org_id=job.org_id, device_id=said.device)
    if device is None or device.status != DeviceStatus.ENROLLED:
        return Refusal(reason=Reason.DEVICE_UNKNOWN, detail="the command names no enrolled box of yours")
    if said.verb is Verb.BEGIN or job.device_id is None:
        job.device_id = said.device
    session.add(job)
    put_outgoing(
        session,
        Outgoing(
            org_id=job.org_id,
            device_id=said.device,
            kind=Down.INSTALL,
            subject=said.command_id.hex(),
            priority=_PRIORITY,
            payload=command,
            sends_max=1,
            due_us=now_us,
            created_us=now_us,
        ),
    )
    body: dict[str, JsonValue] = {
        "command_id": said.command_id.hex(),
        "seq": said.seq,
        "verb": str(said.verb),
    }
    note_event(session, job, EventKind.COMMAND, body, now_us=now_us)
    return opened


def _judge(job: Job, opened: OpenedCommand, *, now_us: int) -> Refusal | None:
    said = opened.command
    if job.ticket_id != said.ticket_id.hex() or job.ticket_kid != opened.kid.hex():
        return Refusal(reason=Reason.BAD_INSTALL, detail="another ticket, or another key than the ticket's")
    if job.state == JobState.DONE:
        return Refusal(reason=Reason.TICKET_USED, detail="the job is done")
    if not job.from_us <= now_us < job.to_us:
        return Refusal(reason=Reason.TICKET_OVER, detail="it is not the time of this job")
    is_other = job.device_id is not None and job.device_id != said.device
    if is_other and not (said.verb is Verb.BEGIN and Act.SWAP in job.acts.split(",")):
        return Refusal(
            reason=Reason.IDENTITY, detail="the job was begun with another box: scan the label again"
        )
    return None
