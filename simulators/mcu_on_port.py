"""The microcontroller's board in real time, on a serial line, in the car that also drives the bus.

Rules: one thread runs the board (`mcu_board`), moves bytes between it and a pseudo-terminal, and keeps the
two halves of the car one: what rolls on the road shakes the accelerometer, and the relay's contact feeds the
starter of the vehicle. The board falls behind on a busy machine and catches up; it never runs ahead. Bytes
that find no room on the line are kept, as a UART's driver does.

Example:
    with McuOnPort(board, vehicle, link=home / "dev" / "mcu0") as mcu:
        ...
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from protocol.mcu_link import Decoder
from simulators.pty_port import PtyPort

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from simulators.mcu_board import McuBoard
    from simulators.vehicle import Vehicle

TICK_S = 0.02
ROLLS_MPS = 0.05  # what the accelerometer of a parked car does not see
HEARD_MAX = 4_096  # frames of a story


class McuOnPort:
    """A board that is powered, in a thread of its own.

    Args:
        board: with its firmware running.
        vehicle: the car on the bus.
        link: stable name of the serial line.

    Attributes:
        said: what the microcontroller sent, kind and body.
        heard: what the agent sent.
        plays: how often a warning began that could be heard.
        is_shaken: somebody slams a door, or leans on the car.
    """

    def __init__(self, board: McuBoard, vehicle: Vehicle, *, link: Path | None = None) -> None:
        self.board, self.vehicle = board, vehicle
        self.port = PtyPort(link)
        self.said: deque[tuple[int, bytes]] = deque(maxlen=HEARD_MAX)
        self.heard: deque[tuple[int, bytes]] = deque(maxlen=HEARD_MAX)
        self._said, self._heard = Decoder(), Decoder()
        self.plays = 0
        self.is_shaken = False
        self._is_playing = False
        self._waiting = b""
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="simulated-mcu", daemon=True)

    @property
    def path(self) -> Path:
        """The line's name, for the agent's settings."""
        return self.port.path

    def check(self) -> None:
        """Make sure that the board lives.

        Raises:
            BaseException: what ended its thread.
        """
        if self._failure is not None:
            raise self._failure

    def _live(self) -> None:
        try:
            began, from_us = time.monotonic(), self.board.now_us
            while not self._stop.wait(TICK_S):
                self._turn(from_us + round((time.monotonic() - began) * 1e6))
        except BaseException as failure:  # noqa: BLE001 - kept for whoever asks
            self._failure = failure

    def _turn(self, now_us: int) -> None:
        car, vehicle = self.board.car, self.vehicle
        car.is_moving = self.is_shaken or vehicle.state.speed_mps > ROLLS_MPS
        if data := self.port.read():
            self.heard.extend(self._heard.feed(data))
            self.board.write_line(data)
        self.board.run(max(0, now_us - self.board.now_us) / 1e6)
        was_playing, self._is_playing = self._is_playing, car.is_warning_heard
        self.plays += self._is_playing and not was_playing
        vehicle.feed_starter(is_fed=not car.is_contact_open)
        data = self.board.read_line()
        self.said.extend(self._said.feed(data))
        self._waiting += data
        self._waiting = self._waiting[self.port.write(self._waiting) :]

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; the board is switched off by whoever switched it on."""
        self._stop.set()
        self._thread.join()
        self.port.close()
