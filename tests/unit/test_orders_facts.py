"""What the agent tells the microcontroller: ages as they are, unknown as null, no place without its way."""

import numpy as np
import pytest

from device.orders.facts import BUS_SILENT_US, FactsKeeper, Radio
from device.orders.local_hours import Calendar, read_calendar
from device.orders.zones import Circle, Outline, Place, ZoneSet, read_zones
from device.profile import StateRule
from protocol import strict_cbor
from protocol.clock import ClockClass, Instant
from protocol.dictionary import ColumnDef, GroupDef, RawType
from protocol.errors import ProtocolError
from protocol.fixes import Fix

SECOND = 1_000_000
HOME_LAT, HOME_LON = 481_000_000, 115_000_000
ZONES = ZoneSet(3, (Circle(1, HOME_LAT, HOME_LON + 1_000_000, 500),))  # 7.4 km east of home


def column(signal: str, path: str | None, unit: str | None, scale: float = 1) -> ColumnDef:
    return ColumnDef(
        signal=signal, path=path, raw_type=RawType.INT, bits=32, scale=scale, offset=0, unit=unit
    )


GROUP = GroupDef(
    gid=1,
    bus="can0",
    can_id=0x130,
    message="Motion",
    branch=None,
    dbc_hash=bytes(32),
    columns=(
        column("Speed", "Vehicle.Speed", "km/h", 0.01),
        column("Outside", "Vehicle.Exterior.AirTemperature", "degC", 0.5),
        column("Ignition", None, None),
    ),
)
STATES = {"ignition_on": StateRule(bus="can0", signal="Motion.Ignition", values=(1,))}


def rows(
    keeper: FactsKeeper, at_s: float, speed_kmh: float, *, ignition: int = 0, outside_c: float = 20
) -> None:
    raw = np.array([[round(speed_kmh * 100)], [round(outside_c * 2)], [ignition]], dtype=np.int64)
    keeper.take_rows("can0", GROUP, np.array([int(at_s * SECOND)], dtype=np.int64), raw)


def fix(at_s: float, *, mode: int = 3, speed: int | None = 0, hdop: int | None = 100) -> Fix:
    return Fix(
        t_us=int(at_s * SECOND),
        mode=mode,
        lat_e7=HOME_LAT,
        lon_e7=HOME_LON,
        speed_mm_s=speed,
        hdop_centi=hdop,
    )


def facts(keeper: FactsKeeper, at_s: float, *, zones: ZoneSet | None = ZONES) -> dict[int, object]:
    return keeper.body(zones, None, None, now_us=int(at_s * SECOND))


def test_speed_and_air_are_told_in_the_links_units_with_their_age() -> None:
    keeper = FactsKeeper(STATES)
    rows(keeper, 10, 36.0, ignition=1, outside_c=-3.5)
    told = facts(keeper, 12)
    assert (told[1], told[4], told[10]) == ([10_000, 2], [-35, 2], True)


def test_a_bus_that_falls_silent_after_a_last_0_is_asleep() -> None:
    keeper = FactsKeeper(STATES)
    rows(keeper, 10, 0.0)
    assert facts(keeper, 11)[7] is False
    assert facts(keeper, 10 + BUS_SILENT_US / SECOND)[7] is True


@pytest.mark.parametrize(("speed", "ignition"), [(5.0, 0), (0.0, 1)])
def test_a_bus_that_falls_silent_otherwise_is_only_silent(speed: float, ignition: int) -> None:
    keeper = FactsKeeper(STATES)
    rows(keeper, 10, speed, ignition=ignition)
    assert facts(keeper, 100)[7] is False
    assert facts(keeper, 100)[10] is None


def test_a_fix_in_the_open_is_clear_and_one_beside_a_zone_is_inside() -> None:
    keeper = FactsKeeper()
    keeper.note_fix(fix(10))
    assert facts(keeper, 11)[3] == [Place.CLEAR, 1, 3, 5]
    assert facts(keeper, 11, zones=ZoneSet(3, (Circle(1, HOME_LAT, HOME_LON, 10),)))[3] == [1, 1, 3, 5]


def test_the_way_driven_since_the_fix_widens_the_circle_until_it_touches() -> None:
    keeper = FactsKeeper()
    keeper.note_speed(0, 9 * SECOND)
    keeper.note_fix(fix(10))
    keeper.note_fix(fix(11, mode=1))
    for at in range(10, 400):
        keeper.note_speed(20_000, at * SECOND)
        place = facts(keeper, at)[3]
        assert isinstance(place, list)
        reach = place[3]
        assert place[0] == (Place.INSIDE if reach * 1.01 >= 7_426 - 500 else Place.CLEAR)
    assert place[0] == Place.INSIDE


def test_a_place_is_unknown_when_the_way_since_is() -> None:
    keeper = FactsKeeper()
    keeper.note_fix(fix(10))
    keeper.note_fix(fix(20, mode=1))
    assert facts(keeper, 21)[3] == [Place.UNKNOWN, 11, 3, None]


@pytest.mark.parametrize(("hdop", "at_s"), [(None, 11), (100, 10 + 1_801)])
def test_a_place_is_unknown_without_uncertainty_and_after_half_an_hour(hdop: int | None, at_s: int) -> None:
    keeper = FactsKeeper()
    rows(keeper, 9, 0.0)
    keeper.note_fix(fix(10, hdop=hdop))
    place = facts(keeper, at_s)[3]
    assert isinstance(place, list)
    assert place[0] == Place.UNKNOWN


