"""The running agent: buses and receiver on one side, the engine on the other, and a task for each flow.

Rules:
- One TaskGroup; a task that fails ends the agent, and whoever supervises the process starts it again.
- A thread of an adapter that ended by itself is noticed at the next tick, and is a failure.
- A stop takes in what was received, seals, waits until it is stored, says goodbye to the broker, closes the
  spool.

It decides nothing about data: see `device.tbox`.

Example:
    agent = Agent(wire(home), home, clock=SystemClock())
    asyncio.run(agent.run())      # until agent.stop()
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from device.acquisition.gnss import GnssForm
from device.acquisition.gnss_checks import right_date
from device.acquisition.lot import FrameLot
from device.adapters.can_bus import BusState
from device.adapters.car_door import DOOR, CarDoor
from device.adapters.gnss import GnssLine, GnssReader, ReceiverState
from device.adapters.gpsd_client import GpsdClient, GpsdSettings
from device.adapters.handover import Handover
from device.adapters.mcu_serial import McuFrame, McuSerial, McuState
from device.adapters.system_clock import BUILD_UTC_US
from device.agent.core import Core
from device.agent.fitting import Buses, Fitting
from device.agent.health import Readings, readings
from device.agent.status import write_status
from device.agent.vitals import Vitals
from device.events import (
    BusChanged,
    DropsReported,
    FactObserved,
    FramesReceived,
    GnssReceived,
    HealthReported,
    McuChanged,
    McuReceived,
    Tick,
)
from device.gnss_intake import fix_reader, witness_us
from protocol.batch import DropCause
from protocol.facts import Event as Fact
from protocol.limits import CAN_LOTS_MAX, MCU_FRAMES_MAX, NMEA_LINES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.adapters.gnss import GnssSettings
    from device.adapters.owner_thread import OwnerThread
    from device.adapters.system_clock import SystemClock
    from device.agent.home import AgentHome
    from device.agent.wiring import Wired
    from device.effects import SetClock
    from device.events import CodeTyped, OrderHandedOver

_log = logging.getLogger("tbox.agent")

TICK_S = 1.0  # the engine's timers run on it
STATUS_EVERY = 5  # ticks: who looks at a box waits a moment
HEALTH_EVERY = 30  # ticks: two readings in a batch of a minute; more would say the same
FIX_2D = 2
DETAIL_CHARS = 200  # of a driver's own words: enough to know the cause, short enough for a fact


class ThreadEndedError(RuntimeError):
    """A thread of an adapter ended by itself: a mistake of ours, cured by a new start."""


class Agent:
    """One life of the agent. Make it inside the event loop that runs it.

    Args:
        wired: everything that was read from the home.
        home: where the spool lies.
        clock: the machine's time; its making is this boot's zero.
        tick_s: how often the engine's timers run, seconds.
    """

    def __init__(self, wired: Wired, home: AgentHome, *, clock: SystemClock, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._clock = clock
        self._home = home
        self._lots = Handover[FrameLot | BusState](CAN_LOTS_MAX)
        self._lines = Handover[GnssLine | ReceiverState](NMEA_LINES_MAX)
        self._frames = Handover[McuFrame | McuState](MCU_FRAMES_MAX)
        mcu = wired.settings.mcu
        self._mcu = None if mcu is None else McuSerial(mcu, self._frames.put)
        self._buses = Buses([bus.can for bus in wired.settings.buses], clock, self._lots.put)
        self._fitting = (
            None
            if self._mcu is None
            else Fitting(home.root, buses=self._buses, driver=lambda: self._core.driver)
        )
        self._car_door = None if self._mcu is None else CarDoor(home.root / DOOR, ask=self._ask_at_car)
        self._core = Core(
            wired,
            home,
            now=clock.now,
            is_clock_trusted=clock.is_trusted,
            set_clock=self._set_clock,
            mcu=self._mcu,
            fitting=self._fitting,
            car_side=self._car_door,
        )
        gnss = wired.settings.gnss
        self._receiver = None if gnss is None else _receiver(gnss, clock, self._lines.put)
        form = GnssForm.GPSD if isinstance(gnss, GpsdSettings) else GnssForm.NMEA
        self._fixes = fix_reader(form)
        self._stopping = asyncio.Event()
        self._nmea_lines_dropped = 0
        self._vitals = Vitals()

    def stop(self) -> None:
        """Ask for an orderly end; `run` returns soon after."""
        self._stopping.set()

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Run until stopped.

        Args:
            on_ready: called when the spool is open and every reader has been started.

        Raises:
            SpoolError: the spool cannot be opened.
            BaseExceptionGroup: a task failed.
        """
        try:
            self._core.open()
            installation = self._core.driver.box.installation
            if installation is not None:
                self._buses.use(installation.bitrate)
            for reader in self._threads():
                reader.start()
            on_ready()
            await self._pump()
        finally:
            for reader in self._threads():
                if reader.is_alive:
                    reader.stop()
            self._core.close()

    async def _pump(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = self._core.start_pumps(group)
            tasks += [
                group.create_task(pump(), name=pump.__name__)
                for pump in (self._pump_can, self._pump_gnss, self._pump_mcu, self._tick)
            ]
            if self._fitting is not None:
                parts = (self._fitting.pump_car, self._fitting.tick, self._fitting.hold_door)
                tasks += [group.create_task(part(), name=part.__name__) for part in parts]
            if self._car_door is not None:
                tasks.append(group.create_task(self._car_door.hold_open(), name="car_door"))
            await self._stopping.wait()
            if self._fitting is not None:
                self._fitting.end()
            await self._take_in_the_rest()
            await self._core.stop_engine()
            for task in tasks:
                task.cancel()

    async def _take_in_the_rest(self) -> None:
        """Stop the readers and feed what they had received."""
        for reader in self._threads():
            await asyncio.to_thread(reader.stop)
        for lot in self._lots.drain():
            self._take_lot(lot)
        for line in self._lines.drain():
            self._take_line(line)
        for frame in self._frames.drain():
            self._take_frame(frame)
        self._feed_drops()

    # --- what flows ---

    async def _pump_can(self) -> None:
        while True:
            self._take_lot(await self._lots.get())

    async def _pump_gnss(self) -> None:
        while True:
            self._take_line(await self._lines.get())

    async def _pump_mcu(self) -> None:
        while True:
            self._take_frame(await self._frames.get())

    async def _tick(self) -> None:
        count = 0
        while True:
            self._check_threads()
            self._feed_drops()
            if count % STATUS_EVERY == 0:
                write_status(self._home, self._readings())
                self._write_vitals()
            if count % HEALTH_EVERY == 0:
                self._core.driver.feed(HealthReported(values=self._readings()))
            self._core.driver.feed(Tick())
            count += 1
            await asyncio.sleep(self._tick_s)

    def _take_lot(self, item: FrameLot | BusState) -> None:
        match item:
            case FrameLot():
                self._vitals.note_frames(item.bus, item.can_id, self._clock.now().mono_us)
                self._core.driver.feed(FramesReceived(lot=item))
            case BusState(bus=bus, is_up=is_up, reason=reason):
                detail = (reason or "")[:DETAIL_CHARS]
                self._core.driver.feed(BusChanged(bus=bus, is_up=is_up, detail=detail))

    def _take_line(self, item: GnssLine | ReceiverState) -> None:
        match item:
            case GnssLine(data=data, t_us=t_us, form=form):
                self._discipline(data, t_us)
                self._core.driver.feed(GnssReceived(data=data, t_us=t_us, form=form))
            case ReceiverState(is_up=is_up, reason=reason):
                fields: dict[str, int | float | str | bool | None] = {
                    "is_up": is_up,
                    "detail": (reason or "")[:DETAIL_CHARS],
                }
                fact = Fact(t_us=self._clock.mono_us(), name="receiver_changed", fields=fields)
                self._core.driver.feed(FactObserved(fact=fact))

    def _take_frame(self, item: McuFrame | McuState) -> None:
        match item:
            case McuFrame(kind=kind, body=body):
                self._core.driver.feed(McuReceived(kind=kind, body=body))
            case McuState(is_up=is_up, reason=reason):
                detail = (reason or "")[:DETAIL_CHARS]
                self._core.driver.feed(McuChanged(is_up=is_up, detail=detail))

    # --- details ---

    def _ask_at_car(self, asked: CodeTyped | OrderHandedOver) -> None:
        self._core.driver.feed(asked)

    def _set_clock(self, told: SetClock) -> None:
        """Signed time came: from now on dates are checked, those of the present connection too."""
        if self._clock.discipline_token(mono_us=told.mono_us, utc_us=told.utc_us, error_us=told.error_us):
            self._core.uplink.check_dates_now()

    def _discipline(self, data: bytes, t_us: int) -> None:
        """Let the receiver's UTC vouch for the clock, so that dates of certificates can be checked."""
        for fix in self._fixes.feed(data, t_us):
            if fix.mode >= FIX_2D:
                self._vitals.note_fix(t_us)
            if fix.mode >= FIX_2D and fix.utc_us is not None:
                now = self._clock.now()
                dated = right_date(fix.utc_us, witness_us=witness_us(now, fix.t_us), floor_us=BUILD_UTC_US)
                if dated.utc_us is None:
                    continue
                was_trusted = self._clock.is_trusted()
                self._clock.discipline_gnss(utc_us=dated.utc_us, arrival_mono_us=fix.t_us)
                if not was_trusted and self._clock.is_trusted():
                    self._core.uplink.check_dates_now()

    def _threads(self) -> list[OwnerThread]:
        others: list[OwnerThread | None] = [self._receiver, self._mcu]
        return [*self._buses.readers, *(thread for thread in others if thread is not None)]

    def _check_threads(self) -> None:
        resting = self._buses.readers[:1] if self._buses.is_paused else []
        are_alive = [thread.is_alive for thread in self._threads() if thread not in resting]
        are_alive += [self._core.uplink.is_alive, self._core.is_journal_alive]
        if not self._stopping.is_set() and not all(are_alive):
            raise ThreadEndedError("a reader or the uplink ended by itself; its traceback is above")

    def _feed_drops(self) -> None:
        for reader in self._buses.readers:
            count = reader.take_dropped()
            if count:
                bus = reader.settings.bus
                self._core.driver.feed(DropsReported(cause=DropCause.QUEUE, count=count, bus=bus))
        if self._receiver is not None:
            self._nmea_lines_dropped += self._receiver.take_dropped()

    def _write_vitals(self) -> None:
        box = self._core.driver.box
        now_us = self._clock.now().mono_us
        self._vitals.write(self._home.root, status=box.mcu_status, metrics=box.metrics(), now_us=now_us)

    def _readings(self) -> Readings:
        own = {
            "can_malformed": sum(reader.malformed for reader in self._buses.readers),
            "nmea_lines_dropped": self._nmea_lines_dropped,
            "uplink_events_dropped": self._core.uplink.not_taken,
            "messages_misaddressed": self._core.messages_misaddressed,
            "clock_contradictions": self._clock.contradictions,
            "clock_class": int(self._clock.now().clock),
            "uplink_connected": int(self._core.is_connected),
        }
        if self._mcu is not None:
            own |= self._mcu.counts()
        if self._fitting is not None:
            own |= self._fitting.counts()
        if self._car_door is not None:
            own |= {"at_car_lines_refused": self._car_door.lines_refused}
        box = self._core.driver.box
        return readings(box.metrics(), own) | box.words()


def _receiver(
    settings: GnssSettings | GpsdSettings, clock: SystemClock, put: Callable[[GnssLine | ReceiverState], bool]
) -> GnssReader | GpsdClient:
    """Return the thread that owns the receiver, whichever way it is reached."""
    if isinstance(settings, GpsdSettings):
        return GpsdClient(settings, clock, put)
    return GnssReader(settings, clock, put)
