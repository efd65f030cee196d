"""A microcontroller in virtual time: a fake board with faults, the brain on it, and the people who order.

Rules: `FakeBoard` is plain memory; each call may be the one at which the power goes (`cut_after`), and a slot
or blob that is being written then keeps only a part. `Box` is one car: it holds what survives a reset (flash,
blobs, RTC, ticks of the world), starts the brain again, and speaks for the agent. Everyone who signs is of
the story of the order vectors, with published keys.

Example:
    box = Box.locked()          # provisioned, bound, warned, parked, locked
    box.turn_key(crank=True)    # the starter is inhibited
    box.cut_power(off_s=3_600)  # and back
    box.send_order(box.unlock())
"""

from __future__ import annotations

import itertools
from hashlib import sha256
from typing import Any, Self

from device.mcu import brain as brain_module
from device.mcu import floors as production_floors
from device.mcu.brain import Brain
from device.mcu.sign import SigningKey
from protocol import cose_sign, strict_cbor
from protocol.dispositions import Disposition, open_disposition
from protocol.envelope import Kind
from protocol.orders import (
    Code,
    OrderSigner,
    OrderType,
    Role,
    State,
    check_signature,
    cmd_hash,
    sign_document,
    sign_order,
)
from protocol.signed_time import TimeToken, sign_time_token
from protocol.vectors.keys import published_lookup, published_scalar, published_signer
from protocol.vectors.orders_story import (
    CONTRACT,
    DAY_S,
    JURISDICTION,
    LENDER_ID,
    MCU,
    NOW_S,
    VIN_BIND,
    digest,
    documents,
    signer,
)
from protocol.vectors.story import fixed_bytes
from simulators.order_lives.world import FIRMWARE
from simulators.order_lives.world import provision_fields as story_provision

EPISODE = fixed_bytes("episode")
PARKED_FACTS = {
    1: [0, 0],
    2: [0, 0, 0],
    3: [0, 10, 3],
    4: [200, 10],
    5: 600,
    6: True,
    7: False,
    8: False,
    9: False,
    10: False,
    11: False,
}


class PowerCutError(Exception):
    """The power went in the middle of a call of the board."""


