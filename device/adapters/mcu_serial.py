"""The serial line to the microcontroller: one thread owns it, reads frames and writes what waits.

Rules:
- A frame whose checksum does not hold is counted and gone: whoever waits for an answer asks again.
- Urgent messages (an UNLOCK) leave ahead of all others. A FACTS that has not left yet makes way for the newer
  one: stale facts help nobody. The room is bounded, what finds none is counted.
- A port that fails or vanishes is opened again with a growing wait; down and up are each told once, and what
  waited to be written is dropped with the line: the engine says it again.
- A full queue towards the agent drops the frame and counts it.

It knows frames, not what they mean.

Example:
    line = McuSerial(McuSettings(port="/dev/ttyS1"), inbox.put)
    line.start()
    line.send(1, body)
    line.stop()
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import serial

from device.adapters.back_off import BackOff
from device.adapters.owner_thread import OwnerThread
from device.orders.link import LinkKind
from protocol import mcu_link
from protocol.limits import DEVICE_REOPEN_WAIT_S_MAX, MCU_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

READ_WAIT_S = 0.05  # how long a quiet line blocks the thread: what waits to be written waits no longer
WRITE_WAIT_S = 2.0  # a line that takes no byte for so long has failed
REOPEN_FIRST_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class McuSettings:
    """The line.

    Attributes:
        port: device path of the serial line.
        baudrate: bit/s; the microcontroller's image has it compiled in.
    """

    port: str
    baudrate: int = 115_200


@dataclass(frozen=True, slots=True, kw_only=True)
class McuFrame:
    """A message that came whole."""

    kind: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class McuState:
    """The line went up or down; `reason` says why it is down."""

    is_up: bool
    reason: str | None = None


class McuSerial(OwnerThread):
    """The thread that owns the line.

    Args:
        settings: which port.
        put: takes a frame or a state from this thread; False when it has no room.
    """

    def __init__(self, settings: McuSettings, put: Callable[[McuFrame | McuState], bool]) -> None:
        super().__init__("mcu")
        self.settings = settings
        self._put = put
        self._back_off = BackOff(first_s=REOPEN_FIRST_S, longest_s=DEVICE_REOPEN_WAIT_S_MAX)
        self._is_down_told = False
        self._queue_lock = threading.Lock()
        self._urgent: deque[tuple[int, bytes]] = deque()
        self._others: deque[tuple[int, bytes]] = deque()
        self._counts: Counter[str] = Counter()

    def send(self, kind: int, body: bytes, *, is_urgent: bool = False) -> bool:
        """Queue a message, from any thread; False when there is no room for it."""
        with self._queue_lock:
            queue = self._urgent if is_urgent else self._others
            if kind == LinkKind.FACTS:
                self._others = queue = deque(item for item in self._others if item[0] != kind)
            if len(queue) >= MCU_FRAMES_MAX:
                self._counts["mcu_frames_not_sent"] += 1
                return False
            queue.append((kind, body))
            return True

    def counts(self) -> dict[str, int]:
        """Return counters since the start."""
        names = ("mcu_frames_in", "mcu_frames_out", "mcu_frames_garbled", "mcu_frames_not_sent")
        return {name: self._counts[name] for name in names} | {"mcu_frames_not_taken": self._dropped}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with serial.Serial(
                    self.settings.port,
                    self.settings.baudrate,
                    timeout=READ_WAIT_S,
                    write_timeout=WRITE_WAIT_S,
                ) as port:
                    self._came_up()
                    self._live(port)
            except (OSError, ValueError) as failure:  # SerialException is an OSError
                self._went_down(str(failure))
                self._stopping.wait(self._back_off.next_s())

    def _live(self, port: serial.Serial) -> None:
        decoder = mcu_link.Decoder()
        while not self._stopping.is_set():
            while (message := self._next()) is not None:
                port.write(mcu_link.encode_frame(*message))
                self._counts["mcu_frames_out"] += 1
            fresh = port.read(max(1, port.in_waiting))
            if not fresh:
                continue
            self._back_off.succeeded()
            for kind, body in decoder.feed(fresh):
                self._counts["mcu_frames_in"] += 1
                if not self._put(McuFrame(kind=kind, body=body)):
                    self._drop(1)
            self._counts["mcu_frames_garbled"] = decoder.garbled

    def _next(self) -> tuple[int, bytes] | None:
        with self._queue_lock:
            queue = self._urgent or self._others
            return queue.popleft() if queue else None

    def _went_down(self, reason: str) -> None:
        with self._queue_lock:
            self._urgent.clear()
            self._others.clear()
        if not self._is_down_told:
            _log.warning("microcontroller down: port=%s reason=%s", self.settings.port, reason)
            self._is_down_told = self._put(McuState(is_up=False, reason=reason))

    def _came_up(self) -> None:
        _log.info("microcontroller up: port=%s", self.settings.port)
        self._put(McuState(is_up=True))
        self._is_down_told = False