def test_a_parked_car_whose_bus_sleeps_knows_its_place_under_the_roof() -> None:
    keeper = FactsKeeper(STATES)
    rows(keeper, 9, 0.0)
    keeper.note_fix(fix(10))
    rows(keeper, 11, 0.0)
    keeper.note_fix(fix(60, mode=1))
    place = facts(keeper, 900)[3]
    assert isinstance(place, list)
    assert place[:3] == [Place.CLEAR, 890, 3]


@pytest.mark.parametrize(
    ("radio", "state"),
    [
        (None, 3),
        (Radio(18, 0, None, 20 * SECOND), 1),
        (Radio(18, None, None, 20 * SECOND), 3),
        (Radio(40, 0, None, 20 * SECOND), 3),
        (Radio(18, 9, None, 20 * SECOND), 2),
        (Radio(cn0_dbhz=18, gain_db=0, is_jammed=True, t_us=20 * SECOND), 2),
        (Radio(18, 0, None, 10 * SECOND), 3),
    ],
)
def test_without_a_fix_only_weak_signals_and_a_steady_gain_are_a_roof(
    radio: Radio | None, state: int
) -> None:
    keeper = FactsKeeper()
    keeper.note_fix(fix(20, mode=1, speed=None))
    if radio is not None:
        keeper.note_radio(**radio._asdict())
    assert facts(keeper, 20)[2] == [0, 0, state]


def test_a_crash_is_told_for_a_minute_and_counted_by_the_microcontroller() -> None:
    keeper = FactsKeeper({"crashed": StateRule(bus="can0", signal="Motion.Ignition", values=(7,))})
    rows(keeper, 10, 0.0, ignition=7)
    assert facts(keeper, 69)[9] is True
    assert facts(keeper, 71)[9] is False


CALENDAR = {
    1: 1,
    2: "US-CA",
    3: 7,
    4: [1_767_225_600, 1_830_297_600],
    5: [[1_767_225_600, -480], [1_772_964_000, -420]],
    6: 0b0011111,
    7: [20_780],
    8: [20_785],
}


@pytest.mark.parametrize(
    ("utc_s", "local"),
    [
        (1_795_608_000, (300, True)),  # 2026-11-25 12:00 UTC, a Wednesday
        (20_780 * 86_400 + 20 * 3_600, (780, False)),  # the holiday
        (20_785 * 86_400 + 20 * 3_600, (780, True)),  # a worked Saturday
        (20_786 * 86_400 + 20 * 3_600, (780, False)),  # a Sunday
        (1_830_297_600, None),
        (1_767_225_599, None),
    ],
)
def test_local_hours_follow_the_calendar_and_end_with_it(utc_s: int, local: tuple[int, bool] | None) -> None:
    assert read_calendar(strict_cbor.dumps(CALENDAR)).at(utc_s) == local


@pytest.mark.parametrize("error_us", [None, 61 * SECOND])
def test_hours_are_unknown_with_a_clock_that_nobody_bounds(error_us: int | None) -> None:
    calendar: Calendar = read_calendar(strict_cbor.dumps(CALENDAR))
    now = Instant(mono_us=0, utc_us=1_795_608_000 * SECOND, clock=ClockClass.RTC, error_us=error_us)
    told = FactsKeeper().body(None, calendar, now, now_us=0)
    assert (told[5], told[6]) == (None, None)


@pytest.mark.parametrize(
    "change",
    [{1: 2}, {4: [5, 5]}, {5: [[9, 0], [8, 0]]}, {5: []}, {6: 128}, {7: [-1]}, {9: 0}],
    ids=str,
)
def test_a_calendar_that_is_not_of_its_form_is_refused(change: dict[int, object]) -> None:
    with pytest.raises(ProtocolError):
        read_calendar(strict_cbor.dumps(CALENDAR | change))


def test_an_outline_holds_what_is_within_it_and_knows_how_far_the_rest_is() -> None:
    square = Outline(4, ((0, 0), (0, 100_000), (100_000, 100_000), (100_000, 0)))  # 1.1 km
    assert square.distance_m(50_000, 50_000) == 0
    assert square.distance_m(50_000, 200_000) == pytest.approx(1_112, rel=0.01)
    assert square.distance_m(-100_000, -100_000) == pytest.approx(1_572, rel=0.01)


def test_a_zone_across_the_date_line_is_found_from_both_sides() -> None:
    zone = Circle(1, 0, 1_799_990_000, 300)
    assert zone.distance_m(0, -1_799_990_000) == 0


@pytest.mark.parametrize(
    "zones",
    [
        [[0, [0, 0, 5]]],
        [[1, [0, 0]]],
        [[1, [0, 0, 0]]],
        [[1, [0, 0, 1, 1, 2, 2, 3]]],
        [[1, [910_000_000] * 6]],
    ],
    ids=str,
)
def test_a_zone_set_that_is_not_of_its_form_is_refused(zones: list[object]) -> None:
    with pytest.raises(ProtocolError):
        read_zones(strict_cbor.dumps({1: 1, 2: 3, 3: zones}))


def test_a_zone_set_reads_back() -> None:
    made = {1: 1, 2: 3, 3: [[1, [5, 6, 7]], [2, [0, 0, 0, 9, 9, 9]]]}
    assert read_zones(strict_cbor.dumps(made)) == ZoneSet(
        3, (Circle(1, 5, 6, 7), Outline(2, ((0, 0), (0, 9), (9, 9))))
    )
