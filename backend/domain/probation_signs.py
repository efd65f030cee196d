"""Signs of a living installation in what a box has sent: a sleep, a crank, a drive, a night.

Rules: see `backend.domain.installing` for the numbers and their reasons. Each returns the instant at which
the sign was complete, UTC in µs, or None. Minutes are whole minutes since the epoch, in ascending order.

This module reads no database.

Example:
    >>> find_crank([(10, 0.0), (11, 812.0)]) == 12 * MINUTE_US
    True
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from backend.domain.installing import (
    DRIVE_AGREES_KMH,
    DRIVE_MINUTES_MIN,
    DRIVE_SPEED_KMH_MIN,
    NIGHT_US_MIN,
    SLEEP_US_MIN,
    SUPPLY_V_MIN,
)

MINUTE_US: Final = 60_000_000

IDLE_RPM_MIN: Final = 400.0
"""An engine turns faster than this by itself, and slower while it is cranked."""

ByMinute = Sequence[tuple[int, float]]
"""Minute and value, ascending."""


def find_sleep(spans: Iterable[tuple[int, int]]) -> int | None:
    """Return when a box spoke again after a silence.

    Args:
        spans: Begin and end of each batch, UTC in µs.
    """
    reached = None
    for begin, end in sorted(spans):
        if reached is not None and begin - reached >= SLEEP_US_MIN:
            return begin
        reached = end if reached is None else max(reached, end)
    return None


def find_crank(engine_rpm: ByMinute) -> int | None:
    """Return when an engine that had stood still was running.

    Args:
        engine_rpm: Highest engine speed of each minute, 1/min.
    """
    for (_, before), (minute, rpm) in pairwise(engine_rpm):
        if before < IDLE_RPM_MIN <= rpm:
            return (minute + 1) * MINUTE_US
    return None


def find_drive(car_kmh: ByMinute, gnss_kmh: Mapping[int, float]) -> int | None:
    """Return when so many minutes of driving had agreed.

    Args:
        car_kmh: Mean of the car's own speed by minute.
        gnss_kmh: Mean speed over ground by minute.
    """
    agreed = 0
    for minute, kmh in car_kmh:
        ground = gnss_kmh.get(minute)
        if kmh < DRIVE_SPEED_KMH_MIN or ground is None:
            continue
        agreed = agreed + 1 if abs(kmh - ground) <= DRIVE_AGREES_KMH else 0
        if agreed >= DRIVE_MINUTES_MIN:
            return (minute + 1) * MINUTE_US
    return None


def find_night(supply_v: ByMinute) -> int | None:
    """Return when the supply had held for a night.

    Args:
        supply_v: Lowest supply voltage of each minute that has one, V.
    """
    begin = None
    for minute, volts in supply_v:
        if volts < SUPPLY_V_MIN:
            begin = None
            continue
        begin = minute if begin is None else begin
        if (minute - begin) * MINUTE_US >= NIGHT_US_MIN:
            return (minute + 1) * MINUTE_US
    return None
