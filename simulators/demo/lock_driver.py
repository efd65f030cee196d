"""Whoever sits at the wheel in the lock story: one key for both halves of the simulated car.

Rules: the key moves the microcontroller's wires and the vehicle on the bus together; `fake_parking` alone
parts them, for the Linux side that lies. An engine runs only if the starter turned it: `try_to_start` says
whether it did, by the car's body and not by a wish.

Example:
    driver.try_to_start(), driver.drive(30)
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.drive_cycles import KMH, Ignition, Leg

if TYPE_CHECKING:
    from simulators.mcu_car import CarBody
    from simulators.mcu_on_port import McuOnPort
    from simulators.vehicle import Vehicle

CRANK_S: Final = 2.0  # how long someone turns the starter before giving up
LOOK_S: Final = 0.1
ENGINE_OUT_S: Final = 1.2  # until it turns no more
INSTRUMENTS_S: Final = 1.0
THINGS_S: Final = 4.0
DOOR_S: Final = 0.6
ALWAYS_US: Final = 1 << 60


@dataclass(slots=True, kw_only=True)
class Driver:
    """The driver.

    Attributes:
        vehicle: on the bus.
        body: at the microcontroller's wires.
        mcu: the box that feels a door.
    """

    vehicle: Vehicle
    body: CarBody
    mcu: McuOnPort

    @property
    def engine_runs(self) -> bool:
        """Whether it runs, in both halves of the car."""
        return self.body.engine_runs and self.vehicle.state.is_engine_running

    def switch_on(self) -> None:
        """Turn the key to ignition."""
        self.body.turn_on()
        self._wish(Ignition.ON)

    def switch_off(self) -> None:
        """Turn the key off, and stay in the car: the bus goes on saying that it stands."""
        self._wish(Ignition.OFF)
        self.body.turn_off()

    def park(self) -> None:
        """Switch the engine off, look at the instruments, and take the key out.

        The bus falls silent about speed and engine when the key goes: what was heard a moment ago and is lost
        begins the rest again. `get_out` begins it once more, and after that nothing changes.
        """
        self.switch_off()
        time.sleep(ENGINE_OUT_S)
        self.switch_on()  # the bus says now that the engine stands
        time.sleep(INSTRUMENTS_S)
        self.switch_off()

    def get_out(self) -> None:
        """Gather one's things, get out and slam the door."""
        time.sleep(THINGS_S)
        self.mcu.is_shaken = True
        time.sleep(DOOR_S)
        self.mcu.is_shaken = False

    def fake_parking(self) -> None:
        """Let the bus, and so the Linux side, say that the key is out, while the ignition's wire stays on."""
        self._wish(Ignition.OFF)

    def try_to_start(self) -> bool:
        """Turn the starter until the engine runs or patience ends; return whether it runs."""
        self.switch_on()
        time.sleep(LOOK_S)
        self.body.crank()
        self._wish(Ignition.START)
        until = time.monotonic() + CRANK_S
        while time.monotonic() < until and not self.engine_runs:
            time.sleep(LOOK_S)
        self.body.let_go()
        self._wish(Ignition.ON)
        return self.engine_runs

    def drive(self, kmh: float) -> None:
        """Drive at a speed; 0 stops at the kerb with the engine running."""
        self._wish(Ignition.ON, kmh)

    def press_button(self, seconds: float) -> None:
        """Hold the emergency button."""
        self.body.is_pressed = True
        time.sleep(seconds)
        self.body.is_pressed = False

    def _wish(self, ignition: Ignition, kmh: float = 0.0) -> None:
        self.vehicle.wish(Leg(duration_us=ALWAYS_US, ignition=ignition, target_mps=kmh * KMH))
