"""The sources of the interlock: what each one says, as one verdict, and everything `judge` looks at.

Rules (README §1.2, SPEC §19.1): a verdict says how a source stands to "this car is parked": it agrees, it
disagrees, it is jammed, its self-check failed, it is absent (neutral) or lost (heard in this window, then
gone). Functions here have no memory, so they never say lost of what merely went away: `at_rest.AtRest`
remembers. The agent's facts (S-04) are as old as they say plus the time since they came; older than
`FACTS_AGE_S_MAX` they are none. A value of a wrong kind is no value.

This module does not judge. It has no annotations, see `strict_cbor`.

Example:
    >>> wheel_verdict([0, 1], False, False, 5), wheel_verdict([900, 1], False, False, 5)
    (2, 3)
"""

ABSENT, LOST, AGREES, DISAGREES, JAMMED, FAILED = range(6)  # as disposition key 13 (SPEC §18.9)

GNSS_FIX, GNSS_ROOF, GNSS_JAMMED, GNSS_NONE = range(4)  # state of facts key 2

ZONE_CLEAR, ZONE_INSIDE, ZONE_UNKNOWN = range(3)  # facts key 3

(
    F_WHEEL,
    F_GNSS,
    F_ZONE,
    F_AMBIENT,
    F_MINUTE,
    F_BUSINESS,
    F_BUS_ASLEEP,
    F_HAZARD,
    F_CRASH,
    F_IGNITION,
    F_ENGINE,
) = range(1, 12)  # keys of FACTS


class Seen:
    """Everything the interlock looks at, at one moment. What is not filled in refuses or is absent.

    Attributes:
        mode_active: whether the mode is ACTIVE and no fault is latched.
        crash_left_s, rate_left_s, override_left_s: s until the hold, the rate, the window end; 0 when over.
            For locking again after an emergency window of the same lease, and for no other lock, the caller
            gives 0 as rate_left_s.
        warned: ignition cycles of this episode on which the warning was heard.
        ignition, crank, engine: by the device's own wires; None when not sensed.
        ignition_bus, engine_bus: by the bus; None when it says nothing.
        accel, wheel, gnss: verdicts, by `AtRest`.
        wheel_value, gnss_value: (mm/s, age s) or None; for the record.
        rest_s: s at rest without a break.
        cycle_ended: whether the drive cycle ended, by `DriveCycle`.
        ran_s: s since the engine last ran, or may have.
        hazard: hazard lights; None when not known (neutral).
        zone: 0 clear, 1 inside or touching, 2 unknown, None without facts.
        zone_age_s: of the fix behind it, now; zone_version: of the set; zone_unc_m: of the fix, m, or None.
        ambient_c10, ambient_age_s: outside air by the car, tenths of °C, or None.
        local_minute: of the day, or None; business_day: or None.
        supply_mv, relay_sensed: for the record.
    """

    def __init__(self):
        self.mode_active = False
        self.crash_left_s = self.rate_left_s = self.override_left_s = None
        self.warned = 0
        self.ignition = self.crank = self.engine = self.ignition_bus = self.engine_bus = None
        self.accel = self.wheel = self.gnss = ABSENT
        self.wheel_value = self.gnss_value = None
        self.rest_s = 0
        self.cycle_ended, self.ran_s = False, 0
        self.hazard = None
        self.zone = self.zone_age_s = self.zone_version = self.zone_unc_m = None
        self.ambient_c10 = self.ambient_age_s = None
        self.local_minute = self.business_day = None
        self.supply_mv = self.relay_sensed = None


def is_count(value):
    """Return whether a value is a number of at least 0 (and no truth value)."""
    return is_number(value) and value >= 0


def is_number(value):
    """Return whether a value is a whole number (and no truth value)."""
    return isinstance(value, int) and not isinstance(value, bool)


def pair(value, facts_age_s):
    """Return [number, age] of a fact with its age now, or None."""
    if not isinstance(value, (list, tuple)) or len(value) < 2:
        return None
    if not is_number(value[0]) or not is_count(value[1]):
        return None
    return value[0], value[1] + facts_age_s


def accel_verdict(accel):
    """Return the verdict of the device's own accelerometer: "still", "moving", "failed" or None."""
    if accel == "still":
        return AGREES
    if accel == "moving":
        return DISAGREES
    return ABSENT if accel is None else FAILED


def wheel_verdict(wheel, bus_asleep, ignition, age_s_max):
    """Return the verdict of the wheel speed.

    Args:
        wheel: (mm/s, age s) or None.
        bus_asleep: whether the bus fell asleep after a last 0, by the agent.
        ignition: by the device's own wire: only its "off" makes a sleeping bus agree.
        age_s_max: older is gone.
    """
    if wheel is not None and wheel[1] <= age_s_max:
        return AGREES if wheel[0] == 0 else DISAGREES
    if bus_asleep is True and ignition is False and (wheel is None or wheel[0] == 0):
        return AGREES
    return ABSENT


def gnss_verdict(fix, state, speed_mm_s_max, age_s_max):
    """Return the verdict of GNSS: a fix by its speed, a roof is neutral, a loss nothing explains is a loss.

    Args:
        fix: (mm/s, age s) or None.
        state: 0 fix, 1 roof (low C/N0, steady gain), 2 jammed, 3 none; None when not fitted or silent.
        speed_mm_s_max: up to it the car may stand.
        age_s_max: older is gone.
    """
    if state is None or state == GNSS_ROOF:
        return ABSENT
    if state == GNSS_JAMMED:
        return JAMMED
    if state == GNSS_FIX and fix is not None and fix[1] <= age_s_max:
        return AGREES if 0 <= fix[0] <= speed_mm_s_max else DISAGREES
    return LOST
