"""Orders that wait for the microcontroller's answer: when each is handed to it, and when it is done.

Rules:
- Intent first: a restricting order is handed on once the journal has it. A releasing one is handed on at
  once, ahead of everything, and written beside it: a disk that refuses must not hold up an UNLOCK.
- One that restricts is on its way at a time, and up to four that release; each is handed on again when no
  answer came, and all of them when the line comes back. The microcontroller answers a repeat with what it
  said before, so presenting twice acts once.
- Done is an order that a disposition names, or that can never be authentic (a link code says so). One that
  misses a delegation waits until it is supplied, one that came too fast waits a moment.
- The room is bounded, for releasing and for other orders apart; a flood pushes out its own oldest, counted.

It reads no order (`inbox`) and stores nothing (`journal`).

Example:
    >>> Arrivals().next_to_present(0)
    []
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.orders.inbox import is_releasing
from protocol.limits import ORDERS_WAITING_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device.order_state import Arrival

SECOND_US = 1_000_000
ANSWER_WAIT_US = 30 * SECOND_US  # three signatures and six delegations take an RP2040 seconds, not minutes
MISSING_WAIT_US = 60 * SECOND_US  # supplied delegations end this wait at once
BUSY_WAIT_US = 5 * SECOND_US
RELEASING_WINDOW, OTHER_WINDOW = 4, 1

FINAL_CODES = frozenset({"BAD_ENCODING", "BAD_SIG", "HIGH_S", "UNKNOWN_KEY"})


@dataclass(slots=True, kw_only=True)
class Waiting:
    """An order without an answer.

    Attributes:
        arrival: the order.
        is_kept: the journal has it.
        due_us: when it is handed on (again).
        is_on_way: handed on, and neither answered nor given up since.
        tries: how often it was handed on.
        reasons: why the microcontroller will refuse it, as far as is known; for display.
        link_code: what the microcontroller last said about it.
    """

    arrival: Arrival
    is_kept: bool
    due_us: int = 0
    is_on_way: bool = False
    tries: int = 0
    reasons: tuple[str, ...] = ()
    link_code: str | None = None

    @property
    def is_releasing(self) -> bool:
        """It goes ahead of everything and waits for no disk."""
        return is_releasing(self.arrival.order_type)


class Arrivals:
    """All orders without an answer.

    Args:
        kept: what the journal held at start, in the order of arrival.
    """

    def __init__(self, kept: Iterable[Arrival] = ()) -> None:
        self._waiting = {arrival.digest: Waiting(arrival=arrival, is_kept=True) for arrival in kept}
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def ordered(self) -> list[Waiting]:
        """All of them, releasing ones first, each group in the order of arrival."""
        return sorted(self._waiting.values(), key=lambda waiting: not waiting.is_releasing)

    def find(self, digest: bytes) -> Waiting | None:
        """Return the order of this message, if it waits."""
        return self._waiting.get(digest)

    def add(self, arrival: Arrival) -> tuple[Waiting, tuple[bytes, ...]]:
        """Take an order; returns it, and the digests of those that made room."""
        waiting = Waiting(arrival=arrival, is_kept=False)
        group = [other for other in self._waiting.values() if other.is_releasing == waiting.is_releasing]
        crowd = group[: max(0, len(group) + 1 - ORDERS_WAITING_MAX)]
        for other in crowd:
            del self._waiting[other.arrival.digest]
        self.counts["orders_crowded_out"] += len(crowd)
        self._waiting[arrival.digest] = waiting
        return waiting, tuple(other.arrival.digest for other in crowd)

    def note_kept(self, digests: Iterable[bytes]) -> None:
        """The journal has these."""
        for digest in digests:
            waiting = self._waiting.get(digest)
            if waiting is not None:
                waiting.is_kept = True

    def settle(self, cmd_hash: bytes) -> tuple[bytes, ...]:
        """A disposition names this payload: returns the digests of the messages that are done."""
        return self._remove([other for other in self._waiting.values() if other.arrival.cmd_hash == cmd_hash])

    def note_link_code(self, code: str, digest: bytes | None, now_us: int) -> tuple[bytes, ...]:
        """The microcontroller could not answer: returns the digests of messages that never can be.

        Without a digest it speaks of the only order on its way; of several, none is meant.
        """
        on_way = [other for other in self._waiting.values() if other.is_on_way]
        meant = None if digest is None else self._waiting.get(digest)
        if digest is None and len(on_way) == 1:
            meant = on_way[0]
        if meant is None:
            return ()
        meant.link_code, meant.is_on_way = code, False
        if code in FINAL_CODES:
            return self._remove([meant])
        meant.due_us = now_us + (BUSY_WAIT_US if code == "BUSY" else MISSING_WAIT_US)
        return ()

    def present_again(self) -> None:
        """The line came back, or delegations were supplied: all are due now."""
        for waiting in self._waiting.values():
            waiting.due_us, waiting.is_on_way = 0, False

    def next_to_present(self, now_us: int, *, only_releasing: bool = False) -> list[Waiting]:
        """Return what to hand on now, releasing first; each is on its way from here on."""
        chosen: list[Waiting] = []
        for waiting in self.ordered:
            if waiting.is_on_way and waiting.due_us <= now_us:
                waiting.is_on_way = False
            may_go = waiting.is_releasing or (waiting.is_kept and not only_releasing)
            if waiting.is_on_way or waiting.due_us > now_us or not may_go:
                continue
            window = RELEASING_WINDOW if waiting.is_releasing else OTHER_WINDOW
            on_way = sum(
                other.is_on_way
                for other in self._waiting.values()
                if other.is_releasing == waiting.is_releasing
            )
            if on_way < window:
                waiting.is_on_way, waiting.due_us = True, now_us + ANSWER_WAIT_US
                waiting.tries += 1
                chosen.append(waiting)
        return chosen

    def _remove(self, done: list[Waiting]) -> tuple[bytes, ...]:
        for waiting in done:
            del self._waiting[waiting.arrival.digest]
        return tuple(waiting.arrival.digest for waiting in done)
