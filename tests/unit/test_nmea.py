"""NMEA sentences to fixes: one an epoch, never a position that was not measured."""

import pytest

from device.acquisition.nmea import NmeaReader
from protocol.fixes import Fix
from protocol.limits import NMEA_SENTENCE_BYTES_MAX

RMC = "GPRMC,102929.00,A,5327.04024,N,00214.41560,W,0.273,77.52,070321,,,A"
VTG = "GPVTG,77.52,T,,M,0.273,N,0.506,K,A"
GGA = "GPGGA,102929.00,5327.04024,N,00214.41560,W,1,08,1.16,36.3,M,48.5,M,,"
GSA = "GPGSA,A,3,17,15,10,24,20,12,19,23,,,,,2.36,1.16,2.05"
GSV = "GPGSV,1,1,03,01,06,015,,10,30,290,27,12,42,207,26"


def sentence(content: str) -> bytes:
    checksum = 0
    for byte in content.encode():
        checksum ^= byte
    return f"${content}*{checksum:02X}\r\n".encode()


def read(*contents: str) -> list[Fix]:
    reader = NmeaReader()
    fixes = reader.feed(b"".join(map(sentence, contents)), 1_000)
    assert reader.counts.garbled == 0
    return fixes + reader.flush()


def test_the_sentences_of_an_epoch_become_one_fix_in_integers() -> None:
    assert read(RMC, VTG, GGA, GSA, GSV) == [
        Fix(
            t_us=1_000,
            utc_us=1_615_112_969_000_000,
            mode=3,
            lat_e7=534_506_707,
            lon_e7=-22_402_600,
            alt_mm=36_300,
            speed_mm_s=140,
            course_cdeg=7_752,
            hdop_centi=116,
            sats_used=8,
            sats_in_view=3,
        )
    ]


def test_the_time_of_a_fix_is_that_of_its_first_sentence_and_a_new_time_ends_the_epoch() -> None:
    reader = NmeaReader()
    assert reader.feed(sentence(RMC), 10) == []
    assert reader.feed(sentence(GGA), 20) == []
    [fix] = reader.feed(sentence(RMC.replace("102929", "102930")), 1_000_010)
    assert fix.t_us == 10
    [last] = reader.flush()
    assert last.t_us == 1_000_010
    assert reader.flush() == []


def test_bytes_may_be_torn_anywhere() -> None:
    stream = b"".join(map(sentence, (RMC, GGA, GSA, RMC.replace("102929", "102930"))))
    whole = NmeaReader().feed(stream, 5)
    for cut in range(len(stream)):
        reader = NmeaReader()
        assert reader.feed(stream[:cut], 5) + reader.feed(stream[cut:], 5) == whole
        assert reader.counts.garbled == 0


@pytest.mark.parametrize("position", range(1, len(RMC)))
def test_a_flipped_bit_never_becomes_a_position(position: int) -> None:
    damaged = bytearray(sentence(RMC))
    damaged[position] ^= 1
    reader = NmeaReader()
    reader.feed(bytes(damaged), 0)
    assert reader.flush() == []
    assert reader.counts.parsed == 0


def test_control_characters_are_no_text_whatever_the_checksum_says() -> None:
    twice = RMC.replace("102929.00", "102929\x0e00").replace("070321", "070\x13\x321")
    reader = NmeaReader()
    reader.feed(sentence(twice), 0)
    assert reader.flush() == []
    assert reader.counts.garbled == 1


@pytest.mark.parametrize(
    "void",
    [
        RMC.replace(",A,5327", ",V,5327"),
        RMC.replace(",,,A", ",,,N"),
        RMC.replace(",,,A", ",,,E"),
        RMC.replace(",,,A", ",,,S"),
        "GPRMC,102929.00,V,,,,,,,070321,,,N",
        "GPRMC,,V,,,,,,,,,,N",
    ],
)
def test_a_void_or_estimated_rmc_is_no_fix_and_has_no_coordinates(void: str) -> None:
    assert read(void) == [Fix(t_us=1_000, mode=1)]


@pytest.mark.parametrize(
    "others",
    [
        (RMC, GGA.replace(",W,1,", ",W,0,")),
        (RMC, GGA.replace(",W,1,", ",W,6,")),
        (RMC, GGA.replace(",W,1,", ",W,8,")),
        (RMC.replace(",A,5327", ",V,5327"), GGA),
        (RMC, GGA, "GPGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99"),
    ],
)
def test_any_sentence_that_says_no_fix_wins(others: tuple[str, ...]) -> None:
    [fix] = read(*others)
    assert (fix.mode, fix.lat_e7, fix.lon_e7, fix.alt_mm, fix.speed_mm_s, fix.utc_us) == (1, *[None] * 5)


