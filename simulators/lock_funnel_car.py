"""One car of the lock funnel: the firmware's `Brain` with the product's floors, its wires, agent and network.

Rules:
- The brain is the real one, stepped at least every 10 s wherever its trackers count (a parking with an order
  open, an ignition-on, a release) and not in between: whatever it had counted then begins anew, so that the
  simulated car locks at most ten minutes later than a real one, never earlier.
- What the agent says is as `device.orders.facts` says it, from the place where the car stands; Linux is on
  when the brain wakes it, and heard from `BOOT_S` later on, where there is signal.
- Orders, delegations, challenges and tokens go through the brain's doors. The device's key signs in C, as a
  secure element would.

It decides nothing about locks.

Example:
    car = Car(life, number=3, world=world)
    car.begin(at_s)
"""

from __future__ import annotations

import itertools
import random
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from device.mcu import brain as link
from device.mcu import floors
from device.mcu.brain import Brain
from protocol import cose_sign, strict_cbor
from protocol.dispositions import open_disposition
from protocol.orders import OrderSigner, OrderType, Role, State, check_signature, sign_order
from simulators.lock_funnel_board import CHARGING_MV, SUPPLY_MV, WEAK_MV, Board, Key
from simulators.lock_funnel_lives import (
    CLIMATES,
    DAY_S,
    HOUR_S,
    MINUTE_S,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.lock_funnel_lives import Drive, Life
    from simulators.lock_funnel_ports import World

BOOT_S = 35  # from power-on of Linux to a connection
STEP_S = 10  # the longest step over which the trackers count on
WINDOW_S = 720  # stepped after a parking or an order's arrival: rest, arming and a token fit in
WAKE_EVERY_S, WAKE_S = 21_600, 300  # as `brain_timers`: README §1.17
HOURLY_S = 3_605  # the clock wants a signed time each hour
RETRY_S = 15  # the agent presents an order again after BUSY, or once the delegation came
TRIES_MAX = 6
BOARD_VERIFY_S = (
    1.2  # a P-256 verification on the board: it is in every answer, the simulated brain takes none
)
FIX_AGE_S_MAX = 1_800
WEAK_AFTER_S = 2 * DAY_S
DEAD_LINK = 0.01  # of moments at which the network has silently forgotten a connection: keepalive finds it
KEEPALIVE_S = 30  # the agent's own; it takes up to twice that, then connects again
_PLACE_STANDS = ("ZONE_UNKNOWN", "NO_LOCK_ZONE", "NOT_WARNED", "QUIET_HOURS", "SOURCES_INSUFFICIENT")


def _ignore(state: State) -> None:
    """Do nothing about a change."""
    del state


class Car:
    """A car, see the module.

    Attributes:
        state: of its LOCK.
        wait: the brain's word for why an accepted order does not act.
        waits: seconds by such word since the LOCK was accepted, as far as stepped.
        contacts: seconds at which it was heard.
        driven_locked: drives begun while the coil would have had to act, and did not.
    """

    def __init__(self, life: Life, *, number: int, world: World, seed: int = 1) -> None:
        self.life, self.number, self.world = life, number, world
        self.rng = random.Random(f"car {seed} {number}")
        self.key, self.board = Key(f"funnel car {seed} {number}"), Board(number)
        self.brain: Any = None
        self.inbox: list[tuple[int, bytes]] = []
        self.outbox: list[tuple[str, bytes]] = []
        self.place, self.parked_s, self.is_driving = life.home, 0.0, False
        self.next_drive = 0
        self.waits: dict[str, float] = {}
        self.last_contact_s: float | None = None
        self.locked_s: float | None = None
        self.released_s: float | None = None
        self.on_state: Callable[[State], None] = _ignore
        self._state = State.NONE
        self.inhibited = 0
        self._t0 = 0.0
        self._linux_s: float | None = None
        self._dense_until = 0.0
        self._is_dense = self._is_waking = False
        self._status: bytes | None = None
        self._tries: dict[bytes, int] = {}
        self._presented: dict[bytes, bytes] = {}
        self._is_timed = self._is_hourly = False
        self._wants_status = True

    # --- Life -----------------------------------------------------------------------------------------------

    def begin(self, at_s: float) -> None:
        """Fit the box, bind the car, and let it drive from now on."""
        self._t0 = at_s - self.life.phase_s
        self.parked_s = at_s - HOUR_S
        for index, drive in enumerate(self.life.drives):
            if drive.start_s > at_s:
                break
            self.next_drive = index + 1
            self.place, self.parked_s = drive.place, float(drive.end_s)
        if self.next_drive and self.life.drives[self.next_drive - 1].end_s > at_s:
            self.parked_s = at_s - HOUR_S  # fitted while standing
        self.brain = Brain(
            self.board, self.key, floors, check_signature, {"firmware": sha256(b"funnel").digest()}
        )
        self._fit(at_s)
        self._schedule_drive()
        self.world.at(at_s + 600, self.wake)

    def _fit(self, at_s: float) -> None:
        """Provision and bind in the workshop: everything at hand, seconds apart."""
        clock = itertools.count(int(at_s), 40)
        self._give(next(clock), link.PROVISION, self.world.provision(self.life.start_type))
        self._give(next(clock), link.TIME, self.world.signed_time(self._nonce()))
        for body in self.world.birth_documents():
            self._give(next(clock), link.AUTHORITY, body)
        self._give(next(clock), link.CHALLENGE_QUESTION, self._question())
        message = next(body for name, body in reversed(self.outbox) if name == "challenge")
        challenge = strict_cbor.loads(cose_sign.read_sign1(message)[2])
        now_s = int(at_s)
        fields = self.world.binding(self) | {
            1: 1, 2: self.board.random(16), 3: int(OrderType.BIND), 5: self.key.kid, 8: challenge[3], 9: 1,
            10: now_s, 12: now_s + HOUR_S, 13: challenge[4], 14: self.brain.tick + HOUR_S,
            18: self.world.calendar.pack.jur, 25: None,
        }  # fmt: skip
        mcu = OrderSigner(signer=self.key.signer, role=Role.MCU)
        self._give(next(clock), link.ORDER, sign_order(fields, mcu, *self.world.bind_signers()))
        self.outbox.clear()
        self._wants_status = False

    def _give(self, at_s: float, kind: int, body: bytes) -> None:
        self.brain.receive(kind, body)
        self.step(at_s)
        self.step(at_s + 1)

    def _question(self) -> bytes:
        return bytes(strict_cbor.dumps({1: 1, 2: self.key.kid, 3: self.board.random(16)}))

    def _schedule_drive(self) -> None:
        if self.next_drive < len(self.life.drives):
            drive = self.life.drives[self.next_drive]
            self.world.at(drive.start_s - WINDOW_S, lambda: self._look_on(drive))
            self.world.at(drive.start_s, lambda: self._start(drive))

    def _look_on(self, drive: Drive) -> None:
        """Step on before a start, as the real firmware does all day: a locked car knows that it stands."""
        is_waiting = self.state is not State.NONE
        if not self.is_driving and is_waiting and self.world.now_s < drive.start_s:
            self.step(self.world.now_s)
            self.world.at(self.world.now_s + STEP_S, lambda: self._look_on(drive))

    def _start(self, drive: Drive) -> None:
        """Turn the key and crank; drive away if the engine lets."""
        self.next_drive += 1
        now_s = self.world.now_s
        if self._is_idle():
            self.is_driving = True
            self.world.at(max(float(drive.end_s), now_s + 181), lambda: self._park(drive))
            return
        self.board.is_on = True
        self.step(now_s)
        self.board.is_cranking = True
        self._step_each_50_ms(now_s + 0.5)
        if self.board.coil:
            self.inhibited += 1
            self.board.is_cranking = self.board.is_on = False
            self._step_each_50_ms(now_s + 2)
            self._schedule_drive()
            return
        self.board.is_running, self.board.is_cranking, self.is_driving = True, False, True
        self.board.supply = CHARGING_MV
        if self.is_open:
            for ahead in range(2, 17, 2):  # a warning sounds for ten seconds
                self.step(now_s + ahead)
        self.board.acceleration = "moving"
        self.world.at(now_s + 50, self.sync)
        self.world.at(now_s + 180, self.sync)
        self.world.at(max(float(drive.end_s), now_s + 181), lambda: self._park(drive))

    def _is_idle(self) -> bool:
        """Whether nothing waits for this car: what it does then is not looked at."""
        return not (self.is_open or self.inbox or self.outbox)

    def _step_each_50_ms(self, at_s: float) -> None:
        """Step as the firmware does, so that the relay's read-back follows the coil."""
        for ahead in range(4):
            self.step(at_s + ahead / 20)

    def _park(self, drive: Drive) -> None:
        board, is_idle = self.board, self._is_idle()
        if not is_idle:
            self.step(self.world.now_s)
        board.is_on = board.is_running = self.is_driving = False
        board.acceleration, board.supply = "still", SUPPLY_MV
        self.place, self.parked_s = drive.place, self.world.now_s
        self._schedule_drive()
        if is_idle:
            return
        self.step(self.world.now_s + 1)
        self.sync()
        self.watch()
        self._plan_wake()

    # --- Steps ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Of the LOCK that is open."""
        lock = self.brain.record.open[int(OrderType.LOCK)]
        return State.NONE if lock is None else State(lock.state)

    @property
    def is_open(self) -> bool:
        """Whether any order is open."""
        return any(order is not None for order in self.brain.record.open.values())

    def step(self, at_s: float) -> None:
        """One round of the firmware at a time; what it says goes to the agent."""
        board = self.board
        now_ms = max(board.now_ms, int((at_s - self._t0) * 1_000))
        board.now_ms = now_ms
        at_s = self._t0 + now_ms / 1_000
        if self.life.is_weak and not self.is_driving and at_s - self.parked_s > WEAK_AFTER_S:
            board.supply = WEAK_MV
        if board.linux and self._linux_s is not None and at_s >= self._linux_s + BOOT_S:
            self.brain.tick = (
                now_ms // 1_000
            )  # said this second: the count of a brain that is stepped each 50 ms
            self.brain.receive(link.FACTS, strict_cbor.dumps(self._facts(at_s)))
        if not self._wants_status:
            self.brain.status_tick = self.brain.tick = (
                now_ms // 1_000
            )  # for display only, and costs half the time
        self.brain.step()
        self._note_state(at_s)
        if not board.linux:
            self._linux_s = None
        elif self._linux_s is None:
            self._linux_s = at_s
            self.world.at(max(at_s, self.world.now_s) + BOOT_S + 1, self.sync)
        for kind, body in self.brain.outgoing():
            self._take(kind, body)

    def _step_with_status(self) -> None:
        self._wants_status, self.brain.status_tick = True, None
        self.step(self.world.now_s)
        self._wants_status = False

    def _note_state(self, at_s: float) -> None:
        state = self.state
        if state is self._state:
            return
        if state is State.LOCKED:
            self.locked_s = at_s
        elif self._state is State.LOCKED:
            self.released_s = at_s
        self._state = state
        self.on_state(state)

    def _take(self, kind: int, body: bytes) -> None:
        if kind == link.STATUS:
            self._status = body
        elif kind == link.DISPOSITION and self.board.linux:
            found = open_disposition(body, {self.key.kid: self.key.signer.public_key}.get)
            self.brain.receive(link.DISPOSITION_ACK, strict_cbor.dumps({1: found.sequence}))
            if ("disposition", body) not in self.outbox:
                self.outbox.append(("disposition", body))
        elif kind == link.CHALLENGE:
            self.outbox.append(("challenge", body))
        elif kind == link.GO_REQUEST:
            self.outbox = [item for item in self.outbox if item[0] != "go"]
            self.outbox.append(("go", body))
        elif kind == link.LINK_CODE:
            self._link_code(body)
        if self.outbox and self.is_online():
            self._send()

    def _facts(self, at_s: float) -> dict[int, object]:
        """What the agent says, see `device.orders.facts`."""
        life, place, calendar = self.life, self.place, self.world.calendar
        is_foiled = life.foil_s is not None and at_s >= life.foil_s
        parked_s = max(0, int(at_s - self.parked_s))
        is_roofed = place.is_roofed and not self.is_driving
        is_gone = is_foiled or (place.flickers and not self.is_driving and int(at_s) % 1_500 < 20)  # noqa: PLR2004
        speed = 12_000 if self.is_driving else 0
        state = 3 if is_gone else 1 if is_roofed else 0
        fix_age_s = parked_s if is_roofed or is_foiled else 0
        is_clear = 1 if place.is_zone and not self.is_driving else 0
        has_bus = life.has_wheel_speed
        ambient = None
        if life.has_ambient:
            age_s = 0 if self.is_driving else parked_s
            ambient = [round(self.world.weather.air(life.climate, at_s - age_s) * 10) + 10, age_s]
        return {
            1: [speed, 0 if self.is_driving else parked_s] if has_bus else None,
            2: [speed, 0, state],
            3: [is_clear, fix_age_s, 3, 15] if fix_age_s <= FIX_AGE_S_MAX else [2, fix_age_s, 3, None],
            4: ambient,
            5: calendar.minute_of(at_s),
            6: calendar.is_business(calendar.day_of(at_s)),
            7: has_bus and not self.is_driving and parked_s > 30,  # noqa: PLR2004 - as `BUS_SILENT_US`
            8: False if has_bus else None,
            9: False,
            10: self.board.is_on if has_bus else None,
            11: self.board.is_running if has_bus else None,
        }

    def watch(self) -> None:
        """Step densely for a while, if an order waits for a parking."""
        if self.is_driving or self.state not in (State.ACCEPTED_PENDING, State.WARNING, State.ARMED):
            return
        self._dense_until = self.world.now_s + WINDOW_S
        if not self._is_dense:
            self._is_dense = True
            self._dense()

    def _dense(self) -> None:
        now_s, calendar = self.world.now_s, self.world.calendar
        self.step(now_s)
        self.waits[self.brain.wait] = self.waits.get(self.brain.wait, 0) + STEP_S
        is_waiting = self.state in (State.ACCEPTED_PENDING, State.WARNING, State.ARMED)
        if self.is_driving or not is_waiting:
            self._is_dense = False
        elif now_s < self._dense_until or self.state is State.ARMED:
            self.world.at(now_s + STEP_S, self._dense)
        else:
            self._is_dense = False
            again_s = now_s + 1_800
            if calendar.minute_of(now_s) < 470:  # noqa: PLR2004 - ten minutes before the hours begin
                again_s = calendar.midnight_s(calendar.day_of(now_s)) + 470 * MINUTE_S
            if calendar.minute_of(now_s) < 1_080:  # noqa: PLR2004 - the end of the hours
                self.world.at(again_s, self.watch)
            else:
                self.world.at(calendar.midnight_s(calendar.day_of(now_s) + 1) + 470 * MINUTE_S, self.watch)

    # --- Network --------------------------------------------------------------------------------------------

    def has_signal(self, at_s: float) -> bool:
        """Whether the network reaches the box."""
        if self.life.foil_s is not None and at_s >= self.life.foil_s:
            return False
        return self.is_driving or self.place.has_signal

    def is_online(self) -> bool:
        """Whether the agent is connected now."""
        now_s = self.world.now_s
        is_up = self.board.linux and self._linux_s is not None and now_s >= self._linux_s + BOOT_S
        return is_up and self.has_signal(now_s)

    def latency_s(self) -> float:
        """Return how long a message takes one way: a mobile network, and now and then a dead connection."""
        latency_s = self.rng.lognormvariate(-0.5, 0.6)
        if self.rng.random() < DEAD_LINK:
            latency_s += self.rng.uniform(0, 2 * KEEPALIVE_S) + self.rng.uniform(3, 8)
        return latency_s

    def wake(self) -> None:
        """Look at the clock; every six hours that wakes Linux for five minutes."""
        self._is_waking = False
        if self.is_driving:
            return
        self.step(self.world.now_s)
        self.world.at(
            self.world.now_s + WAKE_S + 5, lambda: None if self.is_driving else self.step(self.world.now_s)
        )
        self._plan_wake()

    def _plan_wake(self) -> None:
        """Wake at the next multiple of six hours, if something waits for the car."""
        if self._is_waking or self.is_driving or not (self.inbox or self.outbox):
            return
        self._is_waking = True
        into_s = (self.world.now_s - self._t0) % WAKE_EVERY_S
        self.world.at(self.world.now_s + WAKE_EVERY_S - into_s + 1, self.wake)

    def post(self, kind: int, body: bytes) -> None:
        """Have the backend send a message: now where the car is heard, else when it next is."""
        self.inbox.append((kind, body))
        if not self.is_driving:
            self.step(self.world.now_s)
        if self.is_online():
            self._fetch()
        else:
            self._plan_wake()

    def ask(self) -> None:
        """Have the backend ask for a challenge."""
        if not any(kind == link.CHALLENGE_QUESTION for kind, _ in self.inbox):
            self.post(link.CHALLENGE_QUESTION, self._question())

    def sync(self) -> None:
        """Send and fetch what waits, have the time told, if the car is heard; hourly while one is open."""
        self._step_with_status()
        if self.is_open and not self._is_hourly:
            self._is_hourly = True
            self.world.at(self.world.now_s + HOURLY_S, self._hour)
        if not self.is_online():
            return
        self.last_contact_s = self.world.now_s
        if self._nonce() and not self._is_timed:
            self._is_timed = True
            self.world.at(self.world.now_s + self.latency_s(), self._tell_time)
        self._send()
        self._fetch()

    def _hour(self) -> None:
        self._is_hourly = False
        self.sync()

    def _nonce(self) -> bytes:
        status: dict[int, Any] = {} if self._status is None else strict_cbor.loads(self._status)
        return bytes(status.get(11) or b"")

    def _tell_time(self) -> None:
        """Answer the nonce with a signed time."""
        self._is_timed = False
        self._step_with_status()
        if not self.is_online():
            return
        nonce = self._nonce()
        if nonce:
            self.brain.receive(link.TIME, self.world.signed_time(nonce))
            self.step(self.world.now_s)

    def _send(self) -> None:
        out, self.outbox = self.outbox, []
        self.last_contact_s = self.world.now_s
        for name, body in out:
            self.world.at(self.world.now_s + self.latency_s(), partial(self._sent, name, body))

    def _sent(self, name: str, body: bytes) -> None:
        desk = self.world.desk
        if name == "challenge":
            desk.challenge_came(self, body)
        elif name == "disposition":
            desk.disposition_came(
                self, body, open_disposition(body, {self.key.kid: self.key.signer.public_key}.get)
            )
        else:
            token = desk.go_asked(self, body)
            if token is not None:
                self.world.at(self.world.now_s + self.latency_s() + BOARD_VERIFY_S, lambda: self._go(token))

    def _go(self, token: bytes) -> None:
        if self.is_online():
            self.brain.receive(link.GO, token)
            self.step(self.world.now_s)
            self.step(self.world.now_s + 1)

    def _fetch(self) -> None:
        waiting, self.inbox = self.inbox, []
        for kind, body in waiting:
            extra_s = BOARD_VERIFY_S * (1 if kind == link.ORDER else 0)
            self.world.at(
                self.world.now_s + self.latency_s() + extra_s,
                partial(self._deliver, kind, body),
            )

    def _deliver(self, kind: int, body: bytes) -> None:
        """Hand a message over; one that comes while the car is away waits for it."""
        if not self.is_online():
            self.post(kind, body)
            return
        self._step_with_status()
        if kind == link.ORDER and self._nonce():
            self.brain.receive(link.TIME, self.world.signed_time(self._nonce()))
            self.step(self.world.now_s)
        if kind == link.ORDER:
            self._presented[sha256(body).digest()] = body
        self.brain.receive(kind, body)
        self.step(self.world.now_s)
        self.step(self.world.now_s + 0.2)
        self.watch()

    def _link_code(self, body: bytes) -> None:
        """Do what the agent does about an unsigned no: bring the delegation, present again, or give up."""
        word, name = strict_cbor.loads(body)[1], strict_cbor.loads(body)[2]
        order = self._presented.get(name)
        if order is None or self._tries.get(name, 0) >= TRIES_MAX:
            return
        self._tries[name] = self._tries.get(name, 0) + 1
        if self._tries[name] == TRIES_MAX or word not in ("DELEGATION_MISSING", "BUSY"):
            self.world.desk.refused(self, order, word)
            return
        if word == "DELEGATION_MISSING":
            for digest in self.brain.authority.wants():
                document = self.world.desk.document(digest)
                if document is not None:
                    body = strict_cbor.dumps([1, document])
                    self.world.at(self.world.now_s + 2 * self.latency_s(), partial(self._bring, body))
        self.world.at(self.world.now_s + RETRY_S, lambda: self._deliver(link.ORDER, order))

    def _bring(self, body: bytes) -> None:
        if self.is_online():
            self.brain.receive(link.AUTHORITY, body)
            self.step(self.world.now_s)

    def where(self) -> tuple[int, int]:
        """Return the place for a forecast, tenths of a degree."""
        return CLIMATES[self.life.climate][3]
