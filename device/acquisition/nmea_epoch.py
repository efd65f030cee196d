"""One instant of a GNSS receiver: parsed sentences in, a fix out.

Rules:
- **Any "no fix" wins**: a sentence with a place that was not measured (see `nmea_timed`), or GSA mode 1, make
  a fix of mode 1 without coordinates. Of two talkers' sentences of one kind the measured one counts.
- Mode is GSA's; without GSA it is 3 with an altitude, else 2.
- The place is GGA's, else GNS's, RMC's, GLL's; altitude, HDOP and satellites used are GGA's, else GNS's,
  else GSA's. Speed and course are RMC's, else VTG's. UTC is RMC's, else ZDA's, and only with a fix.
- Without a sentence that has a place there is no fix to speak of, not even a lost one.

It frames no bytes and ends no epoch: `nmea` does.

Source: NMEA 0183 v4.11 sentences RMC, GGA, GNS, GLL, ZDA, GSA, GSV, VTG.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.acquisition.gnss import GarbledError
from device.acquisition.nmea_timed import field_of, numbers_of
from protocol.fixes import Fix

if TYPE_CHECKING:
    from pynmeagps import NMEAMessage

    from device.acquisition.nmea_timed import Timed

_NO_FIX, _FIX_2D, _FIX_3D = 1, 2, 3

_MM_S_PER_KNOT = 1_852_000 / 3_600
_MM_S_PER_KMH = 1_000 / 3.6

# Receivers say that they have no HDOP by 99.99, 99.0 or 100.
_HDOP_MAX = 99

_PLACES = ("GGA", "GNS", "RMC", "GLL")


@dataclass(slots=True, kw_only=True)
class Epoch:
    """Sentences of one instant, as they come in.

    Attributes:
        t_us: When the first of them was read.
        time_us: Time of day of those that say one.
        names: Talker and kind of those that say when or where.
    """

    t_us: int
    time_us: int | None = None
    names: set[str] = field(default_factory=set)
    _timed: dict[str, Timed] = field(default_factory=dict)
    _mode: int | None = None
    _used: set[tuple[str, str, int]] = field(default_factory=set)
    _in_view: dict[str, int] = field(default_factory=dict)
    _hdop_centi: int | None = None
    _vtg_speed_mm_s: int | None = None
    _vtg_course_cdeg: int | None = None

    def add_timed(self, said: Timed) -> None:
        """Add a sentence that says when or where; of two talkers' the measured one counts."""
        self.names.add(said.name)
        if self.time_us is None:
            self.time_us = said.time_us
        before = self._timed.get(said.kind)
        if before is None or said.is_measured or not before.is_measured:
            self._timed[said.kind] = said

    def add_gsa(self, message: NMEAMessage, talker: str) -> None:
        """Add mode, satellites used and HDOP; of several talkers' modes the best counts."""
        mode = field_of(message, "navMode")
        if not isinstance(mode, int) or not _NO_FIX <= mode <= _FIX_3D:
            raise GarbledError
        hdop = numbers_of(message, ("HDOP",)).get("HDOP")
        self._mode = max(mode, self._mode or 0)
        system = str(field_of(message, "systemId"))
        for slot in range(1, 13):
            number = field_of(message, f"svid_{slot:02d}")
            if isinstance(number, int):
                self._used.add((talker, system, number))
        if hdop is not None and self._hdop_centi is None:
            self._hdop_centi = to_hdop_centi(hdop)

    def add_gsv(self, message: NMEAMessage, talker: str) -> None:
        """Add the number of satellites in view.

        With NMEA 4.11 a talker repeats its satellites for each signal, so its largest number counts.
        """
        count = field_of(message, "numSV")
        if isinstance(count, int) and count >= 0:
            self._in_view[talker] = max(count, self._in_view.get(talker, 0))

    def add_vtg(self, message: NMEAMessage) -> None:
        """Add speed and course, which count when RMC has none."""
        numbers = numbers_of(message, ("sogk", "sogn", "cogt"))
        if "sogk" in numbers:
            self._vtg_speed_mm_s = round(numbers["sogk"] * _MM_S_PER_KMH)
        elif "sogn" in numbers:
            self._vtg_speed_mm_s = round(numbers["sogn"] * _MM_S_PER_KNOT)
        if "cogt" in numbers:
            self._vtg_course_cdeg = to_course_cdeg(numbers["cogt"])

    def fix(self) -> Fix | None:
        """Return what the epoch amounts to, None when nothing in it has a place."""
        places = [self._timed[kind] for kind in _PLACES if kind in self._timed]
        if not places:
            return None
        hdop_centi, used = self._quality()
        in_view = sum(self._in_view.values()) if self._in_view else None
        if self._mode == _NO_FIX or not all(said.is_measured for said in places):
            return Fix(
                t_us=self.t_us, mode=_NO_FIX, hdop_centi=hdop_centi, sats_used=used, sats_in_view=in_view
            )
        alt_mm = None if (alt := self._number("alt", "GGA", "GNS")) is None else round(alt * 1_000)
        speed, course = self._motion()
        return Fix(
            t_us=self.t_us,
            utc_us=self._utc_us(),
            mode=self._mode or (_FIX_2D if alt_mm is None else _FIX_3D),
            lat_e7=places[0].lat_e7,
            lon_e7=places[0].lon_e7,
            alt_mm=alt_mm,
            speed_mm_s=speed,
            course_cdeg=course,
            hdop_centi=hdop_centi,
            sats_used=used,
            sats_in_view=in_view,
        )

    def _number(self, name: str, *kinds: str) -> float | None:
        """Return a number of the first of these sentences that has it."""
        found = (self._timed[kind].numbers.get(name) for kind in kinds if kind in self._timed)
        return next((number for number in found if number is not None), None)

    def _quality(self) -> tuple[int | None, int | None]:
        """Return HDOP in hundredths and satellites used."""
        hdop = self._number("HDOP", "GGA", "GNS")
        used = self._number("numSV", "GGA", "GNS")
        hdop_centi = self._hdop_centi if hdop is None else to_hdop_centi(hdop)
        return hdop_centi, int(used) if used is not None and used >= 0 else len(self._used) or None

    def _motion(self) -> tuple[int | None, int | None]:
        """Return speed in mm/s and course in hundredths of a degree."""
        speed, course = self._number("spd", "RMC"), self._number("cog", "RMC")
        return (
            self._vtg_speed_mm_s if speed is None else round(speed * _MM_S_PER_KNOT),
            self._vtg_course_cdeg if course is None else to_course_cdeg(course),
        )

    def _utc_us(self) -> int | None:
        dated = (self._timed[kind].utc_us for kind in ("RMC", "ZDA") if kind in self._timed)
        return next((utc_us for utc_us in dated if utc_us is not None), None)


def to_hdop_centi(hdop: float) -> int | None:
    """Return HDOP in hundredths, None when the receiver has none."""
    return round(hdop * 100) if 0 <= hdop < _HDOP_MAX else None


def to_course_cdeg(course: float) -> int:
    """Return the course in 0…35999 hundredths of a degree."""
    return round(course * 100) % 36_000
