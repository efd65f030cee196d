"""Everybody outside the car: officers who sign, the backend that carries, the gate that grants.

Rules: an officer signs a restricting order only over the challenge that the car signed; the backend sends
an order until a disposition names it, receipts what it stored, and answers questions; the gate signs a go
token only for an order it signed, that nobody withdrew or ended, in lawful hours, while nothing was paid.
All of them are strict and small: what they decide is what the checkers compare with.

Example: see `life`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from protocol import cose_sign, orders_payload, strict_cbor
from protocol.authority_bundle import (
    DocumentKind,
    RequestForm,
    decode_authority_question,
    encode_bundle,
    request_form,
)
from protocol.dispositions import Disposition, open_disposition
from protocol.envelope import Kind
from protocol.errors import ProtocolError
from protocol.orders import OrderType, State, sign_document, sign_order
from protocol.orders_vocabulary import FINAL
from protocol.receipts import Receipt, Stream, sign_receipt
from protocol.signed_time import TimeToken, open_time_request, sign_time_token
from protocol.topics import Down, Up
from protocol.vectors.keys import published_lookup, published_signer
from protocol.vectors.orders_story import (
    CONTRACT,
    DAY_S,
    JURISDICTION,
    LENDER_ID,
    MCU,
    VIN_BIND,
    digest,
    documents,
    signer,
)
from simulators.order_lives.agent import BACKEND_KEY, DEVICE, DEVICE_KEYS, SECOND_US

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

FINAL_STATES = frozenset(State(number) for number in FINAL)
RESEND_S = 40
RESTRICTING = (OrderType.LOCK, OrderType.RENEW, OrderType.WARN)
KLASS = {OrderType.UNLOCK: 1, OrderType.CANCEL: 1, OrderType.DECOMMISSION: 1, OrderType.QUERY: 2}
ABSENT = {OrderType.RENEW: (20, 23), OrderType.WARN: (15, 19, 23)}
HOURS = (480, 1_080)  # of the demonstration's jurisdiction, minutes of the day


@dataclass(slots=True, kw_only=True)
class Order:
    """An order that was signed by those who may.

    Attributes: message, payload, type, cmd_id, cmd_hash, fields, sent_s (last), is_answered, is_withdrawn.
    """

    message: bytes
    type: OrderType
    fields: dict[int, Any]
    cmd_hash: bytes
    sent_s: int = -(10**9)
    is_answered: bool = False
    is_withdrawn: bool = False

    @property
    def cmd_id(self) -> bytes:
        """Its name."""
        name: bytes = self.fields[2]
        return name


@dataclass(slots=True)
class Office:
    """Officers, backend and gate.

    Attributes:
        orders: by cmd_hash, all that were ever signed.
        stored: dispositions by (epoch, number).
        gos: go tokens granted: (cmd_hash, s of the world).
        forks: numbers that came twice with other content.
        wishes: restricting orders that wait for a challenge: (type, changes).
    """

    random: random.Random
    utc_s: Callable[[], int]
    orders: dict[bytes, Order] = field(default_factory=dict)
    stored: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    states: dict[bytes, State] = field(default_factory=dict)
    gos: list[tuple[bytes, int]] = field(default_factory=list)
    messages: list[tuple[Down, bytes]] = field(default_factory=list)
    wishes: list[tuple[OrderType, dict[int, object]]] = field(default_factory=list)
    outbox: list[tuple[Down, bytes]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    forks: int = 0
    is_paid: bool = False
    gate_is_away: bool = False
    episode: bytes = b"E" * 16
    epoch: bytes | None = None
    lost_epochs: set[bytes] = field(default_factory=set)
    counters: list[int] = field(default_factory=lambda: [0, 0, 0])
    asked_s: int = -(10**9)

    # --- officers ---

    def wish(self, order_type: OrderType, **changes: object) -> None:
        """Want a restricting order: it is signed when the car's challenge is here."""
        self.wishes.append((order_type, {int(name[4:]): value for name, value in changes.items()}))

    def release(self, order_type: OrderType, *by: str) -> Order:
        """Sign an UNLOCK, CANCEL, DECOMMISSION, and send it."""
        fields = self._common(order_type) | {12: None, 13: None, 14: None, 22: None}
        return self._issue(order_type, fields, *(signer(name) for name in by))

    def query(self) -> Order:
        """Sign a QUERY."""
        fields = self._common(OrderType.QUERY) | {12: self.utc_s() + 7_200, 13: None, 14: None}
        return self._issue(OrderType.QUERY, fields, signer("ombuds"))

    def _common(self, order_type: OrderType) -> dict[int, Any]:
        klass = KLASS.get(order_type, 0)
        self.counters[klass] += 1
        return {
            1: 1,
            2: self.random.randbytes(16),
            3: int(order_type),
            4: LENDER_ID,
            5: MCU.kid,
            6: VIN_BIND,
            7: CONTRACT,
            8: self.epoch,
            9: self.counters[klass],
            10: self.utc_s() - 600,
        }

    def _restrict(self, order_type: OrderType, asked: Any, changes: dict[int, object]) -> Order:  # noqa: ANN401 - fields as `orders_forms` says
        self.counters[0] = max(self.counters[0], asked[6][0])
        fields = self._common(order_type) | {
            8: asked[3],
            11: self.utc_s() - 300,
            12: self.utc_s() + DAY_S - 900,
            13: asked[4],
            14: asked[5] + DAY_S - 100,
            15: 259_200,
            16: 1,
            17: bytes(32),
            18: JURISDICTION,
            19: {1: 0},
            20: {1: 0, 2: 1},
            21: asked[7],
            22: None,
            23: {1: 3, 2: 86_400},
            24: self.episode,
        }
        fields |= changes
        fields = {key: value for key, value in fields.items() if key not in ABSENT.get(order_type, ())}
        people = (signer("maker"), signer("checker"), signer("gate", logged=True))
        return self._issue(order_type, fields, *people)

    def _issue(self, order_type: OrderType, fields: dict[int, Any], *people: Any) -> Order:  # noqa: ANN401 - OrderSigner
        return self.sign(order_type, sign_order(fields, *people), fields)

    def sign(self, order_type: OrderType, message: bytes, fields: dict[int, Any]) -> Order:
        """Keep an order that was signed; the backend sends it until it is answered."""
        name = hashlib.sha256(cose_sign.read_sign(message)[0]).digest()
        order = Order(message=message, type=order_type, fields=fields, cmd_hash=name)
        self.orders[name] = order
        self.counts[f"order_{order_type.name}"] += 1
        return order

    def withdraw(self) -> None:
        """Take back everything that restricts and has not ended: nothing more is granted for it."""
        self.wishes.clear()
        for order in self.orders.values():
            if order.type in RESTRICTING:
                order.is_withdrawn = True

    # --- backend: down ---

    def say(self, kind: Down, payload: bytes) -> None:
        """Send something down; kept, so that it can come again."""
        self.outbox.append((kind, payload))
        if kind is not Down.RECEIPT:
            self.messages.append((kind, payload))

    def tick(self) -> None:
        """Send again what nobody answered, and ask for a challenge while somebody wants to sign."""
        now_s = self.utc_s()
        for order in self.orders.values():
            if not order.is_answered and now_s - order.sent_s >= RESEND_S:
                order.sent_s = now_s
                self.say(Down.ORDER, order.message)
        if self.wishes and now_s - self.asked_s >= RESEND_S:
            self.asked_s = now_s
            question = {1: 1, 2: MCU.kid, 3: self.random.randbytes(16)}
            self.say(Down.CHALLENGE, strict_cbor.dumps(question))

    # --- backend: up ---

    def take(self, kind: Up, payload: bytes) -> None:
        """Take a message of the box."""
        if kind is Up.DISPOSITION:
            self._store(payload)
        elif kind is Up.CHALLENGE:
            self._challenge(payload)
        elif kind is Up.REQUEST:
            self._answer(payload)

    def _challenge(self, payload: bytes) -> None:
        asked = strict_cbor.loads(cose_sign.read_sign1(payload)[2])
        self.epoch = asked[3]
        if self.wishes and self.utc_s() - self.asked_s < 2 * RESEND_S:
            order_type, changes = self.wishes.pop(0)
            self._restrict(order_type, asked, changes)

    def _store(self, payload: bytes) -> None:
        found = open_disposition(payload, published_lookup("mcu-1"))
        at = (found.epoch, found.sequence)
        if self.stored.setdefault(at, payload) != payload:
            self.forks += 1
        self._note(found)
        chain = sorted(seq for epoch, seq in self.stored if epoch == found.epoch)
        upto = 0
        for seq in chain:
            upto = seq if seq == upto + 1 else upto
        head = hashlib.sha256(self.stored[found.epoch, upto]).digest() if upto else None
        beyond = [seq for seq in chain if seq > upto]
        receipt = Receipt(
            device=DEVICE,
            stream=Stream.DISPOSITION,
            chain=found.epoch,  # type: ignore[arg-type]
            upto=upto,
            hash=head,
            have=(),
            refused=(),
            want=(),
            issued_us=self.utc_s() * SECOND_US,
        )
        self.counts["receipts_with_gap"] += bool(beyond)
        self.say(Down.RECEIPT, sign_receipt(receipt, BACKEND_KEY))

    def _note(self, found: Disposition) -> None:
        order = self.orders.get(found.cmd_hash)
        if order is None:
            if found.state is State.FAULT_RELEASED:
                self.lost_epochs.add(found.epoch)  # the car has lost its state: whatever was open is over
                self.withdraw()
                self.epoch = found.epoch
            return
        order.is_answered = True
        before = self.states.get(found.cmd_hash)
        if before is None or before not in FINAL_STATES:
            self.states[found.cmd_hash] = found.state

    def _answer(self, payload: bytes) -> None:
        match request_form(payload):
            case RequestForm.GO:
                self._grant(payload)
            case RequestForm.AUTHORITY:
                self._supply(decode_authority_question(payload).digests)
            case RequestForm.OTHER:
                self._tell_time(payload)
            case unknown:
                assert_never(unknown)

    def _supply(self, digests: tuple[bytes, ...]) -> None:
        named = {hashlib.sha256(document).digest(): document for document in documents().values()}
        bundle = [
            (DocumentKind.SNAPSHOT, documents()[f"authority/{name}"]) for name in ("platform", "lender")
        ]
        bundle += [(DocumentKind.DELEGATION, named[digest]) for digest in digests if digest in named]
        self.say(Down.AUTHORITY, encode_bundle(bundle))

    def _tell_time(self, payload: bytes) -> None:
        try:
            nonce = open_time_request(payload, DEVICE_KEYS.get, device=DEVICE).nonce
        except ProtocolError:
            return  # a standing request
        token = TimeToken(nonce=nonce, utc_us=self.utc_s() * SECOND_US)
        self.say(Down.TIME, sign_time_token(token, published_signer("receipt-1")))

    # --- the gate ---

    def is_lawful(self) -> bool:
        """Whether the jurisdiction's hours allow a lock now."""
        now_s = self.utc_s()
        return HOURS[0] <= now_s // 60 % 1_440 < HOURS[1] and is_business_day(now_s)

    def _grant(self, payload: bytes) -> None:
        if self.gate_is_away:
            self.counts["go_while_gate_away"] += 1
            return
        asked = orders_payload.read_document("go-request", cose_sign.read_sign1(payload)[2])
        order = self.orders.get(asked[3])
        if order is None:
            self.counts["go_for_stranger"] += 1
            return
        if not self.is_lawful():
            self.counts["go_out_of_hours"] += 1
            return
        is_over = self.states.get(order.cmd_hash) in FINAL_STATES or order.is_withdrawn or self.is_paid
        fields = {
            1: 1,
            2: MCU.kid,
            3: asked[3],
            4: asked[4],
            5: 2 if is_over else 1,
            6: self.utc_s(),
            7: [4, 21],
            8: bytes(32),
            9: digest("gate"),
        }
        if not is_over:
            self.gos.append((order.cmd_hash, self.utc_s()))
        self.counts["go_refused" if is_over else "go_granted"] += 1
        self.say(Down.GO, sign_document(Kind.GO, fields, published_signer("gate-1")))


def is_business_day(utc_s: int) -> bool:
    """Return whether a POSIX second falls on Monday to Friday."""
    return (utc_s // 86_400 + 3) % 7 < 5
