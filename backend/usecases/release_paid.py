"""A payment releases: the gate signs an UNLOCK for each order that one has overtaken, and it goes out.

Rules (C-20; README §1.8): payments are looked for in every round, before anything restrictive. The release
goes out in the round in which the gate signed it; its leaf waits for the log if it must. A release that the
car has refused is made anew: its counter is the time, or above every one that is known, and each refusal adds
more, since the car may have taken an order that no server has seen. The pause before the next doubles.

Example:
    >>> release_paid(database, gate, counts, now_us=utc_us())
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

from backend.domain.order_checks import ReadOrder, read_payload
from backend.domain.order_flow import Stage
from backend.domain.refusal import Refusal
from backend.store.contention import in_transaction
from backend.store.mcus import Mcu, find_mcu_by_id, locate_mcu
from backend.store.orders import Order, counters_used, locate_order, locate_order_by_hash, refused_releases
from backend.usecases.gate_case import verified_part
from backend.usecases.gate_port import GateAwayError, GatePart
from backend.usecases.order_steps import note_stage, overtake, settle_slot
from backend.usecases.request_order import queue_single, store_part
from protocol import orders_payload
from protocol.orders import OrderType, State, encode_order
from protocol.orders_checks import CTR_JUMP_MAX
from protocol.orders_vocabulary import CLASS_B, FINAL

if TYPE_CHECKING:
    from collections import Counter

    from sqlmodel import Session

    from backend.store.database import Database
    from backend.usecases.gate_port import Gate, PaidOrder

LOG = logging.getLogger(__name__)

_SECOND_US: Final = 1_000_000
_FAILED_MAX: Final = 3
_PAUSE_FIRST_S: Final = 2
"""Before a refused release is made anew; doubled each time: a car that refuses for good is no storm."""
_PAUSE_LONGEST_S: Final = 600
_LEAP: Final = 3_600
"""What the first refusal adds to the counter; doubled each time: 20 refusals cross 2 ** 32."""
_LEAPS_MAX: Final = 20
_ON_ITS_WAY: Final = frozenset({Stage.QUEUED, Stage.SENT, Stage.ANSWERED})
_GATE_KEY: Final = "gate"
"""Stands where an API key would: nobody brought this over the API."""


def release_paid(database: Database, gate: Gate, counts: Counter[str], *, now_us: int) -> None:
    """Let the gate sign an UNLOCK for each order that a payment has overtaken; count what was done.

    One release that the gate cannot answer keeps no other back; after a few the gate itself is away.
    """
    failed = 0
    try:
        for paid in gate.releases():
            try:
                _release(database, gate, paid, counts, now_us=now_us)
            except GateAwayError:
                failed += 1
                if failed >= _FAILED_MAX:
                    raise
                counts["gate_away"] += 1
    except GateAwayError as away:
        counts["gate_away"] += 1
        LOG.warning("gate does not answer about releases cause=%s", away)


def _release(database: Database, gate: Gate, paid: PaidOrder, counts: Counter[str], *, now_us: int) -> None:
    with database.reading() as session:
        mcu = find_mcu_by_id(session, mcu_id=paid.mcu_id.hex())
        order = mcu and locate_order_by_hash(session, device_id=mcu.device_id, cmd_hash=paid.cmd_hash)
        if mcu is None or not order or _is_released(session, order):
            return
        refused = _refused(session, mcu)
        if refused and now_us - refused[0] < _pause_us(len(refused)):
            counts["release_pauses"] += 1
            return
        payload = _unlock_payload(session, mcu, now_s=now_us // _SECOND_US, refusals=len(refused))
    said = gate.release(payload=payload)
    counts[f"release_{said.verdict.lower()}"] += 1
    if said.verdict != "SIGNED" or said.part is None:
        return
    part = said.part

    def store() -> None:
        if _store_release(session, mcu, paid, payload, part, now_us=now_us):
            counts["release_queued"] += 1

    with database.writing() as session:
        in_transaction(session, store)


def _store_release(
    session: Session, mcu: Mcu, paid: PaidOrder, payload: bytes, part: GatePart, *, now_us: int
) -> bool:
    locate_mcu(session, device_id=mcu.device_id, lock=True)
    released = locate_order_by_hash(session, device_id=mcu.device_id, cmd_hash=paid.cmd_hash)
    if released is None or _is_released(session, released):
        return False  # another worker, or an officer, was here while the gate signed
    read = read_payload(payload)
    assert isinstance(read, ReadOrder), "we wrote it"
    order = Order(
        org_id=mcu.org_id,
        device_id=mcu.device_id,
        cmd_id=read.cmd_id,
        order_type=int(read.type),
        cmd_hash=read.cmd_hash,
        payload=payload,
        stage=Stage.QUEUED,
        holds_slot=False,
        requested_by=_GATE_KEY,
        due_us=now_us,
        created_us=now_us,
    )
    verified = verified_part(session, order, mcu, part, now_us=now_us)
    if isinstance(verified, Refusal):
        LOG.error("the gate's release does not hold cmd_id=%s cause=%s", read.cmd_id, verified.detail)
        return False
    overtake(session, by=order, now_us=now_us)
    released.overtaken_by = read.cmd_id  # also of one that is over here, or that a CANCEL had overtaken
    settle_slot(released)
    session.add(released)
    session.add(order)
    session.flush()
    store_part(
        session,
        order,
        verified,
        delegation=part.delegation,
        key_id=None,
        reason_code=None,
        now_us=now_us,
    )
    note_stage(session, order, why="signed by the gate: a payment was posted", now_us=now_us)
    queue_single(session, order, now_us=now_us)
    return True


def _is_released(session: Session, order: Order) -> bool:
    """Return whether the car has ended this order, or an UNLOCK for it is on its way and not refused.

    A CANCEL releases no locked car, and neither does a newer order: they are no release here.
    """
    if order.in_car in FINAL:
        return True
    if order.overtaken_by is None:
        return False
    by = locate_order(session, cmd_id=order.overtaken_by)
    if by is None or by.type not in {OrderType.UNLOCK, OrderType.DECOMMISSION}:
        return False
    return by.stage in _ON_ITS_WAY and by.in_car is not State.REJECTED


def _refused(session: Session, mcu: Mcu) -> list[int]:
    """Return when the gate's releases that this car refused in this epoch were made, us, newest first."""
    found = refused_releases(session, device_id=mcu.device_id, requested_by=_GATE_KEY)
    return [made_us for payload, made_us in found if orders_payload.read_order(payload)[0][8] == mcu.epoch]


