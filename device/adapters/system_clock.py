"""The one place that asks what time it is, and says how far the answer can be trusted.

Rules:
- `mono_us` counts from the making of the clock (an agent's boot is one process life) on CLOCK_BOOTTIME, so it
  also counts while the board sleeps and no correction of the wall clock touches it.
- UTC comes with its source and an error bound. The bound is an interval that holds the true time: it starts
  with what the source can promise and grows with age. A wall clock that nobody vouches for (RTC) has no
  bound.
- Best source first: GNSS while fresh, then the network (the kernel says it is disciplined by NTP, or a signed
  time token), then older GNSS, then a wall clock inside the sane window, then none: UTC is unknown and shown
  as unknown.
- GNSS can be spoofed and NTP forged. When the two contradict each other, the interval covers both and the
  class is the lower.
- Nothing here sets the machine's clock; it only keeps the difference between UTC and `mono_us`.

Example:
    >>> clock = SystemClock()
    >>> before = clock.now()
    >>> clock.discipline_gnss(utc_us=1_900_000_000_000_000, arrival_mono_us=clock.mono_us())
    True
    >>> clock.now().mono_us >= before.mono_us
    True
"""

from __future__ import annotations

import ctypes
import logging
import time
from dataclasses import dataclass
from typing import Protocol

from protocol.clock import ClockClass, Instant

_log = logging.getLogger(__name__)

# No copy of this program existed before 2026-11-01T00:00:00Z: an earlier clock is a flat battery, not a date.
# The protocol's own floor is earlier, because recordings are replayed; a release moves this one forward.
BUILD_UTC_US = 1_793_491_200_000_000

# 2038-01-01T00:00:00Z. A clock this late is a 32-bit counter near its end or a wrong GNSS week, not a date we
# live to see; a release that must run then moves it.
LATEST_UTC_US = 2_145_916_800_000_000

# A receiver sends the sentence of an instant after that instant: serial speed, its own computation and our
# scheduling make up to a second at 1 Hz. So true UTC on arrival lies in [stamp, stamp + 1 s]. Source: u-blox
# and SiRF data sheets state 50-900 ms of sentence latency.
GNSS_LATENCY_MAX_US = 1_000_000

# A backend's own clock is kept by NTP; a second covers a badly kept one.
TOKEN_SERVER_ERROR_US = 1_000_000

# A token that travelled longer says too little about now to be worth keeping.
TOKEN_ERROR_MAX_US = 150_000_000

# A GNSS time this young leads; older, a disciplined network clock knows better.
GNSS_FRESH_US = 600_000_000

# The kernel slews its clocks by at most 500 ppm (adjtimex(2)); a crystal over a car's temperatures adds up to
# 100 ppm.
DRIFT_PPM = 600

_STA_UNSYNC = 0x0040  # adjtimex(2), <linux/timex.h>


class TimeSource(Protocol):
    """What the operating system tells about time."""

    def boottime_us(self) -> int:
        """Microseconds since some fixed point, monotonic, counting through suspend."""

    def realtime_us(self) -> int:
        """The wall clock: microseconds since the Unix epoch, as the machine believes."""

    def kernel_error_us(self) -> int | None:
        """Bound of the wall clock's error while the kernel says NTP disciplines it; None when nobody does."""


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), with the kernel's reserved tail."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )


class LinuxTime:
    """Time as Linux keeps it."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._adjtimex = getattr(library, "adjtimex", None)

    def boottime_us(self) -> int:
        """CLOCK_BOOTTIME: monotonic, and it runs on through suspend."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    def realtime_us(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns() // 1000

    def kernel_error_us(self) -> int | None:
        """Read, never set: adjtimex(2) with no mode bit needs no privilege."""
        if self._adjtimex is None:
            return None
        state = _Timex()
        if self._adjtimex(ctypes.byref(state)) < 0 or state.status & _STA_UNSYNC:
            return None
        return int(state.maxerror)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """UTC minus mono lies in [low_us, high_us] measured at `mono_us` by a source of class `clock`."""

    clock: ClockClass
    mono_us: int
    low_us: int
    high_us: int

    def at(self, mono_us: int) -> tuple[int, int]:
        """Return the interval at a later `mono_us`, widened by what clocks drift apart."""
        drift = (max(0, mono_us - self.mono_us) * DRIFT_PPM) // 1_000_000
        return self.low_us - drift, self.high_us + drift


