"""When the box must be awake, and how soon it must have answered: README rows 17 and 18 as a table.

Rules: the microcontroller wakes Linux; this says for what, and what is due. Below the supply limit Linux
stays off whatever calls: lease and override run on without it, and codes and local hand-over still release. A
cause that the table does not list wakes nobody.

It switches nothing.

Example:
    >>> plan(is_open=True, supply_ok=True).answer_within_s, plan(is_open=False, supply_ok=True).wake_every_s
    (60, 21600)
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

ANSWER_OPEN_S = 60  # an order is open or the car is locked: the parked box answers within a minute
WAKE_EVERY_S = 6 * 3_600  # otherwise it wakes at least this often
AH_A_DAY_CENTI = {False: 50, True: 100}  # ≤ 0.5 Ah a parked day, ≤ 1 Ah with an order open


class Cause(StrEnum):
    """What may wake Linux."""

    MODEM = "modem"  # a ring or an SMS: somebody has a message
    IGNITION = "ignition"
    MOTION = "motion"
    TIMER = "timer"


class Duty(NamedTuple):
    """What waking for a cause means.

    Attributes:
        connect_first: the uplink comes before everything else.
        answer_within_s: from the cause to the first word of the backend, None without a promise.
    """

    connect_first: bool
    answer_within_s: int | None


# (cause, is an order open or the car locked) → duty
DUTIES: dict[tuple[Cause, bool], Duty] = {
    (Cause.MODEM, False): Duty(connect_first=True, answer_within_s=ANSWER_OPEN_S),
    (Cause.MODEM, True): Duty(connect_first=True, answer_within_s=ANSWER_OPEN_S),
    (Cause.IGNITION, False): Duty(connect_first=True, answer_within_s=None),
    (Cause.IGNITION, True): Duty(connect_first=True, answer_within_s=ANSWER_OPEN_S),
    (Cause.MOTION, False): Duty(connect_first=False, answer_within_s=None),
    (Cause.MOTION, True): Duty(connect_first=True, answer_within_s=ANSWER_OPEN_S),
    (Cause.TIMER, False): Duty(connect_first=True, answer_within_s=None),
    (Cause.TIMER, True): Duty(connect_first=True, answer_within_s=ANSWER_OPEN_S),
}


class WakePlan(NamedTuple):
    """What is due now.

    Attributes:
        causes: what wakes Linux.
        answer_within_s: how soon it must have answered, None without a promise.
        wake_every_s: how often at least, None when it stays off.
        charge_cah_a_day: hundredths of an ampere-hour that a parked day may cost.
    """

    causes: tuple[Cause, ...]
    answer_within_s: int | None
    wake_every_s: int | None
    charge_cah_a_day: int


def plan(*, is_open: bool, supply_ok: bool) -> WakePlan:
    """Return what is due.

    Args:
        is_open: an order is open or the car is locked.
        supply_ok: the supply is above its limit.
    """
    budget = AH_A_DAY_CENTI[is_open]
    if not supply_ok:
        return WakePlan((), None, None, budget)
    answer_s = ANSWER_OPEN_S if is_open else None
    return WakePlan(tuple(Cause), answer_s, ANSWER_OPEN_S if is_open else WAKE_EVERY_S, budget)


def duty(cause: Cause, *, is_open: bool, supply_ok: bool) -> Duty | None:
    """Return what waking for a cause means now; None: Linux stays off."""
    return DUTIES[cause, is_open] if supply_ok else None
