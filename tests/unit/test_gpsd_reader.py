"""gpsd's JSON to fixes: one an instant, nothing that gpsd did not say."""

import json

import pytest

from device.acquisition.gpsd import GpsdReader
from protocol.fixes import Fix
from protocol.limits import GPSD_LINE_BYTES_MAX
from tests.builders.gnss import report, tpv, utc_us


def read(*lines: bytes) -> list[Fix]:
    reader = GpsdReader()
    fixes = reader.feed(b"".join(lines), 1_000)
    assert reader.counts.garbled == 0
    return fixes + reader.flush()


def test_a_report_and_its_satellites_become_one_fix_in_integers() -> None:
    assert read(tpv(), report("SKY", hdop=1.16, nSat=12, uSat=8)) == [
        Fix(
            t_us=1_000,
            utc_us=utc_us("2026-11-24T10:00:00Z"),
            mode=3,
            lat_e7=534_506_707,
            lon_e7=-22_402_600,
            alt_mm=36_300,
            speed_mm_s=1_500,
            course_cdeg=7_752,
            hdop_centi=116,
            sats_used=8,
            sats_in_view=12,
        )
    ]


def test_of_the_reports_of_one_instant_the_last_counts_and_the_first_says_when() -> None:
    reader = GpsdReader()
    assert reader.feed(tpv(0, mode=2, altMSL=None), 10) == []
    assert reader.feed(tpv(0), 20) == []
    [fix] = reader.feed(tpv(1), 1_000_010)
    assert (fix.t_us, fix.mode, fix.alt_mm) == (10, 3, 36_300)
    assert [last.t_us for last in reader.flush()] == [1_000_010]
    assert reader.flush() == []


def test_lines_may_be_torn_anywhere() -> None:
    stream = tpv(0) + report("SKY", hdop=1, nSat=2, uSat=1) + tpv(1)
    whole = GpsdReader().feed(stream, 5)
    for cut in range(len(stream)):
        reader = GpsdReader()
        assert reader.feed(stream[:cut], 5) + reader.feed(stream[cut:], 5) == whole
        assert reader.counts.garbled == 0


@pytest.mark.parametrize("mode", [0, 1])
def test_without_a_fix_there_are_no_coordinates_whatever_the_report_says(mode: int) -> None:
    assert read(tpv(mode=mode)) == [Fix(t_us=1_000, mode=mode)]


@pytest.mark.parametrize("status", [5, 7, 8])
def test_dead_reckoning_surveyed_and_simulated_places_are_no_fix(status: int) -> None:
    assert read(tpv(status=status)) == [Fix(t_us=1_000, mode=1)]


def test_the_first_report_may_lack_time_speed_and_even_a_place() -> None:
    assert read(tpv(time=None, lat=None, lon=None, speed=None, track=None)) == [Fix(t_us=1_000, mode=0)]
    [fix] = read(tpv(time=None, speed=None, track=None, altMSL=None))
    assert (fix.mode, fix.lat_e7, fix.utc_us, fix.speed_mm_s) == (3, 534_506_707, None, None)


def test_reports_without_a_time_are_instants_of_their_own() -> None:
    assert len(read(tpv(mode=1, time=None), tpv(mode=1, time=None), tpv(0))) == 3


def test_satellites_of_an_older_gpsd_are_counted_from_its_list() -> None:
    listed = [{"PRN": 1, "used": True}, {"PRN": 2, "used": False}, {"PRN": 3, "used": True}]
    [fix] = read(tpv(), report("SKY", satellites=listed))
    assert (fix.sats_used, fix.sats_in_view) == (2, 3)


def test_satellites_are_not_repeated_in_the_next_instant() -> None:
    first, second = read(tpv(0), report("SKY", hdop=1.5, nSat=9, uSat=5), tpv(1))
    assert (first.hdop_centi, first.sats_used) == (150, 5)
    assert (second.hdop_centi, second.sats_used, second.sats_in_view) == (None, None, None)


def test_an_older_gpsd_s_altitude_is_read() -> None:
    assert read(tpv(altMSL=None, alt=12.5))[0].alt_mm == 12_500


