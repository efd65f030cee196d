"""What time and the car do to open orders: one pass of all timers, once a step, releases first.

Rules (command-authority §4.6 to §4.10): in this order: crash, engine and relay; lease and contact; emergency
start; lives of orders; warnings; arming, go questions and the lock itself. Whatever restricts is only `move`d
here: the coil acts after the record is written.

ARMED lasts at most `ARMED_S_MAX`; it ends at once when the car is used, and a parking that got no token is
asked again only after a pause, since each attempt is two dispositions. The question of a go token lives in
memory only.

It has no annotations, see `strict_cbor`.

Example:
    >>> CHALLENGE_LIFE_S, SAVE_S
    (86400, 60)
"""

from device.mcu import fitting, interlock, replies
from protocol.orders_forms import OVERRIDE_S_MIN
from protocol.orders_vocabulary import (
    ACCEPTED_PENDING,
    ARMED,
    COMMISSIONING,
    CONTACT_LOST,
    CRASH,
    EMERGENCY,
    FAULT,
    FELL_BACK,
    GO,
    LEASE_ENDED,
    LIFE_ENDED,
    LOCK,
    LOCKED,
    MONITOR,
    NO_GO,
    OVERRIDDEN,
    PARKED_WARNED,
    PLAYED,
    RENEW,
    RENEWED,
    WARN,
    WARN_BEGINS,
    WARNING,
    WINDOW_ENDED_GO,
)

CHALLENGE_LIFE_S = 86_400  # README §1.5: no order may name an older one
FITTING_LIFE_S = (
    30  # while COMMISSIONING: a BENCH has 120 s from the challenge on, and an old one leaves none
)
SAVE_S = 60  # ticks are written so often while something counts on them …
SAVE_IDLE_S = 900  # … and so often otherwise, which spares the flash
ASK_AGAIN_S = 30  # a go question that nobody answered is sent again
WAKE_EVERY_S, WAKE_S = 21_600, 300  # a parked box is up so long at least every 6 h, and after each use
ASKED_AWAKE_S = (
    1_800  # after a challenge was made, once each: two people sign 10 min apart, and the gate asks
)
LINUX_MV_MIN = 11_800  # below it only an ignition-on wakes Linux, so that the car still starts (README §1.18)
CRASH_NOTE_S = 60  # a crash that goes on is written so often
_GO_REQUEST = 0x84

# Interlock codes that mean the car is in use: this parking is over (README §1.3).
_IN_USE = ("ENGINE_RUNNING", "IGN_ON", "IN_MOTION", "MOTION_DISAGREE", "SOURCES_INSUFFICIENT", "MONITOR_ONLY")
_BEFORE_LOCKED = (ACCEPTED_PENDING, WARNING, ARMED)


class Ask:
    """A question for a go token. Attributes: chal2, tick, message, sent_tick, go (the token or None)."""

    def __init__(self, brain, order):
        self.chal2, self.tick = brain.board.random(16), brain.tick
        fields = {1: 1, 2: brain.key.kid, 3: order.cmd_hash, 4: self.chal2, 5: brain.tick}
        self.message = replies.sign1("go-request", fields, brain.key)
        self.sent_tick = self.go = None

    def say(self, brain):
        """Send it, again while nobody answers."""
        if self.go is None and (self.sent_tick is None or brain.tick - self.sent_tick >= ASK_AGAIN_S):
            self.sent_tick = brain.tick
            brain.send(_GO_REQUEST, self.message)

    def token(self, tick):
        """Return what the interlock wants of the token, or None."""
        return None if self.go is None else interlock.Go(tick - self.tick, self.go[7])


def run(brain):
    """Let one step of time happen to whatever is open."""
    _car(brain)
    _lease(brain)
    _emergency(brain)
    _lives(brain)
    _warn(brain)
    _renew(brain)
    _lock(brain)
    _bench(brain)
    _fit(brain)
    _wake(brain)


def must_save(brain):
    """Return whether the ticks have not been written for too long."""
    if brain.record.provision is None:
        return False
    record = brain.record
    counts = record.challenge is not None or any(order is not None for order in record.open.values())
    return brain.tick - brain.saved_tick >= (SAVE_S if counts else SAVE_IDLE_S)


