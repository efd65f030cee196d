"""Checkers find what is wrong in a world, and nothing where nothing is; fault plans leave pauses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.bus_traffic import CanFrame
from simulators.checkers import (
    Sample,
    StoredBatch,
    accounting_problems,
    chain_problems,
    in_words,
    misses,
    said_by_signal,
)
from simulators.faults import PAUSE_S, FaultKind, plan
from tests.builders.sim import UTC_START_US, car

SAID = [Sample(t_us=t * 20_000, value=float(t % 7)) for t in range(200)]


def batch(seq: int, **changes: Any) -> StoredBatch:
    good = StoredBatch(
        chain="c1", seq=seq, boot="b1", result="verified", received=10, decoded=8, dropped={"short": 2}
    )
    return replace(good, **changes)


@given(kept=st.sets(st.integers(0, 199)), delay_us=st.integers(-5_000, 40_000))
def test_any_part_of_what_was_said_in_its_order_is_right(kept: set[int], delay_us: int) -> None:
    stored = [Sample(t_us=SAID[i].t_us + delay_us, value=SAID[i].value + 0.004) for i in sorted(kept)]
    assert misses(SAID, stored, tolerance=0.005, lag_us=50_000) == []


@given(at=st.integers(0, 198))
def test_a_value_that_was_never_said_is_found(at: int) -> None:
    stored = [*SAID[:at], Sample(t_us=SAID[at].t_us, value=SAID[at].value + 0.5), *SAID[at + 1 :]]
    assert len(misses(SAID, stored, tolerance=0.005, lag_us=50_000)) == 1


def test_a_value_repeated_too_often_or_too_late_is_found() -> None:
    assert misses(SAID, [SAID[3], SAID[3]], tolerance=0, lag_us=50_000) != []
    late = Sample(t_us=SAID[3].t_us + 60_000, value=SAID[3].value)
    assert misses(SAID, [late], tolerance=0, lag_us=50_000) != []


def test_what_the_car_said_is_decoded_by_the_dbc() -> None:
    world = car(seconds=30)
    frames = [item for item in world.until(20_000_000) if isinstance(item, CanFrame)]
    said = said_by_signal(frames, utc_start_us=UTC_START_US)
    assert said["can0.OdometerAndFuel.Odometer"][-1].value == pytest.approx(
        world.vehicle.state.odometer_m / 1000, abs=0.01
    )
    assert said["can0.HybridBattery.StateOfCharge"][0].t_us > UTC_START_US


def test_chains_without_a_hole_are_right() -> None:
    assert chain_problems([batch(2), batch(1), batch(3), batch(1, chain="c2")]) == []


def test_a_missing_number_is_found_unless_it_was_declared_lost() -> None:
    assert chain_problems([batch(1), batch(4)]) == [
        "chain c1: 2 is missing and not declared lost",
        "chain c1: 3 is missing and not declared lost",
    ]
    assert chain_problems([batch(1), batch(4, losses=((2, 3),))]) == []


def test_a_number_stored_twice_is_found() -> None:
    assert chain_problems([batch(1), batch(1)]) == ["chain c1: 1 is stored twice"]


def test_a_frame_that_is_neither_decoded_nor_dropped_is_found() -> None:
    assert accounting_problems([batch(1)]) == []
    assert len(accounting_problems([batch(1), batch(2, received=11)])) == 1


def test_many_problems_are_shown_by_the_first_few() -> None:
    assert in_words(["a", "b"]) == "a; b"
    assert in_words(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"


@given(seed=st.integers(0, 10_000), seconds=st.floats(0, 400))
def test_a_plan_has_pauses_between_faults_and_each_kind_before_any_comes_again(
    seed: int, seconds: float
) -> None:
    faults = plan(seed=seed, seconds=seconds)
    assert faults == plan(seed=seed, seconds=seconds)
    for before, after in pairwise(faults):
        assert after.at_s - (before.at_s + before.lasts_s) >= PAUSE_S[0] - 0.2
    assert all(fault.at_s + fault.lasts_s <= seconds for fault in faults)
    kinds = [fault.kind for fault in faults]
    for start in range(0, len(kinds), len(FaultKind)):
        group = kinds[start : start + len(FaultKind)]
        assert len(set(group)) == len(group)
