"""Supply, ignition wire, crank wire, attitude: what must be seen moving, and the mistakes that show there.

Rules: each wire is seen in both positions, in the order that is asked for; a mistake is named as soon as it
is certain. Two sights in a row decide about a level, so that one odd sight decides nothing. Voltages are of a
12 V car.

Example:
    >>> watch = IgnitionWatch()
    >>> watch.look(Sight(t_us=0, ignition=False)), watch.look(Sight(t_us=1, ignition=False)), watch.asks
    (None, None, 'KEY_ON')
"""

from __future__ import annotations

from device.commissioning.sight import Outcome, Sight

SUPPLY_MV_MIN = 11_800  # at rest: a third of the charge of a 12 V battery; below it a start is a gamble
SUPPLY_MV_MAX = 15_500  # above what any 12 V charging system gives
DEAD_MV = 6_000  # no battery that is connected is so low: the line is dead, and the box lives on its buffer
IN_A_ROW = 2
STILL_IN_A_ROW = 3


class SupplyWatch:
    """Three sights of a supply within its range."""

    asks = "WAIT"

    def __init__(self) -> None:
        self._seen: list[int] = []

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight."""
        if sight.supply_mv is None:
            return None
        self._seen.append(sight.supply_mv)
        if len(self._seen) < STILL_IN_A_ROW:
            return None
        lowest, highest = min(self._seen), max(self._seen)
        code = (
            "SUPPLY_SWITCHED"
            if lowest < DEAD_MV
            else "BATTERY_WEAK"
            if lowest < SUPPLY_MV_MIN
            else "SUPPLY_HIGH"
            if highest > SUPPLY_MV_MAX
            else ""
        )
        expected, measured = f"{SUPPLY_MV_MIN} to {SUPPLY_MV_MAX}", str(lowest if code else self._seen[-1])
        if code:
            return Outcome.fail(code, expected=expected, measured=measured, unit="mV")
        return Outcome.passed(expected=expected, measured=measured, unit="mV")

    def late(self) -> Outcome:
        """Return what it means that no supply was told."""
        return Outcome.fail("SUPPLY_UNKNOWN", expected=f"{SUPPLY_MV_MIN} to {SUPPLY_MV_MAX}", unit="mV")


class IgnitionWatch:
    """Key off, on, off: the wire follows, the crank wire does not, and the supply stays."""

    asks = "KEY_OFF"

    def __init__(self) -> None:
        self._phase = 0
        self._level = Level()
        self._swapped = 0

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight."""
        is_swap_sight = sight.ignition is False and sight.crank is True
        self._swapped = self._swapped + 1 if is_swap_sight else 0
        if self._swapped >= IN_A_ROW:
            return Outcome.fail("WIRES_SWAPPED", expected="ignition on", measured="crank on, ignition off")
        if sight.ignition is False and sight.supply_mv is not None and sight.supply_mv < DEAD_MV:
            return Outcome.fail(
                "SUPPLY_SWITCHED", expected=f"{SUPPLY_MV_MIN}", measured=str(sight.supply_mv), unit="mV"
            )
        wanted = self._phase == 1
        if not self._level.holds(sight.ignition, wanted=wanted):
            return None
        self._phase += 1
        self._level = Level()
        self.asks = "KEY_ON" if self._phase == 1 else "KEY_OFF"
        is_over = self._phase == 3  # noqa: PLR2004 - off, on, off
        return Outcome.passed(expected="off on off", measured="off on off") if is_over else None

    def late(self) -> Outcome:
        """Return what it means that the wire did not follow."""
        if self._phase == 1:
            return Outcome.fail("IGNITION_DEAD", expected="on", measured="off")
        return Outcome.fail("IGNITION_CONSTANT", expected="off", measured="on")


class CrankWatch:
    """Dead with the key on, live while cranking, dead again."""

    asks = "KEY_ON"

    def __init__(self) -> None:
        self._phase = 0
        self._level = Level()
        self._accessory = 0
        self._swapped = 0

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight."""
        is_swap_sight = sight.ignition is False and sight.crank is True
        self._swapped = self._swapped + 1 if is_swap_sight else 0
        if self._swapped >= IN_A_ROW:
            return Outcome.fail("WIRES_SWAPPED", expected="ignition on", measured="crank on, ignition off")
        match self._phase:
            case 0:
                return self._at_rest(sight)
            case 1:
                if sight.crank is True:
                    self._phase, self.asks = 2, "WAIT"
                elif sight.engine is True:
                    return Outcome.fail("CRANK_DEAD", expected="on while cranking", measured="engine runs")
            case _:
                if self._level.holds(sight.crank, wanted=False):
                    return Outcome.passed(expected="off on off", measured="off on off")
        return None

    def _at_rest(self, sight: Sight) -> Outcome | None:
        is_live = sight.ignition is True and sight.crank is True and sight.engine is not True
        self._accessory = self._accessory + 1 if is_live else 0
        if self._accessory > 2 * IN_A_ROW:
            return Outcome.fail("CRANK_ON_ACCESSORY", expected="off with the key on", measured="on")
        is_rest = sight.ignition is True and sight.crank is False
        if self._level.holds(is_rest or None, wanted=True):
            self._phase, self.asks, self._level = 1, "CRANK_ONCE", Level()
        return None

    def late(self) -> Outcome:
        """Return what it means that the wire did not move as asked."""
        if self._phase == 0:
            code = "CRANK_ON_ACCESSORY" if self._accessory else "IGNITION_DEAD"
            return Outcome.fail(code, expected="off with the key on")
        if self._phase == 1:
            return Outcome.fail("CRANK_DEAD", expected="on while cranking", measured="off")
        return Outcome.fail("CRANK_ON_ACCESSORY", expected="off after cranking", measured="on")


class AttitudeWatch:
    """The motion sensor works and says that the car stands."""

    asks = "STAND_STILL"

    def __init__(self) -> None:
        self._level = Level(in_a_row=STILL_IN_A_ROW)
        self._last = ""

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight."""
        self._last = sight.accel or ""
        if sight.accel == "failed":
            return Outcome.fail("ACCEL_FAILED", expected="still", measured="failed")
        if self._level.holds(sight.accel == "still", wanted=True):
            return Outcome.passed(expected="still", measured="still")
        return None

    def late(self) -> Outcome:
        """Return what it means that it was never still."""
        code = "CAR_MOVES" if self._last == "moving" else "ACCEL_FAILED"
        return Outcome.fail(code, expected="still", measured=self._last)


class Level:
    """Counts sights in a row that have a wanted level."""

    def __init__(self, *, in_a_row: int = IN_A_ROW) -> None:
        self._in_a_row = in_a_row
        self._count = 0

    def holds(self, level: bool | None, *, wanted: bool) -> bool:  # noqa: FBT001 - a wire's level
        """Return whether the level was as wanted often enough; an unknown one breaks the row."""
        self._count = self._count + 1 if level is wanted else 0
        return self._count >= self._in_a_row
