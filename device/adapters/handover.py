"""A bounded hand-over from the threads that block to the event loop that must not.

Rules:
- `put` never waits and never raises for a full queue: it answers False, and the caller counts what it could
  not hand over.
- Items leave in the order they came. Several threads may put; one coroutine takes.
- The loop is woken once for a run of items, not once for each.

It does not decide what to drop, and it does not count: the owner of the thread knows what an item was worth.

Example:
    >>> import asyncio
    >>> async def main() -> list[int]:
    ...     inbox = Handover[int](capacity=2)
    ...     taken = [inbox.put(1), inbox.put(2), inbox.put(3)]
    ...     return [await inbox.get(), await inbox.get(), *map(int, taken)]
    >>> asyncio.run(main())
    [1, 2, 1, 1, 0]
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """A queue of at most `capacity` items between any thread and one coroutine of the loop that made it.

    Args:
        capacity: most items held, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        assert capacity >= 1
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    @property
    def capacity(self) -> int:
        """Most items held."""
        return self._capacity

    def put(self, item: T) -> bool:
        """Append `item` from any thread; False when the queue is full or the loop has ended."""
        with self._lock:
            if len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            is_first = len(self._items) == 1
        if is_first:
            try:
                self._loop.call_soon_threadsafe(self._filled.set)
            except RuntimeError:  # the loop is closed: the process is ending and nobody will read this
                return False
        return True

    def drain(self) -> list[T]:
        """Return everything that waits, oldest first, without waiting."""
        with self._lock:
            items = list(self._items)
            self._items.clear()
        return items

    async def get(self) -> T:
        """Wait for the oldest item and return it."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                self._filled.clear()
            await self._filled.wait()
