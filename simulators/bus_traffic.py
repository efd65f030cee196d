"""What the simulated car says on its CAN bus: the demonstration car's DBC, spoken by cantools.

Rules: each message comes at the cycle time that the DBC gives it, plus a small seeded jitter that does not
add up, while the key's position keeps its sender awake; after LOCK the bus says so for a while and then
sleeps. A value that does not fit its signal is our mistake and stops the car. The codec is cantools, which
the running agent does not use: what comes out at the other end has met two codecs.

It decides nothing about the car, and it knows no transport (`ecu.py`, `drive_log.py`).

Example:
    >>> from simulators import drive_cycles
    >>> from simulators.vehicle import Vehicle
    >>> traffic = BusTraffic(seed=7, vehicle=Vehicle(seed=7, legs=drive_cycles.city(7, 60)))
    >>> frames = list(traffic.until(10_000_000))
    >>> frames[0].can_id, len(frames[0].data)
    (512, 8)
"""

from __future__ import annotations

import functools
import heapq
import random
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import cantools
from cantools.database import Database

from simulators.drive_cycles import Ignition
from simulators.virtual_clock import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cantools.database import Message

    from simulators.vehicle import Vehicle, VehicleState

BUS_NAME = "can0"
EXTENDED = 1 << 31  # set in an id of 29 bits: 0x123 and 0x00000123 are different messages
AWAKE_AFTER_LOCK_US = 5 * SECOND_US
JITTER_US_MAX = 800  # what arbitration and a busy ECU do to a 20 ms cycle
COUNTER_MODULUS = 16
HYBRID_PAGES = 3
PACK_CELLS = 56
GRAVITY_MPS2 = 9.80665


@dataclass(frozen=True, slots=True, kw_only=True)
class CanFrame:
    """One frame on the bus.

    Attributes:
        t_us: microseconds since the world began.
        can_id: arbitration id; bit 31 set for a 29-bit one.
        data: payload, at most 8 bytes.
    """

    t_us: int
    can_id: int
    data: bytes


@functools.cache
def demo_database() -> Database:
    """Return the demonstration car's DBC as cantools reads it."""
    text = resources.files("dbc").joinpath("tbox_demo.dbc").read_text("utf-8")
    database = cantools.database.load_string(text, "dbc")
    assert isinstance(database, Database)
    return database


class BusTraffic:
    """The frames of one car, in the order of their time."""

    def __init__(self, *, seed: int, vehicle: Vehicle) -> None:
        self.vehicle = vehicle
        self._rng = random.Random(f"bus {seed}")
        self._counts: dict[str, int] = {}
        self._last_unlocked_us = -AWAKE_AFTER_LOCK_US
        self._due: list[tuple[int, int, int, str]] = []
        for order, message in enumerate(sorted(demo_database().messages, key=lambda item: item.frame_id)):
            phase_us = self._rng.randrange(_cycle_us(message))
            self._push(phase_us, order, message.name)

    def until(self, until_us: int) -> Iterator[CanFrame]:
        """Move the car on to `until_us` and yield each frame that falls due before it.

        The car stands at a frame's own time when the frame is yielded.
        """
        while self._due[0][0] < until_us:
            t_us, nominal_us, order, name = heapq.heappop(self._due)
            self.vehicle.run_until(t_us)
            frame = self._say(t_us, name)
            if frame is not None:
                yield frame
            self._push(nominal_us + _cycle_us(demo_database().get_message_by_name(name)), order, name)
        self.vehicle.run_until(until_us)

    def _push(self, nominal_us: int, order: int, name: str) -> None:
        jitter = self._rng.randrange(JITTER_US_MAX)
        heapq.heappush(self._due, (nominal_us + jitter, nominal_us, order, name))

    def _say(self, t_us: int, name: str) -> CanFrame | None:
        """Return the frame of this message now, or None when its sender sleeps."""
        state = self.vehicle.state
        if state.ignition is not Ignition.LOCK:
            self._last_unlocked_us = t_us
        needed, values = SPEAKERS[name]
        is_awake = t_us - self._last_unlocked_us < AWAKE_AFTER_LOCK_US
        if not is_awake or state.ignition < needed:
            return None
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        message = demo_database().get_message_by_name(name)
        data = bytes(message.encode(values(state, count)))
        return CanFrame(
            t_us=t_us, can_id=message.frame_id | (EXTENDED if message.is_extended_frame else 0), data=data
        )


def _cycle_us(message: Message) -> int:
    """Return a message's cycle time."""
    assert message.cycle_time, f"{message.name} has no cycle time in the DBC"
    return int(message.cycle_time * 1000)


