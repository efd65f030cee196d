"""The gate: third signature and go token, or a no with rule, fact and the earliest lawful time (R4, B-02).

Rules (§4.4, README §1.6, §1.16, §2.5; C-02, C-12, C-15, C-20, P-06, P-07): the loan system is asked anew at
screen, review and go, with a fresh nonce; then everything is judged at once within one transaction of the
gate's own storage, and what was decided is durable before the answer leaves. The same order asked again gets
the same part, or none while it is frozen. A held order is never signed. What the car itself would refuse is
not signed. Releasing asks for a reason and for nothing else: no notice, no hour, no breaker, no log.

This module reads no HTTP and no file. `Gate` may be called from several threads.

Example:
    >>> Gate(trust=trust, packs=shelf, signer=signer, store=store, loans=loans, forecasts=NoForecast(),
    ...      clock=SystemClock()).review(request).verdict
    <Verdict.SIGNED: 'SIGNED'>
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from backend.gate import breaker
from backend.gate.authority import AuthorityBook, AuthorityRefusedError
from backend.gate.car import car_no, judge_challenge, open_by_car
from backend.gate.clock_watch import ClockWatch
from backend.gate.eligibility import Case, judge
from backend.gate.forms import (
    Answer,
    GoRequest,
    Part,
    ReleaseRequest,
    ReviewRequest,
    ScreenRequest,
    Verdict,
)
from backend.gate.logged import LogRef, Proof, log_ref_of
from backend.gate.pack import GAP_S_MIN, Pack
from backend.gate.people import People, verify_people
from backend.gate.ports import Clock, Forecasts, LoanSystemError, LoanSystems
from backend.gate.records import Records
from backend.gate.rules import FOR_GOOD, HOLDS, No, Rule, earliest, told
from backend.gate.store import GateStore, StoredOrder, Transaction
from backend.gate.trust import Lender, PackShelf, Trust
from protocol import cose_sign, orders_payload
from protocol.base64url import to_bytes, to_text
from protocol.envelope import Kind, Signer
from protocol.errors import ProtocolError
from protocol.loan_facts import (
    FactsQuestion,
    Flag,
    LoanFacts,
    LoanRecord,
    Payment,
    PaymentState,
    Purpose,
    open_loan_facts,
    open_loan_record,
    read_basis,
)
from protocol.orders import (
    OrderSigner,
    OrderType,
    Role,
    SignKind,
    assemble,
    cmd_hash,
    sign_document,
    sign_part,
)
from protocol.orders_authority import is_revoked
from protocol.orders_forms import GO_VERDICT, NO_GO_VERDICT
from protocol.orders_vocabulary import FINAL as _FINAL

_RESTRICTING = (OrderType.LOCK, OrderType.RENEW, OrderType.WARN)
_RELEASING = (OrderType.UNLOCK, OrderType.CANCEL)
_ASK_AGAIN_S = 60  # a loan system that was silent may answer then: silence ends no order for good
_LEASE_S_MAX = 604_800  # README §1.10: after it a car that got a go token is not locked any more
_ALWAYS = (
    *(Rule.FREEZE, Rule.CLOCK, Rule.LENDER, Rule.SIGNERS, Rule.NATURAL_PERSON, Rule.TEN_MINUTES, Rule.LOG),
    *(Rule.CHALLENGE, Rule.CAR, Rule.BASIS, Rule.FACTS, Rule.PACK, Rule.ACTION, Rule.COUNSEL, Rule.DAYS),
    *(Rule.CURRENT, Rule.PAYMENT, Rule.BLOCK, Rule.NOTICE, Rule.EPISODE, Rule.TERMS, Rule.LIFE),
    *(Rule.BREAKER, Rule.MAKER_DAY),
)
PASSED: Mapping[OrderType, tuple[Rule, ...]] = {
    OrderType.LOCK: (*_ALWAYS, Rule.PAPERS, Rule.HOURS),
    OrderType.RENEW: (*_ALWAYS, Rule.PAPERS, Rule.LOCKED_CAR),
    OrderType.WARN: _ALWAYS,
}
"""What was asked of an order that is signed: the attestation lists these."""


class BadRequestError(Exception):
    """The request is not of its form; says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """An order under judgement: payload, fields, and what was asked for it."""

    payload: bytes
    order: Mapping[int, Any]
    lender: Lender
    facts: LoanFacts | None
    nos: tuple[No, ...]

    @property
    def type(self) -> OrderType:
        return OrderType(self.order[3])

    @property
    def hash(self) -> bytes:
        return cmd_hash(self.payload)


