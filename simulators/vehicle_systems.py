"""The car's inner systems: engine with starter and gearbox, 12 V supply, hybrid pack, climate.

Rules: each is stepped every `STEP_S` and draws its irregularities from the car's one generator, in a fixed
order. The numbers are typical of a small hybrid, chosen so that a rule that reads them is exercised: the
supply dips while cranking, and a smart alternator lets it fall to 12.4 V while driving and rise to 14.8 V
while braking.

Example:
    >>> import random
    >>> supply = Supply(random.Random(1))
    >>> 12.3 < supply.volts < 12.9
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.drive_cycles import Ignition

if TYPE_CHECKING:
    import random

STEP_S = 0.01  # equals the vehicle's step

IDLE_RPM = 780.0
CRANK_RPM = 240.0
FLARE_RPM = 1_150.0  # the engine's first breath after the starter lets go
TANK_L = 42.0
OVERRUN_MPS2 = -0.5  # below this the wheels drive the engine
# Engine revolutions a minute for each metre a second of road speed, by gear 1 to 6, and where the next gear
# begins.
RPM_PER_MPS = (240.0, 140.0, 96.0, 72.0, 58.0, 48.0)
GEAR_UP_MPS = (5.0, 9.5, 14.0, 18.5, 24.0)
GEAR_HYSTERESIS_MPS = 1.0  # so that a speed near a threshold does not make the gearbox hunt

SUPPLY_MIN_V, SUPPLY_MAX_V = 12.4, 14.8  # what a smart alternator does to a driving car's supply
CRANK_DIP_V = 2.6
PACK_CELLS = 56


class Engine:
    """Starter, combustion engine and gearbox."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._crank_s_needed = rng.uniform(0.5, 0.9)
        self._cranked_s = 0.0
        self.is_starter_fed = True
        self.is_cranking = False
        self.is_running = False
        self.rpm = 0.0
        self.gear = 0
        self.throttle_percent = 0.0
        self.torque_nm = 0.0
        self.coolant_c = rng.uniform(26.0, 32.0)
        self.fuel_percent = rng.uniform(35.0, 90.0)

    def step(self, ignition: Ignition, speed_mps: float, acceleration_mps2: float) -> None:
        """Advance one step with this key, at this speed and acceleration."""
        self._start_or_stop(ignition)
        wobble = self._rng.gauss(0.0, 1.0)
        if self.is_cranking:
            self.rpm += (CRANK_RPM + 12 * wobble - self.rpm) * 0.2
        elif self.is_running:
            self._shift(speed_mps)
            road = speed_mps * RPM_PER_MPS[self.gear - 1] if self.gear else 0.0
            self.rpm += (max(IDLE_RPM, road) + 4 * wobble - self.rpm) * 0.08
        else:
            self.rpm = max(0.0, self.rpm - 900 * STEP_S)
            self.gear = 0
        self._burn(speed_mps, acceleration_mps2)

    def _start_or_stop(self, ignition: Ignition) -> None:
        if ignition < Ignition.ON:
            self.is_running = False
        if ignition is not Ignition.START or self.is_running or not self.is_starter_fed:
            self.is_cranking, self._cranked_s = False, 0.0
            return
        self.is_cranking = True
        self._cranked_s += STEP_S
        if self._cranked_s >= self._crank_s_needed:
            self.is_cranking, self.is_running = False, True
            self.rpm = FLARE_RPM

    def _shift(self, speed_mps: float) -> None:
        """Choose gear 1 to 6 while moving, 0 (neutral) at a standstill."""
        if speed_mps <= 0:
            self.gear = 0
            return
        self.gear = max(1, self.gear)
        if self.gear <= len(GEAR_UP_MPS) and speed_mps > GEAR_UP_MPS[self.gear - 1]:
            self.gear += 1
        elif self.gear > 1 and speed_mps < GEAR_UP_MPS[self.gear - 2] - GEAR_HYSTERESIS_MPS:
            self.gear -= 1

    def _burn(self, speed_mps: float, acceleration_mps2: float) -> None:
        """Derive pedal and torque from what the car does, fuel and coolant from what that costs."""
        if not self.is_running:
            self.throttle_percent = self.torque_nm = 0.0
            self.coolant_c += (28.0 - self.coolant_c) * 2e-6
            return
        load = max(0.0, acceleration_mps2 + 0.0004 * speed_mps**2 + (0.1 if speed_mps else 0.0))
        self.throttle_percent = min(100.0, 28.0 * load)
        self.torque_nm = 12.0 + 48.0 * load if acceleration_mps2 > OVERRUN_MPS2 else -25.0
        litres_a_second = 0.00022 + 0.0009 * load * max(1.0, speed_mps / 10)
        self.fuel_percent = max(0.0, self.fuel_percent - litres_a_second * STEP_S / TANK_L * 100)
        self.coolant_c += (90.0 - self.coolant_c) * STEP_S / 240.0


