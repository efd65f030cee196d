"""What the simulated car says on its bus is what it does, in time with its DBC, the same for a seed."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from simulators import drive_cycles
from simulators.bus_traffic import (
    AWAKE_AFTER_LOCK_US,
    EXTENDED,
    JITTER_US_MAX,
    BusTraffic,
    CanFrame,
    demo_database,
)
from simulators.car import NmeaBurst
from simulators.vehicle import Vehicle
from simulators.virtual_clock import SECOND_US
from tests.builders.sim import car


def decode(frame: CanFrame) -> dict[str, float]:
    """Return a frame's values as cantools reads them, choices as numbers."""
    message = demo_database().get_message_by_frame_id(
        frame.can_id & ~EXTENDED, force_extended_id=bool(frame.can_id & EXTENDED)
    )
    values = message.decode(frame.data, decode_choices=False)
    assert isinstance(values, dict)
    return {name: float(value) for name, value in values.items() if not isinstance(value, str)}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert list(car(7).until(30 * SECOND_US)) == list(car(7).until(30 * SECOND_US))
    assert list(car(7).until(30 * SECOND_US)) != list(car(8).until(30 * SECOND_US))


def test_asking_in_small_steps_gives_the_same_bytes_as_asking_once() -> None:
    at_once, in_steps = car(7), car(7)
    stepped = [item for t_us in range(0, 20 * SECOND_US + 1, 7_777) for item in in_steps.until(t_us)]
    stepped += in_steps.until(20 * SECOND_US)
    assert stepped == list(at_once.until(20 * SECOND_US))


def test_things_are_said_in_the_order_of_time() -> None:
    times = [item.t_us for item in car().until(30 * SECOND_US)]
    assert times == sorted(times)


def test_every_message_keeps_its_cycle_time_while_the_engine_runs() -> None:
    times = defaultdict(list)
    for item in car(seconds=60).until(50 * SECOND_US):
        if isinstance(item, CanFrame) and item.t_us > 8 * SECOND_US:
            times[item.can_id].append(item.t_us)
    assert len(times) == len(demo_database().messages)
    for can_id, instants in times.items():
        message = demo_database().get_message_by_frame_id(
            can_id & ~EXTENDED, force_extended_id=bool(can_id & EXTENDED)
        )
        assert message.cycle_time is not None
        for before, after in pairwise(instants):
            assert abs(after - before - message.cycle_time * 1000) < JITTER_US_MAX


def test_every_signal_says_within_half_a_step_what_the_car_does() -> None:
    vehicle = Vehicle(seed=11, legs=drive_cycles.city(11, 60))
    compared = 0
    for frame in BusTraffic(seed=11, vehicle=vehicle).until(60 * SECOND_US):
        state, said = vehicle.state, decode(frame)
        truth = {
            "EngineSpeed": (state.rpm, 0.25),
            "VehicleSpeed": (state.speed_mps * 3.6, 0.01),
            "Odometer": (state.odometer_m / 1000, 0.01),
            "SupplyVoltage": (state.supply_v, 0.001),
            "FuelLevel": (state.fuel_percent, 0.5),
            "IgnitionState": (float(state.ignition), 0.0),
            "StarterEngaged": (float(state.is_starter_engaged), 0.0),
            "IgnitionCycles": (float(state.ignition_cycles), 0.0),
            "StateOfCharge": (state.soc_percent, 0.01),
            "SteeringAngle": (state.steering_deg, 0.1),
        }
        for name in said.keys() & truth.keys():
            value, step = truth[name]
            assert said[name] == pytest.approx(value, abs=step / 2 + 1e-9), name
            compared += 1
    assert compared > 10_000


def test_the_bus_says_that_it_is_locked_and_then_sleeps() -> None:
    frames = [item for item in car(seconds=30).until(60 * SECOND_US) if isinstance(item, CanFrame)]
    last = [frame for frame in frames if frame.can_id == 0x110][-1]
    assert decode(last)["IgnitionState"] == 0
    assert decode(last)["IsLocked"] == 1
    assert last.t_us < 28 * SECOND_US + AWAKE_AFTER_LOCK_US


def test_a_parked_car_says_nothing_on_its_bus() -> None:
    vehicle = Vehicle(seed=1, legs=drive_cycles.park(60))
    assert list(BusTraffic(seed=1, vehicle=vehicle).until(60 * SECOND_US)) == []


def test_the_motion_checksum_covers_the_other_bytes() -> None:
    for item in car().until(12 * SECOND_US):
        if isinstance(item, CanFrame) and item.can_id == 0x130:
            rest = 0
            for byte in item.data[:7]:
                rest ^= byte
            assert item.data[7] == rest


def test_counters_count_every_frame_of_their_message() -> None:
    counts = [
        decode(item)["EngineCounter"]
        for item in car().until(20 * SECOND_US)
        if isinstance(item, CanFrame) and item.can_id == 0x100
    ]
    assert counts == [index % 16 for index in range(len(counts))]


def test_the_receiver_reports_once_a_second_on_the_second() -> None:
    world = car()
    bursts = [item for item in world.until(20 * SECOND_US) if isinstance(item, NmeaBurst)]
    assert [(world.clock.utc_start_us + burst.t_us) % SECOND_US for burst in bursts] == [0] * 20
