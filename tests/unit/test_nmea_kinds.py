"""GNS, GLL and ZDA beside RMC and GGA, the talkers that count, and what stands between sentences."""

import pytest

from device.acquisition.nmea import NmeaReader
from protocol.fixes import Fix
from tests.builders.gnss import nmea, utc_us

RMC = "GPRMC,102929.00,A,5327.04024,N,00214.41560,W,0.273,77.52,070321,,,A"
GGA = "GPGGA,102929.00,5327.04024,N,00214.41560,W,1,08,1.16,36.3,M,48.5,M,,"
GNS = "GNGNS,102929.00,5327.04024,N,00214.41560,W,AN,09,1.20,36.4,48.5,,"
GLL = "GPGLL,5327.04024,N,00214.41560,W,102929.00,A,A"
ZDA = "GPZDA,102929.00,07,03,2021,00,00"
PLACE = (534_506_707, -22_402_600)


def read(*contents: str) -> list[Fix]:
    reader = NmeaReader()
    fixes = reader.feed(b"".join(map(nmea, contents)), 0)
    assert reader.counts.garbled == 0
    return fixes + reader.flush()


def test_a_receiver_of_gns_alone_has_places_altitude_and_satellites() -> None:
    [fix] = read(GNS)
    assert (fix.mode, fix.lat_e7, fix.lon_e7) == (3, *PLACE)
    assert (fix.alt_mm, fix.sats_used, fix.hdop_centi) == (36_400, 9, 120)


@pytest.mark.parametrize(
    ("modes", "mode"), [("NN", 1), ("N", 1), ("EN", 1), ("AN", 3), ("ND", 3), ("FFN", 3)]
)
def test_gns_has_a_fix_when_one_system_measured_it(modes: str, mode: int) -> None:
    assert [fix.mode for fix in read(GNS.replace(",AN,", f",{modes},"))] == [mode]


def test_a_gns_without_a_fix_takes_that_of_the_others() -> None:
    assert [fix.mode for fix in read(RMC, GGA, GNS.replace(",AN,", ",NN,"))] == [1]


def test_a_receiver_of_gll_alone_has_places() -> None:
    fixes = read(GLL, GLL.replace("102929", "102930"), GLL.replace("102929", "102931"))
    assert [(fix.mode, fix.lat_e7, fix.lon_e7) for fix in fixes] == [(2, *PLACE)] * 3


@pytest.mark.parametrize(
    "void", [GLL.replace(",A,A", ",V,N"), GLL.replace(",A,A", ",A,E"), GLL.replace(",A,A", ",A,S")]
)
def test_a_void_or_estimated_gll_is_no_fix(void: str) -> None:
    assert read(void) == [Fix(t_us=0, mode=1)]


def test_a_gll_that_does_not_say_whether_it_is_valid_says_nothing() -> None:
    assert read("GPGLL,5327.04024,N,00214.41560,W") == []
    [fix] = read(RMC, GGA, "GPGLL,5327.04024,N,00214.41560,W")
    assert fix.mode == 3


def test_a_gll_a_second_off_makes_no_instant_of_its_own() -> None:
    seconds = [RMC.replace("102929", f"1029{second}") for second in (29, 30, 31)]
    late = [GLL.replace("102929", f"1029{second}") for second in (30, 31, 32)]
    assert len(read(*(sentence for pair in zip(seconds, late, strict=True) for sentence in pair))) == 3


def test_sentences_of_one_instant_may_round_its_time_differently() -> None:
    [fix] = read(
        GLL.replace("102929.00", "102929.258"), GGA.replace("29.00", "29.26"), RMC.replace("29.00", "29.26")
    )
    assert fix.mode == 3
    assert fix.utc_us == utc_us("2021-03-07T10:29:29.260Z")


def test_an_instant_at_midnight_is_one() -> None:
    [fix] = read(GGA.replace("102929.00", "235959.996"), RMC.replace("102929.00", "000000.00"))
    assert fix.utc_us == utc_us("2021-03-07T00:00:00Z")


def test_the_date_comes_from_zda_when_no_rmc_has_one() -> None:
    [fix] = read(GGA, ZDA)
    assert fix.utc_us == utc_us("2021-03-07T10:29:29Z")
    [fix] = read(GGA, RMC, ZDA.replace("2021", "2001"))
    assert fix.utc_us == utc_us("2021-03-07T10:29:29Z")


def test_a_zda_alone_is_no_fix_and_a_day_that_is_none_is_garbled() -> None:
    assert read(ZDA) == []
    assert read("GPZDA,102929.00,,,,00,00") == []
    reader = NmeaReader()
    reader.feed(nmea(ZDA.replace("07,03", "31,02")), 0)
    assert reader.counts.garbled == 1


@pytest.mark.parametrize("talker", ["GP", "GN", "GL", "GA", "GB", "BD", "GQ", "QZ", "PQ", "GI"])
def test_every_satellite_system_is_read(talker: str) -> None:
    [fix] = read(talker + RMC[2:], talker + GGA[2:])
    assert (fix.mode, fix.lat_e7, fix.lon_e7) == (3, *PLACE)


@pytest.mark.parametrize("talker", ["EC", "II", "IN", "SD", "HC", "LC"])
def test_what_no_receiver_measured_is_not_a_fix(talker: str) -> None:
    reader = NmeaReader()
    reader.feed(nmea(talker + RMC[2:]) + nmea(talker + GLL[2:]), 0)
    assert reader.flush() == []
    assert (reader.counts.unused, reader.counts.parsed) == (2, 0)


def test_a_leap_second_costs_the_time_and_not_the_place() -> None:
    [fix] = read(RMC.replace("102929.00", "235960.00").replace("070321", "311216"))
    assert (fix.lat_e7, fix.utc_us) == (PLACE[0], None)


def test_binary_frames_are_foreign_bytes_also_where_they_hold_a_dollar() -> None:
    reader = NmeaReader()
    binary = b"\xb5\x62\x01\x07\x24\x00\x93$\x02\x00\x11$\n\xff\x24"
    reader.feed(binary + nmea(RMC) + binary + nmea(GGA), 0)
    assert [fix.mode for fix in reader.flush()] == [3]
    assert (reader.counts.parsed, reader.counts.garbled) == (2, 0)
    assert reader.counts.foreign_bytes == 2 * (len(binary) - 1)
