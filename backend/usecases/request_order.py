"""An officer brings an order that he has signed: it is read, compared, verified, and waits or goes out.

Rules (C-01, C-02, C-03, C-20, C-21; README §1.8, §2.4):
- A restrictive order takes the vehicle's slot; while another holds it, the answer is no, unless the new one
  names that one as superseded. The kill switch refuses restrictive orders and nothing else.
- A restrictive order is refused for a car whose probation is not passed, and in workshop mode.
- An UNLOCK, CANCEL or QUERY is whole with one signature: it is queued for the car here and now, and takes
  whatever restricts out of its way. It is entered in the log, or waits to be, but is never kept back for it.
- The same id with the same payload is the same order. There is no way to bring several.

Example:
    >>> outcome = request_order(session, device=device, caller=caller, asked=asked, now_us=utc_us())
"""

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from backend import ledger
from backend.domain.access import Caller, Permission, is_allowed
from backend.domain.order_checks import ReadOrder, ReadPart, judge_order, judge_roles, read_part, read_payload
from backend.domain.order_flow import Stage, first_stage, holds_slot, is_restrictive
from backend.domain.refusal import Reason, Refusal
from backend.store.devices import Device
from backend.store.mcus import Mcu, find_challenge, locate_mcu
from backend.store.order_outbox import is_killed
from backend.store.orders import Order, OrderPart, find_slot_holder, list_parts, locate_order
from backend.usecases.authority_documents import keep_delegation, load_roots
from backend.usecases.judge_probation import judge_restriction
from backend.usecases.order_steps import car_facts, note_stage, overtake, send_down
from protocol.orders import Role, assemble
from protocol.orders_vocabulary import SIGNERS

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOrder:
    """What an officer brings.

    Attributes:
        payload: the order's payload.
        protected, signature: his part.
        delegation: the whole delegation that his part names.
        basis: the bundle that the order rests on, if its type has one.
    """

    payload: bytes
    protected: bytes
    signature: bytes
    delegation: bytes
    basis: bytes | None


def request_order(
    session: Session,
    *,
    device: Device,
    caller: Caller,
    asked: AskedOrder,
    asks_probation: bool = True,
    now_us: int,
) -> Order | Refusal:
    """Store an order in the caller's transaction; send it on its way if one signature makes it whole.

    Args:
        session: In a transaction.
        device: Which car.
        caller: Who brings it.
        asked: What he brings.
        asks_probation: False only where a demonstration's setting says that its cars have passed.
        now_us: UTC in µs.
    """
    order = read_payload(asked.payload)
    if isinstance(order, Refusal):
        return order
    mcu = locate_mcu(session, device_id=device.device_id, lock=True)
    if mcu is None:
        return Refusal(reason=Reason.MCU_UNREGISTERED, detail="commissioning registers it first")
    known = locate_order(session, cmd_id=order.cmd_id)
    if known is not None:
        return _again(known, order, device)
    now_s = now_us // _SECOND_US
    refusal = judge_order(order, car_facts(session, mcu), basis=asked.basis, now_s=now_s)
    if refusal is None and is_restrictive(order.type):
        refusal = judge_restriction(session, mcu=mcu, asks_probation=asks_probation, now_us=now_us)
        refusal = refusal or _judge_slot(session, order, device)
    if refusal is not None:
        return refusal
    part = verify_part(session, order=order, mcu=mcu, asked=asked, now_s=now_s)
    if isinstance(part, Refusal):
        return part
    refusal = judge_roles(order, [part.role]) or _judge_bringer(order, part, caller)
    return refusal or _store(session, order, part, mcu, caller=caller, asked=asked, now_us=now_us)


def verify_part(
    session: Session, *, order: ReadOrder, mcu: Mcu, asked: AskedOrder, now_s: int
) -> ReadPart | Refusal:
    """Verify one part against the roots that are known for this car."""
    roots: dict[str, Any] = load_roots(session, org_id=mcu.org_id, lender_id=mcu.lender_id)
    return read_part(
        order,
        protected=asked.protected,
        signature=asked.signature,
        delegation=asked.delegation,
        roots=roots,
        lender_id=mcu.lender_id,
        now_s=now_s,
    )


