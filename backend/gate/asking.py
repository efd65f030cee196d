"""What the gate is asked about, and what the lender's loan system answers to it, anew each time.

Rules (README §1.6; B-02): a fresh nonce for each question; an answer counts for the contract, nonce and
purpose that were asked and by a pinned key of the lender alone. Silence is a no that names when to ask again.
The question is put outside of any transaction.

Example:
    >>> desk.ask(payload, Purpose.REVIEW).nos
    ()
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.gate.ports import Clock, LoanSystemError, LoanSystems
from backend.gate.rules import No, Rule
from backend.gate.trust import Lender, Trust
from protocol import orders_payload
from protocol.errors import ProtocolError
from protocol.loan_facts import FactsQuestion, LoanFacts, Purpose, open_loan_facts
from protocol.orders import OrderType, cmd_hash

_ASK_AGAIN_S = 60  # a loan system that was silent may answer then: silence ends no order for good


class BadRequestError(Exception):
    """The request is not of its form; says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An order under judgement: payload, fields, and what was asked for it."""

    payload: bytes
    order: Mapping[int, Any]
    lender: Lender
    facts: LoanFacts | None
    nos: tuple[No, ...]

    @property
    def type(self) -> OrderType:
        """What is asked for."""
        return OrderType(self.order[3])

    @property
    def hash(self) -> bytes:
        """The order's name, 32 bytes."""
        return cmd_hash(self.payload)


def read_order(payload: bytes) -> dict[int, Any]:
    """Return an order's fields.

    Raises:
        BadRequestError: it is none that a gate judges.
    """
    try:
        order, is_known = orders_payload.read_order(payload)
    except ValueError as error:
        raise BadRequestError(f"payload: {error}") from error
    if not is_known or 4 not in order:  # noqa: PLR2004 - a payload's key, see SPEC §18.1
        raise BadRequestError("payload: no order that a gate judges")
    return dict(order)


class LoanDesk:
    """Asks the loan systems."""

    def __init__(
        self, *, trust: Trust, loans: LoanSystems, clock: Clock, random: Callable[[int], bytes]
    ) -> None:
        self._trust, self._loans, self._clock, self._random = trust, loans, clock, random

    def ask(self, payload: bytes, purpose: Purpose) -> Question:
        """Ask the loan system about an order's loan, now; outside of any transaction.

        Raises:
            BadRequestError: the payload is no order that a gate judges.
        """
        order = read_order(payload)
        lender = self._trust.lenders.get(order[4])
        if lender is None:
            unknown = Lender(lender_id=order[4], integration_keys={})
            no = No(rule=Rule.LENDER, detail="this gate does not know the lender")
            return Question(payload=payload, order=order, lender=unknown, facts=None, nos=(no,))
        question = FactsQuestion(contract_ref=order[7], nonce=self._random(16), purpose=purpose)
        facts = self._facts(lender, question)
        nos = (facts,) if isinstance(facts, No) else ()
        found = None if isinstance(facts, No) else facts
        return Question(payload=payload, order=order, lender=lender, facts=found, nos=nos)

    def _facts(self, lender: Lender, question: FactsQuestion) -> LoanFacts | No:
        try:
            facts = open_loan_facts(
                self._loans.facts(lender.lender_id, question), lender.integration_keys.get
            )
        except LoanSystemError as error:
            later_s = self._clock.now_s() + _ASK_AGAIN_S
            return No(rule=Rule.FACTS, detail=f"the loan system did not answer: {error}", earliest_s=later_s)
        except ProtocolError as error:
            return No(rule=Rule.FACTS, detail=f"the loan system's answer is none: {error.code}")
        answered = (facts.contract_ref, facts.nonce, facts.purpose)
        if answered != (question.contract_ref, question.nonce, question.purpose):
            return No(rule=Rule.FACTS, detail="the loan system answered another question")
        return facts
