"""What is said to a person who stands at the car: about a code he typed, or an order he handed over.

Rules: each word has one sentence that says what is so and one that says what to do. Only `OPENED` and
`ANSWERED` are the microcontroller's yes; nothing here claims a release that it has not said.

It decides nothing: see `device.orders.at_car`.

Example:
    >>> WORDS[AtCar.WRONG].meaning
    'the code is not the next one of this lock'
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class AtCar(StrEnum):
    """How a question at the car ended."""

    OPENED = "OPENED"
    WRONG = "WRONG"
    WAIT = "WAIT"
    MALFORMED = "MALFORMED"
    NOT_NEEDED = "NOT_NEEDED"
    NONE_LEFT = "NONE_LEFT"
    ANSWERED = "ANSWERED"
    NO_ORDER = "NO_ORDER"
    NO_RELEASE = "NO_RELEASE"
    NO_BUNDLE = "NO_BUNDLE"
    NOT_AUTHENTIC = "NOT_AUTHENTIC"
    DELEGATION_MISSING = "DELEGATION_MISSING"
    BUSY = "BUSY"
    CROWDED = "CROWDED"
    MCU_AWAY = "MCU_AWAY"
    NO_ANSWER = "NO_ANSWER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """What a word means and what to do; `is_good` when it is what the person wanted."""

    meaning: str
    next_step: str
    is_good: bool = False


_CODES_AGAIN = "read it again: nine digits, the codes of the notice in their order, each once"
_BUTTON = "hold the unit's button for 5 s, or switch the ignition on three times within 15 s"

WORDS: Final[Mapping[AtCar, Sentence]] = {
    AtCar.OPENED: Sentence(
        meaning="the code is right: the car starts until the window ends",
        next_step="start the car; the lock may come back after the window, never while the engine runs",
        is_good=True,
    ),
    AtCar.WRONG: Sentence(meaning="the code is not the next one of this lock", next_step=_CODES_AGAIN),
    AtCar.WAIT: Sentence(
        meaning="too many wrong codes came: the car takes one each 15 minutes now, for ever",
        next_step=f"wait, then type the code again; meanwhile {_BUTTON}, which works once in each episode",
    ),
    AtCar.MALFORMED: Sentence(
        meaning="that is no code: nine digits, of which the last checks the others; it cost no try",
        next_step=_CODES_AGAIN,
    ),
    AtCar.NOT_NEEDED: Sentence(
        meaning="no code is needed: the car is not locked, or an emergency window is open; none was spent",
        next_step="start the car; if it does not start, the cause is another",
        is_good=True,
    ),
    AtCar.NONE_LEFT: Sentence(
        meaning="every code of this lock has been used",
        next_step=f"{_BUTTON}; else call the ombuds or the lender for an unlock",
    ),
    AtCar.ANSWERED: Sentence(
        meaning="the car has signed its answer", next_step="keep it: it is the proof", is_good=True
    ),
    AtCar.NO_ORDER: Sentence(
        meaning="the file is no order", next_step="use the file that `tbox lender unlock --out` wrote"
    ),
    AtCar.NO_RELEASE: Sentence(
        meaning="the order would restrict the car, and such an order is not taken by hand",
        next_step="hand over an order that unlocks, cancels or decommissions",
    ),
    AtCar.NO_BUNDLE: Sentence(
        meaning="the authority file is no bundle of documents",
        next_step="use the FILE.authority that was written beside the order",
    ),
    AtCar.NOT_AUTHENTIC: Sentence(
        meaning="the microcontroller does not believe the signature, and the car did not change",
        next_step="ask whoever signed for a new file, made for this car; or hold the button for 5 s",
    ),
    AtCar.DELEGATION_MISSING: Sentence(
        meaning="the car does not know yet whether the signer may sign; the order waits in the box",
        next_step="hand the order over again together with its FILE.authority",
    ),
    AtCar.BUSY: Sentence(
        meaning="the microcontroller is busy; it did not look at it", next_step="try again in ten seconds"
    ),
    AtCar.CROWDED: Sentence(
        meaning="another question at this car has no answer yet", next_step="try again in half a minute"
    ),
    AtCar.MCU_AWAY: Sentence(
        meaning="the microcontroller does not answer on its line",
        next_step=f"check its power; {_BUTTON}: that needs no agent",
    ),
    AtCar.NO_ANSWER: Sentence(
        meaning="the microcontroller has not answered: nobody knows yet whether it was taken",
        next_step="look at `tbox agent status`, then try again; a repeat does no harm to an order",
    ),
}
