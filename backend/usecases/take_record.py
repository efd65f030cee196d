"""A commissioning record is brought: three signatures are verified, and the vehicle has its box.

Rules (README §2.4; ADR 0053):
- All three signatures hold, by keys of the registry: D2 of this box, the installer whose key the job's ticket
  names, and D1, whose key shows itself by its thumbprint. D1 has signed the record's own hash: that is the
  proof of possession by which a microcontroller is registered.
- A ticket is used once. The same record again is the same answer, also months later; another one under a used
  ticket is refused, flagged in the job's story, and entered in the log.
- A record may come late, from a file: what counts is that the job was begun within its ticket's time.
- Installing wants a vehicle without a box, a swap ends the old box's binding, a removal wants the
  microcontroller's signed word that its authority is erased. All of it is one transaction, with its leaf.
- A record without the whole relay proof is kept too: the box only measures, and its probation has failed.

Example:
    >>> take_record(session, job=job, brought=BroughtRecord(...), is_demo=False, now_us=utc_us())
"""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmodel import Session

from backend import ledger
from backend.domain.installing import Condition, EventKind, JobState, ProbationState
from backend.domain.refusal import Reason, Refusal
from backend.domain.relay_proof import lack_of_proof
from backend.store.devices import find_device, list_device_keys
from backend.store.install_records import (
    InstallRecord,
    Probation,
    find_probation,
    find_record,
    list_identity_changes,
)
from backend.store.jobs import Job
from backend.store.vehicles import (
    Vehicle,
    VehicleBinding,
    find_vehicle_by_id,
    open_binding_of_vehicle,
)
from backend.usecases.installer_keys import find_installer
from backend.usecases.job_events import note_event
from backend.usecases.judge_record import judge_box, judge_job, judge_vehicle
from backend.usecases.register_mcu import AskedMcu, register_mcu
from protocol import cose_sign
from protocol.envelope import KeyLookup
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose
from protocol.install_record import Record, decode_record, open_whole_record, record_payload
from protocol.install_report import Commissioning
from protocol.install_vocabulary import Act

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtRecord:
    """What is brought: the record, D1's word about it, D1's public key, and where it comes from."""

    record: bytes
    attestation: bytes
    mcu_key: bytes
    came_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedTwice:
    """A second record under a ticket that was used: refused, and kept as a fact."""

    refusal: Refusal


def take_record(
    session: Session, *, job: Job, brought: BroughtRecord, is_demo: bool, now_us: int
) -> InstallRecord | Refusal | UsedTwice:
    """Verify and store a record in the caller's transaction, which holds the job's row."""
    opened = _open(session, job, brought, now_us=now_us)
    if isinstance(opened, Refusal):
        return opened
    record, said = opened
    sha256 = said.record_sha256.hex()
    known = find_record(session, org_id=job.org_id, sha256=sha256)
    if known is not None:
        return known
    if job.ticket_used_us is not None:
        return _used_twice(session, job, brought, sha256, now_us=now_us)
    vehicle = find_vehicle_by_id(session, org_id=job.org_id, vehicle_id=job.vehicle_id, lock=True)
    device = find_device(session, org_id=job.org_id, device_id=record.device)
    assert vehicle is not None and device is not None, "a job's vehicle, and a box whose key has signed"  # noqa: PT018
    refusal = judge_job(job, record, said, is_demo=is_demo) or judge_vehicle(session, job, record, vehicle)
    refusal = refusal or judge_box(session, job, device, record)
    if refusal is not None:
        return refusal
    if record.act in {Act.INSTALL, Act.SWAP}:
        asked = AskedMcu(
            cose_key=brought.mcu_key,
            epoch=record.epoch,
            vin_bind=hashlib.sha256(vehicle.vin_salt + vehicle.vin.encode()).digest(),
            contract_ref=vehicle.contract_ref,
            lender_id=vehicle.lender_id,
            jurisdiction=vehicle.jurisdiction,
        )
        registered = register_mcu(session, device=device, asked=asked, now_us=now_us)
        if isinstance(registered, Refusal):
            return registered
    return _store(session, job, vehicle, record, said, brought, now_us=now_us)


def _open(
    session: Session, job: Job, brought: BroughtRecord, *, now_us: int
) -> tuple[Record, Commissioning] | Refusal:
    """Return the record and D1's word, all three signatures verified."""
    if job.ticket_id is None or job.ticket_kid is None:
        return Refusal(reason=Reason.BAD_INSTALL, detail="no ticket of this job was given out")
    kid = bytes.fromhex(job.ticket_kid)
    at_s = min(now_us, job.to_us) // _SECOND_US
    installer = find_installer(session, org_id=job.org_id, kid=kid, now_s=at_s)
    if installer is None:
        return Refusal(reason=Reason.NOT_DELEGATED, detail="the installer's key was revoked, or is over")
    try:
        device_id = _device_named(brought.record)
        keys = {
            bytes.fromhex(row.kid): row.cose_key
            for row in list_device_keys(session, org_id=job.org_id, device_id=device_id)
        }
        mcu_id = cose_sign.thumbprint(brought.mcu_key)
        record, said = open_whole_record(
            brought.record,
            brought.attestation,
            people=lambda name: (
                installer.public_key
                if name == installer.kid
                else public_key_from_cose(keys[name])
                if name in keys
                else None
            ),
            microcontrollers=_only(mcu_id, brought.mcu_key),
        )
    except (ProtocolError, ValueError) as error:
        code = error.code if isinstance(error, ProtocolError) else "BAD_ENCODING"
        return Refusal(reason=Reason.BAD_INSTALL, detail=f"record: {code}")
    if (record.ticket_id.hex(), record.job_id.hex(), record.installer) != (job.ticket_id, job.job_id, kid):
        return Refusal(reason=Reason.BAD_INSTALL, detail="the record is of another ticket, job or installer")
    return record, said


