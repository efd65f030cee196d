"""Hours and business days of a place: whether an action is allowed now, and when it next is.

Rules (README §1.15, §1.13): LOCK within the pack's hours on a business day. A WARN may be signed at any
hour: it sounds at an ignition-on within its day, and the car alone keeps it silent at night. Local time is
the pack's zone or, where a pack has none, the place named by the loan facts; unknown is never allowed.
Beyond the last day whose holidays are known nothing is locked.

Summer time by rule, so that no table of the machine decides: "us" from the second Sunday of March to the
first of November, at 02:00 local; "eu" from the last Sunday of March to the last of October, at 01:00 UTC.

This module asks nobody for the time.

Example:
    >>> utc_offset_min(Zone(offset_min=-480, summer="us"), 1_795_500_000, facts_offset_min=None)
    -480

Source: 15 U.S.C. 260a; Directive 2000/84/EC.
"""

from datetime import UTC, date, datetime, timedelta

from backend.gate.pack import Pack, Zone

_DAYS_AHEAD_MAX = (
    60  # how far the next opening is looked for: beyond it a calendar has none worth waiting for
)
_MINUTE_S, _HOUR_S = 60, 3_600


def utc_offset_min(zone: Zone, at_s: int, *, facts_offset_min: int | None) -> int | None:
    """Return minutes east of UTC at an instant, or None while unknown."""
    if zone.offset_min is None:
        return facts_offset_min
    return zone.offset_min + (60 if _is_summer(zone, at_s) else 0)


def may_lock(pack: Pack, at_s: int, *, facts_offset_min: int | None) -> bool:
    """Return whether the place's hours and calendar allow a LOCK at an instant."""
    local = _local(pack.zone, at_s, facts_offset_min)
    return local is not None and _is_business_day(pack, local.date()) and _within(local, pack.lock_hours)


def next_lock_s(pack: Pack, at_s: int, *, facts_offset_min: int | None) -> int | None:
    """Return the first second from an instant on at which a LOCK is allowed; None when none is in sight."""
    local = _local(pack.zone, at_s, facts_offset_min)
    if local is None:
        return None
    if may_lock(pack, at_s, facts_offset_min=facts_offset_min):
        return at_s
    for ahead in range(_DAYS_AHEAD_MAX):
        day = local.date() + timedelta(days=ahead)
        opening = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=pack.lock_hours[0])
        offset = utc_offset_min(pack.zone, int(opening.timestamp()), facts_offset_min=facts_offset_min) or 0
        opening_s = int(opening.timestamp()) - offset * _MINUTE_S
        if opening_s > at_s and may_lock(pack, opening_s, facts_offset_min=facts_offset_min):
            return opening_s
    return None


def _local(zone: Zone, at_s: int, facts_offset_min: int | None) -> datetime | None:
    offset = utc_offset_min(zone, at_s, facts_offset_min=facts_offset_min)
    return None if offset is None else datetime.fromtimestamp(at_s + offset * _MINUTE_S, tz=UTC)


def _within(local: datetime, hours: tuple[int, int]) -> bool:
    minute = local.hour * 60 + local.minute
    return hours[0] <= minute < hours[1]


def _is_business_day(pack: Pack, day: date) -> bool:
    return day <= pack.calendar_until and day.weekday() not in pack.weekend and day not in pack.holidays


def _is_summer(zone: Zone, at_s: int) -> bool:
    year = datetime.fromtimestamp(at_s, tz=UTC).year
    match zone.summer:
        case "us":
            assert zone.offset_min is not None, "a zone with summer time has an offset"
            begins = _utc_s(_sunday(year, 3, nth=2)) + 2 * _HOUR_S - zone.offset_min * _MINUTE_S
            ends = _utc_s(_sunday(year, 11, nth=1)) + _HOUR_S - zone.offset_min * _MINUTE_S
        case "eu":
            begins = _utc_s(_last_sunday(year, 3)) + _HOUR_S
            ends = _utc_s(_last_sunday(year, 10)) + _HOUR_S
        case _:
            return False
    return begins <= at_s < ends


def _sunday(year: int, month: int, *, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)


def _utc_s(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
