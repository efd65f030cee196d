"""A replay's two times: the drive's, which the engine lives in, and the real one, in which somebody waits.

Example:
    clock = ReplayClock(timeline)
    clock.reach(item.t_us)
    box.handle(item.event, clock.now())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.agent.replay_log import LEAD_US, SECOND_US
from protocol.clock import ClockClass, Instant
from protocol.limits import TIME_US_MAX

if TYPE_CHECKING:
    from device.adapters.system_clock import SystemClock
    from device.agent.replay_log import Timeline


class ReplayClock:
    """Virtual time: the log's while it is read, running on while we wait for receipts.

    Args:
        timeline: gives UTC.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._offset_us = timeline.utc_us - LEAD_US
        self.mono_us = 0

    def reach(self, mono_us: int) -> None:
        """Go forward to a moment; never back."""
        self.mono_us = min(max(self.mono_us, mono_us), TIME_US_MAX)

    def now(self) -> Instant:
        """The present of the drive: UTC by the log's or a person's word, so nobody vouches for its error."""
        utc = self._offset_us + self.mono_us
        return Instant(mono_us=self.mono_us, utc_us=utc, clock=ClockClass.RTC, error_us=None)


class Patience:
    """How long nothing has moved."""

    def __init__(self, clock: SystemClock, limit_s: float) -> None:
        self._clock = clock
        self._limit_us = round(limit_s * SECOND_US)
        self._since_us = clock.mono_us()
        self._level: int | None = None

    def is_over(self, level: int) -> bool:
        """Whether the level has stood still for too long."""
        now_us = self._clock.mono_us()
        if level != self._level:
            self._level, self._since_us = level, now_us
        return now_us - self._since_us >= self._limit_us
