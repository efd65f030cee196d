"""Whether a record whose signatures hold fits its job, its vehicle, and its box.

Rules: see `take_record`; each answer is one sentence about the first thing that does not fit.

Example:
    >>> judge_job(job, record, said, is_demo=False)
    Refusal(reason=<Reason.TICKET_OVER: 'ticket-over'>, detail='…')
"""

from sqlmodel import Session

from backend.domain.device_life import DeviceStatus
from backend.domain.refusal import Reason, Refusal
from backend.store.devices import Device
from backend.store.jobs import Job
from backend.store.labels import find_label
from backend.store.orders import list_orders
from backend.store.vehicles import Vehicle, open_binding_of_device, open_binding_of_vehicle
from protocol.install_record import Record
from protocol.install_report import Commissioning
from protocol.install_vocabulary import Act, Verdict
from protocol.limits import PAGE_ITEMS_MAX
from protocol.orders import OrderType, State

_SECOND_US = 1_000_000


def judge_job(job: Job, record: Record, said: Commissioning, *, is_demo: bool) -> Refusal | None:
    """Compare the record with its job: time, act, image."""
    began_us = None if record.began_s is None else record.began_s * _SECOND_US
    if began_us is not None and not job.from_us - _SECOND_US <= began_us < job.to_us:
        return Refusal(reason=Reason.TICKET_OVER, detail="the work began outside of the ticket's time")
    if record.act not in job.acts.split(","):
        return Refusal(reason=Reason.BAD_INSTALL, detail=f"the ticket does not allow {record.act}")
    if said.is_demo and not is_demo:
        return Refusal(
            reason=Reason.BAD_INSTALL, detail="the microcontroller runs the demonstration's image: flash it"
        )
    return None


def judge_vehicle(session: Session, job: Job, record: Record, vehicle: Vehicle) -> Refusal | None:
    """Compare the record with the vehicle, and with the box that is in it."""
    named = (record.lender_id, record.contract_ref, record.jurisdiction, record.start_type)
    bound = open_binding_of_vehicle(session, org_id=job.org_id, vehicle_id=vehicle.vehicle_id)
    is_about_it = record.act in {Act.REMOVE, Act.WORKSHOP} and bound is not None
    rules = (
        (
            record.vin in {None, vehicle.vin},
            Reason.IDENTITY,
            "the record is of a car with another VIN than the job's",
        ),
        (
            record.vin is not None or record.verdict is not Verdict.BOUND,
            Reason.IDENTITY,
            "the record binds a car without a VIN",
        ),
        (
            named == (vehicle.lender_id, vehicle.contract_ref, vehicle.jurisdiction, vehicle.start_type),
            Reason.BAD_INSTALL,
            "lender, contract or start type are not the vehicle's",
        ),
        (
            record.act is not Act.INSTALL or bound is None,
            Reason.VEHICLE_BOUND,
            "the vehicle has a box: plan a swap",
        ),
        (record.act is Act.INSTALL or bound is not None, Reason.IDENTITY, "the vehicle has no box"),
        (
            not is_about_it or (bound is not None and bound.device_id == record.device),
            Reason.IDENTITY,
            "the vehicle's box is another one",
        ),
    )
    return next((Refusal(reason=reason, detail=words) for holds, reason, words in rules if not holds), None)


def judge_box(session: Session, job: Job, device: Device, record: Record) -> Refusal | None:
    """Ask whether this box may be in this vehicle, or may leave it."""
    if device.status != DeviceStatus.ENROLLED:
        return Refusal(reason=Reason.DEVICE_REVOKED, detail="the box was revoked")
    label = None if job.label is None else find_label(session, org_id=job.org_id, label=job.label)
    if label is not None and label.box != device.device_id:
        return Refusal(reason=Reason.IDENTITY, detail="the job means the box of another label")
    elsewhere = open_binding_of_device(session, org_id=job.org_id, device_id=device.device_id)
    if elsewhere is not None and elsewhere.vehicle_id != job.vehicle_id:
        return Refusal(reason=Reason.IDENTITY, detail="the box is in another vehicle: remove it there first")
    if elsewhere is not None and record.act is Act.SWAP:
        return Refusal(reason=Reason.IDENTITY, detail="a swap wants another box than the one that is there")
    if record.act is Act.REMOVE and not _is_erased(session, device):
        return Refusal(
            reason=Reason.WRONG_STAGE,
            detail="the box has not signed that its authority is erased: send DECOMMISSION and wait for it",
        )
    return None


def _is_erased(session: Session, device: Device) -> bool:
    """Return whether the car has signed that a DECOMMISSION is done."""
    orders = list_orders(
        session,
        org_id=device.org_id,
        device_id=device.device_id,
        stage=None,
        after=None,
        limit=PAGE_ITEMS_MAX,
    )
    return any(order.type is OrderType.DECOMMISSION and order.car_state == State.DONE for order in orders)
