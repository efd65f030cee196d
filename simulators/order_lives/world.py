"""One car with brain and agent, the lines between them and the office, and what may befall each.

Rules: seed in, same run out. Messages of the broker are lost, doubled or late in both directions; the
serial line loses and doubles; a dead agent's messages wait in the broker's session. What bus and receiver
say is the truth of the car, unless a life lets the agent lie; its local time is its own clock's, right or
wrong.

Example: see `life`.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from device.events import McuChanged, McuReceived, MessageArrived, Tick, UplinkConnected, UplinkLost
from device.mcu import brain as brain_module
from device.mcu import floors as production_floors
from device.mcu.brain import Brain
from protocol import cose_sign, strict_cbor
from protocol.ids import cose_key_bytes
from protocol.orders import OrderSigner, OrderType, Role, State, check_signature, sign_order
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import (
    ANCHORS,
    CONTRACT,
    JURISDICTION,
    LENDER,
    LENDER_ID,
    MCU,
    NOW_S,
    PLATFORM,
    VIN_BIND,
    documents,
    signer,
)
from protocol.vectors.story import fixed_bytes
from simulators.order_lives.agent import Agent, AgentDiedError
from simulators.order_lives.car import NEVER_MS, Board, PowerLostError, Truth
from simulators.order_lives.office import Office, is_business_day
from simulators.order_lives.oracle import Oracle, link_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.events import EngineEvent
    from protocol.topics import Down, Up

ROUNDS_MAX = 6
FIRMWARE, K_OVR = fixed_bytes("firmware", 32), fixed_bytes("K_ovr", 32)
RTC_LOST_STEP_S = 200_000_000  # a coin cell that was out counts on from elsewhere: see `coin_cell_clock`
GENUINE = (brain_module.ORDER, brain_module.GO, brain_module.TIME)


class Key:
    """D1, fast: what it signs is what `sign.SigningKey` signs."""

    def __init__(self) -> None:
        self._signer = published_signer("mcu-1")
        self.kid, self.xy = MCU.kid, cose_sign.key_xy(cose_key_bytes(self._signer.public_key))

    def sign(self, message: bytes) -> bytes:
        """Sign SHA-256 of a message."""
        return self._signer.sign(message)


class World:
    """See the module.

    Attributes:
        loss: chance that a message of the broker is lost, doubled or late, each.
        line_loss: the same on the serial line.
        bridge_is_away: nothing passes between broker and backend.
        facts_lie: keys of FACTS that the agent makes up.
        counts: faults by kind.
    """

    def __init__(self, seed: int, *, floors: Any = production_floors) -> None:  # noqa: ANN401 - a module
        self.floors = floors
        self.random = random.Random(seed)
        self.truth = Truth()
        self.board = Board(self.truth, seed)
        self.office = Office(self.random, lambda: NOW_S + self.truth.now_ms // 1_000)
        self.oracle = Oracle(self.truth, self.office)
        self.board.on_coil = lambda on: self.oracle.coil(on=on)
        self.agent = Agent()
        self.is_agent_alive = True
        self.loss = self.line_loss = 0.0
        self.bridge_is_away = False
        self.facts_lie: dict[int, object] = {}
        self.counts: Counter[str] = Counter()
        self.brain: Brain | None = None
        self.back_ms = 0
        self.given: list[tuple[int, bytes]] = []
        self._given: set[bytes] = set()
        self._held_down: list[tuple[Down, bytes]] = []
        self._held_up: list[tuple[Up, bytes]] = []
        self._late: list[tuple[int, Callable[[], None]]] = []
        self._off_ms: int | None = None
        self._is_measured = True
        self._plays: tuple[int, bytes] | None = None
        self._words: list[tuple[int, bytes]] = []
        self.boot()

    # --- the brain's power ---

    def boot(self) -> None:
        """Start the brain; the power may go in the middle of it."""
        self.board.boot_ms = self.truth.now_ms
        if self._off_ms is not None:
            self.oracle.note_off(self.truth.now_ms - self._off_ms, is_measured=self._is_measured)
            self._off_ms = None
        try:
            self.brain = Brain(self.board, Key(), self.floors, check_signature, {"firmware": FIRMWARE})
        except PowerLostError:
            self.lose_power(0)
            return
        self._observe()

    def lose_power(self, off_s: int, *, rtc_lost: bool = False) -> None:
        """Take the power away now."""
        self._hear_all()
        self.board.lose_power()
        self.brain = None
        self.oracle.powered_down()
        self.board.cause = "power"
        if self._off_ms is None:
            self._off_ms, self._is_measured = self.truth.now_ms, True
        if rtc_lost and self.board.rtc_base_s is not None:
            self.board.rtc_base_s += RTC_LOST_STEP_S
            self._is_measured = False
        self.back_ms = self.truth.now_ms + off_s * 1_000

    def reset(self, cause: str) -> None:
        """Reset the brain."""
        if self.brain is None:
            return
        self._hear_all()
        self.board.lose_power()
        self.brain = None
        self.oracle.powered_down()
        self.board.cause = cause
        self.boot()

    def _with_brain(self, act: Callable[[Brain], None]) -> None:
        if self.brain is None:
            return
        try:
            act(self.brain)
        except PowerLostError:
            self.counts["power cut in a call"] += 1
            self.lose_power(self.random.choice((0, 1, 30, 600)))

    def _hear_all(self) -> list[tuple[int, bytes]]:
        words = [] if self.brain is None else self.brain.outgoing()
        for kind, body in words:
            if kind == brain_module.DISPOSITION:
                self.oracle.hear(body)
            elif kind == brain_module.LINK_CODE:
                self.oracle.note_link_code(*link_code(body))
        return words

    def _observe(self) -> None:
        if self.brain is None:
            return
        lock = self.brain.record.open[int(OrderType.LOCK)]
        state = State.NONE if lock is None else State(lock.state)
        self.oracle.ring_lost = max(self.oracle.ring_lost, self.brain.record.ring_lost)
        self.oracle.observe(state, None if lock is None else lock.cmd_hash)

    # --- time ---

    def run(self, seconds: float, step_s: float = 4) -> None:
        """Let time pass."""
        end_ms = self.truth.now_ms + round(seconds * 1_000)
        while self.truth.now_ms < end_ms:
            self.step(min(step_s, (end_ms - self.truth.now_ms) / 1_000))

    def step(self, seconds: float) -> None:
        """Let everybody do what is due once."""
        self.befall()
        self.truth.now_ms += round(seconds * 1_000)
        self.truth.note()
        self.oracle.step_ms = round(seconds * 1_000)
        self.agent.mono_us = 1_000_000_000 + self.truth.now_ms * 1_000
        self.agent.utc_s = self.office.utc_s()
        if self.brain is None and self.truth.now_ms >= self.back_ms:
            self.boot()
        self.tell_agent(Tick())
        if not self.bridge_is_away:
            self.office.tick()
        due = [item for item in self._late if item[0] <= self.truth.now_ms]
        self._late = [item for item in self._late if item[0] > self.truth.now_ms]
        for _, act in due:
            act()
        for _ in range(ROUNDS_MAX):
            is_busy = self._carry()
            self._step_brain()
            if not is_busy:
                break

    def befall(self) -> None:
        """Let a fault happen, by chance; a life sets what."""

    def _step_brain(self) -> None:
        self._with_brain(lambda brain: brain.step())
        self._observe()
        self._words += self._hear_all()
        if self.brain is not None:
            self._listen()
            self.oracle.after_step()

    def _listen(self) -> None:
        """Count, by truth, on how many ignition cycles the warning was heard."""
        if self.board.warn and self.truth.buzzer_works and self.brain is not None:
            episode = self.brain.warnings.dump()[0]
            play = (self.truth.ignition_on_ms, episode)
            if episode is not None and self._plays != play:
                self._plays = play
                self.oracle.heard_cycles[episode] += 1

    # --- lines ---

    def tell_agent(self, event: EngineEvent) -> None:
        """Let something happen to the agent; it may die of it, and starts anew."""
        if not self.is_agent_alive:
            return
        try:
            self.agent.feed(event)
        except AgentDiedError:
            self.counts["agent died between effects"] += 1
            self.start_agent()

    def kill_agent(self) -> None:
        """End it until `start_agent`."""
        self.is_agent_alive = False
        self.agent.sent.clear()
        self.agent.published.clear()

    def start_agent(self) -> None:
        """A new life of the agent on its journal."""
        self.agent.start()
        self.is_agent_alive = True
        self.tell_agent(UplinkConnected())
        self.tell_agent(McuChanged(is_up=True))
        held, self._held_down = self._held_down, []
        for kind, payload in held:
            self.tell_agent(MessageArrived(kind=kind, payload=payload))

    def lose_uplink(self) -> None:
        """The broker goes and comes again."""
        self.tell_agent(UplinkLost())
        self.tell_agent(UplinkConnected())

    def _copies(self, loss: float) -> int:
        if not loss:
            return 1
        chance = self.random.random()
        return 0 if chance < loss else 2 if chance < 2 * loss else 1

    def _pass(self, loss: float, act: Callable[[], None]) -> None:
        """Let a message pass, or not, or twice, or late."""
        copies = self._copies(loss)
        self.counts["messages lost"] += copies == 0
        self.counts["messages doubled"] += copies > 1
        for _ in range(copies):
            if loss and self.random.random() < loss:
                self.counts["messages late"] += 1
                self._late.append((self.truth.now_ms + self.random.randrange(1, 90_000), act))
            else:
                act()

    def _carry(self) -> bool:
        frames, self.agent.sent = self.agent.sent, []
        said, self.agent.published = self.agent.published, []
        words, self._words = self._words + self._hear_all(), []
        down, self.office.outbox = self.office.outbox, []
        for kind, body in frames:
            if kind == brain_module.FACTS:  # of four a step one always comes
                self.give(kind, strict_cbor.dumps(self.facts()))
                continue
            for _ in range(self._copies(self.line_loss)):
                self.give(kind, body)
        for kind, body in words:
            for _ in range(self._copies(self.line_loss)):
                self.tell_agent(McuReceived(kind=kind, body=body))
        if self.bridge_is_away:
            self._held_up += said
        else:
            held, self._held_up = self._held_up, []
            for up, payload in held + said:
                self._pass(self.loss, lambda up=up, payload=payload: self.office.take(up, payload))  # type: ignore[misc]
        for kind_down, payload in down:
            self._pass(self.loss, lambda kind=kind_down, payload=payload: self._arrive(kind, payload))  # type: ignore[misc]
        return bool(said or down or [one for one in frames if one[0] != brain_module.FACTS])

    def _arrive(self, kind: Down, payload: bytes) -> None:
        if self.is_agent_alive:
            self.tell_agent(MessageArrived(kind=kind, payload=payload))
        elif len(self._held_down) < 200:
            self._held_down.append((kind, payload))

    def give(self, kind: int, body: bytes) -> None:
        """Give the brain a message, as the agent does."""
        if self.brain is None:
            return
        if kind in GENUINE:
            if body not in self._given:
                self._given.add(body)
                self.given.append((kind, body))
            self.oracle.delivered(body)
        self._with_brain(lambda brain: brain.receive(kind, body))

    # --- what the car says ---

    def facts(self) -> dict[int, object]:
        """Return what bus, receiver and clock say now, as the agent tells it."""
        truth = self.truth
        wall_s = self.agent.wall_s
        gnss = [0, 0, 1] if truth.under_roof else [truth.speed_mm_s, 0, 0]
        return {
            1: [truth.speed_mm_s, 0],
            2: gnss,
            3: [1 if truth.in_zone else 0, 10, 3],
            4: [truth.temp_c10, 10],
            5: wall_s // 60 % 1_440,
            6: is_business_day(wall_s),
            7: False,
            8: truth.hazard,
            9: truth.crashed,
            10: truth.ignition,
            11: truth.engine,
        } | self.facts_lie

    # --- making a car ---

    def commission(self, start_type: str = "turn-key") -> None:
        """Provision and bind it, as a workshop does; no faults meanwhile."""
        self.give(brain_module.PROVISION, strict_cbor.dumps(provision_fields(start_type)))
        self.run(2, 1)
        self.tell_agent(UplinkConnected())
        self.tell_agent(McuChanged(is_up=True))
        self.run(20)
        names = ("authority/platform", "authority/lender")
        roles = ("maker", "checker", "gate", "safety-officer", "ombuds", "installer")
        for name in (*names, *(f"delegation/{role}" for role in roles)):
            kind = 2 if name.startswith("authority") else 1
            self.give(brain_module.AUTHORITY, strict_cbor.dumps([kind, documents()[name]]))
            self.run(40, 8)
        asked: list[bytes] = []
        assert self.brain is not None
        question = {1: 1, 2: MCU.kid, 3: self.random.randbytes(16)}
        self.give(brain_module.CHALLENGE_QUESTION, strict_cbor.dumps(question))
        self._step_brain()
        for kind, body in self._words:
            if kind == brain_module.CHALLENGE:
                asked.append(body)
        challenge = strict_cbor.loads(cose_sign.read_sign1(asked[0])[2])
        self._bind(challenge[3], challenge[4], challenge[5])
        self.run(60)
        self.truth.engine_ran_ms = self.truth.moved_ms = NEVER_MS
        assert self.brain.record.mode == 1, "bound"

    def _bind(self, epoch: bytes, chal: bytes, tick: int) -> None:
        now_s = self.office.utc_s()
        self.office.epoch = epoch
        fields = {
            1: 1, 2: self.random.randbytes(16), 3: int(OrderType.BIND), 4: LENDER_ID, 5: MCU.kid, 6: VIN_BIND,
            7: CONTRACT, 8: epoch, 9: 1, 10: now_s - 600, 12: now_s + 3_600, 13: chal, 14: tick + 3_600,
            18: JURISDICTION, 25: None,
        }  # fmt: skip
        self.office.counters[2] = 1
        mcu = OrderSigner(signer=MCU, role=Role.MCU)
        self.office.sign(OrderType.BIND, sign_order(fields, mcu, signer("installer"), signer("gate")), fields)


def provision_fields(start_type: str) -> dict[int, object]:
    """Return the map of PROVISION for the story's people."""

    def root(issuer: str) -> list[object]:
        names, threshold = ANCHORS[issuer]
        return [[cose_key_bytes(published_signer(name).public_key) for name in names], threshold]

    return {
        1: 1,
        2: fixed_bytes("device id", 32),
        3: root(PLATFORM),
        4: [cose_key_bytes(published_signer("receipt-1").public_key)],
        5: K_OVR,
        6: fixed_bytes("salt"),
        7: {1: start_type},
        8: [[LENDER, *root(LENDER)]],
    }
