"""A GNSS receiver that speaks NMEA 0183 over a serial line: one thread owns it and hands over lines.

Rules:
- A line is stamped with the time its end was read. Bytes are passed on as they came, broken ones too: judging
  them is the engine's work, which counts what is garbled.
- Input without line ends (a wrong baud rate, a binary protocol) is cut into pieces of `NMEA_LINE_BYTES_MAX`,
  so that memory stays flat.
- A port that fails or vanishes is opened again with a growing wait; down and up are each told once.
- A full queue drops the line and counts it (`take_dropped`): the next second brings a newer one.

It writes nothing to the receiver.

Example:
    reader = GnssReader(GnssSettings(port="/dev/ttyUSB1"), clock, inbox.put)
    reader.start()
    ...
    reader.stop()
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import serial

from device.acquisition.gnss import GnssForm
from device.adapters.back_off import BackOff
from device.adapters.owner_thread import OwnerThread
from protocol.limits import DEVICE_REOPEN_WAIT_S_MAX, NMEA_LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

READ_WAIT_S = 0.2  # how long a quiet line blocks the thread, so that a stop is quick
REOPEN_FIRST_S = 0.5


class Clock(Protocol):
    """What a reader asks of the clock."""

    def mono_us(self) -> int:
        """Microseconds since boot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GnssSettings:
    """One receiver.

    Attributes:
        port: device path of the serial line.
        baudrate: bit/s; NMEA 0183 says 4800, most modules start with 9600.
    """

    port: str
    baudrate: int = 9_600


@dataclass(frozen=True, slots=True, kw_only=True)
class GnssLine:
    """Bytes up to and with a line end, when the last of them was read, and what they are written in."""

    data: bytes
    t_us: int
    form: GnssForm = GnssForm.NMEA


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverState:
    """The line to the receiver went up or down; `reason` says why it is down."""

    is_up: bool
    reason: str | None = None


class GnssReader(OwnerThread):
    """The thread that owns one receiver.

    Args:
        settings: which port.
        clock: the agent's clock.
        put: takes a line or a state from this thread; False when it has no room.
    """

    def __init__(
        self, settings: GnssSettings, clock: Clock, put: Callable[[GnssLine | ReceiverState], bool]
    ) -> None:
        super().__init__("gnss")
        self.settings = settings
        self._clock = clock
        self._put = put
        self._back_off = BackOff(first_s=REOPEN_FIRST_S, longest_s=DEVICE_REOPEN_WAIT_S_MAX)
        self._is_down_told = False

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with serial.Serial(self.settings.port, self.settings.baudrate, timeout=READ_WAIT_S) as port:
                    self._came_up()
                    self._read(port)
            except (OSError, ValueError) as failure:  # SerialException is an OSError
                self._went_down(str(failure))
                self._stopping.wait(self._back_off.next_s())

    def _read(self, port: serial.Serial) -> None:
        pending = b""
        while not self._stopping.is_set():
            fresh = port.read(max(1, port.in_waiting))
            if not fresh:
                continue
            self._back_off.succeeded()
            now = self._clock.mono_us()
            *lines, pending = _cut(pending + fresh)
            for line in lines:
                self._hand_over(GnssLine(data=line, t_us=now))

    def _hand_over(self, line: GnssLine) -> None:
        if not self._put(line):
            self._drop(1)

    def _went_down(self, reason: str) -> None:
        if not self._is_down_told:
            _log.warning("receiver down: port=%s reason=%s", self.settings.port, reason)
            self._is_down_told = self._put(ReceiverState(is_up=False, reason=reason))

    def _came_up(self) -> None:
        _log.info("receiver up: port=%s", self.settings.port)
        self._put(ReceiverState(is_up=True))
        self._is_down_told = False


def _cut(data: bytes) -> list[bytes]:
    r"""Return the lines of `data`, each with its end, and as the last element what has no end yet.

    Example:
        >>> _cut(b"$A\r\n$B\r\n$C")
        [b'$A\r\n', b'$B\r\n', b'$C']
        >>> [len(piece) for piece in _cut(b"x" * 1_200)]
        [512, 512, 176]
    """
    pieces: list[bytes] = []
    for line in data.splitlines(keepends=True) or [b""]:
        pieces += [
            line[start : start + NMEA_LINE_BYTES_MAX] for start in range(0, len(line), NMEA_LINE_BYTES_MAX)
        ] or [b""]
    is_open = not pieces[-1].endswith((b"\n", b"\r")) and len(pieces[-1]) < NMEA_LINE_BYTES_MAX
    return pieces if is_open else [*pieces, b""]
