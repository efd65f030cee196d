"""Drives the engine: hands it events, and carries its effects out in order.

Rules:
- One thread only: whoever holds the event loop feeds. `feed` returns when all effects are on their way.
- Spool effects go to the spool in the order the engine gave them; a batch to publish is fetched from there,
  and comes back as a `Fetched` in the spool's inbox.
- A report becomes one log line, with the engine's phrase and fields.

It decides nothing, and it knows no port: `pumps` and `replay` bring the events.

Example:
    driver = Driver(box, spool=spool, uplink=uplink, now=clock.now, fetched=inbox.put, set_clock=clock_told)
    driver.feed(Tick())
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, assert_never

from device.effects import (
    AnswerAtCar,
    AskCar,
    Effect,
    EvictBatches,
    FreeBatches,
    HearBus,
    KeepProgress,
    LetCarGo,
    PersistTick,
    PublishBatch,
    PublishMessage,
    Quarantine,
    ReadBatch,
    RecordLosses,
    ReopenBatches,
    Report,
    SendMcu,
    SetClock,
    StartChain,
    StoreBatch,
    WriteJournal,
)
from device.events import PublishFailed
from protocol.topics import Up, up_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from device.events import EngineEvent
    from device.order_state import JournalChange
    from device.ports import Spool
    from device.state import BatchKey
    from device.tbox import TBox
    from protocol.clock import Instant
    from protocol.ids import DeviceId

_log = logging.getLogger("tbox.agent")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A batch to publish, as the spool read it; None when it is gone, damaged, or not readable now."""

    key: BatchKey
    payload: bytes | None


class Uplink(Protocol):
    """What the driver asks of the uplink."""

    def publish(self, topic: str, payload: bytes, key: BatchKey | None = None) -> bool:
        """Send, or say at once that it cannot be sent now."""


class McuLine(Protocol):
    """What the driver asks of the line to the microcontroller."""

    def send(self, kind: int, body: bytes, *, is_urgent: bool = False) -> bool:
        """Queue a message, an urgent one ahead of all others; False when there is no room."""


class Installation(Protocol):
    """What the driver asks of the installation's shell."""

    def keep(self, data: bytes) -> None:
        """Make the progress durable."""

    def do(self, effect: HearBus | AskCar | LetCarGo) -> None:
        """Try the bus or ask the car; the answer comes as an event."""

    def tell(self, report: bytes) -> None:
        """Show a report to whoever watches."""


class CarSide(Protocol):
    """What the driver asks of the door for whoever stands at the car."""

    def answer(self, answer: AnswerAtCar) -> None:
        """Give a person the answer."""


class OrderJournal(Protocol):
    """What the driver asks of the order journal."""

    def submit(self, change: JournalChange) -> None:
        """Queue one change; its answer goes to the listener."""


class Driver:
    """The engine, and those who do its work.

    Args:
        box: the engine.
        device: our id, for topics.
        spool: stores and reads.
        uplink: publishes.
        now: the present moment.
        fetched: takes what was read for publishing, from the spool's thread.
        set_clock: takes signed time.
        mcu: the line to the microcontroller; None without one.
        journal: makes orders durable; None without a microcontroller.
        installation: serves a fitter; None without a microcontroller.
        car_side: serves whoever stands at the car; None without a microcontroller.
    """

    def __init__(
        self,
        box: TBox,
        *,
        device: DeviceId,
        spool: Spool,
        uplink: Uplink,
        now: Callable[[], Instant],
        fetched: Callable[[Fetched], bool],
        set_clock: Callable[[SetClock], None],
        mcu: McuLine | None = None,
        journal: OrderJournal | None = None,
        installation: Installation | None = None,
        car_side: CarSide | None = None,
    ) -> None:
        self._car_side = car_side
        self._installation = installation
        self._mcu = mcu
        self._journal = journal
        self.box = box
        self._device = device
        self._spool = spool
        self._uplink = uplink
        self._now = now
        self._fetched = fetched
        self._set_clock = set_clock

    def feed(self, event: EngineEvent) -> None:
        """Give the engine an event and carry out what follows.

        Raises:
            SpoolError: the spool's thread has ended, or its disk has stalled for too long.
        """
        for effect in self.box.handle(event, self._now()):
            self._carry_out(effect)

    def publish(self, fetched: Fetched) -> None:
        """Publish what the spool read; the engine hears when that was not possible now."""
        topic = up_topic(self._device, Up.BATCH)
        payload = fetched.payload
        if payload is None or not self._uplink.publish(topic, payload, fetched.key):
            self.feed(PublishFailed(key=fetched.key))

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901 - one case an effect
        match effect:
            case PublishBatch(key=key):
                self._spool.fetch(key).add_done_callback(partial(self._hand_back, key))
            case PublishMessage(kind=kind, payload=payload):
                self._uplink.publish(up_topic(self._device, kind), payload)
                if kind is Up.INSTALL and self._installation is not None:
                    self._installation.tell(payload)
            case HearBus() | AskCar() | LetCarGo():
                assert self._installation is not None, "only a box with a microcontroller is fitted"
                self._installation.do(effect)
            case KeepProgress(data=data):
                assert self._installation is not None, "only a box with a microcontroller is fitted"
                self._installation.keep(data)
            case SendMcu(kind=kind, body=body, is_urgent=is_urgent):
                assert self._mcu is not None, "only a box with a microcontroller speaks to one"
                self._mcu.send(kind, body, is_urgent=is_urgent)
            case WriteJournal(change=change):
                assert self._journal is not None, "only a box with a microcontroller keeps orders"
                self._journal.submit(change)
            case AnswerAtCar():
                assert self._car_side is not None, "only a box with a microcontroller has this door"
                self._car_side.answer(effect)
            case Report():
                _report(effect)
            case SetClock():
                self._set_clock(effect)
            case (
                StoreBatch()
                | FreeBatches()
                | ReopenBatches()
                | Quarantine()
                | EvictBatches()
                | RecordLosses()
                | PersistTick()
                | StartChain()
                | ReadBatch()
            ):
                self._spool.submit(effect)
            case _ as never:
                assert_never(never)

    def _hand_back(self, key: BatchKey, read: Future[bytes | None]) -> None:
        """Runs on the spool's thread, so it only enqueues."""
        self._fetched(Fetched(key=key, payload=read.result()))


def _report(effect: Report) -> None:
    fields: Mapping[str, object] = effect.fields
    words = " ".join(f"{name}={value}" for name, value in fields.items())
    _log.log(_LEVELS[effect.level], "%s: %s", effect.phrase, words)
