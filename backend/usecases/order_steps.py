"""One step of an order, in the caller's transaction: stage, history, the vehicle's slot, the way down.

Rules:
- A step is taken only if the table lists it; whoever takes one holds the vehicle's row
  (`locate_mcu(lock=True)`), so that of two that meet the second sees what the first did.
- What a step means for the outbox is done here, so that nobody forgets it: QUEUED goes into it, with the
  documents that its signers name; every end takes it out.

Example:
    with session.begin():
        locate_mcu(session, device_id=order.device_id, lock=True)
        take_step(session, order, Step.WITHDRAWN, why="by key 0123", now_us=now_us)
"""

from typing import TYPE_CHECKING, Any, Final

from sqlmodel import Session

from backend.domain.order_checks import CarFacts
from backend.domain.order_flow import (
    BEFORE_SENDING,
    Stage,
    Step,
    holds_slot,
    is_releasing,
    is_restrictive,
    may,
    next_stage,
    priority,
)
from backend.store.authority import list_documents
from backend.store.mcus import Mcu, find_challenge
from backend.store.order_outbox import Outgoing, drop_outgoing, put_outgoing
from backend.store.orders import Order, OrderStage, list_parts, list_stages, list_unsent
from backend.usecases.authority_documents import documents_in_force
from protocol import orders_payload
from protocol.authority_bundle import FOR_THE_MCU, DocumentKind, encode_bundle
from protocol.limits import AUTHORITY_BUNDLE_BYTES_MAX, AUTHORITY_DOCUMENTS_MAX
from protocol.topics import Down

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUNDLE_OVERHEAD: Final = 8 * AUTHORITY_DOCUMENTS_MAX  # heads of arrays, kinds and byte strings
_ENDS: Final = frozenset({Stage.WITHDRAWN, Stage.SUPERSEDED, Stage.EXPIRED, Stage.ANSWERED, Stage.HELD})


def take_step(session: Session, order: Order, step: Step, *, why: str, now_us: int) -> Stage:
    """Move an order on and say what follows from it.

    Raises:
        IllegalStepError: The table does not list it; nothing was changed.
    """
    stage = next_stage(Stage(order.stage), step)
    is_new = stage is not Stage(order.stage)
    order.stage = stage
    settle_slot(order)
    if is_new:
        note_stage(session, order, why=why, now_us=now_us)
    if stage is Stage.QUEUED:
        send_down(session, order, now_us=now_us)
    elif stage in _ENDS:
        drop_outgoing(session, device_id=order.device_id, kind=Down.ORDER, subject=order.cmd_id)
        drop_outgoing(session, device_id=order.device_id, kind=Down.AUTHORITY, subject=order.cmd_id)
    session.add(order)
    session.flush()
    return stage


def settle_slot(order: Order) -> None:
    """Set whether the order holds its vehicle's slot, from what it is now."""
    is_open = holds_slot(order.type, Stage(order.stage), order.in_car)
    order.holds_slot = is_open and order.overtaken_by is None


def note_stage(session: Session, order: Order, *, why: str, now_us: int) -> None:
    """Add a line to an order's history."""
    assert order.order_no is not None, "the order is stored"
    number = len(list_stages(session, order_no=order.order_no))
    session.add(
        OrderStage(
            order_no=order.order_no,
            org_id=order.org_id,
            number=number,
            stage=order.stage,
            why=why[:200],
            at_us=now_us,
        )
    )
    session.flush()


def send_down(session: Session, order: Order, *, now_us: int) -> None:
    """Queue an order for its car, and just before it the documents that its signers name."""
    assert order.message is not None, "what is queued is whole"
    assert order.order_no is not None, "the order is stored"
    place = priority(order.type)
    bundle = bundle_of(
        session,
        org_id=order.org_id,
        digests=[part.delegation for part in list_parts(session, order_no=order.order_no)],
    )
    if bundle is not None:
        put_outgoing(
            session,
            Outgoing(
                org_id=order.org_id,
                device_id=order.device_id,
                kind=Down.AUTHORITY,
                subject=order.cmd_id,
                priority=place,
                payload=bundle,
                sends_max=1,
                due_us=now_us,
                created_us=now_us,
            ),
        )
    put_outgoing(
        session,
        Outgoing(
            org_id=order.org_id,
            device_id=order.device_id,
            kind=Down.ORDER,
            subject=order.cmd_id,
            priority=place,
            payload=order.message,
            due_us=now_us,
            created_us=now_us,
        ),
    )


