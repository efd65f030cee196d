r"""NMEA 0183 bytes to fixes, one for each epoch of the receiver.

Rules:
- A sentence counts only whole: `$…*HH` with a checksum that matches and values the parser accepts. All else
  is counted as garbled and never becomes a position. Bytes may be torn anywhere between two calls.
- RMC, GGA, GSA, GSV and VTG of every talker are read; other sentences are counted.
- An epoch begins with an RMC or GGA of a new time and ends when the next one begins, or at `flush`. GSA, GSV
  and VTG carry no time and belong to the epoch that is open.
- **Any "no fix" wins**: RMC void or estimated, GGA quality 0, estimated, manual or simulated, or GSA mode 1
  make a fix of mode 1 without coordinates. Old coordinates are never repeated.
- Mode is GSA's; without GSA it is 3 with an altitude, else 2. UTC comes from RMC's date and time of a valid
  epoch.
- Fields are integers: 1e-7 degree, millimetre, mm/s, 1/100 degree, 1/100 of HDOP.

It does not judge plausibility, smooth or fill in, and knows no clock: `t_us` is the caller's. The time of a
fix is that of its epoch's first sentence.

Example:
    >>> reader = NmeaReader()
    >>> reader.feed(b"$GPRMC,102929.00,A,5327.04024,N,00214.41560,W,0.273,,070321,,,A*62\r\n", 5_000_000)
    []
    >>> [fix] = reader.flush()
    >>> fix.lat_e7, fix.lon_e7, fix.speed_mm_s, fix.t_us
    (534506707, -22402600, 140, 5000000)

Source: NMEA 0183 v4.11 sentences RMC, GGA, GSA, GSV, VTG.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pynmeagps import (
    VALCKSUM,
    VALMSGID,
    NMEAMessageError,
    NMEAParseError,
    NMEAReader,
    NMEATypeError,
)
from pynmeagps.nmeatypes_core import NMEA_MSGIDS

from protocol.fixes import Fix
from protocol.limits import NMEA_SENTENCE_BYTES_MAX

if TYPE_CHECKING:
    from pynmeagps import NMEAMessage

READ: Final = frozenset({"RMC", "GGA", "GSA", "GSV", "VTG"})

# NMEA 0183 v4.11: modes of RMC that a receiver measured: autonomous, differential, float RTK, precise, RTK.
# An older receiver sends none. Not measured: estimated (dead reckoning), manual, none, simulator.
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

# Talker, identifier and at least an empty field: shorter ones are not a sentence.
_HEADER_CHARS = 5


@dataclass(slots=True, kw_only=True)
class NmeaCounts:
    """What became of the bytes since the reader was made.

    Attributes:
        parsed: Sentences that were read.
        garbled: Sentences torn, too long, with a wrong or no checksum, or with impossible values.
        unused: Good sentences of a standard kind that is not read.
        unknown: Good sentences of no standard kind (proprietary ones).
        foreign_bytes: Bytes outside sentences (binary protocols, comments).
    """

    parsed: int = 0
    garbled: int = 0
    unused: int = 0
    unknown: int = 0
    foreign_bytes: int = 0


class _GarbledError(Exception):
    """The sentence is not to be believed."""


@dataclass(slots=True, kw_only=True)
class _Position:
    """What one RMC or GGA says about the place; None where it says nothing."""

    is_measured: bool
    lat_e7: int | None
    lon_e7: int | None


@dataclass(slots=True, kw_only=True)
class _Epoch:
    """Sentences of one instant, as they come in."""

    t_us: int
    time: dt.time | None = None
    kinds: set[str] = field(default_factory=set)
    positions: dict[str, _Position] = field(default_factory=dict)
    date: dt.date | None = None
    gsa_mode: int | None = None
    gsa_used: set[tuple[str, str, int]] = field(default_factory=set)
    in_view: dict[str, int] = field(default_factory=dict)
    alt_mm: int | None = None
    hdop_centi: int | None = None
    gga_used: int | None = None
    speeds: dict[str, int] = field(default_factory=dict)
    courses: dict[str, int] = field(default_factory=dict)

    def fix(self) -> Fix:
        """Return what the epoch amounts to."""
        in_view = sum(self.in_view.values()) if self.in_view else None
        position = self._position()
        if position is None:
            used = self.gga_used if self.gga_used is not None else len(self.gsa_used) or None
            return Fix(
                t_us=self.t_us,
                utc_us=None,
                mode=_NO_FIX,
                lat_e7=None,
                lon_e7=None,
                alt_mm=None,
                speed_mm_s=None,
                course_cdeg=None,
                hdop_centi=self.hdop_centi,
                sats_used=used,
                sats_in_view=in_view,
            )
        mode = self.gsa_mode or (_FIX_2D if self.alt_mm is None else _FIX_3D)
        return Fix(
            t_us=self.t_us,
            utc_us=self._utc_us(),
            mode=mode,
            lat_e7=position.lat_e7,
            lon_e7=position.lon_e7,
            alt_mm=self.alt_mm,
            speed_mm_s=self.speeds.get("RMC", self.speeds.get("VTG")),
            course_cdeg=self.courses.get("RMC", self.courses.get("VTG")),
            hdop_centi=self.hdop_centi,
            sats_used=self.gga_used if self.gga_used is not None else len(self.gsa_used) or None,
            sats_in_view=in_view,
        )

    def _position(self) -> _Position | None:
        """Return the place, GGA's before RMC's, or None when any sentence says there is none."""
        if self.gsa_mode == _NO_FIX or not all(said.is_measured for said in self.positions.values()):
            return None
        return self.positions.get("GGA") or self.positions.get("RMC")

    def _utc_us(self) -> int | None:
        if self.date is None or self.time is None:
            return None
        instant = dt.datetime.combine(self.date, self.time, tzinfo=dt.UTC)
        return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


class NmeaReader:
    """Turns a receiver's bytes into fixes; `counts` says what happened to every sentence."""

    def __init__(self) -> None:
        self.counts = NmeaCounts()
        self._pending = b""
        self._epoch: _Epoch | None = None

    def feed(self, data: bytes, t_us: int) -> list[Fix]:
        """Take bytes as they were read.

        Args:
            data: Any number of bytes, torn anywhere.
            t_us: When they were read, µs; non-decreasing from call to call.

        Returns:
            The fixes of the epochs that these bytes ended, in order; usually none or one.
        """
        fixes: list[Fix] = []
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            fixes += self._take_line(line, t_us)
        if len(self._pending) > NMEA_SENTENCE_BYTES_MAX:
            self._drop_pending()
        return fixes

    def flush(self) -> list[Fix]:
        """End the open epoch: a log is over, or the receiver fell silent.

        Returns:
            Its fix, or nothing when no epoch is open.
        """
        epoch, self._epoch = self._epoch, None
        return [epoch.fix()] if epoch is not None and epoch.positions else []

    def _drop_pending(self) -> None:
        if b"$" in self._pending:
            self.counts.garbled += 1
        else:
            self.counts.foreign_bytes += len(self._pending)
        self._pending = b""

    def _take_line(self, line: bytes, t_us: int) -> list[Fix]:
        """Read the sentence that ends a line; a `$` inside means that an earlier one was torn there."""
        foreign, *pieces = line.rstrip(b"\r").split(b"$")
        self.counts.foreign_bytes += len(foreign)
        if not pieces:
            return []
        self.counts.garbled += len(pieces) - 1
        try:
            return self._take_sentence(b"$" + pieces[-1], t_us)
        except _GarbledError:
            self.counts.garbled += 1
            return []

    def _take_sentence(self, sentence: bytes, t_us: int) -> list[Fix]:
        kind = _kind(sentence)
        if kind not in READ:
            self._count_other(kind)
            return []
        try:
            message = NMEAReader.parse(sentence, validate=VALCKSUM | VALMSGID)
        except (NMEAMessageError, NMEAParseError, NMEATypeError) as error:
            raise _GarbledError from error
        assert message is not None, "the parser knows every kind we read"
        fixes = self._place(message, kind, t_us)
        self.counts.parsed += 1
        return fixes

    def _count_other(self, kind: str) -> None:
        if kind in NMEA_MSGIDS:
            self.counts.unused += 1
        else:
            self.counts.unknown += 1

    def _place(self, message: NMEAMessage, kind: str, t_us: int) -> list[Fix]:
        """Put a parsed sentence into its epoch; a timed one of another time ends the open epoch first."""
        match kind:
            case "RMC" | "GGA":
                position = _position(message, kind)
                numbers = _numbers(message, ("HDOP", "alt", "spd", "cog"))
                fixes = self._open(message, kind, t_us)
                assert self._epoch is not None
                _add_timed(self._epoch, message, kind, position, numbers)
                return fixes
            case "GSA":
                self._add_gsa(message, t_us)
            case "GSV":
                self._add_gsv(message, t_us)
            case _:
                self._add_vtg(message, t_us)
        return []

    def _open(self, message: NMEAMessage, kind: str, t_us: int) -> list[Fix]:
        """Make sure that the epoch of a timed sentence is open."""
        time = message.time if isinstance(message.time, dt.time) else None
        name = f"{message.talker}{kind}"
        epoch = self._epoch
        is_other_time = epoch is not None and None not in {time, epoch.time} and time != epoch.time
        is_repeated = epoch is not None and name in epoch.kinds
        fixes = self.flush() if is_other_time or is_repeated else []
        if self._epoch is None:
            self._epoch = _Epoch(t_us=t_us)
        self._epoch.kinds.add(name)
        self._epoch.time = self._epoch.time or time
        return fixes

    def _untimed(self, t_us: int) -> _Epoch:
        if self._epoch is None:
            self._epoch = _Epoch(t_us=t_us)
        return self._epoch

    def _add_gsa(self, message: NMEAMessage, t_us: int) -> None:
        mode = message.navMode
        if mode not in {_NO_FIX, _FIX_2D, _FIX_3D}:
            raise _GarbledError
        numbers = _numbers(message, ("HDOP",))
        satellites = [getattr(message, f"svid_{slot:02d}", "") for slot in range(1, 13)]
        epoch = self._untimed(t_us)
        epoch.gsa_mode = max(mode, epoch.gsa_mode or 0)
        system = str(getattr(message, "systemId", ""))
        epoch.gsa_used |= {
            (message.talker, system, number) for number in satellites if isinstance(number, int)
        }
        if epoch.hdop_centi is None and "HDOP" in numbers:
            epoch.hdop_centi = _hdop_centi(numbers["HDOP"])

    def _add_gsv(self, message: NMEAMessage, t_us: int) -> None:
        count = message.numSV
        if isinstance(count, int):
            epoch = self._untimed(t_us)
            # With NMEA 4.11 a talker repeats its satellites for each signal, so the largest number is its
            # count.
            epoch.in_view[message.talker] = max(count, epoch.in_view.get(message.talker, 0))

    def _add_vtg(self, message: NMEAMessage, t_us: int) -> None:
        numbers = _numbers(message, ("sogk", "sogn", "cogt"))
        epoch = self._untimed(t_us)
        if "sogk" in numbers:
            epoch.speeds["VTG"] = round(numbers["sogk"] * _MM_S_PER_KMH)
        elif "sogn" in numbers:
            epoch.speeds["VTG"] = round(numbers["sogn"] * _MM_S_PER_KNOT)
        if "cogt" in numbers:
            epoch.courses["VTG"] = _course_cdeg(numbers["cogt"])


