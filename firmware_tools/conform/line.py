"""The line to the microcontroller under test, and the bench around it: thin, no decisions.

Rules: time is the microcontroller's, as its STATUS counts it; a line only waits until something came. The
bench is the control port of the hardware simulator (`simulators.mcu_bench`): one JSON array out, one JSON
object back.

Example:
    line = SerialLine("/dev/ttyACM0")
    line.write(frame)
"""

from __future__ import annotations

import json
import socket
from typing import Protocol

import serial

READ_WAIT_S = 0.05
BENCH_WAIT_S = 30.0  # a board that hangs is found by its watchdog in two


class Line(Protocol):
    """Bytes to and from the microcontroller."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def read(self) -> bytes:
        """Return what came, perhaps nothing, after a short wait."""


class Bench(Protocol):
    """The car around it."""

    def do(self, *words: object) -> dict[str, object]:
        """Do something and return how the car is then."""


class SerialLine:
    """A serial port.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, port: str, baudrate: int = 115_200) -> None:
        self._port = serial.Serial(port, baudrate, timeout=READ_WAIT_S, write_timeout=5)
        self._port.reset_input_buffer()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._port.write(data)

    def read(self) -> bytes:
        """Return what came, perhaps nothing, after a short wait."""
        waiting: bytes = self._port.read(max(1, self._port.in_waiting))
        return waiting

    def close(self) -> None:
        """Close the port."""
        self._port.close()


class TcpBench:
    """The control port of a simulated board.

    Raises:
        OSError: nobody listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), BENCH_WAIT_S)
        self._file = self._socket.makefile("rwb")

    def do(self, *words: object) -> dict[str, object]:
        """Do something and return how the car is then."""
        self._file.write(json.dumps(words).encode() + b"\n")
        self._file.flush()
        answer: dict[str, object] = json.loads(self._file.readline())
        return answer

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()
