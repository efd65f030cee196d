"""Commissioning says which microcontroller a box has, and what its orders must name.

Rules: a microcontroller belongs to one box. Registering the same again changes nothing; a new epoch or
another key starts afresh: heads, `prev` and the challenge are forgotten, the dispositions stay. An epoch that
was left cannot be registered again. By hand the microcontroller shows itself by its signed challenge; else
the commissioning record does. What is registered proves nothing more: BIND proves it in the car. Once the
car has spoken its epoch is its own to change, and what it is bound to stays once it has accepted an order
that names it: a wrong word here would keep every release from it.

Example:
    >>> register_mcu(session, device=device, asked=AskedMcu(...), now_us=utc_us())
"""

from dataclasses import dataclass

from sqlmodel import Session

from backend.domain.refusal import Reason, Refusal
from backend.store.devices import Device
from backend.store.mcus import Mcu, find_challenge, find_mcu_by_id, is_left_epoch, locate_mcu, note_epoch
from backend.store.orders import accepted_payloads
from protocol import cose_sign, orders_payload
from protocol.envelope import KeyLookup, Kind, open_sign1
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose
from protocol.limits import ORDER_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedMcu:
    """What is registered; forms as in SPEC §18.1."""

    cose_key: bytes
    epoch: bytes
    vin_bind: bytes
    contract_ref: bytes
    lender_id: bytes
    jurisdiction: str


def register_by_hand(
    session: Session, *, device: Device, asked: AskedMcu, challenge: bytes, now_us: int
) -> Mcu | Refusal:
    """Register a microcontroller that shows by a signed challenge that it is there, without a record.

    Another microcontroller than the one that is registered comes by a commissioning record alone: whoever
    administers an organisation could else take the way to a car away with a key of his own.
    """
    known = locate_mcu(session, device_id=device.device_id, lock=True)
    try:
        said = cose_sign.thumbprint(asked.cose_key)
        message = open_sign1(
            challenge, Kind.CHALLENGE, _lookup(asked.cose_key, said), max_bytes=ORDER_BYTES_MAX
        )
        fields = orders_payload.read_document(Kind.CHALLENGE.value, message.payload)
    except (ProtocolError, ValueError):
        return Refusal(reason=Reason.BAD_MCU, detail="the challenge is not signed by this microcontroller")
    if (fields[2], fields[3]) != (said, asked.epoch):
        return Refusal(reason=Reason.BAD_MCU, detail="the challenge is of another microcontroller or epoch")
    if known is not None and known.mcu_id != said.hex():
        return Refusal(
            reason=Reason.MCU_BY_RECORD, detail="plan a swap: its record registers the microcontroller"
        )
    return register_mcu(session, device=device, asked=asked, now_us=now_us)


def _lookup(cose_key: bytes, mcu_id: bytes) -> KeyLookup:
    return lambda kid: public_key_from_cose(cose_key) if kid == mcu_id else None


def register_mcu(session: Session, *, device: Device, asked: AskedMcu, now_us: int) -> Mcu | Refusal:
    """Register a box's microcontroller in the caller's transaction, whose proof was verified before."""
    try:
        cose_sign.key_xy(asked.cose_key)
    except ValueError:
        return Refusal(reason=Reason.BAD_MCU, detail="a COSE_Key of P-256 in its 75 bytes is expected")
    mcu_id = cose_sign.thumbprint(asked.cose_key).hex()
    other = find_mcu_by_id(session, mcu_id=mcu_id)
    if other is not None and other.device_id != device.device_id:
        return Refusal(reason=Reason.MCU_ELSEWHERE, detail="the key is of another box's microcontroller")
    mcu = locate_mcu(session, device_id=device.device_id, lock=True)
    if mcu is not None and mcu.mcu_id == mcu_id:
        refusal = _contradicted(session, mcu, asked)
        if refusal is not None:
            return refusal
    is_left = (mcu is None or (mcu.mcu_id, mcu.epoch) != (mcu_id, asked.epoch)) and is_left_epoch(
        session, mcu_id=mcu_id, epoch=asked.epoch
    )
    if is_left:
        return Refusal(reason=Reason.BAD_MCU, detail="this epoch is over and never comes again")
    if mcu is None:
        mcu = Mcu(
            device_id=device.device_id,
            org_id=device.org_id,
            mcu_id=mcu_id,
            cose_key=asked.cose_key,
            epoch=asked.epoch,
            vin_bind=asked.vin_bind,
            contract_ref=asked.contract_ref,
            lender_id=asked.lender_id,
            jurisdiction=asked.jurisdiction,
            created_us=now_us,
            updated_us=now_us,
        )
    else:
        if (mcu.mcu_id, mcu.epoch) != (mcu_id, asked.epoch):
            forget_car(session, mcu)
        mcu.cose_key, mcu.epoch = asked.cose_key, asked.epoch
        mcu.vin_bind, mcu.contract_ref = asked.vin_bind, asked.contract_ref
        mcu.lender_id, mcu.jurisdiction = asked.lender_id, asked.jurisdiction
    mcu.mcu_id, mcu.updated_us = mcu_id, now_us
    session.add(mcu)
    session.flush()
    note_epoch(session, mcu=mcu, epoch=asked.epoch, at_us=now_us)
    return mcu


def _contradicted(session: Session, mcu: Mcu, asked: AskedMcu) -> Refusal | None:
    """Return what the car's own word says against a registration."""
    has_spoken = mcu.mode is not None or mcu.reported_state is not None
    if has_spoken and asked.epoch != mcu.epoch:
        return Refusal(reason=Reason.BAD_MCU, detail="the car itself says its epoch, by a signed answer")
    bound = (mcu.vin_bind, mcu.contract_ref, mcu.lender_id)
    if bound == (asked.vin_bind, asked.contract_ref, asked.lender_id) or asked.epoch != mcu.epoch:
        return None
    for payload in accepted_payloads(session, device_id=mcu.device_id):
        fields = orders_payload.read_order(payload)[0]
        if (fields[8], fields[6], fields[7], fields[4]) == (mcu.epoch, *bound):
            return Refusal(
                reason=Reason.BAD_MCU, detail="the car has accepted an order for what it is registered with"
            )
    return None


def forget_car(session: Session, mcu: Mcu) -> None:
    """Forget what a car said of itself in an epoch that is over."""
    mcu.heads, mcu.prev, mcu.mode = [0, 0, 0], bytes(32), None
    mcu.reported_state, mcu.reported_seq, mcu.reported_us = None, 0, None
    challenge = find_challenge(session, org_id=mcu.org_id, device_id=mcu.device_id)
    if challenge is not None:
        session.delete(challenge)
