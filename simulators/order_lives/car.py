"""The car as it truly is, and the board that the brain sees of it.

Rules: `Truth` is what happens; the checkers read it and never the brain's trackers. `Board` reads wires
from it, keeps flash over resets, and may lose its power at any call (`cut_after`), tearing the slot or blob
that is being written. A starter whose relay is energised does not turn the engine.

Nothing here judges a lock.

Example:
    >>> truth = Truth()
    >>> truth.is_moving, truth.engine
    (False, False)
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER_MS = -(10**12)
SUPPLY_MV, CRANK_MV, BROWN_MV = 12_600, 10_400, 8_500


class PowerLostError(Exception):
    """The power went in the middle of a call of the board."""


@dataclass(slots=True)
class Truth:
    """What is so, whatever anybody says of it; times in ms of the world."""

    now_ms: int = 0
    ignition: bool = False
    crank: bool = False
    engine: bool = False
    speed_mm_s: int = 0
    button: bool = False
    supply_mv: int = SUPPLY_MV
    under_roof: bool = False
    in_zone: bool = False
    hazard: bool = False
    crashed: bool = False
    buzzer_works: bool = True
    temp_c10: int = 200
    engine_ran_ms: int = NEVER_MS
    moved_ms: int = NEVER_MS
    ignition_on_ms: int = NEVER_MS
    crashed_ms: int = NEVER_MS
    starts_refused: int = 0

    @property
    def is_moving(self) -> bool:
        """Whether the wheels turn."""
        return self.speed_mm_s > 0

    def note(self) -> None:
        """Keep when each thing was last so."""
        if self.engine:
            self.engine_ran_ms = self.now_ms
        if self.is_moving:
            self.moved_ms = self.now_ms
        if self.crashed:
            self.crashed_ms = self.now_ms


class Board:
    """The board in the car.

    Attributes:
        cut_after: calls until the power goes; None never.
        torn_bytes: of a write at which it goes, how many arrive.
        on_coil: told each change of the coil, before the brain goes on.
    """

    def __init__(self, truth: Truth, seed: int) -> None:
        self.truth = truth
        self.boot_ms = 0
        self.rtc_base_s: int | None = 1_000_000
        self.cause = "power"
        self.slots: list[bytes | None] = [None, None]
        self.blobs: dict[str, bytes] = {}
        self.coil = self.warn = self.linux = self.lamp = False
        self.stuck: bool | None = None
        self.refuses_writes = False
        self.cut_after: int | None = None
        self.torn_bytes = 0
        self.on_coil: Callable[[bool], None] = lambda _: None
        self.calls: Counter[str] = Counter()
        self._random = random.Random(seed)

    def _call(self, name: str = "other") -> None:
        self.calls[name] += 1
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after < 0:
                raise PowerLostError

    def ticks_ms(self) -> int:
        """Count since the boot, ms."""
        self._call()
        return self.truth.now_ms - self.boot_ms

    def rtc_s(self) -> int | None:
        """Count of the coin cell, s."""
        self._call()
        return None if self.rtc_base_s is None else self.rtc_base_s + self.truth.now_ms // 1_000

    def supply_mv(self) -> int:
        """Measure the supply."""
        self._call()
        return self.truth.supply_mv

    def ignition(self) -> bool | None:
        """Read the wire."""
        self._call()
        return self.truth.ignition

    def crank(self) -> bool | None:
        """Read the wire."""
        self._call()
        return self.truth.crank

    def engine_running(self) -> bool | None:
        """Read the wire."""
        self._call()
        return self.truth.engine

    def button(self) -> bool:
        """Read the button."""
        self._call()
        return self.truth.button

    def accel(self) -> str | None:
        """Read the sensor."""
        self._call()
        return "moving" if self.truth.is_moving or self.truth.crashed else "still"

    def relay_sensed(self) -> bool | None:
        """Read the relay back."""
        self._call()
        return self.coil if self.stuck is None else self.stuck

    def warn_heard(self) -> bool:
        """Read the buzzer back."""
        self._call()
        return self.warn and self.truth.buzzer_works

    def set_coil(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Switch the coil."""
        self._call()
        self.coil = on
        self.on_coil(on)

    def set_warn(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Switch the buzzer."""
        self._call()
        self.warn = on

    def set_lamp(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Light the lamp on the box."""
        self._call()
        self.lamp = on

    def wake_linux(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Switch Linux."""
        self._call()
        self.linux = on

    def feed(self) -> None:
        """Feed the watchdog."""
        self._call()

    def random(self, count: int) -> bytes:
        """Draw bytes."""
        self._call()
        return self._random.randbytes(count)

    def slot_read(self, index: int) -> bytes | None:
        """Read a slot."""
        self._call()
        return self.slots[index]

    def slot_write(self, index: int, data: bytes) -> None:
        """Write a slot; what it held is gone at once."""
        if self.refuses_writes:
            data = data[:100]
        self.slots[index] = data[: self.torn_bytes]
        self._call("slot_write")
        self.slots[index] = data

    def blob_read(self, name: str) -> bytes | None:
        """Read a blob."""
        self._call()
        return self.blobs.get(name)

    def blob_write(self, name: str, data: bytes) -> None:
        """Write a blob; what it held is gone at once."""
        self.blobs[name] = data[: self.torn_bytes]
        self._call("blob_write")
        self.blobs[name] = data

    def reset_cause(self) -> str:
        """Say why it started."""
        self._call()
        return self.cause

    def lose_power(self) -> None:
        """Let everything go that needs power."""
        self.coil = self.warn = self.linux = False
        self.cut_after = None
        self.on_coil(False)  # noqa: FBT003 - the board's interface
