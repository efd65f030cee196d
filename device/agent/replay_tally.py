"""What became of a replayed drive, as the signed headers say it.

Rules: numbers come from the headers of this replay's own batches, as they go into the spool, each batch once.
So what is shown is what anyone can verify later, not what this process believes.

Example:
    tally = ReplayTally(boot)
    spool = WatchedSpool(spool, tally)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.effects import SpoolEffect, StoreBatch
from protocol.batch import FRAME_DROPS, DropCause, decode_header, disassemble
from protocol.envelope import read_sign1
from protocol.limits import HEADER_BYTES_MAX

if TYPE_CHECKING:
    from concurrent.futures import Future

    from device.ports import Spool
    from device.state import BatchKey, BootId, SpoolImage


@dataclass(slots=True)
class ReplayTally:
    """Sums over the batches of one boot."""

    boot: BootId
    batches: int = 0
    received: int = 0
    decoded: int = 0
    samples: int = 0
    rows: int = 0
    fixes: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    _seen: set[BatchKey] = field(default_factory=set)

    @property
    def frame_drops(self) -> dict[str, int]:
        """Frames that were not decoded, by cause."""
        names = {_name(cause) for cause in FRAME_DROPS}
        return {cause: count for cause, count in sorted(self.drops.items()) if cause in names}

    @property
    def is_balanced(self) -> bool:
        """Every frame that reached the engine is decoded or dropped by a named cause."""
        return self.received == self.decoded + sum(self.frame_drops.values())

    def add(self, effect: StoreBatch) -> None:
        """Count a batch, unless it was counted, is of another boot, or repeats another's content."""
        batch = effect.batch
        if batch.boot != self.boot or batch.replaces is not None or batch.key in self._seen:
            return
        self._seen.add(batch.key)
        signed, _ = disassemble(batch.payload)
        header = decode_header(read_sign1(signed, max_bytes=HEADER_BYTES_MAX).payload)
        self.batches += 1
        self.received += header.counts.frames_received
        self.decoded += header.counts.frames_decoded
        self.samples += header.counts.samples
        self.rows += header.counts.rows
        self.fixes += header.counts.fixes
        self.drops.update({_name(cause): count for cause, count in header.drops.items()})


class WatchedSpool:
    """A spool that lets a tally see what goes into it.

    Args:
        spool: does the work.
        tally: counts.
    """

    def __init__(self, spool: Spool, tally: ReplayTally) -> None:
        self._spool = spool
        self._tally = tally

    def load(self) -> SpoolImage:
        """As `Spool.load`."""
        return self._spool.load()

    def submit(self, effect: SpoolEffect) -> None:
        """As `Spool.submit`, counted."""
        if isinstance(effect, StoreBatch):
            self._tally.add(effect)
        self._spool.submit(effect)

    def fetch(self, key: BatchKey) -> Future[bytes | None]:
        """As `Spool.fetch`."""
        return self._spool.fetch(key)

    def close(self) -> None:
        """As `Spool.close`."""
        self._spool.close()


def _name(cause: int) -> str:
    try:
        return DropCause(cause).name.lower()
    except ValueError:
        return str(int(cause))
