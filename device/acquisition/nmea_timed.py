"""The sentences that say when and where: RMC, GGA, GNS, GLL and ZDA, checked value by value.

Rules:
- A place counts only when the receiver measured it: RMC and GLL valid and neither estimated, manual nor
  simulated; GGA of quality 1 to 5; GNS with at least one system that measured. ZDA says time and date only.
- Values that cannot be (a latitude of 95 degrees, a hemisphere that is missing, 31 February) raise
  `GarbledError` before anything is taken over, whatever the checksum said. How each field must be written is
  `nmea_fields`' to know.
- Altitude is above mean sea level, speed is as the sentence has it (knots), all else in degrees.

It joins nothing: `nmea_epoch` does.

Source: NMEA 0183 v4.11 sentences RMC, GGA, GNS, GLL, ZDA.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from device.acquisition.gnss import GarbledError
from device.acquisition.nmea_fields import require_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynmeagps import NMEAMessage

TIMED: Final = frozenset({"RMC", "GGA", "GNS", "GLL", "ZDA"})

# Modes that a receiver measured: autonomous, differential, float RTK, precise, RTK; older receivers send
# none. Not measured: estimated (dead reckoning), manual, none, simulator.
_MEASURED_MODES: Final = frozenset("ADFPR")
# The same for the quality of GGA: GPS, differential, PPS, RTK fixed, RTK float.
_MEASURED_QUALITIES: Final = frozenset({1, 2, 3, 4, 5})

_LAT_MAX, _LON_MAX = 90, 180

# Nothing a receiver reports comes near it: altitude in metres, speed in knots, degrees. Refuses infinity too.
_NUMBER_MAX = 1e6

_EPOCH_OF_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY_US = 86_400_000_000

# Sentences of one instant may round it differently (a Magellan says .758 in GLL and .76 in RMC); receivers
# are not faster than 50 Hz.
SAME_INSTANT_US = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What one such sentence says.

    Attributes:
        kind: `RMC`, `GGA`, `GNS`, `GLL` or `ZDA`.
        name: Talker and kind.
        time_us: Time of day, µs; None when the receiver has none.
        utc_us: The same with its date, of RMC and ZDA only.
        lat_e7: Latitude, None when it was not measured.
        lon_e7: Longitude, None when it was not measured.
        numbers: Finite fields by the parser's name.
    """

    kind: str
    name: str
    time_us: int | None
    utc_us: int | None
    lat_e7: int | None
    lon_e7: int | None
    numbers: dict[str, float]

    @classmethod
    def of(cls, message: NMEAMessage, fields: Mapping[str, str], talker: str, kind: str) -> Self:
        """Read a sentence.

        Args:
            message: As the parser gives it.
            fields: The same as it is written.
            talker: Two letters.
            kind: One of `TIMED`.

        Raises:
            GarbledError: It claims a fix and has no coordinates, or they, its date or a number cannot be.
        """
        time = field_of(message, "time")
        lat_e7, lon_e7 = _coordinates(message, fields) if _is_measured(message, kind) else (None, None)
        date = _date(message, kind)
        if lat_e7 is not None and date is None and "date" in fields:
            raise GarbledError
        return cls(
            kind=kind,
            name=talker + kind,
            time_us=_us_of_day(time) if isinstance(time, dt.time) else None,
            utc_us=_utc_us(date, time),
            lat_e7=lat_e7,
            lon_e7=lon_e7,
            numbers=numbers_of(message, ("HDOP", "alt", "spd", "cog", "numSV")),
        )

    @property
    def is_measured(self) -> bool:
        """Whether the receiver has a fix by this sentence."""
        return self.lat_e7 is not None


def are_one_instant(one_us: int, other_us: int) -> bool:
    """Say whether two times of day are the same instant, also over midnight."""
    apart = abs(one_us - other_us) % _DAY_US
    return min(apart, _DAY_US - apart) <= SAME_INSTANT_US


def field_of(message: NMEAMessage, name: str) -> object:
    """Return a field's value, empty text when the sentence ends before it or leaves it empty."""
    value: object = getattr(message, name, "")
    return value


def numbers_of(message: NMEAMessage, names: tuple[str, ...]) -> dict[str, float]:
    """Return the fields that hold a number.

    Raises:
        GarbledError: One is not finite, or absurdly large.
    """
    numbers: dict[str, float] = {}
    for name in names:
        value = field_of(message, name)
        if isinstance(value, int | float):
            if not -_NUMBER_MAX <= value < _NUMBER_MAX:
                raise GarbledError
            numbers[name] = value
    return numbers


def _is_measured(message: NMEAMessage, kind: str) -> bool:
    modes = field_of(message, "posMode")
    match kind:
        case "GGA":
            return field_of(message, "quality") in _MEASURED_QUALITIES
        case "GNS":  # one letter a system
            return not _MEASURED_MODES.isdisjoint(str(modes))
        case "RMC" | "GLL":
            return field_of(message, "status") == "A" and (modes == "" or str(modes) in _MEASURED_MODES)
        case _:
            return False


def _coordinates(message: NMEAMessage, fields: Mapping[str, str]) -> tuple[int, int]:
    """Return latitude and longitude in 1e-7 degree.

    Raises:
        GarbledError: They are missing, without a hemisphere, or not on the globe.
    """
    require_place(fields)
    lat, lon = field_of(message, "lat"), field_of(message, "lon")
    if not isinstance(lat, float) or not isinstance(lon, float):
        raise GarbledError
    if not abs(lat) <= _LAT_MAX or not abs(lon) <= _LON_MAX:
        raise GarbledError
    return round(lat * 1e7), round(lon * 1e7)


def _date(message: NMEAMessage, kind: str) -> dt.date | None:
    """Return the date of an RMC or ZDA, None without one.

    Raises:
        GarbledError: There is no such day.
    """
    if kind != "ZDA":
        date = field_of(message, "date")
        return date if isinstance(date, dt.date) else None
    parts = [field_of(message, name) for name in ("year", "month", "day")]
    year, month, day = (part if isinstance(part, int) else 0 for part in parts)
    if not (year and month and day):
        return None
    try:
        return dt.date(year, month, day)
    except ValueError as error:
        raise GarbledError from error


def _us_of_day(time: dt.time) -> int:
    seconds = (time.hour * 60 + time.minute) * 60 + time.second
    return seconds * 1_000_000 + time.microsecond


def _utc_us(date: dt.date | None, time: object) -> int | None:
    if date is None or not isinstance(time, dt.time):
        return None
    instant = dt.datetime.combine(date, time, tzinfo=dt.UTC)
    return (instant - _EPOCH_OF_UTC) // dt.timedelta(microseconds=1)
