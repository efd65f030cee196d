"""Go tokens: whether an order that waits armed in its car may inhibit the next start now (README §1.6).

Rules (C-12, K-05): the loan system is asked again, revocations and payments since the signature count. A no
about the loan is a signed NO, which ends the order in the car; a no that time may end is an answer without a
token, so that the car asks again. The forecast goes with the place that the car asked for.

Example:
    >>> Goer(desk, loans, store, forecasts=NoForecast()).go(request).verdict
    <Verdict.GO: 'GO'>
"""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.gate.asking import BadRequestError, LoanDesk, Question
from backend.gate.breaker import LEASE_S_MAX
from backend.gate.car import open_by_car
from backend.gate.desk import Desk
from backend.gate.eligibility import judge
from backend.gate.events import Event
from backend.gate.forms import Answer, GoRequest, Verdict
from backend.gate.ports import Forecasts
from backend.gate.rules import FOR_GOOD, No, Rule
from backend.gate.store import GateStore, StoredOrder, Transaction
from protocol import cose_sign, orders_payload
from protocol.base64url import to_bytes, to_text
from protocol.envelope import Kind
from protocol.loan_facts import Purpose
from protocol.orders import OrderType, sign_document
from protocol.orders_authority import is_revoked
from protocol.orders_forms import GO_VERDICT, NO_GO_VERDICT


class Goer:
    """Gives go tokens."""

    def __init__(self, desk: Desk, loans: LoanDesk, store: GateStore, *, forecasts: Forecasts) -> None:
        self._desk, self._loans, self._store = desk, loans, store
        self._forecasts = forecasts

    def go(self, request: GoRequest) -> Answer:
        """Give a go token for an order that waits armed, or say no: for good by a token, for now without."""
        data = to_bytes(request.go_request)
        try:
            _, _, payload, _ = cose_sign.read_sign1(data)
            name = orders_payload.read_document("go-request", payload)[3]
        except ValueError as error:
            raise BadRequestError(f"go request: {error}") from error
        with self._store.writing() as at:
            stored = at.order(name)
        asked = None if stored is None else open_by_car("go-request", data, stored.mcu_key, stored.mcu_id)
        if stored is None or isinstance(asked, str) or asked is None or stored.part is None:
            no = No(
                rule=Rule.SIGNED_ORDER, detail=asked if isinstance(asked, str) else "no order of this gate"
            )
            with self._store.writing() as at:
                return self._desk.refuse(at, Event.GO_REFUSED, name, [no], self._desk.clock.now_s())
        question = self._loans.ask(stored.payload, Purpose.GO)
        with self._store.writing() as at:
            fresh = at.order(name)
            assert fresh is not None, "a signed order is never deleted"
            return self._go(at, question, fresh, asked, request.place)

    def _go(
        self,
        at: Transaction,
        question: Question,
        stored: StoredOrder,
        asked: Mapping[int, Any],
        place: Sequence[int] | None,
    ) -> Answer:
        now_s, nos = self._desk.begin(at, question)
        if stored.ended_s is not None or stored.type is OrderType.WARN:
            nos.append(No(rule=Rule.LIFE, detail="the order is over, or needs no go token"))
        if stored.overtaken_s is not None:
            nos.append(
                No(rule=Rule.PAYMENT, detail="a payment or a release has come since the order was signed")
            )
        nos += self._revoked_nos(at, stored)
        case = self._desk.case(at, question, stored.basis, None, now_s, persons=frozenset(stored.persons))
        nos += case if isinstance(case, list) else _without_life(judge(case), stored, now_s)
        is_for_good = any(no.rule in FOR_GOOD for no in nos)
        if nos and not is_for_good:
            return self._desk.answer(at, Event.GO_REFUSED, question, nos, Verdict.REFUSED, now_s)
        facts = question.facts.digest if question.facts is not None else bytes(32)
        air = None if place is None or nos else self._forecasts.next_12_h((place[0], place[1]), now_s)
        token = sign_document(
            Kind.GO,
            {
                1: 1,
                2: stored.mcu_id,
                3: stored.cmd_hash,
                4: asked[4],
                5: NO_GO_VERDICT if nos else GO_VERDICT,
                6: now_s,
                7: None if air is None else list(air),
                8: facts,
                9: self._desk.delegation,
            },
            self._desk.signer,
        )
        if nos:
            return self._desk.answer(at, Event.NO_GO, question, nos, Verdict.NO_GO, now_s, token=token)
        at.mark_gone(stored.cmd_hash, now_s)
        at.log(now_s, Event.GO, stored.cmd_hash, {"facts": facts, "chal2": asked[4]})
        return Answer(
            verdict=Verdict.GO,
            rules=list(stored.rules),
            token=to_text(token),
            delegation=to_text(self._desk.trust.delegation),
            facts=facts.hex(),
        )

    def _revoked_nos(self, at: Transaction, stored: StoredOrder) -> list[No]:
        """Who is revoked stops what he has signed: the car may not have heard of it yet (K-05)."""
        holders = [self._desk.book.holder(digest) for digest in at.signers(stored.cmd_hash)]
        if all(holder is not None and not is_revoked(holder, self._desk.book.roots) for holder in holders):
            return []
        return [No(rule=Rule.SIGNERS, detail="maker or checker was revoked since the order was signed")]


def _without_life(nos: Sequence[No], stored: StoredOrder, now_s: int) -> list[No]:
    """Leave out the order's end where its car may be locked by it: after an emergency window (README §1.11).

    Whether it may lock for the first time is the car's to say, which lets no order outlive its end.
    """
    is_again = stored.type is OrderType.LOCK and stored.gone_s is not None
    if not is_again or now_s >= (stored.gone_s or 0) + LEASE_S_MAX:
        return list(nos)
    return [no for no in nos if no.rule is not Rule.LIFE]
