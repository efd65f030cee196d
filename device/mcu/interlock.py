"""The interlock: whether this car may be locked now, and the first reason why not (S-03 to S-09).

Rules: a total function over a table of rows, asked in the order of SPEC §19.2; a row refuses whatever it
does not name as allowed, a value of a wrong kind too. Floors are compiled in; `pre` of an order only
tightens them. All rows hold together with a go token at ARMED → LOCKED (README §1.3). Nothing here can
switch anything.

`NO_GO` stands where everything but the token and its forecast was asked: an order whose code is NO_GO is
ready to arm and to ask for a token (`waits_for_go`).

This module does not remember: `at_rest`, `drive_cycle` and `interlock_holds` do. It has no annotations, see
`strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> from device.mcu.sources import Seen
    >>> judge(Seen(), floors, None, None)[0]
    'MONITOR_ONLY'
"""

from device.mcu.sources import (
    ABSENT,
    AGREES,
    DISAGREES,
    FAILED,
    JAMMED,
    ZONE_CLEAR,
    ZONE_INSIDE,
    is_count,
    is_number,
)


class Go:
    """A verified go token (`orders_reader.read_go` said OK).

    Attributes: age_s (since its question was asked), forecast ((lowest, highest) °C for 12 h, or None).
    """

    def __init__(self, age_s, forecast):
        self.age_s = age_s
        self.forecast = forecast


def judge(seen, floors, pre, go):
    """Judge one moment.

    Args:
        seen: a `Seen`.
        floors: `floors` or, in the demo's image, `floors_demo`.
        pre: of the order (key 19), or None.
        go: a `Go`, or None.

    Returns:
        "OK" or the code of the first row that refuses, and the readings for disposition key 13: at most 16 of
        [name, value or None, age in s or None, verdict].
    """
    at = Moment(seen, Limits(floors, pre), go)
    return first_refusal([(code, row(at)) for code, row in ROWS]), readings(at)


def first_refusal(answers):
    """Return the code of the first (code, allowed) that is not exactly True, else "OK"."""
    for code, allowed in answers:
        if allowed is not True:
            return code
    return "OK"


def waits_for_go(code):
    """Return whether everything but the go token and its forecast allows the lock."""
    return code == "NO_GO"


class Moment:
    """What a row sees: `seen`, `limits`, `go`."""

    def __init__(self, seen, limits, go):
        self.seen, self.limits, self.go = seen, limits, go


# --- Limits: floors, tightened ------------------------------------------------------------------------------


class Limits:
    """The floors after an order's `pre`: each the tighter of the two, whatever the order says."""

    def __init__(self, floors, pre):
        pre = pre or {}
        self.floors = floors
        self.rest_s = max(floors.REST_S, pre.get(2, 0))
        self.ran_s = max(floors.DRIVE_CYCLE_S, pre.get(3, 0))
        self.motion_sources = max(floors.MOTION_SOURCES_MIN, pre.get(4, 0))
        self.zone_version = pre.get(5, 0)
        minutes, temp = pre.get(6), pre.get(7)
        self.minutes = _narrower((floors.HOURS_FROM_MIN, floors.HOURS_TO_MIN), minutes)
        self.temp = _narrower((floors.TEMP_C_MIN, floors.TEMP_C_MAX), temp)
        self.zone_unc_m = pre.get(8)


def _narrower(floor, wanted):
    if wanted is None:
        return floor
    return max(floor[0], wanted[0]), min(floor[1], wanted[1])


# --- Rows: True allows, all else refuses --------------------------------------------------------------------


def _mode(at):
    return at.seen.mode_active is True


def _no_crash(at):
    return _is_zero(at.seen.crash_left_s)


def _no_override(at):
    return _is_zero(at.seen.override_left_s)


def _rate(at):
    return _is_zero(at.seen.rate_left_s)


def _warned(at):
    return is_count(at.seen.warned) and at.seen.warned >= at.limits.floors.WARN_CYCLES_MIN


def _engine_stands(at):
    return _is_not_on(at.seen.engine) and _is_not_on(at.seen.engine_bus)


def _ignition_off(at):
    return _is_not_on(at.seen.ignition) and _is_not_on(at.seen.ignition_bus) and _is_not_on(at.seen.crank)


def _no_motion(at):
    verdicts = (at.seen.accel, at.seen.wheel, at.seen.gnss)
    return DISAGREES not in verdicts or AGREES in verdicts


def _no_dispute(at):
    verdicts = (at.seen.accel, at.seen.wheel, at.seen.gnss)
    return DISAGREES not in verdicts and JAMMED not in verdicts and FAILED not in verdicts


def _enough_sources(at):
    agreeing = 0
    for verdict in (at.seen.accel, at.seen.wheel, at.seen.gnss):
        if verdict == AGREES:
            agreeing += 1
        elif verdict != ABSENT:
            return False
    own = at.seen.accel == AGREES and at.seen.ignition is False and at.seen.engine is False
    return own and agreeing >= at.limits.motion_sources


def _cycle_ended(at):
    return at.seen.cycle_ended is True and is_count(at.seen.ran_s) and at.seen.ran_s >= at.limits.ran_s


def _rested(at):
    return is_count(at.seen.rest_s) and at.seen.rest_s >= at.limits.rest_s


def _no_hazard(at):
    return _is_not_on(at.seen.hazard)