# --- Releases -----------------------------------------------------------------------------------------------


def _car(brain):
    record = brain.record
    if brain.watch.crash:
        left_s = brain.holds.crash_left_s(brain.tick)
        if brain.floors.CRASH_HOLD_S - left_s >= CRASH_NOTE_S or left_s == 0:
            brain.let_go()
            brain.holds.crashed(brain.tick)
            brain.commit()  # before anything is signed: the battery may be torn off in this second
            brain.event("CRASH", None)
        brain.move(LOCK, CRASH, "CRASH_HOLD")
    lock = record.open[LOCK]
    if lock is not None and lock.state == LOCKED and brain.engine is True:
        brain.move(LOCK, FAULT, "ENGINE_RUNNING")
    if brain.relay.is_faulty(brain.tick, brain.is_coil_on, brain.sensed) and record.latched is None:
        brain.latch("RELAY")


def _lease(brain):
    lease = brain.lease
    if lease is None:
        return
    if lease.is_over(brain.tick):
        brain.move(LOCK, LEASE_ENDED)
    elif lease.is_contact_lost(brain.tick):
        brain.event("CONTACT_LOST", brain.supply_mv)
        brain.move(LOCK, CONTACT_LOST)


def contact(brain):
    """Note that somebody authentic was heard just now."""
    if brain.lease is not None:
        brain.lease.contact(brain.tick)


def _emergency(brain):
    is_pressed, brain.is_pressed = brain.is_pressed, False
    lock = brain.record.open[LOCK]
    if not is_pressed or lock is None or lock.state not in (LOCKED, OVERRIDDEN):
        return
    if brain.override.by_hand(brain.tick):
        open_window(brain)
        brain.commit()


def open_window(brain):
    """Let an emergency window begin that `override` has opened."""
    brain.lease.window_opened(brain.tick, brain.override.left_s(brain.tick))
    brain.note_window(brain.record.open[LOCK].cmd_hash)
    brain.asks[LOCK] = None
    if not brain.move(LOCK, EMERGENCY, "OVERRIDE_ACTIVE"):
        brain.answer_again(brain.record.open[LOCK], "OVERRIDE_ACTIVE")  # another window of the same lease
    brain.is_dirty = True


def end_lives(brain):
    """End every order that has not locked yet: nobody knows how long the device was off."""
    for order_type in (LOCK, RENEW, WARN):
        order = brain.record.open[order_type]
        if order is not None and order.state in _BEFORE_LOCKED:
            brain.move(order_type, LIFE_ENDED, "EXPIRED")


def drop_revoked(brain):
    """End orders whose signers were revoked since, unless they have locked (K-05: the lease runs on)."""
    for order_type in (LOCK, RENEW, WARN):
        order = brain.record.open[order_type]
        if order is None or order.state not in _BEFORE_LOCKED or not brain.authority.is_revoked(order.people):
            continue
        if not brain.move(order_type, NO_GO, "KEY_REVOKED"):
            brain.move(order_type, LIFE_ENDED, "KEY_REVOKED")


def _lives(brain):
    """End orders at exp or tick_exp; the clock can only shorten a life."""
    _, latest = brain.clock.interval(brain.tick)
    for order_type in (LOCK, RENEW, WARN):
        order = brain.record.open[order_type]
        if order is None or order.state not in _BEFORE_LOCKED:
            continue
        if brain.tick > order.order[14] or (latest is not None and latest >= order.order[12]):
            brain.move(order_type, LIFE_ENDED, "EXPIRED")


def fall_back(brain, order_type, code):
    """Leave ARMED; without a question there is nothing to wait for."""
    if brain.move(order_type, FELL_BACK, code):
        brain.armed_again_tick = brain.tick


# --- Warnings -----------------------------------------------------------------------------------------------


