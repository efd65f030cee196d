"""A box driven by hand: engine and real spool, a link that can fail in every way, and a backend that is
strict and small.

`Box` carries the engine's effects out; nothing happens that a test did not ask for. `Ledger` is the backend
as the protocol demands it: it verifies each batch with `protocol.open_batch`, keeps one batch per (chain,
seq), links them, and answers with a signed receipt. Time is a number that tests move.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.asymmetric import ec

from device.acquisition.lot import FrameLot
from device.acquisition.sample import Sampler, SampleRule
from device.acquisition.table import Column, DecodeTable, Group, Message
from device.adapters.sqlite_spool import SqliteSpool
from device.config import BatchLimits, EngineConfig, SpoolLimits, UplinkLimits
from device.effects import (
    Effect,
    FreeBatches,
    PublishBatch,
    PublishMessage,
    Report,
    SealedBatch,
    SetClock,
    StoreBatch,
)
from device.events import (
    BatchPublished,
    BatchStored,
    EngineEvent,
    FramesReceived,
    MessageArrived,
    PublishFailed,
    Tick,
    UplinkConnected,
    UplinkLost,
    Urgent,
)
from device.intake import BusPlan
from device.state import BatchKey, BootId, ChainId
from device.tbox import TBox
from protocol.batch import ChainHead, OpenedBatch, Section, open_batch
from protocol.clock import ClockClass, Instant
from protocol.envelope import SoftwareSigner
from protocol.facts import Event, Facts, decode_facts
from protocol.fixes import Precision
from protocol.ids import cose_key_bytes, device_id
from protocol.limits import RECEIPT_HAVE_MAX, RECEIPT_REFUSED_MAX, RECEIPT_WANT_MAX
from protocol.receipts import Have, Receipt, RefusalCode, Stream, sign_receipt
from protocol.signals import RawType, decode_signals
from protocol.standing import is_standing_request, open_standing_request
from protocol.topics import Down

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SECOND = 1_000_000
TODAY_US = 1_795_500_000 * SECOND
DEVICE_KEY = SoftwareSigner(ec.derive_private_key(11, ec.SECP256R1()))
BACKEND_KEY = SoftwareSigner(ec.derive_private_key(12, ec.SECP256R1()))
STRANGER_KEY = SoftwareSigner(ec.derive_private_key(13, ec.SECP256R1()))
DEVICE = device_id(DEVICE_KEY.public_key)
DEVICE_KEYS = {DEVICE_KEY.kid: DEVICE_KEY.public_key}

MOTION_ID, BODY_ID, UNKNOWN_ID = 0x130, 0x131, 0x7FF


def column(signal: str, start: int, bits: int) -> Column:
    return Column(
        signal=signal,
        raw_type=RawType.UINT,
        bits=bits,
        start=start,
        is_big_endian=False,
        scale=1,
        offset=0,
        unit=None,
    )


TABLE = DecodeTable(
    dbc_hash=hashlib.sha256(b"a small car").digest(),
    messages=(
        Message(can_id=MOTION_ID, name="Motion", length=8, group=0, selectors=()),
        Message(can_id=BODY_ID, name="Body", length=8, group=1, selectors=()),
    ),
    groups=(
        Group(
            can_id=MOTION_ID,
            message="Motion",
            branch=None,
            columns=(column("Speed", 0, 16), column("Count", 16, 32)),
        ),
        Group(can_id=BODY_ID, message="Body", branch=None, columns=(column("Ignition", 0, 1),)),
    ),
)


def plans(**changes: Any) -> dict[str, BusPlan]:
    """A car with one bus; changes go to the bus's plan."""
    sampler = changes.pop("sampler", None) or Sampler({}, SampleRule(keep_all=True))
    return {"can0": BusPlan.of("can0", TABLE, sampler=sampler, **changes)}


def motion_lot(t_us: int, counts: Iterable[int], bus: str = "can0") -> FrameLot:
    """Frames of Motion, 1 ms apart, whose Count is given: content that a test finds again."""
    frames = [
        (t_us + row * 1_000, MOTION_ID, struct.pack("<HIxx", count % 500, count))
        for row, count in enumerate(counts)
    ]
    return FrameLot.of(bus, frames)


def config(**changes: Any) -> EngineConfig:
    """A configuration with short, round times."""
    base = EngineConfig(
        device=DEVICE,
        boot=BootId(bytes(16)),
        backend_keys=(cose_key_bytes(BACKEND_KEY.public_key),),
        batch=BatchLimits(age_us=10 * SECOND),
        spool=SpoolLimits(quota_bytes=64 * 1024 * 1024, memory_batches=4, retry_us=SECOND),
        uplink=UplinkLimits(
            receipt_wait_us=2 * SECOND, backoff_first_us=SECOND, backoff_max_us=8 * SECOND, chain_rest_us=0
        ),
        precision=Precision.EXACT,
        tick_us=SECOND,
        jitter_seed=b"test",
    )
    return replace(base, **changes).checked()


