"""A car that follows a driver's wishes by the laws that matter to a telemetry box.

Rules: time moves in fixed steps; the odometer is the integral of the speed, the place is the odometer's on
the road, the engine runs only after the starter turned it with the key at START, and the car moves only
with its engine running. The same seed gives the same car, step by step. It knows no CAN and no NMEA
(`bus_traffic.py`, `gnss_receiver.py` say what it did), no gradient, no wind, no collision.

Example:
    >>> from simulators import drive_cycles
    >>> car = Vehicle(seed=7, legs=drive_cycles.city(7, 60))
    >>> car.run_until(20_000_000)
    >>> car.state.is_engine_running, car.state.speed_mps > 1
    (True, True)
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from simulators.drive_cycles import Ignition, Leg
from simulators.route import Place, Route
from simulators.vehicle_systems import Climate, Engine, HybridPack, Supply

STEP_US = 10_000  # half of the fastest CAN cycle, so that no two frames of a message show the same step
STEP_S = STEP_US / 1e6
WHEELBASE_M = 2.7
STEERING_RATIO = 15.0  # degrees at the steering wheel for one at the road wheels
ACCELERATION_MAX_MPS2 = 2.4
BRAKING_MAX_MPS2 = 3.2
JERK_MAX_MPS3 = 4.0  # a passenger would notice more
CORNERING_MAX_MPS2 = 4.0  # the driver slows for bends tighter than this allows
STANDSTILL_MPS = 0.01  # below this the brakes hold
HALTING_MPS2 = -0.6  # a driver who wants to stop does not creep to the line
BRAKE_LIGHT_MPS2 = -0.3  # a deceleration that takes the pedal, not only the engine


@dataclass(slots=True, kw_only=True)
class VehicleState:
    """What the car is doing at one step; SI units unless the name says otherwise.

    Attributes:
        odometer_m: since the car was built.
        distance_m: along the road, since the world began.
        throttle_percent: pedal, 0 to 100.
        acceleration_mps2: along the road, braking negative.
        yaw_rate_dps: degrees a second, right turns positive.
        steering_deg: at the steering wheel, right turns positive.
        ignition_cycles: how often the key came to ON, since the car was built.
    """

    t_us: int
    ignition: Ignition
    is_starter_engaged: bool
    is_engine_running: bool
    is_brake_pressed: bool
    is_door_open: bool
    is_locked: bool
    ignition_cycles: int
    speed_mps: float
    acceleration_mps2: float
    odometer_m: float
    distance_m: float
    place: Place
    yaw_rate_dps: float
    steering_deg: float
    steering_rate_dps: float
    throttle_percent: float
    rpm: float
    gear: int
    torque_nm: float
    coolant_c: float
    fuel_percent: float
    supply_v: float
    supply_a: float
    ambient_c: float
    cabin_c: float
    soc_percent: float
    pack_v: float
    pack_a: float
    pack_c: float
    charged_wh: float


class Vehicle:
    """One car, one driver, one road.

    Args:
        seed: chooses road, odometer, fuel, weather and every small irregularity.
        legs: the driver's wishes, see `drive_cycles`.
        route: the road, when not the seed's own.
    """

    def __init__(self, *, seed: int, legs: tuple[Leg, ...], route: Route | None = None) -> None:
        assert legs, "a drive has at least one leg"
        rng = random.Random(f"vehicle {seed}")
        self._rng = rng
        self._legs = legs
        self._route = route or Route.generate(seed)
        self._leg = 0
        self._leg_ends_us = legs[0].duration_us
        self._wish: Leg | None = None
        self._engine = Engine(rng)
        self._supply = Supply(rng)
        self._pack = HybridPack(rng)
        self._climate = Climate(rng)
        self._odometer_start_m = rng.uniform(20_000e3, 90_000e3)
        self._route_start_m = rng.uniform(0, self._route.length_m)
        self._distance_m = 0.0
        self._speed = 0.0
        self._acceleration = 0.0
        self._steering = 0.0
        self._cycles = rng.randrange(2_000, 9_000)
        self._t_us = 0
        self.state = self._observe(Ignition.LOCK, steering_rate=0.0)

    def wish(self, leg: Leg) -> None:
        """Let somebody at the wheel wish something, for as long as they wish nothing else."""
        self._wish = leg

    def feed_starter(self, *, is_fed: bool) -> None:
        """Close or open the starter's line, as a relay in it does."""
        self._engine.is_starter_fed = is_fed

    def run_until(self, until_us: int) -> None:
        """Step up to the last grid instant that is not after `until_us`."""
        while self._t_us + STEP_US <= until_us:
            self._step()

    def _step(self) -> None:
        """Advance one step: driver, engine, motion, then everything that follows from them."""
        self._t_us += STEP_US
        before = self.state.ignition
        leg = self._current_leg()
        self._cycles += before < Ignition.ON <= leg.ignition
        self._engine.step(leg.ignition, self._speed, self._acceleration)
        previous = self._speed
        self._move(leg.target_mps if self._engine.is_running else 0.0)
        self._distance_m += (previous + self._speed) / 2 * STEP_S
        self._supply.step(leg.ignition, self._engine, self._acceleration)
        self._pack.step(leg.ignition, self._speed, self._acceleration)
        self._climate.step(self._t_us, is_cooling=self._engine.is_running)
        steering = self._wheel_angle()
        rate, self._steering = (steering - self._steering) / STEP_S, steering
        self.state = self._observe(leg.ignition, steering_rate=rate)

    def _current_leg(self) -> Leg:
        if self._wish is not None:
            return self._wish
        while self._t_us > self._leg_ends_us and self._leg + 1 < len(self._legs):
            self._leg += 1
            self._leg_ends_us += self._legs[self._leg].duration_us
        return self._legs[self._leg]

    def _move(self, target_mps: float) -> None:
        """Change the speed towards the target, within what tyres, bends and passengers allow."""
        bend = abs(self._place().curvature_per_m)
        if bend > 0:
            target_mps = min(target_mps, math.sqrt(CORNERING_MAX_MPS2 / bend))
        wanted = (target_mps - self._speed) * 0.8
        if target_mps > 0:
            wanted += self._rng.gauss(0.0, 0.08)
        elif self._speed > 0:
            wanted = min(wanted, HALTING_MPS2)
        wanted = max(-BRAKING_MAX_MPS2, min(ACCELERATION_MAX_MPS2, wanted))
        jerk = JERK_MAX_MPS3 * STEP_S
        self._acceleration += max(-jerk, min(jerk, wanted - self._acceleration))
        speed = self._speed + self._acceleration * STEP_S
        if speed < STANDSTILL_MPS and target_mps == 0:
            speed, self._acceleration = 0.0, 0.0
        self._speed = max(0.0, speed)

    def _place(self) -> Place:
        return self._route.at(self._route_start_m + self._distance_m)

    def _wheel_angle(self) -> float:
        """Return the steering wheel's angle that follows the road; it lags a little, as hands do."""
        road = math.degrees(math.atan(WHEELBASE_M * self._place().curvature_per_m)) * STEERING_RATIO
        return self._steering + (road - self._steering) * 0.05 if self._speed > 0 else self._steering

    def _observe(self, ignition: Ignition, *, steering_rate: float) -> VehicleState:
        place = self._place()
        is_parked = ignition is Ignition.LOCK
        return VehicleState(
            t_us=self._t_us,
            ignition=ignition,
            is_starter_engaged=self._engine.is_cranking,
            is_engine_running=self._engine.is_running,
            is_brake_pressed=ignition is Ignition.START or self._acceleration < BRAKE_LIGHT_MPS2,
            is_door_open=ignition is Ignition.OFF,
            is_locked=is_parked,
            ignition_cycles=self._cycles,
            speed_mps=self._speed,
            acceleration_mps2=self._acceleration,
            odometer_m=self._odometer_start_m + self._distance_m,
            distance_m=self._distance_m,
            place=place,
            yaw_rate_dps=math.degrees(place.curvature_per_m * self._speed),
            steering_deg=self._steering,
            steering_rate_dps=steering_rate,
            throttle_percent=self._engine.throttle_percent,
            rpm=self._engine.rpm,
            gear=self._engine.gear,
            torque_nm=self._engine.torque_nm,
            coolant_c=self._engine.coolant_c,
            fuel_percent=self._engine.fuel_percent,
            supply_v=self._supply.volts,
            supply_a=self._supply.amperes,
            ambient_c=self._climate.ambient_c,
            cabin_c=self._climate.cabin_c,
            soc_percent=self._pack.soc_percent,
            pack_v=self._pack.volts,
            pack_a=self._pack.amperes,
            pack_c=self._pack.celsius,
            charged_wh=self._pack.charged_wh,
        )
