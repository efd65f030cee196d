"""What the product knows about time: an instant with its source and how wrong it may be.

Rules: all instants are integers in microseconds. `mono_us` counts from the start of one agent process (a
*boot*, named by 16 random bytes) and never steps; `utc_us` counts from the Unix epoch and is None while no
source is trusted. Durations use `mono_us` only. A reader shows unknown as unknown; it never guesses a UTC.

This module asks no clock: only `device.adapters.system_clock` and the backend's shell do.

Example:
    >>> at = Instant(mono_us=5_000_000, utc_us=None, clock=ClockClass.NONE, error_us=None)
    >>> utc_of_sample(4_000_000, mono_start_us=3_000_000, utc_start_us=1_795_500_000_000_000)
    1795500001000000
"""

from dataclasses import dataclass
from enum import IntEnum


class ClockClass(IntEnum):
    """Where UTC came from, from worst to best; wire values."""

    NONE = 0  # no trusted source since boot
    RTC = 1  # a battery-backed clock, drifting
    NETWORK = 2  # nonce-bound signed time of the backend, or NTP within it
    GNSS = 3  # a receiver with a valid fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One moment as this process knows it.

    Attributes:
        mono_us: microseconds since this boot, ≥ 0, never stepping.
        utc_us: microseconds since 1970-01-01T00:00:00Z without leap seconds, or None when unknown.
        clock: source of `utc_us`.
        error_us: `utc_us` is right within ± this many microseconds; None when no bound is known.
    """

    mono_us: int
    utc_us: int | None
    clock: ClockClass
    error_us: int | None


def utc_of_sample(t_us: int, *, mono_start_us: int, utc_start_us: int | None) -> int | None:
    """Return the UTC of a sample from its batch's header.

    Args:
        t_us: monotonic time of the sample in µs, of the header's boot.
        mono_start_us: the header's monotonic start in µs.
        utc_start_us: the header's UTC start in µs since the epoch, or None.

    Returns:
        UTC in µs since the epoch, or None when the batch's UTC is unknown.
    """
    return None if utc_start_us is None else utc_start_us + (t_us - mono_start_us)
