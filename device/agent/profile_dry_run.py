"""What a profile would collect from a recording: the agent's own engine, fed with it, and nothing sent.

Rules:
- Sampling, plausibility, batches, compression and signatures are the running agent's; only the key is made
  for the occasion and the disk is this object, which counts what it is given and keeps nothing.
- The dictionary rides once a chain and is counted apart: a short recording must not make it look like a rate.
- The box says how it is as often as on the road, and has a clock, because both cost bytes. It has no
  positions: a CAN log has none.

It extrapolates nothing: `profile_report` does.

Example:
    run = DryRun(plans, profile_hash=profile.profile_hash)
    for item in drive:
        run.feed(item)
    run.finish().payload_bytes
"""

from __future__ import annotations

import os
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from device.agent.health import readings
from device.config import EngineConfig
from device.effects import StartChain, StoreBatch
from device.events import BatchStored, HealthReported, Stop, Tick
from device.state import ChainRecord, SpoolImage
from device.tbox import TBox
from protocol.batch import Origin, OriginKind, Section, open_batch
from protocol.clock import ClockClass, Instant
from protocol.envelope import SoftwareSigner
from protocol.facts import Facts, decode_facts, encode_facts
from protocol.ids import BootId, ChainId, device_id
from protocol.limits import CLOCK_EARLIEST_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.agent.replay_log import Item
    from device.effects import Effect, SealedBatch
    from device.events import EngineEvent
    from device.intake import BusPlan

ID_BYTES = 16
SECRET_BYTES = 32
TICK_US = 1_000_000  # as the running agent's
HEALTH_US = 30_000_000  # as the running agent's


@dataclass(slots=True, kw_only=True)
class Collected:
    """Sums over the sealed batches.

    Attributes:
        batches: How many.
        payload_bytes: As they would be published.
        dictionary_bytes: Of them, what names the signals, once a chain.
        rows: Rows kept.
        samples: Values in them.
        received: Frames.
        decoded: Frames whose message the DBC knows.
        drops: Frames and rows left out, by cause.
        section_bytes: By section.
        implausible: How often each signal became implausible, by `bus.Message.Signal`.
    """

    batches: int = 0
    payload_bytes: int = 0
    dictionary_bytes: int = 0
    rows: int = 0
    samples: int = 0
    received: int = 0
    decoded: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    section_bytes: Counter[str] = field(default_factory=Counter)
    implausible: Counter[str] = field(default_factory=Counter)


class DryRun:
    """One recording through the engine.

    Args:
        plans: By bus, with sampling as the profile says.
        profile_hash: As batch headers carry it.
    """

    def __init__(self, plans: Mapping[str, BusPlan], *, profile_hash: bytes) -> None:
        self._key = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
        self._device = device_id(self._key.public_key)
        config = EngineConfig(
            device=self._device,
            boot=BootId(os.urandom(ID_BYTES)),
            asks_time=False,
            profile_hash=profile_hash,
        ).checked()
        chain = ChainRecord(
            chain=ChainId(os.urandom(ID_BYTES)),
            salt_secret=os.urandom(SECRET_BYTES),
            origin=Origin(kind=OriginKind.FIRST, last_head=None),
        )
        self._mono_us = 0
        self._ticked_us = 0
        self._said_us = -HEALTH_US
        self._box = TBox(
            config, plans=plans, signer=self._key, image=SpoolImage(chain=chain), now=self._now()
        )
        self._collected = Collected()

    def feed(self, item: Item) -> None:
        """Let the next second of the recording happen."""
        self._mono_us = max(self._mono_us, item.t_us)
        self._handle(item.event)
        if self._mono_us - self._ticked_us >= TICK_US:
            self._ticked_us = self._mono_us
            if self._mono_us - self._said_us >= HEALTH_US:
                self._said_us = self._mono_us
                self._handle(HealthReported(values=readings(self._box.metrics(), {})))
            self._handle(Tick())

    def finish(self) -> Collected:
        """Seal what is open and return the sums."""
        self._handle(Stop())
        return self._collected

    def _now(self) -> Instant:
        utc_us = CLOCK_EARLIEST_US + self._mono_us
        return Instant(mono_us=self._mono_us, utc_us=utc_us, clock=ClockClass.NETWORK, error_us=TICK_US)

    def _handle(self, event: EngineEvent) -> None:
        waiting = deque([event])
        while waiting:
            for effect in self._box.handle(waiting.popleft(), self._now()):
                waiting += self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> list[EngineEvent]:
        """Be the disk: store at once, answer, keep nothing."""
        match effect:
            case StoreBatch(batch=batch):
                self._count(batch)
                return [BatchStored(key=batch.key)]
            case StartChain():
                raise AssertionError("nobody contradicts a dry run")
            case _:
                return []

    def _count(self, batch: SealedBatch) -> None:
        opened = open_batch(batch.payload, lambda _: self._key.public_key, device=self._device)
        counts, sums = opened.header.counts, self._collected
        sums.batches += 1
        sums.payload_bytes += len(batch.payload)
        sums.rows += counts.rows
        sums.samples += counts.samples
        sums.received += counts.frames_received
        sums.decoded += counts.frames_decoded
        for cause, count in opened.header.drops.items():
            sums.drops[getattr(cause, "name", str(cause)).lower()] += count
        for section, content in opened.sections.items():
            sums.section_bytes[Section(section).name.lower()] += len(content)
        facts = decode_facts(opened.data(Section.FACTS) or encode_facts(_NO_FACTS))
        if facts.dictionary:
            alone = Facts(dictionary=facts.dictionary, events=(), health={})
            sums.dictionary_bytes += len(encode_facts(alone)) - len(encode_facts(_NO_FACTS))
        for event in facts.events:
            if event.name == "signal_implausible":
                sums.implausible[str(event.fields["signal"])] += 1


_NO_FACTS = Facts(dictionary=(), events=(), health={})
