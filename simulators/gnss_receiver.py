r"""A GNSS receiver that says in NMEA 0183 where the simulated car is, and can be led astray.

Rules: RMC, GGA, GSA, GSV and VTG once a second with right checksums; the antenna wanders a metre or two
around the truth, as receivers do, by the seed; after power-on it has no fix, then a flat one, then a full
one. A fault is data: a kind and the time it lasts. A receiver has no say over the car, and does not know
the road.

Example:
    >>> from simulators import drive_cycles
    >>> from simulators.vehicle import Vehicle
    >>> car = Vehicle(seed=7, legs=drive_cycles.park(60))
    >>> GnssReceiver(seed=7).burst(car.state, 10_000_000, utc_us=1_767_600_000_000_000)[-1]
    b'$GNVTG,,T,,M,0.00,N,0.00,K,A*3D\r\n'
"""

from __future__ import annotations

import datetime as dt
import functools
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from simulators.route import METRES_PER_DEGREE
from simulators.virtual_clock import SECOND_US

if TYPE_CHECKING:
    from simulators.vehicle import VehicleState

KNOTS_PER_MPS = 3.6 / 1.852
NO_FIX_UNTIL_US = 2 * SECOND_US  # a warm start under open sky
FLAT_FIX_UNTIL_US = 3 * SECOND_US
WANDER_M = 1.2  # standard deviation of a car receiver's error under open sky
WANDER_KEPT = 0.97  # of one second's error is still there in the next: receivers drift, they do not jump
JUMP_DEGREES = 0.5  # half a degree is 55 km: no car drives that in a second
COURSE_SPEED_MIN_MPS = 0.5  # below this a receiver does not know which way it points
WEEK_ROLLOVER = dt.timedelta(weeks=1024)  # what a receiver with old firmware loses. Source: IS-GPS-200 §3.3.4
SATELLITES_IN_A_GSV = 4
SATELLITES_IN_A_GSA = 12
GARBLED_SHARE = 0.4  # of the lines while garbling lasts


class GnssFaultKind(StrEnum):
    """Ways in which a receiver can be wrong."""

    NO_FIX = "no_fix"
    GARBLED = "garbled"
    JUMP = "jump"
    YEAR_1970 = "year_1970"
    WEEK_ROLLOVER = "week_rollover"


@dataclass(frozen=True, slots=True, kw_only=True)
class GnssFault:
    """One fault and the time it lasts, in microseconds since the world began; the end is not part of it."""

    kind: GnssFaultKind
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Satellite:
    """One satellite in view, with its signal in dB-Hz."""

    prn: int
    elevation_deg: int
    azimuth_deg: int
    signal_dbhz: int


def sentence(body: str) -> bytes:
    """Return a line with its dollar sign, checksum and line end. Source: NMEA 0183 §5.3."""
    checksum = functools.reduce(lambda left, right: left ^ right, body.encode("ascii"), 0)
    return f"${body}*{checksum:02X}\r\n".encode("ascii")


