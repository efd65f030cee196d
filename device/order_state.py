"""What the agent remembers of orders: the values of the order journal, and the changes made to it.

Rules:
- An arrival is named by SHA-256 of the whole message, since the same payload may come with wrong signatures
  first.
- A disposition is named by epoch, number and digest: two that contradict each other are both kept.
- A change is one transaction: what it says is on stable storage together, or not at all.

It decides nothing (`device.orders`) and writes nothing (`device.adapters.order_journal`).

Example:
    >>> JournalImage().arrivals
    ()
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An order that came down and that the microcontroller has not answered yet.

    Attributes:
        digest: SHA-256 of the message.
        cmd_hash: SHA-256 of its payload: what dispositions name.
        cmd_id: 16 bytes, what dispositions of every version name.
        order_type: payload key 3; a number this version need not know.
        ends_s: POSIX seconds after which it can no longer be accepted, None when it never ends.
        message: as it came.
    """

    digest: bytes
    cmd_hash: bytes
    cmd_id: bytes
    order_type: int
    ends_s: int | None
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A disposition of the microcontroller.

    Attributes:
        epoch: 16 bytes.
        seq: its number in the epoch.
        digest: SHA-256 of the message.
        cmd_hash: of the order it answers.
        message: as it came.
        is_receipted: the backend has it.
        is_refused: the backend will never take it; kept here for the workshop.
    """

    epoch: bytes
    seq: int
    digest: bytes
    cmd_hash: bytes
    message: bytes = field(repr=False)
    is_receipted: bool = False
    is_refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalChange:
    """One transaction of the journal.

    Attributes:
        number: of the change, rising within a life of the agent; the answer names it.
        add: arrivals to keep.
        remove: digests of arrivals that need no more presenting.
        answer: dispositions to keep; one that is there already stays as it is.
        receipted: digests of dispositions that the backend has.
        reopened: digests of dispositions that the backend has lost again.
        refused: digests of dispositions that the backend refuses for good.
        forget: digests of dispositions to delete: receipted long ago.
        order_head: cmd_hash of the newest order seen, None to leave it.
        disposition_head: digest of the newest disposition, None to leave it.
    """

    number: int
    add: tuple[Arrival, ...] = ()
    remove: tuple[bytes, ...] = ()
    answer: tuple[Answered, ...] = ()
    receipted: tuple[bytes, ...] = ()
    reopened: tuple[bytes, ...] = ()
    refused: tuple[bytes, ...] = ()
    forget: tuple[bytes, ...] = ()
    order_head: bytes | None = None
    disposition_head: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalImage:
    """Everything the journal held at start.

    Attributes:
        arrivals: in the order in which they came.
        answers: dispositions in the order in which they were stored.
        order_head: cmd_hash of the newest order seen.
        disposition_head: digest of the newest disposition.
        notes: what had to be done to open it, as phrases for the log.
    """

    arrivals: tuple[Arrival, ...] = ()
    answers: tuple[Answered, ...] = ()
    order_head: bytes | None = None
    disposition_head: bytes | None = None
    notes: tuple[str, ...] = ()