def _device_named(record: bytes) -> str:
    return decode_record(record_payload(record)).device


def _only(mcu_id: bytes, cose_key: bytes) -> KeyLookup:
    return lambda kid: public_key_from_cose(cose_key) if kid == mcu_id else None


def _used_twice(session: Session, job: Job, brought: BroughtRecord, sha256: str, *, now_us: int) -> UsedTwice:
    note_event(session, job, EventKind.USED_TWICE, {"record_sha256": sha256}, now_us=now_us)
    entry = ledger.Entry(
        leaf_type=ledger.LeafType.INSTALLATION, content=brought.record, org_id=job.org_id, device_id=None
    )
    ledger.append_or_queue(session, entry, at_us=now_us)
    return UsedTwice(
        refusal=Refusal(
            reason=Reason.TICKET_USED,
            detail="another record under this ticket was accepted before; plan another job",
        )
    )


def _store(
    session: Session,
    job: Job,
    vehicle: Vehicle,
    record: Record,
    said: Commissioning,
    brought: BroughtRecord,
    *,
    now_us: int,
) -> InstallRecord:
    sha256 = said.record_sha256.hex()
    row = InstallRecord(
        sha256=sha256,
        org_id=job.org_id,
        job_id=job.job_id,
        vehicle_id=vehicle.vehicle_id,
        device_id=record.device,
        mcu_id=record.mcu_id.hex(),
        act=record.act,
        verdict=record.verdict,
        came_from=brought.came_from,
        record=brought.record,
        attestation=brought.attestation,
        mcu_key=brought.mcu_key,
        at_us=now_us,
    )
    session.add(row)
    session.flush()
    _move_box(session, vehicle, record, sha256, now_us=now_us)
    if record.act in {Act.INSTALL, Act.SWAP}:
        _begin_probation(session, vehicle, record, said, now_us=now_us)
    if record.act is Act.WORKSHOP:
        vehicle.workshop_until_us = job.workshop_until_us
    vehicle.updated_us = now_us
    job.state, job.ticket_used_us, job.device_id = JobState.DONE, now_us, record.device
    session.add_all([vehicle, job])
    for change in list_identity_changes(session, org_id=job.org_id, device_id=record.device):
        change.cleared_us = now_us
        session.add(change)
    session.flush()
    body: dict[str, JsonValue] = {"sha256": sha256, "act": record.act, "verdict": record.verdict}
    note_event(session, job, EventKind.RECORD, body, now_us=now_us)
    entry = ledger.Entry(
        leaf_type=ledger.LeafType.INSTALLATION,
        content=brought.record,
        org_id=job.org_id,
        device_id=record.device,
    )
    ref = ledger.append_or_queue(session, entry, at_us=now_us)
    row.leaf_index = None if ref is None else ref.index
    session.add(row)
    session.flush()
    return row


def _move_box(session: Session, vehicle: Vehicle, record: Record, sha256: str, *, now_us: int) -> None:
    """End the binding that a record ends, begin the one that it begins."""
    bound = open_binding_of_vehicle(session, org_id=vehicle.org_id, vehicle_id=vehicle.vehicle_id)
    if bound is not None and record.act in {Act.SWAP, Act.REMOVE}:
        bound.ended_us, bound.ended_by = now_us, sha256
        session.add(bound)
        session.flush()
    if record.act in {Act.INSTALL, Act.SWAP}:
        session.add(
            VehicleBinding(
                org_id=vehicle.org_id,
                vehicle_id=vehicle.vehicle_id,
                device_id=record.device,
                mcu_id=record.mcu_id.hex(),
                record_sha256=sha256,
                begun_us=now_us,
            )
        )
        session.flush()


def _begin_probation(
    session: Session, vehicle: Vehicle, record: Record, said: Commissioning, *, now_us: int
) -> None:
    lack = lack_of_proof(record, said)
    seen: dict[str, Sequence[JsonValue]] = {}
    if lack is None:
        seen[Condition.RELAY_PROOF] = [now_us, "record and microcontroller agree"]
    name = (record.device, record.mcu_id.hex(), record.epoch)
    old = find_probation(session, device_id=name[0], mcu_id=name[1], epoch=name[2])
    if old is not None:
        session.delete(old)
        session.flush()
    session.add(
        Probation(
            device_id=name[0],
            mcu_id=name[1],
            epoch=name[2],
            org_id=vehicle.org_id,
            vehicle_id=vehicle.vehicle_id,
            record_sha256=said.record_sha256.hex(),
            state=ProbationState.RUNNING if lack is None else ProbationState.FAILED,
            evidence=json.dumps(seen if lack is None else {}),
            begun_us=now_us,
            ended_us=None if lack is None else now_us,
        )
    )
    session.flush()
