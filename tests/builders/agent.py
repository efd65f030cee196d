"""Pieces for tests of the agent shell: a settable system clock, devices on pseudo-terminals, inboxes."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import tty
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
E = TypeVar("E")

SECOND = 1_000_000
TODAY_US = 1_795_500_000_000_000  # 2026-11-24, an arbitrary day on which every clock below is right
WAIT_S = 10.0  # for another thread to do something; a healthy run never waits this long


@dataclass
class OperatingSystemTime:
    """What the operating system says about time, as the test wants it."""

    boottime: int = 0
    realtime: int = TODAY_US
    kernel_error: int | None = None

    def boottime_us(self) -> int:
        return self.boottime

    def realtime_us(self) -> int:
        return self.realtime

    def kernel_error_us(self) -> int | None:
        return self.kernel_error

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.boottime += round(seconds * SECOND)
        self.realtime += round(seconds * SECOND)


class Inbox(Generic[T]):
    """Takes what another thread hands over; a test waits for what it expects."""

    def __init__(self, *, has_room: bool = True) -> None:
        self.has_room = has_room
        self._queue: queue.SimpleQueue[T] = queue.SimpleQueue()

    def put(self, item: T) -> bool:
        if self.has_room:
            self._queue.put(item)
        return self.has_room

    def next(self) -> T:
        """Return the next item, or fail after ten seconds."""
        return self._queue.get(timeout=WAIT_S)

    def until(self, kind: type[E], accept: Callable[[E], bool] = lambda _: True) -> E:
        """Return the next item of `kind` that `accept` accepts, leaving out what comes before."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            item = self.next()
            if isinstance(item, kind) and accept(item):
                return item
        raise TimeoutError(f"no {kind.__name__} within {WAIT_S} s")

    def drain(self) -> list[T]:
        """Return what is there now."""
        items = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._queue.get_nowait())
        return items


@dataclass
class PtyDevice:
    """A device at the far end of a serial line: the test writes what the device says."""

    path: str = ""
    _far: int = -1
    _near: int = -1
    heard: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Self:
        self._far, self._near = os.openpty()
        tty.setraw(self._near)
        self.path = os.ttyname(self._near)
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def say(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._far, data) :]

    def unplug(self) -> None:
        """Vanish: the other side gets an input/output error."""
        for end in (self._far, self._near):
            if end >= 0:
                os.close(end)
        self._far = self._near = -1


class SlcanDevice(PtyDevice):
    """An slcan adapter: it remembers the commands it was given and sends the frames the test asks for."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._stop_out, self._stop_in = os.pipe()
        self._opened = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        if self._far >= 0:
            os.write(self._stop_in, b"x")
            self._listener.join()
            os.close(self._stop_in)
            os.close(self._stop_out)
        super().unplug()

    def wait_until_open(self) -> None:
        assert self._opened.wait(WAIT_S), "the channel was never opened"

    def send(self, can_id: int, data: bytes, *, extended: bool = False) -> None:
        head = f"T{can_id:08X}" if extended else f"t{can_id:03X}"
        self.say(f"{head}{len(data)}{data.hex().upper()}\r".encode())

    def _listen(self) -> None:
        import select  # noqa: PLC0415 - only this device needs it

        while True:
            ready, _, _ = select.select([self._far, self._stop_out], [], [])
            if self._stop_out in ready:
                return
            try:
                self.heard += os.read(self._far, 1024)
            except OSError:  # nobody has the near end open
                return
            if b"O\r" in self.heard or b"L\r" in self.heard:
                self._opened.set()
