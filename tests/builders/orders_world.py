"""A backend, an agent and a microcontroller that may each vanish at any moment; links lose and repeat.

Seed in, same run out. The microcontroller keeps what a real one keeps over its resets (what it has done by
cmd_id, its numbered dispositions until they are acknowledged) and acts on an order it does not know. The
backend sends an order until it has a disposition of it, and receipts what it stored. Nothing here judges an
order: what is checked is that the agent between them loses nothing and repeats nothing that matters.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from device.events import McuChanged, McuReceived, MessageArrived, Tick, UplinkConnected, UplinkLost
from device.orders.link import LinkKind
from protocol import cose_sign, orders_payload, strict_cbor
from protocol.authority_bundle import unverified_fields
from protocol.orders import OrderType, sign_order
from protocol.topics import Down, Up
from protocol.vectors.orders_good import lock_signers, releasing, restricting
from protocol.vectors.orders_story import EPOCH, signer
from tests.builders.engine import SECOND
from tests.builders.orders_desk import Disk, OrderBox, disposition, receipt, status

if TYPE_CHECKING:
    from device.effects import Effect
    from device.events import EngineEvent


class CrashError(Exception):
    """The agent's process ended here."""


@cache
def order_pool() -> tuple[bytes, ...]:
    """Orders of both groups, each another one."""
    made = []
    for number in range(1, 9):
        made.append(sign_order(restricting(OrderType.LOCK, ctr=100 + number), *lock_signers()))
        made.append(sign_order(releasing(OrderType.UNLOCK, ctr=200 + number), signer("ombuds")))
    return tuple(made)


def cmd_id_of(order: bytes) -> bytes:
    payload, _ = cose_sign.read_sign(order)
    found: bytes = orders_payload.read_order(payload)[0][2]
    return found


