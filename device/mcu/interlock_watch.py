"""From wires and facts to `Seen`: the trackers of the interlock in one place, fed at each step.

Rules: `feed` is called at each step of the firmware and also while a signature is verified, so that no gap
of `STEP_GAP_S_MAX` opens. Facts are a map of the link (FACTS) as it came: whatever is not of its form is no
value, and facts older than `FACTS_AGE_S_MAX` are none (S-04: they agree or veto, none suffices).

`seen` gives a `Seen` without what only the caller knows: mode_active, crash_left_s, rate_left_s,
override_left_s, warned. This module has no annotations, see `strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> watch = Watch(floors)
    >>> watch.feed(0, False, False, False, "still", 12_600, False, None, 0)
    >>> watch.seen(0).ignition, watch.moving, watch.cycle.ended
    (False, False, False)
"""

from device.mcu.at_rest import AtRest, Motion
from device.mcu.drive_cycle import DriveCycle
from device.mcu.sources import (
    F_AMBIENT,
    F_BUS_ASLEEP,
    F_BUSINESS,
    F_CRASH,
    F_ENGINE,
    F_GNSS,
    F_HAZARD,
    F_IGNITION,
    F_MINUTE,
    F_WHEEL,
    F_ZONE,
    Seen,
    accel_verdict,
    gnss_verdict,
    is_count,
    pair,
    wheel_verdict,
)


class Watch:
    """The device's eyes.

    Attributes: rest (`AtRest`), motion (`Motion`), cycle (`DriveCycle`), moving (for the coil), crash (the
    agent saw a crash, by fresh facts), local_minute (or None).
    """

    def __init__(self, floors, *, cycle_ended=False):
        self.floors = floors
        self.rest, self.motion = AtRest(floors), Motion(floors)
        self.cycle = DriveCycle(floors, ended=cycle_ended)
        self.moving = self.crash = False
        self.local_minute = None
        self._seen = Seen()

    def feed(self, now_s, ignition, crank, engine, accel, supply_mv, relay_sensed, facts, facts_age_s):
        """Take one step: own inputs as the board gives them, the last FACTS map or None and its age in s."""
        if (
            not isinstance(facts, dict)
            or not is_count(facts_age_s)
            or facts_age_s > self.floors.FACTS_AGE_S_MAX
        ):
            facts, facts_age_s = {}, 0
        seen = self._seen = Seen()
        seen.ignition, seen.crank, seen.engine = _truth(ignition), _truth(crank), _truth(engine)
        seen.supply_mv, seen.relay_sensed = supply_mv, relay_sensed
        seen.ignition_bus, seen.engine_bus = _truth(facts.get(F_IGNITION)), _truth(facts.get(F_ENGINE))
        seen.hazard = _truth(facts.get(F_HAZARD))
        seen.business_day = _truth(facts.get(F_BUSINESS))
        self.local_minute = seen.local_minute = _minute(facts.get(F_MINUTE))
        self.crash = facts.get(F_CRASH) is True
        is_asleep = facts.get(F_BUS_ASLEEP) is True
        self._speeds(now_s, accel, facts, facts_age_s, is_asleep)
        self._place_and_air(facts, facts_age_s)
        self.cycle.feed(
            now_s, seen.ignition, seen.engine, seen.ignition_bus, seen.engine_bus, is_asleep, self.moving
        )
        seen.cycle_ended, seen.ran_s = self.cycle.ended, self.cycle.ran_s

    def seen(self, now_s):
        """Return what was seen at the last step; a caller that did not look for long sees nothing at rest."""
        seen = self._seen
        if not self.rest.is_fresh(now_s):
            seen.rest_s, seen.cycle_ended = 0, False
        return seen

    def _speeds(self, now_s, accel, facts, facts_age_s, is_asleep):
        seen, floors = self._seen, self.floors
        seen.wheel_value = wheel = pair(facts.get(F_WHEEL), facts_age_s)
        fix = facts.get(F_GNSS)
        seen.gnss_value = gnss = pair(fix, facts_age_s)
        state = fix[2] if gnss is not None and len(fix) > 2 else None
        verdicts = (
            accel_verdict(accel),
            wheel_verdict(wheel, is_asleep, seen.ignition, floors.SPEED_AGE_S_MAX),
            gnss_verdict(gnss, state, floors.GNSS_REST_MM_S_MAX, floors.SPEED_AGE_S_MAX),
        )
        self.rest.feed(now_s, *verdicts)
        self.motion.feed(now_s, *verdicts)
        self.moving = self.motion.is_moving
        seen.accel, seen.wheel, seen.gnss = self.rest.verdicts
        seen.rest_s = self.rest.held_s

    def _place_and_air(self, facts, facts_age_s):
        seen = self._seen
        zone = facts.get(F_ZONE)
        found = pair(zone, facts_age_s)
        if found is not None and len(zone) > 2:
            seen.zone, seen.zone_age_s = found
            seen.zone_version = zone[2]
            seen.zone_unc_m = zone[3] if len(zone) > 3 else None
        ambient = pair(facts.get(F_AMBIENT), facts_age_s)
        if ambient is not None:
            seen.ambient_c10, seen.ambient_age_s = ambient


def _truth(value):
    return value if value is True or value is False else None


def _minute(value):
    return value if is_count(value) and value < 1_440 else None
