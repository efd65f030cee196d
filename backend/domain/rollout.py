"""A rollout: one release for a growing part of the fleet, stopped by what happens to vehicles.

Rules:
- Stages are parts of the fleet in percent, growing to 100. A box belongs to the first stage whose part its
  own number falls into; the number follows from rollout and box, so nobody is always first.
- A stage is over when nearly all its boxes have confirmed and it has lasted; the next one begins only when a
  second person approves it.
- Vehicle outcomes stop it: one car that would not start or was locked wrongly, or more than a part that
  drain, are not healthy, or fell silent. What is stopped stays stopped; a better release has another number.
- What is not stopped may be paused and resumed. The table is literal; an event that it lacks changes nothing.

It keeps nothing and asks no clock.

Example:
    >>> follow(RolloutState.RUNNING, RolloutEvent.PAUSE)
    <RolloutState.PAUSED: 'paused'>
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PARTS: Final = 10_000
DONE_PERMILLE: Final = 900
"""Of a stage's boxes that must have confirmed: cars in storage never do."""

SILENT_US: Final = 14 * 86_400 * 1_000_000
"""A box that took a release and says nothing for so long, µs: two weeks; a parked car wakes daily."""

SOAK_US: Final = 86_400 * 1_000_000
"""How long a stage lasts at least, µs: a day has a night and a morning's start."""

STAGES_DEFAULT: Final = (1, 10, 50, 100)
STAGES_MAX: Final = 10


class RolloutState(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"  # the stage is over, the next one wants approval
    STOPPED = "stopped"
    DONE = "done"


class RolloutEvent(StrEnum):
    """What may happen to it."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    STAGE_OVER = "stage-over"
    APPROVE = "approve"
    LAST_OVER = "last-over"


_S, _E = RolloutState, RolloutEvent
FLOW: Final[Mapping[tuple[RolloutState, RolloutEvent], RolloutState]] = MappingProxyType(
    {
        (_S.RUNNING, _E.PAUSE): _S.PAUSED,
        (_S.PAUSED, _E.RESUME): _S.RUNNING,
        (_S.RUNNING, _E.STAGE_OVER): _S.WAITING,
        (_S.WAITING, _E.APPROVE): _S.RUNNING,
        (_S.RUNNING, _E.LAST_OVER): _S.DONE,
        (_S.RUNNING, _E.STOP): _S.STOPPED,
        (_S.PAUSED, _E.STOP): _S.STOPPED,
        (_S.WAITING, _E.STOP): _S.STOPPED,
    }
)

OPEN: Final = (_S.RUNNING, _S.PAUSED, _S.WAITING)


class VehicleOutcome(StrEnum):
    """What a release did to a vehicle; boxes tell those above the line, people and the clock the others."""

    CONFIRMED = "confirmed"
    NOT_HEALTHY = "not_healthy"
    NOT_STARTING = "not_starting"
    MCU_NOT_WRITTEN = "mcu_not_written"
    DRAINS = "drains"
    # ---
    NO_START = "no_start"
    FALSE_LOCK = "false_lock"
    SILENT = "silent"


TOLD_BY_PEOPLE: Final = (VehicleOutcome.NO_START, VehicleOutcome.FALSE_LOCK, VehicleOutcome.DRAINS)

_O = VehicleOutcome
THRESHOLDS: Final[Mapping[VehicleOutcome, int]] = MappingProxyType(
    {_O.NO_START: 0, _O.FALSE_LOCK: 0, _O.DRAINS: 10, _O.NOT_HEALTHY: 50, _O.SILENT: 50}
)
"""Per mille of the boxes that took the release, above which it stops."""

_COUNTED_AS: Final = {_O.NOT_STARTING: _O.NOT_HEALTHY, _O.MCU_NOT_WRITTEN: _O.NOT_HEALTHY}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCount:
    """What is known of the boxes that were given the release.

    Attributes:
        given: boxes.
        outcomes: boxes by outcome, SILENT among them.
        lasted_us: since the stage began.
    """

    given: int
    outcomes: Mapping[VehicleOutcome, int]
    lasted_us: int


def follow(state: RolloutState, event: RolloutEvent) -> RolloutState | None:
    """Return the state after an event, None when the table lacks it."""
    return FLOW.get((state, event))


def are_stages(stages: Sequence[int]) -> bool:
    """Whether parts grow from at least 1 to 100 percent."""
    grows = all(before < after for before, after in itertools.pairwise(stages))
    return 0 < len(stages) <= STAGES_MAX and grows and stages[0] >= 1 and stages[-1] == 100  # noqa: PLR2004


def is_in_part(rollout_id: str, device_id: str, *, percent: int) -> bool:
    """Whether a box belongs to the first so many percent of a rollout."""
    digest = hashlib.sha256(f"{rollout_id}/{device_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % PARTS < percent * PARTS // 100


def crossed(count: StageCount, thresholds: Mapping[VehicleOutcome, int]) -> VehicleOutcome | None:
    """Return the first threshold that is crossed, None while none is."""
    sums: dict[VehicleOutcome, int] = {}
    for outcome, boxes in count.outcomes.items():
        kind = _COUNTED_AS.get(outcome, outcome)
        sums[kind] = sums.get(kind, 0) + boxes
    for outcome, permille in thresholds.items():
        if sums.get(outcome, 0) * 1_000 > permille * count.given:
            return outcome
    return None


def is_over(count: StageCount, *, expected: int) -> bool:
    """Whether a stage has done its work.

    Args:
        count: of the boxes that were given the release.
        expected: boxes that belong to the stage, those not heard yet too.
    """
    confirmed = count.outcomes.get(VehicleOutcome.CONFIRMED, 0)
    return count.lasted_us >= SOAK_US and confirmed * 1_000 >= DONE_PERMILLE * expected
