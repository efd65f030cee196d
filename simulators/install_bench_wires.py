"""The bench's car at the box's wires: key, starter, relay and supply, with mistakes of wiring.

Rules: physics are those of `mcu_car`; this adds where the fitter put the wires and the relay. The armature
and the line it should cut are two things here: a bridged relay pulls in, says so by its second contact, and
cuts nothing. A relay in the ignition line stops a running engine, and none starts without ignition.

Example:
    >>> body = BenchBody(wrong=frozenset({BenchFault.SWAPPED_WIRES}))
    >>> body.crank(), body.is_ignition_wire_live, body.is_crank_wire_live
    (None, True, True)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from device.mcu import pins
from simulators.install_bench_faults import BenchFault
from simulators.mcu_board import McuBoard
from simulators.mcu_car import CRANK_MV, REST_MV, CarBody
from simulators.mcu_chips import Accelerometer

if TYPE_CHECKING:
    from pathlib import Path

WEAK_REST_MV, WEAK_CRANK_MV = 11_200, 7_800  # a battery that has a tenth of its charge left
UNFED_MV = 400  # what is left on a dead line; the board lives on its buffer
FULL: Final = 65_535  # of the converter


@dataclass(slots=True)
class BenchBody(CarBody):
    """The car, and how it is wired.

    Attributes:
        wrong: what the fitter did wrong, or found.
        stalls: how often a running engine went because the relay cut its ignition.
    """

    wrong: frozenset[BenchFault] = field(default_factory=frozenset)
    stalls: int = 0

    def __post_init__(self) -> None:
        """Let the faults of the car itself hold."""
        CarBody.__post_init__(self)
        is_weak = BenchFault.WEAK_BATTERY in self.wrong
        self.battery_mv, self.crank_mv = (WEAK_REST_MV, WEAK_CRANK_MV) if is_weak else (REST_MV, CRANK_MV)
        self.faults.is_coil_broken = BenchFault.COIL_OPEN in self.wrong

    @property
    def is_armature_pulled(self) -> bool:
        """The relay has pulled in, whatever its contact cuts."""
        return self._is_pulled and not self.faults.is_contact_welded

    @property
    def is_contact_open(self) -> bool:
        """The starter's line is cut."""
        cuts_nothing = {BenchFault.RELAY_BRIDGED, BenchFault.RELAY_IN_IGNITION_LINE}
        return self.is_armature_pulled and not cuts_nothing & self.wrong

    @property
    def is_ignition_cut(self) -> bool:
        """The relay was put into the ignition's line, and has pulled in."""
        return self.is_armature_pulled and BenchFault.RELAY_IN_IGNITION_LINE in self.wrong

    @property
    def relay_sense(self) -> tuple[bool, bool]:
        """The second contact's two sides: it moves with the armature."""
        if self.faults.sense is not None:
            return self.faults.sense
        return (not self.is_armature_pulled, self.is_armature_pulled)

    @property
    def is_ignition_wire_live(self) -> bool:
        """What the box's ignition wire carries."""
        if BenchFault.CONSTANT_IGNITION in self.wrong:
            return True
        if BenchFault.SWAPPED_WIRES in self.wrong:
            return self.is_on and self.is_key_in_start
        return self.is_on

    @property
    def is_crank_wire_live(self) -> bool:
        """What the box's crank wire carries."""
        if BenchFault.SWAPPED_WIRES in self.wrong:
            return self.is_on
        if BenchFault.CRANK_ON_ACCESSORY in self.wrong:
            return self.is_on and not self.is_key_in_start
        return self.is_on and self.is_key_in_start

    @property
    def box_mv(self) -> int:
        """Supply at the box's own terminal."""
        if BenchFault.SWITCHED_SUPPLY in self.wrong and not self.is_on:
            return UNFED_MV
        return self.supply_mv

    def _step(self, step_us: int) -> None:
        was_running = self.engine_runs
        CarBody._step(self, step_us)  # noqa: SLF001 - `super()` knows no slotted dataclass before Python 3.12
        if self.is_ignition_cut:
            self.stalls += was_running
            self.engine_runs = False


class BenchBoard(McuBoard):
    """A board whose wires are those of a `BenchBody`.

    Args:
        image: folder MicroPython imports the firmware from.
        state: folder of the flash's files.
        wrong: faults of the wiring.
        seed: of random bytes and noise.
    """

    car: BenchBody

    def __init__(
        self, image: Path, state: Path, *, wrong: frozenset[BenchFault] = frozenset(), seed: int = 1
    ) -> None:
        super().__init__(image, state, seed=seed)
        self.car = BenchBody(seed=seed, wrong=wrong)
        self.accelerometer = Accelerometer(self.car)

    def _on_get(self, pin: int) -> int:
        match pin:
            case pins.IGNITION:
                return int(self.car.is_ignition_wire_live)
            case pins.CRANK:
                return int(self.car.is_crank_wire_live)
        return super()._on_get(pin)

    def _on_adc(self, pin: int) -> int:
        assert pin == pins.SUPPLY
        full_mv: int = pins.ADC_FULL_MV * pins.SUPPLY_RATIO
        return min(FULL, self.car.box_mv * FULL // full_mv)
