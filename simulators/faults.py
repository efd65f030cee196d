"""Faults as data: what goes wrong in a simulated world, when, and for how long; chosen by a seed.

Rules: a plan is a list in the order of time in which no two faults overlap, so that a failing run names its
fault. The same seed gives the same plan. A fault says nothing about how it is done: a world knows
(`world.py`), and the same plan runs against real processes or against the engine alone.

Example:
    >>> [(fault.kind.value, fault.at_s) for fault in plan(seed=7, seconds=40, kinds=(FaultKind.LINK_CUT,))]
    [('link_cut', 15.1), ('link_cut', 23.7)]
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What can go wrong between a frame on the bus and its receipt."""

    AGENT_KILLED = "agent_killed"
    BROKER_AWAY = "broker_away"  # and back with its sessions
    BROKER_CRASHED = "broker_crashed"  # and back without any memory
    LINK_CUT = "link_cut"
    LINK_STALLED = "link_stalled"
    LINK_SLOW = "link_slow"
    DISK_FULL = "disk_full"
    BATCH_LOST = "batch_lost"  # acknowledged by the broker, never seen by the bridge
    BATCH_REPLAYED = "batch_replayed"  # old batches again, in another order
    RECEIPT_LOST = "receipt_lost"
    RECEIPT_FORGED = "receipt_forged"
    RECEIPT_REPLAYED = "receipt_replayed"
    BRIDGE_KILLED = "bridge_killed"
    BACKEND_RESTORED = "backend_restored"  # from a copy that lacks what it had receipted
    SPOOL_REPLACED = "spool_replaced"  # by an old image of itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: what goes wrong.
        at_s: when, in seconds since the world's drive began.
        lasts_s: for how long; a kind that is a moment ignores it.
    """

    kind: FaultKind
    at_s: float
    lasts_s: float


# A fault lasts long enough to be noticed by time-outs of a second, short enough for a test of a minute.
LASTS_S = (1.0, 4.0)
# Time between two faults in which the world recovers, so that each meets a working system.
PAUSE_S = (4.0, 9.0)
FIRST_S = 9.0  # the car has started by then


def plan(
    *,
    seed: int,
    seconds: float,
    kinds: tuple[FaultKind, ...] = tuple(FaultKind),
    lasts_s: tuple[float, float] = LASTS_S,
    pause_s: tuple[float, float] = PAUSE_S,
) -> tuple[Fault, ...]:
    """Return the faults of this seed within `seconds`: each kind once before any comes twice.

    Args:
        seed: chooses order, moments and lengths.
        seconds: all faults have ended and the world has had a pause by then.
        kinds: which faults may happen; at least one.
        lasts_s: shortest and longest time that a fault lasts.
        pause_s: shortest and longest time between two.
    """
    assert kinds, "a plan needs something that may go wrong"
    rng = random.Random(f"faults {seed}")
    faults: list[Fault] = []
    bag: list[FaultKind] = []
    at_s = FIRST_S
    while True:
        at_s += rng.uniform(*pause_s)
        length_s = rng.uniform(*lasts_s)
        if at_s + length_s + pause_s[1] > seconds:
            return tuple(faults)
        if not bag:
            bag = rng.sample(kinds, len(kinds))
        faults.append(Fault(kind=bag.pop(), at_s=round(at_s, 1), lasts_s=round(length_s, 1)))
        at_s += length_s
