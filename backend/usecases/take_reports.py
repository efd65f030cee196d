"""What a box says of its installation: the newest report is its job's, and identities are compared.

Rules:
- A report is believed as the box's word: signed by its D2 in force and naming the box of the topic.
- Only a later `seq` moves a job. A report of no ticket, or of one that this backend has not given out to the
  box's organisation, is counted and moves nothing.
- A box that says another VIN, ICCID or microcontroller than it is registered with is kept as a change of
  identity, once per thing said; a job under way says the same before its record, so the VIN is compared with
  the vehicle of the open binding alone.

Example:
    >>> reports = ReportGroup(now_us=now_us, turn_away=group.turn_away, outcomes=group.outcomes)
    >>> reports.add(device, org_id, report, payload)
    >>> reports.judge(session)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backend.domain.installing import EventKind, IdentityKind, JobState, identity_changes
from backend.store.install_records import IdentityChange
from backend.store.jobs import find_job_by_ticket
from backend.store.labels import label_of_device
from backend.store.mcus import locate_mcu
from backend.store.vehicles import find_vehicle_by_id, open_binding_of_device
from backend.usecases.job_events import note_event
from protocol.install_vocabulary import Stage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from pydantic import JsonValue
    from sqlmodel import Session

    from backend.store.jobs import Job
    from backend.usecases.take_answers import TurnAway
    from protocol.ids import DeviceId
    from protocol.install_report import InstallReport

UNKNOWN_TICKET: Final = "UNKNOWN_TICKET"
_SAID_CHARS = 64


@dataclass(slots=True, kw_only=True)
class ReportGroup:
    """The reports of one group of messages, judged within the group's transaction."""

    now_us: int
    turn_away: TurnAway
    outcomes: Counter[str]
    _reports: list[tuple[DeviceId, str, InstallReport, bytes]] = field(default_factory=list)

    def add(self, device: DeviceId, org_id: str, report: InstallReport, payload: bytes) -> None:
        """Take a verified report of a known box into the group."""
        self._reports.append((device, org_id, report, payload))

    def judge(self, session: Session) -> None:
        """Decide on every report; jobs in one order, so that two bridges do not wait in a circle."""
        for device, org_id, report, payload in sorted(self._reports, key=lambda item: item[0]):
            compare_identity(session, org_id=org_id, device_id=device, facts=report.facts, now_us=self.now_us)
            if report.ticket_id is None:
                self.outcomes["install_idle"] += 1
                continue
            job = find_job_by_ticket(session, org_id=org_id, ticket_id=report.ticket_id.hex(), lock=True)
            if job is None:
                self.turn_away(UNKNOWN_TICKET, payload, device=device)
            elif job.device_id == device and job.report is not None and report.seq <= job.report_seq:
                self.outcomes["install_repeated"] += 1
            else:
                self._take(session, job, device, report, payload)

    def _take(
        self, session: Session, job: Job, device: DeviceId, report: InstallReport, payload: bytes
    ) -> None:
        job.device_id = device
        job.report, job.report_seq, job.report_us = payload, report.seq, self.now_us
        if job.state != JobState.DONE:
            job.state = JobState.ABORTED if report.stage is Stage.ABORTED else JobState.AT_WORK
        session.add(job)
        body: dict[str, JsonValue] = {"seq": report.seq, "stage": str(report.stage), "device": str(device)}
        note_event(session, job, EventKind.REPORT, body, now_us=self.now_us)
        self.outcomes["install_report"] += 1


def compare_identity(
    session: Session, *, org_id: str, device_id: str, facts: Mapping[str, str], now_us: int
) -> list[IdentityKind]:
    """Keep what a box says otherwise than it is registered; return what differs now.

    Args:
        session: In the caller's transaction.
        org_id: Whose box.
        device_id: Which box.
        facts: What it says of itself: `vin`, `iccid`, `mcu_id`, where it says them.
        now_us: UTC in µs.
    """
    bound = open_binding_of_device(session, org_id=org_id, device_id=device_id)
    vehicle = (
        None if bound is None else find_vehicle_by_id(session, org_id=org_id, vehicle_id=bound.vehicle_id)
    )
    label, mcu = label_of_device(session, device_id=device_id), locate_mcu(session, device_id=device_id)
    changes = identity_changes(
        facts,
        {
            IdentityKind.VIN: None if vehicle is None else vehicle.vin,
            IdentityKind.ICCID: None if label is None else label.iccid,
            IdentityKind.MCU: mcu.mcu_id if mcu is not None else None if label is None else label.mcu_id,
        },
    )
    for kind, registered, said in changes:
        key = (device_id, str(kind), said[:_SAID_CHARS])
        if session.get(IdentityChange, key) is None:
            session.add(
                IdentityChange(
                    device_id=device_id,
                    what=kind,
                    said=key[2],
                    org_id=org_id,
                    registered=registered,
                    first_us=now_us,
                )
            )
    session.flush()
    return [kind for kind, _, _ in changes]
