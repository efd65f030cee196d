"""The worker moves orders on: screened, logged, reviewed by the gate, queued; paid ones released; go tokens.

Rules (C-02, C-12, C-15, C-20; README §2.5, §2.17):
- Each round looks at what is due and moves each order one step. All that it knows stands in the database, so
  a crash at any point loses nothing: the next round asks again, and the gate answers a repeat alike.
- The gate is asked outside any transaction; its answer is applied only to an order that still stands where it
  stood: who withdrew or unlocked meanwhile wins, and the gate's signature is thrown away.
- Log before act: the leaf and the step to AWAITING_GATE share a transaction; without the log nothing
  restrictive moves. A part by the gate is verified like any other.
- A release that the gate signs goes out in the same round. Payments are looked for in every round.
- A gate or a log that does not answer is asked again with a growing pause; restrictive orders then wait until
  their life ends.

Example:
    >>> driver = OrderDriver(database=database, gate=gate, publish=lambda now_us: publish(...))
    >>> driver.round(now_us=utc_us())
    Counter({'order_logged': 1})
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from backend import ledger
from backend.domain.order_checks import ReadOrder, ReadPart, judge_roles, read_part, read_payload
from backend.domain.order_flow import (
    BEFORE_SENDING,
    DRIVEN,
    Stage,
    Step,
    ask_again_after_s,
    is_restrictive,
    may,
    needs_gate,
)
from backend.domain.refusal import Refusal
from backend.ledger.log import LedgerError
from backend.store.authority import list_documents
from backend.store.contention import in_transaction
from backend.store.dispositions import list_untold
from backend.store.mcus import Mcu, find_mcu_by_id, locate_mcu
from backend.store.order_outbox import GoQuestion, is_killed, list_due_go
from backend.store.orders import (
    GateAnswer,
    Order,
    counters_used,
    list_due,
    list_expiring,
    list_parts,
    locate_order,
    locate_order_by_hash,
)
from backend.usecases.authority_documents import load_roots
from backend.usecases.gate_port import GateAwayError, GatePart, GateSaid, LogPlace
from backend.usecases.order_steps import note_stage, overtake, take_step
from backend.usecases.repeat_request import forget_old
from backend.usecases.request_order import make_whole, queue_single, store_part
from backend.usecases.take_answers import is_go_open, send_token
from protocol import orders_payload
from protocol.limits import ORDERS_DRIVEN_MAX
from protocol.orders import OrderType, Role, State, assemble, encode_order
from protocol.orders_vocabulary import CLASS_B

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlmodel import Session

    from backend.store.database import Database
    from backend.store.orders import OrderPart
    from backend.usecases.gate_port import Gate, PaidOrder

LOG = logging.getLogger(__name__)

_SECOND_US: Final = 1_000_000
_GATE_KEY: Final = "gate"
"""Stands where an API key would: nobody brought this over the API."""


@dataclass(slots=True, kw_only=True)
class OrderDriver:
    """One worker over one database.

    Attributes:
        database: Where the orders are.
        gate: Whom to ask.
        publish: Makes and publishes a checkpoint of everything committed; raises `LedgerError` or
            `DBAPIError` when the log does not work.
    """

    database: Database
    gate: Gate
    publish: Callable[[int], ledger.SignedCheckpoint]

    def round(self, *, now_us: int) -> Counter[str]:
        """Do what is due now; return what was done, by name.

        Raises:
            OperationalError: The database does not answer.
        """
        counts: Counter[str] = Counter()
        self._end_lives(counts, now_us=now_us)
        self._release_paid(counts, now_us=now_us)
        self._tell_gate(counts)
        with self.database.reading() as session:
            due = list_due(session, now_us=now_us, limit=ORDERS_DRIVEN_MAX)
        for cmd_id in due:
            self._drive(cmd_id, counts, now_us=now_us)
        self._fetch_tokens(counts, now_us=now_us)
        with self.database.writing() as session:
            in_transaction(session, lambda: forget_old(session, now_us=now_us))
        return counts

    # --- lives that end ---

    def _end_lives(self, counts: Counter[str], *, now_us: int) -> None:
        stages = {*BEFORE_SENDING, Stage.SENT}
        with self.database.reading() as session:
            over = list_expiring(session, now_us=now_us, stages=stages, limit=ORDERS_DRIVEN_MAX)
        for cmd_id in over:

            def end(session: Session, order: Order) -> None:
                if may(Stage(order.stage), Step.LIFE_ENDED):
                    take_step(session, order, Step.LIFE_ENDED, why="not-after has passed", now_us=now_us)
                    counts["order_expired"] += 1

            self._change(cmd_id, end)

    # --- one order ---

    def _drive(self, cmd_id: str, counts: Counter[str], *, now_us: int) -> None:
        with self.database.reading() as session:
            order = locate_order(session, cmd_id=cmd_id)
            assert order is not None, "orders are never deleted"
            if is_restrictive(order.type) and is_killed(session, org_id=order.org_id):
                return
            case = _Case.of(session, order)
        try:
            match Stage(order.stage):
                case Stage.AWAITING_CHECKER:
                    self._screen(case, counts, now_us=now_us)
                case Stage.AWAITING_LOG:
                    self._log(case, counts, now_us=now_us)
                case Stage.AWAITING_GATE:
                    self._review(case, counts, now_us=now_us)
                case _:
                    return  # it moved on since the list was made
        except GateAwayError as away:
            counts["gate_away"] += 1
            LOG.warning("gate does not answer cmd_id=%s cause=%s", cmd_id, away)
            self._put_off(case, now_us=now_us)
        except (LedgerError, DBAPIError) as down:
            counts["ledger_away"] += 1
            LOG.warning("ledger does not take an order cmd_id=%s cause=%s", cmd_id, type(down).__name__)
            self._put_off(case, now_us=now_us)

    def _screen(self, case: _Case, counts: Counter[str], *, now_us: int) -> None:
        """Show the maker's order to the gate once, before the checker looks."""
        if case.order.is_screened or case.order.basis is None or not needs_gate(case.order.type):
            self._sleep(case)
            return
        said = self.gate.screen(
            payload=case.order.payload, basis=case.order.basis, part=case.parts[Role.MAKER]
        )
        counts[f"gate_{said.verdict.lower()}"] += 1

        def apply(session: Session, order: Order) -> None:
            order.is_screened = True
            order.due_us, order.attempts = order.expires_us or now_us, 0
            _note_answer(session, order, "screen", said, now_us=now_us)
            if said.verdict == "HELD":
                take_step(session, order, Step.GATE_HELD, why=_why(said), now_us=now_us)
            elif said.verdict == "REFUSED" and said.earliest_s is None:
                take_step(session, order, Step.GATE_REFUSED, why=_why(said), now_us=now_us)
            session.add(order)

        self._change(case.order.cmd_id, apply, stages={Stage.AWAITING_CHECKER})

    def _log(self, case: _Case, counts: Counter[str], *, now_us: int) -> None:
        """Enter the two-signed order, and move it on, in one transaction."""

        def enter(session: Session, order: Order) -> None:
            parts = list_parts(session, order_no=order.order_no or 0)
            content = assemble(order.payload, [(part.protected, part.signature) for part in parts])
            order.due_us, order.attempts = now_us, 0
            if needs_gate(order.type):
                take_step(session, order, Step.LOGGED, why="entered in the log", now_us=now_us)
            else:
                make_whole(session, order)
                take_step(session, order, Step.COMPLETE, why="entered in the log", now_us=now_us)
            ref = ledger.append(
                session,
                ledger.LeafType.ORDER,
                content,
                at_us=now_us,
                org_id=order.org_id,
                device_id=order.device_id,
            )
            order.leaf_index, order.leaf_salt = ref.index, ref.salt
            session.add(order)
            session.flush()

        if self._change(case.order.cmd_id, enter, stages={Stage.AWAITING_LOG}):
            counts["order_logged"] += 1

    def _review(self, case: _Case, counts: Counter[str], *, now_us: int) -> None:
        """Ask the gate for its signature, with the proof that the order stands in the log."""
        order = case.order
        place = None
        if is_restrictive(order.type):
            place = self._proof(order, now_us=now_us)
        said = self.gate.review(
            payload=order.payload,
            parts=list(case.parts.values()),
            basis=order.basis,
            log=place,
            challenge=order.challenge,
            mcu_key=case.mcu.cose_key,
            reason_code=None,
        )
        counts[f"gate_{said.verdict.lower()}"] += 1

        def apply(session: Session, order: Order) -> None:
            order.attempts = 0
            _note_answer(session, order, "review", said, now_us=now_us)
            if said.verdict == "SIGNED" and said.part is not None:
                self._sign(session, order, said.part, counts, now_us=now_us)
            elif said.verdict == "HELD":
                take_step(session, order, Step.GATE_HELD, why=_why(said), now_us=now_us)
            elif said.earliest_s is None or _is_too_late(order, said.earliest_s):
                take_step(session, order, Step.GATE_REFUSED, why=_why(said), now_us=now_us)
            else:
                take_step(session, order, Step.GATE_LATER, why=_why(said), now_us=now_us)
                order.due_us = max(said.earliest_s * _SECOND_US, now_us + _SECOND_US)
            session.add(order)

        if not self._change(order.cmd_id, apply, stages={Stage.AWAITING_GATE}):
            counts["gate_too_late"] += 1

    def _sign(
        self, session: Session, order: Order, part: GatePart, counts: Counter[str], *, now_us: int
    ) -> None:
        """Take the gate's part, verified like any other, and queue the whole order."""
        mcu = locate_mcu(session, device_id=order.device_id)
        assert mcu is not None, "it was registered when the order was stored"
        read = _verified(session, order, mcu, part, now_us=now_us)
        if isinstance(read, Refusal):
            counts["gate_part_refused"] += 1
            LOG.error("the gate's part does not hold cmd_id=%s cause=%s", order.cmd_id, read.detail)
            order.due_us = now_us + ask_again_after_s(6) * _SECOND_US
            return
        store_part(
            session,
            order,
            read,
            delegation=part.delegation,
            key_id=None,
            reason_code=None,
            now_us=now_us,
        )
        make_whole(session, order)
        take_step(session, order, Step.GATE_SIGNED, why="signed by the gate", now_us=now_us)
        counts["order_queued"] += 1

    def _proof(self, order: Order, *, now_us: int) -> LogPlace:
        """Return where the order stands in the log, by a checkpoint that has it."""
        assert order.leaf_index is not None, "what awaits the gate is in the log"
        assert order.leaf_salt is not None, "what awaits the gate is in the log"
        with self.database.reading() as session:
            found = ledger.first_checkpoint_with(session, order.leaf_index)
        if found is None:
            found = self.publish(now_us)
        with self.database.reading() as session:
            proof = ledger.prove_inclusion(session, order.leaf_index, found.size)
        return LogPlace(
            checkpoint=found.note, index=order.leaf_index, salt=order.leaf_salt, proof=tuple(proof)
        )

    # --- payments ---

    def _release_paid(self, counts: Counter[str], *, now_us: int) -> None:
        """Let the gate sign an UNLOCK for each order that a payment has overtaken."""
        try:
            for paid in self.gate.releases():
                self._release(paid, counts, now_us=now_us)
        except GateAwayError as away:
            counts["gate_away"] += 1
            LOG.warning("gate does not answer about releases cause=%s", away)

    def _release(self, paid: PaidOrder, counts: Counter[str], *, now_us: int) -> None:
        with self.database.reading() as session:
            mcu = find_mcu_by_id(session, mcu_id=paid.mcu_id.hex())
            order = mcu and locate_order_by_hash(session, device_id=mcu.device_id, cmd_hash=paid.cmd_hash)
            if mcu is None or not order or _is_released(session, order):
                return
            payload = _unlock_payload(session, mcu, now_s=now_us // _SECOND_US)
        said = self.gate.release(payload=payload)
        counts[f"release_{said.verdict.lower()}"] += 1
        if said.verdict != "SIGNED" or said.part is None:
            return
        part = said.part

        def store() -> None:
            if self._store_release(session, mcu, payload, part, now_us=now_us):
                counts["release_queued"] += 1

        with self.database.writing() as session:
            in_transaction(session, store)

    def _store_release(
        self, session: Session, mcu: Mcu, payload: bytes, part: GatePart, *, now_us: int
    ) -> bool:
        locate_mcu(session, device_id=mcu.device_id, lock=True)
        read = read_payload(payload)
        assert isinstance(read, ReadOrder), "we wrote it"
        order = Order(
            org_id=mcu.org_id,
            device_id=mcu.device_id,
            cmd_id=read.cmd_id,
            order_type=int(read.type),
            cmd_hash=read.cmd_hash,
            payload=payload,
            stage=Stage.QUEUED,
            holds_slot=False,
            requested_by=_GATE_KEY,
            due_us=now_us,
            created_us=now_us,
        )
        verified = _verified(session, order, mcu, part, now_us=now_us)
        if isinstance(verified, Refusal):
            LOG.error("the gate's release does not hold cmd_id=%s cause=%s", read.cmd_id, verified.detail)
            return False
        overtake(session, by=order, now_us=now_us)
        session.add(order)
        session.flush()
        store_part(
            session,
            order,
            verified,
            delegation=part.delegation,
            key_id=None,
            reason_code=None,
            now_us=now_us,
        )
        note_stage(session, order, why="signed by the gate: a payment was posted", now_us=now_us)
        queue_single(session, order, now_us=now_us)
        return True

    # --- go tokens, and what the gate is told ---

    def _fetch_tokens(self, counts: Counter[str], *, now_us: int) -> None:
        with self.database.reading() as session:
            asked = list_due_go(session, now_us=now_us, limit=ORDERS_DRIVEN_MAX)
            open_now = [item for item in asked if _is_open(session, item)]
        for item in asked:
            said = None
            if item in open_now:
                try:
                    said = self.gate.go(go_request=item.document)
                except GateAwayError as away:
                    counts["gate_away"] += 1
                    LOG.warning("gate does not answer a go request cause=%s", away)
                    self._note_go(item, None, is_away=True, now_us=now_us)
                    continue
            counts["go_dropped" if said is None else f"go_{said.verdict.lower()}"] += 1
            self._note_go(item, said, is_away=False, now_us=now_us)

    def _note_go(self, item: GoQuestion, said: GateSaid | None, *, is_away: bool, now_us: int) -> None:
        """Keep the gate's answer and queue the token, if the order is still open: an UNLOCK may have come."""

        def note() -> None:
            locate_mcu(session, device_id=item.device_id, lock=True)
            row = session.get(GoQuestion, item.item_no)
            if row is None:
                return
            row.attempts += 1
            row.due_us = now_us + ask_again_after_s(row.attempts) * _SECOND_US if is_away else None
            if said is not None:
                row.verdict, row.token = said.verdict, said.token
                if said.token is not None and _is_open(session, row):
                    entry = ledger.Entry(
                        leaf_type=ledger.LeafType.GO,
                        content=said.token,
                        org_id=row.org_id,
                        device_id=row.device_id,
                    )
                    ledger.append_all(session, [entry], at_us=now_us)
                    send_token(session, row, now_us=now_us)
            session.add(row)
            session.flush()

        with self.database.writing() as session:
            in_transaction(session, note)

    def _tell_gate(self, counts: Counter[str]) -> None:
        """Tell the gate what cars said: it counts acceptances and locks."""
        with self.database.reading() as session:
            untold = list_untold(session, limit=ORDERS_DRIVEN_MAX)
            keys = {row.mcu_id: find_mcu_by_id(session, mcu_id=row.mcu_id) for row in untold}
        for row in untold:
            mcu = keys[row.mcu_id]
            if mcu is not None:
                try:
                    self.gate.disposition(document=row.document, mcu_key=mcu.cose_key)
                except GateAwayError as away:
                    counts["gate_away"] += 1
                    LOG.warning("gate does not take dispositions cause=%s", away)
                    return
            with self.database.writing() as session, session.begin():
                row.is_told = True
                session.merge(row)
            counts["gate_told"] += 1

    # --- shared ---

    def _change(
        self,
        cmd_id: str,
        work: Callable[[Session, Order], None],
        *,
        stages: set[Stage] | None = None,
    ) -> bool:
        """Do work on an order, its vehicle locked, if it still stands in one of the stages."""

        def do() -> bool:
            order = locate_order(session, cmd_id=cmd_id)
            assert order is not None, "orders are never deleted"
            locate_mcu(session, device_id=order.device_id, lock=True)
            session.refresh(order)
            if stages is not None and Stage(order.stage) not in stages:
                return False
            work(session, order)
            session.flush()
            return True

        with self.database.writing() as session:
            return in_transaction(session, do)

    def _put_off(self, case: _Case, *, now_us: int) -> None:
        def later(session: Session, order: Order) -> None:
            order.attempts += 1
            order.due_us = now_us + ask_again_after_s(order.attempts) * _SECOND_US
            session.add(order)

        self._change(case.order.cmd_id, later, stages=set(DRIVEN))

    def _sleep(self, case: _Case) -> None:
        """An order that waits for a person is not looked at again before its life ends."""

        def rest(session: Session, order: Order) -> None:
            order.due_us = order.expires_us or order.due_us + 86_400 * _SECOND_US
            session.add(order)

        self._change(case.order.cmd_id, rest, stages={Stage.AWAITING_CHECKER})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """An order as it is brought before the gate."""

    order: Order
    mcu: Mcu
    parts: dict[Role, GatePart]

    @classmethod
    def of(cls, session: Session, order: Order) -> _Case:
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
        )


