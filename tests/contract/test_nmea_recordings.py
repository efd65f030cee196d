"""Receivers' logs against what gpsd made of them: never a position that gpsd does not have."""

import json
from pathlib import Path

import pytest

from device.acquisition.nmea import NmeaReader

# A GGA gives minutes to four decimals or more, 1.7e-6 degree; gpsd may have the RMC's or the GLL's reading.
TOLERANCE_E7 = 20


def gpsd_positions(path: Path) -> set[tuple[int, int]]:
    positions = set()
    for line in path.read_bytes().splitlines():
        if line.startswith(b'{"class":"TPV"'):
            report = json.loads(line)
            if report.get("mode", 0) >= 2 and "lat" in report:
                positions.add((round(report["lat"] * 1e7), round(report["lon"] * 1e7)))
    return positions


# Fixes, epochs without a fix, garbled sentences.
RECORDINGS = {
    "haicom-305N.log": (68, 6, 0),
    "meinberg-gps164.log": (70, 20, 1),
    "garmin25lp.log": (10, 10, 0),
    "quectel-eg25-g.log": (23, 37, 1),
    "sirfstarv-nmea.log": (59, 0, 0),
    "skytraq.log": (0, 17, 0),
    "holux-gm-210.log": (0, 11, 1),
    "ublox-8.log": (72, 0, 1),
    "ublox-zed-f9p-nmea.log": (29, 0, 0),
    "bu353-glonass.log": (9, 10, 0),
    "st-teseo-liv3f.log": (30, 0, 1),
}


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_every_position_of_a_recording_is_one_that_gpsd_reports(test_data: Path, name: str) -> None:
    path = test_data / "gnss" / "gpsd" / name
    reader = NmeaReader()
    fixes = reader.feed(path.read_bytes(), 0) + reader.flush()
    known = gpsd_positions(path.with_name(name + ".chk"))
    positions = [
        (fix.lat_e7, fix.lon_e7) for fix in fixes if fix.lat_e7 is not None and fix.lon_e7 is not None
    ]
    lost = [fix for fix in fixes if fix.mode == 1]
    assert (len(positions), len(lost), reader.counts.garbled) == RECORDINGS[name]
    assert all(fix.lat_e7 is None and fix.utc_us is None for fix in lost)
    for lat, lon in set(positions):
        assert any(abs(lat - a) <= TOLERANCE_E7 and abs(lon - b) <= TOLERANCE_E7 for a, b in known)


@pytest.mark.data
def test_all_recordings_are_read_without_an_error_and_in_any_pieces(test_data: Path) -> None:
    paths = sorted((test_data / "gnss").glob("*/*.log"))
    assert len(paths) > 80
    for path in paths:
        stream = path.read_bytes()
        whole, pieces = NmeaReader(), NmeaReader()
        expected = whole.feed(stream, 0) + whole.flush()
        fixes = []
        for start in range(0, len(stream), 97):
            fixes += pieces.feed(stream[start : start + 97], 0)
        assert fixes + pieces.flush() == expected, path.name
        assert pieces.counts == whole.counts, path.name


@pytest.mark.data
def test_a_bad_checksum_in_a_recording_is_counted_and_gives_no_fix(test_data: Path) -> None:
    reader = NmeaReader()
    path = test_data / "gnss" / "pynmeagps" / "pygpsdata-nmeabadck2.log"
    fixes = reader.feed(path.read_bytes(), 0) + reader.flush()
    assert (reader.counts.parsed, reader.counts.garbled, len(fixes)) == (7, 1, 1)
