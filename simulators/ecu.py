r"""A CAN adapter that speaks slcan (LAWICEL): the simulated car's bus on a serial line.

Rules: it answers `O`, `L`, `C`, `S`, `s`, `V`, `N`, `F` and takes frames `t`, `T`, `r`, `R`; a command it
does not know, or a frame while closed or listening, is answered with BEL. Frames come out only while the
channel is open, whole and in order; when the line is stuck the oldest are lost and counted, as in the few
hundred bytes of a real adapter.

It is the wire form only: a pty carries it (`pty_port.py`), the car fills it (`car.py`).

Example:
    >>> adapter = SlcanAdapter()
    >>> adapter.hear(b"S6\rO\r"), adapter.is_open
    (b'\r\r', True)
    >>> adapter.say(CanFrame(t_us=0, can_id=0x123, data=b"\x01\xff")), adapter.pending()
    (True, b't123201FF\r')
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulators.bus_traffic import EXTENDED, CanFrame

if TYPE_CHECKING:
    from collections.abc import Callable

OK, BELL, END = b"\r", b"\a", b"\r"
# What each command but the frames is answered with. The empty one is a line end alone: drivers send it to
# get in step.
ANSWERS = dict.fromkeys(("", "O", "L", "C", "S", "s", "Y", "Z", "M", "m"), OK) | {
    "V": b"V1013" + END,
    "N": b"NSIM1" + END,
    "F": b"F00" + END,
}
COMMAND_BYTES_MAX = 32  # the longest command is an extended frame of 27 bytes
QUEUE_FRAMES_MAX = 64  # a quarter of a second of this car: what an adapter's small memory holds


@dataclass(slots=True, kw_only=True)
class AdapterCounters:
    """What became of the frames that the car offered.

    Attributes:
        sent: went down the line, whole.
        sent_this_opening: those since the channel was opened last.
        unheard: came while the channel was closed.
        overrun: were lost because the line was stuck, or the channel closed before they left.
        received: frames that the other side sent to us.
    """

    sent: int = 0
    sent_this_opening: int = 0
    unheard: int = 0
    overrun: int = 0
    received: int = 0


@dataclass(slots=True, kw_only=True)
class SlcanAdapter:
    """The state of one adapter.

    Attributes:
        on_sent: told of each frame that has left whole, so that a checker knows what was said.
        on_received: told of each frame that the other side put on the bus.
    """

    on_sent: Callable[[CanFrame], None] = lambda _frame: None
    on_received: Callable[[CanFrame], None] = lambda _frame: None
    counters: AdapterCounters = field(default_factory=AdapterCounters)
    is_open: bool = False
    is_listening_only: bool = False
    _command: bytearray = field(default_factory=bytearray)
    _queue: deque[tuple[CanFrame, bytes]] = field(default_factory=deque)
    _head_written: int = 0
    _torn: bytes = b""

    def hear(self, data: bytes) -> bytes:
        """Take bytes from the line and return the answers."""
        answers = bytearray()
        for byte in data:
            if byte != END[0]:
                self._command.append(byte)
                del self._command[COMMAND_BYTES_MAX:]
                continue
            command = bytes(self._command)
            self._command.clear()
            answers += self._obey(command)
        return bytes(answers)

    def say(self, frame: CanFrame) -> bool:
        """Offer a frame of the car's bus; returns whether the channel is open."""
        if not self.is_open:
            self.counters.unheard += 1
            return False
        self._queue.append((frame, slcan_line(frame)))
        if len(self._queue) > QUEUE_FRAMES_MAX:
            # The oldest goes, unless half of it is on the line already: then the one behind it.
            del self._queue[1 if self._head_written else 0]
            self.counters.overrun += 1
        return True

    def pending(self) -> bytes:
        """Return what waits to be written; tell `wrote` how much of it was."""
        return self._torn + b"".join(line for _, line in self._queue)[self._head_written :]

    def wrote(self, count: int) -> None:
        """Forget the first `count` bytes of what was pending."""
        finished = min(count, len(self._torn))
        self._torn = self._torn[finished:]
        self._head_written += count - finished
        while self._queue and self._head_written >= len(self._queue[0][1]):
            frame, line = self._queue.popleft()
            self._head_written -= len(line)
            self.counters.sent += 1
            self.counters.sent_this_opening += 1
            self.on_sent(frame)

    def close(self) -> None:
        """Close the channel: what has not left is lost, but a frame half on the line is written out."""
        self.is_open = False
        self.counters.overrun += len(self._queue)
        if self._head_written:
            self._torn += self._queue[0][1][self._head_written :]
        self._queue.clear()
        self._head_written = 0

    def _obey(self, command: bytes) -> bytes:
        """Carry out one command and return the answer."""
        name = command[:1].decode("ascii", "replace")
        if name and name in "tTrR":
            return self._take(command)
        if name in ("O", "L"):
            if not self.is_open:
                self.counters.sent_this_opening = 0
            self.is_open, self.is_listening_only = True, name == "L"
        elif name == "C":
            self.close()
        return ANSWERS.get(name, BELL)

    def _take(self, command: bytes) -> bytes:
        """Take a frame that the other side sends, and answer as an adapter does."""
        if not self.is_open or self.is_listening_only:
            return BELL
        is_long = command[:1] in b"TR"
        digits = 8 if is_long else 3
        try:
            can_id = int(command[1 : 1 + digits], 16)
            size = int(command[1 + digits : 2 + digits])
            data = bytes.fromhex(command[2 + digits :].decode("ascii"))
        except ValueError:
            return BELL
        if len(data) != (0 if command[:1] in b"rR" else size):
            return BELL
        self.counters.received += 1
        if command[:1] in b"tT":
            self.on_received(CanFrame(t_us=0, can_id=can_id | EXTENDED * is_long, data=data))
        return (b"Z" if is_long else b"z") + END


def slcan_line(frame: CanFrame) -> bytes:
    """Return a data frame as slcan writes it."""
    is_long = bool(frame.can_id & EXTENDED)
    head = f"T{frame.can_id & ~EXTENDED:08X}" if is_long else f"t{frame.can_id:03X}"
    return f"{head}{len(frame.data)}{frame.data.hex().upper()}\r".encode("ascii")
