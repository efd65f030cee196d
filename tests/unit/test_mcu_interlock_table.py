"""The interlock over its whole bucketed input space: only what the allow-list below names may lock.

The list was written from the rules, not from the code: by attribute, which bucket is allowed, and for each
other one the row of SPEC §19.2 that refuses it. `test_each_row_reads_only_its_own_inputs` is why the
products taken here, one for each set of inputs that meet in a row, stand for the product of all."""

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from device.mcu import floors
from device.mcu.interlock import ROWS, Limits, Moment, judge
from device.mcu.sources import ABSENT, AGREES, DISAGREES, FAILED, JAMMED, LOST
from tests.builders.interlock import fresh_go, parked

ALLOWED = 99  # a row after the last: this bucket refuses nothing

# attribute → bucket → the row that refuses it
BY_ITSELF: dict[str, dict[Any, int]] = {
    "mode_active": {True: ALLOWED, False: 1, None: 1},
    "crash_left_s": {0: ALLOWED, 1: 2, None: 2},
    "override_left_s": {0: ALLOWED, 1: 3, None: 3},
    "rate_left_s": {0: ALLOWED, 1: 4, None: 4},
    "warned": {2: ALLOWED, 3: ALLOWED, 1: 5, 0: 5, None: 5},
    "engine": {False: ALLOWED, True: 6, None: 10},
    "engine_bus": {False: ALLOWED, None: ALLOWED, True: 6},
    "ignition": {False: ALLOWED, True: 7, None: 10},
    "ignition_bus": {False: ALLOWED, None: ALLOWED, True: 7},
    "crank": {False: ALLOWED, None: ALLOWED, True: 7},
    "cycle_ended": {True: ALLOWED, False: 11, None: 11},
    "ran_s": {600: ALLOWED, 2**40: ALLOWED, 599: 11, 0: 11, None: 11},
    "rest_s": {600: ALLOWED, 2**40: ALLOWED, 599: 12, 0: 12, None: 12},
    "hazard": {False: ALLOWED, None: ALLOWED, True: 13},
    "zone": {0: ALLOWED, 1: 14, 2: 15, None: 15},
    "zone_age_s": {0: ALLOWED, 1_800: ALLOWED, 1_801: 15, None: 15},
    "zone_version": {3: ALLOWED, 0: ALLOWED, None: 15},
    "business_day": {True: ALLOWED, False: 16, None: 16},
    "local_minute": {480: ALLOWED, 1_079: ALLOWED, 479: 16, 1_080: 16, 0: 16, 1_439: 16, None: 16},
}

VERDICTS = (ABSENT, LOST, AGREES, DISAGREES, JAMMED, FAILED)
# accelerometer, wheel, GNSS: these three triples, and no other.
AT_REST = {(AGREES, AGREES, AGREES), (AGREES, AGREES, ABSENT), (AGREES, ABSENT, AGREES)}

AIR = {  # bucket: value in tenths of °C, age, what it is
    "none": (None, None), "stale": (200, 1_801), "ageless": (200, None),
    "coldest": (-100, 1_800), "hottest": (380, 0), "freezing": (-101, 0), "boiling": (381, 0),
}  # fmt: skip
MILD_AIR, UNKNOWN_AIR = {"coldest", "hottest"}, {"none", "stale", "ageless"}
FORECASTS: dict[tuple[int, int] | None, bool | None] = {
    None: None, (-10, 38): True, (5, 21): True, (5, 5): True,
    (-11, 20): False, (20, 39): False, (30, 20): False,
}  # fmt: skip
GO_AGES = {0: True, 900: True, 901: False, None: False}


def motion_row(triple: tuple[int, int, int]) -> int:
    if triple in AT_REST:
        return ALLOWED
    if DISAGREES in triple and AGREES not in triple:
        return 8
    return 9 if {DISAGREES, JAMMED, FAILED} & set(triple) else 10


def air_row(air: str, forecast: tuple[int, int] | None, go_age: int | str | None) -> int:
    """Return the row that refuses; "no token" is no go at all."""
    if air not in MILD_AIR | UNKNOWN_AIR:
        return 17
    if go_age == "no token" or not GO_AGES[go_age]:  # type: ignore[index]
        return 18
    is_mild = FORECASTS[forecast]
    return ALLOWED if is_mild or (is_mild is None and air in MILD_AIR) else 19


def situation(**buckets: Any) -> tuple[Any, Any, int]:
    """Return `Seen`, go and the row that must refuse, for one bucket of some dimensions."""
    changes, rows = {}, [ALLOWED]
    triple = buckets.pop("motion", (AGREES, AGREES, ABSENT))
    changes["accel"], changes["wheel"], changes["gnss"] = triple
    rows.append(motion_row(triple))
    air, forecast, go_age = buckets.pop("air", ("none", (5, 21), 0))
    changes["ambient_c10"], changes["ambient_age_s"] = AIR[air]
    rows.append(air_row(air, forecast, go_age))
    go = None if go_age == "no token" else fresh_go(age_s=go_age, forecast=forecast)
    for name, value in buckets.items():
        changes[name] = value
        rows.append(BY_ITSELF[name][value])
    return parked(**changes), go, min(rows)


def refuses_as_listed(**buckets: Any) -> bool:
    seen, go, row = situation(**buckets)
    code, readings = judge(seen, floors, None, go)
    assert len(readings) == 16
    return bool(code == ("OK" if row == ALLOWED else ROWS[row - 1][0]))


