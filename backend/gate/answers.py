"""How the gate's decisions are told: a part with the rules that passed, or a no with rule, fact and time.

Rules: the first no in the order of the rules is the one that is named; the others stand in its detail. A
freeze, or a hold of before, is told as HELD: nothing was found against the order itself.

This module decides nothing and stores nothing.

Example:
    >>> no_answer([No(rule=Rule.LOG, detail="no proof that the order is logged")]).rule
    'LOG'
"""

from collections.abc import Mapping, Sequence

from backend.gate.forms import Answer, Part, Verdict
from backend.gate.rules import No, Rule, earliest, told
from protocol.base64url import to_bytes, to_text
from protocol.loan_facts import LoanFacts
from protocol.orders import OrderType

_ALWAYS = (
    *(Rule.FREEZE, Rule.CLOCK, Rule.LENDER, Rule.SIGNERS, Rule.NATURAL_PERSON, Rule.TEN_MINUTES, Rule.LOG),
    *(Rule.CHALLENGE, Rule.CAR, Rule.BASIS, Rule.FACTS, Rule.PACK, Rule.ACTION, Rule.COUNSEL, Rule.DAYS),
    *(Rule.CURRENT, Rule.PAYMENT, Rule.BLOCK, Rule.NOTICE, Rule.EPISODE, Rule.TERMS, Rule.LIFE),
    *(Rule.BREAKER, Rule.MAKER_DAY, Rule.PROBATION),
)
PASSED: Mapping[OrderType, tuple[Rule, ...]] = {
    OrderType.LOCK: (*_ALWAYS, Rule.PAPERS, Rule.HOURS),
    OrderType.RENEW: (*_ALWAYS, Rule.PAPERS, Rule.LOCKED_CAR),
    OrderType.WARN: _ALWAYS,
}
"""What was asked of an order that is signed: the attestation lists these."""


def signed_answer(
    part: tuple[bytes, bytes],
    rules: Sequence[Rule],
    *,
    delegation: bytes,
    limits: dict[str, int] | None = None,
    facts: LoanFacts | None = None,
) -> Answer:
    """Return an answer that carries the gate's signature: protected header and signature of `part`."""
    return Answer(
        verdict=Verdict.SIGNED,
        rules=[int(rule) for rule in rules],
        part=Part(protected=to_text(part[0]), signature=to_text(part[1])),
        delegation=to_text(delegation),
        facts=None if facts is None else facts.digest.hex(),
        limits=limits or {},
    )


def no_answer(
    nos: Sequence[No],
    *,
    verdict: Verdict | None = None,
    facts: bytes | None = None,
    token: bytes | None = None,
    delegation: bytes | None = None,
) -> Answer:
    """Return a no; `nos` stand in the order of their rules, `delegation` goes with a token."""
    return Answer(
        verdict=verdict or _verdict_of(nos),
        rule=nos[0].rule.name,
        detail=told(nos),
        earliest=earliest(nos),
        token=None if token is None else to_text(token),
        delegation=None if token is None or delegation is None else to_text(delegation),
        facts=None if facts is None else facts.hex(),
    )


def listed(nos: Sequence[No]) -> list[object]:
    """Return nos as the journal keeps them."""
    return [[int(no.rule), no.detail, no.earliest_s] for no in nos]


def part_bytes(part: Part) -> tuple[bytes, bytes]:
    """Return protected header and signature."""
    return to_bytes(part.protected), to_bytes(part.signature)


def _verdict_of(nos: Sequence[No]) -> Verdict:
    """Return HELD where a freeze or a hold of before speaks, REFUSED where only rules do."""
    return Verdict.HELD if any(no.rule in (Rule.FREEZE, Rule.HELD) for no in nos) else Verdict.REFUSED
