r"""How the fields of an NMEA sentence must be written, checked before any of them becomes a number.

Rules:
- Every field that is read has one form: digits where the standard has digits, and a value that can be. The
  parser is more generous (`0_5` is a number to it, `-10` a course, 75 minutes of arc are more than a degree),
  and a checksum only says that the sentence is the one that was sent.
- An empty field, or one that the sentence ends before, is unknown and no fault.
- 23:59:60 is a time of day, that of a leap second; any other second 60 is none.
- Coordinates are looked at by `require_place`, and only when the sentence claims a fix: receivers fill those
  of a lost one with what is no place (8960.0000,N). A sign beside a hemisphere (seen in GLL of a UM981) can
  mean either side of it.

It knows no fix and joins nothing (`nmea_timed`, `nmea_epoch`); fields that nothing is made of are not looked
at.

Example:
    >>> fields_of(b"GPGLL,5327.04024,N,00214.41560,W,102929.00,A,A", "GLL")["time"]
    '102929.00'

Source: NMEA 0183 v4.11, field formats and sentences RMC, GGA, GNS, GLL, ZDA, GSA, GSV, VTG.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from device.acquisition.gnss import GarbledError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Fields in the order of the sentence, by the parser's names; what follows the last one is not read.
_ORDER: Final = {
    "RMC": ("time", "status", "lat", "NS", "lon", "EW", "spd", "cog", "date"),
    "GGA": ("time", "lat", "NS", "lon", "EW", "quality", "numSV", "HDOP", "alt", "altUnit"),
    "GNS": ("time", "lat", "NS", "lon", "EW", "posMode", "numSV", "HDOP", "alt"),
    "GLL": ("lat", "NS", "lon", "EW", "time", "status"),
    "ZDA": ("time", "day", "month", "year"),
    "GSA": ("opMode", "navMode", *(["svid"] * 12), "PDOP", "HDOP"),
    "GSV": ("numMsg", "msgNum", "numSV"),
    "VTG": ("cogt", "cogtUnit", "cogm", "cogmUnit", "sogn", "sognUnit", "sogk", "sogkUnit"),
}

_COUNT = r"[0-9]+"
_UNSIGNED = r"[0-9]+(\.[0-9]*)?"

_FORMS: Final = {
    name: re.compile(form)
    for name, form in {
        "time": r"(([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]|235960)(\.[0-9]{1,6})?",
        "date": r"[0-9]{6}",
        "day": r"[0-9]{1,2}",
        "month": r"[0-9]{1,2}",
        "year": r"[0-9]{4}",
        "spd": _UNSIGNED,
        "sogn": _UNSIGNED,
        "sogk": _UNSIGNED,
        "cog": _UNSIGNED,
        "cogt": _UNSIGNED,
        "alt": rf"-?{_UNSIGNED}",
        "HDOP": _UNSIGNED,
        "quality": r"[0-9]",
        "navMode": r"[0-9]",
        "numSV": _COUNT,
        "svid": _COUNT,
    }.items()
}

_COURSES: Final = frozenset({"cog", "cogt"})
_COURSE_MAX = 360  # north is 0 to some receivers and 360 to others

# A value is in its unit or in nobody knows what: sentence, value, unit's field, unit.
_UNITS: Final = (
    ("GGA", "alt", "altUnit", "M"),
    ("VTG", "cogt", "cogtUnit", "T"),
    ("VTG", "sogn", "sognUnit", "N"),
    ("VTG", "sogk", "sogkUnit", "K"),
)

# Degrees and minutes of arc, minutes below 60; the degrees' own bounds are `nmea_timed`'s.
_PLACE: Final = {
    "lat": re.compile(r"[0-9]{2}[0-5][0-9]\.[0-9]+"),
    "NS": re.compile(r"[NS]"),
    "lon": re.compile(r"[0-9]{3}[0-5][0-9]\.[0-9]+"),
    "EW": re.compile(r"[EW]"),
}


def fields_of(content: bytes, kind: str) -> Mapping[str, str]:
    """Return the fields of a sentence as they are written, empty ones left out.

    Args:
        content: What stands between `$` and `*`; printable ASCII.
        kind: Three letters, one of those that are read.

    Raises:
        GarbledError: One is not written as the standard says, or cannot be.
    """
    texts = content.decode("ascii").split(",")[1:]
    fields: dict[str, str] = {}
    for name, text in zip(_ORDER[kind], texts, strict=False):
        if not text:
            continue
        form = _FORMS.get(name)
        if form is not None and not form.fullmatch(text):
            raise GarbledError
        if name in _COURSES and float(text) > _COURSE_MAX:
            raise GarbledError
        fields[name] = text
    for sentence, name, unit_name, unit in _UNITS:
        if kind == sentence and name in fields and fields.get(unit_name) != unit:
            raise GarbledError
    return fields


def require_place(fields: Mapping[str, str]) -> None:
    """Refuse coordinates that are not written as degrees, minutes below 60 and a hemisphere.

    Raises:
        GarbledError: One of the four is missing, or is not.
    """
    if not all(form.fullmatch(fields.get(name, "")) for name, form in _PLACE.items()):
        raise GarbledError
