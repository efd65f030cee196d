"""The device's engine: events in, effects out, time as an argument.

Rules:
- `handle(event, now)` is a function of the engine's state: no input or output, no clock, no randomness. The
  agent and the simulator drive the same object.
- Order, ageing and timers use `now.mono_us` only; a UTC that jumps a day, or stands in 1970 or 2038,
  changes no decision.
- The shell carries effects out in order and reports what happened as further events. It sends a Tick about
  every second.
- Whatever a peer sends is verified first; what does not verify is counted and changes nothing.

It does not know a bus, a disk or a socket: see `device.ports` for what the shell must bring.

Example: see `tests/builders/engine.py`, which drives an engine by hand.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, assert_never

from device.commissioning.desk import InstallDesk
from device.delivery.answer_watch import AnswerWatch
from device.delivery.outbox import Outbox
from device.delivery.time_sync import TimeSync
from device.effects import Effect, PersistTick, Report, ReportLevel, SetClock
from device.events import (
    BatchDamaged,
    BatchPublished,
    BatchRead,
    BatchStored,
    BusChanged,
    BusHeard,
    CarAnswered,
    ChainStarted,
    CodeTyped,
    DropsReported,
    EngineEvent,
    FactObserved,
    FramesReceived,
    GnssReceived,
    HealthReported,
    InstallTick,
    JournalFailed,
    JournalWritten,
    McuChanged,
    McuReceived,
    MessageArrived,
    OrderHandedOver,
    PublishFailed,
    RadioReported,
    Stop,
    StoreFailed,
    Tick,
    UplinkConnected,
    UplinkLost,
    Urgent,
)
from device.intake import Intake
from device.order_state import JournalImage
from device.orders.at_car import AtCarDesk
from device.orders.desk import DOWN_KINDS, OrdersDesk
from device.orders.facts import FactsKeeper
from device.orders.link import LinkKind
from device.state import BootMark
from protocol.batch import Gap, GapCause
from protocol.clock import ClockClass
from protocol.errors import ProtocolError
from protocol.facts import Event as Fact
from protocol.ids import public_key_from_cose, thumbprint
from protocol.receipts import Stream, open_receipt
from protocol.topics import Down

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.commissioning.desk import InstallConfig
    from device.config import EngineConfig
    from device.intake import BusPlan
    from device.orders.link import Status
    from device.state import SpoolImage
    from protocol.clock import Instant
    from protocol.envelope import Signer
    from protocol.receipts import Receipt


class TBox:
    """One life of the engine: from a loaded spool to Stop.

    Args:
        config: Checked configuration.
        plans: How each bus's frames become rows.
        signer: Holds the agent's key.
        image: What the spool held at start.
        now: The moment of the start.
        orders: What the order journal held at start; only with a microcontroller.
        install: What the box knows before an installation; only with a microcontroller.
        installed: How far an installation had come, as the last start kept it.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        plans: Mapping[str, BusPlan],
        signer: Signer,
        image: SpoolImage,
        now: Instant,
        orders: JournalImage | None = None,
        install: InstallConfig | None = None,
        installed: bytes = b"",
    ) -> None:
        keys = [public_key_from_cose(data) for data in config.backend_keys]
        self._backend_keys = {thumbprint(key): key for key in keys}
        self._config = config
        self._outbox = Outbox(config, signer=signer, image=image, opened_us=now.mono_us)
        facts = None if config.orders is None else FactsKeeper(config.orders.states)
        self._intake = Intake(config, plans, self._outbox, facts=facts)
        self._desk = (
            None
            if facts is None
            else OrdersDesk(config, signer=signer, image=orders or JournalImage(), facts=facts)
        )
        self.installation = (
            None
            if self._desk is None or install is None
            else InstallDesk(
                install,
                signer=signer,
                secret=image.chain.salt_secret,
                boot=config.boot,
                kept=installed,
                courier=self._desk.take,
            )
        )
        self._at_car = None if self._desk is None else AtCarDesk(self._desk.take)
        self._time = TimeSync(
            device=config.device, signer=signer, secret=image.chain.salt_secret, boot=config.boot
        )
        self._answers = AnswerWatch()
        self._ticked_us: int | None = None
        self._is_connected = False
        self._is_stopping = False
        self._is_stopped = False
        self._counts: Counter[str] = Counter()
        self._remember_boots(image, now)

    @property
    def is_stopped(self) -> bool:
        """After Stop: everything is stored and the last tick says so; the shell may close the spool."""
        return self._is_stopped

    @property
    def is_congested(self) -> bool:
        """The disk is behind: a shell that can wait (a replay) should, before it hands over more frames."""
        queue = self._outbox.keeper.queue
        return 2 * len(queue) >= self._config.spool.memory_batches or queue.is_full

    @property
    def mcu_status(self) -> Status | None:
        """The microcontroller's last word, None without one that is fresh."""
        return None if self._desk is None else self._desk.status

    def metrics(self) -> dict[str, int]:
        """Return counters and levels by name, for health and logs."""
        outbox = self._outbox
        levels = {
            "spool_batches": len(outbox.keeper.index),
            "spool_bytes": outbox.keeper.index.bytes_held,
            "spool_pending": outbox.keeper.index.pending_count,
            "store_queue": len(outbox.keeper.queue),
            "uplink_in_flight": outbox.uplink.in_flight,
            "uplink_unanswered": outbox.uplink.unanswered,
            "chain_seq": outbox.keeper.chain.last_seq,
        }
        orders = {} if self._desk is None else self._desk.metrics()
        fitting = {} if self.installation is None else self.installation.counts
        orders |= {} if self._at_car is None else self._at_car.counts
        return {**levels, **self._counts, **outbox.counts, **outbox.keeper.counts, **orders, **fitting}

    def words(self) -> dict[str, str]:
        """Return what a person reads of the lock; empty without a microcontroller."""
        return {} if self._desk is None else self._desk.words()

    def handle(self, event: EngineEvent, now: Instant) -> list[Effect]:
        """Take one event and return what is to be done, in order.

        Args:
            event: What happened.
            now: The present moment; `mono_us` never decreases from call to call.
        """
        effects = self._tick_mark(now)
        if not self._is_stopping or not _is_content(event):
            effects += self._react(event, now)
        if self._desk is not None and self._at_car is not None:
            effects += self._at_car.advance(self._outbox.clock.at(now))
            effects += self._desk.advance(now)
            self._outbox.order_heads = self._desk.heads
        effects += self._outbox.advance(now)
        pending = self._outbox.keeper.index.pending_count
        effects += self._answers.look(unanswered=self._outbox.uplink.unanswered, pending=pending)
        if self._is_stopping and not self._is_stopped and self._is_drained:
            self._is_stopped = True
            effects.append(PersistTick(mark=self._mark(now, is_clean=True)))
        return effects

    @property
    def _is_drained(self) -> bool:
        return self._outbox.is_drained and (self._desk is None or self._desk.is_drained)

    # One line for each event: splitting the table would hide that it is complete.
    def _react(self, event: EngineEvent, now: Instant) -> list[Effect]:  # noqa: C901, PLR0911, PLR0912
        outbox = self._outbox
        match event:
            case FramesReceived(lot=lot):
                self._intake.take_lot(lot, now)
            case GnssReceived():
                self._intake.gnss.take(event, now)
            case RadioReported(cn0_dbhz=cn0_dbhz, gain_db=gain_db, is_jammed=is_jammed, t_us=t_us):
                if self._desk is not None:
                    self._desk.facts.note_radio(
                        cn0_dbhz=cn0_dbhz, gain_db=gain_db, is_jammed=is_jammed, t_us=t_us
                    )
            case DropsReported(cause=cause, count=count):
                self._intake.note_drops(cause, count)
            case BusChanged():
                self._add_bus_fact(event, now)
            case FactObserved(fact=fact):
                outbox.builder.add_event(fact)
            case HealthReported(values=values):
                outbox.builder.set_health(values)
            case Urgent(reason=reason, fields=fields):
                urgent = Fact(t_us=now.mono_us, name="urgent", fields={"reason": reason, **fields})
                outbox.builder.add_event(urgent)
                outbox.builder.is_alarm = True
                outbox.seal_open(now)
            case Tick():
                return self._on_tick(now)
            case Stop():
                self._stop(now)
            case UplinkConnected():
                return self._connect(now)
            case UplinkLost():
                self._is_connected = False
                if self.installation is not None:
                    self.installation.note_uplink(is_connected=False)
                self._time.forget()
                if self._desk is not None:
                    self._desk.lose_link()
                outbox.lose_link(now)
            case MessageArrived(kind=kind, payload=payload):
                return self._take_message(kind, payload, now)
            case BatchPublished(key=key):
                outbox.uplink.note_puback(key, now.mono_us)
            case PublishFailed(key=key):
                outbox.uplink.note_failure(key, now.mono_us)
            case BatchStored(key=key):
                return outbox.note_stored(key)
            case StoreFailed(key=key, reason=reason, detail=detail):
                return outbox.keeper.note_failed(key, reason, detail, now.mono_us)
            case BatchRead(key=key, payload=payload):
                outbox.note_read(key, payload)
            case BatchDamaged(key=key, detail=detail):
                return outbox.note_damaged(key, detail)
            case ChainStarted(record=record):
                outbox.note_chain(record, now)
            case (
                McuChanged()
                | McuReceived()
                | JournalWritten()
                | JournalFailed()
                | CodeTyped()
                | OrderHandedOver()
            ):
                return self._react_to_orders(event, now)
            case BusHeard() | CarAnswered() | InstallTick():
                return self._react_to_installation(event, now)
            case _:
                assert_never(event)
        return []

    def _react_to_installation(
        self, event: BusHeard | CarAnswered | InstallTick, now: Instant
    ) -> list[Effect]:
        desk, at = self.installation, self._outbox.clock.at(now)
        if desk is None:
            return []
        match event:
            case BusHeard():
                return desk.hear_bus(event, at)
            case CarAnswered():
                return desk.hear_car(event, at)
            case InstallTick():
                if self._desk is not None and self._desk.facts.has_fix(now.mono_us):
                    desk.note_fix()
                return desk.advance(at)
            case _:
                assert_never(event)

    def _react_to_orders(  # noqa: PLR0911 - one a kind
        self,
        event: McuChanged | McuReceived | JournalWritten | JournalFailed | CodeTyped | OrderHandedOver,
        now: Instant,
    ) -> list[Effect]:
        desk, at_car = self._desk, self._at_car
        assert desk is not None, "only a box with a microcontroller hears one"
        assert at_car is not None, "and it has a door"
        match event:
            case McuChanged(is_up=is_up, detail=detail):
                fields: dict[str, int | float | str | bool | None] = {"is_up": is_up, "detail": detail}
                self._outbox.builder.add_event(Fact(t_us=now.mono_us, name="mcu_changed", fields=fields))
                if self.installation is not None:
                    self.installation.note_line(is_up=is_up)
                return desk.note_mcu(is_up=is_up) + at_car.note_line(is_up=is_up)
            case McuReceived(kind=kind, body=body):
                try:
                    heard = desk.take_mcu(kind, body, now) + self._fit(kind, body, now)
                    return heard + at_car.hear(kind, body)
                except ProtocolError as error:
                    self._counts["mcu_messages_rejected"] += 1
                    said: dict[str, int | float | str | None] = {"kind": kind, "code": error.code.value}
                    return [Report(level=ReportLevel.WARNING, phrase="microcontroller not read", fields=said)]
            case JournalWritten(number=number):
                return desk.note_written(number)
            case JournalFailed(number=number, detail=detail):
                return desk.note_failed(number, detail, now)
            case CodeTyped(number=number, digits=digits):
                return at_car.take_code(number, digits, self._outbox.clock.at(now))
            case OrderHandedOver(number=number, message=message, authority=authority):
                return at_car.take_order(number, message, authority, self._outbox.clock.at(now))
            case _:
                assert_never(event)

    def _fit(self, kind: int, body: bytes, now: Instant) -> list[Effect]:
        """Show the installation what the microcontroller said."""
        installation, desk, at = self.installation, self._desk, self._outbox.clock.at(now)
        if installation is None or desk is None:
            return []
        if kind == LinkKind.STATUS:
            return [] if desk.status is None else installation.note_status(desk.status, at)
        return installation.take_mcu(kind, body, at)

    # --- boots and ticks ---

    def _remember_boots(self, image: SpoolImage, now: Instant) -> None:
        """Open this boot's story: what earlier boots left unsaid, and how the spool was found."""
        for mark in image.boots:
            if not mark.is_clean and mark.boot != self._config.boot:
                is_same_host = mark.host_boot is not None and mark.host_boot == self._config.host_boot
                self._outbox.keeper.book.add_gap(
                    Gap(
                        boot=mark.boot,
                        start_us=mark.covered_us,
                        end_us=max(mark.covered_us, mark.tick_us),
                        cause=GapCause.FAULT if is_same_host else GapCause.POWER,
                    )
                )
        fields: dict[str, int | float | str | bool | None] = {
            f"note_{number}": note for number, note in enumerate(image.notes[:8], 1)
        }
        self._outbox.builder.add_event(Fact(t_us=now.mono_us, name="agent_started", fields=fields))

    def _mark(self, now: Instant, *, is_clean: bool) -> BootMark:
        return BootMark(
            boot=self._config.boot,
            host_boot=self._config.host_boot,
            tick_us=now.mono_us,
            covered_us=0,  # the spool knows: it moves with each stored batch
            is_clean=is_clean,
        )

    def _tick_mark(self, now: Instant) -> list[Effect]:
        if self._is_stopped:  # the clean mark is the last one: whoever waits for receipts now opens no gap
            return []
        if self._ticked_us is not None and now.mono_us - self._ticked_us < self._config.tick_us:
            return []
        self._ticked_us = now.mono_us
        return [PersistTick(mark=self._mark(now, is_clean=False))]

    def _stop(self, now: Instant) -> None:
        self._is_stopping = True
        self._intake.gnss.finish(now)
        self._outbox.seal_last(now)

    def _add_bus_fact(self, event: BusChanged, now: Instant) -> None:
        self._outbox.builder.add_event(
            Fact(
                t_us=now.mono_us,
                name="bus_changed",
                fields={"bus": event.bus, "is_up": event.is_up, "detail": event.detail},
            )
        )

    # --- uplink ---

    def _lacks_time(self, now: Instant) -> bool:
        return bool(self._backend_keys) and self._outbox.clock.at(now).clock == ClockClass.NONE

    def _wants_time(self, now: Instant) -> bool:
        """Nobody vouches for the clock: a battery clock dates batches, but not certificates."""
        is_vouched = self._outbox.clock.at(now).clock >= ClockClass.NETWORK
        return self._config.asks_time and bool(self._backend_keys) and not is_vouched

    def _connect(self, now: Instant) -> list[Effect]:
        self._is_connected = True
        if self.installation is not None:
            self.installation.note_uplink(is_connected=True)
        if self._desk is not None:
            self._desk.connect()
        lacks_time = self._lacks_time(now)
        self._outbox.connect(now, waits_for_time=lacks_time)
        return self._ask_time(now) if self._wants_time(now) else []

    def _on_tick(self, now: Instant) -> list[Effect]:
        effects = [] if self._desk is None else self._desk.tick(self._outbox.clock.at(now))
        return effects + (self._ask_time(now) if self._is_connected and self._wants_time(now) else [])

    def _ask_time(self, now: Instant) -> list[Effect]:
        question = self._time.ask(now.mono_us)
        return [] if question is None else [question]

    def _take_message(self, kind: Down, payload: bytes, now: Instant) -> list[Effect]:
        try:
            if kind is Down.RECEIPT:
                return self._take_receipt(open_receipt(payload, self._backend_keys.get), now)
            if kind is Down.TIME:
                return self._take_time(payload, now)
            if self.installation is not None and kind is Down.INSTALL:
                return self.installation.take(payload, self._outbox.clock.at(now))
            if self._desk is not None and kind in DOWN_KINDS:
                return self._desk.take(kind, payload, self._outbox.clock.at(now))
        except ProtocolError as error:
            self._counts[f"{kind.value}s_rejected"] += 1
            fields = {"kind": kind.value, "code": error.code.value}
            return [Report(level=ReportLevel.WARNING, phrase="message rejected", fields=fields)]
        self._counts["messages_of_unknown_kind"] += 1
        return []

    def _take_receipt(self, receipt: Receipt, now: Instant) -> list[Effect]:
        if self._desk is not None and receipt.stream == Stream.DISPOSITION:
            return self._desk.take_receipt(receipt)
        return self._outbox.take_receipt(receipt, now)

    def _take_time(self, payload: bytes, now: Instant) -> list[Effect]:
        handed_on = None if self._desk is None else self._desk.take_time(payload)
        if handed_on is not None:
            return handed_on
        told = self._time.answer(payload, self._backend_keys.get, now.mono_us)
        if told is None or told.utc_us is None or told.error_us is None:
            self._counts["times_unasked"] += 1
            return []
        clock = self._outbox.clock
        clock.learn_network(mono_us=now.mono_us, utc_us=told.utc_us, error_us=told.error_us)
        if self._outbox.is_greeting_due:
            self._outbox.greet(now)
        return [SetClock(mono_us=now.mono_us, utc_us=told.utc_us, error_us=told.error_us)]


def _is_content(event: EngineEvent) -> bool:
    """Whether an event would add to a batch: after Stop nothing does."""
    return isinstance(
        event,
        FramesReceived | GnssReceived | DropsReported | BusChanged | FactObserved | HealthReported | Urgent,
    )