def store_part(
    session: Session,
    order: Order,
    part: ReadPart,
    *,
    delegation: bytes,
    key_id: str | None,
    reason_code: str | None,
    now_us: int,
) -> None:
    """Keep a verified part, and the delegation that it names."""
    assert order.order_no is not None, "the order is stored"
    session.add(
        OrderPart(
            order_no=order.order_no,
            role=int(part.role),
            org_id=order.org_id,
            protected=part.protected,
            signature=part.signature,
            kid=part.kid.hex(),
            person=part.person,
            delegation=part.delegation.hex(),
            key_id=key_id,
            reason_code=reason_code,
            at_us=now_us,
        )
    )
    session.flush()
    keep_delegation(session, org_id=order.org_id, document=delegation, issuer=part.issuer, now_us=now_us)


def make_whole(session: Session, order: Order) -> bytes:
    """Put payload and parts together to the message that the car reads."""
    assert order.order_no is not None, "the order is stored"
    stored = list_parts(session, order_no=order.order_no)
    roles = tuple(sorted(part.role for part in stored))
    assert roles in SIGNERS[order.type], "exactly the roles of one set that may sign it (C-09)"
    parts = [(part.protected, part.signature) for part in stored]
    order.message = assemble(order.payload, parts)
    session.add(order)
    return order.message


def _again(known: Order, order: ReadOrder, device: Device) -> Order | Refusal:
    is_same = known.org_id == device.org_id and known.device_id == device.device_id
    if is_same and known.payload == order.payload:
        return known
    return Refusal(reason=Reason.ORDER_ID_TAKEN, detail="write the order anew, with an id of its own")


def _judge_slot(session: Session, order: ReadOrder, device: Device) -> Refusal | None:
    if is_killed(session, org_id=device.org_id):
        return Refusal(reason=Reason.KILL_SWITCH_ON, detail="no restrictive order is taken while it is on")
    holder = find_slot_holder(session, device_id=device.device_id)
    if holder is None or order.supersedes == holder.cmd_id:
        return None
    return Refusal(
        reason=Reason.ORDER_OPEN,
        detail=f"{holder.type.name} {holder.cmd_id} is {holder.stage}: withdraw, cancel or supersede it",
    )


def _judge_bringer(order: ReadOrder, part: ReadPart, caller: Caller) -> Refusal | None:
    """Let only a maker's key bring what a maker signs (C-02): the second key is the checker's."""
    if first_stage(order.type) is Stage.QUEUED:
        return None
    if not is_allowed(caller.role, Permission.ORDER_REQUEST) or part.role is not Role.MAKER:
        return Refusal(
            reason=Reason.BAD_PART, detail=f"a {order.type.name} begins with its maker's part and API key"
        )
    return None


def _store(
    session: Session,
    read: ReadOrder,
    part: ReadPart,
    mcu: Mcu,
    *,
    caller: Caller,
    asked: AskedOrder,
    now_us: int,
) -> Order:
    stage = first_stage(read.type)
    challenge = find_challenge(session, org_id=mcu.org_id, device_id=mcu.device_id)
    order = Order(
        org_id=mcu.org_id,
        device_id=mcu.device_id,
        cmd_id=read.cmd_id,
        order_type=int(read.type),
        cmd_hash=read.cmd_hash,
        payload=read.payload,
        basis=asked.basis,
        challenge=challenge.document if challenge is not None and is_restrictive(read.type) else None,
        stage=stage,
        holds_slot=False,
        expires_us=read.expires_us,
        requested_by=caller.key_id,
        due_us=now_us,
        created_us=now_us,
    )
    overtake(session, by=order, now_us=now_us)
    order.holds_slot = holds_slot(read.type, stage, None)
    session.add(order)
    session.flush()
    store_part(
        session,
        order,
        part,
        delegation=asked.delegation,
        key_id=caller.key_id,
        reason_code=None,
        now_us=now_us,
    )
    note_stage(session, order, why=f"signed by {part.role.name.lower()} {part.person}", now_us=now_us)
    if stage is Stage.QUEUED:
        queue_single(session, order, now_us=now_us)
    return order


def queue_single(session: Session, order: Order, *, now_us: int) -> None:
    """Send an order that one signature makes whole, and enter it in the log or in its queue."""
    message = make_whole(session, order)
    send_down(session, order, now_us=now_us)
    enter_release(session, order, message, now_us=now_us)


def enter_release(session: Session, order: Order, message: bytes, *, now_us: int) -> None:
    """Enter a whole order that waits for nobody in the log, or in the log's queue."""
    entry = ledger.Entry(
        leaf_type=ledger.LeafType.ORDER, content=message, org_id=order.org_id, device_id=order.device_id
    )
    ref = ledger.append_or_queue(session, entry, at_us=now_us)
    if ref is not None:
        order.leaf_index, order.leaf_salt = ref.index, ref.salt
        session.add(order)
        session.flush()
