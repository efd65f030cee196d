"""The gate's clock and the doubt about it: time is never lengthened in a restriction's favour.

Rules: the wall clock is compared with one that nobody steps, and with the latest time this gate has ever
acted at. A step of more than 30 s either way, or a time before that mark, is doubt: nothing that restricts is
signed until the operator has looked (`tbox backend gate accept-clock`). Loan facts are a second opinion: they
carry the loan system's time, see `eligibility`. Slow correction (NTP slewing) stays below the 30 s.

Example:
    >>> ClockWatch(SystemClock()).doubt(latest_s=0) is None
    True
"""

import secrets
import time
from typing import Final

from backend.gate.ports import Clock

STEP_S_MAX: Final = 30
_SLEW_S = 600  # the comparison moves along with slow correction once in ten minutes, by at most a second


class SystemClock:
    """This machine's clocks; the monotonic one counts through sleep."""

    def __init__(self) -> None:
        self._boot = secrets.token_bytes(16)

    @property
    def boot(self) -> bytes:
        """16 bytes, new with each process."""
        return self._boot

    def now_s(self) -> int:
        """Return POSIX seconds."""
        return int(time.time())

    def mono_s(self) -> int:
        """Return seconds since the machine started."""
        return int(time.clock_gettime(time.CLOCK_BOOTTIME))


class ClockWatch:
    """Compares the clocks at each question; a doubt stays until the process starts again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s = clock.now_s() - clock.mono_s()
        self._slewed_s = clock.mono_s()
        self._doubt: str | None = None

    def doubt(self, *, latest_s: int) -> str | None:
        """Return what is wrong with the clock, or None.

        Args:
            latest_s: the latest time this gate has acted at.
        """
        now_s, mono_s = self._clock.now_s(), self._clock.mono_s()
        step_s = now_s - mono_s - self._offset_s
        if abs(step_s) > STEP_S_MAX:
            self._doubt = f"the clock was stepped by {step_s} s"
        elif mono_s - self._slewed_s >= _SLEW_S and step_s:
            self._offset_s += 1 if step_s > 0 else -1
            self._slewed_s = mono_s
        if now_s < latest_s - STEP_S_MAX:
            return f"the clock is {latest_s - now_s} s behind what this gate has already seen"
        return self._doubt
