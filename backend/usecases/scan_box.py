"""An installer scans the box and names the car: label, keys, SIM and vehicle must belong together.

Rules (issue: identity chain): the QR text says which keys it means; the depot's label, the registry and what
the box itself reported say the same, or it is refused with the first thing that differs. A box that is in
another vehicle, and a vehicle that has another box, are named. A scan that holds fixes the job's box.

Example:
    >>> scan_box(session, job=job, qr="TBOX-L1:TB-000123-Y:…", vin=vin, now_us=utc_us())
"""

from sqlmodel import Session

from backend.domain.device_life import DeviceStatus
from backend.domain.installing import EventKind, JobState
from backend.domain.refusal import Reason, Refusal
from backend.store.devices import find_device
from backend.store.jobs import Job
from backend.store.labels import Label, find_label
from backend.store.mcus import locate_mcu
from backend.store.vehicles import find_vehicle_by_id, open_binding_of_device, open_binding_of_vehicle
from backend.usecases.job_events import note_event
from backend.usecases.show_job import report_of
from protocol.errors import ProtocolError
from protocol.install_vocabulary import Act
from protocol.label import BoxLabel, read_label, read_serial


def scan_box(session: Session, *, job: Job, qr: str, vin: str, now_us: int) -> Label | Refusal:
    """Check the identity chain in the caller's transaction, which holds the job's row.

    Args:
        session: In a transaction.
        job: The job.
        qr: Text of the label's code, or its serial as a person typed it.
        vin: As the installer read it from the car.
        now_us: UTC in µs.
    """
    if job.state == JobState.DONE:
        return Refusal(reason=Reason.JOB_CLOSED, detail="the job is done")
    scanned: BoxLabel | None = None
    try:
        if ":" in qr:
            scanned = read_label(qr)
        serial = scanned.serial if scanned is not None else read_serial(qr)
    except ProtocolError as wrong:
        return Refusal(reason=Reason.BAD_INSTALL, detail=wrong.detail)
    label = find_label(session, org_id=job.org_id, label=serial)
    if label is None or label.revoked_us is not None:
        return _no("this label is not known here, or was revoked: take another box")
    wrong_with = _judge_label(session, job, label, scanned) or _judge_car(session, job, label, vin)
    if wrong_with is not None:
        return _no(wrong_with)
    job.device_id = label.box
    session.add(job)
    note_event(session, job, EventKind.SCAN, {"label": label.label, "device": label.box}, now_us=now_us)
    return label


def _no(detail: str) -> Refusal:
    return Refusal(reason=Reason.IDENTITY, detail=detail)


def _judge_label(session: Session, job: Job, label: Label, scanned: BoxLabel | None) -> str | None:
    """Return what differs between sticker, depot, registry and the box's own word."""
    device = find_device(session, org_id=job.org_id, device_id=label.box)
    mcu = locate_mcu(session, device_id=label.box)
    report = report_of(session, job) if job.device_id == label.box else None
    facts = {} if report is None else report.facts
    is_printed = scanned is None or (scanned.is_of_device(label.box) and scanned.is_of_mcu(label.mcu_id))
    rules = (
        (job.label in {None, label.label}, "the job means the box of another label"),
        (is_printed, "the sticker names other keys than the depot wrote down for it"),
        (
            device is not None and device.status == DeviceStatus.ENROLLED,
            "the box is not enrolled: let it reach the network first",
        ),
        (mcu is None or mcu.mcu_id == label.mcu_id, "the box is registered with another microcontroller"),
        (facts.get("mcu_id", label.mcu_id) == label.mcu_id, "the box reports another microcontroller"),
        (
            label.iccid is None or facts.get("iccid", label.iccid) == label.iccid,
            "the box reports another SIM than the depot put in",
        ),
    )
    return next((words for holds, words in rules if not holds), None)


def _judge_car(session: Session, job: Job, label: Label, vin: str) -> str | None:
    """Return what differs between the job and the car, or what is fitted already."""
    vehicle = find_vehicle_by_id(session, org_id=job.org_id, vehicle_id=job.vehicle_id)
    assert vehicle is not None, "a job refers to its vehicle"
    here = open_binding_of_vehicle(session, org_id=job.org_id, vehicle_id=vehicle.vehicle_id)
    there = open_binding_of_device(session, org_id=job.org_id, device_id=label.box)
    acts = set(job.acts.split(","))
    is_here = here is not None and here.device_id == label.box
    is_fitting = bool(acts & {Act.INSTALL, Act.SWAP})
    rules = (
        (vehicle.vin == vin, "this is not the job's car: the VIN is another one"),
        (there is None or there.vehicle_id == vehicle.vehicle_id, "the box is in another vehicle"),
        (not (is_fitting and is_here), "this box is in the car already: a swap wants another one"),
        (is_fitting or is_here, "this is not the box that is in the car"),
    )
    return next((words for holds, words in rules if not holds), None)
