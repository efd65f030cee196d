"""The one thread that owns a line into the box: how it begins and ends, and what found no room.

Rules: a reader derives from it and brings `_run`, which returns soon after `_stopping` is set. Whatever the
reader cannot hand over is counted, never kept.

It opens, reads and judges nothing.

Example: see `device.adapters.gnss.GnssReader`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class OwnerThread(ABC):
    """A thread that runs until it is stopped.

    Args:
        name: of the thread, as tools show it.
    """

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._dropped = 0

    @abstractmethod
    def _run(self) -> None:
        """Open, read and hand over, again and again, until `_stopping` is set."""

    def start(self) -> None:
        """Begin to read; the line is opened in the thread, so a missing one does not delay the others."""
        self._thread.start()

    def stop(self) -> None:
        """Close the line and end the thread; what was received until now has been handed over."""
        self._stopping.set()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; once started it ends by `stop` only, else a mistake of ours ended it."""
        return self._thread.is_alive()

    def take_dropped(self) -> int:
        """Return how many items found no room since the last call."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def _drop(self, count: int) -> None:
        """Count items that found no room."""
        with self._lock:
            self._dropped += count
