"""The installation's shell: the local door, the car asked between readings, the progress kept.

Rules:
- One trial or question of the car at a time, in a thread; the bus's reader is stopped before and started
  again after it, listen-only as always, at the proved bit rate once there is one. An abort ends it early.
- Progress is written durably before the next event; a disk that refuses is said and the job goes on.
- While a job is open the engine ticks four times a second.

It decides nothing: see `device.commissioning`.

Example: see `device.agent.pumps`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from device.adapters.can_bus import CanReader
from device.adapters.durable_file import write_durably
from device.adapters.install_door import DoorAnswer, InstallDoor
from device.commissioning.bus import proved
from device.effects import AskCar, HearBus, LetCarGo
from device.events import BusHeard, CarAnswered, InstallTick, MessageArrived
from protocol.limits import INSTALL_PROGRESS_BYTES_MAX
from protocol.topics import Down

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.acquisition.lot import FrameLot
    from device.adapters.can_bus import BusState, CanSettings
    from device.adapters.system_clock import SystemClock
    from device.agent.driver import Driver

_log = logging.getLogger("tbox.agent")

TICK_S = 0.25
SOCKET, PROGRESS = "run/install.sock", "install.progress"


class Buses:
    """The readers of the buses, which make way for a question.

    Args:
        settings: of each bus.
        clock: the agent's.
        put: takes lots and states.
    """

    def __init__(
        self,
        settings: list[CanSettings],
        clock: SystemClock,
        put: Callable[[FrameLot | BusState], bool],
    ) -> None:
        self.clock, self._put = clock, put
        self.readers = [CanReader(bus, clock, put) for bus in settings]
        self.is_paused = False
        self._is_over = False

    def use(self, bitrate: int | None) -> None:
        """Read the first bus at a rate that an installation proved; before it is started."""
        if bitrate and self.readers:
            settings = replace(self.readers[0].settings, bitrate=bitrate)
            self.readers[0] = CanReader(settings, self.clock, self._put)

    def pause(self) -> CanSettings:
        """Stop the first bus's reader, and return the bus. Blocks for a moment."""
        self.is_paused = True
        self.readers[0].stop()
        return self.readers[0].settings

    def resume(self, bitrate: int | None) -> None:
        """Read the first bus again, at another rate if one was proved."""
        settings = self.readers[0].settings
        before = self.readers[0]
        reader = CanReader(replace(settings, bitrate=bitrate or settings.bitrate), self.clock, self._put)
        reader.malformed = before.malformed
        self.readers[0] = reader
        if not self._is_over:
            reader.start()
            self.is_paused = False

    def end(self) -> None:
        """Start no reader any more."""
        self._is_over = True


class Fitting:
    """What an installation needs of the running agent.

    Args:
        root: the home's folder.
        buses: of the box; the first is the one at the diagnostic plug.
        driver: the engine's, once it exists.
    """

    def __init__(self, root: Path, *, buses: Buses, driver: Callable[[], Driver]) -> None:
        self._progress = root / PROGRESS
        self._buses = buses
        self._driver = driver
        self._jobs: asyncio.Queue[HearBus | AskCar] = asyncio.Queue(maxsize=4)
        self._stop = threading.Event()
        self.door = InstallDoor(root / SOCKET, take=self._take)
        self.progress_failures = 0

    def load(self) -> bytes:
        """Return the progress kept; empty when there is none or it cannot be read."""
        try:
            with self._progress.open("rb") as file:
                return file.read(INSTALL_PROGRESS_BYTES_MAX + 1)
        except FileNotFoundError:
            return b""
        except OSError as failure:
            _log.error("install progress not read: reason=%s", failure)
            return b"\xff"  # said as damage, not as nothing

    def keep(self, data: bytes) -> None:
        """Write the progress."""
        try:
            write_durably(self._progress, data, mode=0o600)
        except OSError as failure:
            self.progress_failures += 1
            _log.error("install progress not written: reason=%s", failure)

    def do(self, effect: HearBus | AskCar | LetCarGo) -> None:
        """Take what the engine wants of the car."""
        if isinstance(effect, LetCarGo):
            self._stop.set()
            while not self._jobs.empty():
                self._jobs.get_nowait()
        else:
            self._stop.clear()
            self._jobs.put_nowait(effect)

    def counts(self) -> dict[str, int]:
        """Return the shell's own counters."""
        return {
            "install_progress_failures": self.progress_failures,
            "install_lines_refused": self.door.lines_refused,
        }

    def tell(self, report: bytes) -> None:
        """Show a report to whoever watches at the door."""
        self.door.tell(report)

    def end(self) -> None:
        """End a question that is under way."""
        self._stop.set()
        self._buses.end()

    async def pump_car(self) -> None:
        """Carry out one job after the other."""
        while True:
            job = await self._jobs.get()
            answer = await asyncio.to_thread(self._carry_out, job)
            self._driver().feed(answer)

    async def tick(self) -> None:
        """Tick while a job is open."""
        while True:
            installation = self._driver().box.installation
            if installation is not None and installation.is_open:
                self._driver().feed(InstallTick())
            await asyncio.sleep(TICK_S)

    async def hold_door(self) -> None:
        """Hold the local door open."""
        try:
            async with self.door.open():
                await asyncio.Event().wait()
        except OSError as failure:
            _log.error("install door not open: reason=%s; commands come by the backend only", failure)

    def _take(self, command: bytes) -> DoorAnswer:
        driver = self._driver()
        driver.feed(MessageArrived(kind=Down.INSTALL, payload=command))
        installation = driver.box.installation
        assert installation is not None, "the door is there with a microcontroller only"
        return DoorAnswer(refusal=installation.refusal, report=installation.message)

    def _carry_out(self, job: HearBus | AskCar) -> BusHeard | CarAnswered:
        """Ask the car; runs in a thread of its own."""
        # A box in a car would carry these libraries in memory for months, for the one hour it is fitted.
        from device.adapters import car_isotp  # noqa: PLC0415

        if not self._buses.readers:
            return BusHeard(heard=()) if isinstance(job, HearBus) else _silent(job)
        settings = self._buses.pause()
        found: int | None = None
        try:
            if isinstance(job, HearBus):
                heard = car_isotp.hear(settings, self._buses.clock, stop=self._stop)
                best = proved(heard)
                found = None if best is None else best.bitrate
                return BusHeard(heard=heard)
            return CarAnswered(
                answers=car_isotp.ask(settings, job.questions, bitrate=job.bitrate, stop=self._stop)
            )
        finally:
            self._buses.resume(found)


def _silent(job: AskCar) -> CarAnswered:
    return CarAnswered(answers=tuple((question, None) for question in job.questions))