class SystemClock:
    """Monotonic time since construction, and UTC as well as it is known."""

    def __init__(self, source: TimeSource | None = None) -> None:
        self._source = source or LinuxTime()
        self._boot_us = self._source.boottime_us()
        self._gnss: _Reading | None = None
        self._token: _Reading | None = None
        self._is_contradicted = False
        self.contradictions = 0  # how often GNSS and the network began to disagree

    def mono_us(self) -> int:
        """Microseconds since this clock was made."""
        return self._source.boottime_us() - self._boot_us

    def wall_us(self) -> int:
        """The machine's wall clock, unjudged: only for turning a driver's time stamps into `mono_us`."""
        return self._source.realtime_us()

    def is_trusted(self) -> bool:
        """Whether dates may be checked: somebody (GNSS, NTP, the backend) vouches for the time."""
        return self.now().clock >= ClockClass.NETWORK

    def now(self) -> Instant:
        """Return the present instant, with the best UTC known."""
        mono = self.mono_us()
        best = self._best(mono)
        if best is None:
            wall = self._source.realtime_us()
            if BUILD_UTC_US <= wall < LATEST_UTC_US:
                return Instant(mono_us=mono, utc_us=wall, clock=ClockClass.RTC, error_us=None)
            return Instant(mono_us=mono, utc_us=None, clock=ClockClass.NONE, error_us=None)
        clock, low, high = best
        middle = (low + high) // 2
        return Instant(mono_us=mono, utc_us=mono + middle, clock=clock, error_us=high - middle)

    def discipline_gnss(self, *, utc_us: int, arrival_mono_us: int) -> bool:
        """Take the UTC of a valid fix whose sentence arrived at `arrival_mono_us`.

        Returns:
            False when the stamp is outside the sane window (a wrong GNSS week, a receiver without time).
        """
        if not BUILD_UTC_US <= utc_us < LATEST_UTC_US:
            return False
        low = utc_us - arrival_mono_us
        self._gnss = _Reading(
            clock=ClockClass.GNSS, mono_us=arrival_mono_us, low_us=low, high_us=low + GNSS_LATENCY_MAX_US
        )
        return True

    def discipline_token(self, *, mono_us: int, utc_us: int, error_us: int) -> bool:
        """Take the UTC of a verified time token that answered our own nonce.

        Args:
            mono_us: the moment it speaks of.
            utc_us: UTC at that moment.
            error_us: half the time between asking and reading: the backend stamped it somewhere in between,
                so a courier that delays it can only widen the interval, never move it.

        Returns:
            False when the stamp is outside the sane window or the answer took too long.
        """
        if not BUILD_UTC_US <= utc_us < LATEST_UTC_US or not 0 <= error_us <= TOKEN_ERROR_MAX_US:
            return False
        bound = error_us + TOKEN_SERVER_ERROR_US
        offset = utc_us - mono_us
        self._token = _Reading(
            clock=ClockClass.NETWORK, mono_us=mono_us, low_us=offset - bound, high_us=offset + bound
        )
        return True

    def _best(self, mono: int) -> tuple[ClockClass, int, int] | None:
        """Return (class, low, high) of UTC minus mono from the sources that carry a bound."""
        network = self._network(mono)
        gnss = self._gnss
        if gnss is None:
            return network
        low, high = gnss.at(mono)
        if network is None:
            return ClockClass.GNSS, low, high
        _, net_low, net_high = network
        is_contradicted = high < net_low or net_high < low
        if is_contradicted and not self._is_contradicted:
            self.contradictions += 1
            _log.warning("clock sources disagree: gnss_minus_network_s=%.1f", (low - net_low) / 1e6)
        self._is_contradicted = is_contradicted
        if is_contradicted:
            return ClockClass.NETWORK, min(low, net_low), max(high, net_high)
        return (ClockClass.GNSS, low, high) if mono - gnss.mono_us <= GNSS_FRESH_US else network

    def _network(self, mono: int) -> tuple[ClockClass, int, int] | None:
        """Return the tighter of the kernel's NTP discipline and the last signed token."""
        found: list[tuple[int, int]] = []
        wall = self._source.realtime_us()
        error = self._source.kernel_error_us()
        if error is not None and BUILD_UTC_US <= wall < LATEST_UTC_US:
            found.append((wall - mono - error, wall - mono + error))
        if self._token is not None:
            found.append(self._token.at(mono))
        if not found:
            return None
        low, high = min(found, key=lambda bounds: bounds[1] - bounds[0])
        return ClockClass.NETWORK, low, high
