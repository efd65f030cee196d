"""What the agent tells the microcontroller once a second: what the car's bus and the receiver say, with ages.

Rules (README §1.2, §1.15, §2.6; S-03, S-04, S-06, S-07):
- Facts can veto or agree, never suffice. Unknown is sent as null, never as the last value made fresh: each
  value has the age of its frame, and one that is old says so by itself.
- The bus is asleep after a last 0 when nothing came for half a minute and the last speed was 0 and the last
  ignition, where the bus tells one, was off. Silence after a last speed above 0 is silence.
- The place is judged from the last fix with a position, its uncertainty and the way driven since. A way is
  known while the speed is told without a break, and while a sleeping bus says that the car stands.
- A receiver without a fix is under a roof when its C/N0 is low and its gain steady, and jammed when its gain
  moved away or the receiver says so. One that tells neither has simply no fix.

It asks no clock and judges no lock.

Example:
    >>> FactsKeeper().body(None, None, None, now_us=0)[1] is None
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from device.orders.local_hours import local_time
from device.orders.zones import Place
from protocol.dictionary import physical

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from device.orders.local_hours import Calendar
    from device.orders.zones import ZoneSet
    from device.state import StateTest
    from protocol.clock import Instant
    from protocol.dictionary import ColumnDef, GroupDef
    from protocol.fixes import Fix

SECOND_US = 1_000_000
SPEED_PATH, AMBIENT_PATH = "Vehicle.Speed", "Vehicle.Exterior.AirTemperature"
MM_S_PER_UNIT = {"km/h": 1_000_000 / 3_600, "kph": 1_000_000 / 3_600, "mph": 447.04, "m/s": 1_000.0}

BUS_SILENT_US = 30 * SECOND_US  # a bus that only pauses between two messages is back long before
CRASH_TOLD_US = 60 * SECOND_US  # told often enough to be heard, and not for ever
SPEED_BREAK_US = 5 * SECOND_US  # speed is sent ten times a second; after five without it the way is unknown
FIX_FRESH_US = 3 * SECOND_US  # receivers say something each second
PLACE_AGE_US_MAX = 1_800 * SECOND_US  # README §1.15: a fix at most 30 min old
UNCERTAIN_M_PER_HDOP = 5.0  # range error of a car's receiver, 95 %, times the geometry
FIX_2D = 2
CN0_LOW_DBHZ = 25  # a satellite in the open is received at 35 to 50
GAIN_STEADY_DB = 3
_FIX, _ROOF, _JAMMED, _NO_FIX = range(4)


class Heard(NamedTuple):
    """A value and when it was received."""

    value: int
    t_us: int


class Radio(NamedTuple):
    """How the receiver hears, None where it does not tell.

    Attributes:
        cn0_dbhz: strongest satellite.
        gain_db: of the receiver's amplifier, against its value in the open.
        is_jammed: what the receiver says itself.
        t_us: when.
    """

    cn0_dbhz: int | None
    gain_db: int | None
    is_jammed: bool | None
    t_us: int


class FactsKeeper:
    """The last word of each source.

    Args:
        states: `ignition_on`, `engine_running`, `hazard_lights`, `crashed`, as far as the profile names them.
    """

    def __init__(self, states: Mapping[str, StateTest] | None = None) -> None:
        self._states = dict(states or {})
        self._held: dict[str, Heard] = {}
        self.speed: Heard | None = None
        self._ambient: Heard | None = None
        self._bus_us: int | None = None
        self._fix: Fix | None = None
        self._place: Fix | None = None
        self._way_mm: float | None = None
        self._radio: Radio | None = None

    # --- what comes in ---

    def take_rows(self, bus: str, group: GroupDef, t_us: NDArray[np.int64], raw: NDArray[np.int64]) -> None:
        """Take decoded rows of a group, before sampling."""
        if not len(t_us):
            return
        last_us = int(t_us[-1])
        self._bus_us = max(last_us, self._bus_us or 0)
        for at, column in enumerate(group.columns):
            if column.path == SPEED_PATH and column.unit in MM_S_PER_UNIT:
                for row, value in enumerate(physical(column, raw[at]).tolist()):
                    mm_s = round(abs(value) * MM_S_PER_UNIT[column.unit or ""])
                    self.note_speed(mm_s, int(t_us[row]))
            elif column.path == AMBIENT_PATH:
                self._ambient = Heard(round(_last(column, raw[at]) * 10), last_us)
            self._take_states(bus, group.message, column, raw[at], last_us)

    def _take_states(
        self, bus: str, message: str, column: ColumnDef, raw: NDArray[np.int64], last_us: int
    ) -> None:
        name = f"{message}.{column.signal}"
        for state, test in self._states.items():
            if test.bus == bus and test.signal == name:
                self._held[state] = Heard(int(test.holds(_last(column, raw))), last_us)

    def note_speed(self, mm_s: int, t_us: int) -> None:
        """The car's own speed was told."""
        before, self.speed = self.speed, Heard(mm_s, t_us)
        if self._way_mm is None or before is None:
            return
        elapsed_us = t_us - before.t_us
        if elapsed_us > SPEED_BREAK_US and not (before.value == 0 and mm_s == 0):
            self._way_mm = None
        else:
            self._way_mm += max(before.value, mm_s) * max(0, elapsed_us) / SECOND_US

    def has_fix(self, now_us: int) -> bool:
        """Whether the receiver told a place within the last seconds."""
        return self._place is not None and now_us - self._place.t_us <= FIX_FRESH_US

    def note_fix(self, fix: Fix) -> None:
        """The receiver told an epoch, with or without a position."""
        self._fix = fix
        if fix.mode >= FIX_2D and fix.lat_e7 is not None and fix.lon_e7 is not None:
            self._place = fix
            self._way_mm = 0.0

    def note_radio(
        self, *, cn0_dbhz: int | None, gain_db: int | None, is_jammed: bool | None, t_us: int
    ) -> None:
        """The receiver told how it hears."""
        self._radio = Radio(cn0_dbhz, gain_db, is_jammed, t_us)

    # --- what goes out ---

    def is_bus_asleep(self, now_us: int) -> bool:
        """Whether the bus fell silent after a last 0."""
        ignition = self._held.get("ignition_on")
        is_silent = self._bus_us is not None and now_us - self._bus_us >= BUS_SILENT_US
        is_zero = self.speed is not None and self.speed.value == 0
        return is_silent and is_zero and (ignition is None or not ignition.value)

    def body(
        self, zones: ZoneSet | None, calendar: Calendar | None, now: Instant | None, *, now_us: int
    ) -> dict[int, object]:
        """Return FACTS, by key.

        Args:
            zones: the zone set in force, None when the box has none.
            calendar: the jurisdiction's hours, None when the box has none.
            now: the present moment, None without a clock.
            now_us: the present moment, monotonic µs.
        """
        local = None if now is None else local_time(calendar, now)
        return {
            1: _aged(self.speed, now_us),
            2: self._gnss(now_us),
            3: self._judge_place(zones, now_us),
            4: _aged(self._ambient, now_us),
            5: None if local is None else local[0],
            6: None if local is None else local[1],
            7: self.is_bus_asleep(now_us),
            8: self._held_now("hazard_lights", now_us),
            9: self._has_crashed(now_us),
            10: self._held_now("ignition_on", now_us),
            11: self._held_now("engine_running", now_us),
        }

    def _held_now(self, state: str, now_us: int) -> bool | None:
        """Return a state of the car, None when the bus does not tell it (any more)."""
        held = self._held.get(state)
        if held is None or (now_us - held.t_us > BUS_SILENT_US and not self.is_bus_asleep(now_us)):
            return None
        return bool(held.value)

    def _has_crashed(self, now_us: int) -> bool:
        """Return whether the bus told a crash a moment ago; how long it holds, the microcontroller counts."""
        crashed = self._held.get("crashed")
        return crashed is not None and bool(crashed.value) and now_us - crashed.t_us <= CRASH_TOLD_US

    def _gnss(self, now_us: int) -> list[int] | None:
        fix = self._fix
        if fix is None:
            return None
        age_s = max(0, now_us - fix.t_us) // SECOND_US
        is_fresh = now_us - fix.t_us <= FIX_FRESH_US
        if fix.mode >= FIX_2D and fix.speed_mm_s is not None and is_fresh:
            state = _JAMMED if self._is_jammed(now_us) else _FIX
            return [fix.speed_mm_s, age_s, state]
        return [fix.speed_mm_s or 0, age_s, self._without_fix(now_us)]

    def _is_jammed(self, now_us: int) -> bool:
        radio = self._radio
        if radio is None or now_us - radio.t_us > FIX_FRESH_US:
            return False
        is_moved = radio.gain_db is not None and abs(radio.gain_db) > GAIN_STEADY_DB
        return bool(radio.is_jammed) or is_moved

    def _without_fix(self, now_us: int) -> int:
        radio = self._radio
        if self._is_jammed(now_us):
            return _JAMMED
        if radio is None or now_us - radio.t_us > FIX_FRESH_US:
            return _NO_FIX
        is_weak = radio.cn0_dbhz is not None and radio.cn0_dbhz < CN0_LOW_DBHZ
        return _ROOF if is_weak and radio.gain_db is not None else _NO_FIX

    def _judge_place(self, zones: ZoneSet | None, now_us: int) -> list[int | None] | None:
        """Return [place, age of the fix s, version of the zones, uncertainty with the way since m]."""
        if zones is None:
            return None
        fix = self._place
        if fix is None or fix.lat_e7 is None or fix.lon_e7 is None:
            return [Place.UNKNOWN, 0, zones.version, None]
        age_us = max(0, now_us - fix.t_us)
        around_m = self._around_m(fix, now_us)
        if age_us > PLACE_AGE_US_MAX or around_m is None:
            return [Place.UNKNOWN, age_us // SECOND_US, zones.version, None]
        place = zones.judge(fix.lat_e7, fix.lon_e7, around_m)
        return [int(place), age_us // SECOND_US, zones.version, round(around_m)]

    def _around_m(self, fix: Fix, now_us: int) -> float | None:
        if fix.hdop_centi is None:
            return None
        is_live = self._fix is self._place and now_us - fix.t_us <= FIX_FRESH_US
        has_word = self.speed is not None and (
            now_us - self.speed.t_us <= SPEED_BREAK_US or self.is_bus_asleep(now_us)
        )
        if self._way_mm is None or not (is_live or has_word):
            return None
        return fix.hdop_centi / 100 * UNCERTAIN_M_PER_HDOP + self._way_mm / 1_000


def _aged(heard: Heard | None, now_us: int) -> list[int] | None:
    return None if heard is None else [heard.value, max(0, now_us - heard.t_us) // SECOND_US]


def _last(column: ColumnDef, raw: NDArray[np.int64]) -> float:
    return float(physical(column, raw[-1:])[0])
