"""Releases: the gate's signature under UNLOCK and CANCEL, and the cars' word that an order is over.

Rules (P-06, P-07): releasing asks for a reason and for nothing else: no notice, no hour, no breaker, no log.
A payment's record is reason enough, else the loan system is asked. What is released stays among the releases
until the car has said so: the answer may be lost.

Example:
    >>> Releaser(desk, loans, store).release(request).verdict
    <Verdict.SIGNED: 'SIGNED'>
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from backend.gate.answers import signed_answer
from backend.gate.asking import BadRequestError, LoanDesk, Question, read_order
from backend.gate.car import open_by_car
from backend.gate.desk import Desk
from backend.gate.events import Event
from backend.gate.forms import Answer, ReleaseRequest
from backend.gate.rules import No, Rule
from backend.gate.store import GateStore, Transaction
from protocol.base64url import to_bytes
from protocol.errors import ProtocolError
from protocol.loan_facts import LoanRecord, Payment, PaymentState, Purpose, open_loan_record
from protocol.orders import OrderType, SignKind, cmd_hash, sign_part
from protocol.orders_vocabulary import FINAL as _FINAL

_RELEASING = (OrderType.UNLOCK, OrderType.CANCEL)


class Releaser:
    """Signs releases."""

    def __init__(self, desk: Desk, loans: LoanDesk, store: GateStore) -> None:
        self._desk, self._loans, self._store = desk, loans, store

    def release(self, request: ReleaseRequest) -> Answer:
        """Sign an UNLOCK or CANCEL: a payment is reason enough, else the loan system is asked.

        What it releases stays among the releases until the car has said so: the answer may be lost.
        """
        payload = to_bytes(request.payload)
        order = read_order(payload)
        if order[3] not in _RELEASING:
            raise BadRequestError("the gate releases by UNLOCK and CANCEL")
        is_paid = self._payment(order, request.record) is not None
        if not is_paid:
            with self._store.writing() as at:
                is_paid = order[5] in {stored.mcu_id for stored in at.overtaken()}
        question = None if is_paid else self._loans.ask(payload, Purpose.RELEASE)
        with self._store.writing() as at:
            now_s = self._desk.clock.now_s()
            nos = [] if question is None else self._release_nos(at, question)
            if nos:
                return self._desk.refuse(at, Event.RELEASE_REFUSED, cmd_hash(payload), nos, now_s)
            part = sign_part(SignKind.COMMAND, payload, self._desk.as_signer())
            at.mark_overtaken(order[4], order[7], now_s)
            at.log(now_s, Event.RELEASE_SIGNED, cmd_hash(payload), {"type": OrderType(order[3]).name})
            return signed_answer(part, (Rule.LENDER, Rule.RELEASE), delegation=self._desk.trust.delegation)

    def heard(self, data: bytes, mcu_key: bytes) -> tuple[bool, str]:
        """Take note of a disposition: an order that is over frees its car.

        Raises:
            BadRequestError: not a disposition, or not signed by that key.
        """
        found = open_by_car("disposition", data, mcu_key, hashlib.sha256(mcu_key).digest())
        if isinstance(found, str):
            raise BadRequestError(found)
        with self._store.writing() as at:
            stored = at.order(found[4])
            is_over = found[9] in _FINAL and stored is not None and stored.ended_s is None
            is_over = (
                is_over and stored is not None and (stored.mcu_id, stored.mcu_key) == (found[5], mcu_key)
            )
            if is_over:
                now_s = self._desk.clock.now_s()
                at.mark_ended(at_s=now_s, cmd_hash=found[4])
                at.log(now_s, Event.ORDER_OVER, found[4], {"state": found[9], "code": found[10]})
            return is_over, "over" if is_over else "noted"

    def _payment(self, order: Mapping[int, Any], record: str | None) -> LoanRecord | None:
        """Return the payment that is the reason for a release, or None."""
        lender = self._desk.trust.lenders.get(order[4])
        if record is None or lender is None:
            return None
        try:
            found = open_loan_record(to_bytes(record), lender.integration_keys.get)
        except ProtocolError:
            return None
        is_paid = isinstance(found.body, Payment) and found.body.state is PaymentState.POSTED
        return found if is_paid and found.contract_ref == order[7] else None

    def _release_nos(self, at: Transaction, question: Question) -> list[No]:
        """A release needs a reason: anything that speaks against a lock of this loan is one."""
        if question.facts is None:
            return [*question.nos]
        facts = question.facts
        coming = sum(amount for amount, _ in facts.pending)
        is_wanted = (
            bool(facts.flags)
            or bool(facts.pending)
            or facts.due_minor <= coming
            or bool(self._desk.freezes.nos(at, question.order))
        )
        return (
            [] if is_wanted else [No(rule=Rule.RELEASE, detail="the loan system knows no reason to release")]
        )