@pytest.mark.parametrize(
    "impossible",
    [
        tpv(lat=95.0),
        tpv(lon=-180.5),
        tpv(lat=None),
        tpv(lat="53.4"),
        tpv(lat=True),
        tpv(mode=4),
        tpv(mode="3"),
        tpv(mode=None),
        tpv(speed=-1),
        tpv(speed=1e30),
        tpv(track=400),
        tpv(track=-10),
        tpv(time="yesterday"),
        tpv(time="2026-11-24T10:00:00"),
        tpv(time="2026-11-24T10:00:00+02:00"),
        tpv(time=5),
        tpv(device=7),
        tpv().replace(b"36.3", b"NaN"),
        tpv().replace(b"36.3", b"-Infinity"),
        tpv().replace(b"36.3", b"1e999"),
        b'{"class":"TPV","mode":3\r\n',
        b'["TPV"]\r\n',
        b"\xff\xfe\r\n",
        b"[" * 50_000 + b"\n",
        b"$GPRMC,102929.00,A,5327.04024,N,00214.41560,W,0.273,77.52,070321,,,A*62\r\n",
        b"9" * 10_000 + b"\n",
        report("SKY", hdop="fine"),
    ],
)
def test_what_cannot_be_is_garbled_and_gives_no_fix(impossible: bytes) -> None:
    reader = GpsdReader()
    assert reader.feed(impossible, 0) + reader.flush() == []
    assert (reader.counts.garbled, reader.counts.parsed) == (1, 0)


def test_a_garbled_report_leaves_the_open_instant_alone() -> None:
    reader = GpsdReader()
    fixes = reader.feed(tpv(0) + tpv(1, lat=999) + tpv(2), 0) + reader.flush()
    assert [fix.utc_us for fix in fixes] == [utc_us("2026-11-24T10:00:00Z"), utc_us("2026-11-24T10:00:02Z")]


def test_only_one_of_two_receivers_is_followed() -> None:
    reader = GpsdReader()
    other = tpv(0, device="/dev/ttyUSB9", lat=10.0)
    fixes = reader.feed(tpv(0) + other + tpv(1) + tpv(1, device="/dev/ttyUSB9"), 0) + reader.flush()
    assert [fix.lat_e7 for fix in fixes] == [534_506_707, 534_506_707]
    assert reader.counts.unused == 2


@pytest.mark.parametrize(
    "end", [report("DEVICE", path="/dev/ttyUSB1", activated=0), report("VERSION", release="3.22")]
)
def test_another_receiver_is_followed_when_the_first_is_gone_or_gpsd_was_called_anew(end: bytes) -> None:
    fixes = read(tpv(0), end, tpv(1, device="/dev/ttyUSB9", lat=10.0))
    assert [fix.lat_e7 for fix in fixes] == [534_506_707, 100_000_000]


def test_other_classes_are_counted_by_what_they_are() -> None:
    reader = GpsdReader()
    reader.feed(report("DEVICES", devices=[]) + report("ATT", heading=5) + report("HAL9000") + b"\r\n", 0)
    assert (reader.counts.unused, reader.counts.unknown, reader.counts.garbled) == (2, 1, 0)


def test_a_line_without_end_is_bounded_counted_once_and_a_later_report_is_read() -> None:
    reader = GpsdReader()
    for _ in range(10):
        reader.feed(b"x" * GPSD_LINE_BYTES_MAX, 0)
    assert reader.counts.garbled == 1
    reader.feed(b'"}\n' + tpv(), 0)
    assert [fix.mode for fix in reader.flush()] == [3]
    assert reader.counts.garbled == 1


def test_every_value_of_a_report_may_be_of_any_type_without_an_error() -> None:
    odd: list[object] = [None, True, -1, 1e308, "", "x", [], {}, [[]], {"a": 1}]
    for key in ("class", "mode", "time", "lat", "lon", "speed", "track", "altMSL", "status", "device"):
        for value in odd:
            said = json.loads(tpv()) | {key: value}
            reader = GpsdReader()
            fixes = reader.feed(json.dumps(said).encode() + b"\n", 0) + reader.flush()
            assert len(fixes) <= 1
            assert sum((reader.counts.parsed, reader.counts.garbled, reader.counts.unknown)) == 1
