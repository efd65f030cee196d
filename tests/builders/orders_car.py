"""One car in virtual time: the agent's engine, the microcontroller's brain, and a small backend.

The line carries bodies without frames. What bus and receiver say is `facts`: the agent's own FACTS are
replaced by them, so that a test says what the car does, or what a lying agent swears. The backend answers
questions for time, documents and go tokens, repeats orders, and receipts dispositions.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

from device.events import McuChanged, McuReceived, MessageArrived, Tick
from device.orders.link import LinkKind
from protocol import strict_cbor
from protocol.authority_bundle import (
    DocumentKind,
    RequestForm,
    decode_authority_question,
    encode_bundle,
    request_form,
    unverified_fields,
)
from protocol.errors import ProtocolError
from protocol.signed_time import TimeToken, open_time_request, sign_time_token
from protocol.topics import Down, Up
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import documents
from tests.builders.engine import DEVICE, DEVICE_KEYS, SECOND
from tests.builders.mcu import PARKED_FACTS, Box
from tests.builders.orders_desk import Disk, OrderBox, receipt

if TYPE_CHECKING:
    from device.events import EngineEvent
    from protocol.orders import State

STEPS = 4  # rounds of the brain in a step of the world: one message each


class Car:
    """See the module.

    Args:
        mcu: the microcontroller, as far as it has come without an agent.
        loss: chance that a message of the broker is lost, doubled or late, each.
        seed: of these chances.
    """

    def __init__(self, mcu: Box | None = None, *, loss: float = 0.0, seed: int = 1) -> None:
        self.mcu = mcu or Box.bound()
        self.mcu.is_agent_alive = False
        self.facts: dict[int, object] | None = dict(PARKED_FACTS)
        self.random, self.loss = random.Random(seed), loss
        self.agent = OrderBox(Disk())
        self.stored: dict[int, bytes] = {}
        self.grants_go = True
        self._late: list[tuple[Down, bytes]] = []
        self._seen = (0, 0, len(self.mcu.received))
        self.agent.now_us = self._now_us
        self.agent.connect()
        self.feed(McuChanged(is_up=True))
        self.run(4)

    @property
    def _now_us(self) -> int:
        return 1_000 * SECOND + self.mcu.board.now_ms * 1_000

    @property
    def state(self) -> State:
        return self.mcu.state

    def feed(self, event: EngineEvent) -> None:
        self.agent.feed(event)

    # --- faults ---

    def crash_agent(self) -> None:
        """The agent starts anew on its journal; line and link are new."""
        self.agent.sent.clear()
        self.agent.published.clear()
        self._seen = (0, 0, len(self.mcu.received))
        self.agent.start()
        self.agent.connect()
        self.feed(McuChanged(is_up=True))

    def reset_mcu(self) -> None:
        """The microcontroller starts anew; the agent does not notice."""
        self.mcu.reset("soft")

    # --- time ---

    def run(self, seconds: float, step_s: float = 2) -> None:
        end_ms = self.mcu.board.now_ms + int(seconds * 1_000)
        while self.mcu.board.now_ms < end_ms:
            self.mcu.board.now_ms = min(end_ms, self.mcu.board.now_ms + int(step_s * 1_000))
            self.agent.now_us = self._now_us
            self.feed(Tick())
            self._carry()

    def _carry(self) -> None:
        for _ in range(STEPS):
            sent, published, said = self._seen
            frames, messages = self.agent.sent[sent:], self.agent.published[published:]
            words = self.mcu.received[said:]
            self._seen = (len(self.agent.sent), len(self.agent.published), len(self.mcu.received))
            for kind, body in frames:
                if kind != LinkKind.FACTS:
                    self.mcu.brain.receive(kind, body)
                elif self.facts is not None:
                    self.mcu.brain.receive(kind, strict_cbor.dumps(self.facts))
            for kind, body in words:
                self.feed(McuReceived(kind=kind, body=body))
            for up, payload in messages:
                self._backend_takes(up, payload)
            late, self._late = self._late, []
            for down, payload in late:
                self.feed(MessageArrived(kind=down, payload=payload))
            self.mcu.step()

    # --- the backend ---

    def down(self, kind: Down, payload: bytes) -> None:
        """Publish to the box, as the broker does: once, or by chance never, twice, or late."""
        chance = self.random.random()
        if chance < self.loss:
            return
        if chance < 2 * self.loss:
            self._late.append((kind, payload))
        if chance < 3 * self.loss:
            self._late.append((kind, payload))
            return
        self.feed(MessageArrived(kind=kind, payload=payload))

    def order(self, message: bytes, *, tries: int = 1) -> None:
        """Send an order, again while it has no disposition."""
        for _ in range(tries):
            if not self.mcu.answers(message):
                self.down(Down.ORDER, message)
                self.run(20)

    def _backend_takes(self, kind: Up, payload: bytes) -> None:
        if self.random.random() < self.loss:
            return
        if kind is Up.DISPOSITION:
            self._store(payload)
        elif kind is Up.REQUEST:
            self._answer(payload)

    def _store(self, payload: bytes) -> None:
        fields = unverified_fields("disposition", payload)
        assert self.stored.setdefault(fields[7], payload) == payload
        upto = max(self.stored)
        while upto and not all(seq in self.stored for seq in range(min(self.stored), upto + 1)):
            upto -= 1
        digest = hashlib.sha256(self.stored[upto]).digest()
        self.down(Down.RECEIPT, receipt(upto, digest, chain=fields[6]))

    def _answer(self, payload: bytes) -> None:
        match request_form(payload):
            case RequestForm.GO if self.grants_go:
                self.down(Down.GO, self.mcu.go_token(request=payload))
            case RequestForm.AUTHORITY:
                self._supply(decode_authority_question(payload).digests)
            case RequestForm.OTHER:
                self._tell_time(payload)
            case _:
                pass

    def _supply(self, digests: tuple[bytes, ...]) -> None:
        named = {hashlib.sha256(document).digest(): document for document in documents().values()}
        bundle = [
            (DocumentKind.SNAPSHOT, documents()[f"authority/{name}"]) for name in ("platform", "lender")
        ]
        bundle += [(DocumentKind.DELEGATION, named[digest]) for digest in digests if digest in named]
        self.down(Down.AUTHORITY, encode_bundle(bundle))

    def _tell_time(self, payload: bytes) -> None:
        try:
            nonce = open_time_request(payload, DEVICE_KEYS.get, device=DEVICE).nonce
        except ProtocolError:
            return  # a standing request
        token = TimeToken(nonce=nonce, utc_us=self.mcu.now_s * SECOND)
        self.down(Down.TIME, sign_time_token(token, published_signer("receipt-1")))

    # --- the car ---

    def hear_warnings(self, cycles: int = 2) -> None:
        for _ in range(cycles):
            self.mcu.board.is_on = True
            self.run(30)
            self.mcu.board.is_on = False
            self.run(30)

    def lock(self, **changes: Any) -> bytes:
        """A LOCK for this car, now, as its signers make it."""
        return self.mcu.lock(**changes)
