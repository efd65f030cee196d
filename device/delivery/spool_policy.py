"""What gives way when the spool is full.

Rules:
- First what the backend has confirmed, oldest first; it was kept only in case the backend is restored.
- Then what is quarantined: its loss is declared already, it is kept for the workshop only.
- Then batches without a receipt: bulk, state, facts, alarms, each oldest first. Each becomes a declared loss.
- Never the newest batch: its hash is what the next header names, and the box must be able to say something.
- Never a batch that was sealed again and whose successor waits to be stored: that transaction takes it along.
  As many as the store queue holds may stand above the quota for a moment.
- Only the quota evicts what has no receipt. A disk that is full before the quota evicts confirmed batches
  only; what is sealed then waits in memory.

It chooses; the caller writes the losses down and tells the spool.

Example:
    >>> choose(SpoolIndex(), quota_bytes=0, newest=None)
    []
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from device.delivery.index import SpoolIndex, disk_bytes
from device.state import EntryState, SpoolClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.delivery.index import SpoolEntry
    from device.state import BatchKey

__all__ = ["SpoolIndex", "choose", "choose_confirmed"]


def choose(index: SpoolIndex, *, quota_bytes: int, newest: BatchKey | None) -> list[SpoolEntry]:
    """Return what must go so that the spool holds at most `quota_bytes`, in the order it goes.

    Args:
        index: What is stored.
        quota_bytes: Most bytes on disk.
        newest: The batch that stays whatever happens.
    """
    return _until(_order(index), index.bytes_held - quota_bytes, newest)


def choose_confirmed(index: SpoolIndex, *, need_bytes: int) -> list[SpoolEntry]:
    """Return confirmed batches, oldest first, that free at least `need_bytes` (or all there are)."""
    return _until(_of_state(index, EntryState.RECEIPTED), need_bytes, None)


def _until(order: Iterator[SpoolEntry], need_bytes: int, newest: BatchKey | None) -> list[SpoolEntry]:
    chosen: list[SpoolEntry] = []
    for entry in order:
        if need_bytes <= 0:
            break
        if entry.key != newest and not entry.has_successor:
            chosen.append(entry)
            need_bytes -= disk_bytes(entry.size)
    return chosen


def _order(index: SpoolIndex) -> Iterator[SpoolEntry]:
    return chain(
        _of_state(index, EntryState.RECEIPTED),
        _of_state(index, EntryState.QUARANTINED),
        _of_state(index, EntryState.PENDING),
    )


def _of_state(index: SpoolIndex, state: EntryState) -> Iterator[SpoolEntry]:
    """Walk one state by class, lowest first, each oldest first."""
    return chain.from_iterable(index.shelf(state, rank) for rank in SpoolClass)
