"""A lender's loan system, simulated: loans, payments, promises, disputes, notices, and its integration key.

Rules: it answers the gate's question as SPEC §21 says and signs with its own key; whatever changes an account
raises its revision. It can be late, silent, stale, or lie, one mode at a time, since a gate must live with
each. It decides nothing about locks. Time is an argument of the constructor, so that it runs in virtual time;
`loan_system_http` is the process around it.

Example:
    >>> from cryptography.hazmat.primitives.asymmetric import ec
    >>> from protocol.envelope import SoftwareSigner
    >>> signer, contract_ref = SoftwareSigner(ec.derive_private_key(7, ec.SECP256R1())), bytes(32)
    >>> system = LoanSystem(signer, now_s=lambda: 1_000_000)
    >>> loan = system.open_loan(contract_ref, due_minor=50_000, due_since_s=1_000_000 - 40 * 86_400)
    >>> record = system.pay(contract_ref, 50_000, is_posted=False)
    >>> [amount for amount, _ in loan.pending]
    [50000]
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from protocol.envelope import Signer
from protocol.loan_facts import (
    Basis,
    Block,
    BlockEnd,
    BlockEnding,
    Channel,
    Delivery,
    FactsQuestion,
    Flag,
    Interval,
    LoanFacts,
    LoanRecord,
    Notice,
    NoticeType,
    Paper,
    Payment,
    PaymentState,
    Purpose,
    RecordBody,
    encode_basis,
    sign_loan_facts,
    sign_loan_record,
)

DAY_S = 86_400


class Mode(StrEnum):
    """How it answers."""

    HONEST = "honest"
    SILENT = "silent"  # not at all
    STALE = "stale"  # what it said first about the loan, with the time of then
    REPLAYING = "replaying"  # its last answer as it was, to another question
    LYING = "lying"  # as it stands, without the payments on their way
    BACKDATED = "backdated"  # the account of before the last change, dated now


class NoAnswerError(Exception):
    """It does not answer."""


@dataclass(slots=True, kw_only=True)
class Loan:
    """An account.

    Attributes:
        due_minor: due and unpaid, minor units.
        due_since_s: since when; None when nothing is due.
        pending: amount and arrival of payments that are not posted.
        blocks: promise, dispute and others by id, while they are in force here.
    """

    contract_ref: bytes
    due_minor: int = 0
    due_since_s: int | None = None
    contract_days: int = 0
    interval: Interval = Interval.OTHER
    papers: frozenset[Paper] = frozenset(Paper)
    pending: list[tuple[int, int]] = field(default_factory=list)
    flags: set[Flag] = field(default_factory=set)
    revision: int = 1
    last_payment_s: int | None = None
    utc_offset_min: int | None = 0
    blocks: dict[bytes, Block] = field(default_factory=dict)


class LoanSystem:
    """Accounts and the key that vouches for them.

    Args:
        signer: the integration key.
        now_s: POSIX seconds.
        random: gives ids.
    """

    def __init__(
        self,
        signer: Signer,
        *,
        now_s: Callable[[], int],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.mode = Mode.HONEST
        self.signer = signer
        self.loans: dict[bytes, Loan] = {}
        self.records: dict[bytes, list[bytes]] = {}
        self.questions: list[FactsQuestion] = []
        self.on_question: Callable[[FactsQuestion], None] | None = None
        self._now_s, self._random = now_s, random
        self._first: dict[bytes, LoanFacts] = {}
        self._before: dict[bytes, LoanFacts] = {}
        self._last: bytes | None = None

    # --- what the gate asks ---------------------------------------------------------------------------------

    def facts(self, question: FactsQuestion) -> bytes:
        """Return the signed answer, as the mode has it.

        Raises:
            NoAnswerError: it is silent, or does not know the loan.
        """
        self.questions.append(question)
        if self.on_question is not None:
            self.on_question(question)
        if self.mode is Mode.SILENT or question.contract_ref not in self.loans:
            raise NoAnswerError("no answer")
        true = self.state(question.contract_ref, question.nonce, question.purpose)
        self._first.setdefault(question.contract_ref, true)
        if self.mode is Mode.REPLAYING and self._last is not None:
            return self._last
        told = self._told(true)
        self._last = sign_loan_facts(told, self.signer)
        return self._last

    def state(self, contract_ref: bytes, nonce: bytes, purpose: Purpose) -> LoanFacts:
        """Return how a loan stands, truly."""
        loan, now_s = self.loans[contract_ref], self._now_s()
        days = 0 if loan.due_since_s is None else max(0, now_s - loan.due_since_s) // DAY_S
        return LoanFacts(
            contract_ref=contract_ref,
            nonce=nonce,
            as_of_s=now_s,
            days_past_due=days,
            due_minor=loan.due_minor,
            pending=tuple(loan.pending),
            flags=frozenset(loan.flags | self._flags_of_blocks(loan, now_s)),
            due_since_s=loan.due_since_s,
            contract_days=loan.contract_days,
            interval=loan.interval,
            papers=loan.papers,
            revision=loan.revision,
            purpose=purpose,
            last_payment_s=loan.last_payment_s,
            utc_offset_min=loan.utc_offset_min,
        )

    def basis(
        self, contract_ref: bytes, *, pack: tuple[str, int, bytes] | None = None, opinion: bytes | None = None
    ) -> bytes:
        """Return a basis bundle for an order: the facts of now, and the notices."""
        facts = self.state(contract_ref, self._random(16), Purpose.SCREEN)
        self._first.setdefault(contract_ref, facts)
        return encode_basis(
            Basis(
                facts=sign_loan_facts(facts, self.signer),
                records=tuple(self.records.get(contract_ref, ())[-16:]),
                pack=pack,
                opinion=opinion,
            )
        )

    # --- what happens to a loan -----------------------------------------------------------------------------

    def open_loan(
        self,
        contract_ref: bytes,
        *,
        due_minor: int = 0,
        due_since_s: int | None = None,
        papers: Iterable[Paper] = tuple(Paper),
    ) -> Loan:
        """Open an account."""
        loan = Loan(
            contract_ref=contract_ref,
            due_minor=due_minor,
            due_since_s=due_since_s,
            papers=frozenset(papers),
        )
        self.loans[contract_ref] = loan
        return loan

    def pay(self, contract_ref: bytes, amount_minor: int, *, is_posted: bool) -> bytes:
        """Take a payment, posted at once or on its way; return its record."""
        loan, now_s = self._changed(contract_ref), self._now_s()
        loan.last_payment_s = now_s
        if is_posted:
            self._credit(loan, amount_minor)
        else:
            loan.pending.append((amount_minor, now_s))
        state = PaymentState.POSTED if is_posted else PaymentState.PENDING
        body = Payment(amount_minor=amount_minor, received_s=now_s, state=state, left_minor=loan.due_minor)
        return self._record(contract_ref, body)

    def post_pending(self, contract_ref: bytes) -> list[bytes]:
        """Post all that is on its way; return the records."""
        loan = self._changed(contract_ref)
        made = []
        for amount, at_s in loan.pending:
            self._credit(loan, amount)
            body = Payment(
                amount_minor=amount, received_s=at_s, state=PaymentState.POSTED, left_minor=loan.due_minor
            )
            made.append(self._record(contract_ref, body))
        loan.pending.clear()
        return made

    def block(
        self,
        contract_ref: bytes,
        flag: Flag,
        *,
        owner: str = "collections desk",
        reason: str = "as told by telephone",
        until_s: int | None = None,
        document: bytes | None = None,
    ) -> tuple[bytes, bytes]:
        """Block a loan (a promise, a dispute …); return the block's id and its record."""
        loan = self._changed(contract_ref)
        block = Block(
            block_id=self._random(16),
            flag=flag,
            owner=owner,
            reason=reason,
            until_s=until_s,
            document=document,
        )
        loan.blocks[block.block_id] = block
        return block.block_id, self._record(contract_ref, block)

    def end_block(
        self,
        contract_ref: bytes,
        block_id: bytes,
        *,
        by: str,
        how: BlockEnding,
        document: bytes | None = None,
    ) -> bytes:
        """End a block here; whether the gate agrees is the gate's. Return the record."""
        self._changed(contract_ref).blocks.pop(block_id, None)
        return self._record(contract_ref, BlockEnd(block_id=block_id, by=by, how=how, document=document))

    def notice(
        self,
        contract_ref: bytes,
        episode: bytes,
        channel: Channel,
        state: Delivery,
        *,
        kind: NoticeType = NoticeType.FINAL,
        at_s: int | None = None,
    ) -> bytes:
        """Serve a notice, or report what became of it; return the record."""
        body = Notice(
            episode=episode,
            channel=channel,
            state=state,
            at_s=self._now_s() if at_s is None else at_s,
            type=kind,
            proof=None,
            has_codes=True,
        )
        return self._record(contract_ref, body)

    def serve_all(self, contract_ref: bytes, episode: bytes, *, at_s: int) -> Sequence[bytes]:
        """Serve first and final notice by letter and e-mail, delivered at an instant; return the records."""
        return [
            self.notice(contract_ref, episode, channel, state, kind=kind, at_s=at_s)
            for kind in NoticeType
            for channel, state in ((Channel.LETTER, Delivery.SERVED), (Channel.EMAIL, Delivery.DELIVERED))
        ]

    # --- inside ---------------------------------------------------------------------------------------------

    def _told(self, true: LoanFacts) -> LoanFacts:
        match self.mode:
            case Mode.STALE:
                first = self._first[true.contract_ref]
                return replace(first, nonce=true.nonce, purpose=true.purpose)
            case Mode.LYING:
                return replace(true, pending=())
            case Mode.BACKDATED:
                before = self._before.get(true.contract_ref, true)
                return replace(before, nonce=true.nonce, purpose=true.purpose, as_of_s=true.as_of_s)
            case _:
                return true

    def _changed(self, contract_ref: bytes) -> Loan:
        loan = self.loans[contract_ref]
        self._before[contract_ref] = self.state(contract_ref, bytes(16), Purpose.SCREEN)
        loan.revision += 1
        return loan

    def _credit(self, loan: Loan, amount_minor: int) -> None:
        loan.due_minor = max(0, loan.due_minor - amount_minor)
        if loan.due_minor == 0:
            loan.due_since_s = None

    def _flags_of_blocks(self, loan: Loan, now_s: int) -> set[Flag]:
        """A promise is over at its date here too; other blocks until they are ended."""
        return {
            block.flag for block in loan.blocks.values() if block.until_s is None or now_s < block.until_s
        }

    def _record(self, contract_ref: bytes, body: RecordBody) -> bytes:
        record = LoanRecord(
            contract_ref=contract_ref, record_id=self._random(16), written_s=self._now_s(), body=body
        )
        data = sign_loan_record(record, self.signer)
        if isinstance(body, Notice):
            self.records.setdefault(contract_ref, []).append(data)
        return data
