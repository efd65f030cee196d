"""A box with a microcontroller, driven by hand: engine, order journal in memory, and links that fail.

`OrderBox` carries the engine's effects out. `journal` is what the disk holds; a crash keeps it and loses the
engine. `FakeMcu` answers as the microcontroller's link does, with real signatures by D1, and keeps its state
over the agent's crashes; it holds no rule of acceptance, so a test says what it answers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from device.config import OrdersConfig
from device.effects import AnswerAtCar, PublishBatch, PublishMessage, SendMcu, StoreBatch, WriteJournal
from device.events import (
    BatchPublished,
    BatchStored,
    EngineEvent,
    JournalFailed,
    JournalWritten,
    McuChanged,
    McuReceived,
    MessageArrived,
    Tick,
    UplinkConnected,
    UplinkLost,
)
from device.order_state import JournalImage
from device.orders.link import LinkKind
from device.state import ChainId, ChainRecord, SpoolImage
from device.tbox import TBox
from protocol import cose_sign, orders_payload, strict_cbor
from protocol.batch import Origin, OriginKind
from protocol.clock import ClockClass, Instant
from protocol.envelope import Kind
from protocol.orders import OrderSigner, OrderType, Role, sign_document, sign_order
from protocol.receipts import Receipt, Stream, sign_receipt
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import disposition_fields, restricting
from protocol.vectors.orders_story import EPOCH, MCU, NOW_S
from tests.builders.engine import BACKEND_KEY, DEVICE, DEVICE_KEY, SECOND, config, plans

if TYPE_CHECKING:
    from device.effects import Effect
    from device.order_state import JournalChange
    from protocol.topics import Down, Up

NONCE = bytes(range(16))


def status(**changes: Any) -> bytes:
    """A STATUS of the bound car at rest; changes are named by key, as `key_5=6`."""
    fields: dict[int, object] = {
        1: 1,
        2: MCU.kid,
        3: EPOCH,
        4: 1,
        5: 0,
        6: None,
        7: 50_000,
        8: [10, 20, 30],
        9: bytes(32),
        10: None,
        11: None,
        12: {"bad_sig": 0},
        13: [bytes(32), True],
        14: [],
        15: 0,
        16: False,
        17: False,
    }
    fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
    return bytes(strict_cbor.dumps(fields))


def disposition(seq: int, order: bytes | None = None, *, state: int = 3, **changes: Any) -> bytes:
    """A disposition by D1 about an order, numbered."""
    fields = disposition_fields() | {7: seq, 8: None if seq == 1 else bytes(32), 9: state}
    if order is not None:
        payload, _ = cose_sign.read_sign(order)
        fields |= {3: orders_payload.read_order(payload)[0][2], 4: hashlib.sha256(payload).digest()}
    fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
    return sign_document(Kind.DISPOSITION, fields, MCU)


def receipt(upto: int, digest: bytes | None, **changes: Any) -> bytes:
    """The backend's receipt of dispositions."""
    fields: dict[str, Any] = {
        "device": DEVICE,
        "stream": Stream.DISPOSITION,
        "chain": ChainId(EPOCH),
        "upto": upto,
        "hash": digest,
        "have": (),
        "refused": (),
        "want": (),
        "issued_us": NOW_S * SECOND,
    } | changes
    return sign_receipt(Receipt(**fields), BACKEND_KEY)


@dataclass
class Disk:
    """The order journal as the disk holds it."""

    image: JournalImage = field(default_factory=JournalImage)

    def apply(self, change: JournalChange) -> None:
        kept = {item.digest: item for item in self.image.arrivals}
        kept |= {item.digest: item for item in change.add if item.digest not in kept}
        answers = {item.digest: item for item in self.image.answers}
        answers |= {item.digest: item for item in change.answer if item.digest not in answers}
        marks = ((change.receipted, True), (change.reopened, False))
        for digests, is_receipted in marks:
            for digest in digests:
                if digest in answers:
                    answers[digest] = replace(answers[digest], is_receipted=is_receipted)
        for digest in change.refused:
            if digest in answers:
                answers[digest] = replace(answers[digest], is_refused=True)
        self.image = JournalImage(
            arrivals=tuple(item for digest, item in kept.items() if digest not in change.remove),
            answers=tuple(item for digest, item in answers.items() if digest not in change.forget),
            order_head=change.order_head or self.image.order_head,
            disposition_head=change.disposition_head or self.image.disposition_head,
        )