class Draw:
    """Random bytes that repeat from run to run."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(size)


@dataclass
class Stored:
    """One batch as the ledger keeps it."""

    opened: OpenedBatch
    payload: bytes


@dataclass
class Ledger:
    """A backend in memory: strict verification, one batch per chain and seq, signed receipts."""

    batches: dict[BatchKey, Stored] = field(default_factory=dict)
    refused: dict[ChainId, dict[int, RefusalCode]] = field(default_factory=lambda: defaultdict(dict))
    refuse_with: dict[BatchKey, RefusalCode] = field(default_factory=dict)
    issued_us: int = TODAY_US
    duplicates: int = 0

    def copy(self) -> Self:
        """A backup, to be restored later."""
        refused = defaultdict(dict, {chain: dict(seqs) for chain, seqs in self.refused.items()})
        return replace(self, batches=dict(self.batches), refused=refused)

    def restore(self, backup: Self) -> None:
        self.batches = dict(backup.batches)
        self.refused = defaultdict(dict, {chain: dict(seqs) for chain, seqs in backup.refused.items()})

    def take(self, payload: bytes) -> bytes:
        """Take a batch and return the receipt that answers it."""
        opened = open_batch(payload, DEVICE_KEYS.get, device=DEVICE)
        header = opened.header
        key = BatchKey(header.chain, header.seq)
        code = self._refusal(key, opened)
        if code is not None:
            self.refused[key.chain][key.seq] = code
        elif key in self.batches:
            self.duplicates += 1
        else:
            self.batches[key] = Stored(opened=opened, payload=payload)
        return self.receipt(header.chain, answering=key.seq)

    def _refusal(self, key: BatchKey, opened: OpenedBatch) -> RefusalCode | None:
        header = opened.header
        if key in self.refuse_with:
            return self.refuse_with[key]
        same = self.batches.get(key)
        if same is not None:
            return None if same.opened.head_hash == opened.head_hash else RefusalCode.CONFLICT
        before = self.batches.get(BatchKey(key.chain, key.seq - 1))
        if before is not None and before.opened.head_hash != header.prev:
            return RefusalCode.FORK
        after = self.batches.get(BatchKey(key.chain, key.seq + 1))
        if after is not None and after.opened.header.prev != opened.head_hash:
            return RefusalCode.FORK
        if after is None and key.seq in self.lost_seqs(key.chain) | self.lost_later(key.chain):
            return RefusalCode.CONFLICT  # nothing proves that it is the one that was lost
        return None

    def stored_seqs(self, chain: ChainId) -> list[int]:
        return sorted(key.seq for key in self.batches if key.chain == chain)

    def lost_seqs(self, chain: ChainId) -> set[int]:
        """Seqs that headers of this chain declare lost."""
        headers = [stored.opened.header for key, stored in self.batches.items() if key.chain == chain]
        losses = [loss for header in headers for loss in header.losses]
        return {seq for loss in losses for seq in range(loss.first, loss.last + 1)}

    def lost_later(self, chain: ChainId) -> set[int]:
        """Seqs of this chain that headers of later chains declare lost: not wanted, no part of `upto`."""
        headers = [stored.opened.header for stored in self.batches.values()]
        losses = [loss for header in headers for loss in header.ended_losses if loss.chain == chain]
        return {seq for loss in losses for seq in range(loss.first, loss.last + 1)}

    def upto(self, chain: ChainId) -> int:
        filled = {*self.stored_seqs(chain), *self.lost_seqs(chain)}
        seq = 0
        while seq + 1 in filled:
            seq += 1
        return seq

    def receipt(self, chain: ChainId, *, answering: int | None = None) -> bytes:
        return sign_receipt(self.statement(chain, answering=answering), BACKEND_KEY)

    def answer(self, question: bytes) -> list[bytes]:
        """Say of each chain that the box names where it stands."""
        request = open_standing_request(question, DEVICE_KEYS.get, device=DEVICE)
        return [
            sign_receipt(replace(self.statement(chain, sealed=seq), answers=request.nonce), BACKEND_KEY)
            for chain, seq in request.chains
        ]

    def statement(self, chain: ChainId, *, answering: int | None = None, sealed: int = 0) -> Receipt:
        self.issued_us += 1
        upto = self.upto(chain)
        at_upto = self.batches.get(BatchKey(chain, upto))
        stored = self.stored_seqs(chain)
        have = [
            Have(first=first, last=last, hash=self.batches[BatchKey(chain, last)].opened.head_hash)
            for first, last in ranges(seq for seq in stored if seq > upto)
        ]
        # A batch at or below `upto` that was answered just now is named with its hash: a device whose
        # storage was exchanged
        # cannot check `upto`, but it can check this.
        if answering is not None and answering <= upto and BatchKey(chain, answering) in self.batches:
            digest = self.batches[BatchKey(chain, answering)].opened.head_hash
            have.insert(0, Have(first=answering, last=answering, hash=digest))
        filled = {*stored, *self.lost_seqs(chain), *self.lost_later(chain)}
        expected = range(upto + 1, max([sealed, *stored]) + 1)
        missing = ranges(seq for seq in expected if seq not in filled)
        return Receipt(
            device=DEVICE,
            stream=Stream.BATCH,
            chain=chain,
            upto=upto,
            hash=None if at_upto is None else at_upto.opened.head_hash,
            have=tuple(have[:RECEIPT_HAVE_MAX]),
            refused=tuple(sorted(self.refused[chain].items())[-RECEIPT_REFUSED_MAX:]),
            want=tuple(missing[:RECEIPT_WANT_MAX]),
            issued_us=self.issued_us,
        )


def ranges(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbouring numbers as ranges."""
    found: list[tuple[int, int]] = []
    for seq in seqs:
        if found and found[-1][1] == seq - 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return found