def _not_in_zone(at):
    return at.seen.zone is None or (is_count(at.seen.zone) and at.seen.zone != ZONE_INSIDE)


def _zone_known(at):
    if at.seen.zone != ZONE_CLEAR or not is_count(at.seen.zone_age_s) or not is_count(at.seen.zone_version):
        return False
    if at.limits.zone_unc_m is not None and not (
        is_count(at.seen.zone_unc_m) and at.seen.zone_unc_m <= at.limits.zone_unc_m
    ):
        return False
    return (
        at.seen.zone_age_s <= at.limits.floors.ZONE_FIX_AGE_S_MAX
        and at.seen.zone_version >= at.limits.zone_version
    )


def _hours(at):
    if at.limits.floors.BUSINESS_DAYS_ONLY and at.seen.business_day is not True:
        return False
    return (
        is_count(at.seen.local_minute) and at.limits.minutes[0] <= at.seen.local_minute < at.limits.minutes[1]
    )


def _ambient_mild(at):
    return ambient_verdict(at) in (AGREES, ABSENT)


def _go(at):
    return at.go is not None and is_count(at.go.age_s) and at.go.age_s <= at.limits.floors.GO_AGE_S_MAX


def _air_known(at):
    verdicts = (ambient_verdict(at), forecast_verdict(at))
    return DISAGREES not in verdicts and AGREES in verdicts


ROWS = (
    ("MONITOR_ONLY", _mode),
    ("CRASH_HOLD", _no_crash),
    ("OVERRIDE_ACTIVE", _no_override),
    ("RATE_LIMIT", _rate),
    ("NOT_WARNED", _warned),
    ("ENGINE_RUNNING", _engine_stands),
    ("IGN_ON", _ignition_off),
    ("IN_MOTION", _no_motion),
    ("MOTION_DISAGREE", _no_dispute),
    ("SOURCES_INSUFFICIENT", _enough_sources),
    ("ENGINE_RUNNING", _cycle_ended),
    ("IN_MOTION", _rested),
    ("HAZARD_LIGHTS", _no_hazard),
    ("NO_LOCK_ZONE", _not_in_zone),
    ("ZONE_UNKNOWN", _zone_known),
    ("QUIET_HOURS", _hours),
    ("TEMP_RANGE", _ambient_mild),
    ("NO_GO", _go),
    ("TEMP_RANGE", _air_known),
)


def _is_zero(value):
    return is_count(value) and value == 0


def _is_not_on(value):
    return value is False or value is None


# --- Air, and the record ------------------------------------------------------------------------------------


def ambient_verdict(at):
    """Return the verdict of the car's own outside sensor; too old is absent."""
    value, age_s = at.seen.ambient_c10, at.seen.ambient_age_s
    if not is_number(value) or not is_count(age_s) or age_s > at.limits.floors.AMBIENT_AGE_S_MAX:
        return ABSENT
    return AGREES if at.limits.temp[0] * 10 <= value <= at.limits.temp[1] * 10 else DISAGREES


def forecast_verdict(at):
    """Return the verdict of the token's forecast."""
    if at.go is None or at.go.forecast is None:
        return ABSENT
    lowest, highest = at.go.forecast
    return AGREES if at.limits.temp[0] <= lowest <= highest <= at.limits.temp[1] else DISAGREES


def readings(at):
    """Return what each source said, as SPEC §19.1 names them: [name, value, age s, verdict]."""
    seen, go = at.seen, at.go
    wheel = seen.wheel_value or (None, None)
    gnss = seen.gnss_value or (None, None)
    lowest, highest = go.forecast if go is not None and go.forecast is not None else (None, None)
    return [
        ["ignition", _bit(seen.ignition), 0, _off_verdict(seen.ignition)],
        ["engine", _bit(seen.engine), 0, _off_verdict(seen.engine)],
        ["crank", _bit(seen.crank), 0, _off_verdict(seen.crank)],
        ["accel", None, seen.rest_s, seen.accel],
        ["wheel", wheel[0], wheel[1], seen.wheel],
        ["gnss", gnss[0], gnss[1], seen.gnss],
        ["ignition_bus", _bit(seen.ignition_bus), None, _off_verdict(seen.ignition_bus)],
        ["engine_bus", _bit(seen.engine_bus), seen.ran_s, _off_verdict(seen.engine_bus)],
        ["hazard", _bit(seen.hazard), None, _off_verdict(seen.hazard)],
        ["zone", seen.zone, seen.zone_age_s, _allowed(_zone_known(at), seen.zone)],
        ["hours", seen.local_minute, None, _allowed(_hours(at), seen.local_minute)],
        ["ambient", seen.ambient_c10, seen.ambient_age_s, ambient_verdict(at)],
        ["forecast_low", lowest, None if go is None else go.age_s, forecast_verdict(at)],
        ["forecast_high", highest, None if go is None else go.age_s, forecast_verdict(at)],
        ["supply", seen.supply_mv, 0, ABSENT if seen.supply_mv is None else AGREES],
        ["warned", seen.warned, None, _allowed(_warned(at), seen.warned)],
    ]


def _bit(value):
    return int(value) if value is True or value is False else None


def _off_verdict(value):
    if value is None:
        return ABSENT
    return AGREES if value is False else DISAGREES


def _allowed(allowed, value):
    if value is None:
        return ABSENT
    return AGREES if allowed else DISAGREES