class OrderBox:
    """A box between a backend and a microcontroller.

    Args:
        disk: what an earlier life left.
        is_journal_slow: the disk answers only when `flush` is called.
    """

    def __init__(self, disk: Disk | None = None, *, is_journal_slow: bool = False, **changes: Any) -> None:
        self.disk = disk or Disk()
        self.is_journal_slow = is_journal_slow
        self.is_journal_broken = False
        self.now_us = 1_000 * SECOND
        self.sent: list[tuple[int, bytes]] = []
        self.urgent: list[bytes] = []
        self.published: list[tuple[Up, bytes]] = []
        self.told: list[AnswerAtCar] = []
        self.pending: list[JournalChange] = []
        self.batches: list[bytes] = []
        self._changes = {"orders": OrdersConfig()} | changes
        self.start()

    def start(self) -> None:
        """A new life of the agent on the same journal; the spool of batches begins anew."""
        chain = ChainRecord(
            chain=ChainId(bytes(16)),
            salt_secret=bytes(32),
            origin=Origin(kind=OriginKind.FIRST, last_head=None),
        )
        self.pending.clear()
        self.box = TBox(
            config(**self._changes),
            plans=plans(),
            signer=DEVICE_KEY,
            image=SpoolImage(chain=chain, is_fresh=True),
            now=self.now,
            orders=self.disk.image,
        )

    crash = start

    @property
    def now(self) -> Instant:
        return Instant(
            mono_us=self.now_us,
            utc_us=NOW_S * SECOND + self.now_us - 1_000 * SECOND,
            clock=ClockClass.NETWORK,
            error_us=SECOND,
        )

    def feed(self, event: EngineEvent) -> None:
        for effect in self.box.handle(event, self.now):
            self._carry_out(effect)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_us += SECOND
            self.feed(Tick())

    # --- what a test does ---

    def connect(self) -> None:
        self.feed(UplinkConnected())

    def disconnect(self) -> None:
        self.feed(UplinkLost())

    def mcu_up(self, first: bytes | None = None) -> None:
        self.feed(McuChanged(is_up=True))
        self.hear(LinkKind.STATUS, first or status())

    def mcu_down(self) -> None:
        self.feed(McuChanged(is_up=False, detail="gone"))

    def hear(self, kind: int, body: bytes) -> None:
        self.feed(McuReceived(kind=int(kind), body=body))

    def down(self, kind: Down, payload: bytes) -> None:
        self.feed(MessageArrived(kind=kind, payload=payload))

    def flush(self) -> None:
        """The disk takes what waits."""
        waiting, self.pending = self.pending, []
        for change in waiting:
            self._write(change)

    # --- what a test sees ---

    def bodies(self, kind: LinkKind) -> list[bytes]:
        return [body for sent, body in self.sent if sent == kind]

    def uplinked(self, kind: Up) -> list[bytes]:
        return [payload for sent, payload in self.published if sent is kind]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.box.metrics())

    def _write(self, change: JournalChange) -> None:
        if self.is_journal_broken:
            self.feed(JournalFailed(number=change.number, detail="disk full"))
        else:
            self.disk.apply(change)
            self.feed(JournalWritten(number=change.number))

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case WriteJournal(change=change) if self.is_journal_slow:
                self.pending.append(change)
            case WriteJournal(change=change):
                self._write(change)
            case SendMcu(kind=kind, body=body, is_urgent=is_urgent):
                self.sent.append((kind, body))
                if is_urgent:
                    self.urgent.append(body)
            case PublishMessage(kind=kind, payload=payload):
                self.published.append((kind, payload))
            case AnswerAtCar():
                self.told.append(effect)
            case StoreBatch(batch=batch):
                self.batches.append(batch.payload)
                self.feed(BatchStored(key=batch.key))
            case PublishBatch(key=key):
                self.feed(BatchPublished(key=key))
            case _:
                pass


def stranger_lock() -> bytes:
    """An order that decodes and that nobody entitled has signed."""
    by = OrderSigner(signer=published_signer("stranger"), role=Role.MAKER, delegation=bytes(32))
    return sign_order(restricting(OrderType.LOCK, ctr=999), by)
