"""The simulated receiver speaks NMEA that a parser believes, true within metres, and lies on demand."""

from __future__ import annotations

import datetime as dt

import pytest
from pynmeagps import NMEAParseError, NMEAReader
from pynmeagps.nmeatypes_core import VALCKSUM

from simulators import drive_cycles
from simulators.gnss_receiver import WANDER_M, GnssFault, GnssFaultKind, GnssReceiver
from simulators.route import METRES_PER_DEGREE
from simulators.vehicle import Vehicle
from simulators.virtual_clock import SECOND_US
from tests.builders.sim import UTC_START_US


def parse(line: bytes) -> object:
    """Return the parser's message; a wrong checksum raises."""
    return NMEAReader.parse(line, validate=VALCKSUM)


def drive(seconds: int, *faults: GnssFault, seed: int = 7) -> list[tuple[Vehicle, list[bytes]]]:
    """Return the lines of each second of a drive, each with the car as it was (the last one only is live)."""
    vehicle = Vehicle(seed=seed, legs=drive_cycles.city(seed, 120))
    receiver = GnssReceiver(seed=seed, faults=faults)
    said = []
    for second in range(seconds):
        vehicle.run_until(second * SECOND_US)
        utc_us = UTC_START_US + second * SECOND_US
        said.append((vehicle.state, receiver.burst(vehicle.state, second * SECOND_US, utc_us=utc_us)))
    return said


def fault(kind: GnssFaultKind, first: int, end: int) -> GnssFault:
    return GnssFault(kind=kind, start_us=first * SECOND_US, end_us=end * SECOND_US)


def test_every_line_parses_and_every_burst_has_the_five_kinds() -> None:
    for _, lines in drive(40):
        kinds = {getattr(parse(line), "msgID", None) for line in lines}
        assert kinds == {"RMC", "GGA", "GSA", "GSV", "VTG"}


def test_positions_are_within_metres_of_the_car() -> None:
    for state, lines in drive(60)[3:]:
        rmc = parse(lines[0])
        north = (rmc.lat - state.place.latitude_deg) * METRES_PER_DEGREE
        east = (rmc.lon - state.place.longitude_deg) * METRES_PER_DEGREE
        assert abs(north) < 5 * WANDER_M
        assert abs(east) < 5 * WANDER_M


def test_speed_and_course_are_the_cars() -> None:
    moving = [(state, lines) for state, lines in drive(60)[3:] if state.speed_mps > 1]
    assert len(moving) > 20
    for state, lines in moving:
        rmc, vtg = parse(lines[0]), parse(lines[-1])
        assert rmc.spd == pytest.approx(state.speed_mps * 3.6 / 1.852, abs=0.006)
        assert vtg.sogk == pytest.approx(state.speed_mps * 3.6, abs=0.006)
        assert rmc.cog == pytest.approx(state.place.heading_deg, abs=0.006)


def test_time_and_date_are_utc() -> None:
    for second, (_, lines) in enumerate(drive(5)):
        rmc = parse(lines[0])
        said = dt.datetime.combine(rmc.date, rmc.time, tzinfo=dt.UTC)
        assert said.timestamp() * 1e6 == UTC_START_US + second * SECOND_US


def test_there_is_no_fix_at_first_then_a_flat_one_then_a_full_one() -> None:
    modes = [parse(lines[2]).navMode for _, lines in drive(6)]
    assert modes == [1, 1, 2, 3, 3, 3]
    first = parse(drive(1)[0][1][0])
    assert first.status == "V"
    assert first.lat == ""


def test_a_lost_fix_says_so_and_comes_back() -> None:
    said = [parse(lines[0]).status for _, lines in drive(12, fault(GnssFaultKind.NO_FIX, 5, 9))]
    assert said[4:10] == ["A", "V", "V", "V", "V", "A"]


def test_garbled_lines_are_refused_by_a_parser_and_the_rest_are_not() -> None:
    refused = accepted = 0
    for _, lines in drive(40, fault(GnssFaultKind.GARBLED, 5, 35))[5:35]:
        for line in lines:
            try:
                is_good = parse(line) is not None
            except NMEAParseError:
                is_good = False
            accepted, refused = accepted + is_good, refused + (not is_good)
    assert refused > 40
    assert accepted > 80


def test_a_jump_is_farther_than_a_car_can_drive() -> None:
    said = [parse(lines[0]).lat for _, lines in drive(12, fault(GnssFaultKind.JUMP, 6, 7))]
    assert said[6] - said[5] > 0.49
    assert abs(said[7] - said[5]) < 0.01


@pytest.mark.parametrize(
    ("kind", "date"),
    [(GnssFaultKind.YEAR_1970, dt.date(1970, 1, 1)), (GnssFaultKind.WEEK_ROLLOVER, dt.date(2006, 5, 22))],
)
def test_a_wrong_date_comes_with_a_right_checksum(kind: GnssFaultKind, date: dt.date) -> None:
    said = [parse(lines[0]).date for _, lines in drive(8, fault(kind, 5, 6))]
    assert said[5] == date
    assert said[6] == dt.date(2026, 1, 5)
