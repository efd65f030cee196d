"""What a careless or hostile broker does to messages: loses, repeats and forges them.

Rules: it hears everything, as a broker does, and has no key of the product. What it heard is kept, so that
a checker can compare what was sealed with what was stored. Losing is asked for each delivery while it
lasts; repeating and forging happen at its beginning.

Example:
    courier.sees = eavesdropper.hear
    with eavesdropper.meddling(FaultKind.RECEIPT_FORGED, broker):
        ...
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from protocol.batch import disassemble, head_hash
from protocol.envelope import SoftwareSigner, read_sign1
from protocol.header_codec import decode_header
from protocol.limits import SIGN1_BYTES_MAX
from protocol.receipts import Receipt, Stream, sign_receipt
from protocol.topics import Down, Up, down_topic
from simulators.broker_access import is_bridge
from simulators.faults import FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.header import BatchHeader
    from simulators.broker import Broker

KEPT_MAX = 5_000  # messages remembered: hours of a simulated drive
REPLAYED_MAX = 20  # messages repeated at once: a whole publish window
FORGED_REACH = 1_000  # numbers beyond what was sealed, as if everything to come were stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A batch as it went by: where it stands in its chain, and the hash that the next one commits to."""

    chain: str
    seq: int
    head: bytes


@dataclass(slots=True, kw_only=True)
class Eavesdropper:
    """A broker's memory and what it does with it.

    Attributes:
        batches: batches heard (topic, payload), newest last.
        receipts: receipts heard, newest last.
        sealed: what the batches were, each once.
    """

    batches: deque[tuple[str, bytes]] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    receipts: deque[tuple[str, bytes]] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    sealed: set[Sealed] = field(default_factory=set)
    _newest: BatchHeader | None = None
    _rng: random.Random = field(default_factory=lambda: random.Random("eavesdropper"))

    def hear(self, topic: str, payload: bytes) -> None:
        """Remember one message; runs on the broker's thread."""
        if topic.endswith(f"/up/{Up.BATCH}"):
            self.batches.append((topic, payload))
            signed, _ = disassemble(payload)
            header = decode_header(read_sign1(signed, max_bytes=SIGN1_BYTES_MAX).payload)
            self.sealed.add(Sealed(chain=header.chain.hex(), seq=header.seq, head=head_hash(signed)))
            self._newest = header
        elif topic.endswith(f"/down/{Down.RECEIPT}"):
            self.receipts.append((topic, payload))

    @contextlib.contextmanager
    def meddling(self, kind: FaultKind, broker: Broker) -> Iterator[None]:
        """Do one kind of harm while the block runs."""
        match kind:
            case FaultKind.BATCH_LOST:
                broker.courier.loses = lambda client, topic: is_bridge(client) and topic.endswith("/batch")
            case FaultKind.RECEIPT_LOST:
                broker.courier.loses = lambda _client, topic: topic.endswith("/down/receipt")
            case FaultKind.BATCH_REPLAYED:
                self.replay(broker, self.batches)
            case FaultKind.RECEIPT_REPLAYED:
                self.replay(broker, self.receipts)
            case FaultKind.RECEIPT_FORGED:
                self.forge(broker)
            case _:
                raise ValueError(f"{kind} is not a courier's fault")
        try:
            yield
        finally:
            broker.courier.loses = lambda _client, _topic: False

    def replay(self, broker: Broker, heard: deque[tuple[str, bytes]]) -> int:
        """Hand out old messages again, in another order; returns how many."""
        chosen = self._rng.sample(list(heard), min(REPLAYED_MAX, len(heard)))
        for topic, payload in chosen:
            broker.inject(topic, payload)
        return len(chosen)

    def forge(self, broker: Broker) -> int:
        """Hand out receipts that would free the whole spool if they were believed; returns how many.

        One is signed by a key of our own, others are true ones with a bit changed.
        """
        forged: list[tuple[str, bytes]] = []
        if self._newest is not None:
            newest = self._newest
            receipt = Receipt(
                device=newest.device,
                stream=Stream.BATCH,
                chain=newest.chain,
                upto=newest.seq + FORGED_REACH,
                hash=self._rng.randbytes(32),
                have=(),
                refused=(),
                want=(),
                issued_us=newest.utc_end_us or 0,
            )
            stranger = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
            forged.append((down_topic(newest.device, Down.RECEIPT), sign_receipt(receipt, stranger)))
        for topic, payload in list(self.receipts)[-REPLAYED_MAX:]:
            at = self._rng.randrange(len(payload))
            changed = bytes([payload[at] ^ (1 << self._rng.randrange(8))])
            forged.append((topic, payload[:at] + changed + payload[at + 1 :]))
        for topic, payload in forged:
            broker.inject(topic, payload)
        return len(forged)
