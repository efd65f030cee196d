"""One instant of a GNSS receiver: parsed sentences in, a fix out.

Rules:
- **Any "no fix" wins**: RMC void or estimated, GGA quality 0, estimated, manual or simulated, or GSA mode 1
  make a fix of mode 1 without coordinates.
- Mode is GSA's; without GSA it is 3 with an altitude, else 2. UTC comes from RMC's date and time of a valid
  epoch. Speed and course are RMC's, else VTG's; the place is GGA's, else RMC's.
- Values that cannot be (a latitude of 95 degrees, a hemisphere that is missing, a negative speed) raise
  `GarbledError` before anything is taken over, whatever the checksum said.

It frames no bytes and ends no epoch: `nmea` does.

Source: NMEA 0183 v4.11 sentences RMC, GGA, GSA, GSV, VTG.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from protocol.fixes import Fix

if TYPE_CHECKING:
    from pynmeagps import NMEAMessage

# Modes of RMC that a receiver measured: autonomous, differential, float RTK, precise, RTK; older receivers
# send none. Not measured: estimated (dead reckoning), manual, none, simulator.
_MEASURED_MODES = frozenset({"", "A", "D", "F", "P", "R"})
# The same for the quality of GGA: GPS, differential, PPS, RTK fixed, RTK float.
_MEASURED_QUALITIES = frozenset({1, 2, 3, 4, 5})

_NO_FIX, _FIX_2D, _FIX_3D = 1, 2, 3

_MM_S_PER_KNOT = 1_852_000 / 3_600
_MM_S_PER_KMH = 1_000 / 3.6

_LAT_MAX, _LON_MAX = 90, 180

# Nothing a receiver reports comes near it: altitude in metres, speed in knots, degrees. Refuses infinity too.
_NUMBER_MAX = 1e6
_SPEEDS = frozenset({"spd", "sogk", "sogn"})

# Receivers say that they have no HDOP by 99.99, 99.0 or 100.
_HDOP_MAX = 99

_EPOCH_OF_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class GarbledError(Exception):
    """The sentence is not to be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What an RMC or GGA says.

    Attributes:
        kind: `RMC` or `GGA`.
        name: Talker and kind.
        time: Time of day, None when the receiver has none.
        date: Date, of RMC only.
        lat_e7: Latitude, None when it was not measured.
        lon_e7: Longitude, None when it was not measured.
        numbers: Finite fields by the parser's name.
    """

    kind: str
    name: str
    time: dt.time | None
    date: dt.date | None
    lat_e7: int | None
    lon_e7: int | None
    numbers: dict[str, float]

    @classmethod
    def of(cls, message: NMEAMessage, kind: str) -> Self:
        """Read a sentence.

        Raises:
            GarbledError: It claims a fix and its coordinates are missing or impossible, or a number is.
        """
        time, date = _field(message, "time"), _field(message, "date")
        lat_e7, lon_e7 = _coordinates(message) if _is_measured(message, kind) else (None, None)
        return cls(
            kind=kind,
            name=f"{message.talker}{kind}",
            time=time if isinstance(time, dt.time) else None,
            date=date if isinstance(date, dt.date) else None,
            lat_e7=lat_e7,
            lon_e7=lon_e7,
            numbers=_numbers(message, ("HDOP", "alt", "spd", "cog", "numSV")),
        )

    @property
    def is_measured(self) -> bool:
        """Whether the receiver has a fix by this sentence."""
        return self.lat_e7 is not None


@dataclass(slots=True, kw_only=True)
class Epoch:
    """Sentences of one instant, as they come in.

    Attributes:
        t_us: When the first of them was read.
        time: Time of day of its RMC and GGA.
        names: Talker and kind of its RMC and GGA.
    """

    t_us: int
    time: dt.time | None = None
    names: set[str] = field(default_factory=set)
    _timed: dict[str, Timed] = field(default_factory=dict)
    _mode: int | None = None
    _used: set[tuple[str, str, int]] = field(default_factory=set)
    _in_view: dict[str, int] = field(default_factory=dict)
    _hdop_centi: int | None = None
    _vtg_speed_mm_s: int | None = None
    _vtg_course_cdeg: int | None = None

    def add_timed(self, said: Timed) -> None:
        """Add RMC or GGA; of two talkers' the measured one counts."""
        self.names.add(said.name)
        self.time = self.time or said.time
        before = self._timed.get(said.kind)
        if before is None or said.is_measured or not before.is_measured:
            self._timed[said.kind] = said

    def add_gsa(self, message: NMEAMessage) -> None:
        """Add mode, satellites used and HDOP; of several talkers' modes the best counts."""
        mode = _field(message, "navMode")
        if not isinstance(mode, int) or not _NO_FIX <= mode <= _FIX_3D:
            raise GarbledError
        hdop = _numbers(message, ("HDOP",)).get("HDOP")
        self._mode = max(mode, self._mode or 0)
        system = str(_field(message, "systemId"))
        for slot in range(1, 13):
            number = _field(message, f"svid_{slot:02d}")
            if isinstance(number, int):
                self._used.add((message.talker, system, number))
        if hdop is not None and self._hdop_centi is None:
            self._hdop_centi = _to_hdop_centi(hdop)

    def add_gsv(self, message: NMEAMessage) -> None:
        """Add the number of satellites in view.

        With NMEA 4.11 a talker repeats its satellites for each signal, so its largest number counts.
        """
        count = _field(message, "numSV")
        if isinstance(count, int) and count >= 0:
            self._in_view[message.talker] = max(count, self._in_view.get(message.talker, 0))

    def add_vtg(self, message: NMEAMessage) -> None:
        """Add speed and course, which count when RMC has none."""
        numbers = _numbers(message, ("sogk", "sogn", "cogt"))
        if "sogk" in numbers:
            self._vtg_speed_mm_s = round(numbers["sogk"] * _MM_S_PER_KMH)
        elif "sogn" in numbers:
            self._vtg_speed_mm_s = round(numbers["sogn"] * _MM_S_PER_KNOT)
        if "cogt" in numbers:
            self._vtg_course_cdeg = _to_course_cdeg(numbers["cogt"])

    def fix(self) -> Fix | None:
        """Return what the epoch amounts to, None when it has neither RMC nor GGA."""
        if not self._timed:
            return None
        gga, rmc = self._timed.get("GGA"), self._timed.get("RMC")
        gga_numbers = gga.numbers if gga is not None else {}
        rmc_numbers = rmc.numbers if rmc is not None else {}
        used = len(self._used) or None
        if "numSV" in gga_numbers and gga_numbers["numSV"] >= 0:
            used = int(gga_numbers["numSV"])
        hdop_centi = _to_hdop_centi(gga_numbers["HDOP"]) if "HDOP" in gga_numbers else self._hdop_centi
        in_view = sum(self._in_view.values()) if self._in_view else None
        place = gga or rmc
        is_fixed = self._mode != _NO_FIX and all(said.is_measured for said in self._timed.values())
        if not is_fixed or place is None:
            return Fix(
                t_us=self.t_us, mode=_NO_FIX, hdop_centi=hdop_centi, sats_used=used, sats_in_view=in_view
            )
        alt_mm = round(gga_numbers["alt"] * 1_000) if "alt" in gga_numbers else None
        speed, course = self._vtg_speed_mm_s, self._vtg_course_cdeg
        if "spd" in rmc_numbers:
            speed = round(rmc_numbers["spd"] * _MM_S_PER_KNOT)
        if "cog" in rmc_numbers:
            course = _to_course_cdeg(rmc_numbers["cog"])
        return Fix(
            t_us=self.t_us,
            utc_us=self._utc_us(rmc),
            mode=self._mode or (_FIX_2D if alt_mm is None else _FIX_3D),
            lat_e7=place.lat_e7,
            lon_e7=place.lon_e7,
            alt_mm=alt_mm,
            speed_mm_s=speed,
            course_cdeg=course,
            hdop_centi=hdop_centi,
            sats_used=used,
            sats_in_view=in_view,
        )

    def _utc_us(self, rmc: Timed | None) -> int | None:
        if rmc is None or rmc.date is None or self.time is None:
            return None
        instant = dt.datetime.combine(rmc.date, self.time, tzinfo=dt.UTC)
        return (instant - _EPOCH_OF_UTC) // dt.timedelta(microseconds=1)