@dataclass
class Mcu:
    """What survives in the microcontroller."""

    acted: Counter[bytes] = field(default_factory=Counter)
    done: dict[bytes, bytes] = field(default_factory=dict)
    ring: dict[int, bytes] = field(default_factory=dict)
    seq: int = 0

    def take(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        """Answer a frame."""
        match kind:
            case LinkKind.ORDER:
                name = cmd_id_of(body)
                if name not in self.done:
                    self.acted[name] += 1
                    self.seq += 1
                    self.done[name] = self.ring[self.seq] = disposition(self.seq, body)
                return [(LinkKind.DISPOSITION, self.done[name])]
            case LinkKind.DISPOSITION_ACK:
                upto = strict_cbor.loads(body)[1]
                self.ring = {seq: said for seq, said in self.ring.items() if seq > upto}
                return []
            case LinkKind.DISPOSITION_GET:
                first = strict_cbor.loads(body)[1]
                return [
                    (LinkKind.DISPOSITION, said) for seq, said in sorted(self.ring.items()) if seq >= first
                ]
            case LinkKind.HELLO:
                return [self.status()]
            case _:
                return []

    def status(self) -> tuple[int, bytes]:
        last = None if self.seq == 0 else [self.seq, bytes(32)]
        return LinkKind.STATUS, status(key_10=last)


class CrashingBox(OrderBox):
    """An agent that ends after a number of effects; None lives on."""

    effects_left: int | None = None
    effects_done: int = 0

    def _carry_out(self, effect: Effect) -> None:
        if self.effects_left is not None:
            if self.effects_left == 0:
                raise CrashError
            self.effects_left -= 1
        self.effects_done += 1
        super()._carry_out(effect)


class World:
    """All three, and the links.

    Args:
        seed: of all chances.
        loss: chance that a frame or message is lost, and as often again doubled or late.
    """

    def __init__(self, seed: int, *, loss: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.mcu = Mcu()
        self.box = CrashingBox(Disk())
        self.stored: dict[int, bytes] = {}
        self.answered: set[bytes] = set()
        self.open: dict[bytes, bytes] = {}
        self.crashes = 0
        self._seen = (0, 0)
        self.up()

    # --- lives ---

    def up(self) -> None:
        self.feed(UplinkConnected())
        self.feed(McuChanged(is_up=True))

    def crash(self) -> None:
        """The agent ends and starts anew; both links are new."""
        self.crashes += 1
        self.box.effects_left = None
        self.box.sent.clear()
        self.box.published.clear()
        self._seen = (0, 0)
        self.box.start()
        self.up()

    def reset_mcu(self) -> None:
        """The microcontroller starts anew with what it keeps."""
        self.feed(McuChanged(is_up=False))
        self.feed(McuChanged(is_up=True))

    def lose_uplink(self) -> None:
        self.feed(UplinkLost())
        self.feed(UplinkConnected())

    # --- flow ---

    def order(self, message: bytes) -> None:
        """The backend wants this done."""
        self.open[cmd_id_of(message)] = message
        self.feed(MessageArrived(kind=Down.ORDER, payload=message))

    def second(self) -> None:
        """A second passes, and everything on the links arrives, or does not."""
        self.box.now_us += SECOND
        self.feed(Tick())
        self.hear(*self.mcu.status())
        for _ in range(6):
            self._carry()

    def backend_repeats(self) -> None:
        for message in list(self.open.values()):
            self.feed(MessageArrived(kind=Down.ORDER, payload=message))

    def hear(self, kind: int, body: bytes) -> None:
        self.feed(McuReceived(kind=int(kind), body=body))

    def feed(self, event: EngineEvent) -> None:
        try:
            self.box.feed(event)
        except CrashError:
            self.crash()

    def settle(self) -> None:
        """No more faults: let everything come to its end."""
        self.loss = 0.0
        for at in range(200):
            self.second()
            if at % 40 == 0:
                self.backend_repeats()

    def _copies(self) -> int:
        chance = self.random.random()
        return 0 if chance < self.loss else 2 if chance < 2 * self.loss else 1

    def _carry(self) -> None:
        sent, published = self._seen
        frames, messages = self.box.sent[sent:], self.box.published[published:]
        self._seen = (len(self.box.sent), len(self.box.published))
        if self.loss:
            self.random.shuffle(messages)
        for kind, body in frames:
            for _ in range(self._copies()):
                for said in self.mcu.take(kind, body):
                    for _ in range(self._copies()):
                        self.hear(*said)
        for up, payload in messages:
            for _ in range(self._copies()):
                self._backend_takes(up, payload)

    def _backend_takes(self, kind: Up, payload: bytes) -> None:
        if kind is not Up.DISPOSITION:
            return
        fields = unverified_fields("disposition", payload)
        assert self.stored.setdefault(fields[7], payload) == payload, "one number, one disposition"
        self.open.pop(fields[3], None)
        self.answered.add(fields[3])
        upto = 0
        while upto + 1 in self.stored:
            upto += 1
        digest = hashlib.sha256(self.stored[upto]).digest() if upto else None
        for _ in range(self._copies()):
            self.feed(MessageArrived(kind=Down.RECEIPT, payload=receipt(upto, digest)))

    # --- what must hold ---

    def check(self, orders: tuple[bytes, ...]) -> None:
        names = {cmd_id_of(order) for order in orders}
        assert set(self.mcu.acted) == names, "no order is lost, none is invented"
        assert set(self.mcu.acted.values()) <= {1}, "none is acted on twice"
        assert self.answered == names, "the backend has the answer of each"
        assert sorted(self.stored) == list(range(1, self.mcu.seq + 1)), "and no number is missing"
        assert self.mcu.ring == {}, "the microcontroller may forget them all"
        assert self.box.disk.image.arrivals == (), "nothing waits any more"
        assert all(item.is_receipted for item in self.box.disk.image.answers)
        assert self.box.counts["dispositions_conflicting"] == 0
        assert EPOCH in {item.epoch for item in self.box.disk.image.answers}