def _engine(state: VehicleState, count: int) -> dict[str, float]:
    return {
        "EngineSpeed": state.rpm,
        "EngineRunning": state.is_engine_running,
        "ThrottlePosition": state.throttle_percent,
        "CoolantTemperature": state.coolant_c,
        "EngineTorque": state.torque_nm,
        "EngineCounter": count % COUNTER_MODULUS,
    }


def _ignition(state: VehicleState, count: int) -> dict[str, float]:
    return {
        "IgnitionState": state.ignition,
        "StarterEngaged": state.is_starter_engaged,
        "DriverDoorOpen": state.is_door_open,
        "IsLocked": state.is_locked,
        "IgnitionCounter": count % COUNTER_MODULUS,
        "IgnitionCycles": state.ignition_cycles,
    }


def _motion(state: VehicleState, count: int) -> dict[str, float]:
    values: dict[str, float] = {
        "VehicleSpeed": state.speed_mps * 3.6,
        "LongitudinalAcceleration": state.acceleration_mps2,
        "YawRate": state.yaw_rate_dps,
        "BrakePedalPressed": state.is_brake_pressed,
        "MotionCounter": count % COUNTER_MODULUS,
        "MotionChecksum": 0,
    }
    data = demo_database().get_message_by_name("VehicleMotion").encode(values)
    return values | {"MotionChecksum": functools.reduce(lambda left, right: left ^ right, data)}


def _wheels(state: VehicleState, _count: int) -> dict[str, float]:
    """Return wheel speeds: the outer wheels of a bend travel further."""
    track_half_m, yaw_rps = 0.75, state.yaw_rate_dps / 57.29577951308232
    left, right = state.speed_mps + yaw_rps * track_half_m, state.speed_mps - yaw_rps * track_half_m
    return {
        "WheelSpeedFrontLeft": left * 3.6,
        "WheelSpeedFrontRight": right * 3.6,
        "WheelSpeedRearLeft": left * 3.6,
        "WheelSpeedRearRight": right * 3.6,
    }


def _steering(state: VehicleState, _count: int) -> dict[str, float]:
    return {"SteeringAngle": state.steering_deg, "SteeringRate": state.steering_rate_dps}


def _odometer(state: VehicleState, _count: int) -> dict[str, float]:
    return {
        "Odometer": state.odometer_m / 1000,
        "FuelLevel": state.fuel_percent,
        "Range": state.fuel_percent * 8.0,
    }


def _supply(state: VehicleState, _count: int) -> dict[str, float]:
    return {
        "SupplyVoltage": state.supply_v,
        "SupplyCurrent": state.supply_a,
        "AmbientTemperature": state.ambient_c,
        "CabinTemperature": state.cabin_c,
    }


def _hybrid(state: VehicleState, count: int) -> dict[str, float]:
    """Return one page of the battery; pages take turns."""
    page = count % HYBRID_PAGES
    cell_v = state.pack_v / PACK_CELLS
    pages: tuple[dict[str, float], ...] = (
        {"StateOfCharge": state.soc_percent, "PackVoltage": state.pack_v, "PackCurrent": state.pack_a},
        {"CellVoltageMin": cell_v - 0.006, "CellVoltageMax": cell_v + 0.005},
        {
            "PackTemperatureMin": state.pack_c - 1.0,
            "PackTemperatureMax": state.pack_c + 1.5,
            "ChargedEnergy": state.charged_wh,
        },
    )
    return {"HybridPage": page} | pages[page]


def _body(state: VehicleState, _count: int) -> dict[str, float]:
    lateral = state.speed_mps * state.yaw_rate_dps / 57.29577951308232
    bumps = 0.02 * state.speed_mps * ((state.t_us // 10_000) % 7 - 3)
    return {"LateralAcceleration": lateral, "VerticalAcceleration": GRAVITY_MPS2 + bumps}


# Each message: from which key position on its sender is awake (the bus itself sleeps after LOCK), and what
# it says.
SPEAKERS: dict[str, tuple[Ignition, Callable[[VehicleState, int], dict[str, float]]]] = {
    "EngineStatus": (Ignition.ON, _engine),
    "IgnitionStatus": (Ignition.LOCK, _ignition),
    "VehicleMotion": (Ignition.ON, _motion),
    "WheelSpeeds": (Ignition.ON, _wheels),
    "SteeringWheel": (Ignition.ON, _steering),
    "OdometerAndFuel": (Ignition.LOCK, _odometer),
    "SupplyAndClimate": (Ignition.LOCK, _supply),
    "HybridBattery": (Ignition.ON, _hybrid),
    "BodyAcceleration": (Ignition.ON, _body),
}