def _kind(sentence: bytes) -> str:
    """Return the sentence identifier of a well-framed sentence with a matching checksum."""
    content, star, given = sentence[1:].rstrip().rpartition(b"*")
    if not star or len(content) < _HEADER_CHARS or len(sentence) > NMEA_SENTENCE_BYTES_MAX:
        raise _GarbledError
    computed = 0
    for byte in content:
        computed ^= byte
    if not content.isascii() or given.upper() != b"%02X" % computed:
        raise _GarbledError
    address = content.split(b",", 1)[0].decode()
    return address[1:] if address.startswith("P") else address[2:]


def _numbers(message: NMEAMessage, names: tuple[str, ...]) -> dict[str, float]:
    """Return the fields that hold a number.

    Raises:
        _GarbledError: One is not finite, absurdly large, or a negative speed.
    """
    numbers: dict[str, float] = {}
    for name in names:
        value = getattr(message, name, "")
        if isinstance(value, int | float):
            least = 0 if name in _SPEEDS else -_NUMBER_MAX
            if not least <= value < _NUMBER_MAX:
                raise _GarbledError
            numbers[name] = value
    return numbers


def _position(message: NMEAMessage, kind: str) -> _Position:
    """Return what RMC or GGA says about the place.

    Raises:
        _GarbledError: It claims a fix and its coordinates are missing or impossible.
    """
    if kind == "RMC":
        is_measured = message.status == "A" and getattr(message, "posMode", "") in _MEASURED_MODES
    else:
        is_measured = message.quality in _MEASURED_QUALITIES
    if not is_measured:
        return _Position(is_measured=False, lat_e7=None, lon_e7=None)
    lat, lon = message.lat, message.lon
    if not isinstance(lat, float) or not isinstance(lon, float):
        raise _GarbledError
    is_signed = message.NS in {"N", "S"} and message.EW in {"E", "W"}
    if not is_signed or abs(lat) > _LAT_MAX or abs(lon) > _LON_MAX:
        raise _GarbledError
    return _Position(is_measured=True, lat_e7=round(lat * 1e7), lon_e7=round(lon * 1e7))


