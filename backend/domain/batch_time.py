"""When a batch happened, in UTC: what the box said, what can be inferred, or unknown.

Rules:
- The box's own UTC is believed when it has a clock class and the time is possible: not before 2010 (clocks
  without battery start at 1970, 1980 or 2000), not more than a day after the batch arrived. Otherwise the
  claim stays in the signed header, an integrity event names it, and the batch counts as untimed.
- An untimed batch gets its UTC from the first believable batch of the same boot: both carry the same
  monotonic clock. Such a time is INFERRED and shown so. The first anchor stays, so that reprocessing gives
  the same times.
- Without any anchor the time is unknown, and shown as unknown.

It does not change a header, nor ask for the time.

Example:
    >>> anchor = BootAnchor(mono_us=60_000_000, utc_us=1_795_500_060_000_000)
    >>> batch_time(untimed_header, received_us=1_795_500_070_000_000, anchor=anchor)
    BatchTime(source=<TimeSource.INFERRED: 2>, start_us=1795500000000000, end_us=1795500010000000)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from protocol.clock import ClockClass
from protocol.limits import BATCH_SPAN_US_MAX, CLOCK_AHEAD_US_MAX, CLOCK_EARLIEST_US

if TYPE_CHECKING:
    from protocol.batch import BatchHeader


class TimeSource(IntEnum):
    """Where a batch's UTC comes from; stored as its number."""

    UNKNOWN = 0
    DEVICE = 1
    INFERRED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BootAnchor:
    """One moment of a boot whose monotonic time and UTC are both known, in µs."""

    mono_us: int
    utc_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTime:
    """UTC of a batch's start and end in µs since the epoch; both None when unknown."""

    source: TimeSource
    start_us: int | None
    end_us: int | None

    def offset_us(self, mono_start_us: int) -> int | None:
        """Return what to add to a sample's monotonic µs to get its UTC, or None."""
        return None if self.start_us is None else self.start_us - mono_start_us


def clock_problem(header: BatchHeader, *, received_us: int) -> str | None:
    """Return why the header's UTC is not believed, or None when it is, or when there is none to believe."""
    if header.clock == ClockClass.NONE or header.utc_start_us is None:
        return None
    if header.utc_start_us < CLOCK_EARLIEST_US:
        return "the clock stands before 2010, like one without battery"
    if header.utc_start_us > received_us + CLOCK_AHEAD_US_MAX:
        return "the clock is more than a day ahead of the server"
    if header.mono_end_us - header.mono_start_us > BATCH_SPAN_US_MAX:
        return "the batch spans more than a day"
    return None


def anchor_of(header: BatchHeader, *, received_us: int) -> BootAnchor | None:
    """Return the anchor that a believable header gives its boot, or None."""
    if header.clock == ClockClass.NONE or header.utc_start_us is None:
        return None
    if clock_problem(header, received_us=received_us) is not None:
        return None
    return BootAnchor(mono_us=header.mono_start_us, utc_us=header.utc_start_us)


def batch_time(header: BatchHeader, *, received_us: int, anchor: BootAnchor | None) -> BatchTime:
    """Return when a batch happened.

    Args:
        header: The verified header.
        received_us: UTC of its arrival in µs.
        anchor: What is known of the header's boot, None when nothing is.
    """
    length_us = header.mono_end_us - header.mono_start_us
    own = anchor_of(header, received_us=received_us)
    if own is not None:
        return BatchTime(source=TimeSource.DEVICE, start_us=own.utc_us, end_us=own.utc_us + length_us)
    if anchor is not None and length_us <= BATCH_SPAN_US_MAX:
        start_us = anchor.utc_us + header.mono_start_us - anchor.mono_us
        if CLOCK_EARLIEST_US <= start_us <= received_us + CLOCK_AHEAD_US_MAX:
            return BatchTime(source=TimeSource.INFERRED, start_us=start_us, end_us=start_us + length_us)
    return BatchTime(source=TimeSource.UNKNOWN, start_us=None, end_us=None)
