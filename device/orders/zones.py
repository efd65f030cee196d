"""No-lock zones: whether the circle in which the car may stand touches one.

Rules (S-06): a position counts with its uncertainty and with the way driven since; whatever touches is
inside. A fix older than 30 minutes, of unknown uncertainty, or with an unknown way since is no answer:
unknown, which the microcontroller takes for a veto. Distances are on a sphere that is flat within a zone:
within a few kilometres that is right to a fraction of a per cent, and every radius is widened by one.

The document is `strict_cbor`: {1: 1, 2: version, 3: ≤ 1,024 zones}, a zone being [kind 1 … 255, outline] and
an outline [lat, lon, radius m] or ≥ 3 × [lat, lon] flat in one list, in 1e-7 degrees.

Example:
    >>> zones = ZoneSet(3, (Circle(1, 0, 0, 1_000),))
    >>> zones.judge(0, 0, 10.0), zones.judge(0, 1_000_000, 10.0)      # at its centre, and 11 km east of it
    (<Place.INSIDE: 1>, <Place.CLEAR: 0>)
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

from protocol import orders_payload, strict_cbor
from protocol.errors import ProtocolError, Reject
from protocol.limits import AUTHORITY_BUNDLE_BYTES_MAX, ZONES_MAX

M_PER_E7 = 6_371_008.8 * math.pi / 180 / 1e7  # mean radius of the Earth (IUGG)
WIDER = 1.01
_CIRCLE_ITEMS = 3
_POINT_ITEMS = 2
_POINTS_MIN = 3
_LAT_E7, _LON_E7 = 900_000_000, 1_800_000_000

_LAT, _LON = ("int", -_LAT_E7, _LAT_E7), ("int", -_LON_E7, _LON_E7)
_RADIUS = ("uint", 1, 100_000)
_OUTLINE = ("list", _LON, 2 * _POINTS_MIN, 2 * ZONES_MAX)
_ZONE = ("tuple", ("uint", 1, 255), ("or", ("tuple", _LAT, _LON, _RADIUS), _OUTLINE))
_FORM = {1: ("uint", 1, 1), 2: ("uint", 0, (1 << 53) - 1), 3: ("list", _ZONE, 0, ZONES_MAX)}


class Place(IntEnum):
    """What FACTS say about the place (key 3)."""

    CLEAR = 0
    INSIDE = 1
    UNKNOWN = 2


class Circle(NamedTuple):
    """A zone around a point."""

    kind: int
    lat_e7: int
    lon_e7: int
    radius_m: int

    def distance_m(self, lat_e7: int, lon_e7: int) -> float:
        """Return how far a point is from the zone; 0 inside."""
        east, north = _offset_m(self.lat_e7, self.lon_e7, lat_e7, lon_e7)
        return max(0.0, math.hypot(east, north) - self.radius_m)


class Outline(NamedTuple):
    """A zone within straight lines between points."""

    kind: int
    points: tuple[tuple[int, int], ...]

    def distance_m(self, lat_e7: int, lon_e7: int) -> float:
        """Return how far a point is from the zone; 0 inside."""
        corners = [_offset_m(lat_e7, lon_e7, lat, lon) for lat, lon in self.points]
        sides = list(zip(corners, [*corners[1:], corners[0]], strict=True))
        if sum(_crosses_east(first, second) for first, second in sides) % 2:
            return 0.0
        return min(_from_origin_m(first, second) for first, second in sides)


class ZoneSet(NamedTuple):
    """All zones, and their version."""

    version: int
    zones: tuple[Circle | Outline, ...]

    def judge(self, lat_e7: int, lon_e7: int, around_m: float) -> Place:
        """Return whether a circle around a point touches a zone."""
        for zone in self.zones:
            if zone.distance_m(lat_e7, lon_e7) <= around_m * WIDER:
                return Place.INSIDE
        return Place.CLEAR


def read_zones(document: bytes) -> ZoneSet:
    """Read a zone set.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_FIELD.
    """
    try:
        value = strict_cbor.loads(document, AUTHORITY_BUNDLE_BYTES_MAX)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"zones: {error}") from error
    if not isinstance(value, dict) or not orders_payload.fits(value, ("map", _FORM)):
        raise ProtocolError(Reject.BAD_FIELD, "zones: not exactly its fields")
    return ZoneSet(value[2], tuple(_zone(kind, outline) for kind, outline in value[3]))


def _zone(kind: int, outline: list[int]) -> Circle | Outline:
    if len(outline) == _CIRCLE_ITEMS:
        return Circle(kind, outline[0], outline[1], outline[2])
    if len(outline) % _POINT_ITEMS or any(abs(lat) > _LAT_E7 for lat in outline[::2]):
        raise ProtocolError(Reject.BAD_FIELD, "zones: an outline is pairs of latitude and longitude")
    return Outline(kind, tuple(zip(outline[::2], outline[1::2], strict=True)))


def _offset_m(lat_e7: int, lon_e7: int, to_lat_e7: int, to_lon_e7: int) -> tuple[float, float]:
    """Return metres east and north from one point to another, the shorter way round the Earth."""
    turn = 2 * _LON_E7
    east_e7 = (to_lon_e7 - lon_e7 + _LON_E7) % turn - _LON_E7
    middle = math.radians((lat_e7 + to_lat_e7) / 2 / 1e7)
    return east_e7 * M_PER_E7 * math.cos(middle), (to_lat_e7 - lat_e7) * M_PER_E7


def _crosses_east(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Return whether the ray from the origin to the east crosses this side."""
    (x1, y1), (x2, y2) = first, second
    return (y1 > 0) != (y2 > 0) and x1 + (x2 - x1) * (0 - y1) / (y2 - y1) > 0


def _from_origin_m(first: tuple[float, float], second: tuple[float, float]) -> float:
    (x1, y1), (x2, y2) = first, second
    square = (x2 - x1) ** 2 + (y2 - y1) ** 2
    along = 0.0 if square == 0 else max(0.0, min(1.0, -(x1 * (x2 - x1) + y1 * (y2 - y1)) / square))
    return math.hypot(x1 + along * (x2 - x1), y1 + along * (y2 - y1))
