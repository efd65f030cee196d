"""What a drive and its replay share: engine, spool and uplink, and the tasks that carry answers between them.

Rules:
- The spool's answers, the link's changes, orders and the broker's other messages each have their own inbox,
  so that a flood in one cannot push out what another says; orders are fed before other messages.
- Everything is fed on the event loop's thread, one event after the other.
- `stop_engine` seals and waits until it is stored; `close` ends the threads. Both may be called after any
  failure.

It brings no frames and no ticks: `pumps` and `replay` do.

Example:
    core = Core(wired, home, now=clock.now, is_clock_trusted=clock.is_trusted, set_clock=told)
    core.open()
    async with asyncio.TaskGroup() as group:
        tasks = core.start_pumps(group)
        core.driver.feed(Tick())
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from device.adapters.handover import Handover
from device.adapters.mqtt_events import Arrived, Connected, Lost, Published, UplinkEvent
from device.adapters.mqtt_uplink import MqttUplink
from device.adapters.order_journal import SqliteOrderJournal
from device.adapters.sqlite_spool import SqliteSpool
from device.agent.driver import Driver, Fetched
from device.events import (
    BatchPublished,
    JournalEvent,
    MessageArrived,
    SpoolEvent,
    Stop,
    UplinkConnected,
    UplinkLost,
)
from device.tbox import TBox
from protocol.errors import ProtocolError
from protocol.limits import JOURNAL_QUEUE_MAX, SPOOL_ANSWERS_MAX, UPLINK_EVENTS_MAX, UPLINK_MESSAGES_MAX
from protocol.topics import Direction, Down, parse_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.agent.driver import CarSide, McuLine
    from device.agent.fitting import Fitting
    from device.agent.home import AgentHome
    from device.agent.wiring import Wired
    from device.effects import SetClock
    from device.ports import Spool
    from protocol.clock import Instant

_log = logging.getLogger("tbox.agent")

_ORDER_TOPIC_END = f"/{Direction.DOWN}/{Down.ORDER}"
STOP_S_MAX = 8.0  # for the disk to take the last batch; supervisors kill after ten seconds or more


class Core:
    """Engine, spool and uplink of one life. Make it inside the event loop that runs it.

    Args:
        wired: everything that was read from the home.
        home: where the spool lies.
        now: the present moment.
        is_clock_trusted: whether dates of certificates may be checked.
        set_clock: takes signed time.
        watch: wraps the spool, for one who wants to see what goes into it.
        mcu: the line to the microcontroller; None without one, and then no order is taken.
        fitting: serves an installation; None without a microcontroller.
        car_side: serves whoever stands at the car; None without a microcontroller.
    """

    def __init__(
        self,
        wired: Wired,
        home: AgentHome,
        *,
        now: Callable[[], Instant],
        is_clock_trusted: Callable[[], bool],
        set_clock: Callable[[SetClock], None],
        watch: Callable[[Spool], Spool] = lambda spool: spool,
        mcu: McuLine | None = None,
        fitting: Fitting | None = None,
        car_side: CarSide | None = None,
    ) -> None:
        self._car_side = car_side
        self.driver: Driver
        self.messages_misaddressed = 0
        self.is_connected = False
        self._wired = wired
        self._now = now
        self._set_clock = set_clock
        self._answers = Handover[SpoolEvent | Fetched](SPOOL_ANSWERS_MAX)
        self._link = Handover[UplinkEvent](UPLINK_EVENTS_MAX)
        self._messages = Handover[Arrived](UPLINK_MESSAGES_MAX)
        self._orders = Handover[Arrived](UPLINK_MESSAGES_MAX)
        self._spool = watch(SqliteSpool(home.spool, listener=self._hear_spool))
        self._mcu = mcu
        self._fitting = None if mcu is None else fitting
        self._journaled = Handover[JournalEvent](2 * JOURNAL_QUEUE_MAX)
        self._journal = None if mcu is None else SqliteOrderJournal(home.orders, listener=self._journaled.put)
        self.uplink = MqttUplink(wired.uplink, is_clock_trusted=is_clock_trusted, put=self._hear_uplink)
        self._is_uplink_started = False
        self._stopped = asyncio.Event()

    def open(self) -> None:
        """Load the spool, make the engine, begin to connect. Blocks while the disk reads.

        Raises:
            SpoolError: the spool cannot be used, or another agent holds it.
            JournalError: the order journal cannot be used.
        """
        wired = self._wired
        image = self._spool.load()
        orders = None if self._journal is None else self._journal.load()
        box = TBox(
            wired.config,
            plans=wired.plans,
            signer=wired.signer,
            image=image,
            now=self._now(),
            orders=orders,
            install=None if self._fitting is None else wired.install,
            installed=b"" if self._fitting is None else self._fitting.load(),
        )
        self.driver = Driver(
            box,
            device=wired.config.device,
            spool=self._spool,
            uplink=self.uplink,
            now=self._now,
            fetched=self._answers.put,
            set_clock=self._set_clock,
            mcu=self._mcu,
            journal=self._journal,
            installation=self._fitting,
            car_side=self._car_side,
        )
        self.uplink.start()
        self._is_uplink_started = True

    def start_pumps(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start the tasks that carry answers; the caller cancels them."""
        pumps = (
            *(self._pump_spool, self._pump_link, self._pump_messages),
            *(self._pump_orders, self._pump_journal),
        )
        return [group.create_task(pump(), name=pump.__name__) for pump in pumps]

    async def stop_engine(self) -> bool:
        """Seal what is open and wait until it is stored; False when the disk did not take it in time."""
        self.driver.feed(Stop())
        self._note_stopped()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await self._stopped.wait()
        except TimeoutError:
            _log.error("stopped without storing: the disk does not answer; the rest becomes a declared gap")
            return False
        return True

    def close(self) -> None:
        """Say goodbye to the broker and close the spool. Blocks for a moment."""
        if self._is_uplink_started:
            self.uplink.stop()
        self._spool.close()
        if self._journal is not None:
            self._journal.close()

    @property
    def is_journal_alive(self) -> bool:
        """The order journal's thread runs, or there is none."""
        return self._journal is None or self._journal.is_alive

    # --- what flows ---

    async def _pump_journal(self) -> None:
        while True:
            self.driver.feed(await self._journaled.get())
            self._note_stopped()

    async def _pump_spool(self) -> None:
        while True:
            answer = await self._answers.get()
            if isinstance(answer, Fetched):
                self.driver.publish(answer)
            else:
                self.driver.feed(answer)
            self._note_stopped()

    async def _pump_link(self) -> None:
        while True:
            match await self._link.get():
                case Connected(are_dates_checked=are_dates_checked):
                    _log.info("uplink connected: are_dates_checked=%s", are_dates_checked)
                    self.is_connected = True
                    self.driver.feed(UplinkConnected())
                case Lost():
                    self.is_connected = False
                    self.driver.feed(UplinkLost())
                case Published(key=key):
                    self.driver.feed(BatchPublished(key=key))
                case Arrived():
                    raise AssertionError("messages have their own inbox")

    async def _pump_messages(self) -> None:
        while True:
            self._take_message(await self._messages.get())

    async def _pump_orders(self) -> None:
        while True:
            self._take_message(await self._orders.get())

    def _take_message(self, message: Arrived) -> None:
        for order in self._orders.drain():  # an order waits behind nothing that came before it
            self._feed_message(order)
        self._feed_message(message)

    def _feed_message(self, message: Arrived) -> None:
        kind = self._kind_of(message.topic)
        if kind is None:
            self.messages_misaddressed += 1  # only a broker that is wrong or hostile sends these
        else:
            self.driver.feed(MessageArrived(kind=kind, payload=message.payload))

    def _kind_of(self, topic: str) -> Down | None:
        try:
            device, _, kind = parse_topic(topic)
        except ProtocolError:
            return None
        return kind if device == self._wired.config.device and isinstance(kind, Down) else None

    def _hear_spool(self, event: SpoolEvent) -> None:
        is_taken = self._answers.put(event)
        assert is_taken or self._stopped.is_set(), "the spool answers no more often than it was asked"

    def _hear_uplink(self, event: UplinkEvent) -> bool:
        if not isinstance(event, Arrived):
            return self._link.put(event)
        inbox = self._orders if event.topic.endswith(_ORDER_TOPIC_END) else self._messages
        return inbox.put(event)

    def _note_stopped(self) -> None:
        if self.driver.box.is_stopped:
            self._stopped.set()
