"""Plausibility: counted and told once, never altered."""

import numpy as np
import pytest

from device.acquisition.decode import DecodedGroup
from device.acquisition.plausibility import Finding, Implausible, Limit, PlausibilityCheck
from protocol.signals import ColumnDef, RawType

SPEED = ColumnDef(
    signal="Speed", path="Vehicle.Speed", raw_type=RawType.UINT, bits=16, scale=0.01, offset=0, unit="km/h"
)
FLOAT = ColumnDef(signal="F", path=None, raw_type=RawType.FLOAT64, bits=64, scale=1, offset=0, unit=None)


def limit(definition: ColumnDef = SPEED, **bounds: float) -> Limit:
    return Limit(
        column=0,
        definition=definition,
        minimum=bounds.get("minimum"),
        maximum=bounds.get("maximum"),
        rate_per_s=bounds.get("rate_per_s"),
    )


def rows(times_ms: list[int], values: list[int]) -> DecodedGroup:
    return DecodedGroup(3, np.array(times_ms, np.int64) * 1_000, np.array([values], np.int64))


def test_plausible_values_are_not_mentioned() -> None:
    check = PlausibilityCheck({3: (limit(minimum=0, maximum=260, rate_per_s=60),)})
    assert check.check(rows([0, 20, 40], [5_000, 5_010, 5_020])) == []
    assert check.implausible == 0


def test_a_value_above_its_limit_is_found_once_and_counted_each_time() -> None:
    check = PlausibilityCheck({3: (limit(maximum=260),)})
    group = rows([0, 20, 40, 60], [5_000, 65_535, 65_535, 5_000])
    before = group.raw.copy()
    assert check.check(group) == [
        Finding(index=3, column=0, kind=Implausible.ABOVE, t_us=20_000, value=655.35),
    ]
    assert check.implausible == 2
    assert (group.raw == before).all()


def test_a_condition_that_lasts_over_calls_is_told_once_and_again_after_it_ended() -> None:
    check = PlausibilityCheck({3: (limit(minimum=10),)})
    assert len(check.check(rows([0], [0]))) == 1
    assert check.check(rows([20], [0])) == []
    assert check.check(rows([40], [2_000])) == []
    assert len(check.check(rows([60], [0]))) == 1
    assert check.implausible == 3


def test_a_value_that_flickers_within_one_call_is_told_once() -> None:
    check = PlausibilityCheck({3: (limit(maximum=100),)})
    assert len(check.check(rows([0, 1, 2, 3, 4], [65_535, 0, 65_535, 0, 65_535]))) == 1
    assert check.implausible == 3


def test_too_fast_a_change_is_found_between_calls_too() -> None:
    check = PlausibilityCheck({3: (limit(rate_per_s=60),)})
    assert check.check(rows([0], [5_000])) == []
    [finding] = check.check(rows([1_000], [11_001]))
    assert (finding.kind, finding.t_us) == (Implausible.TOO_FAST, 1_000_000)
    assert check.check(rows([2_000], [5_001])) == []


def test_rows_of_the_same_time_or_a_step_back_have_no_rate() -> None:
    check = PlausibilityCheck({3: (limit(rate_per_s=1),)})
    assert check.check(rows([10, 10, 0], [0, 20_000, 60_000])) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_floats_that_are_no_number_or_infinite_are_implausible(value: float) -> None:
    check = PlausibilityCheck({3: (limit(FLOAT, minimum=-10, maximum=10, rate_per_s=1e9),)})
    raw = np.array([[0.0, value, value]]).view(np.int64)
    findings = check.check(DecodedGroup(3, np.array([0, 1, 2]) * 1_000_000, raw))
    assert findings
    assert check.implausible == 2


def test_groups_without_limits_cost_nothing() -> None:
    check = PlausibilityCheck({})
    assert check.check(rows([0], [65_535])) == []
