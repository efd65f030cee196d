"""The gate is asked for what an installation needs of it: a ticket for BENCH, its part of BIND.

Rules: the backend signs nothing here and decides nothing; it shows the gate the job's work ticket, what the
microcontroller said, and the installer's delegation. The question is asked outside of any transaction.

Example:
    >>> shown = show_job_to_gate(session, job=job, challenge=challenge, mcu_key=None, now_us=utc_us())
    >>> ask_gate(lambda: gate.ticket(shown))
"""

from collections.abc import Callable

from sqlmodel import Session

from backend.domain.refusal import Reason, Refusal
from backend.store.jobs import Job
from backend.store.labels import label_of_mcu
from backend.store.mcus import find_mcu_by_id
from backend.usecases.gate_port import GateAwayError, GateSaid, GateUnreadableError, ShownJob
from backend.usecases.installer_keys import find_installer
from protocol import cose_sign

_SECOND_US = 1_000_000


def show_job_to_gate(
    session: Session, *, job: Job, challenge: bytes, mcu_key: bytes | None, now_us: int
) -> ShownJob | Refusal:
    """Return what the gate is shown.

    Args:
        session: Reads.
        job: The job, its ticket given out.
        challenge: As the microcontroller signed it.
        mcu_key: D1 as a COSE_Key; None takes it from the box's label or registration.
        now_us: UTC in µs.
    """
    if job.ticket is None or job.ticket_kid is None:
        return Refusal(reason=Reason.BAD_INSTALL, detail="no ticket of this job was given out")
    if job.ticket_used_us is not None:
        return Refusal(reason=Reason.TICKET_USED, detail="the job is done")
    try:
        mcu_id = cose_sign.read_sign1(challenge)[0]
    except ValueError:
        return Refusal(reason=Reason.BAD_INSTALL, detail="the challenge is no signed message")
    key = mcu_key or find_mcu_key(session, org_id=job.org_id, mcu_id=mcu_id.hex())
    if key is None:
        return Refusal(reason=Reason.BAD_INSTALL, detail="send the microcontroller's public key as mcu_key")
    installer = find_installer(
        session, org_id=job.org_id, kid=bytes.fromhex(job.ticket_kid), now_s=now_us // _SECOND_US
    )
    if installer is None:
        return Refusal(reason=Reason.NOT_DELEGATED, detail="the installer's delegation is revoked or over")
    return ShownJob(work_ticket=job.ticket, challenge=challenge, mcu_key=key, delegation=installer.delegation)


def find_mcu_key(session: Session, *, org_id: str, mcu_id: str) -> bytes | None:
    """Return D1 of a microcontroller where the depot or a registration has told it, None otherwise."""
    label = label_of_mcu(session, org_id=org_id, mcu_id=mcu_id)
    mcu = find_mcu_by_id(session, mcu_id=mcu_id)
    keys = [
        None if label is None else label.mcu_key,
        None if mcu is None or mcu.org_id != org_id else mcu.cose_key,
    ]
    return next((key for key in keys if key is not None and cose_sign.thumbprint(key).hex() == mcu_id), None)


def ask_gate(ask: Callable[[], GateSaid]) -> GateSaid | Refusal:
    """Ask, and turn a no or a silence into a refusal that names the rule and the fact."""
    try:
        said = ask()
    except GateUnreadableError:
        return Refusal(reason=Reason.BAD_INSTALL, detail="the gate cannot read what it was shown")
    except GateAwayError:
        return Refusal(reason=Reason.GATE_AWAY, detail="ask again; nothing was signed")
    if said.verdict == "SIGNED":
        return said
    return Refusal(reason=Reason.GATE_REFUSED, detail=said.detail or str(said.rule))