class FakeBoard:
    """See `FakeBoard` in the module; wires are attributes.

    Attributes:
        now_ms: ms since the first power-on of the world; a reset does not turn it back.
        cut_after: calls until the power goes; None never.
        torn_bytes: of a write at which it goes, how many arrive.
        refuses_writes: a flash that has worn out.
    """

    def __init__(self, seed: int = 1) -> None:
        self.now_ms = 0
        self.boot_ms = 0
        self.rtc_lost = False
        self.cause = "power"
        self.slots: list[bytes | None] = [None, None]
        self.blobs: dict[str, bytes] = {}
        self.supply, self.is_on, self.is_cranking, self.is_running = 12_600, False, False, False
        self.is_pressed, self.acceleration = False, "still"
        self.coil = self.warn = self.linux = self.lamp = False
        self.sensed_stuck: bool | None = None
        self.hears = True
        self.calls = 0
        self.feeds = 0
        self.cut_after: int | None = None
        self.torn_bytes = 0
        self.refuses_writes = False
        self.coil_log: list[bool] = []
        self._random = itertools.count(seed << 32)

    def _call(self) -> None:
        self.calls += 1
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after < 0:
                raise PowerCutError

    def ticks_ms(self) -> int:
        self._call()
        return self.now_ms - self.boot_ms

    def rtc_s(self) -> int | None:
        self._call()
        return None if self.rtc_lost else 1_000_000 + self.now_ms // 1_000

    def supply_mv(self) -> int:
        self._call()
        return self.supply

    def ignition(self) -> bool | None:
        self._call()
        return self.is_on

    def crank(self) -> bool | None:
        self._call()
        return self.is_cranking

    def engine_running(self) -> bool | None:
        self._call()
        return self.is_running

    def button(self) -> bool:
        self._call()
        return self.is_pressed

    def accel(self) -> str | None:
        self._call()
        return self.acceleration

    def relay_sensed(self) -> bool | None:
        self._call()
        return self.coil if self.sensed_stuck is None else self.sensed_stuck

    def warn_heard(self) -> bool:
        self._call()
        return self.warn and self.hears

    def set_coil(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        self._call()
        self.coil = on
        self.coil_log.append(on)

    def set_warn(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        self._call()
        self.warn = on

    def set_lamp(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        self._call()
        self.lamp = on

    def wake_linux(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        self._call()
        self.linux = on

    def feed(self) -> None:
        self._call()
        self.feeds += 1

    def random(self, count: int) -> bytes:
        self._call()
        return sha256(next(self._random).to_bytes(8, "big")).digest()[:count]

    def slot_read(self, index: int) -> bytes | None:
        self._call()
        return self.slots[index]

    def slot_write(self, index: int, data: bytes) -> None:
        if self.refuses_writes:
            data = data[:100]
        self.slots[index] = data[: self.torn_bytes]
        self._call()
        self.slots[index] = data

    def blob_read(self, name: str) -> bytes | None:
        self._call()
        return self.blobs.get(name)

    def blob_write(self, name: str, data: bytes) -> None:
        self.blobs[name] = data[: self.torn_bytes]
        self._call()
        self.blobs[name] = data

    def reset_cause(self) -> str:
        self._call()
        return self.cause

    def wires(self) -> list[object]:
        """Return what the inputs say, for a script."""
        return [
            self.supply,
            self.is_on,
            self.is_cranking,
            self.is_running,
            self.is_pressed,
            self.acceleration,
        ]

    def lose_power(self) -> None:
        """Let everything go that needs power."""
        self.coil = self.warn = self.linux = False
        self.cut_after = None


class Box:
    """A car with its box, its agent and everyone who orders; see the module."""

    def __init__(
        self, *, floors: Any = production_floors, seed: int = 1, verify: Any = check_signature
    ) -> None:
        self.board = FakeBoard(seed)
        self.floors, self.verify = floors, verify
        self.facts: dict[int, object] | None = dict(PARKED_FACTS)
        self.is_agent_alive = True
        self.sends_time = True
        self.dispositions: list[bytes] = []
        self.received: list[tuple[int, bytes]] = []
        self.challenge: bytes | None = None
        self.go_requests: list[bytes] = []
        self.counters = [0, 0, 0]
        self._ids = itertools.count(1)
        self.script: list[list[object]] = []
        self.start()

    # --- Life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the brain after a reset."""
        key = SigningKey(published_scalar("mcu-1"), None)
        self.brain = Brain(self.board, key, self.floors, self.verify, {"firmware": FIRMWARE})
        self.collect()

    def reset(self, cause: str = "watchdog") -> None:
        """Reset the brain; the board's counts start again, the world's time does not."""
        self.board.lose_power()
        self.script.append(["reset", cause, self.board.now_ms])
        self.board.cause = cause
        self.board.boot_ms = self.board.now_ms
        self.start()

    def cut_power(self, off_s: int = 0, *, rtc_lost: bool = False) -> None:
        """Take the power away for some time."""
        self.board.lose_power()
        self.board.now_ms += 1_000 * off_s
        self.board.rtc_lost = rtc_lost
        self.reset("power")
        self.board.rtc_lost = False

    def run(self, seconds: float, step_s: float = 2) -> None:
        """Let time pass; the agent sends its facts and takes what comes."""
        end_ms = self.board.now_ms + int(seconds * 1_000)
        while self.board.now_ms < end_ms:
            self.board.now_ms = min(end_ms, self.board.now_ms + int(step_s * 1_000))
            self.step()

    def step(self) -> None:
        """Do one round of the firmware's loop."""
        if self.is_agent_alive and self.facts is not None:
            self.receive(brain_module.FACTS, strict_cbor.dumps(self.facts))
        self.script.append(["step", self.board.now_ms, self.board.wires()])
        self.brain.step()
        self.collect()

    def receive(self, kind: int, body: bytes) -> None:
        """Give the brain a message, without a step."""
        self.script.append(["message", kind, body.hex()])
        self.brain.receive(kind, body)

    def collect(self) -> None:
        """Take what the brain sends, as a living agent does."""
        for kind, body in self.brain.outgoing():
            self.hear(kind, body)

    def hear(self, kind: int, body: bytes) -> None:
        """Take one message of the microcontroller."""
        self.received.append((kind, body))
        if kind == brain_module.DISPOSITION and body not in self.dispositions:
            self.dispositions.append(body)
        elif kind == brain_module.CHALLENGE:
            self.challenge = body
        elif kind == brain_module.GO_REQUEST:
            self.go_requests.append(body)

    def send(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        """Give the brain a message and let it work until its queue is empty; return what it sent."""
        mark = len(self.received)
        self.receive(kind, body)
        self.step()
        self.step()
        return self.received[mark:]

    # --- What the agent knows -------------------------------------------------------------------------------

    @property
    def status(self) -> dict[int, Any]:
        """The last STATUS."""
        body = next(body for kind, body in reversed(self.received) if kind == brain_module.STATUS)
        fields: dict[int, Any] = strict_cbor.loads(body)
        return fields

    @property
    def state(self) -> State:
        """Of the LOCK that is open, NONE without one."""
        lock = self.brain.record.open[int(OrderType.LOCK)]
        return State.NONE if lock is None else State(lock.state)

    @property
    def chain(self) -> list[Disposition]:
        """All dispositions, verified, in the order in which they came."""
        return [open_disposition(data, published_lookup("mcu-1")) for data in self.dispositions]

    @property
    def last(self) -> Disposition:
        """The newest disposition."""
        return self.chain[-1]

    def answers(self, order: bytes) -> list[tuple[State, Code]]:
        """State and code of all dispositions about an order."""
        name = cmd_hash(cose_sign.read_sign(order)[0])
        return [(found.state, found.code) for found in self.chain if found.cmd_hash == name]

    def link_codes(self) -> list[str]:
        """Words of the link codes so far."""
        return [strict_cbor.loads(body)[1] for kind, body in self.received if kind == brain_module.LINK_CODE]

    def events(self) -> list[str]:
        """Words of the events so far."""
        return [strict_cbor.loads(body)[1] for kind, body in self.received if kind == brain_module.EVENT]

    def acknowledge(self) -> None:
        """Journal all dispositions."""
        if self.dispositions:
            self.send(brain_module.DISPOSITION_ACK, strict_cbor.dumps({1: self.last.sequence}))

    # --- Making a car ---------------------------------------------------------------------------------------

    @property
    def now_s(self) -> int:
        """UTC of the world, s."""
        return NOW_S + self.board.now_ms // 1_000

    def provision(self, *, start_type: str = "turn-key", lender_known: bool = True) -> None:
        """Give an empty box its roots."""
        self.send(
            brain_module.PROVISION, strict_cbor.dumps(provision_fields(start_type, lender_known=lender_known))
        )

    def tell_time(self) -> None:
        """Answer the nonce of STATUS with a signed time."""
        nonce = self.status[11]
        token = sign_time_token(
            TimeToken(nonce=nonce, utc_us=self.now_s * 1_000_000), published_signer("receipt-1")
        )
        self.send(brain_module.TIME, token)

    def give(self, name: str) -> None:
        """Give a document of the story, as `delegation/maker`."""
        kind = {"delegation": 1, "authority": 2}[name.partition("/")[0]]
        self.send(brain_module.AUTHORITY, strict_cbor.dumps([kind, documents()[name]]))

    def give_all(self) -> None:
        """Give both snapshots and the delegations that a lock's life needs."""
        for name in ("authority/platform", "authority/lender"):
            self.give(name)
            self.run(40)
        for role in ("maker", "checker", "gate", "safety-officer", "ombuds", "installer"):
            self.give(f"delegation/{role}")
            self.run(40)

    def ask_challenge(self) -> bytes:
        """Ask for the challenge; return it."""
        question = {1: 1, 2: MCU.kid, 3: fixed_bytes("question")}
        self.send(brain_module.CHALLENGE_QUESTION, strict_cbor.dumps(question))
        self.run(10)
        assert self.challenge is not None
        payload = cose_sign.read_sign1(self.challenge)[2]
        chal: bytes = strict_cbor.loads(payload)[4]
        return chal

    def bind(self) -> bytes:
        """Bind the car to its lender; return the order."""
        chal = self.ask_challenge()
        fields = self.common(OrderType.BIND) | {
            12: self.now_s + 3_600,
            13: chal,
            14: self.brain.tick + 3_600,
            18: JURISDICTION,
            25: None,
        }
        mcu = OrderSigner(signer=MCU, role=Role.MCU)
        order = sign_order(fields, mcu, signer("installer"), signer("gate"))
        self.send_order(order)
        return order

    @classmethod
    def bound(cls, **options: Any) -> Self:
        """Return a car that waits for orders."""
        box = cls(**options)
        box.provision()
        box.run(4)
        box.tell_time()
        box.give_all()
        box.bind()
        box.acknowledge()
        assert box.brain.record.mode == 1
        return box

    # --- Orders ---------------------------------------------------------------------------------------------

    def common(self, order_type: OrderType, ctr: int | None = None) -> dict[int, object]:
        """Return the keys that every order has; the counter rises by itself."""
        klass = {1: 0, 3: 0, 5: 0, 2: 1, 4: 1, 9: 1}.get(int(order_type), 2)
        if ctr is None:
            self.counters[klass] = ctr = max(self.counters[klass], self.brain.record.heads[klass]) + 1
        return {
            1: 1,
            2: fixed_bytes(f"cmd {next(self._ids)}"),
            3: int(order_type),
            4: LENDER_ID,
            5: MCU.kid,
            6: VIN_BIND,
            7: CONTRACT,
            8: self.brain.record.epoch,
            9: ctr,
            10: self.now_s - 600,
        }

    def restricting(self, order_type: OrderType, **changes: object) -> bytes:
        """Return a LOCK, RENEW or WARN with the open challenge; changes by key as `key_15=3_600`."""
        chal = self.ask_challenge()
        fields = self.common(order_type) | {
            11: self.now_s - 300,
            12: self.now_s - 600 + DAY_S,
            13: chal,
            14: self.brain.tick + DAY_S - 100,
            15: 259_200,
            16: 1,
            17: fixed_bytes("basis", 32),
            18: JURISDICTION,
            19: {1: 0},
            20: {1: 0, 2: 1},
            21: self.brain.record.prev,
            22: None,
            23: {1: 3, 2: 86_400},
            24: EPISODE,
        }
        fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
        absent = {OrderType.RENEW: (20, 23), OrderType.WARN: (15, 19, 23)}.get(order_type, ())
        fields = {key: value for key, value in fields.items() if key not in absent}
        return sign_order(fields, signer("maker"), signer("checker"), signer("gate", logged=True))

    def lock(self, **changes: object) -> bytes:
        """Return a LOCK for this car, now."""
        return self.restricting(OrderType.LOCK, **changes)

    def warn(self, **changes: object) -> bytes:
        """Return a WARN for this car, now."""
        return self.restricting(OrderType.WARN, **changes)

    def renew(self, **changes: object) -> bytes:
        """Return a RENEW for this car, now."""
        return self.restricting(OrderType.RENEW, **changes)

    def unlock(self, by: str = "maker") -> bytes:
        """Return an UNLOCK by one role."""
        return self.releasing(OrderType.UNLOCK, by)

    def releasing(self, order_type: OrderType, *by: str) -> bytes:
        """Return an UNLOCK, CANCEL or DECOMMISSION."""
        fields = self.common(order_type) | {12: None, 13: None, 14: None, 22: None}
        return sign_order(fields, *(signer(name) for name in by))

    def query(self, by: str = "ombuds") -> bytes:
        """Return a QUERY."""
        fields = self.common(OrderType.QUERY) | {12: self.now_s + 3_600, 13: None, 14: None}
        return sign_order(fields, signer(by))

    def trace(self) -> bytes:
        """Return a TRACE by maker and checker."""
        fields = self.common(OrderType.TRACE) | {
            12: self.now_s + 3_600,
            13: None,
            14: None,
            17: fixed_bytes("basis of a trace", 32),
            26: [fixed_bytes("chain"), 4, 9, 4],
        }
        return sign_order(fields, signer("maker"), signer("checker"))

    def send_order(self, order: bytes) -> list[tuple[int, bytes]]:
        """Hand an order over."""
        return self.send(brain_module.ORDER, order)

    def go_token(
        self, *, verdict: int = 1, forecast: tuple[int, int] | None = (4, 21), request: bytes = b""
    ) -> bytes:
        """Return the gate's answer to the last go request."""
        asked = strict_cbor.loads(cose_sign.read_sign1(request or self.go_requests[-1])[2])
        fields = {
            1: 1,
            2: MCU.kid,
            3: asked[3],
            4: asked[4],
            5: verdict,
            6: self.now_s,
            7: None if forecast is None else list(forecast),
            8: fixed_bytes("loan facts", 32),
            9: digest("gate"),
        }
        return sign_document(Kind.GO, fields, published_signer("gate-1"))

    def send_go(self, **options: Any) -> None:
        """Answer the last go request."""
        self.send(brain_module.GO, self.go_token(**options))

    # --- The car --------------------------------------------------------------------------------------------

    def turn_key(self, *, crank: bool = False) -> None:
        """Turn the ignition on, and crank: the engine runs unless the coil holds the starter."""
        self.board.is_on = True
        self.step_ms(100)
        if crank:
            self.board.is_cranking = True
            self.step_ms(100)
            if not self.board.coil:
                self.board.is_running = True
            self.board.is_cranking = False
            self.step_ms(100)

    def step_ms(self, span_ms: int) -> None:
        """Let some ms pass in one step."""
        self.board.now_ms += span_ms
        self.step()

    def park(self) -> None:
        """Everything off and still."""
        self.board.is_on = self.board.is_cranking = self.board.is_running = False
        self.board.acceleration = "still"
        self.facts = dict(PARKED_FACTS)

    def drive(self, seconds: float = 60) -> None:
        """Start and drive; the coil permitting."""
        self.turn_key(crank=True)
        assert self.board.is_running, "the starter is inhibited"
        self.board.acceleration = "moving"
        self.facts = {**PARKED_FACTS, 1: [15_000, 0], 2: [15_000, 0, 0], 10: True, 11: True}
        self.run(seconds)
        self.park()

    def hear_warnings(self, cycles: int = 2) -> None:
        """Turn the ignition on and off again, the warning being heard."""
        for _ in range(cycles):
            self.board.is_on = True
            self.run(30)
            self.board.is_on = False
            self.run(30)

    @classmethod
    def armed(cls, **options: Any) -> Self:
        """Return a car whose LOCK is armed and asks for its go token."""
        changes = options.pop("lock", {})
        box = cls.bound(**options)
        box.order = box.lock(**changes)
        box.send_order(box.order)
        box.hear_warnings()
        while box.state is not State.ARMED and box.brain.tick < 4_000:
            box.run(10)
        assert box.state is State.ARMED, (box.state, box.brain.wait)
        return box

    @classmethod
    def locked(cls, **options: Any) -> Self:
        """Return a car that was locked in due form."""
        box = cls.armed(**options)
        box.send_go()
        box.run(4)
        assert box.state is State.LOCKED, (box.state, box.brain.wait)
        return box

    order: bytes = b""


def provision_fields(start_type: str = "turn-key", *, lender_known: bool = True) -> dict[int, object]:
    """Return the map of PROVISION for the story; a lender that is not known is introduced later."""
    fields = story_provision(start_type)
    return fields if lender_known else fields | {8: []}
