"""The chips beside the microcontroller, by their registers: accelerometer, coin-cell clock, FRAM.

Rules: a chip knows its data sheet and nothing of the firmware. The FRAM takes each byte as it comes:
`cut_after` ends a write at a byte, and what was there before stays behind it. The clock runs on its coin
cell while the board is off.

Example:
    >>> fram = Fram()
    >>> fram.select(), fram.write(bytes([6])), fram.release()
    (None, None, None)
    >>> fram.select(), fram.write(bytes([2, 0, 0, 5]) + b"hi"), fram.release(), bytes(fram.memory[5:7])
    (None, None, None, b'hi')
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.mcu_car import CarBody

FRAM_BYTES = 131_072
ACCELEROMETER, CLOCK = 0x18, 0x52
_WREN, _WRITE, _READ = 0x06, 0x02, 0x03


class PowerLostError(Exception):
    """The power went in the middle of a write."""


@dataclass(slots=True)
class Fram:
    """MB85RS1MT.

    Attributes:
        memory: its bytes.
        cut_after: bytes that are still written before the power goes; None never.
        writes: bytes written so far.
    """

    memory: bytearray = field(default_factory=lambda: bytearray(FRAM_BYTES))
    cut_after: int | None = None
    writes: int = 0
    _sent: bytearray = field(default_factory=bytearray)
    _may_write: bool = False
    _at: int = 0

    def select(self) -> None:
        """Pull the select pin down."""
        self._sent = bytearray()

    def release(self) -> None:
        """Let the select pin go."""
        if self._sent[:1] == bytes([_WREN]):
            self._may_write = True
        elif self._sent[:1] == bytes([_WRITE]):
            self._may_write = False

    def write(self, data: bytes) -> None:
        """Take bytes.

        Raises:
            PowerLostError: the power went at this byte.
        """
        for byte in data:
            if len(self._sent) < 4:  # noqa: PLR2004 - op-code and address
                self._sent.append(byte)
                self._at = int.from_bytes(self._sent[1:4], "big")
            elif self._sent[0] == _WRITE and self._may_write:
                if self.cut_after is not None:
                    if self.cut_after == 0:
                        self.cut_after = None
                        raise PowerLostError
                    self.cut_after -= 1
                self.memory[self._at % FRAM_BYTES] = byte
                self._at += 1
                self.writes += 1

    def read(self, count: int) -> bytes:
        """Give bytes."""
        assert self._sent[0] == _READ
        out = bytes(self.memory[(self._at + at) % FRAM_BYTES] for at in range(count))
        self._at += count
        return out


@dataclass(slots=True)
class CoinCellClock:
    """RV-3028-C7, as far as its counter goes.

    Attributes: registers, count_us (of the counter, with fractions), last_us (world time it is true for).
    """

    registers: dict[int, int] = field(default_factory=lambda: {0x0E: 1})
    count_us: int = 0
    last_us: int = 0

    def lose(self) -> None:
        """Take the coin cell away: all is forgotten."""
        self.registers = {0x0E: 1}
        self.count_us = 0

    def advance(self, now_us: int) -> None:
        """Count."""
        self.count_us += max(0, now_us - self.last_us)
        self.last_us = now_us

    def read(self, register: int, count: int) -> bytes:
        """Give registers."""
        seconds = (self.count_us // 1_000_000 & 0xFFFFFFFF).to_bytes(4, "little")
        shown = {**self.registers, **dict(enumerate(seconds, 0x1B))}
        return bytes(shown.get(register + at, 0) for at in range(count))

    def write(self, register: int, data: bytes) -> None:
        """Take registers; four bytes at the counter set it."""
        self.registers |= dict(enumerate(data, register))
        if register == 0x1B:  # noqa: PLR2004 - UNIX time 0
            self.count_us = int.from_bytes(data[:4], "little") * 1_000_000


@dataclass(slots=True)
class Accelerometer:
    """LIS3DH at ±2 g.

    Attributes: car, registers, is_frozen (it gives the same sample for ever).
    """

    car: CarBody
    registers: dict[int, int] = field(default_factory=lambda: {0x0F: 0x33})
    is_frozen: bool = False
    _last: bytes = bytes(6)

    def read(self, register: int, count: int) -> bytes:
        """Give registers; the samples are fresh in each reading."""
        if register & 0x7F == 0x28:  # noqa: PLR2004 - OUT_X_L
            if self.is_frozen:
                return self._last[:count]
            axes = self.car.acceleration_mg()
            self._last = b"".join(
                (max(-2_048, min(2_047, axis)) << 4 & 0xFFFF).to_bytes(2, "little") for axis in axes
            )
            return self._last[:count]
        return bytes(self.registers.get((register & 0x7F) + at, 0) for at in range(count))

    def write(self, register: int, data: bytes) -> None:
        """Take registers."""
        self.registers |= dict(enumerate(data, register))
