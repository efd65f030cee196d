"""Payment races: does a payment between the maker's signature and the lock ever leave a car locked?

Rules: each race runs one life twice with the same seed. The first run, without a payment, shows when the
maker signed and when the car locked. The second is the same up to a moment drawn between the two, at which
the loan system learns of a payment, posted or on its way. Two in five moments lie in the last minute, where
question, token and lock are. A car that locks on a token given after that moment is *wrongful*, and so is one
that the release does not reach within `RELEASE_S`; a payment that falls between a token and its lock
*crosses*: the car may lock, and is released as after any payment.

Example:
    >>> run_races(races=2).wrongful
    0
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from simulators.lock_funnel import Funnel
from simulators.lock_funnel_lives import DAY_S, START_S, Calendar, Life, life_of
from simulators.lock_funnel_report import is_wrongful

if TYPE_CHECKING:
    from collections.abc import Callable

DAYS = 30
RELEASE_S = 60.0
LAST_MINUTE, POSTED = 0.4, 0.5
AFTER_S = 1_800.0
NUMBER = 100_000  # first life of the races: none of the funnel's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Races:
    """What came of them.

    Attributes:
        races: run; of these `pending` with a payment on its way, the others posted.
        skipped: lives that did not lock without a payment: nothing to race.
        last_minute: moments in the last minute before the lock.
        unlocked: never locked.
        crossed: locked on a token given before the payment, and released.
        wrongful: see the module.
        longest_s: from payment to release, of those that crossed.
        refused: what stopped the others, by the last answer of the gate.
    """

    races: int
    pending: int
    skipped: int
    last_minute: int
    unlocked: int
    crossed: int
    wrongful: int
    longest_s: float
    refused: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def run_races(*, races: int = 500, seed: int = 1, progress: Callable[[float], None] | None = None) -> Races:
    """Run so many races; `progress` hears the share done."""
    done = pending = skipped = last_minute = unlocked = crossed = wrongful = 0
    longest_s = 0.0
    refused: dict[str, int] = {}
    number = NUMBER * seed
    while done < races:
        number += 1
        rng = random.Random(f"race {seed} {number}")
        life = _plain(number, seed)
        first = _run(life, seed=number)
        case = next(iter(first.desk.cases.values()))
        if case.locked_s is None:
            skipped += 1
            continue
        signed_s = max(sent.signed_s for sent in case.sent if sent.type == 1)
        begins_s = max(signed_s, case.locked_s - 60) if rng.random() < LAST_MINUTE else signed_s
        last_minute += begins_s > signed_s
        paid_s, is_posted = rng.uniform(begins_s, case.locked_s), rng.random() < POSTED
        pending += not is_posted
        second = _run(life, seed=number, paid_s=paid_s, is_posted=is_posted, until_s=case.locked_s + AFTER_S)
        raced = next(iter(second.desk.cases.values()))
        assert raced.known_paid_s is not None, "the payment was scheduled"
        if raced.locked_s is None:
            unlocked += 1
            why = list(raced.refusals)[-1] if raced.refusals else "released before a token was asked for"
            refused[why] = refused.get(why, 0) + 1
        else:
            span_s = (raced.released_s or second.now_s) - paid_s
            is_bad = is_wrongful(raced) or raced.released_s is None or span_s > RELEASE_S
            wrongful, crossed = wrongful + is_bad, crossed + (not is_bad)
            longest_s = max(longest_s, span_s)
        done += 1
        if progress is not None:
            progress(done / races)
    return Races(
        races=done,
        pending=pending,
        skipped=skipped,
        last_minute=last_minute,
        unlocked=unlocked,
        crossed=crossed,
        wrongful=wrongful,
        longest_s=round(longest_s, 1),
        refused=dict(sorted(refused.items())),
    )


def _plain(number: int, seed: int) -> Life:
    """Return a life without payments, blocks or foil, whose notice has run early in the span."""
    calendar = Calendar.of(START_S, days=DAYS)
    life = life_of(number, calendar, seed=seed)
    return replace(
        life,
        due_since_s=calendar.midnight_s(number % 7) - 10 * DAY_S,
        start_type="turn-key" if life.start_type == "ready" else life.start_type,
        payment=None,
        after_lock_s=None,
        blocks=[],
        foil_s=None,
    )


def _run(
    life: Life,
    *,
    seed: int,
    paid_s: float | None = None,
    is_posted: bool = True,
    until_s: float | None = None,
) -> Funnel:
    """Run one life until it locks, or until an instant."""
    funnel = Funnel(lives=[life], days=DAYS, seed=seed)
    case = next(iter(funnel.desk.cases.values()))
    if paid_s is not None:
        pay = funnel.desk.credit if is_posted else funnel.desk.pend
        funnel.at(paid_s, lambda: pay(case))
    funnel.run(
        until=lambda: (
            (case.locked_s is not None and until_s is None)
            or (until_s is not None and funnel.now_s > until_s)
        )
    )
    return funnel