def test_old_coordinates_are_not_repeated_when_the_fix_is_lost() -> None:
    good, lost = read(RMC, GGA, "GPRMC,102930.00,V,,,,,,,070321,,,N")
    assert good.lat_e7 is not None
    assert (lost.mode, lost.lat_e7, lost.lon_e7) == (1, None, None)


def test_several_talkers_share_an_epoch() -> None:
    [fix] = read(
        RMC.replace("GPRMC", "GNRMC"),
        GGA.replace("GPGGA", "GNGGA"),
        "GNGSA,A,3,20,10,23,,,,,,,,,,2.55,1.68,1.07,1",
        "GNGSA,A,3,78,68,,,,,,,,,,,2.55,1.68,1.07,2",
        "GPGSV,1,1,04,10,29,284,30,20,17,247,36,23,24,247,38,28,10,049,07,1",
        "GLGSV,1,1,02,66,10,179,,67,52,218,22,1",
        "GLGSV,1,1,02,66,10,179,,67,52,218,22,3",
    )
    assert (fix.mode, fix.sats_in_view, fix.sats_used) == (3, 6, 8)


def test_mode_without_gsa_is_three_only_with_an_altitude() -> None:
    assert [read(RMC)[0].mode, read(RMC, GGA)[0].mode] == [2, 3]


def test_a_receiver_without_rmc_has_a_position_but_no_date() -> None:
    [fix] = read(GGA)
    assert fix.lat_e7 == 534_506_707
    assert fix.utc_us is None


def test_speed_comes_from_vtg_when_rmc_has_none() -> None:
    [fix] = read(RMC.replace("0.273,77.52", ","), VTG)
    assert (fix.speed_mm_s, fix.course_cdeg) == (141, 7_752)


@pytest.mark.parametrize(
    "impossible",
    [
        RMC.replace("5327.04024", "9527.04024"),
        RMC.replace("00214.41560", "19914.41560"),
        RMC.replace(",N,", ",,"),
        RMC.replace(",W,", ",Q,"),
        RMC.replace("00214.41560", "-0214.41560"),
        RMC.replace("5327.04024", "53x7.04024"),
        RMC.replace("5327.04024", ""),
        RMC.replace("0.273", "-4.0"),
        RMC.replace("0.273", "nan"),
        RMC.replace("0.273", "1e30"),
        GGA.replace(",08,", ",zz,"),
        GGA.replace("36.3", "inf"),
        GSA.replace(",A,3,", ",A,9,"),
        RMC.replace("5327.04024", "5399.04024"),
        RMC.replace("5327.04024", "5360.00000"),
        RMC.replace("5327.04024", "5327.04_24"),
        RMC.replace("5327.04024", "5327"),
        RMC.replace("5327.04024", "327.04024"),
        RMC.replace("00214.41560", "00260.41560"),
        RMC.replace("00214.41560", "0214.41560"),
        RMC.replace("00214.41560", "00_14.41560"),
        RMC.replace("00214.41560", "18000.00001"),
        RMC.replace("102929.00", "250000.00"),
        RMC.replace("102929.00", "106029.00"),
        RMC.replace("102929.00", "102960.00"),
        RMC.replace("102929.00", "235961.00"),
        RMC.replace("102929.00", "10292_.00"),
        RMC.replace("102929.00", "9292"),
        RMC.replace("070321", "310221"),
        RMC.replace("070321", "0703_1"),
        RMC.replace("77.52", "400"),
        RMC.replace("77.52", "360.01"),
        RMC.replace("77.52", "-10"),
        RMC.replace("0.273", "0.2_3"),
        RMC.replace("0.273", " 0.273"),
        GGA.replace("5327.04024", "5399.04024"),
        GGA.replace("102929.00", "240000.00"),
        GGA.replace("36.3,M", "119.1,f"),
        GGA.replace("36.3,M", "36.3,"),
        GGA.replace("36.3", "3_6.3"),
        GGA.replace("36.3", "+36.3"),
        GGA.replace(",08,", ",0_8,"),
        GGA.replace(",08,", ",-8,"),
        GGA.replace("1.16", "-1.16"),
        GSA.replace("1.16", "1_6"),
        GSA.replace(",17,", ",1_7,"),
        GSV.replace(",03,", ",0_3,"),
        "GPGSV,1,1,-3",
        VTG.replace("77.52", "400"),
        VTG.replace("77.52,T", "77.52,M"),
        VTG.replace("0.273,N", "0.273,K"),
        VTG.replace("0.506,K", "0.506,N"),
        VTG.replace("0.506", "-0.506"),
        "GPRMC,102929.00,A,5327.04024,N",
        "GPGSA",
        "GPGSA,A",
    ],
)
def test_impossible_values_with_a_good_checksum_are_garbled(impossible: str) -> None:
    reader = NmeaReader()
    reader.feed(sentence(impossible), 0)
    assert reader.flush() == []
    assert reader.counts.garbled == 1


