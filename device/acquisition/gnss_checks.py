"""What a receiver says and cannot be: a date of another week, a place no car can have reached.

Rules of the date (GPS counts weeks modulo 1024, so old firmware falls back by 1024 weeks, 19.6 years):
- A second clock decides. When the date plus a whole number of 1024 weeks is within a day of what another
  clock says (any but none), the receiver rolled over and the date is corrected: two independent clocks do not
  agree by chance to one day in 19.6 years.
- Without such a witness a date before the floor is unknown: the fix keeps its place and loses its time. It is
  never moved by a guess.
- A date after the floor that no witness contradicts in this way stands as the receiver said it.

Rules of the place:
- Two fixes farther apart than `JUMP_SPEED_MM_S_MAX` allows in their time, plus `JUMP_SLACK_MM` of scatter,
  are a jump. **The fix is kept as it is**: a jump may be a spoofer, a tunnel or a wrong position before, and
  who reads the trace must see it. It is counted, and told once until a fix follows that is no jump.
- Time is the receiver's own when both fixes have one, else that of arrival. Lost fixes in between only make
  time pass.

It changes no place, forgets nothing by itself and knows no policy.

Example:
    >>> rolled_over, now = 1_148_256_000_000_000, 1_767_571_200_000_000
    >>> right_date(rolled_over, witness_us=now, floor_us=1_262_304_000_000_000).weeks
    1024

Source: IS-GPS-200 §3.3.4 (the week number).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.limits import JUMP_SLACK_MM, JUMP_SPEED_MM_S_MAX

if TYPE_CHECKING:
    from protocol.fixes import Fix

_ROLLOVER_WEEKS = 1_024
_ROLLOVER_US = _ROLLOVER_WEEKS * 7 * 86_400_000_000
_WITNESS_US = 86_400_000_000  # a clock kept by a battery alone may be off by hours, hardly by a day

_EARTH_RADIUS_MM = 6_371_000_000
_FULL_CIRCLE_E7 = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A date after the rules.

    Attributes:
        utc_us: What to believe, None when unknown.
        weeks: By how many weeks it was moved; 0 when it stands.
    """

    utc_us: int | None
    weeks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """Two fixes that one car cannot have made: how far apart in mm and µs."""

    distance_mm: int
    elapsed_us: int


def right_date(utc_us: int, *, witness_us: int | None, floor_us: int) -> Dated:
    """Apply the rules of the date.

    Args:
        utc_us: The receiver's UTC at a fix.
        witness_us: The UTC of the same moment by another clock, None without one.
        floor_us: No date before it is believed.
    """
    if witness_us is not None and witness_us >= floor_us:
        turns = round((witness_us - utc_us) / _ROLLOVER_US)
        corrected = utc_us + turns * _ROLLOVER_US
        if turns > 0 and abs(corrected - witness_us) <= _WITNESS_US:
            return Dated(utc_us=corrected, weeks=turns * _ROLLOVER_WEEKS)
    return Dated(utc_us=utc_us if utc_us >= floor_us else None)


class JumpCheck:
    """Watches successive fixes.

    Attributes:
        jumps: Fixes that could not follow on the one before, since it was made.
    """

    def __init__(self) -> None:
        self.jumps = 0
        self._before: Fix | None = None
        self._is_jumping = False

    def check(self, fix: Fix) -> Jump | None:
        """Check the next fix.

        Args:
            fix: In order of arrival; without a place it is ignored.

        Returns:
            The jump that this fix began, None when it is none or goes on from one that was told.
        """
        if fix.lat_e7 is None or fix.lon_e7 is None:
            return None
        before, self._before = self._before, fix
        jump = None if before is None else _jump(before, fix)
        self.jumps += jump is not None
        is_new = jump is not None and not self._is_jumping
        self._is_jumping = jump is not None
        return jump if is_new else None


def _jump(before: Fix, fix: Fix) -> Jump | None:
    elapsed_us = fix.t_us - before.t_us
    if before.utc_us is not None and fix.utc_us is not None:
        elapsed_us = fix.utc_us - before.utc_us
    # A receiver whose time goes back has not moved in no time; the arrival says how long it took.
    elapsed_us = max(elapsed_us if elapsed_us > 0 else fix.t_us - before.t_us, 0)
    distance_mm = _distance_mm(before, fix)
    if distance_mm <= JUMP_SLACK_MM + JUMP_SPEED_MM_S_MAX * elapsed_us // 1_000_000:
        return None
    return Jump(distance_mm=distance_mm, elapsed_us=elapsed_us)


def _distance_mm(one: Fix, other: Fix) -> int:
    """Return the great-circle distance (haversine) in mm."""
    assert one.lat_e7 is not None
    assert one.lon_e7 is not None
    assert other.lat_e7 is not None
    assert other.lon_e7 is not None
    to_radians = 2 * math.pi / _FULL_CIRCLE_E7
    lat_one, lat_other = one.lat_e7 * to_radians, other.lat_e7 * to_radians
    half_lat = (lat_other - lat_one) / 2
    half_lon = (other.lon_e7 - one.lon_e7) * to_radians / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_one) * math.cos(lat_other) * math.sin(half_lon) ** 2
    return round(2 * _EARTH_RADIUS_MM * math.asin(math.sqrt(min(1.0, chord))))