def _field(message: NMEAMessage, name: str) -> object:
    """Return a field's value, empty text when the sentence ends before it or leaves it empty."""
    value: object = getattr(message, name, "")
    return value


def _numbers(message: NMEAMessage, names: tuple[str, ...]) -> dict[str, float]:
    """Return the fields that hold a number.

    Raises:
        GarbledError: One is not finite, absurdly large, or a negative speed.
    """
    numbers: dict[str, float] = {}
    for name in names:
        value = _field(message, name)
        if isinstance(value, int | float):
            least = 0 if name in _SPEEDS else -_NUMBER_MAX
            if not least <= value < _NUMBER_MAX:
                raise GarbledError
            numbers[name] = value
    return numbers


def _is_measured(message: NMEAMessage, kind: str) -> bool:
    if kind == "RMC":
        return _field(message, "status") == "A" and _field(message, "posMode") in _MEASURED_MODES
    return _field(message, "quality") in _MEASURED_QUALITIES


def _coordinates(message: NMEAMessage) -> tuple[int, int]:
    """Return latitude and longitude in 1e-7 degree.

    Raises:
        GarbledError: They are missing, without a hemisphere, or not on the globe.
    """
    lat, lon = _field(message, "lat"), _field(message, "lon")
    if not isinstance(lat, float) or not isinstance(lon, float):
        raise GarbledError
    is_signed = _field(message, "NS") in {"N", "S"} and _field(message, "EW") in {"E", "W"}
    if not is_signed or not abs(lat) <= _LAT_MAX or not abs(lon) <= _LON_MAX:
        raise GarbledError
    return round(lat * 1e7), round(lon * 1e7)


def _to_hdop_centi(hdop: float) -> int | None:
    """Return HDOP in hundredths, None when the receiver has none."""
    return round(hdop * 100) if 0 <= hdop < _HDOP_MAX else None


def _to_course_cdeg(course: float) -> int:
    """Return the course in 0…35999 hundredths of a degree."""
    return round(course * 100) % 36_000
