"""What was wrong with a log: places that could not be read, by cause, and logs that cannot be read at all.

Rules:
- Every place that costs a frame or may have is counted under one cause; of each cause the first place is kept
  in words, and the first few of all.
- A log that cannot be read at all raises `LogError`; a bad place in a log never does.

Example:
    >>> errors = LogErrors()
    >>> errors.add("line 7 is no candump frame: 'x'")
    >>> errors.count, errors.by_cause[LogFault.NO_FRAME].first
    (1, "line 7 is no candump frame: 'x'")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from device.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path

# Errors that are kept with their place, whatever their cause; the rest are only counted.
_FIRST_ERRORS = 5


class LogFault(StrEnum):
    """Why a place of a log could not be read."""

    NO_FRAME = "no_frame"
    """A line or an object that is no frame of the format."""
    IMPOSSIBLE = "impossible_value"
    """It reads as a frame, but no frame has such an identifier, length or time."""
    OVERLONG = "overlong_line"
    """A line longer than any frame's."""
    DAMAGED = "damaged_block"
    """A block of a binary or packed log is damaged; reading goes on behind it where that is possible."""
    TORN = "torn_end"
    """The log ends in the middle of a line, an object or a block."""
    ODD_TIME = "odd_time"
    """The frame's time does not fit its neighbours (a replay leaves it out)."""
    BEFORE_START = "before_start"
    """The frame stands before the log's first one (a replay leaves it out)."""


class LogError(EdgeError):
    """A log cannot be read at all."""

    def __init__(self, path: Path, cause: str, next_step: str) -> None:
        super().__init__(f"{path}: {cause}", is_transient=False, next_step=next_step)
        self.path = path


@dataclass(slots=True)
class FaultCount:
    """How often a cause was met, and where first."""

    count: int
    first: str


@dataclass(slots=True)
class LogErrors:
    """Places that could not be read.

    Attributes:
        count: How many.
        first: The first few in words.
        by_cause: How many of each cause, and its first place.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)
    by_cause: dict[LogFault, FaultCount] = field(default_factory=dict)

    def add(self, place: str, cause: LogFault = LogFault.NO_FRAME, *, count: int = 1) -> None:
        """Count one, or `count` that are told together, and keep it in words while few are kept."""
        self.count += count
        if len(self.first) < _FIRST_ERRORS:
            self.first.append(place)
        known = self.by_cause.get(cause)
        if known is None:
            self.by_cause[cause] = FaultCount(count, place)
        else:
            known.count += count

    @property
    def is_torn(self) -> bool:
        """The log ends in the middle of something."""
        return LogFault.TORN in self.by_cause
