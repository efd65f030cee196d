"""What is sent when: the publish window, the order, and sending again.

Rules:
- Order after a reconnect: the batch sealed for it, then alarms, then the rest oldest first. A batch sealed
  later joins the rest.
- At most `window` batches are on the way: handed over and without PUBACK, or with PUBACK and within the
  wait for the receipt. The PUBACK frees nothing.
- Without a receipt a batch is sent again after a jittered, doubled pause of its own, so one that never gets a
  receipt blocks nobody.
- Three batches in a row without any receipt mean that nobody reads behind the broker: then one batch at a
  time is offered, with growing pauses, until a receipt comes. Data budgets outlive outages that way.
- When the link is lost, what has no PUBACK is ready again at once; what has one keeps waiting for its
  receipt.

It knows no clock but the monotonic time it is given, and no randomness: the jitter is derived from a seed.

Example:
    >>> uplink = Uplink(UplinkLimits(), seed=b"")
    >>> uplink.connect()
    >>> uplink.next_batches(now_us=0)
    []
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from device.config import UplinkLimits
from device.state import SpoolClass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device.delivery.index import SpoolEntry
    from device.state import BatchKey

__all__ = ["Uplink", "UplinkLimits"]

_FIRST, _ALARM, _REST = range(3)
SILENT_AFTER = 3  # unanswered batches in a row before we send one at a time
HURRY_TRIES = 3  # a wanted batch that was sent more often than this keeps to its own pauses
PUBACK_WAITS = 6  # a large batch on a slow modem needs longer to its PUBACK than a receipt needs to come back
JITTER = 0.25  # of a pause, both ways: a fleet that lost its broker together does not return together


@dataclass(slots=True, kw_only=True)
class _Flight:
    entry: SpoolEntry
    until_us: int
    has_puback: bool = False


class Uplink:
    """The schedule of all pending batches.

    Args:
        limits: Window, waits and pauses.
        seed: Differs from box to box.
    """

    def __init__(self, limits: UplinkLimits, *, seed: bytes) -> None:
        self._limits = limits
        self._seed = seed
        self._ready: list[tuple[int, int, SpoolEntry]] = []
        self._waiting: list[tuple[int, int, SpoolEntry]] = []
        self._flights: dict[BatchKey, _Flight] = {}
        self._number = count()  # breaks ties: entries themselves are never compared
        self._place: dict[BatchKey, int] = {}
        self._unanswered = 0
        self._probe_us = 0
        self.is_connected = False

    @property
    def in_flight(self) -> int:
        """Batches on the way."""
        return len(self._flights)

    @property
    def unanswered(self) -> int:
        """Batches in a row that the broker took and nobody receipted."""
        return self._unanswered

    def offer(self, entries: Iterable[SpoolEntry], *, is_first: bool = False) -> None:
        """Take batches that are pending now; the order of calls is the order of age."""
        for entry in entries:
            order = _FIRST if is_first else _ALARM if entry.rank == SpoolClass.ALARM else _REST
            place = self._place.setdefault(entry.key, next(self._number))
            heapq.heappush(self._ready, (order, place, entry))

    def connect(self) -> None:
        """The link is up."""
        self.is_connected = True
        self._probe_us = 0

    def lose_link(self) -> None:
        """The link is down: what the broker did not confirm is ready again."""
        self.is_connected = False
        for flight in [flight for flight in self._flights.values() if not flight.has_puback]:
            del self._flights[flight.entry.key]
            self.offer([flight.entry])

    def next_batches(self, now_us: int) -> list[SpoolEntry]:
        """Return what to publish now; each returned batch is on the way from here on."""
        self._expire(now_us)
        while self._waiting and self._waiting[0][0] <= now_us:
            self.offer([heapq.heappop(self._waiting)[2]])
        chosen: list[SpoolEntry] = []
        while self.is_connected and self._ready and self._has_room(now_us):
            entry = heapq.heappop(self._ready)[2]
            if not entry.is_sendable or entry.key in self._flights or entry.due_us > now_us:
                continue  # receipted, evicted or sent since it was offered; a later offer stands elsewhere
            entry.tries += 1
            patience = PUBACK_WAITS * self._limits.receipt_wait_us
            self._flights[entry.key] = _Flight(entry=entry, until_us=now_us + patience)
            chosen.append(entry)
        return chosen

    def note_puback(self, key: BatchKey, now_us: int) -> None:
        """The broker has it: the receipt should follow."""
        flight = self._flights.get(key)
        if flight is not None:
            flight.has_puback = True
            flight.until_us = now_us + self._limits.receipt_wait_us

    def note_failure(self, key: BatchKey, now_us: int) -> None:
        """It could not be handed over."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            self._postpone(flight.entry, now_us)

    def note_receipt(self) -> None:
        """A receipt of ours verified: somebody reads behind the broker. After a silence all pauses end."""
        if self._unanswered >= SILENT_AFTER:
            for _, _, entry in self._waiting:
                entry.due_us = 0
            self.offer(entry for _, _, entry in self._waiting)
            self._waiting.clear()
        self._unanswered = 0
        self._probe_us = 0

    def settle(self, entry: SpoolEntry) -> None:
        """This batch needs no more sending (receipt, refusal, eviction)."""
        self._flights.pop(entry.key, None)
        self._place.pop(entry.key, None)

    def hurry(self, entries: Iterable[SpoolEntry], now_us: int) -> None:
        """The backend asks for these: the first few pauses are cut short, later ones are not.

        A hole it asks for may be on its way already, and a batch that it cannot take now must not be sent
        at each receipt.
        """
        for entry in entries:
            if entry.due_us <= now_us:  # it is ready, or on its way
                continue
            soon_us = now_us + self.pause_us(entry.key, 1)
            if entry.key not in self._flights and entry.tries <= HURRY_TRIES and soon_us < entry.due_us:
                entry.due_us = soon_us
                heapq.heappush(self._waiting, (soon_us, next(self._number), entry))

    def pause_us(self, key: BatchKey, tries: int) -> int:
        """Return how long to wait before try `tries` + 1, microseconds."""
        doubled = self._limits.backoff_first_us << min(tries - 1, 30)
        pause = min(doubled, self._limits.backoff_max_us)
        digest = hashlib.sha256(self._seed + key.chain + key.seq.to_bytes(8) + tries.to_bytes(8)).digest()
        fraction = int.from_bytes(digest[:4]) / 2**32
        return int(pause * (1 + JITTER * (2 * fraction - 1)))

    def _has_room(self, now_us: int) -> bool:
        if self._unanswered >= SILENT_AFTER:
            return not self._flights and now_us >= self._probe_us
        return len(self._flights) < self._limits.window

    def _expire(self, now_us: int) -> None:
        for flight in [flight for flight in self._flights.values() if flight.until_us <= now_us]:
            del self._flights[flight.entry.key]
            if flight.has_puback:
                self._unanswered += 1
                silence = self._unanswered - SILENT_AFTER + 1
                if silence > 0:
                    self._probe_us = now_us + self.pause_us(flight.entry.key, silence)
            self._postpone(flight.entry, now_us)

    def _postpone(self, entry: SpoolEntry, now_us: int) -> None:
        entry.due_us = now_us + self.pause_us(entry.key, max(entry.tries, 1))
        heapq.heappush(self._waiting, (entry.due_us, next(self._number), entry))
