"""The words of commissioning: acts, verbs, steps, their states, stages, and what a box waits for.

Rules: words and numbers are part of the protocol; none is renamed or given a second meaning, lists grow at
the end. `STEPS` is the order in which a box goes; a step that an act does not need stands in no list of it.
PASS is said only by the box and only of what it measured or was answered; LATER is a step that comes in
probation ("under a roof"), SKIPPED one that an installer left out where that is allowed.

This module decides nothing: `device.commissioning` does.

Example:
    >>> STEPS[0], Need.BIND.value, Step.CONSENT in MAY_BE_LATER
    (<Step.SUPPLY: 'SUPPLY'>, 2, False)
"""

from enum import IntEnum, StrEnum
from typing import Final


class Act(StrEnum):
    """What a work ticket allows."""

    INSTALL = "install"
    SWAP = "swap"
    REMOVE = "remove"
    WORKSHOP = "workshop"


class Verb(StrEnum):
    """What an installer asks a box to do; the argument of each stands in SPEC §22.2."""

    BEGIN = "begin"
    RUN = "run"
    ANSWER = "answer"
    REDO = "redo"
    SKIP = "skip"
    PHOTO = "photo"
    BENCH = "bench"
    BIND = "bind"
    FINISH = "finish"
    ABORT = "abort"
    FINGER = "finger"
    SUPPLY = "supply"


class Step(StrEnum):
    """One proof of the installation."""

    SUPPLY = "SUPPLY"
    IGNITION_WIRE = "IGNITION_WIRE"
    CRANK_WIRE = "CRANK_WIRE"
    CAN_BITRATE = "CAN_BITRATE"
    PROFILE = "PROFILE"
    VIN_OBD = "VIN_OBD"
    VIN_UDS = "VIN_UDS"
    DTC_BEFORE = "DTC_BEFORE"
    ODOMETER = "ODOMETER"
    NETWORK = "NETWORK"
    FIX = "FIX"
    ATTITUDE = "ATTITUDE"
    RELAY_HELD = "RELAY_HELD"
    RELAY_FREE = "RELAY_FREE"
    RELAY_RUNNING = "RELAY_RUNNING"
    DTC_AFTER = "DTC_AFTER"
    CONSENT = "CONSENT"
    BIND = "BIND"
    RECORD = "RECORD"


STEPS: Final = tuple(Step)

MAY_BE_LATER: Final = frozenset({Step.NETWORK, Step.FIX})
"""What probation can still see: a car under a roof has neither, and is no worse for it."""

MAY_BE_SKIPPED: Final = frozenset(
    {Step.PROFILE, Step.VIN_OBD, Step.VIN_UDS, Step.DTC_BEFORE, Step.ODOMETER, Step.DTC_AFTER, Step.ATTITUDE}
)
"""What a car without diagnosis cannot answer; a VIN then needs a photo and counts as weaker."""

RELAY_PROOF: Final = (Step.RELAY_HELD, Step.RELAY_FREE, Step.RELAY_RUNNING)
"""Without all three there is no BIND, and the box stays monitor-only."""


class StepState(StrEnum):
    """Where a step stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    ASKING = "ASKING"
    PASS = "PASS"  # noqa: S105  (the word of a step that was seen to hold)
    FAIL = "FAIL"
    LATER = "LATER"
    SKIPPED = "SKIPPED"


DONE_STATES: Final = frozenset({StepState.PASS, StepState.LATER, StepState.SKIPPED})


class Stage(StrEnum):
    """Where the whole job stands at the box."""

    IDLE = "IDLE"
    OPEN = "OPEN"
    FINISHED = "FINISHED"
    ABORTED = "ABORTED"


class Need(IntEnum):
    """What a box waits for from outside; what travels with it is in brackets."""

    BENCH = 1  # [challenge document]: a BENCH order with a gate's ticket
    BIND = 2  # [challenge document, unsigned BIND payload]: signatures of gate and installer
    RECORD = 3  # [record payload]: the installer's signature, as the argument of `finish`
    TAKE = 4  # [record, commissioning]: whoever reads this keeps both


class VinSource(StrEnum):
    """How a VIN came to be known, the strongest first."""

    BOTH = "obd+uds"
    OBD = "obd"
    UDS = "uds"
    PHOTO = "photo"


class Verdict(StrEnum):
    """What a record says about the box at the end."""

    BOUND = "bound"
    MONITOR_ONLY = "monitor-only"
    REMOVED = "removed"