class Supply:
    """The 12 V supply: battery at rest, dip while cranking, smart alternator while the engine runs."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rest_v = rng.uniform(12.45, 12.75)
        self.volts = self._rest_v
        self.amperes = 0.0

    def step(self, ignition: Ignition, engine: Engine, acceleration_mps2: float) -> None:
        """Advance one step; current is positive into the battery."""
        ripple = self._rng.gauss(0.0, 0.006)
        if engine.is_cranking:
            goal, pace, self.amperes = self._rest_v - CRANK_DIP_V, 0.35, -180.0
        elif engine.is_running:
            goal, pace = max(SUPPLY_MIN_V, min(SUPPLY_MAX_V, 14.2 - 0.9 * acceleration_mps2)), 0.02
            self.amperes = (self.volts - self._rest_v) * 11.0
        else:
            load_a = {Ignition.LOCK: 0.02, Ignition.OFF: 1.5, Ignition.ACC: 4.0}.get(ignition, 9.0)
            goal, pace, self.amperes = self._rest_v - 0.02 * load_a, 0.05, -load_a
        self.volts += (goal - self.volts) * pace + ripple


class HybridPack:
    """The traction battery: takes energy while braking, gives it while accelerating."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.soc_percent = rng.uniform(45.0, 70.0)
        self.amperes = 0.0
        self.celsius = rng.uniform(27.0, 31.0)
        self.charged_wh = float(rng.randrange(50_000, 900_000))
        self.volts = self._open_volts()

    def step(self, ignition: Ignition, speed_mps: float, acceleration_mps2: float) -> None:
        """Advance one step; current is positive into the pack."""
        is_awake = ignition >= Ignition.ON
        self.amperes = -4.0 * acceleration_mps2 * speed_mps / 4 - 0.6 if is_awake else 0.0
        self.amperes = max(-140.0, min(120.0, self.amperes))
        self.volts = self._open_volts() + 0.08 * self.amperes
        self.soc_percent += self.amperes * STEP_S / 3600 / 6.5 * 100
        self.soc_percent = max(20.0, min(90.0, self.soc_percent))
        self.charged_wh += max(0.0, self.amperes) * self.volts * STEP_S / 3600
        self.celsius += (abs(self.amperes) * 0.0004 - (self.celsius - 28.0) * 0.0008) * STEP_S

    def _open_volts(self) -> float:
        return PACK_CELLS * (3.45 + 0.004 * self.soc_percent)


class Climate:
    """Air outside, which drifts, and inside, which is cooled while the engine runs."""

    def __init__(self, rng: random.Random) -> None:
        self._noon_c = rng.uniform(25.0, 31.0)
        self.ambient_c = self._noon_c
        self.cabin_c = self._noon_c + rng.uniform(0.0, 8.0)

    def step(self, t_us: int, *, is_cooling: bool) -> None:
        """Advance one step."""
        self.ambient_c = self._noon_c - 1.5 * (t_us / 3.6e9)
        goal = 22.0 if is_cooling else self.ambient_c + 4.0
        self.cabin_c += (goal - self.cabin_c) * STEP_S / (180.0 if is_cooling else 900.0)
