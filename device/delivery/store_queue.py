"""Sealed batches on their way to the disk: kept here until the spool says stored, however long that takes.

Rules:
- They are stored in the order they were sealed, one at a time.
- A refusal of the disk changes nothing here: the same bytes are offered again after a pause.
- The room is bounded. When it is full nobody seals any more, and acquisition drops by counted causes.

It does not survive the process: what was never stored becomes a declared gap of the next boot.

Example:
    >>> StoreQueue(SpoolLimits()).is_full
    False
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from device.config import SpoolLimits

if TYPE_CHECKING:
    from device.effects import SealedBatch
    from device.state import BatchKey

__all__ = ["SpoolLimits", "StoreQueue"]


class StoreQueue:
    """Sealed batches that are not stored yet.

    Args:
        limits: How many, how large together, and the pause after a refusal.
    """

    def __init__(self, limits: SpoolLimits) -> None:
        self._limits = limits
        self._batches: deque[SealedBatch] = deque()
        self._bytes = 0
        self._is_storing = False
        self._retry_us = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def is_full(self) -> bool:
        """No further batch may be sealed."""
        return len(self._batches) >= self._limits.memory_batches or self._bytes >= self._limits.memory_bytes

    def push(self, batch: SealedBatch) -> None:
        """Take a sealed batch. The caller asks `is_full` before sealing, not after."""
        self._batches.append(batch)
        self._bytes += len(batch.payload)

    def next_to_store(self, now_us: int) -> SealedBatch | None:
        """Return the batch to hand to the spool now, None when one is there already or a pause runs."""
        if self._is_storing or not self._batches or now_us < self._retry_us:
            return None
        self._is_storing = True
        return self._batches[0]

    def note_stored(self, key: BatchKey) -> SealedBatch | None:
        """The batch is on the disk; returns it, None when it is not the one that was being stored."""
        if not self._batches or self._batches[0].key != key:
            return None
        batch = self._batches.popleft()
        self._bytes -= len(batch.payload)
        self._is_storing = False
        self._retry_us = 0
        return batch

    def note_failed(self, key: BatchKey, now_us: int) -> SealedBatch | None:
        """The disk refused; returns the batch, which stays, None when it is not the one being stored."""
        if not self._batches or self._batches[0].key != key:
            return None
        self._is_storing = False
        self._retry_us = now_us + self._limits.retry_us
        return self._batches[0]
