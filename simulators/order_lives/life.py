"""Seeded lives: what a car, its driver, its lender and bad luck do over hours or days.

Rules: a seed gives the kind of life, the car's days, the orders and every fault. Kinds set which faults come often;
each kind has all of the car's acts. At the end all faults stop, everything restricting is withdrawn and an UNLOCK is
sent: it must be answered within two minutes, each order must have ended once, every message that was ever taken is
given again and must change nothing, and the car must start.

Example:
    >>> live(1).kind in KINDS
    True
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device.mcu import brain as brain_module
from device.mcu import floors as production_floors
from protocol import strict_cbor
from protocol.orders import OrderSigner, OrderType, Role, State, sign_order
from protocol.orders_override import code as emergency_code
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import digest, signer
from simulators.order_lives.car import BROWN_MV, CRANK_MV, SUPPLY_MV
from simulators.order_lives.office import FINAL_STATES, RESTRICTING, Order
from simulators.order_lives.oracle import HELD, LifeError
from simulators.order_lives.world import K_OVR, World

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_S = 3_600
ANSWER_S = 120
STEP_S = 4  # facts are told each step, and older than 5 s they are none
PARTS = ("maker", "checker", "gate", "safety-officer", "ombuds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How often a fault comes in a kind of life, per step of the world."""

    loss: float = 0.0
    line_loss: float = 0.0
    agent_dies: float = 0.0
    watchdog: float = 0.0
    cut: float = 0.0
    cut_in_call: float = 0.0
    away: float = 0.0
    gate_away: float = 0.0
    clock: float = 0.0
    disk: float = 0.0
    is_lonely: bool = False
    restores: bool = False
    lies: bool = False
    forges: float = 0.0
    spoils: bool = False


