"""What an order rests on, opened and in words: loan facts and notices, verified by the lender's own key.

Rules (C-12, README §1.6): key 17 of the order is the hash of these very bytes; facts and records are signed
by the loan system's pinned integration key and name the contract of the pinned car. What is not verified is
not shown as a fact. Amounts stand in minor units of the contract's currency.

This module does not judge whether the loan is eligible: the gate does, with fresh facts.

Example:
    >>> opened = open_basis(data, car, key, expected=order[17])
    >>> for name, value in basis_lines(opened, "en"): print(name, value)
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from backend.lender.cars import Car
from backend.lender.errors import RefusesError
from backend.lender.output import shown_time
from backend.lender.plain import shown
from backend.lender.words import BASIS_WORDS, Words
from protocol.errors import ProtocolError
from protocol.ids import thumbprint
from protocol.loan_facts import (
    Basis,
    Block,
    BlockEnd,
    LoanFacts,
    LoanRecord,
    Notice,
    Payment,
    open_loan_facts,
    open_loan_record,
    read_basis,
)

_WORDS: Final = BASIS_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedBasis:
    """A basis bundle whose parts are verified.

    Attributes:
        basis: as it came.
        facts: how the loan stood.
        records: notices and what else is in it.
    """

    basis: Basis
    facts: LoanFacts
    records: tuple[LoanRecord, ...]

    @property
    def episode(self) -> bytes:
        """The episode that all its notices name.

        Raises:
            RefusesError: there is no notice, or they name several.
        """
        episodes = {record.body.episode for record in self.records if isinstance(record.body, Notice)}
        if len(episodes) != 1:
            raise RefusesError(
                f"the basis has notices of {len(episodes)} episodes, not of one",
                next_step="the loan system makes one bundle per episode, with its notices",
            )
        return episodes.pop()


def open_basis(
    data: bytes, car: Car, key: EllipticCurvePublicKey, *, expected: bytes | None = None
) -> OpenedBasis:
    """Open and verify a basis bundle.

    Args:
        data: the bundle.
        car: whose contract it must name.
        key: the loan system's pinned integration key.
        expected: key 17 of the order that names it; None while the order is being made.

    Raises:
        RefusesError: another bundle, not signed by the loan system, or of another contract.
    """
    if expected is not None and hashlib.sha256(data).digest() != expected:
        raise RefusesError("the basis shown is not the one that the order names: its hash differs")
    keys = {thumbprint(key): key}.get
    try:
        basis = read_basis(data)
        facts = open_loan_facts(basis.facts, keys)
        records = tuple(open_loan_record(one, keys) for one in basis.records)
    except ProtocolError as refused:
        raise RefusesError(f"the basis is not signed by the pinned loan system: {refused}") from refused
    if {facts.contract_ref, *(record.contract_ref for record in records)} != {car.contract_ref}:
        raise RefusesError(f"the basis is of another contract than that of the car …{car.last4}")
    return OpenedBasis(basis=basis, facts=facts, records=records)


def basis_lines(opened: OpenedBasis, language: str) -> list[tuple[str, str]]:
    """Return the lines of a basis, name and value."""
    facts = opened.facts
    pending = "; ".join(f"{amount} ({shown_time(at)})" for amount, at in facts.pending)
    flags = ", ".join(sorted(flag.name for flag in facts.flags))
    papers = ", ".join(sorted(paper.name for paper in facts.papers))
    pack = opened.basis.pack
    named: list[tuple[Words, str]] = [
        (_WORDS["as_of"], str(shown_time(facts.as_of_s))),
        (
            _WORDS["days"],
            f"{facts.days_past_due} ({_WORDS['contract_days'][language]} {facts.contract_days})",
        ),
        (
            _WORDS["due"],
            f"{facts.due_minor} ({_WORDS['since'][language]} {shown_time(facts.due_since_s) or '-'})",
        ),
        (_WORDS["pending"], pending or _WORDS["none"][language]),
        (_WORDS["flags"], flags or _WORDS["none"][language]),
        (_WORDS["last_payment"], shown_time(facts.last_payment_s) or _WORDS["none"][language]),
        (_WORDS["interval"], facts.interval.name),
        (_WORDS["papers"], papers or _WORDS["none"][language]),
        (_WORDS["revision"], f"{facts.revision}, {facts.purpose.name}, UTC{_offset(facts.utc_offset_min)}"),
        (_WORDS["pack"], "-" if pack is None else f"{shown(pack[0])} {pack[1]}, {pack[2].hex()}"),
        (_WORDS["opinion"], "-" if opened.basis.opinion is None else opened.basis.opinion.hex()),
    ]
    lines = [(words[language], value) for words, value in named]
    return [*lines, *((_record_name(one, language), _record(one)) for one in opened.records)]


def warnings(opened: OpenedBasis, *, now_s: int, language: str) -> list[str]:
    """Return what a person should stop at before signing: holds, pending payments, old facts."""
    facts, found = opened.facts, []
    if facts.flags:
        found.append(_WORDS["warn_flags"][language])
    if facts.pending:
        found.append(_WORDS["warn_pending"][language])
    if facts.due_minor == 0:
        found.append(_WORDS["warn_current"][language])
    if now_s - facts.as_of_s > FACTS_AGE_S:
        found.append(_WORDS["warn_old"][language])
    return found


FACTS_AGE_S: Final = 900
"""Age in seconds from which facts are called old (README §1.6); the gate asks afresh in any case."""


def _record_name(record: LoanRecord, language: str) -> str:
    return _WORDS[type(record.body).__name__.lower()][language]


def _record(record: LoanRecord) -> str:
    match record.body:
        case Notice() as notice:
            codes = "codes" if notice.has_codes else "NO CODES"
            proof = "no proof" if notice.proof is None else notice.proof.hex()
            said = f"{notice.type.name} {notice.channel.name} {notice.state.name} {shown_time(notice.at_s)}"
            text = f"{said}, {codes}, {proof}, {notice.episode.hex()}"
        case Block() as block:
            until = shown_time(block.until_s) or "-"
            document = "-" if block.document is None else block.document.hex()
            text = f"{block.flag.name} {shown(block.owner)}: {shown(block.reason)}, {until}, {document}"
            text = f"{text}, {block.block_id.hex()}"
        case BlockEnd() as end:
            document = "-" if end.document is None else end.document.hex()
            text = f"{end.how.name} {shown(end.by)}, {document}, {end.block_id.hex()}"
        case Payment() as payment:
            received = shown_time(payment.received_s)
            text = f"{payment.amount_minor} {payment.state.name} {received}, {payment.left_minor}"
    return f"{text} ({shown_time(record.written_s)}, {record.record_id.hex()})"


def _offset(minutes: int | None) -> str:
    return "?" if minutes is None else f"{minutes:+d} min"