def _add_timed(
    epoch: _Epoch, message: NMEAMessage, kind: str, position: _Position, numbers: dict[str, float]
) -> None:
    """Add RMC or GGA; of two talkers' the measured one counts."""
    before = epoch.positions.get(kind)
    if before is not None and before.is_measured and not position.is_measured:
        return
    epoch.positions[kind] = position
    if kind == "RMC":
        if isinstance(message.date, dt.date):
            epoch.date = message.date
        if "spd" in numbers:
            epoch.speeds[kind] = round(numbers["spd"] * _MM_S_PER_KNOT)
        if "cog" in numbers:
            epoch.courses[kind] = _course_cdeg(numbers["cog"])
        return
    if "alt" in numbers:
        epoch.alt_mm = round(numbers["alt"] * 1_000)
    if "HDOP" in numbers:
        epoch.hdop_centi = _hdop_centi(numbers["HDOP"])
    if isinstance(message.numSV, int) and message.numSV >= 0:
        epoch.gga_used = message.numSV


def _hdop_centi(hdop: float) -> int | None:
    """Return HDOP in hundredths, None when the receiver has none."""
    return round(hdop * 100) if 0 <= hdop < _HDOP_MAX else None


def _course_cdeg(course: float) -> int:
    """Return the course in 0…35999 hundredths of a degree."""
    return round(course * 100) % 36_000
