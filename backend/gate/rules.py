"""The names and numbers of the gate's rules, and what a no is: rule, fact, earliest lawful time.

Rules: numbers are part of the protocol, since the attestation in the gate's signed header lists those that
passed (SPEC §21.4); none is renamed or given a second meaning, the list grows at the end. A no names the
rule, the fact it looked at, and the second at which that fact may have changed by time alone, None when it
will not. All nos of a question are found, so that nobody is sent from one to the next.

This module judges nothing.

Example:
    >>> waits = No(rule=Rule.NOTICE, detail="final notice of 1 channel", earliest_s=1_000)
    >>> never = No(rule=Rule.BLOCK, detail="bankruptcy", earliest_s=None)
    >>> earliest([waits]), earliest([waits, never])
    (1000, None)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Rule(IntEnum):
    """What the gate asks, in the order in which answers name it."""

    FREEZE = 1  # no freeze is in force over this car, lender or everything
    CLOCK = 2  # the gate's clock has not been stepped and agrees with the loan system's
    LENDER = 3  # the gate knows this lender and its loan system
    SIGNERS = 4  # exactly the people the type asks for, each with key, person and role of its own
    NATURAL_PERSON = 5  # no service account signs for a person (P-06)
    TEN_MINUTES = 6  # between the maker's signature and the checker's, as the gate saw them
    LOG = 7  # the order with both signatures stands in the witnessed log
    CHALLENGE = 8  # the car asked for was asked, and answered, and the order is for that answer
    CAR = 9  # the car's own reader would accept the order with the gate's signature
    BASIS = 10  # the order names what it rests on, and that is what it says
    FACTS = 11  # the loan system answered now, for this loan, with its own key, and not less than before
    PACK = 12  # a jurisdiction pack is in force for this car
    ACTION = 13  # the pack allows this action there
    COUNSEL = 14  # counsel's signed opinion is loaded for this pack
    DAYS = 15  # days past due, by the stricter of contract and pack
    CURRENT = 16  # something is due, also after what is on its way
    PAYMENT = 17  # nothing was paid since the order's basis, nothing is pending
    BLOCK = 18  # no promise, stay, active duty, dispute, hardship (P-07)
    NOTICE = 19  # notices delivered or served, on enough channels, long enough ago
    EPISODE = 20  # the episode is that of the notices, and not over
    PAPERS = 21  # the contract's file holds what the pack asks for
    TERMS = 22  # lease, warning, emergency window and dates are within the pack
    HOURS = 23  # the hours and business days of the place
    BREAKER = 24  # the lender's limits of an hour, a day and a maker
    MAKER_DAY = 25  # the maker's delegation: orders a day
    LOCKED_CAR = 26  # a RENEW is of a car that was locked
    SIGNED_ORDER = 27  # the go token is for an order that this gate has signed, and its own car asks
    LIFE = 28  # the order is not over
    RELEASE = 29  # something asks for the release: a payment, a block, the loan is current
    HELD = 30  # an order that was held is never signed
    PROBATION = 31  # the car has a commissioning record with its relay proof, and 48 h since this gate had it
    JOB = 32  # a BENCH ticket or BIND is for a job that was shown, in its time, as the job says
    JOB_DAY = 33  # tickets and BINDs a car and an installer in a day


HOLDS = frozenset({Rule.FREEZE, Rule.BREAKER, Rule.HELD})
"""Rules whose no holds the order: it is shown, and can only be replaced."""

FOR_GOOD = frozenset(
    {Rule.CURRENT, Rule.PAYMENT, Rule.BLOCK, Rule.DAYS, Rule.EPISODE, Rule.LIFE, Rule.ACTION, Rule.PAPERS}
)
"""Rules whose no at the go token ends the order: the people who signed it did so on other facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """A refusal.

    Attributes:
        rule: which.
        detail: the fact, in words a person can act on; no names, amounts or places.
        earliest_s: POSIX second at which time alone may have changed it; None when it will not.
    """

    rule: Rule
    detail: str
    earliest_s: int | None = None


def earliest(nos: Sequence[No]) -> int | None:
    """Return when the last of several nos may have ended by time alone; None when one will not."""
    times = [no.earliest_s for no in nos if no.earliest_s is not None]
    return max(times) if times and len(times) == len(nos) else None


def told(nos: Sequence[No]) -> str:
    """Return all facts as one text."""
    return "; ".join(f"{no.rule.name}: {no.detail}" for no in nos)