def documents_of(session: Session, order: Order, digests: list[str]) -> dict[str, bytes]:
    """Return the delegations that an order's parts name."""
    return {
        digest: row.document
        for digest, row in list_documents(session, org_id=order.org_id, digests=digests).items()
    }


def _verified(session: Session, order: Order, mcu: Mcu, part: GatePart, *, now_us: int) -> ReadPart | Refusal:
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


def _is_open(session: Session, item: GoQuestion) -> bool:
    order = locate_order_by_hash(session, device_id=item.device_id, cmd_hash=item.cmd_hash)
    return order is not None and is_go_open(session, order)


def _is_released(session: Session, order: Order) -> bool:
    """Return whether a release for this order is on its way already, and not refused by the car."""
    if order.overtaken_by is None:
        return False
    by = locate_order(session, cmd_id=order.overtaken_by)
    return by is not None and by.in_car is not State.REJECTED


def _unlock_payload(session: Session, mcu: Mcu, *, now_s: int) -> bytes:
    """Write an UNLOCK for the gate to sign: counter above every one that is known."""
    highest = mcu.heads[CLASS_B]
    for order_type, payload in counters_used(session, device_id=mcu.device_id):
        fields = orders_payload.read_order(payload)[0]
        if order_type in {OrderType.UNLOCK, OrderType.CANCEL, OrderType.DECOMMISSION}:
            highest = max(highest, fields[9] if fields[8] == mcu.epoch else 0)
    return encode_order(
        {
            1: 1,
            2: _uuid7(now_s),
            3: int(OrderType.UNLOCK),
            4: mcu.lender_id,
            5: bytes.fromhex(mcu.mcu_id),
            6: mcu.vin_bind,
            7: mcu.contract_ref,
            8: mcu.epoch,
            9: highest + 1,
            10: now_s,
            12: None,
            13: None,
            14: None,
            22: None,
        }
    )


def _uuid7(now_s: int) -> bytes:
    """Return a UUIDv7 (RFC 9562 §5.7)."""
    data = bytearray((now_s * 1_000).to_bytes(6, "big") + secrets.token_bytes(10))
    data[6] = 0x70 | (data[6] & 0x0F)
    data[8] = 0x80 | (data[8] & 0x3F)
    return bytes(data)


def _note_answer(session: Session, order: Order, question: str, said: GateSaid, *, now_us: int) -> None:
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


def _is_too_late(order: Order, earliest_s: int) -> bool:
    """Return whether an order's life ends before the gate may say yes."""
    return order.expires_us is not None and earliest_s * _SECOND_US >= order.expires_us


def _why(said: GateSaid) -> str:
    return f"{said.rule or said.verdict}: {said.detail}"[:200]