@pytest.mark.parametrize("kind", ["GGA", "GNS", "GLL"])
def test_sixty_minutes_of_arc_are_garbled_in_every_sentence_with_a_place(kind: str) -> None:
    said = {
        "GGA": GGA,
        "GNS": "GNGNS,102929.00,5327.04024,N,00214.41560,W,AN,09,1.20,36.4,48.5,,",
        "GLL": "GPGLL,5327.04024,N,00214.41560,W,102929.00,A,A",
    }[kind]
    for wrong in (said.replace("5327", "5360"), said.replace("00214", "00299")):
        reader = NmeaReader()
        reader.feed(sentence(wrong), 0)
        assert (reader.flush(), reader.counts.garbled) == ([], 1)


def test_the_outermost_values_that_can_be_are_read() -> None:
    [pole] = read(
        RMC.replace("5327.04024", "9000.00000")
        .replace("00214.41560", "18000.00000")
        .replace("77.52", "360.0")
    )
    assert (pole.lat_e7, pole.lon_e7, pole.course_cdeg) == (900_000_000, -1_800_000_000, 0)
    [last] = read(RMC.replace("5327.04024", "5359.99999").replace("102929.00", "235959.999999"))
    assert (last.lat_e7, last.utc_us) == (539_999_998, 1_615_161_599_999_999)
    [below_the_sea] = read(RMC, GGA.replace("36.3", "-30.40"))
    assert below_the_sea.alt_mm == -30_400


def test_a_lost_fix_stays_one_though_its_coordinates_and_date_are_no_place_and_no_day() -> None:
    void = "GPRMC,235946.005,V,8960.000000,N,00000.000000,E,0.000,0.00,000000,,,N"
    assert read(void) == [Fix(t_us=1_000, mode=1)]


@pytest.mark.parametrize(
    "short", ["GPRMC", "GPGGA", "GPGSV", "GPVTG", "GPRMC,,", "GPGGA,102929.00", "GPGSV,1"]
)
def test_a_sentence_that_ends_early_gives_no_position(short: str) -> None:
    assert all(fix.mode == 1 and fix.lat_e7 is None for fix in read(short))


def test_what_is_not_read_is_counted_by_what_it_is() -> None:
    reader = NmeaReader()
    reader.feed(
        sentence("GPTXT,01,01,02,u-blox ag - www.u-blox.com")
        + sentence("PUBX,00,1")
        + b"# a comment\r\n"
        + b"$GPRMC,no,checksum\r\n"
        + sentence(RMC)[:-4]
        + b"\r\n"
        + b"$GPGGA,torn"
        + sentence(RMC),
        0,
    )
    counts = reader.counts
    assert (counts.parsed, counts.unused, counts.unknown, counts.garbled) == (1, 1, 1, 3)
    assert counts.foreign_bytes == len("# a comment")


def test_noise_without_a_line_end_is_bounded_and_a_later_sentence_is_read() -> None:
    reader = NmeaReader()
    for _ in range(10):
        reader.feed(b"\xb5b" * NMEA_SENTENCE_BYTES_MAX, 0)
    reader.feed(b"$" + b"x" * NMEA_SENTENCE_BYTES_MAX, 0)
    assert (reader.counts.garbled, reader.counts.foreign_bytes) == (1, 20 * NMEA_SENTENCE_BYTES_MAX + 1)
    reader.feed(b"\n" + sentence(RMC), 0)
    assert len(reader.flush()) == 1


def test_two_rmc_of_the_same_second_are_two_epochs() -> None:
    assert len(read(RMC, RMC)) == 2


def test_the_week_rollover_date_is_what_the_receiver_says() -> None:
    [fix] = read(RMC.replace("070321", "220899"))
    assert fix.utc_us == 935_317_769_000_000
