"""The car around the microcontroller: key, starter circuit, relay, engine, supply, button, buzzer and motion.

Rules: physics only, in steps of 5 ms; it knows nothing of orders. The relay's contact is closed at rest
(S-01) and lies between the key's start position and the starter. An engine starts after `START_MS` of
cranking without a break and then runs until the ignition goes off. Faults are fields: a welded contact, a
broken coil, a second contact that lies, a buzzer nobody hears, a dead sensor.

Example:
    >>> body = CarBody()
    >>> body.turn_on(), body.crank(), body.advance(1_000_000), body.engine_runs
    (None, None, None, True)
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

STEP_US = 5_000
START_MS = 400  # a warm engine fires after some turns
RELAY_MS = 8  # of a small power relay, either way
REST_MV, RUN_MV, CRANK_MV = 12_600, 14_200, 10_300  # of a healthy battery
NOISE_MG = 3.0  # of the accelerometer at 100 Hz
ROAD_MG = 180.0  # shaking of a car on the road


@dataclass(slots=True, kw_only=True)
class Faults:
    """What is broken.

    Attributes:
        is_contact_welded: the starter line stays closed whatever the coil does.
        is_coil_broken: the relay never pulls in.
        sense: what the second contact's two sides say, (closed, open); None as it is.
        is_buzzer_dead: no current.
        is_accelerometer_dead: no answer on the bus.
        is_clock_dead: no answer on the bus.
    """

    is_contact_welded: bool = False
    is_coil_broken: bool = False
    sense: tuple[bool, bool] | None = None
    is_buzzer_dead: bool = False
    is_accelerometer_dead: bool = False
    is_clock_dead: bool = False


@dataclass(slots=True)
class CarBody:
    """The car.

    Attributes:
        seed: of the sensor's noise.
        is_on: ignition.
        is_key_in_start: the driver asks for a start.
        is_pressed: the emergency button.
        is_moving: the car rolls.
        battery_mv: open voltage of the battery.
        crank_mv: supply while the starter turns.
        coil: level of the coil's pin.
        warn: level of the warning's pin.
        lamp: level of the lamp's pin.
        engine_runs: it runs.
        starts: how often it has started.
        stops_while_running: how often cranking was cut or the engine went for another reason than the key.
        now_us: physics are done until here.
    """

    seed: int = 1
    is_on: bool = False
    is_key_in_start: bool = False
    is_pressed: bool = False
    is_moving: bool = False
    battery_mv: int = REST_MV
    crank_mv: int = CRANK_MV
    coil: bool = False
    warn: bool = False
    lamp: bool = False
    engine_runs: bool = False
    starts: int = 0
    now_us: int = 0
    faults: Faults = field(default_factory=Faults)
    _pulled_us: int = 0
    _cranked_us: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the noise."""
        self._random = random.Random(self.seed)

    # --- What the driver does -------------------------------------------------------------------------------

    def turn_on(self) -> None:
        """Turn the key to ignition."""
        self.is_on = True

    def turn_off(self) -> None:
        """Turn the key off; the engine stops."""
        self.is_on = self.is_key_in_start = self.engine_runs = False

    def crank(self) -> None:
        """Turn the key to start, and hold it."""
        self.is_on = self.is_key_in_start = True

    def let_go(self) -> None:
        """Let the key spring back."""
        self.is_key_in_start = False

    # --- What the wires say ---------------------------------------------------------------------------------

    @property
    def is_contact_open(self) -> bool:
        """The starter line is cut."""
        return self._is_pulled and not self.faults.is_contact_welded

    @property
    def is_starter_turning(self) -> bool:
        """The starter turns."""
        return self.is_on and self.is_key_in_start and not self.engine_runs and not self.is_contact_open

    @property
    def supply_mv(self) -> int:
        """Supply at the box."""
        if self.is_starter_turning:
            return self.crank_mv
        return RUN_MV if self.engine_runs else self.battery_mv

    @property
    def relay_sense(self) -> tuple[bool, bool]:
        """The second contact's two sides: closed at rest, closed when pulled in."""
        if self.faults.sense is not None:
            return self.faults.sense
        return (not self.is_contact_open, self.is_contact_open)

    @property
    def is_warning_heard(self) -> bool:
        """Buzzer and lamp draw current."""
        return self.warn and not self.faults.is_buzzer_dead

    def acceleration_mg(self) -> tuple[int, int, int]:
        """Return one sample, x y z in mg."""
        shake = ROAD_MG if self.is_moving else (25.0 if self.engine_runs else 0.0)
        x, y, z = (self._random.gauss(0, NOISE_MG + shake) for _ in range(3))
        return round(x), round(y), 1_000 + round(z)

    # --- Time -----------------------------------------------------------------------------------------------

    def advance(self, now_us: int) -> None:
        """Let physics happen until an instant."""
        while self.now_us < now_us:
            step_us = min(STEP_US, now_us - self.now_us)
            self.now_us += step_us
            self._step(step_us)

    @property
    def _is_pulled(self) -> bool:
        return self._pulled_us >= RELAY_MS * 1_000

    def _step(self, step_us: int) -> None:
        is_held = self.coil and not self.faults.is_coil_broken
        # The armature's way: it arrives after RELAY_MS, and is back as long after.
        way_us = 2 * RELAY_MS * 1_000
        self._pulled_us = (
            min(way_us, self._pulled_us + step_us) if is_held else max(0, self._pulled_us - step_us)
        )
        if self.is_starter_turning:
            self._cranked_us += step_us
            if self._cranked_us >= START_MS * 1_000:
                self.engine_runs = True
                self.starts += 1
                self._cranked_us = 0
        else:
            self._cranked_us = 0
