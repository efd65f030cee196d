"""From wires and facts to what the interlock sees: each fact in its place, and no value of a wrong form."""

from typing import Any

import pytest

from device.mcu import floors
from device.mcu.interlock_watch import Watch
from device.mcu.sources import ABSENT, AGREES, DISAGREES, FAILED, JAMMED

FACTS: dict[int, Any] = {
    1: [0, 1], 2: [100, 2, 0], 3: [0, 60, 7, 12], 4: [-15, 30], 5: 610, 6: True, 7: False, 8: True, 9: True,
    10: False, 11: False,
}  # fmt: skip


def seen_with(facts: Any = None, *, age_s: Any = 0, **changes: Any) -> tuple[Any, Any]:
    values: dict[str, Any] = {
        "ignition": False, "crank": False, "engine": False, "accel": "still", "supply_mv": 12_600,
        "relay_sensed": False,
    }  # fmt: skip
    watch = Watch(floors)
    watch.feed(50, *(values | changes).values(), FACTS if facts is None else facts, age_s)
    return watch, watch.seen(50)


def test_each_fact_stands_in_its_place() -> None:
    watch, seen = seen_with(age_s=3)
    assert (seen.ignition, seen.crank, seen.engine, seen.supply_mv, seen.relay_sensed) == (
        False, False, False, 12_600, False,
    )  # fmt: skip
    assert (seen.ignition_bus, seen.engine_bus, seen.hazard, seen.business_day) == (False, False, True, True)
    assert (seen.wheel_value, seen.gnss_value) == ((0, 4), (100, 5)), "as old as they are now"
    assert (seen.zone, seen.zone_age_s, seen.zone_version, seen.zone_unc_m) == (0, 63, 7, 12)
    assert (seen.ambient_c10, seen.ambient_age_s, seen.local_minute) == (-15, 33, 610)
    assert (seen.accel, seen.wheel, seen.gnss) == (AGREES, AGREES, AGREES)
    assert (watch.crash, watch.local_minute, watch.moving) == (True, 610, False)
    assert seen.mode_active is False, "what only the caller knows refuses until it is said"


def test_facts_are_believed_up_to_their_age() -> None:
    _, seen = seen_with(age_s=floors.FACTS_AGE_S_MAX)
    assert (seen.zone, seen.zone_age_s) == (0, 65)


@pytest.mark.parametrize("age_s", [6, None, "old", -1, True])
def test_old_facts_are_none(age_s: Any) -> None:
    watch, seen = seen_with(age_s=age_s)
    assert (seen.wheel_value, seen.gnss_value, seen.zone, seen.ambient_c10) == (None, None, None, None)
    assert (seen.local_minute, seen.business_day, seen.hazard, seen.engine_bus) == (None, None, None, None)
    assert (watch.crash, seen.wheel, seen.gnss) == (False, ABSENT, ABSENT)


@pytest.mark.parametrize(
    "nonsense", [None, True, "x", 5, [], [1], [True, 0], [0, -1], [0, None], ["0", 0], {}]
)
def test_a_fact_of_a_wrong_form_is_no_fact(nonsense: Any) -> None:
    facts = dict.fromkeys(FACTS, nonsense) | {7: 1, 9: 1}
    watch, seen = seen_with(facts)
    assert (seen.wheel_value, seen.gnss_value, seen.zone, seen.ambient_c10) == (None, None, None, None)
    assert seen.local_minute in (None, 5)
    is_truth = nonsense is True
    assert (seen.hazard is None, seen.business_day is None, seen.ignition_bus is None) == (not is_truth,) * 3
    assert (watch.crash, seen.wheel, seen.gnss) == (False, ABSENT, ABSENT)


def test_short_facts_lack_what_they_lack() -> None:
    _, seen = seen_with({2: [0, 0], 3: [0, 5], 5: 1_440})
    assert (seen.gnss, seen.zone, seen.local_minute) == (ABSENT, None, None)
    _, seen = seen_with({3: [2, 5, 1], 5: 1_439})
    assert (seen.zone, seen.zone_unc_m, seen.local_minute) == (2, None, 1_439)


def test_wires_that_are_not_wires_are_not_sensed() -> None:
    _, seen = seen_with(ignition=0, crank="no", engine=1, accel="sleepy")
    assert (seen.ignition, seen.crank, seen.engine, seen.accel) == (None, None, None, FAILED)


def test_a_moving_car_and_a_jammed_sky() -> None:
    watch, seen = seen_with({1: [300, 0], 2: [0, 0, 2]})
    assert (seen.wheel, seen.gnss, watch.moving, watch.cycle.ended) == (DISAGREES, JAMMED, True, False)


def test_who_has_not_looked_for_long_sees_nothing_at_rest() -> None:
    watch = Watch(floors, cycle_ended=True)
    ignition = crank = engine = relay = False
    for now_s in range(0, 700, 5):
        watch.feed(now_s, ignition, crank, engine, "still", 12_600, relay, FACTS, 0)
    seen = watch.seen(705)
    assert (seen.rest_s, seen.cycle_ended, seen.ran_s) == (695, True, 695)
    assert (watch.seen(706).rest_s, watch.seen(706).cycle_ended) == (0, False)