class Gate:
    """The policy gate.

    Args:
        trust: whom it believes.
        packs: the jurisdictions' rules.
        signer: its key.
        store: its storage.
        loans: the lenders' loan systems.
        forecasts: the weather.
        clock: the time.
        random: gives nonces; of the operating system.
    """

    def __init__(
        self,
        *,
        trust: Trust,
        packs: PackShelf,
        signer: Signer,
        store: GateStore,
        loans: LoanSystems,
        forecasts: Forecasts,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.trust, self.packs, self.signer, self.store = trust, packs, signer, store
        self.clock, self.random, self._loans, self._forecasts = clock, random, loans, forecasts
        self.book = AuthorityBook(trust.anchors)
        self.records = Records(trust, self.book)
        self._watch = ClockWatch(clock)
        with suppress(AuthorityRefusedError):
            self.book.take("delegation", trust.delegation)  # of the roots that the settings name …
        with store.writing() as at:
            for kind, document in at.authority():
                self.book.take(kind, document)
        self.book.take("delegation", trust.delegation)  # … or of those that followed them
        self._delegation = hashlib.sha256(trust.delegation).digest()
        own = self.book.holder(self._delegation)
        if own.kid != signer.kid or own.role != int(Role.GATE):
            raise BadRequestError("the gate's delegation is of another key, or of another role")
        self._own = (bytes(own.kid), str(own.person))

    @property
    def delegation(self) -> bytes:
        """Hash of the gate's delegation."""
        return self._delegation

    def clock_doubt(self, at: Transaction) -> str | None:
        """Return what is wrong with the clock, or None."""
        return self._watch.doubt(latest_s=at.mark("latest_s"))

    # --- what the backend asks ------------------------------------------------------------------------------

    def screen(self, request: ScreenRequest) -> Answer:
        """Say whether an order would be signed as the loan stands now, and note when its maker had signed."""
        question = self._ask(to_bytes(request.payload), Purpose.SCREEN)
        with self.store.writing() as at:
            now_s, nos = self._begin(at, question)
            people = None
            if request.part is not None and request.delegation is not None:
                self._show(at, [request.delegation], now_s)
                people = self._people(question, [request.part], [(Role.MAKER,)], now_s)
                nos += people.nos
                if not people.nos:
                    self._first_seen(at, question.hash, now_s)
            case = self._case(at, question, to_bytes(request.basis), people, now_s)
            nos += case if isinstance(case, list) else judge(case)
            nos += self._locked_nos(at, question, now_s)
            return self._answer(at, "screened", question, nos, Verdict.ELIGIBLE, now_s)

    def review(self, request: ReviewRequest) -> Answer:
        """Sign an order that people have signed, or say why not."""
        payload = to_bytes(request.payload)
        order_type = self._read(payload)[3]
        if order_type == OrderType.DECOMMISSION:
            return self._review_decommission(request, payload)
        if order_type not in _RESTRICTING:
            raise BadRequestError("the gate reviews LOCK, RENEW, WARN and DECOMMISSION")
        with self.store.writing() as at:
            known = self._known(at, payload)
        if known is not None:
            return known
        question = self._ask(payload, Purpose.REVIEW)
        with self.store.writing() as at:
            return self._known(at, payload) or self._review(at, request, question)

    def go(self, request: GoRequest) -> Answer:
        """Give a go token for an order that waits armed, or say no: for good by a token, for now without."""
        data = to_bytes(request.go_request)
        try:
            _, _, payload, _ = cose_sign.read_sign1(data)
            name = orders_payload.read_document("go-request", payload)[3]
        except ValueError as error:
            raise BadRequestError(f"go request: {error}") from error
        with self.store.writing() as at:
            stored = at.order(name)
        asked = None if stored is None else open_by_car("go-request", data, stored.mcu_key, stored.mcu_id)
        if stored is None or isinstance(asked, str) or asked is None or stored.part is None:
            no = No(
                rule=Rule.SIGNED_ORDER, detail=asked if isinstance(asked, str) else "no order of this gate"
            )
            with self.store.writing() as at:
                return self._refuse(at, "go refused", name, [no], self.clock.now_s())
        question = self._ask(stored.payload, Purpose.GO)
        with self.store.writing() as at:
            fresh = at.order(name)
            assert fresh is not None, "a signed order is never deleted"
            return self._go(at, question, fresh, asked, request.place)

    def release(self, request: ReleaseRequest) -> Answer:
        """Sign an UNLOCK or CANCEL: a payment is reason enough, else the loan system is asked.

        What it releases stays among the releases until the car has said so: the answer may be lost.
        """
        payload = to_bytes(request.payload)
        order = self._read(payload)
        if order[3] not in _RELEASING:
            raise BadRequestError("the gate releases by UNLOCK and CANCEL")
        is_paid = self._payment(order, request.record) is not None
        if not is_paid:
            with self.store.writing() as at:
                is_paid = order[5] in {stored.mcu_id for stored in at.overtaken()}
        question = None if is_paid else self._ask(payload, Purpose.RELEASE)
        with self.store.writing() as at:
            now_s = self.clock.now_s()
            nos = [] if question is None else self._release_nos(at, question)
            if nos:
                return self._refuse(at, "release refused", cmd_hash(payload), nos, now_s)
            part = sign_part(SignKind.COMMAND, payload, self._as_signer())
            at.mark_overtaken(order[4], order[7], now_s)
            at.log(now_s, "release signed", cmd_hash(payload), {"type": OrderType(order[3]).name})
            return self._signed(part, (Rule.LENDER, Rule.RELEASE), {})

    def heard(self, data: bytes, mcu_key: bytes) -> tuple[bool, str]:
        """Take note of a disposition: an order that is over frees its car.

        Raises:
            BadRequestError: not a disposition, or not signed by that key.
        """
        found = open_by_car("disposition", data, mcu_key, hashlib.sha256(mcu_key).digest())
        if isinstance(found, str):
            raise BadRequestError(found)
        with self.store.writing() as at:
            stored = at.order(found[4])
            is_over = found[9] in _FINAL and stored is not None and stored.ended_s is None
            is_over = (
                is_over and stored is not None and (stored.mcu_id, stored.mcu_key) == (found[5], mcu_key)
            )
            if is_over:
                now_s = self.clock.now_s()
                at.mark_ended(at_s=now_s, cmd_hash=found[4])
                at.log(now_s, "order over", found[4], {"state": found[9], "code": found[10]})
            return is_over, "over" if is_over else "noted"

    # --- review ---------------------------------------------------------------------------------------------

    def _review(self, at: Transaction, request: ReviewRequest, question: _Question) -> Answer:
        now_s, nos = self._begin(at, question)
        self._show(at, request.delegations, now_s)
        people = self._people(question, request.parts, [(Role.MAKER, Role.CHECKER)], now_s)
        nos += people.nos
        if request.reason_code is None:
            nos.append(No(rule=Rule.SIGNERS, detail="the checker gave no reason of his own"))
        parts = [_part(part) for part in request.parts]
        case = self._case(at, question, to_bytes(request.basis or ""), people, now_s)
        if isinstance(case, list):
            nos += case
        else:
            nos += judge(case)
            nos += [] if people.nos else self._gap_nos(at, question, case.pack, now_s)
        nos += self._locked_nos(at, question, now_s)
        log_ref = self._log_ref(request, question.payload, parts, now_s)
        challenge = self._challenge(at, request, question)
        nos += [no for no in (log_ref, challenge) if isinstance(no, No)]
        if nos or isinstance(case, list) or isinstance(log_ref, No) or isinstance(challenge, No):
            return self._answer(at, "review refused", question, nos, Verdict.REFUSED, now_s)
        nos, window = self._breaker_nos(at, question, people, now_s)
        limits = {"window": window}
        passed = PASSED[question.type]
        part = sign_part(
            SignKind.COMMAND,
            question.payload,
            self._as_signer(
                log_ref=log_ref, attestation=(case.pack.version, [int(at) for at in passed], window)
            ),
        )
        mcu_key = to_bytes(request.mcu_key or "")
        message = assemble(question.payload, [*parts, part])
        refused = car_no(message, question.order, challenge, mcu_key, book=self.book, now_s=now_s)
        nos += [] if refused is None else [refused]
        kept = self._stored(question, people, request, mcu_key, now_s)
        if any(no.rule in HOLDS for no in nos) and refused is None:
            return self._hold(at, kept, nos, question, now_s)
        if nos:
            return self._answer(at, "review refused", question, nos, Verdict.REFUSED, now_s)
        assert question.facts is not None, "an order without facts is refused above"
        at.add_order(_with_part(kept, part, passed))
        at.add_signers(question.hash, [cose_sign.Signer(*given).delegation for given in parts])
        at.log(
            now_s,
            "signed",
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
        return self._signed(part, passed, limits, facts=question.facts)

    def _review_decommission(self, request: ReviewRequest, payload: bytes) -> Answer:
        """Sign the end of a contract that is paid off, beside the one person who signed it."""
        question = self._ask(payload, Purpose.REVIEW)
        with self.store.writing() as at:
            now_s = self.clock.now_s()
            nos = [*question.nos]
            self._show(at, request.delegations, now_s)
            nos += self._people(question, request.parts, [(Role.MAKER,), (Role.CHECKER,)], now_s).nos
            if question.facts is not None and Flag.PAID_OFF not in question.facts.flags:
                nos.append(No(rule=Rule.RELEASE, detail="the loan is not paid off"))
            if nos:
                return self._refuse(at, "decommission refused", question.hash, nos, now_s)
            part = sign_part(SignKind.COMMAND, payload, self._as_signer())
            at.mark_overtaken(question.lender.lender_id, question.order[7], now_s)
            at.log(now_s, "decommission signed", question.hash, {})
            return self._signed(part, (Rule.LENDER, Rule.SIGNERS, Rule.RELEASE), {}, facts=question.facts)

    def _known(self, at: Transaction, payload: bytes) -> Answer | None:
        """Return what was answered before, for an order that was signed or held; None for any other.

        A freeze holds back a part that was signed already.
        """
        stored = at.order(cmd_hash(payload))
        if stored is None:
            return None
        now_s = self.clock.now_s()
        if stored.part is None:
            no = No(rule=Rule.HELD, detail=f"held before, by {stored.rule}: {stored.detail}")
            return self._refuse(at, "asked again for a held order", stored.cmd_hash, [no], now_s)
        frozen = self.records.freeze_nos(at, self._read(payload))
        if frozen:
            return self._refuse(at, "asked again while frozen", stored.cmd_hash, frozen, now_s)
        if stored.overtaken_s is not None or stored.ended_s is not None:
            no = No(rule=Rule.LIFE, detail="the order is over: it was paid, released or answered since")
            return self._refuse(at, "asked again when over", stored.cmd_hash, [no], now_s)
        at.log(now_s, "asked again", stored.cmd_hash, {})
        return self._signed(stored.part, [Rule(number) for number in stored.rules], {})

    def _gap_nos(self, at: Transaction, question: _Question, pack: Pack, now_s: int) -> list[No]:
        """Ten minutes between the signatures, by the shorter of the wall clock and the monotonic one."""
        seen_s, seen_mono_s, boot = self._first_seen(at, question.hash, now_s)
        elapsed = now_s - seen_s
        if boot == self.clock.boot:
            elapsed = min(elapsed, self.clock.mono_s() - seen_mono_s)
        needed = pack.gap_s if pack.is_demo else max(GAP_S_MIN, pack.gap_s)
        if elapsed >= needed:
            return []
        detail = f"{max(0, elapsed)} s between maker and checker, {needed} s are needed"
        return [No(rule=Rule.TEN_MINUTES, detail=detail, earliest_s=now_s + needed - max(0, elapsed))]

    def _first_seen(self, at: Transaction, name: bytes, now_s: int) -> tuple[int, int, bytes]:
        return at.first_seen(name, at_s=now_s, mono_s=self.clock.mono_s(), boot=self.clock.boot)

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
        return log_ref_of(content, proof, self.trust.log, now_s=now_s)

    def _challenge(self, at: Transaction, request: ReviewRequest, question: _Question) -> dict[int, Any] | No:
        if request.challenge is None or request.mcu_key is None:
            return No(rule=Rule.CHALLENGE, detail="no challenge of the car came with the order")
        if at.is_held_challenge(question.order[13]):
            return No(
                rule=Rule.CHALLENGE, detail="an order for this challenge was held: the car must be asked anew"
            )
        return judge_challenge(question.order, to_bytes(request.challenge), to_bytes(request.mcu_key))

    def _breaker_nos(
        self, at: Transaction, question: _Question, people: People, now_s: int
    ) -> tuple[list[No], int]:
        """Return what the breaker says, and how many orders of this type it counts in the last day."""
        lender_id = question.lender.lender_id
        signed = at.signed_since(lender_id, now_s - breaker.DAY_S)
        nos = breaker.judge(
            question.type,
            signed,
            self.records.limits(at, lender_id, now_s),
            now_s=now_s,
            maker=people.maker.kid,
            maker_day=people.maker.per_day,
            locked=len(at.locked_cars(lender_id, now_s - _LEASE_S_MAX)),
        )
        return nos, sum(1 for order in signed if order.type is question.type)

    def _locked_nos(self, at: Transaction, question: _Question, now_s: int) -> list[No]:
        if question.type is not OrderType.RENEW:
            return []
        if question.order[5] in at.locked_cars(question.lender.lender_id, now_s - _LEASE_S_MAX):
            return []
        return [No(rule=Rule.LOCKED_CAR, detail="this gate knows no lock of this car that could be renewed")]

    def _stored(
        self, question: _Question, people: People, request: ReviewRequest, mcu_key: bytes, now_s: int
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
        self, at: Transaction, order: StoredOrder, nos: Sequence[No], question: _Question, now_s: int
    ) -> Answer:
        """Keep an order unsigned for good, and show it."""
        at.add_order(_held(order, nos))
        return self._answer(at, "held", question, nos, Verdict.HELD, now_s)

    # --- go -------------------------------------------------------------------------------------------------

    def _go(
        self,
        at: Transaction,
        question: _Question,
        stored: StoredOrder,
        asked: Mapping[int, Any],
        place: Sequence[int] | None,
    ) -> Answer:
        now_s, nos = self._begin(at, question)
        if stored.ended_s is not None or stored.type is OrderType.WARN:
            nos.append(No(rule=Rule.LIFE, detail="the order is over, or needs no go token"))
        if stored.overtaken_s is not None:
            nos.append(
                No(rule=Rule.PAYMENT, detail="a payment or a release has come since the order was signed")
            )
        nos += self._revoked_nos(at, stored)
        case = self._case(at, question, stored.basis, None, now_s, persons=frozenset(stored.persons))
        nos += case if isinstance(case, list) else _without_life(judge(case), stored, now_s)
        is_for_good = any(no.rule in FOR_GOOD for no in nos)
        if nos and not is_for_good:
            return self._answer(at, "go refused", question, nos, Verdict.REFUSED, now_s)
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
                9: self._delegation,
            },
            self.signer,
        )
        if nos:
            return self._answer(at, "no go", question, nos, Verdict.NO_GO, now_s, token=token)
        at.mark_gone(stored.cmd_hash, now_s)
        at.log(now_s, "go", stored.cmd_hash, {"facts": facts, "chal2": asked[4]})
        return Answer(
            verdict=Verdict.GO,
            rules=list(stored.rules),
            token=to_text(token),
            delegation=to_text(self.trust.delegation),
            facts=facts.hex(),
        )

    def _revoked_nos(self, at: Transaction, stored: StoredOrder) -> list[No]:
        """Who is revoked stops what he has signed: the car may not have heard of it yet (K-05)."""
        holders = [self.book.holder(digest) for digest in at.signers(stored.cmd_hash)]
        if all(holder is not None and not is_revoked(holder, self.book.roots) for holder in holders):
            return []
        return [No(rule=Rule.SIGNERS, detail="maker or checker was revoked since the order was signed")]

    # --- release --------------------------------------------------------------------------------------------

    def _payment(self, order: Mapping[int, Any], record: str | None) -> LoanRecord | None:
        """Return the payment that is the reason for a release, or None."""
        lender = self.trust.lenders.get(order[4])
        if record is None or lender is None:
            return None
        try:
            found = open_loan_record(to_bytes(record), lender.integration_keys.get)
        except ProtocolError:
            return None
        is_paid = isinstance(found.body, Payment) and found.body.state is PaymentState.POSTED
        return found if is_paid and found.contract_ref == order[7] else None

    def _release_nos(self, at: Transaction, question: _Question) -> list[No]:
        """A release needs a reason: anything that speaks against a lock of this loan is one."""
        if question.facts is None:
            return [*question.nos]
        facts = question.facts
        coming = sum(amount for amount, _ in facts.pending)
        is_wanted = (
            bool(facts.flags)
            or bool(facts.pending)
            or facts.due_minor <= coming
            or bool(self.records.freeze_nos(at, question.order))
        )
        return (
            [] if is_wanted else [No(rule=Rule.RELEASE, detail="the loan system knows no reason to release")]
        )

    # --- shared ---------------------------------------------------------------------------------------------

    def _read(self, payload: bytes) -> dict[int, Any]:
        try:
            order, is_known = orders_payload.read_order(payload)
        except ValueError as error:
            raise BadRequestError(f"payload: {error}") from error
        if not is_known or 4 not in order:  # noqa: PLR2004 - a payload's key, see SPEC §18.1
            raise BadRequestError("payload: no order that a gate judges")
        return dict(order)

    def _ask(self, payload: bytes, purpose: Purpose) -> _Question:
        """Ask the loan system about an order's loan, now; outside of any transaction."""
        order = self._read(payload)
        lender = self.trust.lenders.get(order[4])
        if lender is None:
            unknown = Lender(lender_id=order[4], integration_keys={})
            no = No(rule=Rule.LENDER, detail="this gate does not know the lender")
            return _Question(payload=payload, order=order, lender=unknown, facts=None, nos=(no,))
        question = FactsQuestion(contract_ref=order[7], nonce=self.random(16), purpose=purpose)
        facts = self._facts(lender, question)
        nos = (facts,) if isinstance(facts, No) else ()
        found = None if isinstance(facts, No) else facts
        return _Question(payload=payload, order=order, lender=lender, facts=found, nos=nos)

    def _facts(self, lender: Lender, question: FactsQuestion) -> LoanFacts | No:
        try:
            facts = open_loan_facts(
                self._loans.facts(lender.lender_id, question), lender.integration_keys.get
            )
        except LoanSystemError as error:
            later_s = self.clock.now_s() + _ASK_AGAIN_S
            return No(rule=Rule.FACTS, detail=f"the loan system did not answer: {error}", earliest_s=later_s)
        except ProtocolError as error:
            return No(rule=Rule.FACTS, detail=f"the loan system's answer is none: {error.code}")
        answered = (facts.contract_ref, facts.nonce, facts.purpose)
        if answered != (question.contract_ref, question.nonce, question.purpose):
            return No(rule=Rule.FACTS, detail="the loan system answered another question")
        return facts

    def _begin(self, at: Transaction, question: _Question) -> tuple[int, list[No]]:
        """Return the time, and what stands first: freezes, the clock, the gate's own delegation."""
        now_s = self.clock.now_s()
        nos = [*self.records.freeze_nos(at, question.order), *question.nos]
        doubt = self._watch.doubt(latest_s=at.mark("latest_s"))
        if doubt is not None:
            nos.append(No(rule=Rule.CLOCK, detail=doubt))
        else:
            at.raise_mark("latest_s", now_s)
        if not self.book.is_valid(self.book.holder(self._delegation), Role.GATE, now_s):
            nos.append(No(rule=Rule.SIGNERS, detail="the gate's own delegation is revoked, early or over"))
        return now_s, nos

    def _show(self, at: Transaction, delegations: Sequence[str], now_s: int) -> None:
        """Take the delegations that came with an order; one that is refused leaves its signer unknown."""
        for delegation in delegations:
            data = to_bytes(delegation)
            try:
                self.book.take("delegation", data)
            except AuthorityRefusedError:
                continue
            at.add_authority(hashlib.sha256(data).digest(), kind="delegation", at_s=now_s, document=data)

    def _people(
        self, question: _Question, parts: Sequence[Part], roles: Sequence[tuple[Role, ...]], now_s: int
    ) -> People:
        return verify_people(
            question.order,
            question.payload,
            [_part(part) for part in parts],
            book=self.book,
            own=self._own,
            roles=roles,
            officers=question.lender.officers,
            now_s=now_s,
        )

    def _case(
        self,
        at: Transaction,
        question: _Question,
        basis_data: bytes,
        people: People | None,
        now_s: int,
        *,
        persons: frozenset[str] | None = None,
    ) -> Case | list[No]:
        """Return all that an order is judged by, or what is missing of it."""
        order, facts = question.order, question.facts
        if facts is None:
            return []  # said already: the lender is unknown, or its system did not answer
        opened = self._basis(question, basis_data)
        if isinstance(opened, No):
            return [opened]
        basis_facts, brought = opened
        highest = at.raise_revision(question.lender.lender_id, order[7], facts.revision)
        if facts.revision < highest:
            return [No(rule=Rule.FACTS, detail="the account is older than one this gate has seen")]
        pack = self.packs.find(order[18], now_s=now_s)
        if pack is None:
            return [No(rule=Rule.PACK, detail=f"no pack in force for {order[18]}")]
        known = self.records.of_loan(at, question.lender.lender_id, order[7])
        records = {record.record_id: record for record in (*brought, *known)}
        return Case(
            order=order,
            facts=facts,
            basis=basis_facts,
            records=list(records.values()),
            pack=pack,
            opinion_until_s=self.records.opinion_until(at, order[18], pack),
            persons=persons or (people.names if people is not None else frozenset()),
            now_s=now_s,
            is_go=persons is not None,
        )

    def _basis(self, question: _Question, data: bytes) -> tuple[LoanFacts, list[LoanRecord]] | No:
        """Return what an order rests on: the facts its maker saw, and the records that came with them."""
        order, keys = question.order, question.lender.integration_keys.get
        if hashlib.sha256(data).digest() != order[17]:
            return No(rule=Rule.BASIS, detail="the order names another basis")
        try:
            basis = read_basis(data)
            facts = open_loan_facts(basis.facts, keys)
            brought = [open_loan_record(record, keys) for record in basis.records]
        except ProtocolError as error:
            return No(rule=Rule.BASIS, detail=f"the basis is not of the loan system: {error.code}")
        if {order[7]} != {facts.contract_ref, *(record.contract_ref for record in brought)}:
            return No(rule=Rule.BASIS, detail="the basis is about another contract")
        return facts, brought

    def _as_signer(
        self, *, log_ref: LogRef | None = None, attestation: tuple[int, list[int], int] | None = None
    ) -> OrderSigner:
        return OrderSigner(
            signer=self.signer,
            role=Role.GATE,
            delegation=self._delegation,
            log_ref=log_ref,
            attestation=attestation,
        )

    def _answer(
        self,
        at: Transaction,
        event: str,
        question: _Question,
        nos: Sequence[No],
        otherwise: Verdict,
        now_s: int,
        *,
        token: bytes | None = None,
    ) -> Answer:
        """Journal and return an answer: `otherwise` when nothing speaks against it, or as the no asks."""
        first = sorted(nos, key=lambda no: no.rule)
        facts = None if question.facts is None else question.facts.digest
        at.log(
            now_s, event, question.hash, {"nos": _listed(first), "facts": facts, "token": token is not None}
        )
        if not first:
            return Answer(
                verdict=otherwise,
                rules=[int(rule) for rule in PASSED[question.type]],
                facts=None if facts is None else facts.hex(),
            )
        verdict = otherwise if token is not None or otherwise is Verdict.HELD else _verdict_of(first)
        return _no_answer(verdict, first, facts=facts, token=token, delegation=self.trust.delegation)

    def _refuse(self, at: Transaction, event: str, subject: bytes, nos: Sequence[No], now_s: int) -> Answer:
        first = sorted(nos, key=lambda no: no.rule)
        at.log(now_s, event, subject, {"nos": _listed(first)})
        return _no_answer(_verdict_of(first), first)

    def _signed(
        self,
        part: tuple[bytes, bytes],
        rules: Sequence[Rule],
        limits: dict[str, int],
        *,
        facts: LoanFacts | None = None,
    ) -> Answer:
        return Answer(
            verdict=Verdict.SIGNED,
            rules=[int(rule) for rule in rules],
            part=Part(protected=to_text(part[0]), signature=to_text(part[1])),
            delegation=to_text(self.trust.delegation),
            facts=None if facts is None else facts.digest.hex(),
            limits=limits,
        )


