"""The checker, another person with another key, brings his signature; or someone withdraws what is not sent.

Rules (C-02, C-02a; README §1.9): checker and maker differ in person, signing key and API key, and each has
his own role. How long lies between them, the gate times. The reason code is the checker's own words for why.
What has been sent is not withdrawn: it may be in the car, and a signed CANCEL takes it back. Nor is an
UNLOCK, sent or not: no one person stops another's release.

Example:
    >>> outcome = approve_order(session, order=order, caller=caller, asked=asked, reason_code="ok", now_us=1)
"""

from collections.abc import Sequence

from sqlmodel import Session

from backend.domain.access import Caller
from backend.domain.order_checks import ReadPart, judge_order, judge_roles, read_payload
from backend.domain.order_flow import Stage, Step, is_restrictive, may
from backend.domain.refusal import Reason, Refusal
from backend.store.mcus import locate_mcu
from backend.store.order_outbox import is_killed
from backend.store.orders import Order, OrderPart, find_order, list_parts
from backend.usecases.order_steps import car_facts, take_step
from backend.usecases.request_order import AskedOrder, store_part, verify_part
from protocol.orders import OrderType, Role

_SECOND_US = 1_000_000


def approve_order(  # noqa: PLR0911  # one return for each no
    session: Session,
    *,
    caller: Caller,
    cmd_id: str,
    protected: bytes,
    signature: bytes,
    delegation: bytes,
    reason_code: str,
    now_us: int,
) -> Order | Refusal:
    """Store the checker's part in the caller's transaction; the order then waits for the log."""
    order = _locked(session, org_id=caller.org_id, cmd_id=cmd_id)
    if order is None:
        return Refusal(reason=Reason.ORDER_UNKNOWN, detail="none of this id in this organisation")
    assert order.order_no is not None, "a row that was read has its number"
    stored = list_parts(session, order_no=order.order_no)
    for other in stored:
        if other.role == Role.CHECKER and (other.protected, other.signature) == (protected, signature):
            return order  # the same part again changes nothing
    if not may(Stage(order.stage), Step.APPROVED):
        return Refusal(reason=Reason.WRONG_STAGE, detail=f"it is {order.stage}")
    if is_restrictive(order.type) and is_killed(session, org_id=order.org_id):
        return Refusal(reason=Reason.KILL_SWITCH_ON, detail="no restrictive order is approved while it is on")
    asked = AskedOrder(
        payload=order.payload,
        protected=protected,
        signature=signature,
        delegation=delegation,
        basis=order.basis,
    )
    part = _verified(session, order, asked, now_s=now_us // _SECOND_US)
    if isinstance(part, Refusal):
        return part
    refusal = _judge_people(stored, part, caller)
    if refusal is not None:
        return refusal
    store_part(
        session,
        order,
        part,
        delegation=delegation,
        key_id=caller.key_id,
        reason_code=reason_code,
        now_us=now_us,
    )
    order.due_us, order.attempts = now_us, 0
    take_step(session, order, Step.APPROVED, why=f"checker {part.person}: {reason_code}", now_us=now_us)
    return order


def withdraw_order(session: Session, *, caller: Caller, cmd_id: str, now_us: int) -> Order | Refusal:
    """End an order that has not been sent, in the caller's transaction; ending it again changes nothing."""
    order = _locked(session, org_id=caller.org_id, cmd_id=cmd_id)
    if order is None:
        return Refusal(reason=Reason.ORDER_UNKNOWN, detail="none of this id in this organisation")
    if order.stage == Stage.WITHDRAWN:
        return order
    if order.type is OrderType.UNLOCK:
        return Refusal(reason=Reason.WRONG_STAGE, detail="an UNLOCK is not taken back, whoever asks for it")
    if not may(Stage(order.stage), Step.WITHDRAWN):
        return Refusal(
            reason=Reason.WRONG_STAGE,
            detail=f"it is {order.stage} and may be in the car: send a signed CANCEL or UNLOCK",
        )
    take_step(session, order, Step.WITHDRAWN, why=f"by API key {caller.key_id}", now_us=now_us)
    return order


def _locked(session: Session, *, org_id: str, cmd_id: str) -> Order | None:
    """Return an order with its vehicle's row locked, read after the lock."""
    order = find_order(session, org_id=org_id, cmd_id=cmd_id)
    if order is None:
        return None
    locate_mcu(session, device_id=order.device_id, lock=True)
    session.refresh(order)
    return order


def _verified(session: Session, order: Order, asked: AskedOrder, *, now_s: int) -> ReadPart | Refusal:
    """Verify the checker's part, and look at the order once more: the car may have moved on meanwhile."""
    read = read_payload(order.payload)
    assert not isinstance(read, Refusal), "it was read when it was stored"
    mcu = locate_mcu(session, device_id=order.device_id)
    assert mcu is not None, "it was registered when the order was stored"
    refusal = judge_order(read, car_facts(session, mcu), basis=order.basis, now_s=now_s)
    if refusal is not None:
        return refusal
    part = verify_part(session, order=read, mcu=mcu, asked=asked, now_s=now_s)
    if isinstance(part, Refusal):
        return part
    if part.role is not Role.CHECKER:
        return Refusal(reason=Reason.BAD_PART, detail=f"SIGNER_SET: a {part.role.name.lower()} is no checker")
    return judge_roles(read, [Role.MAKER, part.role]) or part


def _judge_people(stored: Sequence[OrderPart], part: ReadPart, caller: Caller) -> Refusal | None:
    for other in stored:
        if other.person == part.person:
            return Refusal(reason=Reason.SAME_PERSON, detail="ROLE_CONFLICT: the maker is this person")
        if other.kid == part.kid.hex():
            return Refusal(reason=Reason.SAME_PERSON, detail="ROLE_CONFLICT: the maker signed with this key")
        if other.key_id == caller.key_id:
            return Refusal(reason=Reason.SAME_PERSON, detail="the maker brought his part with this API key")
    return None