def _warn(brain):
    record = brain.record
    warn, lock = record.open[WARN], record.open[LOCK]
    is_lock_warning = (
        lock is not None and lock.state in (ACCEPTED_PENDING, WARNING) and not is_warned(brain, lock)
    )
    heard = brain.board.warn_heard()
    sounds = brain.warnings.feed(
        brain.tick, brain.ignition, brain.watch.local_minute, heard, warn is not None or is_lock_warning
    )
    if sounds != brain.is_warning:
        brain.is_warning = sounds
        if sounds:
            brain.commit()  # a play counts for the day even if the power goes now
            if is_lock_warning and not lock.is_warned:
                lock.is_warned = True
                brain.move(LOCK, WARN_BEGINS)
        brain.board.set_warn(sounds)
    if not brain.warnings.was_heard():
        return
    episode = brain.warnings.dump()[0]
    if record.warned_since is None or record.warned_since[0] != episode:
        record.warned_since = [episode, brain.tick]
    brain.move(WARN, PLAYED)
    brain.is_dirty = True


def heard_cycles(brain, order):
    """Return on how many ignition cycles of an order's episode the warning was heard."""
    return brain.warnings.heard_cycles if brain.warnings.dump()[0] == order.order[24] else 0


def is_warned(brain, order):
    """Return whether it was warned as often and as long ago as floors and order ask."""
    since = brain.record.warned_since
    if (
        heard_cycles(brain, order) < brain.floors.WARN_CYCLES_MIN
        or since is None
        or since[0] != order.order[24]
    ):
        return False
    return brain.tick - since[1] >= max(order.order[20][1], brain.floors.WARN_LEAD_S_MIN)


# --- Arming, go tokens, the lock ----------------------------------------------------------------------------


def token(brain):
    """Return the go token of this parking as the interlock wants it, or None."""
    ask = brain.asks[LOCK]
    return None if ask is None else ask.token(brain.tick)


def judge(brain, order, go):
    """Return the interlock's code for a LOCK now, and keep what each source said."""
    seen = brain.watch.seen(brain.tick)
    seen.mode_active = brain.record.mode == 1 and brain.record.latched is None
    seen.crash_left_s = brain.holds.crash_left_s(brain.tick)
    seen.override_left_s = brain.override.left_s(brain.tick)
    seen.rate_left_s = 0 if order.state == OVERRIDDEN else brain.holds.rate_left_s(brain.tick)
    seen.warned = heard_cycles(brain, order)
    code, brain.readings = interlock.judge(seen, brain.floors, order.order[19], go)
    if code in ("NO_GO", "OK") and order.state != OVERRIDDEN and not is_warned(brain, order):
        code = "NOT_WARNED"
    return code


def _lock(brain):
    lock = brain.record.open[LOCK]
    if lock is None or lock.state == LOCKED:
        if brain.record.open[RENEW] is None:
            brain.wait = "OK"
        return
    ask = brain.asks[LOCK]
    code = brain.wait = judge(brain, lock, token(brain))
    if code == "OK" and brain.intake.holds_release():
        return  # a release that waits for its turn goes ahead of a lock
    if lock.state == OVERRIDDEN:
        _lock_again(brain, lock, ask, code)
    elif lock.state == ARMED:
        _armed(brain, lock, ask, code)
    elif code == "NO_GO" and _may_ask(brain) and brain.move(LOCK, PARKED_WARNED):
        brain.armed_tick = brain.tick
        if brain.commit():
            brain.asks[LOCK] = Ask(brain, lock)
            brain.asks[LOCK].say(brain)


def _armed(brain, lock, ask, code):
    if code == "OK":
        _go_locked(brain, lock)
    elif ask is None or code in _IN_USE or brain.tick - brain.armed_tick >= brain.floors.ARMED_S_MAX:
        fall_back(brain, LOCK, code)
    else:
        ask.say(brain)


def _go_locked(brain, lock):
    order = lock.order
    brain.override.begin(
        order[24], order[23][1], order[23][2], OVERRIDE_S_MIN if not brain.floors.IS_DEMO else 0
    )
    brain.lease = brain.new_lease(order[15])
    brain.holds.locked(brain.tick)
    brain.move(LOCK, GO)
    brain.wait = "OK"


def _lock_again(brain, lock, ask, code):
    """After an emergency window: only through all interlocks and a fresh token (README §1.11)."""
    if code == "OK":
        brain.move(LOCK, WINDOW_ENDED_GO)
        brain.wait = "OK"
    elif ask is not None and (code in _IN_USE or brain.tick - ask.tick >= brain.floors.ARMED_S_MAX):
        brain.asks[LOCK] = None
        brain.armed_again_tick = brain.tick
    elif ask is not None:
        ask.say(brain)
    elif code == "NO_GO" and _may_ask(brain):
        brain.asks[LOCK] = Ask(brain, lock)
        brain.asks[LOCK].say(brain)


