"""Screen and review: whether an order would be signed, and the gate's signature under it, or why not.

Rules (§4.4, README §1.6, §1.16; C-02, C-12, C-20): everything is judged at once within one transaction, and
what was decided is durable before the answer leaves. The same order asked again gets the same part, or none
while it is frozen. A held order is never signed. What the car itself would refuse is not signed.

Example:
    >>> Reviewer(desk, loans, store).review(request).verdict
    <Verdict.SIGNED: 'SIGNED'>
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backend.gate import breaker
from backend.gate.answers import PASSED, part_bytes, signed_answer
from backend.gate.asking import BadRequestError, LoanDesk, Question, read_order
from backend.gate.breaker import LEASE_S_MAX
from backend.gate.car import car_no, judge_challenge
from backend.gate.desk import Desk
from backend.gate.eligibility import judge
from backend.gate.events import Event
from backend.gate.forms import Answer, ReviewRequest, ScreenRequest, Verdict
from backend.gate.installing import Fitting
from backend.gate.logged import LogRef, Proof, log_ref_of
from backend.gate.names import folded
from backend.gate.pack import GAP_S_MIN, Pack
from backend.gate.people import People
from backend.gate.rules import HOLDS, No, Rule, told
from backend.gate.store import GateStore, StoredOrder, Transaction
from protocol import cose_sign
from protocol.base64url import to_bytes
from protocol.loan_facts import Flag, Purpose
from protocol.orders import OrderType, Role, SignKind, assemble, cmd_hash, sign_part

_RESTRICTING = (OrderType.LOCK, OrderType.RENEW, OrderType.WARN)


class Reviewer:
    """Judges orders that restrict, and the end of a contract."""

    def __init__(self, desk: Desk, loans: LoanDesk, store: GateStore, fitting: Fitting) -> None:
        self._desk, self._loans, self._store, self._fitting = desk, loans, store, fitting

    def screen(self, request: ScreenRequest) -> Answer:
        """Say whether an order would be signed as the loan stands now, and note when its maker had signed."""
        question = self._loans.ask(to_bytes(request.payload), Purpose.SCREEN)
        with self._store.writing() as at:
            now_s, nos = self._desk.begin(at, question)
            people = None
            if request.part is not None and request.delegation is not None:
                self._desk.show(at, [request.delegation], now_s)
                people = self._desk.people(question, [request.part], [(Role.MAKER,)], now_s)
                nos += people.nos
                if not people.nos:
                    self._first_seen(at, question.hash, now_s)
            case = self._desk.case(at, question, to_bytes(request.basis), people, now_s)
            nos += case if isinstance(case, list) else judge(case)
            nos += self._locked_nos(at, question, now_s)
            nos += self._fitting.probation_nos(at, question.order, now_s)
            return self._desk.answer(at, Event.SCREENED, question, nos, Verdict.ELIGIBLE, now_s)

    def review(self, request: ReviewRequest) -> Answer:
        """Sign an order that people have signed, or say why not."""
        payload = to_bytes(request.payload)
        order_type = read_order(payload)[3]
        if order_type == OrderType.DECOMMISSION:
            return self._review_decommission(request, payload)
        if order_type not in _RESTRICTING:
            raise BadRequestError("the gate reviews LOCK, RENEW, WARN and DECOMMISSION")
        with self._store.writing() as at:
            known = self._known(at, payload)
        if known is not None:
            return known
        question = self._loans.ask(payload, Purpose.REVIEW)
        with self._store.writing() as at:
            return self._known(at, payload) or self._review(at, request, question)

    def _review(self, at: Transaction, request: ReviewRequest, question: Question) -> Answer:
        now_s, nos = self._desk.begin(at, question)
        self._desk.show(at, request.delegations, now_s)
        people = self._desk.people(question, request.parts, [(Role.MAKER, Role.CHECKER)], now_s)
        nos += people.nos
        if request.reason_code is None:
            nos.append(No(rule=Rule.SIGNERS, detail="the checker gave no reason of his own"))
        parts = [part_bytes(part) for part in request.parts]
        case = self._desk.case(at, question, to_bytes(request.basis or ""), people, now_s)
        if isinstance(case, list):
            nos += case
        else:
            nos += judge(case)
            nos += [] if people.nos else self._gap_nos(at, question, case.pack, now_s)
        nos += self._locked_nos(at, question, now_s)
        nos += self._fitting.probation_nos(at, question.order, now_s)
        log_ref = self._log_ref(request, question.payload, parts, now_s)
        challenge = self._challenge(at, request, question)
        nos += [no for no in (log_ref, challenge) if isinstance(no, No)]
        if nos or isinstance(case, list) or isinstance(log_ref, No) or isinstance(challenge, No):
            return self._desk.answer(at, Event.REVIEW_REFUSED, question, nos, Verdict.REFUSED, now_s)
        nos, window = self._breaker_nos(at, question, people, now_s)
        passed = PASSED[question.type]
        part = sign_part(
            SignKind.COMMAND,
            question.payload,
            self._desk.as_signer(
                log_ref=log_ref, attestation=(case.pack.version, [int(at) for at in passed], window)
            ),
        )
        mcu_key = to_bytes(request.mcu_key or "")
        message = assemble(question.payload, [*parts, part])
        refused = car_no(message, question.order, challenge, mcu_key, book=self._desk.book, now_s=now_s)
        nos += [] if refused is None else [refused]
        kept = self._stored(question, people, request, mcu_key, now_s)
        if any(no.rule in HOLDS for no in nos) and refused is None:
            return self._hold(at, kept, nos, question, now_s)
        if nos:
            return self._desk.answer(at, Event.REVIEW_REFUSED, question, nos, Verdict.REFUSED, now_s)
        assert question.facts is not None, "an order without facts is refused above"
        at.add_order(_with_part(kept, part, passed))
        at.add_signers(question.hash, [cose_sign.Signer(*given).delegation for given in parts])
        at.log(
            now_s,
            Event.SIGNED,
            question.hash,
            {
                "type": question.type.name,
                "rules": [int(rule) for rule in passed],
                "pack": case.pack.digest,
                "facts": question.facts.digest,
                "log": [log_ref[1], log_ref[2], log_ref[3]],
                "reason": None if request.reason_code is None else int(request.reason_code),
            },
        )
        return signed_answer(
            part,
            passed,
            delegation=self._desk.trust.delegation,
            limits={"window": window},
            facts=question.facts,
        )

    def _review_decommission(self, request: ReviewRequest, payload: bytes) -> Answer:
        """Sign the end of a contract that is paid off, beside the one person who signed it."""
        question = self._loans.ask(payload, Purpose.REVIEW)
        with self._store.writing() as at:
            now_s = self._desk.clock.now_s()
            nos = [*question.nos]
            self._desk.show(at, request.delegations, now_s)
            nos += self._desk.people(question, request.parts, [(Role.MAKER,), (Role.CHECKER,)], now_s).nos
            if question.facts is not None and Flag.PAID_OFF not in question.facts.flags:
                nos.append(No(rule=Rule.RELEASE, detail="the loan is not paid off"))
            if nos:
                return self._desk.refuse(at, Event.DECOMMISSION_REFUSED, question.hash, nos, now_s)
            part = sign_part(SignKind.COMMAND, payload, self._desk.as_signer())
            at.mark_overtaken(question.lender.lender_id, question.order[7], now_s)
            at.log(now_s, Event.DECOMMISSION_SIGNED, question.hash, {})
            return signed_answer(
                part,
                (Rule.LENDER, Rule.SIGNERS, Rule.RELEASE),
                delegation=self._desk.trust.delegation,
                facts=question.facts,
            )

    def _known(self, at: Transaction, payload: bytes) -> Answer | None:
        """Return what was answered before, for an order that was signed or held; None for any other.

        A freeze holds back a part that was signed already.
        """
        stored = at.order(cmd_hash(payload))
        if stored is None:
            return None
        now_s = self._desk.clock.now_s()
        if stored.part is None:
            no = No(rule=Rule.HELD, detail=f"held before, by {stored.rule}: {stored.detail}")
            return self._desk.refuse(at, Event.ASKED_AGAIN_HELD, stored.cmd_hash, [no], now_s)
        frozen = self._desk.freezes.nos(at, read_order(payload))
        if frozen:
            return self._desk.refuse(at, Event.ASKED_AGAIN_FROZEN, stored.cmd_hash, frozen, now_s)
        if stored.overtaken_s is not None or stored.ended_s is not None:
            no = No(rule=Rule.LIFE, detail="the order is over: it was paid, released or answered since")
            return self._desk.refuse(at, Event.ASKED_AGAIN_OVER, stored.cmd_hash, [no], now_s)
        at.log(now_s, Event.ASKED_AGAIN, stored.cmd_hash, {})
        return signed_answer(
            stored.part, [Rule(number) for number in stored.rules], delegation=self._desk.trust.delegation
        )

    def _gap_nos(self, at: Transaction, question: Question, pack: Pack, now_s: int) -> list[No]:
        """Ten minutes between the signatures, by the shorter of the wall clock and the monotonic one."""
        seen_s, seen_mono_s, boot = self._first_seen(at, question.hash, now_s)
        elapsed = now_s - seen_s
        if boot == self._desk.clock.boot:
            elapsed = min(elapsed, self._desk.clock.mono_s() - seen_mono_s)
        needed = pack.gap_s if pack.is_demo else max(GAP_S_MIN, pack.gap_s)
        if elapsed >= needed:
            return []
        detail = f"{max(0, elapsed)} s between maker and checker, {needed} s are needed"
        return [No(rule=Rule.TEN_MINUTES, detail=detail, earliest_s=now_s + needed - max(0, elapsed))]

    def _first_seen(self, at: Transaction, name: bytes, now_s: int) -> tuple[int, int, bytes]:
        return at.first_seen(name, at_s=now_s, mono_s=self._desk.clock.mono_s(), boot=self._desk.clock.boot)

    def _log_ref(
        self, request: ReviewRequest, payload: bytes, parts: Sequence[tuple[bytes, bytes]], now_s: int
    ) -> LogRef | No:
        if request.log is None:
            return No(rule=Rule.LOG, detail="no proof that the order is logged")
        proof = Proof(
            checkpoint=request.log.checkpoint.encode(),
            index=request.log.index,
            salt=bytes.fromhex(request.log.salt),
            path=[bytes.fromhex(part) for part in request.log.proof],
        )
        try:
            content = assemble(payload, parts)
        except ValueError as error:
            return No(rule=Rule.LOG, detail=f"the two-signed order is none: {error}")
        return log_ref_of(content, proof, self._desk.trust.log, now_s=now_s)

    def _challenge(self, at: Transaction, request: ReviewRequest, question: Question) -> dict[int, Any] | No:
        if request.challenge is None or request.mcu_key is None:
            return No(rule=Rule.CHALLENGE, detail="no challenge of the car came with the order")
        if at.is_held_challenge(question.order[13]):
            return No(
                rule=Rule.CHALLENGE, detail="an order for this challenge was held: the car must be asked anew"
            )
        return judge_challenge(question.order, to_bytes(request.challenge), to_bytes(request.mcu_key))

    def _breaker_nos(
        self, at: Transaction, question: Question, people: People, now_s: int
    ) -> tuple[list[No], int]:
        """Return what the breaker says, and how many orders of this type it counts in the last day."""
        lender_id = question.lender.lender_id
        makers = {key: folded(name) for key, name in self._desk.book.persons(Role.MAKER).items()}
        signed = at.signed_since(lender_id, now_s - breaker.DAY_S, makers)
        nos = breaker.judge(
            question.type,
            signed,
            self._desk.records.limits(at, lender_id, now_s),
            now_s=now_s,
            maker=folded(people.maker.person),
            maker_day=people.maker.per_day,
            locked=len(at.locked_cars(lender_id, now_s - LEASE_S_MAX)),
        )
        return nos, sum(1 for order in signed if order.type is question.type)

    def _locked_nos(self, at: Transaction, question: Question, now_s: int) -> list[No]:
        if question.type is not OrderType.RENEW:
            return []
        if question.order[5] in at.locked_cars(question.lender.lender_id, now_s - LEASE_S_MAX):
            return []
        return [No(rule=Rule.LOCKED_CAR, detail="this gate knows no lock of this car that could be renewed")]

    def _stored(
        self, question: Question, people: People, request: ReviewRequest, mcu_key: bytes, now_s: int
    ) -> StoredOrder:
        return StoredOrder(
            cmd_hash=question.hash,
            state="HELD",
            at_s=now_s,
            type=question.type,
            lender_id=question.lender.lender_id,
            contract_ref=question.order[7],
            mcu_id=question.order[5],
            mcu_key=mcu_key,
            chal=question.order[13],
            maker=people.maker.kid,
            persons=tuple(sorted(people.names)),
            payload=question.payload,
            basis=to_bytes(request.basis or ""),
            part=None,
            rules=(),
            rule=None,
            detail=None,
        )

    def _hold(
        self, at: Transaction, order: StoredOrder, nos: Sequence[No], question: Question, now_s: int
    ) -> Answer:
        """Keep an order unsigned for good, and show it."""
        at.add_order(_held(order, nos))
        return self._desk.answer(at, Event.HELD, question, nos, Verdict.HELD, now_s)


def _with_part(order: StoredOrder, part: tuple[bytes, bytes], rules: Sequence[Rule]) -> StoredOrder:
    return replace(order, state="SIGNED", part=part, rules=tuple(int(rule) for rule in rules))


def _held(order: StoredOrder, nos: Sequence[No]) -> StoredOrder:
    first = min(nos, key=lambda no: no.rule)
    return replace(order, rule=first.rule.name, detail=told(nos))
