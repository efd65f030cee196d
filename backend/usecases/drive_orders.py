"""The worker moves orders on: screened, logged, witnessed, reviewed by the gate, queued.

Rules (C-02, C-12, C-15, C-20; README §2.5, §2.17):
- Each round looks at what is due and moves each order one step. All that it knows stands in the database, so
  a crash at any point loses nothing: the next round asks again, and the gate answers a repeat alike.
- The gate is asked outside any transaction; its answer is applied only to an order that still stands where it
  stood: who withdrew or unlocked meanwhile wins, and the gate's signature is thrown away.
- Log before act: the leaf and the step to AWAITING_GATE share a transaction; without the log, or without a
  cosignature where witnesses are configured, nothing restrictive moves.
- A part by the gate is verified like any other.
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
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from backend import ledger
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
from backend.store.contention import in_transaction
from backend.store.mcus import locate_mcu
from backend.store.order_outbox import is_killed
from backend.store.orders import (
    Order,
    list_due,
    list_expiring,
    list_parts,
    locate_order,
)
from backend.usecases.fetch_tokens import fetch_tokens, tell_gate
from backend.usecases.gate_case import GateCase, is_too_late, note_answer, verified_part, why_of
from backend.usecases.gate_port import GateAwayError, GatePart, LogPlace
from backend.usecases.order_steps import take_step
from backend.usecases.release_paid import release_paid
from backend.usecases.repeat_request import forget_old
from backend.usecases.request_order import enter_release, make_whole, store_part
from backend.usecases.tell_commissionings import tell_commissionings
from protocol.limits import ORDERS_DRIVEN_MAX
from protocol.orders import Role, assemble

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlmodel import Session

    from backend.store.database import Database
    from backend.usecases.gate_port import Gate

LOG = logging.getLogger(__name__)

RELEASE_EVERY_S: Final = 2.0
"""Seconds after which payments are looked for again within a round, which asks the gate 15 s at a time."""

_SECOND_US: Final = 1_000_000


@dataclass(slots=True, kw_only=True)
class OrderDriver:
    """One worker over one database.

    Attributes:
        database: Where the orders are.
        gate: Whom to ask.
        publish: Makes and publishes a checkpoint of everything committed; raises `LedgerError` or
            `DBAPIError` when the log does not work.
        witnessed_min: Cosignatures that a checkpoint must have before the gate is asked (README §2.5): one
            where witnesses are configured, none in a demonstration without.
    """

    database: Database
    gate: Gate
    publish: Callable[[int], ledger.SignedCheckpoint]
    witnessed_min: int = 0
    _looked_s: float = 0.0

    def round(self, *, now_us: int) -> Counter[str]:
        """Do what is due now; return what was done, by name.

        Raises:
            OperationalError: The database does not answer.
        """
        counts: Counter[str] = Counter()

        def release() -> None:
            """Look for payments again when the last look is a while ago: a slow gate delays no release."""
            if time.monotonic() - self._looked_s >= RELEASE_EVERY_S:
                release_paid(self.database, self.gate, counts, now_us=now_us)
                self._looked_s = time.monotonic()

        release_paid(self.database, self.gate, counts, now_us=now_us)
        self._looked_s = time.monotonic()
        self._end_lives(counts, now_us=now_us)
        tell_gate(self.database, self.gate, counts)
        tell_commissionings(self.database, self.gate, counts, now_us=now_us)
        with self.database.reading() as session:
            due = list_due(session, now_us=now_us, limit=ORDERS_DRIVEN_MAX)
        for cmd_id in due:
            release()
            try:
                self._drive(cmd_id, counts, now_us=now_us)
            except DBAPIError:
                raise
            except Exception:
                LOG.exception("an order cannot be driven cmd_id=%s", cmd_id)
                counts["order_failed"] += 1
                self._put_off(cmd_id, now_us=now_us)  # the others go on
        fetch_tokens(self.database, self.gate, counts, now_us=now_us, between=release)
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
            is_kept = is_restrictive(order.type) and is_killed(session, org_id=order.org_id)
            case = None if is_kept else GateCase.of(session, order)
        if case is None:  # looked at later: one organisation's orders stand in no other's way
            self._put_off(cmd_id, now_us=now_us)
            return
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
            self._put_off(cmd_id, now_us=now_us)
        except (LedgerError, DBAPIError) as down:
            counts["ledger_away"] += 1
            LOG.warning("ledger does not take an order cmd_id=%s cause=%s", cmd_id, type(down).__name__)
            self._put_off(cmd_id, now_us=now_us)

    def _screen(self, case: GateCase, counts: Counter[str], *, now_us: int) -> None:
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
            note_answer(session, order, "screen", said, now_us=now_us)
            if said.verdict == "HELD":
                take_step(session, order, Step.GATE_HELD, why=why_of(said), now_us=now_us)
            elif said.verdict == "REFUSED" and said.earliest_s is None:
                take_step(session, order, Step.GATE_REFUSED, why=why_of(said), now_us=now_us)
            session.add(order)

        self._change(case.order.cmd_id, apply, stages={Stage.AWAITING_CHECKER})

    def _log(self, case: GateCase, counts: Counter[str], *, now_us: int) -> None:
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

    def _review(self, case: GateCase, counts: Counter[str], *, now_us: int) -> None:
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
            reason_code=case.reason,
        )
        counts[f"gate_{said.verdict.lower()}"] += 1

        def apply(session: Session, order: Order) -> None:
            order.attempts = 0
            note_answer(session, order, "review", said, now_us=now_us)
            if said.verdict == "SIGNED" and said.part is not None:
                self._sign(session, order, said.part, counts, now_us=now_us)
            elif said.verdict == "HELD":
                take_step(session, order, Step.GATE_HELD, why=why_of(said), now_us=now_us)
            elif said.earliest_s is None or is_too_late(order, said.earliest_s):
                take_step(session, order, Step.GATE_REFUSED, why=why_of(said), now_us=now_us)
            else:
                take_step(session, order, Step.GATE_LATER, why=why_of(said), now_us=now_us)
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
        read = verified_part(session, order, mcu, part, now_us=now_us)
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
        message = make_whole(session, order)
        take_step(session, order, Step.GATE_SIGNED, why="signed by the gate", now_us=now_us)
        if order.leaf_index is None:  # a DECOMMISSION: it releases, so it never waits for the log
            enter_release(session, order, message, now_us=now_us)
        counts["order_queued"] += 1

    def _proof(self, order: Order, *, now_us: int) -> LogPlace:
        """Return where the order stands in the log, by a checkpoint that has it."""
        assert order.leaf_index is not None, "what awaits the gate is in the log"
        assert order.leaf_salt is not None, "what awaits the gate is in the log"
        with self.database.reading() as session:
            found = ledger.first_checkpoint_with(session, order.leaf_index, witnessed_min=self.witnessed_min)
        if found is None:
            found = self.publish(now_us)
        if found.witnessed < self.witnessed_min:
            raise LedgerError(what=f"no witness has cosigned the log at {found.size} leaves yet")
        with self.database.reading() as session:
            proof = ledger.prove_inclusion(session, order.leaf_index, found.size)
        return LogPlace(
            checkpoint=found.note, index=order.leaf_index, salt=order.leaf_salt, proof=tuple(proof)
        )

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

    def _put_off(self, cmd_id: str, *, now_us: int) -> None:
        def later(session: Session, order: Order) -> None:
            order.attempts += 1
            order.due_us = now_us + ask_again_after_s(order.attempts) * _SECOND_US
            session.add(order)

        self._change(cmd_id, later, stages=set(DRIVEN))

    def _sleep(self, case: GateCase) -> None:
        """An order that waits for a person is not looked at again before its life ends."""

        def rest(session: Session, order: Order) -> None:
            order.due_us = order.expires_us or order.due_us + 86_400 * _SECOND_US
            session.add(order)

        self._change(case.order.cmd_id, rest, stages={Stage.AWAITING_CHECKER})
