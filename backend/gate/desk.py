"""What every decision of the gate begins and ends with: time, freezes, people, the case, the journal.

Rules (README §1.16, C-12): all of it within one transaction of the gate's own storage. What stands first is
asked first: freezes, the clock, the gate's own delegation. Each answer is a line of the journal before it
leaves.

Example:
    >>> now_s, nos = desk.begin(at, question)
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress

from backend.gate.answers import PASSED, listed, no_answer, part_bytes
from backend.gate.asking import BadRequestError, Question
from backend.gate.authority import AuthorityBook, AuthorityRefusedError
from backend.gate.clock_watch import ClockWatch
from backend.gate.eligibility import Case
from backend.gate.events import Event
from backend.gate.forms import Answer, Part, Verdict
from backend.gate.freezes import Freezes
from backend.gate.logged import LogRef
from backend.gate.people import People, verify_people
from backend.gate.ports import Clock
from backend.gate.records import Records
from backend.gate.rules import No, Rule
from backend.gate.store import GateStore, Transaction
from backend.gate.trust import PackShelf, Trust
from protocol.base64url import to_bytes
from protocol.envelope import Signer
from protocol.errors import ProtocolError
from protocol.loan_facts import LoanFacts, LoanRecord, open_loan_facts, open_loan_record, read_basis
from protocol.orders import OrderSigner, Role


class Desk:
    """The gate's papers, people and clock.

    Args:
        trust: whom the gate believes.
        packs: the jurisdictions' rules.
        signer: the gate's key.
        store: its storage; the authority it was shown is read from there.
        clock: the time.

    Raises:
        BadRequestError: the gate's delegation is not for its key.
    """

    def __init__(
        self, *, trust: Trust, packs: PackShelf, signer: Signer, store: GateStore, clock: Clock
    ) -> None:
        self.trust, self.packs, self.signer, self.clock = trust, packs, signer, clock
        self.book = AuthorityBook(trust.anchors)
        self.records, self.freezes = Records(trust, self.book), Freezes(trust, self.book)
        self.watch = ClockWatch(clock)
        with suppress(AuthorityRefusedError):
            self.book.take("delegation", trust.delegation)  # of the roots that the settings name …
        with store.writing() as at:
            for kind, document in at.authority():
                self.book.take(kind, document)
        self.book.take("delegation", trust.delegation)  # … or of those that followed them
        self.delegation = hashlib.sha256(trust.delegation).digest()
        own = self.book.holder(self.delegation)
        if own.kid != signer.kid or own.role != int(Role.GATE):
            raise BadRequestError("the gate's delegation is of another key, or of another role")
        self._own = (bytes(own.kid), str(own.person))

    def begin(self, at: Transaction, question: Question) -> tuple[int, list[No]]:
        """Return the time, and what stands first: freezes, the clock, the gate's own delegation."""
        now_s = self.clock.now_s()
        nos = [*self.freezes.nos(at, question.order), *question.nos]
        doubt = self.watch.doubt(latest_s=at.mark("latest_s"))
        if doubt is not None:
            nos.append(No(rule=Rule.CLOCK, detail=doubt))
        else:
            at.raise_mark("latest_s", now_s)
        if not self.book.is_valid(self.book.holder(self.delegation), Role.GATE, now_s):
            nos.append(No(rule=Rule.SIGNERS, detail="the gate's own delegation is revoked, early or over"))
        return now_s, nos

    def show(self, at: Transaction, delegations: Sequence[str], now_s: int) -> None:
        """Take the delegations that came with an order; one that is refused leaves its signer unknown."""
        for delegation in delegations:
            data = to_bytes(delegation)
            try:
                self.book.take("delegation", data)
            except AuthorityRefusedError:
                continue
            at.add_authority(hashlib.sha256(data).digest(), kind="delegation", at_s=now_s, document=data)

    def people(
        self, question: Question, parts: Sequence[Part], roles: Sequence[tuple[Role, ...]], now_s: int
    ) -> People:
        """Return who has signed an order."""
        return verify_people(
            question.order,
            question.payload,
            [part_bytes(part) for part in parts],
            book=self.book,
            own=self._own,
            roles=roles,
            officers=question.lender.officers,
            now_s=now_s,
        )

    def case(
        self,
        at: Transaction,
        question: Question,
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

    def _basis(self, question: Question, data: bytes) -> tuple[LoanFacts, list[LoanRecord]] | No:
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

    def as_signer(
        self, *, log_ref: LogRef | None = None, attestation: tuple[int, list[int], int] | None = None
    ) -> OrderSigner:
        """Return the gate as a signer of orders."""
        return OrderSigner(
            signer=self.signer,
            role=Role.GATE,
            delegation=self.delegation,
            log_ref=log_ref,
            attestation=attestation,
        )

    def answer(
        self,
        at: Transaction,
        event: Event,
        question: Question,
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
            now_s, event, question.hash, {"nos": listed(first), "facts": facts, "token": token is not None}
        )
        if not first:
            return Answer(
                verdict=otherwise,
                rules=[int(rule) for rule in PASSED[question.type]],
                facts=None if facts is None else facts.hex(),
            )
        verdict = otherwise if token is not None or otherwise is Verdict.HELD else None
        return no_answer(first, verdict=verdict, facts=facts, token=token, delegation=self.trust.delegation)

    def refuse(self, at: Transaction, event: Event, subject: bytes, nos: Sequence[No], now_s: int) -> Answer:
        """Journal and return a no."""
        first = sorted(nos, key=lambda no: no.rule)
        at.log(now_s, event, subject, {"nos": listed(first)})
        return no_answer(first)
