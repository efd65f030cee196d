"""The lender's desk of the lock funnel: notices, officers with office hours, orders, releases.

Rules:
- Officers work `OFFICE` on business days, one decision a maker each ten minutes. A maker signs a WARN from
  the day of the final notice on, so that the car warns while the notice runs, and a LOCK once the gate's
  screen finds the loan eligible and the car has said that it warned twice, the first time as long ago as the
  pack asks. The checker follows at least ten minutes later. What ended unlocked is signed anew, with a fresh
  challenge, when somebody is next at the desk. Nobody signs above the breaker's limit.
- The desk knows of a car what it sent: challenges and dispositions. A payment, posted or on its way, has the
  gate sign an UNLOCK at once when a restricting order is out.

It never looks into a car but for the counter heads, which a batch header carries in life.

Example:
    desk = Desk(world, seed=1)
    case = desk.open_case(car)
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from backend.gate.forms import (
    GoRequest,
    Part,
    ReleaseRequest,
    ReviewRequest,
    ScreenRequest,
    Verdict,
)
from backend.gate.rules import Rule
from device.mcu import brain as link
from protocol import cose_sign, strict_cbor
from protocol.base64url import to_bytes, to_text
from protocol.checker_reasons import CheckerReason
from protocol.loan_facts import BlockEnding, Channel, Delivery, Flag, NoticeType
from protocol.orders import OrderType, SignKind, State, assemble, cmd_hash, encode_order, sign_part
from protocol.orders_vocabulary import ACTIVE, FINAL
from protocol.vectors.orders_story import LENDER_ID
from simulators.lock_funnel_gate import CHECKERS, LOCKS_A_DAY, MAKERS
from simulators.lock_funnel_lives import DAY_S, HOUR_S, MINUTE_S, PaidBy

if TYPE_CHECKING:
    from backend.gate.forms import Answer
    from protocol.dispositions import Disposition
    from simulators.lock_funnel import Funnel
    from simulators.lock_funnel_car import Car

OFFICE = (510, 1_020)  # 08:30 to 17:00
TICK_S = 600
CHECK_S_MIN, CHECK_S_MEAN = (
    605,
    1_500,
)  # the checker comes when ten minutes are over, usually half an hour later
CHALLENGE_AGE_S_MAX = 16 * HOUR_S  # an older one leaves too little of an order's life
ASK_EVERY_S = HOUR_S
ASKS_FROM_MIN = (
    180  # 03:00: the night's list is there, and each car wakes once before the office opens, or nearly
)
AHEAD_S = 2 * HOUR_S
RETRY_S = 4 * HOUR_S  # after a refusal by the screen
NOTICE_FIRST_D, NOTICE_FINAL_D = 1, 8  # days past due at which they are sent
WEBHOOK_S = (0.2, 3.0)  # the loan system tells of a payment
QUEUE_S = (0.1, 1.0)  # the worker takes what the gate signed
NIGHT_MIN = 120  # the night's file at 02:00
DUE = 80_000
LEASE_S, WINDOW_S = 259_200, 86_400


@dataclass(slots=True)
class Sent:
    """An order that people signed."""

    type: OrderType
    name: bytes  # cmd_hash
    signed_s: float
    exp_s: float
    is_over: bool = False
    out_s: float | None = None  # when it left for the car
    ends: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Case:
    """A loan in the funnel: what the desk knows and did, and what became of it."""

    car: Car
    contract: bytes
    episode: bytes
    challenge: tuple[dict[int, Any], bytes, float] | None = None
    asked_s: float = -1e9
    next_try_s: float = 0.0
    heard_s: list[float] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    signatures: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    refused_at: list[tuple[float, str]] = field(default_factory=list)
    go: list[tuple[float, str]] = field(default_factory=list)
    first_lock_s: float | None = None
    first_warn_s: float | None = None
    locked_s: float | None = None
    released_s: float | None = None
    known_paid_s: float | None = None  # when the loan system first knew of any payment, pending ones too
    posted_s: float | None = None
    posted_reachable: bool | None = None
    blocked_s: float | None = None
    unlock_out: bool = False
    is_locked: bool = False  # by the car's own disposition; the file is then with whoever takes payments

    @property
    def is_active(self) -> bool:
        """Whether the car may be ordered at all: one that only measures says so in its challenge."""
        return self.challenge is None or self.challenge[0][9] == ACTIVE

    @property
    def open(self) -> Sent | None:
        """The order that has not ended, as far as the desk knows."""
        return next((sent for sent in reversed(self.sent) if not sent.is_over), None)


class Desk:
    """See the module."""

    def __init__(self, world: Funnel, *, seed: int, is_eager: bool = False) -> None:
        self.world, self.house, self.is_eager = world, world.house, is_eager
        self.rng = random.Random(f"desk {seed}")
        self.cases: dict[bytes, Case] = {}
        self._seen: set[bytes] = set()
        self._locks: list[tuple[float, str]] = []
        self._next = 0

    # --- The file -------------------------------------------------------------------------------------------

    def open_case(self, car: Car) -> Case:
        """Open a loan's file: the loan itself, its notices, and what its borrower will do."""
        contract = sha256(b"contract %d" % car.number).digest()
        case = Case(car, contract, sha256(b"episode %d" % car.number).digest()[:16])
        self.cases[car.key.kid] = case
        life, loans, at = car.life, self.house.loans, self.world.at
        loans.open_loan(contract, due_minor=DUE, due_since_s=life.due_since_s)
        for kind, days in ((NoticeType.FIRST, NOTICE_FIRST_D), (NoticeType.FINAL, NOTICE_FINAL_D)):
            sent_s = life.due_since_s + days * DAY_S + 3 * HOUR_S
            for channel in (Channel.EMAIL, Channel.SMS):
                if channel.name.lower() in life.bounced:
                    self._notice(case, kind, channel, Delivery.BOUNCED, sent_s)
                else:
                    self._notice(case, kind, channel, Delivery.DELIVERED, sent_s + 60)
            letter_s = sent_s + self.rng.uniform(2, 4) * DAY_S
            self._notice(case, kind, Channel.LETTER, Delivery.SERVED, letter_s)
            if len(life.bounced) > 1:
                self._notice(case, kind, Channel.BY_HAND, Delivery.SERVED, letter_s + 3 * DAY_S)
        if life.payment is not None:
            payment = life.payment
            at(payment.at_s, lambda: self.pay(case, payment.by, payment.nights))
        for block in life.blocks:
            at(block.from_s, partial(self._block, case, block.kind, block.until_s))
        return case

    def _notice(self, case: Case, kind: NoticeType, channel: Channel, state: Delivery, at_s: float) -> None:
        def serve() -> None:
            self.house.loans.notice(case.contract, case.episode, channel, state, kind=kind)

        self.world.at(at_s, serve)

    def _block(self, case: Case, kind: str, until_s: int | None) -> None:
        flag = {"promise": Flag.PROMISE, "dispute": Flag.DISPUTE}.get(kind, Flag.BANKRUPTCY)
        block_id, record = self.house.loans.block(
            case.contract,
            flag,
            until_s=until_s if flag is Flag.PROMISE else None,
            document=sha256(b"paper").digest(),
        )
        self.house.take_loan_record(record)
        case.blocked_s = self.world.now_s
        if flag is Flag.DISPUTE and until_s is not None:
            self.world.at(until_s, lambda: self._answered(case, block_id))

    def _answered(self, case: Case, block_id: bytes) -> None:
        record = self.house.loans.end_block(
            case.contract,
            block_id,
            by="person ombuds-1",
            how=BlockEnding.ANSWERED_IN_WRITING,
            document=sha256(b"answer").digest(),
        )
        self.house.take_loan_record(record)

    # --- Money ----------------------------------------------------------------------------------------------

    def pay(self, case: Case, by: PaidBy, nights: int) -> None:
        """All that is due is paid, now or as the way takes."""
        match by:
            case PaidBy.CARD:
                self.credit(case)
            case PaidBy.CHEQUE:
                self.world.at(self._night(1), lambda: self.credit(case))
            case PaidBy.TRANSFER:
                self.pend(case)
                self.world.at(self._night(nights), lambda: self._post(case))

    def _night(self, nights: int) -> float:
        calendar = self.world.calendar
        return calendar.midnight_s(calendar.day_of(self.world.now_s) + nights) + NIGHT_MIN * MINUTE_S

    def pend(self, case: Case) -> None:
        """A payment is on its way, and the loan system knows."""
        self._note_paid(case)
        self._tell(case, self.house.loans.pay(case.contract, DUE, is_posted=False), is_posted=False)

    def credit(self, case: Case) -> None:
        """A payment is posted."""
        self._note_paid(case)
        self._note_posted(case)
        self._tell(case, self.house.loans.pay(case.contract, DUE, is_posted=True), is_posted=True)

    def _post(self, case: Case) -> None:
        self._note_posted(case)
        for record in self.house.loans.post_pending(case.contract):
            self._tell(case, record, is_posted=True)

    def _note_paid(self, case: Case) -> None:
        if case.known_paid_s is None:
            case.known_paid_s = self.world.now_s

    def _note_posted(self, case: Case) -> None:
        if case.posted_s is None:
            case.posted_s = self.world.now_s
            car = case.car
            case.posted_reachable = car.has_signal(self.world.now_s) and not car.life.is_weak

    def _tell(self, case: Case, record: bytes, *, is_posted: bool) -> None:
        """The loan system tells the gate; whoever has an order out is released."""

        def told() -> None:
            self.house.take_loan_record(record)
            if case.open is not None or case.car.locked_s is not None:
                self.world.at(
                    self.world.now_s + self.rng.uniform(*QUEUE_S),
                    lambda: self._release(case, record if is_posted else None),
                )

        self.world.at(self.world.now_s + self.rng.uniform(*WEBHOOK_S), told)

    def _release(self, case: Case, record: bytes | None) -> None:
        """Have the gate sign an UNLOCK, and send it."""
        if case.unlock_out:
            return
        heads = case.car.brain.record.heads
        fields = self._common(case, OrderType.UNLOCK, heads[1] + 1) | {12: None, 13: None, 14: None, 22: None}
        payload = encode_order(fields)
        answer = self.house.gate.release(
            ReleaseRequest(payload=to_text(payload), record=None if record is None else to_text(record))
        )
        if answer.verdict is Verdict.SIGNED and answer.part is not None:
            case.unlock_out = True
            case.car.post(link.ORDER, assemble(payload, [_bytes_of(answer.part)]))

    # --- Officers -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open the office on every day to come."""
        self.world.at(self.world.now_s + 1, self._tick)

    def _tick(self) -> None:
        now_s, calendar = self.world.now_s, self.world.calendar
        day, minute = calendar.day_of(now_s), calendar.minute_of(now_s)
        if calendar.is_business(day) and ASKS_FROM_MIN <= minute < OFFICE[1]:
            if minute >= OFFICE[0]:
                self._ask_ahead()
                self._work()
            else:
                self._ask_all()
            self.world.at(now_s + TICK_S, self._tick)
        else:
            self.world.at(self._opening(now_s) - (OFFICE[0] - ASKS_FROM_MIN) * MINUTE_S, self._tick)

    def _ask_all(self) -> None:
        """Have the backend ask, before the office opens, whatever the night's list names."""
        for case in self.cases.values():
            if self._wants(case) is not None and not self._is_fresh(case):
                self._ask(case)

    def _opening(self, at_s: float) -> float:
        """Return when the office next opens, after a moment at which it is closed."""
        calendar = self.world.calendar
        day = calendar.day_of(at_s)
        if calendar.minute_of(at_s) >= OFFICE[0]:
            day += 1
        while not calendar.is_business(day):
            day += 1
        return calendar.midnight_s(day) + OFFICE[0] * MINUTE_S

    def _ask_ahead(self) -> None:
        """Ask for a challenge where an order is about to end: the box is still awake for it."""
        for case in self.cases.values():
            out = case.open
            is_ending = out is not None and out.exp_s - AHEAD_S < self.world.now_s < out.exp_s
            if is_ending and not case.is_locked and case.posted_s is None and not self._is_fresh(case):
                self._ask(case)

    def _ask(self, case: Case) -> None:
        if self.world.now_s - case.asked_s >= ASK_EVERY_S:
            case.asked_s = self.world.now_s
            case.car.ask()

    def _work(self) -> None:
        """Ask for challenges, then let each maker sign one order: LOCKs first, the oldest loan first."""
        todo = [(kind, case) for case in self.cases.values() if (kind := self._wants(case)) is not None]
        ready = []
        for kind, case in todo:
            if self._is_fresh(case):
                ready.append((kind is not OrderType.LOCK, case.car.life.due_since_s, kind, case))
            else:
                self._ask(case)
        ready.sort(key=lambda row: row[:2])
        left = MAKERS
        for _, _, kind, case in ready:
            if left and (kind is OrderType.WARN or self._has_room()):
                left -= self._make(case, kind)

    def _wants(self, case: Case) -> OrderType | None:
        """Return what a case needs now."""
        now_s, life = self.world.now_s, case.car.life
        out = case.open
        if out is not None and now_s > out.exp_s + 60 and not case.is_locked:
            out.is_over = True  # its life is over, whatever the car says of it later
            out.ends.append("NOT_HEARD")
            out = None
        if (
            not case.is_active
            or case.is_locked
            or case.posted_s is not None
            or out is not None
            or now_s < case.next_try_s
        ):
            return None
        if now_s < life.due_since_s + NOTICE_FINAL_D * DAY_S + 4 * HOUR_S:
            return None
        is_warned = len(case.heard_s) > 1 and now_s - case.heard_s[0] > self.world.calendar.pack.lead_s
        is_run = now_s > life.due_since_s + (NOTICE_FINAL_D + 3) * DAY_S + 3 * HOUR_S + 120
        return OrderType.LOCK if is_run and (is_warned or self.is_eager) else OrderType.WARN

    def _is_fresh(self, case: Case) -> bool:
        return case.challenge is not None and self.world.now_s - case.challenge[2] < CHALLENGE_AGE_S_MAX

    def _has_room(self) -> bool:
        """Return whether the breaker would sign one more; what is on a checker's desk counts."""
        now_s = self.world.now_s
        day = [row for row in self._locks if row[0] > now_s - DAY_S - 2 * HOUR_S]
        hour = sum(1 for row in day if row[0] > now_s - 2 * HOUR_S)
        return len(day) < LOCKS_A_DAY and hour < LOCKS_A_DAY // 4 and self._maker(OrderType.LOCK) is not None

    def _maker(self, kind: OrderType) -> str | None:
        """Return a maker who may sign one more, in turn."""
        now_s = self.world.now_s
        for _ in range(MAKERS):
            self._next = self._next % MAKERS + 1
            name = f"maker-{self._next}"
            mine = sum(1 for at_s, by in self._locks if by == name and at_s > now_s - DAY_S - 2 * HOUR_S)
            if kind is not OrderType.LOCK or mine < 10:  # noqa: PLR2004 - README §1.16: a day and maker
                return name
        return None

    def _make(self, case: Case, kind: OrderType) -> int:
        """Sign as a maker, if the gate's screen finds nothing; return the orders signed."""
        assert case.challenge is not None, "whoever is asked has a fresh one"
        now_s, (challenge, message, _) = self.world.now_s, case.challenge
        basis = self.house.loans.basis(case.contract)
        payload = encode_order(self._order(case, kind, challenge, basis))
        screened = self.house.gate.screen(ScreenRequest(payload=to_text(payload), basis=to_text(basis)))
        if screened.verdict is not Verdict.ELIGIBLE:
            self._refused(case, f"screen {screened.rule}")
            if screened.rule == Rule.EPISODE.name:
                case.next_try_s = float(
                    "inf"
                )  # the episode is over: a new one begins with a new first notice
                return 0
            case.next_try_s = min(
                now_s + RETRY_S, max(now_s + TICK_S, float(screened.earliest or now_s + RETRY_S))
            )
            return 0
        name = self._maker(kind)
        if name is None:
            return 0
        maker = self.house.as_signer(name)
        part = sign_part(SignKind.COMMAND, payload, maker)
        self.house.gate.screen(
            ScreenRequest(
                payload=to_text(payload),
                basis=to_text(basis),
                part=_part(part),
                delegation=to_text(self.house.delegation(name)),
            )
        )
        case.challenge = None
        sent = Sent(kind, cmd_hash(payload), now_s, now_s + DAY_S)
        case.sent.append(sent)
        case.signatures[f"{kind.name} maker"] += 1
        if kind is OrderType.LOCK:
            self._locks.append((now_s, name))
            case.first_lock_s = case.first_lock_s or now_s
        else:
            case.first_warn_s = case.first_warn_s or now_s
        check_s = now_s + CHECK_S_MIN + self.rng.expovariate(1 / CHECK_S_MEAN)
        if self.world.calendar.minute_of(check_s) >= OFFICE[1]:
            check_s = self._opening(check_s) + self.rng.uniform(0, HOUR_S)
        self.world.at(check_s, lambda: self._check(case, sent, payload, basis, (name, part), message))
        return 1

    def _check(
        self,
        case: Case,
        sent: Sent,
        payload: bytes,
        basis: bytes,
        made: tuple[str, tuple[bytes, bytes]],
        message: bytes,
    ) -> None:
        """Sign as a checker, have it logged and judged, and send what the gate signed."""
        if sent.is_over:
            return
        name = f"checker-{self.rng.randint(1, CHECKERS)}"
        parts = [made[1], sign_part(SignKind.COMMAND, payload, self.house.as_signer(name))]
        case.signatures[f"{sent.type.name} checker"] += 1
        answer = self.house.gate.review(
            ReviewRequest(
                payload=to_text(payload),
                parts=[_part(part) for part in parts],
                delegations=[to_text(self.house.delegation(who)) for who in (made[0], name)],
                basis=to_text(basis),
                log=self.house.log.prove(assemble(payload, parts), int(self.world.now_s)),
                challenge=to_text(message),
                mcu_key=to_text(case.car.key.public),
                reason_code=CheckerReason.FILE,
            )
        )
        if answer.verdict is not Verdict.SIGNED or answer.part is None:
            self._refused(case, f"review {answer.rule}")
            sent.is_over = True
            sent.ends.append(f"REFUSED {answer.rule}")
            return
        case.signatures[f"{sent.type.name} gate"] += 1
        order = assemble(payload, [*parts, _bytes_of(answer.part)])
        self.world.at(self.world.now_s + self.rng.uniform(*QUEUE_S), lambda: self._out(case, sent, order))

    def _out(self, case: Case, sent: Sent, order: bytes) -> None:
        sent.out_s = self.world.now_s
        case.car.post(link.ORDER, order)

    def _common(self, case: Case, kind: OrderType, ctr: int) -> dict[int, object]:
        record = case.car.brain.record
        return self.binding(case.car) | {
            1: 1, 2: self.rng.randbytes(16), 3: int(kind), 5: case.car.key.kid, 8: record.epoch, 9: ctr,
            10: int(self.world.now_s),
        }  # fmt: skip

    def _order(
        self, case: Case, kind: OrderType, challenge: dict[int, Any], basis: bytes
    ) -> dict[int, object]:
        now_s, pack = int(self.world.now_s), self.world.calendar.pack
        fields = self._common(case, kind, challenge[6][0] + 1) | {
            11: now_s,
            12: now_s + DAY_S,
            13: challenge[4],
            14: challenge[5] + DAY_S,
            15: LEASE_S,
            16: 1,
            17: sha256(basis).digest(),
            18: pack.jur,
            19: {1: 0},
            20: {1: pack.lead_s, 2: 1},
            21: challenge[7],
            22: None,
            23: {1: 3, 2: max(WINDOW_S, pack.override_s)},
            24: case.episode,
        }
        absent = (15, 19, 23) if kind is OrderType.WARN else ()
        return {key: value for key, value in fields.items() if key not in absent}

    def binding(self, car: Car) -> dict[int, object]:
        """Return lender_id, vin_bind and contract_ref."""
        contract = self.cases[car.key.kid].contract
        return {4: LENDER_ID, 6: sha256(b"vin" + contract).digest(), 7: contract}

    def _refused(self, case: Case, what: str) -> None:
        case.refusals[what] += 1
        case.refused_at.append((self.world.now_s, what))

    # --- What cars say --------------------------------------------------------------------------------------

    def challenge_came(self, car: Car, message: bytes) -> None:
        """Keep a challenge for the next order."""
        fields = strict_cbor.loads(cose_sign.read_sign1(message)[2])
        opened_s = self.world.now_s - (car.brain.tick - fields[5])
        self.cases[car.key.kid].challenge = (fields, message, opened_s)

    def disposition_came(self, car: Car, message: bytes, found: Disposition) -> None:
        """Note what became of an order."""
        name = sha256(message).digest()
        if name in self._seen:
            return
        self._seen.add(name)
        case = self.cases[car.key.kid]
        sent = next((sent for sent in case.sent if sent.name == found.cmd_hash), None)
        if sent is not None:
            self.house.gate.heard(message, car.key.public)
            case.is_locked |= found.state is State.LOCKED
            if found.state is State.WARNING:
                case.heard_s.append(self.world.now_s)
            if found.state in FINAL:
                sent.is_over = True
                sent.ends.append(f"{found.state.name} {found.code.name}")

    def go_asked(self, car: Car, message: bytes) -> bytes | None:
        """Have the gate answer a go request."""
        answer: Answer = self.house.gate.go(GoRequest(go_request=to_text(message), place=list(car.where())))
        case = self.cases[car.key.kid]
        case.go.append((self.world.now_s, answer.verdict.value))
        if answer.verdict is not Verdict.GO:
            self._refused(case, f"go {answer.rule}")
        return None if answer.token is None else to_bytes(answer.token)

    def document(self, digest: bytes) -> bytes | None:
        """Return a delegation."""
        return self.house.documents.get(digest)

    def refused(self, car: Car, order: bytes, word: str) -> None:
        """Note that a car gave no signed answer."""
        case = self.cases[car.key.kid]
        name = cmd_hash(cose_sign.read_sign(order)[0])
        for sent in case.sent:
            if sent.name == name:
                sent.is_over = True
                sent.ends.append(f"LINK {word}")


def _part(part: tuple[bytes, bytes]) -> Part:
    return Part(protected=to_text(part[0]), signature=to_text(part[1]))


def _bytes_of(part: Part) -> tuple[bytes, bytes]:
    return to_bytes(part.protected), to_bytes(part.signature)
