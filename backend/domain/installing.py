"""An installation as the backend sees it: states of a job, what a job may be, probation's conditions.

Rules (README §2.4; ADR 0053):
- A job goes PLANNED → OPEN (its ticket was given out) → AT_WORK (its box has reported) → DONE, or ABORTED.
  Only an accepted record makes it DONE. An aborted job's ticket may begin again while it lasts.
- Probation is passed when every condition has been seen, and not before 48 h; it is failed when the record
  itself says that the relay proof or BIND is missing: nothing that comes later can mend that record.
- What has not been seen is said so; nothing counts as seen because it is likely.

This module reads no database.

Example:
    >>> judge_conditions({Condition.BIND: Seen(since_us=1, words="bound")}, can_pass=True)
    <ProbationState.RUNNING: 'RUNNING'>
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from protocol.install_vocabulary import Act

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

HOUR_US: Final = 3_600_000_000
PROBATION_US: Final = 48 * HOUR_US
"""How long a car only measures after its record (issue: 48 h): two nights, and most people's week day."""

SLEEP_US_MIN: Final = HOUR_US // 2
"""A silence this long, and a life afterwards, is a sleep: a tunnel or a dead spot is shorter."""

NIGHT_US_MIN: Final = 6 * HOUR_US
"""A night: this long with the supply held, beginning and end measured."""

SUPPLY_V_MIN: Final = 11.8
"""Volts at rest below which a battery is nearly empty (a tenth of its charge at 25 °C)."""

DRIVE_SPEED_KMH_MIN: Final = 20.0
"""From here on two speeds are compared: below, GNSS noise is as large as the speed."""

DRIVE_AGREES_KMH: Final = 8.0
"""How far the means of a minute may differ: a speedometer's legal excess of 10 % at 50 km/h, and noise."""

DRIVE_MINUTES_MIN: Final = 3
"""So many minutes of agreeing speeds are a drive; one may be chance."""


class JobState(StrEnum):
    """Where a job stands; the value is stored and shown."""

    PLANNED = "PLANNED"
    OPEN = "OPEN"
    AT_WORK = "AT_WORK"
    DONE = "DONE"
    ABORTED = "ABORTED"


class EventKind(StrEnum):
    """What happens in a job; the value is stored and shown, at most 16 characters."""

    PLANNED = "planned"
    TICKET = "ticket"
    SCAN = "scan"
    COMMAND = "command"
    REPORT = "report"
    PHOTO = "photo"
    RECORD = "record"
    USED_TWICE = "used-twice"
    IDENTITY = "identity"


class Condition(StrEnum):
    """What probation waits for."""

    HOURS_48 = "hours-48"
    SLEEP = "sleep"
    CRANK = "crank"
    DRIVE = "drive"
    NIGHT_SUPPLY = "night-supply"
    BIND = "bind"
    RELAY_PROOF = "relay-proof"


class ProbationState(StrEnum):
    """How probation stands; NONE is a box without an accepted record."""

    NONE = "NONE"
    RUNNING = "RUNNING"
    PASSED = "PASSED"
    FAILED = "FAILED"


class IdentityKind(StrEnum):
    """What a box says of itself that is compared with the registry."""

    VIN = "vin"
    ICCID = "iccid"
    MCU = "mcu_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A condition that holds.

    Attributes:
        since_us: when it was first seen, UTC in µs.
        words: what was seen, for people.
    """

    since_us: int
    words: str


def judge_conditions(seen: Mapping[Condition, Seen], *, can_pass: bool) -> ProbationState:
    """Return how probation stands.

    Args:
        seen: Conditions that hold.
        can_pass: False when the record itself rules it out.
    """
    if not can_pass:
        return ProbationState.FAILED
    return ProbationState.PASSED if all(item in seen for item in Condition) else ProbationState.RUNNING


def judge_acts(acts: Collection[Act]) -> str | None:
    """Return what is wrong with a job's acts, or None."""
    if not acts:
        return "name what is to be done: install, swap, remove or workshop"
    if Act.INSTALL in acts and Act.SWAP in acts:
        return "a job installs a first box or swaps one, not both"
    return None


def identity_changes(
    facts: Mapping[str, str], registered: Mapping[IdentityKind, str | None]
) -> list[tuple[IdentityKind, str, str]]:
    """Return what a box says otherwise than it is registered: kind, registered, said.

    A fact that is missing or empty says nothing, and neither does a register without that entry.
    """
    found = []
    for kind, known in registered.items():
        said = facts.get(kind, "")
        if known and said and said != known:
            found.append((kind, known, said))
    return found
