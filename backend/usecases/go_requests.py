"""A car that waits armed asks for a go token: kept for the gate, answered again, or met with silence.

Rules (C-15): only for an order that this car was sent, that nothing has overtaken, while no kill switch is
on. Silence is the answer otherwise: without a token the car does not lock. The same question gets the same
token; one that the gate gave none for is asked again, since the gate may give one within the same parking.

Example:
    >>> take_go_request(session, mcu, payload, now_us=utc_us())
    'go_request'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.domain.order_flow import Stage, is_restrictive
from backend.store.order_outbox import (
    GoQuestion,
    Outgoing,
    find_go,
    is_killed,
    put_outgoing,
    trim_go,
)
from backend.store.orders import Order, locate_order_by_hash
from backend.usecases.mcu_words import opened_by
from protocol.envelope import Kind
from protocol.limits import GO_QUESTIONS_MAX
from protocol.topics import Down

if TYPE_CHECKING:
    from sqlmodel import Session

    from backend.store.mcus import Mcu


def take_go_request(session: Session, mcu: Mcu, payload: bytes, *, now_us: int) -> str:
    """Keep a car's go request for the gate, in the caller's transaction; return what came of it, by name.

    Raises:
        ProtocolError: this car did not sign it.
    """
    asked = opened_by(Kind.GO_REQUEST, payload, mcu)
    order = locate_order_by_hash(session, device_id=mcu.device_id, cmd_hash=asked[3])
    if order is None or not is_go_open(session, order):
        return "go_not_open"
    known = find_go(session, device_id=mcu.device_id, chal2=asked[4])
    if known is None:
        known = GoQuestion(
            org_id=mcu.org_id,
            device_id=mcu.device_id,
            cmd_hash=asked[3],
            chal2=asked[4],
            document=payload,
            due_us=now_us,
            received_us=now_us,
        )
        session.add(known)
        session.flush()
        trim_go(session, device_id=mcu.device_id, keep=GO_QUESTIONS_MAX)
        return "go_request"
    if known.token is not None:
        send_token(session, known, now_us=now_us)
    elif known.due_us is None:  # the gate gave none; it may give one now, within the same parking
        known.due_us = now_us
        session.add(known)
        session.flush()
    return "go_repeated"


def is_go_open(session: Session, order: Order) -> bool:
    """Return whether the gate may be asked for a go token for an order."""
    return (
        is_restrictive(order.type)
        and order.overtaken_by is None
        and Stage(order.stage) in {Stage.SENT, Stage.ANSWERED}
        and not is_killed(session, org_id=order.org_id)
    )


def send_token(session: Session, question: GoQuestion, *, now_us: int) -> None:
    """Queue a go token for its car."""
    assert question.token is not None, "the gate has answered"
    put_outgoing(
        session,
        Outgoing(
            org_id=question.org_id,
            device_id=question.device_id,
            kind=Down.GO,
            subject=question.chal2.hex(),
            priority=1,
            payload=question.token,
            sends_max=1,
            due_us=now_us,
            created_us=now_us,
        ),
    )
