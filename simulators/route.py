"""A closed road that does not exist: on a map it lies in the Gulf of Guinea, off every coast.

Rules: the road is a smooth ring chosen by a seed; a position is a distance along it, so that position,
heading, speed and odometer can never disagree. It knows no traffic, no height and no other road.

Example:
    >>> road = Route.generate(seed=7)
    >>> here, later = road.at(0.0), road.at(100.0)
    >>> round(here.latitude_deg, 1), round(here.longitude_deg, 1), here != later
    (0.0, 2.0, True)
"""

from __future__ import annotations

import bisect
import math
import random
from dataclasses import dataclass

# The ring's centre: 0° N 2° E is open sea, hundreds of kilometres from land, so nobody's home is on this
# road.
CENTRE_LATITUDE_DEG = 0.0
CENTRE_LONGITUDE_DEG = 2.0
# Metres in a degree of latitude, and on the equator of longitude too, on the WGS 84 sphere that GNSS users
# assume.
METRES_PER_DEGREE = 111_319.49
RADIUS_M = 1_200.0  # a ring of some 8 km: around a small town
HARMONICS = 5  # enough bends for a town, few enough that none is tighter than a car can take
POINTS = 4_000  # a vertex every 2 m, below what a receiver can resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a distance along the road is.

    Attributes:
        latitude_deg: degrees, north positive.
        longitude_deg: degrees, east positive.
        heading_deg: direction of travel, degrees clockwise from true north, 0 to 360.
        curvature_per_m: change of heading in radians a metre, right turns positive.
    """

    latitude_deg: float
    longitude_deg: float
    heading_deg: float
    curvature_per_m: float


@dataclass(frozen=True, slots=True)
class Route:
    """A ring of vertices in metres east and north of its centre, with the distance to each along the road."""

    east_m: tuple[float, ...]
    north_m: tuple[float, ...]
    along_m: tuple[float, ...]

    @classmethod
    def generate(cls, seed: int) -> Route:
        """Return the road of this seed: a circle bent by a few harmonics."""
        rng = random.Random(f"route {seed}")
        waves = [
            (k, rng.uniform(0.0, 0.35 / k**1.5), rng.uniform(0, math.tau)) for k in range(2, 2 + HARMONICS)
        ]
        east, north, along = [], [], [0.0]
        for index in range(POINTS + 1):
            angle = math.tau * (index % POINTS) / POINTS
            radius = RADIUS_M * (1 + sum(size * math.cos(k * angle + phase) for k, size, phase in waves))
            east.append(radius * math.sin(angle))
            north.append(radius * math.cos(angle))
            if index:
                along.append(along[-1] + math.hypot(east[-1] - east[-2], north[-1] - north[-2]))
        return cls(tuple(east), tuple(north), tuple(along))

    @property
    def length_m(self) -> float:
        """Once around, in metres."""
        return self.along_m[-1]

    def at(self, distance_m: float) -> Place:
        """Return the place after `distance_m` metres; the road closes on itself."""
        rest = distance_m % self.length_m
        index = min(bisect.bisect_right(self.along_m, rest) - 1, POINTS - 1)
        part = (rest - self.along_m[index]) / (self.along_m[index + 1] - self.along_m[index])
        east = self.east_m[index] + part * (self.east_m[index + 1] - self.east_m[index])
        north = self.north_m[index] + part * (self.north_m[index + 1] - self.north_m[index])
        before, after = self._vertex_heading(index), self._vertex_heading(index + 1)
        turn = math.remainder(after - before, math.tau)
        return Place(
            latitude_deg=CENTRE_LATITUDE_DEG + north / METRES_PER_DEGREE,
            longitude_deg=CENTRE_LONGITUDE_DEG + east / METRES_PER_DEGREE,
            heading_deg=math.degrees(before + part * turn) % 360,
            curvature_per_m=turn / (self.along_m[index + 1] - self.along_m[index]),
        )

    def _vertex_heading(self, index: int) -> float:
        """Return the heading at a vertex, from its neighbours, in radians clockwise from north."""
        before, after = (index - 1) % POINTS, (index + 1) % POINTS
        return math.atan2(
            self.east_m[after] - self.east_m[before], self.north_m[after] - self.north_m[before]
        )
