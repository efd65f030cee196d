"""The real agent's engine in virtual time, with an order journal in memory.

Rules: effects are carried out as the shell does, except what this world has no use for (batches go
nowhere). A crash keeps the journal and loses the engine; it may come before any effect. What the engine
tells the broker and the microcontroller waits in `published` and `sent`.

Example: see `life`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from device.config import BatchLimits, EngineConfig, OrdersConfig, SpoolLimits
from device.effects import PublishBatch, PublishMessage, SendMcu, StoreBatch, WriteJournal
from device.events import BatchPublished, BatchStored, JournalFailed, JournalWritten
from device.order_state import JournalImage
from device.state import BootId, ChainId, ChainRecord, SpoolImage
from device.tbox import TBox
from protocol.batch import Origin, OriginKind
from protocol.clock import ClockClass, Instant
from protocol.ids import cose_key_bytes, device_id
from protocol.vectors.keys import published_signer

if TYPE_CHECKING:
    from device.effects import Effect
    from device.events import EngineEvent
    from device.order_state import JournalChange
    from protocol.topics import Up

SECOND_US = 1_000_000
DEVICE_KEY, BACKEND_KEY = published_signer("device-1"), published_signer("receipt-1")
DEVICE = device_id(DEVICE_KEY.public_key)
DEVICE_KEYS = {DEVICE_KEY.kid: DEVICE_KEY.public_key}


class AgentDiedError(Exception):
    """The agent's process ended here."""


def _after(image: JournalImage, change: JournalChange) -> JournalImage:
    """Return the journal after a change, as the disk holds it."""
    arrivals = {item.digest: item for item in change.add}
    arrivals = {item.digest: item for item in image.arrivals} | {
        digest: item
        for digest, item in arrivals.items()
        if digest not in {kept.digest for kept in image.arrivals}
    }
    answers = {item.digest: item for item in change.answer} | {item.digest: item for item in image.answers}
    answers = {item.digest: answers[item.digest] for item in (*image.answers, *change.answer)}
    for digests, is_receipted in ((change.receipted, True), (change.reopened, False)):
        for digest in digests:
            if digest in answers:
                answers[digest] = replace(answers[digest], is_receipted=is_receipted)
    for digest in change.refused:
        if digest in answers:
            answers[digest] = replace(answers[digest], is_refused=True)
    return JournalImage(
        arrivals=tuple(item for digest, item in arrivals.items() if digest not in change.remove),
        answers=tuple(item for digest, item in answers.items() if digest not in change.forget),
        order_head=change.order_head or image.order_head,
        disposition_head=change.disposition_head or image.disposition_head,
    )


class Agent:
    """One box's agent.

    Attributes:
        clock_offset_s: how wrong its wall clock is.
        effects_left: effects until the process ends; None lives on.
        is_journal_broken: the disk refuses.
    """

    def __init__(self) -> None:
        self.image = JournalImage()
        self.clock_offset_s = 0
        self.effects_left: int | None = None
        self.is_journal_broken = False
        self.sent: list[tuple[int, bytes]] = []
        self.published: list[tuple[Up, bytes]] = []
        self.mono_us = 1_000 * SECOND_US
        self.utc_s = 0
        self.start()

    def start(self) -> None:
        """Begin a new life of the agent on the same journal."""
        self.sent.clear()
        self.published.clear()
        self.effects_left = None
        chain = ChainRecord(
            chain=ChainId(bytes(16)),
            salt_secret=bytes(32),
            origin=Origin(kind=OriginKind.FIRST, last_head=None),
        )
        config = EngineConfig(
            device=DEVICE,
            boot=BootId(bytes(16)),
            backend_keys=(cose_key_bytes(BACKEND_KEY.public_key),),
            batch=BatchLimits(age_us=3_600 * SECOND_US),
            spool=SpoolLimits(quota_bytes=16 * 1024 * 1024, memory_batches=4, retry_us=SECOND_US),
            orders=OrdersConfig(),
        )
        self.box = TBox(
            config,
            plans={},
            signer=DEVICE_KEY,
            image=SpoolImage(chain=chain, is_fresh=True),
            now=self.now,
            orders=self.image,
        )

    @property
    def wall_s(self) -> int:
        """UTC as this agent believes it, s."""
        return max(0, self.utc_s + self.clock_offset_s)

    @property
    def now(self) -> Instant:
        """The present moment, as this agent knows it."""
        return Instant(
            mono_us=self.mono_us,
            utc_us=self.wall_s * SECOND_US,
            clock=ClockClass.NETWORK,
            error_us=SECOND_US,
        )

    def feed(self, event: EngineEvent) -> None:
        """Let something happen to it.

        Raises:
            AgentDiedError: it ended before one of its effects.
        """
        for effect in self.box.handle(event, self.now):
            if self.effects_left is not None:
                self.effects_left -= 1
                if self.effects_left < 0:
                    raise AgentDiedError
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case WriteJournal(change=change) if self.is_journal_broken:
                self.feed(JournalFailed(number=change.number, detail="disk full"))
            case WriteJournal(change=change):
                self.image = _after(self.image, change)
                self.feed(JournalWritten(number=change.number))
            case SendMcu(kind=kind, body=body):
                self.sent.append((kind, body))
            case PublishMessage(kind=kind, payload=payload):
                self.published.append((kind, payload))
            case StoreBatch(batch=batch):
                self.feed(BatchStored(key=batch.key))
            case PublishBatch(key=key):
                self.feed(BatchPublished(key=key))
            case _:
                pass
