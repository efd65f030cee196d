"""An order as the gate is asked about it, and what is kept of its answers.

Rules: the gate gets the parts with the delegations that they name, and the checker's own reason by its
number. Its part is verified like any other before it is kept.

Example:
    >>> case = GateCase.of(session, order)
    >>> case.reason
    <CheckerReason.ACCOUNT: 1>
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backend.domain.order_checks import ReadOrder, ReadPart, judge_roles, read_part, read_payload
from backend.domain.refusal import Refusal
from backend.store.authority import list_documents
from backend.store.mcus import Mcu, locate_mcu
from backend.store.orders import GateAnswer, Order, list_parts
from backend.usecases.authority_documents import load_roots
from backend.usecases.gate_port import GatePart, GateSaid
from protocol.checker_reasons import CheckerReason
from protocol.orders import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmodel import Session

    from backend.store.orders import OrderPart

_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCase:
    """An order as it is brought before the gate.

    Attributes:
        order, mcu: as stored.
        parts: by role.
        reason: what the checker looked at himself; None before he has signed.
    """

    order: Order
    mcu: Mcu
    parts: dict[Role, GatePart]
    reason: CheckerReason | None

    @classmethod
    def of(cls, session: Session, order: Order) -> GateCase:
        """Return the case of an order as it is stored."""
        mcu = locate_mcu(session, device_id=order.device_id)
        assert mcu is not None, "it was registered when the order was stored"
        parts: list[OrderPart] = list(list_parts(session, order_no=order.order_no or 0))
        bodies = documents_of(session, order, [part.delegation for part in parts])
        return cls(
            order=order,
            mcu=mcu,
            parts={
                Role(part.role): GatePart(
                    protected=part.protected, signature=part.signature, delegation=bodies[part.delegation]
                )
                for part in parts
            },
            reason=_reason_of(parts),
        )


def documents_of(session: Session, order: Order, digests: list[str]) -> dict[str, bytes]:
    """Return the delegations that an order's parts name."""
    return {
        digest: row.document
        for digest, row in list_documents(session, org_id=order.org_id, digests=digests).items()
    }


def verified_part(
    session: Session, order: Order, mcu: Mcu, part: GatePart, *, now_us: int
) -> ReadPart | Refusal:
    r"""Return the gate\'s part, verified against the roots known and fitting those that signed before."""
    read = read_payload(order.payload)
    assert isinstance(read, ReadOrder), "it was read when it was stored"
    found = read_part(
        read,
        protected=part.protected,
        signature=part.signature,
        delegation=part.delegation,
        roots=load_roots(session, org_id=mcu.org_id, lender_id=mcu.lender_id),
        lender_id=mcu.lender_id,
        now_s=now_us // _SECOND_US,
    )
    if isinstance(found, Refusal):
        return found
    stored = [] if order.order_no is None else list_parts(session, order_no=order.order_no)
    others = [Role(row.role) for row in stored]
    return judge_roles(read, [*others, found.role]) or found


def _reason_of(parts: Sequence[OrderPart]) -> CheckerReason | None:
    words = [part.reason_code for part in parts if part.role == Role.CHECKER]
    return CheckerReason.__members__.get(words[0] or "") if words else None


def note_answer(session: Session, order: Order, question: str, said: GateSaid, *, now_us: int) -> None:
    r"""Keep the newest answer to a question about an order, in the caller\'s transaction."""
    assert order.order_no is not None, "the order is stored"
    row = session.get(GateAnswer, (order.order_no, question))
    if row is None:
        row = GateAnswer(
            order_no=order.order_no,
            org_id=order.org_id,
            question=question,
            verdict=said.verdict,
            detail=said.detail[:500],
            at_us=now_us,
        )
    else:
        row.asked += 1
    row.verdict, row.rule, row.detail = said.verdict, said.rule, said.detail[:500]
    row.earliest_s, row.facts, row.at_us = said.earliest_s, said.facts, now_us
    session.add(row)
    session.flush()


def is_too_late(order: Order, earliest_s: int) -> bool:
    """Return whether an order's life ends before the gate may say yes."""
    return order.expires_us is not None and earliest_s * _SECOND_US >= order.expires_us


def why_of(said: GateSaid) -> str:
    """Return rule and fact in one line of an order's history."""
    return f"{said.rule or said.verdict}: {said.detail}"[:200]