def _pause_us(refusals: int) -> int:
    return min(_PAUSE_FIRST_S << min(refusals - 1, _LEAPS_MAX), _PAUSE_LONGEST_S) * _SECOND_US


def _unlock_payload(session: Session, mcu: Mcu, *, now_s: int, refusals: int = 0) -> bytes:
    """Write an UNLOCK for the gate to sign: counter above every one that is known, and those that may be.

    An order signed and handed over at the car, which no server has seen, has the time as its counter.
    """
    highest = mcu.heads[CLASS_B]
    for order_type, payload in counters_used(session, device_id=mcu.device_id):
        fields = orders_payload.read_order(payload)[0]
        if order_type in {OrderType.UNLOCK, OrderType.CANCEL, OrderType.DECOMMISSION}:
            highest = max(highest, fields[9] if fields[8] == mcu.epoch else 0)
    # An officer's order with a counter beyond what the car takes must not carry ours along (CTR_JUMP).
    leap = _LEAP << min(refusals - 1, _LEAPS_MAX) if refusals else 0
    ctr = min(max(now_s, highest + 1) + leap, mcu.heads[CLASS_B] + CTR_JUMP_MAX)
    return encode_order(
        {
            1: 1,
            2: _uuid7(now_s),
            3: int(OrderType.UNLOCK),
            4: mcu.lender_id,
            5: bytes.fromhex(mcu.mcu_id),
            6: mcu.vin_bind,
            7: mcu.contract_ref,
            8: mcu.epoch,
            9: ctr,
            10: now_s,
            12: None,
            13: None,
            14: None,
            22: None,
        }
    )


def _uuid7(now_s: int) -> bytes:
    """Return a UUIDv7 (RFC 9562 §5.7)."""
    data = bytearray((now_s * 1_000).to_bytes(6, "big") + secrets.token_bytes(10))
    data[6] = 0x70 | (data[6] & 0x0F)
    data[8] = 0x80 | (data[8] & 0x3F)
    return bytes(data)
