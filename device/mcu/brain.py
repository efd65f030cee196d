"""The microcontroller's brain: inputs, link messages and timers in, coil, warnings and dispositions out.

Rules (README §1, §2; command-authority §4.6 to §4.10):
- Every change of an order's state goes through `orders_vocabulary.TRANSITIONS`, by `move`.
- What restricts is written and read back before it acts; what releases acts first and is written after. A
  disposition leaves only after the record that holds it is written.
- Every doubt releases. A fault (storage, relay, watchdog) is latched: MONITOR until service.
- The end of a lock and an emergency start stand in both slots: no spoilt sector brings the lock back.
- While a signature is checked or made, the watchdog is fed and the coil is judged as in any step.

`step()` is called about every 50 ms; `receive` and `outgoing` are the doors to the link, without frames.
Bodies the brain writes itself: LINK_CODE {1: word, 2: SHA-256 of the message, 3: detail}, EVENT {1: word, 2:
tick, 3: number or null}, STATUS as `brain_status` says.

What orders do is `brain_orders`, what time does is `brain_timers`. It has no annotations, see `strict_cbor`.

Example:
    brain = Brain(board, SigningKey(scalar, board.random), floors, p256.verify, {"firmware": measurement})
    while True:
        for kind, body in link.frames(board.link_read()):
            brain.receive(kind, body)
        brain.step()
        for kind, body in brain.outgoing():
            board.link_write(link.frame(kind, body))
"""

import hashlib

from device.mcu import brain_orders, brain_status, brain_timers, intake, provisioning, replies
from device.mcu.authority import Authority
from device.mcu.clock import Clock, ticks_after
from device.mcu.fitting import Fitting, Lamp
from device.mcu.guard import Guard, Relay
from device.mcu.interlock_holds import Holds
from device.mcu.interlock_watch import Watch
from device.mcu.lease import Lease
from device.mcu.override import Hand, Override
from device.mcu.record import Record
from device.mcu.store import EMPTY, LOST, Store
from device.mcu.warning import Warnings
from protocol import mcu_link, strict_cbor
from protocol.orders_reader import Device
from protocol.orders_vocabulary import (
    CODES,
    COMMISSIONING,
    FAULT,
    FINAL,
    LOCK,
    LOCKED,
    MONITOR,
    OVERRIDDEN,
    RENEW,
    WARN,
    next_state,
)

# Kinds of the link.
HELLO, ORDER, GO, AUTHORITY, CHALLENGE_QUESTION, FACTS, TIME = range(1, 8)
DISPOSITION_ACK, DISPOSITION_GET, PROVISION, OVERRIDE_CODE = range(8, 12)
PART_QUESTION, INDICATE, PART = mcu_link.PART_QUESTION, mcu_link.INDICATE, mcu_link.PART
STATUS, DISPOSITION, CHALLENGE, GO_REQUEST, LINK_CODE, EVENT = range(0x81, 0x87)

OUTGOING_MAX = 32  # messages to the agent; older ones go, dispositions are asked for again

_RELEASED = (
    "released"  # blob: cmd_hashes of the last locks that ended; an older image of the slots cannot lock
)
_RELEASED_MAX = 8  # a lock lasts 7 d at most, and a car seldom gets so many orders in them
_WINDOWS = "windows"  # blob: cmd_hash of a lock and how many emergency windows its episode has had, one byte
_WINDOW_BYTES = 33