class GnssReceiver:
    """One receiver; `burst` is asked once a second, in order.

    Args:
        seed: chooses sky and wandering.
        faults: what goes wrong, and when.
    """

    def __init__(self, *, seed: int, faults: tuple[GnssFault, ...] = ()) -> None:
        self._rng = random.Random(f"gnss {seed}")
        self._faults = faults
        self._east_m = self._rng.gauss(0.0, WANDER_M)
        self._north_m = self._rng.gauss(0.0, WANDER_M)
        self._sky = tuple(
            Satellite(
                prn=prn,
                elevation_deg=self._rng.randrange(8, 85),
                azimuth_deg=self._rng.randrange(360),
                signal_dbhz=self._rng.randrange(28, 47),
            )
            for prn in sorted(self._rng.sample(range(1, 33), 10))
        )

    def burst(self, state: VehicleState, now_us: int, *, utc_us: int) -> list[bytes]:
        """Return this second's lines for a car in this state.

        Args:
            state: the car.
            now_us: microseconds since the receiver was powered.
            utc_us: the true UTC, microseconds since the epoch.
        """
        active = {fault.kind for fault in self._faults if fault.start_us <= now_us < fault.end_us}
        self._wander()
        mode = 1 if now_us < NO_FIX_UNTIL_US else 2 if now_us < FLAT_FIX_UNTIL_US else 3
        if GnssFaultKind.NO_FIX in active:
            mode = 1
        lines = self._lines(state, mode, _said_time(utc_us, active), has_jumped=GnssFaultKind.JUMP in active)
        if GnssFaultKind.GARBLED in active:
            lines = [self._garble(line) if self._rng.random() < GARBLED_SHARE else line for line in lines]
        return lines

    def _wander(self) -> None:
        fresh = WANDER_M * (1 - WANDER_KEPT**2) ** 0.5
        self._east_m = self._east_m * WANDER_KEPT + self._rng.gauss(0.0, fresh)
        self._north_m = self._north_m * WANDER_KEPT + self._rng.gauss(0.0, fresh)

    def _lines(self, state: VehicleState, mode: int, said: dt.datetime, *, has_jumped: bool) -> list[bytes]:
        """Return RMC, GGA, GSA, GSV and VTG, in the order receivers use."""
        has_fix = mode > 1
        clock = f"{said:%H%M%S}.{said.microsecond // 10_000:02d}"
        latitude = state.place.latitude_deg + self._north_m / METRES_PER_DEGREE + JUMP_DEGREES * has_jumped
        longitude = state.place.longitude_deg + self._east_m / METRES_PER_DEGREE
        where = f"{_degrees(latitude, 2, 'NS')},{_degrees(longitude, 3, 'EW')}" if has_fix else ",,,"
        is_moving = state.speed_mps >= COURSE_SPEED_MIN_MPS
        course = f"{state.place.heading_deg:.2f}" if has_fix and is_moving else ""
        knots = f"{state.speed_mps * KNOTS_PER_MPS:.2f}" if has_fix else ""
        kmh = f"{state.speed_mps * 3.6:.2f}" if has_fix else ""
        used = self._sky[:8] if mode == 3 else self._sky[:3] if mode == 2 else ()  # noqa: PLR2004 - NMEA's 3D and 2D
        hdop = {3: "0.90", 2: "2.40"}.get(mode, "99.99")
        altitude = "12.4,M,17.9,M" if mode == 3 else ",M,,M"  # noqa: PLR2004 - only a 3D fix has a height
        ids = ",".join([f"{item.prn:02d}" for item in used] + [""] * (SATELLITES_IN_A_GSA - len(used)))
        return [
            sentence(
                f"GNRMC,{clock},{'A' if has_fix else 'V'},{where},{knots},{course},{said:%d%m%y},,,"
                f"{'A' if has_fix else 'N'}"
            ),
            sentence(f"GNGGA,{clock},{where},{int(has_fix)},{len(used):02d},{hdop},{altitude},,"),
            sentence(f"GNGSA,A,{mode},{ids},1.60,{hdop},1.30"),
            *self._in_view(),
            sentence(f"GNVTG,{course},T,,M,{knots},N,{kmh},K,{'A' if has_fix else 'N'}"),
        ]

    def _in_view(self) -> list[bytes]:
        groups = [
            self._sky[at : at + SATELLITES_IN_A_GSV] for at in range(0, len(self._sky), SATELLITES_IN_A_GSV)
        ]
        return [
            sentence(
                f"GPGSV,{len(groups)},{number},{len(self._sky):02d},"
                + ",".join(
                    f"{item.prn:02d},{item.elevation_deg:02d},{item.azimuth_deg:03d},{item.signal_dbhz:02d}"
                    for item in group
                )
            )
            for number, group in enumerate(groups, start=1)
        ]

    def _garble(self, line: bytes) -> bytes:
        """Return the line with a byte changed, its end torn off, or noise in its place."""
        at = self._rng.randrange(1, len(line) - 5)
        match self._rng.randrange(3):
            case 0:
                return line[:at] + bytes([line[at] ^ (1 << self._rng.randrange(7))]) + line[at + 1 :]
            case 1:
                return line[:at] + b"\r\n"
            case _:
                return self._rng.randbytes(at).replace(b"\n", b"?") + b"\r\n"


def _said_time(utc_us: int, active: set[GnssFaultKind]) -> dt.datetime:
    """Return the time that the receiver says, which a fault makes another one."""
    true = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=utc_us)
    if GnssFaultKind.YEAR_1970 in active:
        return true.replace(year=1970, month=1, day=1)
    return true - WEEK_ROLLOVER if GnssFaultKind.WEEK_ROLLOVER in active else true


def _degrees(value: float, width: int, letters: str) -> str:
    """Return degrees and minutes with hemisphere, as `0123.45678,N`; minutes to 5 places are 2 cm."""
    hundred_thousandths = round(abs(value) * 60 * 100_000)
    whole, rest = divmod(hundred_thousandths, 60 * 100_000)
    minutes, fraction = divmod(rest, 100_000)
    return f"{whole:0{width}d}{minutes:02d}.{fraction:05d},{letters[value < 0]}"