MOTIONS = list(product(VERDICTS, repeat=3))
AIRS = list(product(AIR, FORECASTS, [*GO_AGES, "no token"]))


def whole(*names: str) -> Iterator[dict[str, Any]]:
    """Yield each combination of the buckets of some dimensions."""
    spaces = {"motion": MOTIONS, "air": AIRS} | {name: list(BY_ITSELF[name]) for name in BY_ITSELF}
    for values in product(*(spaces[name] for name in names)):
        yield dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    "names",
    [
        ("mode_active", "crash_left_s", "override_left_s", "rate_left_s", "warned", "hazard"),
        ("ignition", "ignition_bus", "crank", "engine", "engine_bus", "cycle_ended", "ran_s"),
        ("motion", "ignition", "engine", "rest_s", "cycle_ended"),
        ("hazard", "zone", "zone_age_s", "zone_version", "business_day", "local_minute"),
        ("air", "zone", "local_minute"),
    ],
    ids=lambda names: "-".join(names)[:40],
)
def test_whatever_the_list_does_not_allow_refuses_with_the_code_of_the_first_row(
    names: tuple[str, ...],
) -> None:
    wrong = [buckets for buckets in whole(*names) if not refuses_as_listed(**buckets)]
    assert wrong == []


def test_any_two_refusals_give_the_code_of_the_first_row() -> None:
    everything = ["motion", "air", *BY_ITSELF]
    spaces = {"motion": MOTIONS[::7], "air": AIRS[::7]} | {name: list(BY_ITSELF[name]) for name in BY_ITSELF}
    for index, first in enumerate(everything):
        for second in everything[index + 1 :]:
            for one, two in product(spaces[first], spaces[second]):
                assert refuses_as_listed(**{first: one, second: two}), (first, one, second, two)


def test_fifty_thousand_cars_drawn_from_the_whole_product_are_judged_as_listed() -> None:
    draw = random.Random(4)
    allowed = 0
    for _ in range(50_000):
        buckets: dict[str, Any] = {
            name: draw.choice(
                [value for value, row in space.items() if row == ALLOWED or draw.random() < 0.1]
            )
            for name, space in BY_ITSELF.items()
        }
        buckets["motion"] = draw.choice([*MOTIONS[::20], *AT_REST])
        buckets["air"] = draw.choice(AIRS)
        assert refuses_as_listed(**buckets), buckets
        allowed += situation(**buckets)[2] == ALLOWED
    assert allowed > 100, "the draw must meet what is allowed too"


ROW_READS = (
    {"mode_active"}, {"crash_left_s"}, {"override_left_s"}, {"rate_left_s"}, {"warned"},
    {"engine", "engine_bus"}, {"ignition", "ignition_bus", "crank"}, {"accel", "wheel", "gnss"},
    {"accel", "wheel", "gnss"}, {"accel", "wheel", "gnss", "ignition", "engine"}, {"cycle_ended", "ran_s"},
    {"rest_s"}, {"hazard"}, {"zone"}, {"zone", "zone_age_s", "zone_version", "zone_unc_m"},
    {"business_day", "local_minute"}, {"ambient_c10", "ambient_age_s"}, set(),
    {"ambient_c10", "ambient_age_s"},
)  # fmt: skip


class Recorder:
    """Gives the attributes of a `Seen` and notes which were asked for."""

    def __init__(self, seen: Any) -> None:
        self._seen, self.read = seen, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._seen, name)


def test_each_row_reads_only_its_own_inputs() -> None:
    for (_, row), may_read in zip(ROWS, ROW_READS, strict=True):
        read: set[str] = set()
        for buckets in [
            *whole("motion"),
            *({name: value} for name in BY_ITSELF for value in BY_ITSELF[name]),
        ]:
            seen, go, _ = situation(**buckets)
            recorder = Recorder(seen)
            row(Moment(recorder, Limits(floors, {8: 50}), go))
            read |= recorder.read
        assert read <= may_read


GARBAGE = (True, False, -1, "0", b"", [], {}, 1.5, object(), 2**70)
HARMLESS = {  # a truth value where one is asked for, a large count; a verdict False is 0, absent
    "zone_version": (2**70,), "ran_s": (2**70,), "rest_s": (2**70,), "warned": (2**70,),
    "mode_active": (True,),
    "cycle_ended": (True,), "business_day": (True,), "engine": (False,), "ignition": (False,),
    "crank": (False,), "ignition_bus": (False,), "engine_bus": (False,), "hazard": (False,),
    "gnss": (False,),
}  # fmt: skip


@pytest.mark.parametrize("name", [*BY_ITSELF, "accel", "wheel", "gnss"])
def test_a_value_of_a_wrong_kind_refuses_and_never_raises(name: str) -> None:
    for value in GARBAGE:
        code, _ = judge(parked(**{name: value}), floors, None, fresh_go())
        is_harmless = any(
            value is good or (type(value) is int and value == good) for good in HARMLESS.get(name, ())
        )
        assert (code == "OK") == is_harmless, value


def test_an_air_temperature_of_a_wrong_kind_is_none_at_all() -> None:
    for value in GARBAGE[:-1]:
        if value == -1:
            continue
        seen = parked(ambient_c10=value, ambient_age_s=0)
        assert judge(seen, floors, None, fresh_go(forecast=None))[0] == "TEMP_RANGE"
        assert judge(seen, floors, None, fresh_go())[0] == "OK"