class Brain:
    """See the module.

    Attributes: tick (s, the device's own count), record, wait (code for which an accepted order waits),
    counters (text to count), is_coil_on.
    """

    def __init__(self, board, key, floors, verify, profile):
        """Start after a reset.

        Args:
            board: see tests/builders/mcu.py or `board_rp2`.
            key: D1, see `sign.SigningKey`.
            floors: `floors` or `floors_demo`.
            verify: as `p256.verify`.
            profile: dict; "firmware" is the image's measurement, 32 bytes.
        """
        board.set_coil(False)
        self.board, self.key, self.floors, self.verify = board, key, floors, verify
        self.firmware = profile.get("firmware", bytes(32))
        self.counters, self._out = {}, []
        self.is_coil_on = False
        self._holds_start = False  # a LOCKED that is written: only then may the coil act
        self.ignition = self.crank = self.engine = self.supply_mv = self.sensed = None
        self.button = self.accel = None
        self.lamp, self.lamp_shows = Lamp(), (False, False)
        self.is_pressed = self.is_warning = self.is_linux_on = self.asks_back = False
        self.armed_tick = self.armed_again_tick = None
        self.wait, self.readings = "OK", []
        self.bench_until = None
        self.asks = {LOCK: None, RENEW: None}  # go questions of this parking, in memory only
        self.facts, self.facts_tick, self.heard_tick = None, None, None
        self.intake = intake.Intake()
        self._ms = board.ticks_ms()
        self._judged_ms = None
        self.is_dirty = self._is_for_both = False
        self.saved_tick = 0
        self.awake_until = 0
        self.status_tick = self.resent_tick = None
        self.store = Store(board)
        self._boot()

    # --- Boot -----------------------------------------------------------------------------------------------

    def _boot(self):
        found, body = self.store.load()
        record = None if body is None else Record.load(body)
        is_lost = found == LOST or (body is not None and record is None)
        self.device = Device(self.key.kid, self.key.xy)
        rtc_s = self.board.rtc_s()
        try:
            off_s = self._go_on(record or Record(), rtc_s)
        except (ValueError, TypeError, IndexError, KeyError):  # kept by a firmware that kept it otherwise
            is_lost = True
            off_s = self._go_on(Record(), rtc_s)
        if hasattr(self.key, "feed"):
            self.key.feed = self.feed
        if is_lost:
            self._lose_state()
        elif found != EMPTY:
            self._resume(off_s)

    def _go_on(self, record, rtc_s):
        """Build everything from a record; return the off-time in s, None when nobody measured it."""
        self.record = record
        self._first_tick, off_s = ticks_after(record, rtc_s)
        self.tick = self._first_tick
        self.clock = Clock(record.clock)
        self.clock.slept(record.tick, off_s, self.tick)
        self.replies = replies.Replies(self.board, self.key, record)
        self.authority = Authority(self.board, record, self.verify, self.feed)
        self.watch, self.guard, self.relay = Watch(self.floors), Guard(self.floors), Relay(self.floors)
        self.hand = Hand(self.floors)
        self.fitting = Fitting(record.fitting)
        self.holds = Holds(self.floors, record.holds)
        self.warnings = Warnings(self.floors, record.warnings)
        self.lease = None if record.lease is None else Lease(self.floors, 0, None, record.lease)
        key = provisioning.override_key(record)
        self.override = None if key is None else Override(self.floors, key, record.override)
        return off_s

    def _lose_state(self):
        """Nothing whole is left: unlocked, a new epoch, MONITOR until service (README §2, S-NVM)."""
        self.record.epoch = self.board.random(16)
        self.record.mode, self.record.latched = MONITOR, "STORAGE"
        self._answer(replies.NO_ORDER, replies.NO_HASH, brain_orders.STATE_LOST, "MONITOR_ONLY")
        self.event("STORAGE", None)
        self.commit()

    def _resume(self, off_s):
        record = self.record
        cause = self.board.reset_cause()
        if record.challenge is not None and record.challenge[2] != self.firmware:
            record.challenge = None
        if off_s is None:
            record.challenge = None
            if self.lease is not None:
                self.lease.charge_unknown_off_time()
            brain_timers.end_lives(self)
        lock = record.open[LOCK]
        if lock is not None and self._is_older(lock):
            self.fault_orders("OK")
        brain_timers.fall_back(self, LOCK, "OK")
        if cause == "watchdog":
            spared = [at for at in record.resets if 0 <= self.tick - at < self.floors.WATCHDOG_SPAN_S]
            spared.append(self.tick)
            record.resets = spared
            if len(record.resets) >= self.floors.WATCHDOG_RESETS_MAX:
                self.latch("WATCHDOG")
        self.event("BOOT", {"power": 0, "watchdog": 1}.get(cause, 2))
        self.commit()

    def _is_older(self, lock):
        """Return whether a record with this lock is from before what this device has done."""
        if lock.cmd_hash in self._ended():
            return True
        windows = self._windows(lock.cmd_hash)
        if lock.state not in (LOCKED, OVERRIDDEN):
            return windows > 0  # it locked since, and was started in an emergency
        if self.lease is None or self.override is None or self.lease.since > self.tick:
            return True
        return windows > self.override.used

    # --- Doors ----------------------------------------------------------------------------------------------

    def receive(self, kind, body):
        """Take a message of the link; it is worked at in a later step."""
        self.heard_tick = self.tick
        release = (kind == ORDER and intake.is_release(body)) or (
            kind == AUTHORITY and brain_orders.is_release_document(self, body)
        )
        if kind == FACTS:
            brain_orders.take_facts(self, body)
        elif not self.intake.put(kind, body, release):
            self.link_code("BUSY", body, "queue")

    def outgoing(self):
        """Return (kind, body) of all that is to be sent, and forget it."""
        out, self._out = self._out, []
        return out

    def step(self):
        """Do one round; see the module."""
        self.board.feed()
        self.look()
        self.intake.refill(self.tick)
        brain_timers.run(self)
        message = self.intake.take()
        if message is not None:
            brain_orders.take(self, *message)
        if self.is_dirty or brain_timers.must_save(self):
            self.commit()
        brain_status.say(self)

    def feed(self):
        """Feed the watchdog while work goes on, and look at the wires as a step does."""
        self.board.feed()
        now_ms = self.board.ticks_ms()
        if self._judged_ms is None or now_ms - self._judged_ms >= 50:
            self.look()

    def look(self):
        """Read every input, let the trackers see it, and judge the coil."""
        board = self.board
        now_ms = board.ticks_ms()
        self._judged_ms = now_ms
        self.tick = self._first_tick + (now_ms - self._ms) // 1000
        self.ignition, self.crank, self.engine = board.ignition(), board.crank(), board.engine_running()
        self.supply_mv, self.sensed = board.supply_mv(), board.relay_sensed()
        self.button, self.accel = board.button(), board.accel()
        if self.hand.feed(self.tick, self.button, self.ignition):
            self.is_pressed = True  # until the timers come to it
        if self.fitting.asks_back(now_ms, self.button, self.ignition, self.floors.SERVICE_S):
            self.asks_back = True
        age_s = None if self.facts_tick is None else self.tick - self.facts_tick
        self.watch.feed(
            self.tick, self.ignition, self.crank, self.engine, self.accel, self.supply_mv, self.sensed,
            self.facts, age_s,
        )  # fmt: skip
        lock = self.record.open[LOCK]
        state = lock.state if lock is not None and self._holds_start else 0
        wants = self.guard.coil(
            state, self.tick, self.ignition, self.crank, self.engine, self.watch.moving,
            self.watch.cycle.ended, provisioning.start_type(self.record), self.supply_mv,
        )  # fmt: skip
        is_bench = brain_timers.is_bench(self)
        if self.record.mode == COMMISSIONING:
            wires = (self.ignition, self.crank, self.engine, self.button)
            if not self.fitting.look(now_ms, wires, is_bench and self.is_coil_on, self.sensed):
                self.bench_until, is_bench = self.tick, False
                self.event("BENCH_ENGINE_STOPPED", None)
        self._set_coil(wants or is_bench)

    def _set_coil(self, on):
        if on != self.is_coil_on:
            self.is_coil_on = on
            self.board.set_coil(on)

    def let_go(self):
        """Drop the coil, and let it act no more for the lock that stands."""
        self._holds_start = False
        self._set_coil(on=False)

    def new_lease(self, hold_s):
        """Return a lease that begins now."""
        return Lease(self.floors, self.tick, hold_s)

    # --- Changes --------------------------------------------------------------------------------------------

    def move(self, order_type, event, code="OK"):
        """Let an event happen to the open order of a type; return whether the table has it.

        A release acts here, before anything is written.
        """
        order = self.record.open[order_type]
        state = None if order is None else next_state(order_type, order.state, event)
        if state is None:
            return False
        was = order.state
        if was == LOCKED and state != LOCKED:
            self.let_go()
            self._is_for_both = True
        if order_type == LOCK and state in FINAL:
            self._end_for_good(order.cmd_hash)  # from any state: an older image may hold it LOCKED
            self._is_for_both = self._is_for_both or was in (LOCKED, OVERRIDDEN)
        if order_type == LOCK and self.override is not None:
            brain_timers.judge(self, order, brain_timers.token(self))  # what each source says at this moment
        order.state = state
        if state in FINAL:
            self.record.open[order_type] = None
        if order_type in self.asks and state != was:
            self.asks[order_type] = None
        if order_type in (LOCK, WARN):
            self.record.last_state = state
        self._answer(order.cmd_id, order.cmd_hash, state, code, has_readings=order_type == LOCK)
        if order_type == LOCK and state in FINAL:
            self.lease = None
        return True

    def fault_orders(self, code):
        """End every open order by FAULT."""
        for order_type in (LOCK, RENEW, WARN):
            self.move(order_type, FAULT, code)

    def latch(self, word):
        """Leave service: everything is released, and MONITOR until a technician comes (§4.7)."""
        self.let_go()
        self.bench_until = None
        if self.record.latched is None:
            self.record.latched = word
            self.record.mode = MONITOR
            self.event(word, None)
        self.fault_orders("MONITOR_ONLY")
        self.is_dirty = True

    def answer_order(self, answer, state, code):
        """Sign an answer to an order that does not stay open."""
        self._answer(answer.order[2], answer.cmd_hash, state, code)

    def answer_again(self, order, code):
        """Sign where an open order stands, its state being the same."""
        self._answer(order.cmd_id, order.cmd_hash, order.state, code)

    def _answer(self, cmd_id, cmd_hash, state, code, *, has_readings=False):
        self.replies.add(
            brain_status.disposition(self, cmd_id, cmd_hash, state, CODES.index(code), has_readings)
        )
        self.is_dirty = True

    def commit(self):
        """Write the record; then send what it holds, and let a lock act. A write that fails releases."""
        record = self.record
        record.tick, record.rtc = self.tick, self.board.rtc_s()
        record.clock = self._clock_now()
        record.lease = None if self.lease is None else self.lease.dump()
        record.override = None if self.override is None else self.override.dump()
        record.warnings, record.holds = self.warnings.dump(), self.holds.dump()
        record.fitting, self.fitting.is_new = self.fitting.dump(), False
        self.is_dirty = False
        body = record.dump()
        if not self.store.save(body) and not self.store.save(body):
            self._storage_failed()
            return False
        if self._is_for_both:
            self._is_for_both = False
            self.store.save(body)
        self.saved_tick = self.tick
        lock = record.open[LOCK]
        self._holds_start = lock is not None and lock.state == LOCKED
        for message in self.replies.written():
            self.send(DISPOSITION, message)
        return True

    def _clock_now(self):
        low, high = self.clock.interval(self.tick)
        return None if low is None else [low, high, self.tick, self.clock.sources]

    def _storage_failed(self):
        """Release and leave service; what was not written leaves only when a later write holds it."""
        self.let_go()
        self.count("storage_failed")
        self.latch("STORAGE")
        self.is_dirty = False
        self.saved_tick = self.tick  # the next try is a timer's: a worn flash is not hammered

    def _end_for_good(self, cmd_hash):
        ended = self._ended()
        if cmd_hash not in ended:
            ended.append(cmd_hash)
            self.board.blob_write(_RELEASED, b"".join(ended[-_RELEASED_MAX:]))

    def note_window(self, cmd_hash):
        """Keep beside the slots that a window began: an image from before it may not take it back."""
        kept = [entry for entry in self._entries(_WINDOWS, _WINDOW_BYTES) if entry[:32] != cmd_hash]
        kept.append(cmd_hash + bytes([min(self.override.used, 255)]))
        self.board.blob_write(_WINDOWS, b"".join(kept[-_RELEASED_MAX:]))

    def _windows(self, cmd_hash):
        """Return how many windows the episode of a lock has had, as far as is kept."""
        return max(
            [0] + [entry[32] for entry in self._entries(_WINDOWS, _WINDOW_BYTES) if entry[:32] == cmd_hash]
        )

    def _entries(self, name, size):
        data = self.board.blob_read(name) or b""
        return [data[at : at + size] for at in range(0, len(data) - size + 1, size)]

    def _ended(self):
        return self._entries(_RELEASED, 32)

    # --- Words to the agent ---------------------------------------------------------------------------------

    def send(self, kind, body):
        """Queue a message for the agent."""
        if len(self._out) >= OUTGOING_MAX:
            self._out.pop(0)
            self.count("outgoing_dropped")
        self._out.append((kind, body))

    def link_code(self, word, body, detail=""):
        """Say unsigned why a message got no signed answer."""
        self.count("link_" + word.lower())
        self.send(LINK_CODE, strict_cbor.dumps({1: word, 2: hashlib.sha256(body).digest(), 3: detail}))

    def event(self, word, value):
        """Say that something happened; for alarms and displays, evidence is the disposition."""
        self.send(EVENT, strict_cbor.dumps({1: word, 2: self.tick, 3: value}))

    def count(self, name):
        """Count something that is only counted."""
        self.counters[name] = min(self.counters.get(name, 0) + 1, 0xFFFFFFFF)
