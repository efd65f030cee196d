"""Time in a simulated world: it stands still until someone moves it.

Rules: instants are integer microseconds since the world began, and never go back. Only `Pacer` looks at the
machine's clock, so that a world can be shown at the speed of the real one, or faster; a world without a
pacer runs as fast as it computes and gives the same bytes.

Example:
    >>> clock = VirtualClock(utc_start_us=1_767_600_000_000_000)
    >>> clock.advance_to(2_500_000)
    >>> clock.now_us, clock.utc_us - clock.utc_start_us
    (2500000, 2500000)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

SECOND_US = 1_000_000


@dataclass(slots=True, kw_only=True)
class VirtualClock:
    """The world's own time.

    Attributes:
        utc_start_us: what UTC was when the world began, microseconds since the Unix epoch.
        now_us: microseconds since the world began.
    """

    utc_start_us: int
    now_us: int = 0

    @property
    def utc_us(self) -> int:
        """UTC now, microseconds since the Unix epoch."""
        return self.utc_start_us + self.now_us

    def advance_to(self, until_us: int) -> None:
        """Let time pass until `until_us`; time never goes back, so an earlier instant is our own mistake."""
        assert until_us >= self.now_us, "time goes forward only"
        self.now_us = until_us


@dataclass(slots=True, kw_only=True)
class Pacer:
    """Tie a virtual clock to the machine's monotonic clock.

    Attributes:
        speed: virtual seconds in a real one, above 0.
    """

    speed: float = 1.0
    _started_ns: int = field(default_factory=time.monotonic_ns)

    def due_us(self) -> int:
        """Return how far the world should have come by now, in microseconds since the pacer was made."""
        return int((time.monotonic_ns() - self._started_ns) / 1000 * self.speed)
