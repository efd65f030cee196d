"""The whole simulated car on one time line, and the thread that drives it on two serial lines.

Rules: `Car` is the world without time: ask for what happens until an instant and get CAN frames and NMEA
bursts in order, the same for the same seed. `CarOnPorts` plays it in real time (or faster) on ptys; it
keeps a journal of the frames that really left, which is the truth a checker compares the stored trace with.

Example:
    >>> from simulators import drive_cycles
    >>> car = Car(seed=7, legs=drive_cycles.city(7, 60), utc_start_us=1_767_600_000_000_000)
    >>> kinds = [type(item).__name__ for item in car.until(2_000_000)]
    >>> kinds.count("NmeaBurst"), kinds.count("CanFrame") > 10
    (2, True)
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from simulators.bus_traffic import BusTraffic, CanFrame
from simulators.ecu import SlcanAdapter
from simulators.gnss_receiver import GnssFault, GnssReceiver
from simulators.pty_port import PtyPort
from simulators.vehicle import Vehicle
from simulators.virtual_clock import SECOND_US, Pacer, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from simulators.drive_cycles import Leg

TICK_SECONDS = 0.005  # a quarter of the fastest cycle: frames leave close to their time
HANG_UP_SECONDS_MAX = 5.0  # the thread turns 200 times a second
JOURNAL_FRAMES_MAX = 200_000  # eleven minutes of this car; older ones are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class NmeaBurst:
    """The receiver's lines of one second."""

    t_us: int
    lines: tuple[bytes, ...]


class Car:
    """Vehicle, bus and receiver together.

    Args:
        seed: the same seed gives the same bytes.
        legs: the driver's wishes.
        utc_start_us: UTC when the world begins, microseconds since the epoch.
        gnss_faults: what goes wrong with the receiver.
    """

    def __init__(
        self, *, seed: int, legs: tuple[Leg, ...], utc_start_us: int, gnss_faults: tuple[GnssFault, ...] = ()
    ) -> None:
        self.vehicle = Vehicle(seed=seed, legs=legs)
        self._traffic = BusTraffic(seed=seed, vehicle=self.vehicle)
        self._receiver = GnssReceiver(seed=seed, faults=gnss_faults)
        self.begin_at(utc_start_us)

    def begin_at(self, utc_start_us: int) -> None:
        """Say what UTC is when the world begins; only before anything has happened in it."""
        assert self.vehicle.state.t_us == 0, "the world has begun"
        self.clock = VirtualClock(utc_start_us=utc_start_us)
        self._next_burst_us = -utc_start_us % SECOND_US  # receivers report on the full second of UTC

    def until(self, until_us: int) -> Iterator[CanFrame | NmeaBurst]:
        """Move the world on and yield what is said before `until_us`, in the order of time."""
        while self._next_burst_us < until_us:
            t_us = self._next_burst_us
            yield from self._traffic.until(t_us)
            utc_us = self.clock.utc_start_us + t_us
            lines = self._receiver.burst(self.vehicle.state, t_us, utc_us=utc_us)
            yield NmeaBurst(t_us=t_us, lines=tuple(lines))
            self._next_burst_us += SECOND_US
        yield from self._traffic.until(until_us)
        self.clock.advance_to(until_us)


class CarOnPorts:
    """A car in its own thread, driving in real time on a CAN adapter and a GNSS receiver.

    The lines can be opened as soon as this exists; the drive, and with it the car's UTC, begins on entering.

    Args:
        car: the car, not yet driven.
        can_link: stable name of the slcan device.
        nmea_link: stable name of the NMEA device.
        speed: virtual seconds in a real one.
    """

    def __init__(
        self, car: Car, *, can_link: Path | None = None, nmea_link: Path | None = None, speed: float = 1.0
    ) -> None:
        self.car = car
        self.can = PtyPort(can_link)
        self.nmea = PtyPort(nmea_link)
        self.journal: deque[CanFrame] = deque(maxlen=JOURNAL_FRAMES_MAX)
        self.fixes: deque[NmeaBurst] = deque(maxlen=JOURNAL_FRAMES_MAX)
        self.adapter = SlcanAdapter(on_sent=self.journal.append)
        self.lost_bursts = 0
        self._speed = speed
        self._stop = threading.Event()
        self._hang_up = threading.Event()
        self._hung_up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="simulated-car", daemon=True)

    def __enter__(self) -> Self:
        """Start driving."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and hang up both lines.

        Raises:
            BaseException: what ended the car's thread, if something did.
        """
        self._stop.set()
        self._thread.join()
        self.can.close()
        self.nmea.close()
        if self._failure is not None:
            raise self._failure

    def hang_up(self) -> None:
        """Notice that the program at the other end of the CAN line is gone, as a USB adapter does by DTR.

        Nothing it had not read is kept for whoever opens the line next. Returns when it is done.
        """
        self._hung_up.clear()
        self._hang_up.set()
        assert self._hung_up.wait(HANG_UP_SECONDS_MAX), "the car's thread is stuck"

    @property
    def is_driving(self) -> bool:
        """Whether the car's thread is alive."""
        return self._thread.is_alive()

    def _live(self) -> None:
        try:
            self.car.begin_at(time.time_ns() // 1000)
            pacer = Pacer(speed=self._speed)
            while not self._stop.is_set():
                select.select([self.can], [], [], TICK_SECONDS)
                self._turn(pacer.due_us())
        except BaseException as failure:  # noqa: BLE001 - kept for whoever leaves the context
            self._failure = failure

    def _turn(self, until_us: int) -> None:
        """Answer commands, say what is due, and write what the lines take."""
        if self._hang_up.is_set():
            self._hang_up.clear()
            self.can.read()
            self.adapter.close()
            self.can.forget()
            self._hung_up.set()
        answers = self.adapter.hear(self.can.read())
        self._flush()
        self.can.write(answers)
        for item in self.car.until(until_us):
            if isinstance(item, CanFrame):
                self.adapter.say(item)
            else:
                self._report(item)
        self._flush()
        self.nmea.read()  # a receiver may be configured; this one ignores it, but the line must not fill up

    def _flush(self) -> None:
        self.adapter.wrote(self.can.write(self.adapter.pending()))

    def _report(self, burst: NmeaBurst) -> None:
        """Write one second's lines, whole or not at all: torn lines are a fault one asks for."""
        data = b"".join(burst.lines)
        if self.nmea.write(data) == len(data):
            self.fixes.append(burst)
        else:
            self.lost_bursts += 1