def _without_life(nos: Sequence[No], stored: StoredOrder, now_s: int) -> list[No]:
    """Leave out the order's end where its car may be locked by it: after an emergency window (README §1.11).

    Whether it may lock for the first time is the car's to say, which lets no order outlive its end.
    """
    is_again = stored.type is OrderType.LOCK and stored.gone_s is not None
    if not is_again or now_s >= (stored.gone_s or 0) + _LEASE_S_MAX:
        return list(nos)
    return [no for no in nos if no.rule is not Rule.LIFE]


def _verdict_of(nos: Sequence[No]) -> Verdict:
    """Return HELD where a freeze or a hold of before speaks, REFUSED where only rules do."""
    return Verdict.HELD if any(no.rule in (Rule.FREEZE, Rule.HELD) for no in nos) else Verdict.REFUSED


def _no_answer(
    verdict: Verdict,
    nos: Sequence[No],
    *,
    facts: bytes | None = None,
    token: bytes | None = None,
    delegation: bytes | None = None,
) -> Answer:
    return Answer(
        verdict=verdict,
        rule=nos[0].rule.name,
        detail=told(nos),
        earliest=earliest(nos),
        token=None if token is None else to_text(token),
        delegation=None if token is None or delegation is None else to_text(delegation),
        facts=None if facts is None else facts.hex(),
    )


def _listed(nos: Sequence[No]) -> list[object]:
    return [[int(no.rule), no.detail, no.earliest_s] for no in nos]


def _part(part: Part) -> tuple[bytes, bytes]:
    return to_bytes(part.protected), to_bytes(part.signature)


def _with_part(order: StoredOrder, part: tuple[bytes, bytes], rules: Sequence[Rule]) -> StoredOrder:
    return replace(order, state="SIGNED", part=part, rules=tuple(int(rule) for rule in rules))


def _held(order: StoredOrder, nos: Sequence[No]) -> StoredOrder:
    first = min(nos, key=lambda no: no.rule)
    return replace(order, rule=first.rule.name, detail=told(nos))
