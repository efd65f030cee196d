"""What a driver does: turn the key, start, follow speeds, stop, leave; chosen by a seed.

Rules: a drive is a list of legs, each a key position and a speed to aim for, for a time. The car decides
what becomes of it (`vehicle.py`): a leg is a wish, not a motion. After its last leg a drive stays in it.

Example:
    >>> drive = city(seed=7, seconds=60)
    >>> drive[0].ignition.name, drive[-1].ignition.name, sum(leg.duration_us for leg in drive) // 1_000_000
    ('LOCK', 'LOCK', 60)
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from simulators.virtual_clock import SECOND_US

KMH = 1 / 3.6  # metres a second in a kilometre an hour


class Ignition(IntEnum):
    """The key's position; the numbers are those of the demonstration car's CAN bus."""

    LOCK = 0
    OFF = 1
    ACC = 2
    ON = 3
    START = 4


class CycleName(StrEnum):
    """The drives one can ask for by name."""

    CITY = "city"
    MOTORWAY = "motorway"
    PARK = "park"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One wish of the driver: the key's position and the speed to aim for, in metres a second, for a time."""

    duration_us: int
    ignition: Ignition
    target_mps: float = 0.0


# Get in, radio on, wait for the lamps, crank, let it idle: 7.2 s, of which 1.2 s on the starter.
ARRIVAL = (
    Leg(duration_us=SECOND_US, ignition=Ignition.LOCK),
    Leg(duration_us=SECOND_US, ignition=Ignition.ACC),
    Leg(duration_us=2 * SECOND_US, ignition=Ignition.ON),
    Leg(duration_us=1_200_000, ignition=Ignition.START),
    Leg(duration_us=2 * SECOND_US, ignition=Ignition.ON),
)
LEAVING_US = 3 * SECOND_US  # OFF for a second, LOCK afterwards: the bus says so before it sleeps
SECONDS_MIN = 25  # a shorter drive has no time to get anywhere
DRIVE_SECONDS, STAY_SECONDS = 300, 20  # of a day's drives: one sees a start within minutes of looking
BRAKING_MPS2 = 1.6  # how firmly the driver counts on stopping; the car can do better


def city(seed: int, seconds: int) -> tuple[Leg, ...]:
    """Return a town drive of this many seconds: stretches of 20 to 50 km/h between stops; 25 s or more."""
    return _drive(seed, seconds, kmh=(20.0, 50.0), stretch_s=(9.0, 25.0), pause_s=(2.0, 9.0))


def motorway(seed: int, seconds: int) -> tuple[Leg, ...]:
    """Return a motorway drive of this many seconds: long stretches of 80 to 120 km/h, seldom a stop."""
    return _drive(seed, seconds, kmh=(80.0, 120.0), stretch_s=(90.0, 300.0), pause_s=(1.0, 4.0))


def day(seed: int) -> tuple[Leg, ...]:
    """Return a day of town drives and short stays, for a car that is watched by somebody."""
    legs: list[Leg] = []
    for drive in range(24 * 3600 // (DRIVE_SECONDS + STAY_SECONDS)):
        legs += city(seed * 1_000 + drive, DRIVE_SECONDS)
        legs += park(STAY_SECONDS)
    return tuple(legs)


def park(seconds: int) -> tuple[Leg, ...]:
    """Return no drive at all: locked for this many seconds, and after."""
    return (Leg(duration_us=seconds * SECOND_US, ignition=Ignition.LOCK),)


def named(name: CycleName, *, seed: int, seconds: int) -> tuple[Leg, ...]:
    """Return the drive of this name, `seconds` long."""
    match name:
        case CycleName.CITY:
            return city(seed, seconds)
        case CycleName.MOTORWAY:
            return motorway(seed, seconds)
        case CycleName.PARK:
            return park(seconds)


def _drive(
    seed: int,
    seconds: int,
    *,
    kmh: tuple[float, float],
    stretch_s: tuple[float, float],
    pause_s: tuple[float, float],
) -> tuple[Leg, ...]:
    """Return arrival, stretches and stops, and leaving, filling exactly `seconds`."""
    rng = random.Random(f"drive {seed}")
    legs = list(ARRIVAL)
    left_us = seconds * SECOND_US - sum(leg.duration_us for leg in legs) - LEAVING_US
    assert left_us > 0, f"a drive needs more than {seconds} s"
    while left_us > 0:
        target = rng.uniform(*kmh) * KMH
        halt_us = int((target / BRAKING_MPS2 + 2.0) * SECOND_US)
        stretch_us = int(rng.uniform(*stretch_s) * SECOND_US)
        pause_us = int(rng.uniform(*pause_s) * SECOND_US)
        if left_us < 2 * halt_us + stretch_us + pause_us:  # the last one: whatever is left, and stop for good
            halt_us = min(halt_us, left_us)
            stretch_us, pause_us = left_us - halt_us, 0
        legs.append(Leg(duration_us=stretch_us, ignition=Ignition.ON, target_mps=target))
        legs.append(Leg(duration_us=halt_us + pause_us, ignition=Ignition.ON))
        left_us -= stretch_us + halt_us + pause_us
    legs.append(Leg(duration_us=SECOND_US, ignition=Ignition.OFF))
    legs.append(Leg(duration_us=LEAVING_US - SECOND_US, ignition=Ignition.LOCK))
    return tuple(legs)