class Box:
    """An engine with a real spool in a folder. The link holds what was published until a test delivers it."""

    def __init__(
        self,
        home: Path,
        settings: EngineConfig | None = None,
        *,
        has_clock: bool = True,
        boots_before: int = 0,
    ) -> None:
        self.home = home
        self.settings = settings or config()
        self.now_us = 0
        self.utc_offset_us = TODAY_US
        self.clock = ClockClass.NETWORK if has_clock else ClockClass.NONE
        self.boots = boots_before
        self.draw = Draw(b"box" + boots_before.to_bytes(4, "big"))
        self.plans = plans()
        self.is_connected = False
        self.wire: deque[tuple[BatchKey, bytes]] = deque()  # published, not yet taken by the backend
        self.questions: deque[bytes] = deque()  # where the chains stand; not yet taken by the backend
        self.sent: list[BatchKey] = []
        self.messages: list[PublishMessage] = []
        self.reports: list[Report] = []
        self.set_clocks: list[SetClock] = []
        self.freed: list[FreeBatches] = []
        self._submitted: dict[BatchKey, SealedBatch] = {}
        self._newly_stored: list[SealedBatch] = []
        self._answers: deque[EngineEvent] = deque()
        self.start()

    # --- life ---

    def start(self) -> None:
        """Begin a boot."""
        self.boots += 1
        self.boot = BootId(hashlib.sha256(b"boot" + self.boots.to_bytes(4, "big")).digest()[:16])
        self.now_us = 0
        self._answers.clear()
        self._submitted.clear()
        self.spool = SqliteSpool(self.home / "spool.sqlite", listener=self._answers.append, entropy=self.draw)
        self.image = self.spool.load()
        self.engine = TBox(
            replace(self.settings, boot=self.boot),
            plans=self.plans,
            signer=DEVICE_KEY,
            image=self.image,
            now=self.now(),
        )
        self.is_connected = False
        self.handle(Tick())

    def crash(self) -> None:
        """The process dies: what was not handed to the spool, and all memory, is gone."""
        self.spool.close()
        self.wire.clear()
        self.questions.clear()

    def reboot(self) -> None:
        self.crash()
        self.start()

    def replace_spool(self, image: Path, *, with_anchor: bool) -> None:
        """Put older files in place of the spool's, as a restored disk image does. The box must be down."""
        for path in self.home.glob("spool.sqlite*"):
            path.unlink()
        for path in image.glob("spool.sqlite*"):
            shutil.copy(path, self.home / path.name)
        if with_anchor:
            shutil.copy(image / "anchor.json", self.home / "anchor.json")

    def copy_spool(self, image: Path) -> None:
        """Copy the spool's files. The box must be down."""
        image.mkdir(exist_ok=True)
        for path in [*self.home.glob("spool.sqlite*"), self.home / "anchor.json"]:
            shutil.copy(path, image / path.name)

    # --- time and events ---

    def now(self) -> Instant:
        utc_us = None if self.clock == ClockClass.NONE else self.utc_offset_us + self.now_us
        return Instant(mono_us=self.now_us, utc_us=utc_us, clock=self.clock, error_us=None)

    def handle(self, event: EngineEvent) -> list[Effect]:
        """Let one event happen, and everything the spool answers to it."""
        done = self._carry_out(self.engine.handle(event, self.now()))
        self.settle()
        return done

    def settle(self) -> None:
        """Let the spool finish what it was given, and the engine what follows from it."""
        while True:
            self.spool.fetch(BatchKey(ChainId(bytes(16)), 0)).result()
            if not self._answers:
                return
            while self._answers:
                self.take_answer()

    def take_answer(self) -> None:
        """Give the engine the oldest answer of the spool."""
        event = self._answers.popleft()
        if isinstance(event, BatchStored):
            self._newly_stored.append(self._submitted.pop(event.key))
        self._carry_out(self.engine.handle(event, self.now()))

    def take_stored(self) -> list[SealedBatch]:
        """Return the batches that reached the disk since the last call."""
        taken, self._newly_stored = self._newly_stored, []
        return taken

    def pass_time(self, seconds: float, *, step: float = 1.0) -> None:
        end_us = self.now_us + round(seconds * SECOND)
        while self.now_us < end_us:
            self.now_us = min(end_us, self.now_us + round(step * SECOND))
            self.handle(Tick())

    def frames(self, counts: Iterable[int]) -> None:
        """Let frames with these numbers arrive, 1 ms apart; time moves on to the last of them."""
        lot = motion_lot(self.now_us, counts)
        self.now_us = int(lot.t_us[-1])
        self.handle(FramesReceived(lot=lot))

    def connect(self) -> None:
        self.is_connected = True
        self.handle(UplinkConnected())

    def disconnect(self) -> None:
        self.is_connected = False
        self.handle(UplinkLost())

    def receive(self, receipt: bytes, kind: Down = Down.RECEIPT) -> list[Effect]:
        return self.handle(MessageArrived(kind=kind, payload=receipt))

    # --- the link ---

    def deliver(self, ledger: Ledger, *, answers: bool = True) -> list[bytes]:
        """Let the backend take everything on the wire; its receipts come back unless they get lost."""
        receipts: list[bytes] = []
        while self.questions:
            told = ledger.answer(self.questions.popleft())
            receipts += told
            for receipt in told if answers else ():
                self.receive(receipt)
        while self.wire:
            key, payload = self.wire.popleft()
            receipts.append(ledger.take(payload))
            self.handle(BatchPublished(key=key))
            if answers:
                self.receive(receipts[-1])
        return receipts

    def drain(self, ledger: Ledger, seconds: int = 60) -> None:
        """Let the world be well until nothing is pending, or the time is over."""
        for _ in range(seconds):
            self.deliver(ledger)
            metrics = self.engine.metrics()
            if (
                not self.wire
                and not self.questions
                and metrics["spool_pending"] == metrics["store_queue"] == 0
            ):
                break
            self.pass_time(1)

    def _carry_out(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            match effect:
                case PublishBatch(key=key):
                    self._publish(key)
                case PublishMessage():
                    self._send(effect)
                case Report():
                    self.reports.append(effect)
                case SetClock():
                    self.set_clocks.append(effect)
                case _:
                    if isinstance(effect, FreeBatches):
                        self.freed.append(effect)
                    if isinstance(effect, StoreBatch):
                        self._submitted[effect.batch.key] = effect.batch
                    self.spool.submit(effect)
        return effects

    def _send(self, message: PublishMessage) -> None:
        if not is_standing_request(message.payload):
            self.messages.append(message)
        elif self.is_connected:
            self.questions.append(message.payload)

    def _publish(self, key: BatchKey) -> None:
        payload = self.spool.fetch(key).result()
        if payload is None:
            return  # evicted meanwhile, or damaged: then the spool has told
        if self.is_connected:
            self.sent.append(key)
            self.wire.append((key, payload))
        else:
            self._answers.append(PublishFailed(key=key))

    def phrases(self) -> list[str]:
        return [report.phrase for report in self.reports]


def head_of(payload: bytes) -> ChainHead:
    """The chain head that a batch makes."""
    opened = open_batch(payload, DEVICE_KEYS.get, device=DEVICE)
    return ChainHead(chain=opened.header.chain, seq=opened.header.seq, hash=opened.head_hash)


def drive(box: Box, *numbers: int) -> None:
    """One sealed batch with these frames."""
    box.frames(numbers)
    box.handle(Urgent(reason="sealed"))


def numbers_of(stored: Stored) -> list[int]:
    """The numbers of the frames in a batch."""
    data = stored.opened.data(Section.SIGNALS)
    groups = [] if data is None else decode_signals(data)
    return [int(number) for group in groups for number in group.raw[1]]


def facts_of(stored: Stored) -> Facts:
    """What a batch tells beside signals."""
    data = stored.opened.data(Section.FACTS)
    return Facts() if data is None else decode_facts(data)


def moves_of(stored: Stored) -> list[Event]:
    """What a batch says it repeats from an ended chain."""
    return [event for event in facts_of(stored).events if event.name == "chain_rehomed"]
