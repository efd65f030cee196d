"""The simulated car is a car: its numbers agree with one another, whatever the seed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import drive_cycles
from simulators.drive_cycles import CycleName, Ignition
from simulators.route import METRES_PER_DEGREE, Route
from simulators.virtual_clock import SECOND_US
from tests.builders.sim import history

SEEDS = st.integers(0, 2**32)


@given(seed=SEEDS, seconds=st.integers(25, 200), name=st.sampled_from(CycleName))
def test_a_drive_lasts_as_long_as_asked_and_ends_locked(seed: int, seconds: int, name: CycleName) -> None:
    legs = drive_cycles.named(name, seed=seed, seconds=seconds)
    assert sum(leg.duration_us for leg in legs) == seconds * SECOND_US
    assert all(leg.duration_us >= 0 for leg in legs)
    assert legs[-1].ignition is Ignition.LOCK


@pytest.mark.parametrize("seed", range(4))
def test_the_odometer_is_the_integral_of_the_speed(seed: int) -> None:
    states = history(drive_cycles.city(seed, 90), seed=seed, seconds=95)
    integral = sum(
        (before.speed_mps + after.speed_mps) / 2 * (after.t_us - before.t_us) / 1e6
        for before, after in pairwise(states)
    )
    assert integral > 100
    assert states[-1].odometer_m - states[0].odometer_m == pytest.approx(integral, abs=1e-6)
    assert states[-1].distance_m == pytest.approx(integral, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_place_moves_as_far_as_the_odometer_says(seed: int) -> None:
    states = history(drive_cycles.city(seed, 90), seed=seed, seconds=95)
    moved = sum(
        (
            (after.place.latitude_deg - before.place.latitude_deg) ** 2
            + (after.place.longitude_deg - before.place.longitude_deg) ** 2
        )
        ** 0.5
        * METRES_PER_DEGREE
        for before, after in pairwise(states)
    )
    assert moved == pytest.approx(states[-1].distance_m, rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_engine_starts_by_its_starter_alone_and_dies_with_the_key(seed: int) -> None:
    states = history(drive_cycles.city(seed, 60), seed=seed, seconds=65)
    for before, after in pairwise(states):
        if after.is_starter_engaged:
            assert after.ignition is Ignition.START
            assert not after.is_engine_running
        if after.is_engine_running and not before.is_engine_running:
            assert before.is_starter_engaged
        if after.ignition < Ignition.ON:
            assert not after.is_engine_running
        if after.speed_mps > before.speed_mps:
            assert after.is_engine_running
    assert any(state.is_starter_engaged for state in states)
    assert states[-1].speed_mps == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_supply_dips_while_cranking_and_obeys_the_smart_alternator_afterwards(seed: int) -> None:
    states = history(drive_cycles.city(seed, 120), seed=seed, seconds=122)
    cranking = [state.supply_v for state in states if state.is_starter_engaged]
    started_us = next(state.t_us for state in states if state.is_engine_running)
    driving = [
        state.supply_v
        for state in states
        if state.is_engine_running and state.t_us > started_us + 3 * SECOND_US
    ]
    resting = [state.supply_v for state in states if state.ignition is Ignition.LOCK]
    assert min(cranking) < 10.6
    assert 12.2 < min(driving) < 13.2
    assert 14.3 < max(driving) < 15.0
    assert all(12.0 < volts < 15.0 for volts in resting)


def test_fuel_falls_only_while_the_engine_runs() -> None:
    for before, after in pairwise(history(drive_cycles.city(3, 60), seed=3, seconds=65)):
        assert (after.fuel_percent < before.fuel_percent) == after.is_engine_running


def test_each_turn_of_the_key_counts_once() -> None:
    legs = drive_cycles.city(1, 30) + drive_cycles.city(2, 30)
    states = history(legs, seconds=65)
    assert states[-1].ignition_cycles - states[0].ignition_cycles == 2


@pytest.mark.parametrize("cycle", [drive_cycles.city, drive_cycles.motorway])
def test_acceleration_stays_within_what_tyres_and_passengers_bear(cycle: object) -> None:
    assert callable(cycle)
    states = history(cycle(5, 180), seed=5, seconds=180)
    assert all(-3.21 <= state.acceleration_mps2 <= 2.41 for state in states)
    for before, after in pairwise(states):
        assert abs(after.speed_mps - before.speed_mps) <= 0.034


def test_a_motorway_is_faster_than_a_town_and_a_parked_car_stands() -> None:
    top = {
        name: max(
            state.speed_mps
            for state in history(drive_cycles.named(name, seed=5, seconds=120), seed=5, seconds=120)
        )
        for name in CycleName
    }
    assert top[CycleName.PARK] == 0
    assert 5 < top[CycleName.CITY] < 15
    assert top[CycleName.MOTORWAY] > 20


@given(seed=st.integers(0, 200), metres=st.floats(0, 50_000))
def test_the_road_closes_on_itself_far_from_every_coast(seed: int, metres: float) -> None:
    road = Route.generate(seed)
    here, again = road.at(metres), road.at(metres + road.length_m)
    assert here.latitude_deg == pytest.approx(again.latitude_deg, abs=1e-9)
    assert here.longitude_deg == pytest.approx(again.longitude_deg, abs=1e-9)
    assert abs(here.latitude_deg) < 0.05
    assert abs(here.longitude_deg - 2.0) < 0.05
    assert 0 <= here.heading_deg < 360
