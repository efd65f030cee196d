"""`pre` of an order only tightens: each of its keys at its edge, and never a looser answer than without
it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.mcu import floors, floors_demo
from device.mcu.interlock import judge, waits_for_go
from device.mcu.sources import ABSENT, AGREES
from tests.builders.interlock import fresh_go, parked


def code(pre: dict[int, Any] | None, go: Any = None, **changes: Any) -> str:
    found, _ = judge(parked(**changes), floors, pre, go or fresh_go())
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("pre", "changes", "expected"),
    [
        ({1: 0}, {}, "OK"),
        ({2: 900}, {"rest_s": 900}, "OK"),
        ({2: 900}, {"rest_s": 899}, "IN_MOTION"),
        ({3: 900}, {"ran_s": 900}, "OK"),
        ({3: 900}, {"ran_s": 899}, "ENGINE_RUNNING"),
        ({4: 2}, {}, "OK"),
        ({4: 3}, {}, "SOURCES_INSUFFICIENT"),
        ({4: 3}, {"gnss": AGREES}, "OK"),
        ({4: 4}, {"gnss": AGREES}, "SOURCES_INSUFFICIENT"),
        ({5: 3}, {}, "OK"),
        ({5: 4}, {}, "ZONE_UNKNOWN"),
        ({6: [600, 700]}, {"local_minute": 600}, "OK"),
        ({6: [601, 700]}, {"local_minute": 600}, "QUIET_HOURS"),
        ({6: [500, 600]}, {"local_minute": 600}, "QUIET_HOURS"),
        ({6: [0, 1_440]}, {"local_minute": 479}, "QUIET_HOURS"),
        ({6: [0, 1_440]}, {"local_minute": 1_080}, "QUIET_HOURS"),
        ({7: [5, 21]}, {}, "OK"),
        ({7: [6, 21]}, {}, "TEMP_RANGE"),
        ({7: [5, 20]}, {}, "TEMP_RANGE"),
        ({8: 50}, {"zone_unc_m": 50}, "OK"),
        ({8: 50}, {"zone_unc_m": 51}, "ZONE_UNKNOWN"),
        ({8: 50}, {"zone_unc_m": None}, "ZONE_UNKNOWN"),
        ({}, {}, "OK"),
    ],
)
def test_each_key_tightens_its_floor(pre: dict[int, Any], changes: dict[str, Any], expected: str) -> None:
    assert code(pre, **changes) == expected


@pytest.mark.parametrize(
    ("pre", "changes", "expected"),
    [
        ({2: 1}, {"rest_s": 599}, "IN_MOTION"),
        ({3: 1}, {"ran_s": 599}, "ENGINE_RUNNING"),
        ({4: 1}, {"wheel": ABSENT}, "SOURCES_INSUFFICIENT"),
        ({7: [-40, 60]}, {"ambient_c10": 390, "ambient_age_s": 0}, "TEMP_RANGE"),
        ({7: [-40, 60]}, {"ambient_c10": -110, "ambient_age_s": 0}, "TEMP_RANGE"),
        ({8: 10**6}, {"zone_age_s": 1_801, "zone_unc_m": 1}, "ZONE_UNKNOWN"),
    ],
)
def test_no_key_loosens_its_floor(pre: dict[int, Any], changes: dict[str, Any], expected: str) -> None:
    assert code(pre, **changes) == expected


minutes = st.tuples(st.integers(0, 1_440), st.integers(0, 1_440)).map(list)
pres = st.fixed_dictionaries(
    {},
    optional={
        1: st.just(0), 2: st.integers(0, 2_000), 3: st.integers(0, 2_000), 4: st.integers(1, 8),
        5: st.integers(0, 9), 6: minutes, 7: st.tuples(st.integers(-60, 60), st.integers(-60, 60)).map(list),
        8: st.integers(0, 500),
    },
)  # fmt: skip
cars = st.fixed_dictionaries(
    {
        "rest_s": st.integers(590, 1_500), "ran_s": st.integers(590, 1_500),
        "wheel": st.sampled_from([ABSENT, AGREES]), "gnss": st.sampled_from([ABSENT, AGREES]),
        "zone_age_s": st.integers(1_700, 1_900), "zone_version": st.integers(0, 9),
        "zone_unc_m": st.none() | st.integers(0, 500), "local_minute": st.integers(0, 1_439),
        "ambient_c10": st.none() | st.integers(-150, 420), "ambient_age_s": st.integers(0, 2_000),
    }
)  # fmt: skip


@given(pre=pres, changes=cars)
def test_what_refuses_without_pre_refuses_with_it(pre: dict[int, Any], changes: dict[str, Any]) -> None:
    if code(pre, **changes) == "OK":
        assert code(None, **changes) == "OK"


def test_an_order_that_lacks_only_its_token_waits_for_it() -> None:
    assert waits_for_go(judge(parked(), floors, None, None)[0])
    assert not waits_for_go(judge(parked(rest_s=0), floors, None, None)[0])
    boiling = parked(ambient_c10=390, ambient_age_s=0)
    assert judge(boiling, floors, None, None)[0] == "TEMP_RANGE", "no token is asked for in vain"
    assert not waits_for_go("OK")


def test_only_the_demos_floors_lock_on_a_sunday_night() -> None:
    seen = parked(business_day=False, local_minute=0, rest_s=6, ran_s=6)
    assert judge(seen, floors_demo, None, fresh_go())[0] == "OK"
    assert judge(seen, floors, None, fresh_go())[0] == "ENGINE_RUNNING"
    assert judge(parked(business_day=False), floors, None, fresh_go())[0] == "QUIET_HOURS"


def test_the_readings_say_what_was_seen() -> None:
    seen = parked(wheel_value=(0, 2), gnss_value=(40, 1), ambient_c10=-20, ambient_age_s=9, supply_mv=12_600)
    seen.ignition_bus, seen.engine_bus, seen.gnss, seen.warned = False, True, AGREES, 3
    assert judge(seen, floors, None, fresh_go(age_s=7))[1] == [
        ["ignition", 0, 0, 2], ["engine", 0, 0, 2], ["crank", 0, 0, 2], ["accel", None, 600, 2],
        ["wheel", 0, 2, 2], ["gnss", 40, 1, 2], ["ignition_bus", 0, None, 2], ["engine_bus", 1, 600, 3],
        ["hazard", 0, None, 2], ["zone", 0, 1_800, 2], ["hours", 600, None, 2], ["ambient", -20, 9, 2],
        ["forecast_low", 5, 7, 2], ["forecast_high", 21, 7, 2], ["supply", 12_600, 0, 2],
        ["warned", 3, None, 2],
    ]  # fmt: skip
    unsensed = judge(parked(ignition=None), floors, None, None)[1]
    assert unsensed[0] == ["ignition", None, 0, 0]
    silent = judge(parked(zone=None, local_minute=None, warned=1), floors, None, None)[1]
    assert [reading for reading in silent if reading[0] in ("zone", "hours", "forecast_low", "warned")] == [
        ["zone", None, 1_800, 0], ["hours", None, None, 0], ["forecast_low", None, None, 0],
        ["warned", 1, None, 3],
    ]  # fmt: skip