KINDS: dict[str, Kind] = {
    "quiet": Kind(),
    "lossy": Kind(loss=0.15, line_loss=0.05),
    "crashing": Kind(loss=0.05, agent_dies=0.02, watchdog=0.004, disk=0.004),
    "power cuts": Kind(cut=0.004, cut_in_call=0.02),
    "away": Kind(away=0.01, gate_away=0.01, loss=0.05),
    "clock": Kind(clock=0.02, loss=0.05, watchdog=0.002),
    "lonely": Kind(is_lonely=True, cut=0.001, cut_in_call=0.004),
    "old image": Kind(restores=True, cut=0.002),
    "forger": Kind(forges=0.05, loss=0.05),
    "liar": Kind(lies=True, forges=0.02),
    "spoilt": Kind(spoils=True, watchdog=0.02, loss=0.05),
    "everything": Kind(
        loss=0.1, line_loss=0.05, agent_dies=0.01, watchdog=0.003, cut=0.002, cut_in_call=0.01, away=0.005,
        gate_away=0.005, clock=0.005, disk=0.003, forges=0.02,
    ),
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Report:
    """What a life was. Attributes: seed, kind, simulated_s, faults, seen (what the checkers saw), orders."""

    seed: int
    kind: str
    simulated_s: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    replays: int = 0


class Life(World):
    """One life; `live` runs it."""

    def __init__(self, seed: int, *, floors: Any = production_floors) -> None:
        super().__init__(seed, floors=floors)
        self.seed = seed
        self.kind_name = tuple(KINDS)[seed % len(KINDS)]
        self.kind = KINDS[self.kind_name]
        self.has_faults = False
        self.images: list[list[bytes | None]] = []
        self.forged: set[bytes] = set()
        self.replays = 0
        self.acts: list[tuple[float, Callable[[], None]]] = [
            (3, self.drive), (5, self.park), (3, self.crank), (2, self.warned), (1, self.stop_start),
            (1, self.stall), (1, self.garage), (0.5, self.zone), (1, self.press), (0.7, self.three_cycles),
            (1, self.code), (1.2, self.unlock), (0.7, self.cancel), (1, self.renew), (0.5, self.pay),
            (0.8, self.lock), (0.7, self.warn), (0.5, self.query), (1, self.replay), (1, self.night),
            (0.1, self.crash), (0.1, self.relay_fault), (0.15, self.decommission), (0.3, self.hazard),
        ]  # fmt: skip

    # --- bad luck ---

    def befall(self) -> None:
        """Let faults of this kind happen."""
        if not self.has_faults:
            return
        kind, draw = self.kind, self.random.random
        if draw() < kind.agent_dies:
            self._agent_faults()
        if draw() < kind.watchdog and self.brain is not None:
            self.counts["watchdog reset"] += 1
            self.reset("watchdog")
        if draw() < kind.cut and self.brain is not None:
            self._cut()
        if draw() < kind.cut_in_call and self.board.cut_after is None:
            self.board.cut_after = self.random.randrange(1, 400)
            self.board.torn_bytes = self.random.randrange(8_000)
        if draw() < kind.away:
            self.bridge_is_away = not self.bridge_is_away
            self.counts["bridge away"] += self.bridge_is_away
        if draw() < kind.gate_away:
            self.office.gate_is_away = not self.office.gate_is_away
            self.counts["gate away"] += self.office.gate_is_away
        if draw() < kind.clock:
            self._step_clock()
        if draw() < kind.disk:
            self.agent.is_journal_broken = not self.agent.is_journal_broken
            self.counts["journal broken"] += self.agent.is_journal_broken
        if draw() < kind.forges:
            self.forge()
        if kind.restores and draw() < 0.01:
            self._old_image()
        if kind.lies and draw() < 0.02:
            self._lie()
        if kind.spoils and draw() < 0.0005:
            self.counts["both slots spoilt"] += 1
            self.board.slots = [b"spoilt" * 20, b"spoilt" * 20]
            self.oracle.has_lost_state = True
            self.lose_power(1)

    def _agent_faults(self) -> None:
        chance = self.random.random()
        if chance < 0.4:
            self.agent.effects_left = self.random.randrange(12)
        elif chance < 0.7:
            self.counts["agent killed"] += 1
            self.kill_agent()
            self.start_agent()
        elif chance < 0.85:
            self.counts["agent away"] += self.is_agent_alive
            self.kill_agent()
        elif not self.is_agent_alive:
            self.start_agent()
        else:
            self.counts["uplink lost"] += 1
            self.lose_uplink()

    def _cut(self) -> None:
        rtc_lost = self.random.random() < 0.2
        self.counts["power cut, RTC lost" if rtc_lost else "power cut"] += 1
        self.lose_power(self.random.choice((1, 20, 600, 7_200, 90_000)), rtc_lost=rtc_lost)

    def _step_clock(self) -> None:
        self.counts["clock step"] += 1
        self.oracle.agent_clock_wrong = True
        self.agent.clock_offset_s = self.random.choice((0, 10, -10, 86_400, -86_400, -(10**10)))

    def _old_image(self) -> None:
        if len(self.images) < 2 or self.random.random() < 0.7:
            self.images.append(list(self.board.slots))
        elif self.brain is not None:
            self.counts["old image restored"] += 1
            self.oracle.is_restored = True
            image = self.random.choice(self.images)
            self.lose_power(1)
            self.board.slots = list(image)

    def _lie(self) -> None:
        self.counts["lie of the agent"] += 1
        self.oracle.liar = True
        parked = {1: [0, 0], 2: [0, 0, 0], 3: [0, 1, 9], 4: [200, 1], 5: 600, 6: True, 8: False, 9: False}
        self.facts_lie = {**parked, 10: False, 11: False} if not self.facts_lie else {}

    def forge(self) -> None:
        """Somebody who is not entitled gives the box an order or a token."""
        self.counts["forged message"] += 1
        if self.brain is None:
            return
        choice = self.random.randrange(5)
        genuine = [message for kind, message in self.given if kind == brain_module.ORDER]
        if choice == 0 and self.given:
            kind, message = self.random.choice(self.given)
            at = self.random.randrange(len(message))
            flipped = message[:at] + bytes([message[at] ^ (1 << self.random.randrange(8))]) + message[at + 1 :]
            self._give_forged(kind, flipped)
        elif genuine:
            order = self.office.orders.get(
                hashlib.sha256(_payload(self.random.choice(genuine))).digest()
            )
            if order is None:
                return
            fields = {**order.fields, 2: self.random.randbytes(16), 9: order.fields[9] + 1}
            stranger = OrderSigner(
                signer=published_signer("stranger"), role=Role.MAKER, delegation=digest("maker")
            )
            people: dict[int, tuple[OrderSigner, ...]] = {
                1: (signer("maker"), signer("maker-as-checker"), signer("gate", logged=True)),
                2: (signer("maker"), signer("checker")),
                3: (signer("gate", logged=True),),
                4: (signer("maker"), signer("same-person"), signer("gate", logged=True)),
                0: (stranger, signer("checker"), signer("gate", logged=True)),
            }
            if order.type not in RESTRICTING:
                people = dict.fromkeys(people, (stranger,))
            self._give_forged(brain_module.ORDER, sign_order(fields, *people[choice]))

    def _give_forged(self, kind: int, body: bytes) -> None:
        if body not in {message for _, message in self.given}:
            self.forged.add(hashlib.sha256(body).digest())
            self._with_brain(lambda brain: brain.receive(kind, body))

    # --- the car's days ---

    def key(self, *, on: bool) -> None:
        """Turn the ignition."""
        truth = self.truth
        if on and not truth.ignition:
            truth.ignition_on_ms = truth.now_ms
        truth.ignition = on
        if not on:
            truth.engine = truth.crank = False
            truth.speed_mm_s = 0
        self.step(0.5)

    def try_start(self) -> bool:
        """Crank once; return whether the engine runs."""
        truth = self.truth
        if not truth.ignition:
            self.key(on=True)
        is_weak = self.random.random() < 0.1
        truth.crank, truth.supply_mv = True, BROWN_MV if is_weak else CRANK_MV
        self.step(0.2)
        if self.board.coil:
            truth.starts_refused += 1
        else:
            truth.engine = True
        truth.crank, truth.supply_mv = False, SUPPLY_MV
        self.step(0.3)
        return truth.engine

    def drive(self) -> None:
        """Drive a while and park."""
        if self.try_start():
            self.truth.under_roof = False
            self.truth.speed_mm_s = self.random.choice((3_000, 14_000, 30_000))
            self.run(self.random.randrange(30, 200), STEP_S)
            self.truth.speed_mm_s = 0
            self.run(4, 2)
        self.key(on=False)

    def park(self) -> None:
        """Stand so long that a lock may come."""
        self.run(self.random.randrange(620, 900), STEP_S)

    def crank(self) -> None:
        """Try to start twice, and go away."""
        self.try_start()
        self.try_start()
        self.run(10)
        self.key(on=False)

    def warned(self) -> None:
        """Two ignition cycles, listening."""
        for _ in range(2):
            self.key(on=True)
            self.run(14, 3)
            self.key(on=False)
            self.run(20)

    def stop_start(self) -> None:
        """Stop at a light: the engine stands a while with the ignition on, and must start again."""
        if self.try_start():
            self.truth.speed_mm_s = 10_000
            self.run(20, 4)
            self.truth.speed_mm_s = 0
            self.truth.engine = False
            self.run(self.random.choice((5, 40, 200)), 5)
            self._must_start("after a stop-start")
        self.key(on=False)

    def stall(self) -> None:
        """Stall, ignition off and on, and start again at once."""
        if self.try_start():
            self.truth.speed_mm_s = 5_000
            self.run(10, 2)
            self.truth.speed_mm_s = 0
            self.truth.engine = False
            self.run(10, 2)
            self.key(on=False)
            self.run(self.random.choice((5, 100, 500)), 5)
            self.key(on=True)
            self._must_start("after a stall")
        self.key(on=False)

    def _must_start(self, when: str) -> None:
        if not self.try_start():
            raise LifeError(f"the car did not start {when}")

    def garage(self) -> None:
        """Under a roof, or out again."""
        self.truth.under_roof = not self.truth.under_roof

    def zone(self) -> None:
        """Into a protected place, or out again."""
        self.truth.in_zone = not self.truth.in_zone

    def hazard(self) -> None:
        """Hazard lights on or off."""
        self.truth.hazard = not self.truth.hazard

    def press(self) -> None:
        """Hold the emergency button; in a lock whose episode has it left the car must start."""
        self._by_hand(self._hold)

    def three_cycles(self) -> None:
        """Turn the key three times."""
        self._by_hand(self._turn_thrice)

    def _hold(self) -> None:
        self.truth.button = True
        self.run(7, 1)
        self.truth.button = False
        self.run(2, 1)

    def _turn_thrice(self) -> None:
        self.key(on=False)
        for _ in range(3):
            self.key(on=True)
            self.run(1.5, 1)
            self.key(on=False)
            self.run(1, 1)

    def _by_hand(self, act: Callable[[], None]) -> None:
        oracle = self.oracle
        lease = oracle.lease
        boots = self.board.boot_ms
        was = oracle.state
        is_due = lease is not None and was is State.LOCKED and self.brain is not None
        episode = b"" if lease is None else bytes(lease.order.fields[24])
        act()
        has_run = self.brain is not None and self.board.boot_ms == boots
        if is_due and has_run and episode not in oracle.hands_used and not oracle.is_restored:
            oracle.counts["emergency by hand"] += 1
            if oracle.state is State.LOCKED:
                raise LifeError("the emergency start by hand did not open a window")
            self._must_start("after an emergency start by hand")
            self.key(on=False)
        if lease is not None and was in HELD:
            oracle.hands_used.add(episode)

    def code(self) -> None:
        """Type an emergency code, right or wrong."""
        lease = self.oracle.lease
        episode = self.office.episode if lease is None else bytes(lease.order.fields[24])
        number = self.random.randrange(1, 4)
        digits = emergency_code(K_OVR, episode, number)
        if self.random.random() < 0.3:
            digits = "123456789"
        self.give(brain_module.OVERRIDE_CODE, strict_cbor.dumps({1: digits}))
        self.run(4, 2)

    def crash(self) -> None:
        """A crash: told by the bus for a while."""
        self.counts["crash of the car"] += 1
        self.truth.crashed = True
        self.run(20)
        was_powered = self.brain is not None and self.is_agent_alive and not self.kind.line_loss
        if was_powered and self.oracle.state in HELD and not self.facts_lie:
            raise LifeError("a crash did not release")
        self.truth.crashed = False

    def relay_fault(self) -> None:
        """The relay's feedback stays on: a fault, and everything is released."""
        self.counts["relay stuck"] += 1
        self.board.stuck = True
        boots = self.board.boot_ms
        self.run(20)
        if self.brain is not None and self.board.boot_ms == boots and self.oracle.state in HELD:
            raise LifeError("a stuck relay did not release")
        self.board.stuck = None

    def night(self) -> None:
        """Hours in which nothing happens."""
        if self.truth.engine:
            self.key(on=False)
        self.run(self.random.choice((2, 8, 15, 30)) * HOUR_S, 900)

    # --- people ---

    def lock(self) -> None:
        """Maker, checker and gate sign a LOCK, over the next challenge."""
        self.office.is_paid = False
        if self.random.random() < 0.3:
            self.office.episode = self.random.randbytes(16)
        self.office.wish(OrderType.LOCK, key_15=self.random.choice((HOUR_S, 6 * HOUR_S, 30 * HOUR_S, 259_200, 604_800)))
        self.run(60)

    def renew(self) -> None:
        """The same people sign a RENEW."""
        if self.oracle.state in HELD:
            self.office.wish(OrderType.RENEW, key_15=self.random.choice((HOUR_S, 20 * HOUR_S, 259_200)))
            self.run(60)

    def warn(self) -> None:
        """The same people sign a WARN."""
        self.office.wish(OrderType.WARN)
        self.run(60)

    def unlock(self) -> None:
        """One of the releasing roles signs an UNLOCK."""
        self.office.release(OrderType.UNLOCK, self.random.choice(PARTS))
        self.run(self.random.choice((0, 20, 60)))

    def cancel(self) -> None:
        """One of the releasing roles signs a CANCEL."""
        self.office.release(OrderType.CANCEL, self.random.choice(PARTS))
        self.run(self.random.choice((0, 20, 60)))

    def query(self) -> None:
        """Somebody asks."""
        self.office.query()
        self.run(10)

    def decommission(self) -> None:
        """The loan is paid off: the car is given free for good."""
        self.office.withdraw()
        self.office.release(OrderType.DECOMMISSION, "maker", "gate")
        self.run(60)

    def pay(self) -> None:
        """A payment is posted: nothing more is granted, and the gate releases."""
        self.counts["payment"] += 1
        self.office.is_paid = True
        self.office.withdraw()
        self.office.release(OrderType.UNLOCK, "gate")
        self.run(self.random.choice((0, 30)))

    # --- replays ---

    def replay(self) -> None:
        """Give something again that was taken before."""
        if self.given:
            self.replay_one(*self.random.choice(self.given))

    def replay_one(self, kind: int, body: bytes) -> None:
        """Give a message again in one moment of the world; it must change nothing."""
        for _ in range(12):
            self._step_brain()
        brain = self.brain
        if brain is None or self.board.cut_after is not None or self.oracle.is_restored:
            return
        if kind == brain_module.ORDER:
            order = self.office.orders.get(hashlib.sha256(_payload(body)).digest())
            if order is None or not any(found.cmd_hash == order.cmd_hash for found in self.oracle.heard.values()):
                return  # never answered: it is no replay
            self.oracle.counts["replayed orders"] += 1
        elif kind != brain_module.ORDER and not self._was_taken(kind, body):
            return
        before = self._fingerprint()
        contact = self.oracle.contact_ms
        self._with_brain(lambda it: it.receive(kind, body))
        for _ in range(3):
            self._step_brain()
        self.oracle.contact_ms = contact
        if self.brain is brain and self._fingerprint() != before:
            raise LifeError(f"a replay of kind {kind} changed something")
        self.replays += 1

    def _was_taken(self, kind: int, body: bytes) -> bool:
        return kind in (brain_module.GO, brain_module.TIME) and self._taken.get(body, -1) < self.truth.now_ms - 400_000

    _taken: dict[bytes, int] = {}  # noqa: RUF012 - replaced by each life

    def give(self, kind: int, body: bytes) -> None:
        """Give the brain a message; keep when tokens came last."""
        if kind in (brain_module.GO, brain_module.TIME):
            self._taken[body] = self.truth.now_ms
        super().give(kind, body)

    def _fingerprint(self) -> list[object]:
        brain = self.brain
        assert brain is not None
        record = brain.record
        opened = [None if one is None else (one.cmd_hash, one.state) for one in record.open.values()]
        lease = None if brain.lease is None else brain.lease.dump()
        override = None if brain.override is None else brain.override.dump()
        return [
            opened, list(record.heads), record.prev, record.mode, record.binding, lease, override, brain.holds.dump(),
            record.challenge,
        ]  # fmt: skip

    # --- the life ---

    def run_whole(self) -> Report:
        """Live, come to rest, and be judged."""
        self._taken = {}
        self.commission()
        self.loss, self.line_loss, self.has_faults = self.kind.loss, self.kind.line_loss, True
        if self.random.random() < 0.3:
            self.night()
        self._until_morning()
        self.lock()
        self.warned()
        if self.random.random() < 0.5:
            self.drive()
        self.park()
        self._parked_until_locked()
        if self.kind.is_lonely:
            self._alone()
        weights = [weight for weight, _ in self.acts]
        for _ in range(self.random.randrange(3, 9)):
            if self.random.random() < 0.7:
                self._until_morning()
            self.random.choices(self.acts, weights)[0][1]()
        self.settle()
        return self.report()

    def _until_morning(self) -> None:
        """Wait until the hours allow a lock."""
        while not self.office.is_lawful():
            self.run(HOUR_S, 900)

    def _parked_until_locked(self) -> None:
        for _ in range(self.random.randrange(24)):
            if self.oracle.state is State.LOCKED:
                return
            self.run(100, STEP_S)

    def _alone(self) -> None:
        """Agent, broker, backend are gone: the lease ends by itself, or 24 h after the last word."""
        if self.oracle.state not in HELD or self.oracle.lease is None:
            return
        self.counts["left alone in a lock"] += 1
        self.kill_agent()
        self.bridge_is_away = True
        hold_s = self.oracle.lease.hold_ms // 1_000
        step_s = max(10, min(hold_s, 86_400) // 300)
        self.run(min(hold_s * 1.02, 86_400) + 4 * step_s, step_s)
        if self.oracle.state in HELD and self.brain is not None and self.oracle.lease is not None:
            self.run(self.oracle.lease.lost_ms // 1_000 + 90_000, 600)
        self.bridge_is_away = False
        self.start_agent()

    def settle(self) -> None:
        """No more faults; withdraw, release, and let everything come to its end."""
        self.has_faults = False
        self.loss = self.line_loss = 0.0
        self.bridge_is_away = self.office.gate_is_away = False
        self.agent.is_journal_broken, self.agent.effects_left = False, None
        self.agent.clock_offset_s, self.facts_lie = 0, {}
        self.board.cut_after = None
        self.board.stuck = None
        self.truth.crashed = False
        if self.brain is None:
            self.back_ms = self.truth.now_ms
        self.key(on=False)
        if not self.is_agent_alive:
            self.start_agent()
        self.office.withdraw()
        self.run(30)
        unlock = self.office.release(OrderType.UNLOCK, self.random.choice(PARTS))
        self._until_answered(unlock)
        self.run(120)
        for _ in range(30):
            if all(self._is_over(order) for order in self.office.orders.values()):
                break
            self.run(60)
        self.run(300, 5)
        self._replay_everything()
        self.oracle.check_end(self._open_names())
        self._must_start("at the end of its life")
        self.key(on=False)

    def _until_answered(self, unlock: Order) -> None:
        begun_ms = self.truth.now_ms
        while not self.oracle.finals[unlock.cmd_hash]:
            self.run(2, 1)
            if self.oracle.has_forgotten_lender and self.oracle.state not in HELD:
                return  # nobody's signature counts any more, and nothing is left to release
            if self.truth.now_ms - begun_ms > ANSWER_S * 1_000:
                raise LifeError(f"an UNLOCK without faults got no answer in {ANSWER_S} s")
        if self.oracle.state in HELD:
            raise LifeError("an UNLOCK without faults did not release")
        self.oracle.counts["release s x10"] += (self.truth.now_ms - begun_ms) // 100
        self.oracle.counts["releases timed"] += 1

    def _is_over(self, order: Order) -> bool:
        if self.oracle.has_lost_state or self.oracle.has_forgotten_lender:
            return True
        return self.office.states.get(order.cmd_hash) in FINAL_STATES

    def _open_names(self) -> set[bytes]:
        assert self.brain is not None
        return {one.cmd_hash for one in self.brain.record.open.values() if one is not None}

    def _replay_everything(self) -> None:
        for kind, body in self.given:
            self.replay_one(kind, body)
            self.run(4)

    def report(self) -> Report:
        """Return what it was."""
        orders = Counter({name[6:]: n for name, n in self.office.counts.items() if name.startswith("order_")})
        seen = self.oracle.counts + Counter({"starts refused": self.truth.starts_refused})
        return Report(
            seed=self.seed,
            kind=self.kind_name,
            simulated_s=self.truth.now_ms // 1_000,
            faults=self.counts,
            seen=seen,
            orders=orders,
            replays=self.replays,
        )


def _payload(message: bytes) -> bytes:
    from protocol import cose_sign  # noqa: PLC0415 - here alone

    payload: bytes = cose_sign.read_sign(message)[0]
    return payload


def live(seed: int, *, floors: Any = production_floors) -> Report:
    """Live the life of a seed.

    Args:
        seed: of everything.
        floors: of the image; only the checkers' own test takes others.

    Raises:
        LifeError: something happened that must not; the seed and the moment are in its text.
    """
    life = Life(seed, floors=floors)
    try:
        return life.run_whole()
    except LifeError as wrong:
        at = life.truth.now_ms / 1_000
        raise LifeError(f"seed {seed} ({life.kind_name}) at {at:.1f} s: {wrong}") from wrong
