"""A receiver's date and place against what can be."""

import datetime as dt

import pytest

from device.acquisition.gnss_checks import Dated, JumpCheck, right_date
from protocol.fixes import Fix
from protocol.limits import CLOCK_EARLIEST_US

DAY_US = 86_400_000_000
ROLLOVER_US = 1_024 * 7 * DAY_US
NOW_US = round(dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC).timestamp() * 1e6)


def dated(utc_us: int, witness_us: int | None = None) -> Dated:
    return right_date(utc_us, witness_us=witness_us, floor_us=CLOCK_EARLIEST_US)


def test_a_date_after_the_floor_stands_without_a_witness() -> None:
    assert dated(NOW_US) == Dated(utc_us=NOW_US)


@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("off_us", [0, DAY_US, -DAY_US])
def test_a_receiver_1024_weeks_back_is_corrected_when_another_clock_vouches(turns: int, off_us: int) -> None:
    behind = NOW_US - turns * ROLLOVER_US
    assert dated(behind, NOW_US + off_us) == Dated(utc_us=NOW_US, weeks=1_024 * turns)


def test_a_rollover_that_lands_after_the_floor_is_found_by_the_witness() -> None:
    later = round(dt.datetime(2031, 5, 1, tzinfo=dt.UTC).timestamp() * 1e6)
    assert later - ROLLOVER_US > CLOCK_EARLIEST_US
    assert dated(later - ROLLOVER_US, later) == Dated(utc_us=later, weeks=1_024)


@pytest.mark.parametrize(
    "witness_us",
    [None, NOW_US + DAY_US + 1, NOW_US - 2 * DAY_US, 0, NOW_US - ROLLOVER_US],
    ids=["no clock", "a day and more ahead", "two days behind", "1970", "rolled over itself"],
)
def test_a_date_before_the_floor_without_a_good_witness_is_unknown_never_guessed(
    witness_us: int | None,
) -> None:
    assert dated(NOW_US - ROLLOVER_US, witness_us) == Dated(utc_us=None)


def test_1970_is_unknown_even_when_the_time_is_known() -> None:
    assert dated(0, NOW_US) == Dated(utc_us=None)


def test_a_witness_behind_the_receiver_by_1024_weeks_corrects_nothing() -> None:
    late = round(dt.datetime(2031, 5, 1, tzinfo=dt.UTC).timestamp() * 1e6)
    assert dated(late, late - ROLLOVER_US) == Dated(utc_us=late)


def test_a_clock_that_is_merely_wrong_changes_no_date() -> None:
    assert dated(NOW_US, NOW_US + 400 * DAY_US) == Dated(utc_us=NOW_US)


def fix(second: float, north_m: float = 0.0, *, utc: bool = True, lon_e7: int = 0) -> Fix:
    t_us = round(second * 1_000_000)
    return Fix(
        t_us=t_us,
        utc_us=NOW_US + t_us if utc else None,
        mode=3,
        lat_e7=round(north_m / 111_194.93 * 1e7),
        lon_e7=lon_e7,
    )


def test_a_fast_car_and_a_scattering_receiver_do_not_jump() -> None:
    check = JumpCheck()
    for second, north_m in ((0, 0), (1, 180), (2, 20), (3, 300), (63, 6_000)):
        assert check.check(fix(second, north_m)) is None
    assert check.jumps == 0


def test_a_jump_is_told_once_with_distance_and_time_and_counted_each_time() -> None:
    check = JumpCheck()
    check.check(fix(0))
    jump = check.check(fix(1, 50_000))
    assert jump is not None
    assert (round(jump.distance_mm, -5), jump.elapsed_us) == (50_000_000, 1_000_000)
    assert check.check(fix(2, 0)) is None
    assert check.check(fix(3, 50_000)) is None
    assert check.jumps == 3
    assert check.check(fix(4, 50_010)) is None
    assert check.check(fix(5, 0)) is not None


def test_a_car_that_moved_while_there_was_no_fix_has_not_jumped() -> None:
    check = JumpCheck()
    check.check(fix(0))
    check.check(Fix(t_us=5_000_000, mode=1))
    assert check.check(fix(3_600, 100_000)) is None
    assert check.jumps == 0


def test_without_the_receiver_s_time_arrival_counts() -> None:
    check = JumpCheck()
    check.check(fix(0, utc=False))
    assert check.check(fix(100, 5_000, utc=False)) is None
    assert check.check(fix(101, 20_000, utc=False)) is not None


def test_a_receiver_whose_time_goes_back_is_measured_by_arrival() -> None:
    check = JumpCheck()
    check.check(Fix(t_us=0, utc_us=NOW_US, mode=3, lat_e7=0, lon_e7=0))
    back = Fix(t_us=1_000_000, utc_us=NOW_US - DAY_US, mode=3, lat_e7=0, lon_e7=1_000)
    assert check.check(back) is None


def test_the_antimeridian_and_the_poles_are_no_jump() -> None:
    check = JumpCheck()
    check.check(fix(0, lon_e7=1_800_000_000))
    assert check.check(fix(1, lon_e7=-1_800_000_000)) is None
    at_pole = JumpCheck()
    at_pole.check(Fix(t_us=0, mode=3, lat_e7=900_000_000, lon_e7=0))
    assert at_pole.check(Fix(t_us=1, mode=3, lat_e7=900_000_000, lon_e7=900_000_000)) is None


def test_the_far_side_of_the_earth_is_half_its_girth_away() -> None:
    check = JumpCheck()
    check.check(Fix(t_us=0, mode=3, lat_e7=0, lon_e7=0))
    jump = check.check(Fix(t_us=1, mode=3, lat_e7=0, lon_e7=1_800_000_000))
    assert jump is not None
    assert round(jump.distance_mm / 1e6) == 20_015
