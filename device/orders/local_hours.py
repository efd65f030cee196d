"""The jurisdiction's hours: which local minute it is, and whether today is a business day.

Rules (S-07): the calendar is data, named by hash in a snapshot; offsets from UTC are instants with minutes,
so no time zone library decides. Outside the time it covers, or with a clock that nobody bounds to a minute,
the answer is unknown, which the microcontroller takes for a veto.

The document is `strict_cbor`: {1: 1, 2: jurisdiction, 3: version, 4: [valid from, until] POSIX s, 5: ≤ 64 ×
[from POSIX s, minutes east of UTC] ascending, 6: working days, bit 0 Monday … bit 6 Sunday, 7: holidays, 8:
days worked although their weekday is free; both as days since 1970-01-01, ascending}.

Example:
    >>> calendar = Calendar("ZZ", 1, (0, 10_000_000), ((0, 60),), 0b11111, frozenset(), frozenset())
    >>> calendar.at(8 * 3600)          # Thursday 1970-01-01, 08:00 UTC
    (540, True)
    >>> calendar.at(20_000_000) is None
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protocol import orders_payload, strict_cbor
from protocol.errors import ProtocolError, Reject
from protocol.limits import AUTHORITY_BUNDLE_BYTES_MAX, HOLIDAYS_MAX

if TYPE_CHECKING:
    from protocol.clock import Instant

MINUTE_S = 60
DAY_S = 86_400
SECOND_US = 1_000_000
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
CLOCK_ERROR_US_MAX = 60 * SECOND_US  # the answer is in minutes

_SECONDS = ("uint", 0, (1 << 40) - 1)
_DAYS = ("list", ("uint", 0, 100_000), 0, HOLIDAYS_MAX)
_FORM = {
    1: ("uint", 1, 1),
    2: ("text", 2, 6),
    3: ("uint", 0, (1 << 53) - 1),
    4: ("tuple", _SECONDS, _SECONDS),
    5: ("list", ("tuple", _SECONDS, ("int", -1_440, 1_440)), 1, 64),
    6: ("uint", 0, 127),
    7: _DAYS,
    8: _DAYS,
}


class Calendar(NamedTuple):
    """A jurisdiction's hours; see the module for the fields."""

    jurisdiction: str
    version: int
    valid: tuple[int, int]
    offsets: tuple[tuple[int, int], ...]
    workdays: int
    holidays: frozenset[int]
    worked: frozenset[int]

    def at(self, utc_s: int) -> tuple[int, bool] | None:
        """Return the local minute of the day and whether it is a business day; None outside its time."""
        offset = next((minutes for start, minutes in reversed(self.offsets) if start <= utc_s), None)
        if offset is None or not self.valid[0] <= utc_s < self.valid[1]:
            return None
        local_s = utc_s + offset * MINUTE_S
        day = local_s // DAY_S
        is_weekday = bool(self.workdays >> ((day + EPOCH_WEEKDAY) % 7) & 1)
        is_business = day in self.worked or (is_weekday and day not in self.holidays)
        return local_s % DAY_S // MINUTE_S, is_business


def local_time(calendar: Calendar | None, now: Instant) -> tuple[int, bool] | None:
    """Return local minute and business day now, None when calendar or clock do not say."""
    if calendar is None or now.utc_us is None or now.error_us is None or now.error_us > CLOCK_ERROR_US_MAX:
        return None
    return calendar.at(now.utc_us // SECOND_US)


def read_calendar(document: bytes) -> Calendar:
    """Read a calendar.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_FIELD.
    """
    try:
        value = strict_cbor.loads(document, AUTHORITY_BUNDLE_BYTES_MAX)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"calendar: {error}") from error
    if not isinstance(value, dict) or not orders_payload.fits(value, ("map", _FORM)):
        raise ProtocolError(Reject.BAD_FIELD, "calendar: not exactly its fields")
    offsets = tuple((start, minutes) for start, minutes in value[5])
    is_ordered = list(offsets) == sorted(set(offsets)) and value[4][0] < value[4][1]
    if not is_ordered:
        raise ProtocolError(Reject.BAD_FIELD, "calendar: offsets and validity ascend")
    return Calendar(
        jurisdiction=value[2],
        version=value[3],
        valid=(value[4][0], value[4][1]),
        offsets=offsets,
        workdays=value[6],
        holidays=frozenset(value[7]),
        worked=frozenset(value[8]),
    )