def _may_ask(brain):
    """Return whether this parking may be asked for now.

    A pause follows each attempt that failed, and each attempt needs room for its dispositions.
    """
    since = brain.armed_again_tick
    if not brain.replies.has_room():
        return False
    return since is None or not 0 <= brain.tick - since < brain.floors.ARMED_S_MAX // 3


def _renew(brain):
    """A RENEW waits for its own token; it needs a LOCKED to extend and ends with the lock."""
    renew, lock = brain.record.open[RENEW], brain.record.open[LOCK]
    if renew is None:
        return
    if lock is None or lock.state not in (LOCKED, OVERRIDDEN):
        brain.move(RENEW, LIFE_ENDED, "EXPIRED")
        return
    brain.wait = "NO_GO"
    ask = brain.asks[RENEW]
    if ask is None or brain.tick - ask.tick >= brain.floors.GO_AGE_S_MAX:
        brain.asks[RENEW] = ask = Ask(brain, renew)
    if ask.go is None:
        ask.say(brain)
    elif lock.state == LOCKED:
        brain.lease.renew(brain.tick, renew.order[15])
        brain.move(LOCK, RENEWED)
        brain.move(RENEW, GO)
        brain.wait = "OK"


# --- Bench --------------------------------------------------------------------------------------------------


def is_bench(brain):
    """Return whether the installer's test holds the coil: while commissioning, for the ticket's seconds.

    A car that moves ends it; while the engine runs the accelerometer is not asked, an idling one shakes it.
    """
    if brain.bench_until is None or brain.record.mode != COMMISSIONING:
        return False
    if brain.watch.motion.is_driven if brain.engine is True else brain.watch.moving:
        return False
    return brain.tick < brain.bench_until


def _bench(brain):
    if brain.bench_until is not None and not is_bench(brain):
        brain.bench_until = None
        brain.event("BENCH_ENDED", None)
        brain.is_dirty = True  # what was seen in it


def _fit(brain):
    """Serve the fitter: the way back, the lamp, and what a new sight is worth writing."""
    asks_back, brain.asks_back = brain.asks_back, False
    if asks_back and brain.record.mode == MONITOR:
        fitting.go_back(brain)
    brain.is_dirty = brain.is_dirty or (brain.fitting.is_new and brain.record.provision is not None)
    if brain.is_warning:
        brain.lamp.end()
    is_lit = brain.lamp.level(brain.board.ticks_ms())
    # In a car that is bound, only an order of a lender sounds (C-03, S-09): the agent is a courier.
    may_sound = brain.record.mode == COMMISSIONING
    shows = (is_lit, is_lit and brain.lamp.sounds and may_sound)
    if shows != brain.lamp_shows:
        brain.board.set_lamp(is_lit)
        if shows[1] != brain.lamp_shows[1] and not brain.is_warning:
            brain.board.set_warn(shows[1])
        brain.lamp_shows = shows


# --- Linux --------------------------------------------------------------------------------------------------


def _wake(brain):
    """Keep Linux on while somebody may ask: ignition, motion, an order open or a lock, and every 6 h.

    A challenge that was just made means that people are signing: half an hour, counted from its making, so
    that whoever asks again and again cannot keep the battery busy (README §1.18).

    It stays on a while after the last reason, so that what a release or a drive left to say is said.
    """
    is_open = any(order is not None for order in brain.record.open.values())
    is_time = brain.tick % WAKE_EVERY_S < WAKE_S
    challenge = brain.record.challenge
    is_asked = challenge is not None and 0 <= brain.tick - challenge[1] < ASKED_AWAKE_S
    has_supply = brain.supply_mv is not None and brain.supply_mv >= LINUX_MV_MIN
    if brain.ignition is True or is_open or is_asked or is_time or brain.watch.moving is True:
        brain.awake_until = brain.tick + WAKE_S
    wants = brain.ignition is True or (has_supply and brain.tick < brain.awake_until)
    if wants != brain.is_linux_on:
        brain.is_linux_on = wants
        brain.board.wake_linux(wants)
