"""What befalls a life: crashes, cuts, clocks, old images, lies and forgeries, by its kind's chances.

Rules: a parked car is often left alone until it has rested, so that faults meet locks too. What is forged
may come from entitled people in a wrong set: that gets a signed refusal at most.

Example: see `life`.
"""

from __future__ import annotations

import hashlib
from typing import Any

from device.mcu import brain as brain_module
from device.mcu import floors as production_floors
from protocol import cose_sign
from protocol.orders import OrderSigner, Role, sign_order
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import digest, signer
from simulators.order_lives.kinds import KINDS
from simulators.order_lives.office import RESTRICTING
from simulators.order_lives.world import World


class Luck(World):
    """A world in which things happen."""

    def __init__(self, seed: int, *, floors: Any = production_floors) -> None:  # noqa: ANN401 - a module, or one's spoilt copy
        super().__init__(seed, floors=floors)
        self.seed = seed
        self.kind_name = tuple(KINDS)[seed % len(KINDS)]
        self.kind = KINDS[self.kind_name]
        self.has_faults = False
        self.calm_until_ms = 0
        self.images: list[list[bytes | None]] = []
        self.forged: set[bytes] = set()
        self.replays = 0
        self.taken_ms: dict[bytes, int] = {}

    def befall(self) -> None:
        """Let faults of this kind happen."""
        if self.has_faults and self.truth.now_ms >= self.calm_until_ms:
            self._befall_devices()
            self._befall_others()

    def _befall_devices(self) -> None:
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
        if kind.spoils and draw() < 0.0005 and self.brain is not None:
            self.counts["both slots spoilt"] += 1
            self.board.slots = [b"spoilt" * 20, b"spoilt" * 20]
            self.oracle.has_lost_state = True
            self.lose_power(1)

    def _befall_others(self) -> None:
        kind, draw = self.kind, self.random.random
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
            flipped = (
                message[:at] + bytes([message[at] ^ (1 << self.random.randrange(8))]) + message[at + 1 :]
            )
            self._give_forged(kind, flipped)
        elif genuine:
            order = self.office.orders.get(hashlib.sha256(payload_of(self.random.choice(genuine))).digest())
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


def payload_of(message: bytes) -> bytes:
    """Return the payload of an order."""
    payload: bytes = cose_sign.read_sign(message)[0]
    return payload
