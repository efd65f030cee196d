"""Replays a recorded drive through the identical path: engine, spool, broker; only time is the log's.

Rules:
- Every sample is kept. Time is virtual: `mono_us` is the log's, so what is recorded does not depend on how
  fast it is read.
- As fast as possible, or paced. Either way reading waits for the disk, and for receipts while the broker is
  there, so memory is flat and nothing is dropped. With the broker away the spool takes what its quota allows.
- While the disk refuses, reading stands still, but the refused batch is tried again several times a second.
- At the end everything is sealed and stored, then the replay waits until receipts cover all that is pending.
- Each run is a boot of its own; one that was interrupted is finished by running it again.

It does not read files (`replay_log`) or words (`replay_cli`).

Example:
    outcome = await Replay(wired, home, drive, timeline, clock=SystemClock(), speed=None, wait_s=60.0).run()
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from device.agent.core import Core
from device.agent.replay_clock import Patience, ReplayClock
from device.agent.replay_log import LEAD_US, SECOND_US
from device.agent.replay_tally import ReplayTally, WatchedSpool
from device.agent.wiring import Tuning
from device.config import BatchLimits, SpoolLimits, UplinkLimits
from device.events import FramesReceived, Tick
from protocol.limits import PAYLOAD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.adapters.system_clock import SystemClock
    from device.agent.home import AgentHome
    from device.agent.replay_log import DriveLog, Timeline
    from device.agent.wiring import Wired
    from protocol.fixes import Precision

STORE_AHEAD = 4  # batches sealed and not yet stored: the disk works while we read on
RECEIPT_AHEAD = (
    8  # batches stored and not yet receipted: the window stays filled, memory and resends stay small
)
ROOM_WAIT_S = 10.0  # without any receipt this long, go on: the broker is there, but nobody reads behind it
POLL_S = 0.02
FASTEST = 60.0  # how much faster than on the road the engine's timers run when nothing paces the replay
RECEIPT_WAIT_US = 10 * SECOND_US  # of real time, for a published batch
HOUR_US = 3_600 * SECOND_US
HEARTBEAT_US = 24 * HOUR_US  # while it waits for receipts the engine has nothing to say
# While reading stands still for the disk, the drive's time creeps on: a refused store is tried again every
# 0.2 s, and a minute of waiting puts the engine's time only three seconds ahead of the log's.
CREEP_US = 1_000  # each POLL_S
STORE_RETRY_US = 10 * CREEP_US
TICK_US = 60 * SECOND_US  # how often it persists how far it got: a replay can be run again


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a replay ended.

    Attributes:
        tally: what the signed headers say.
        frames_read: frames of the log that were fed to the engine.
        is_complete: the log was read to its end.
        is_interrupted: somebody asked for an early end.
        is_stored: everything sealed is on the disk.
        pending: batches without a receipt, of this replay and before.
        receipted: batches that got their receipt meanwhile.
        seconds: how long it took.
    """

    tally: ReplayTally
    frames_read: int
    is_complete: bool
    is_interrupted: bool
    is_stored: bool
    pending: int
    receipted: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a replay stands: frames read, batches stored and pending."""

    frames: int
    pending: int
    is_reading: bool


def replay_tuning(
    batch: BatchLimits, spool: SpoolLimits, *, precision: Precision, speed: float | None
) -> Tuning:
    """Return how the engine is tuned for a replay.

    The engine's timers run on the log's time, so waits for answers of the real world are stretched by its
    speed.

    Args:
        batch: the home's limits.
        spool: the home's limits.
        precision: of positions.
        speed: times real time; None as fast as possible.
    """
    factor = _factor(speed)
    return Tuning(
        keep_all=True,
        has_mcu=False,
        precision=precision,
        batch=replace(batch, heartbeat_us=HEARTBEAT_US),
        spool=replace(spool, retry_us=STORE_RETRY_US),
        uplink=UplinkLimits(
            receipt_wait_us=round(RECEIPT_WAIT_US * factor),
            backoff_first_us=round(RECEIPT_WAIT_US / 2 * factor),
            backoff_max_us=round(min(HOUR_US, 6 * RECEIPT_WAIT_US * factor)),
            standing_wait_us=round(min(600 * SECOND_US, 3 * RECEIPT_WAIT_US * factor)),
        ),
        tick_us=TICK_US,
        asks_time=False,
    )


class Replay:
    """One replay. Make it inside the event loop that runs it.

    Args:
        wired: made with `replay_tuning`.
        home: where the spool lies.
        drive: what happened.
        timeline: when.
        clock: real time, for waiting and for dates of certificates.
        speed: times real time; None as fast as possible.
        wait_s: longest wait without progress for receipts, seconds.
        tell: hears where the replay stands.
    """

    def __init__(
        self,
        wired: Wired,
        home: AgentHome,
        drive: DriveLog,
        timeline: Timeline,
        *,
        clock: SystemClock,
        speed: float | None,
        wait_s: float,
        tell: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._drive = drive
        self._clock = clock
        self._speed = speed
        self._wait_s = wait_s
        self._tell = tell
        self._virtual = ReplayClock(timeline)
        self._tally = ReplayTally(wired.config.boot)
        self._stopping = asyncio.Event()
        self._ticked_us = 0
        self._frames = 0
        self._spool_pending_max = wired.config.spool.quota_bytes // (2 * PAYLOAD_BYTES_MAX)
        self._core = Core(
            wired,
            home,
            now=self._virtual.now,
            is_clock_trusted=clock.is_trusted,
            set_clock=lambda _: None,  # signed time speaks of the present, the engine's time is the log's
            watch=lambda spool: WatchedSpool(spool, self._tally),
        )

    def stop(self) -> None:
        """Ask for an early end: what was read is sealed and stored."""
        self._stopping.set()

    async def run(self) -> Outcome:
        """Read, seal, store, send, wait.

        Raises:
            LogError: the CAN log cannot be read at all.
            SpoolError: the spool cannot be opened.
            BaseExceptionGroup: a task failed.
        """
        began_us = self._clock.mono_us()
        try:
            self._core.open()
            async with asyncio.TaskGroup() as group:
                pumps = self._core.start_pumps(group)
                is_complete = await self._read()
                passing = group.create_task(self._let_time_pass())
                is_stored = await self._core.stop_engine()
                passing.cancel()
                if is_complete and is_stored:
                    await self._wait_for_receipts()
                for pump in pumps:
                    pump.cancel()
        finally:
            self._core.close()
        return Outcome(
            tally=self._tally,
            frames_read=self._frames,
            is_complete=is_complete,
            is_interrupted=self._stopping.is_set(),
            is_stored=is_stored,
            pending=self._pending(),
            receipted=self._metric("batches_receipted"),
            seconds=(self._clock.mono_us() - began_us) / SECOND_US,
        )

    async def _read(self) -> bool:
        """Feed the drive; False when stopped before its end."""
        began_us = self._clock.mono_us()
        for item in self._drive:
            if self._speed is not None:
                await self._pace(began_us + round((item.t_us - LEAD_US) / self._speed))
            if self._stopping.is_set():
                return False
            self._virtual.reach(item.t_us)
            self._core.driver.feed(item.event)
            if isinstance(item.event, FramesReceived):
                self._frames += item.event.lot.size
            self._tick()
            if not await self._wait_for_room():
                return False
            self._tell(Progress(frames=self._frames, pending=self._pending(), is_reading=True))
        return not self._stopping.is_set()

    async def _pace(self, due_us: int) -> None:
        """Wait until a moment of real time, or until stopped."""
        left_s = (due_us - self._clock.mono_us()) / SECOND_US
        if left_s > 0:
            await self._sleep(left_s)

    async def _wait_for_room(self) -> bool:
        """Let disk and broker keep up, the drive's time all but standing; False when the spool stays full."""
        await asyncio.sleep(0)
        room, patience = Patience(self._clock, ROOM_WAIT_S), Patience(self._clock, self._wait_s)
        while not self._stopping.is_set():
            pending, unstored = self._pending(), self._metric("store_queue")
            is_full = unstored >= STORE_AHEAD or pending >= self._spool_pending_max
            is_backend_behind = self._core.is_connected and pending >= RECEIPT_AHEAD
            if not is_full and (not is_backend_behind or room.is_over(pending)):
                return True
            if is_full and patience.is_over(pending + unstored):
                return False
            if is_full:
                self._virtual.reach(self._virtual.mono_us + CREEP_US)
            self._core.driver.feed(Tick())
            await self._sleep(POLL_S)
        return True

    async def _wait_for_receipts(self) -> None:
        """Wait until nothing is pending; the engine's timers run on, so that what was lost is sent again."""
        patience = Patience(self._clock, self._wait_s)
        before_us = self._clock.mono_us()
        while not self._stopping.is_set():
            pending = self._pending()
            self._tell(Progress(frames=self._frames, pending=pending, is_reading=False))
            if pending == 0 or patience.is_over(pending):
                return
            await self._sleep(POLL_S)
            before_us = self._pass_time(before_us)

    async def _let_time_pass(self) -> None:
        """Run the engine's timers after the drive, so that a refused store is tried again."""
        before_us = self._clock.mono_us()
        while True:
            await asyncio.sleep(POLL_S)
            before_us = self._pass_time(before_us)

    def _pass_time(self, before_us: int) -> int:
        """Let the engine's time go on as real time did, times the speed; return the present."""
        now_us = self._clock.mono_us()
        self._virtual.reach(self._virtual.mono_us + round((now_us - before_us) * _factor(self._speed)))
        self._core.driver.feed(Tick())
        return now_us

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _tick(self) -> None:
        if self._virtual.mono_us - self._ticked_us >= SECOND_US:
            self._ticked_us = self._virtual.mono_us
            self._core.driver.feed(Tick())

    def _pending(self) -> int:
        return self._metric("spool_pending")

    def _metric(self, name: str) -> int:
        return self._core.driver.box.metrics().get(name, 0)


def _factor(speed: float | None) -> float:
    """Return how much faster than real time the engine's timers run."""
    return FASTEST if speed is None else min(FASTEST, max(1.0, speed))