def bundle_of(session: Session, *, org_id: str, digests: list[str]) -> bytes | None:
    """Return the bundle of documents in force and of those delegations that are known; None for nothing.

    Args:
        session: Reads.
        org_id: Whose car asks.
        digests: Of delegations, hex; none asks for what is in force of the roots alone.
    """
    known = list_documents(session, org_id=org_id, digests=digests) if digests else {}
    delegations = [known[digest] for digest in digests if digest in known]
    documents: list[tuple[DocumentKind, bytes]] = [
        (DocumentKind.DELEGATION, row.document) for row in delegations if row.kind == "delegation"
    ]
    in_force = documents_in_force(session, org_id=org_id)
    signed = [item for item in in_force if item[0] in FOR_THE_MCU]
    documents = [*signed[: AUTHORITY_DOCUMENTS_MAX - len(documents)], *documents]
    room = AUTHORITY_BUNDLE_BYTES_MAX - _BUNDLE_OVERHEAD - sum(len(data) for _, data in documents)
    for kind, data in in_force:  # a zone set that does not fit goes alone, when the box asks for it
        is_fitting = len(data) <= room and len(documents) < AUTHORITY_DOCUMENTS_MAX
        if kind not in FOR_THE_MCU and not digests and is_fitting:
            documents.append((kind, data))
            room -= len(data)
    return encode_bundle(documents) if documents else None


def overtake(session: Session, *, by: Order, now_us: int) -> list[str]:
    """Take a vehicle's restrictive orders out of the way of a release, or of the order that names them.

    An UNLOCK overtakes all, a CANCEL the one that it names or all; a restrictive order only the one that it
    names. What has been sent may be in the car: it is sent no more, and no go token is fetched for it.

    Returns:
        The ids of the orders overtaken.
    """
    named = supersedes_of(by)
    found: list[str] = []
    stages = {*BEFORE_SENDING, Stage.SENT, Stage.ANSWERED}
    for order in list_unsent(session, device_id=by.device_id, stages=stages):
        is_meant = order.cmd_id == named if named is not None else is_releasing(by.type)
        if not is_meant or order.cmd_id == by.cmd_id or not is_restrictive(order.type):
            continue
        if order.stage == Stage.ANSWERED and is_restrictive(by.type):
            continue  # the car itself says what became of it, once it has accepted the newer one
        order.overtaken_by = by.cmd_id
        found.append(order.cmd_id)
        if may(Stage(order.stage), Step.OVERTAKEN):
            take_step(session, order, Step.OVERTAKEN, why=f"by {by.type.name} {by.cmd_id}", now_us=now_us)
        else:
            order.holds_slot = False
        session.add(order)
    session.flush()
    return found


def supersedes_of(order: Order) -> str | None:
    """Return the id that an order names in key 22, hex."""
    fields: Mapping[int, Any] = orders_payload.read_order(order.payload)[0]
    named = fields.get(22)
    return None if named is None else bytes(named).hex()


def car_facts(session: Session, mcu: Mcu) -> CarFacts:
    """Return what is known of a car, for comparing an order with it."""
    challenge = find_challenge(session, org_id=mcu.org_id, device_id=mcu.device_id)
    is_open = challenge is not None and not challenge.is_used and challenge.epoch == mcu.epoch
    return CarFacts(
        mcu_id=bytes.fromhex(mcu.mcu_id),
        lender_id=mcu.lender_id,
        vin_bind=mcu.vin_bind,
        contract_ref=mcu.contract_ref,
        epoch=mcu.epoch,
        jurisdiction=mcu.jurisdiction,
        heads=tuple(mcu.heads),
        prev=mcu.prev,
        chal=challenge.chal if is_open and challenge is not None else None,
        chal_tick=challenge.tick if challenge is not None else 0,
    )
