"""Every recording of a receiver, damaged: no error, everything counted, and no position that was not proven.

What is proven is found here by another way than the reader's: a pattern that looks for whole sentences in the
damaged bytes, and JSON objects line by line.
"""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING

import pytest

from device.acquisition.gpsd import GpsdReader
from device.acquisition.nmea import NmeaReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from protocol.fixes import Fix

BYTES_MAX = 40_000  # of each recording: the largest repeat themselves
FLIP_EVERY = 150  # bytes: nearly every second sentence is hit

WHOLE = re.compile(rb"\$([ -#%-)+-~]{5,}?)\*([0-9A-Fa-f]{2})\s*(?=[\n$])")
PLACE = re.compile(rb"(\d{2})(\d{2}\.\d*|\d{2}),([NS]),(\d{3}|\d{2})(\d{2}\.\d*|\d{2}),([EW])")


def cut(data: bytes, dice: random.Random) -> bytes:
    first, last = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    return data[first:last]


def doubled(data: bytes, _: random.Random) -> bytes:
    return b"".join(line + line for line in data.splitlines(keepends=True)) + data


def flipped(data: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(len(data) // FLIP_EVERY + 1):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def shuffled(data: bytes, dice: random.Random) -> bytes:
    pieces = [data[start : start + 61] for start in range(0, len(data), 61)]
    dice.shuffle(pieces)
    return b"".join(pieces)


DAMAGES = [cut, doubled, flipped, shuffled]


def proven_by_checksum(data: bytes) -> set[tuple[int, int]]:
    """Return the places of all whole sentences, 1e-6 degree."""
    places = set()
    for content, checksum in WHOLE.findall(data):
        computed = 0
        for byte in content:
            computed ^= byte
        found = PLACE.search(content)
        if computed == int(checksum, 16) and found is not None:
            lat_deg, lat_min, north, lon_deg, lon_min, east = found.groups()
            lat = (int(lat_deg) + float(lat_min) / 60) * (1 if north == b"N" else -1)
            lon = (int(lon_deg) + float(lon_min) / 60) * (1 if east == b"E" else -1)
            places.add((round(lat * 1e6), round(lon * 1e6)))
    return places


def proven_by_json(data: bytes) -> set[tuple[int, int]]:
    """Return the places of all TPV that are whole lines of JSON, 1e-6 degree."""
    places = set()
    for line in data.split(b"\n"):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if (
            isinstance(said, dict)
            and isinstance(said.get("lat"), float)
            and isinstance(said.get("lon"), float)
        ):
            places.add((round(said["lat"] * 1e6), round(said["lon"] * 1e6)))
    return places


def is_near(fix: Fix, places: set[tuple[int, int]]) -> bool:
    """Whether a place of the set is the fix's, rounding apart."""
    if fix.lat_e7 is None or fix.lon_e7 is None:
        return True
    lat, lon = round(fix.lat_e7 / 10), round(fix.lon_e7 / 10)
    return any((lat + north, lon + east) in places for north in (-1, 0, 1) for east in (-1, 0, 1))


def recordings(test_data: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(path for path in (test_data / "gnss").rglob("*") if path.is_file()):
        yield path.name, path.read_bytes()[:BYTES_MAX] or b"\n"  # gpsd has nothing to say of one


@pytest.mark.data
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_sentences_give_no_error_and_no_position_without_its_checksum(
    test_data: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    count = positions = garbled = 0
    for name, data in recordings(test_data):
        damaged = damage(data, random.Random(name))
        reader = NmeaReader()
        fixes = reader.feed(damaged, 0) + reader.flush()
        places = proven_by_checksum(damaged + b"\n")
        assert all(is_near(fix, places) for fix in fixes), name
        assert all(fix.mode > 1 or fix.lat_e7 is None for fix in fixes), name
        count, garbled = count + 1, garbled + reader.counts.garbled
        positions += sum(fix.lat_e7 is not None for fix in fixes)
    assert count > 160
    assert positions > 100
    assert garbled > 10


@pytest.mark.data
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_reports_of_gpsd_give_no_error_and_no_position_that_no_report_has(
    test_data: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    positions = garbled = 0
    for name, data in recordings(test_data):
        damaged = damage(data, random.Random(name))
        reader = GpsdReader()
        fixes = reader.feed(damaged, 0) + reader.flush()
        places = proven_by_json(damaged)
        assert all(is_near(fix, places) for fix in fixes), name
        assert all(fix.mode > 1 or fix.lat_e7 is None for fix in fixes), name
        garbled += reader.counts.garbled
        positions += sum(fix.lat_e7 is not None for fix in fixes)
    assert positions > 0
    assert garbled > 1_000


@pytest.mark.data
def test_all_of_a_flipped_recording_is_accounted_for(test_data: Path) -> None:
    path = test_data / "gnss" / "gpsd" / "ublox-8.log"
    whole, hit = NmeaReader(), NmeaReader()
    whole.feed(path.read_bytes(), 0)
    hit.feed(flipped(path.read_bytes(), random.Random(8)), 0)
    good = whole.counts.parsed + whole.counts.unused
    still = hit.counts.parsed + hit.counts.unused + hit.counts.unknown
    assert still < good
    assert hit.counts.garbled + hit.counts.foreign_bytes - whole.counts.foreign_bytes >= good - still
