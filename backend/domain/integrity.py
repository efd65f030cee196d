"""Integrity events: what a person should know about how complete and how trustworthy a trace is.

Rules:
- One event per cause. Each has a key within its chain, so that the same cause seen twice stays one event.
- A chain is opened by exactly one event, when its first batch is stored, with the origin that batch states.
- Declared gaps and losses are events of their own, a loss in the chain that lost it; a hole nobody declared
  becomes one when it outlives the grace that a backlog needs, and a second one says when it was filled after
  all.
- Events are derived from verified headers and from decisions; they never change what is stored.

Example:
    >>> [event.kind.value for event in events_of_stored(header, received_us=now_us, known_chains=())]
    ['chain_opened', 'gap_declared']
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from backend.domain.batch_time import clock_problem
from protocol.batch import GapCause, LossCause, OriginKind
from protocol.limits import INTEGRITY_HOLE_GRACE_US
from protocol.receipts import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from backend.domain.coverage import Pair, Ranges
    from protocol.batch import BatchHeader, OpenedBatch

Detail = str | int | bool | None


class IntegrityKind(StrEnum):
    """What happened; the value is stored and shown."""

    CHAIN_OPENED = "chain_opened"
    ORIGIN_DOUBTFUL = "origin_doubtful"
    GAP_DECLARED = "gap_declared"
    LOSS_DECLARED = "loss_declared"
    HOLE_UNDECLARED = "hole_undeclared"
    HOLE_FILLED = "hole_filled"
    CONFLICT = "conflict"
    FORK = "fork"
    REFUSED = "refused"
    SECTION_RELEASED = "section_released"
    CLOCK_SUSPICIOUS = "clock_suspicious"
    DICTIONARY_CONFLICT = "dictionary_conflict"
    SECTION_UNREADABLE = "section_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityEvent:
    """One finding about one chain."""

    kind: IntegrityKind
    seq: int | None
    key: str
    detail: Mapping[str, Detail]


def cause_name(vocabulary: type[IntEnum], value: int) -> str:
    """Return a wire value's name in lower case, or `unknown <n>` for one this version does not know."""
    try:
        return vocabulary(value).name.lower()
    except ValueError:
        return f"unknown {value}"


def events_of_stored(
    header: BatchHeader, *, received_us: int, known_chains: Collection[bytes]
) -> list[IntegrityEvent]:
    """Return the events that storing a batch brings.

    Args:
        header: The stored batch's header.
        received_us: UTC of arrival in µs.
        known_chains: Ids of the device's chains that were opened before this batch.
    """
    events = _origin_events(header, known_chains) if header.origin is not None else []
    for gap in header.gaps:
        events.append(
            IntegrityEvent(
                kind=IntegrityKind.GAP_DECLARED,
                seq=header.seq,
                key=f"{gap.boot.hex()}:{gap.start_us}",
                detail={
                    "boot": gap.boot.hex(),
                    "start_us": gap.start_us,
                    "end_us": gap.end_us,
                    "cause": cause_name(GapCause, gap.cause),
                },
            )
        )
    for loss in header.losses:
        events.append(
            IntegrityEvent(
                kind=IntegrityKind.LOSS_DECLARED,
                seq=header.seq,
                key=f"{loss.first}-{loss.last}",
                detail={"first": loss.first, "last": loss.last, "cause": cause_name(LossCause, loss.cause)},
            )
        )
    if problem := clock_problem(header, received_us=received_us):
        events.append(
            IntegrityEvent(
                kind=IntegrityKind.CLOCK_SUSPICIOUS,
                seq=header.seq,
                key=header.boot.hex(),  # once a boot, not once a batch
                detail={"problem": problem, "claimed_us": header.utc_start_us, "received_us": received_us},
            )
        )
    return events


def events_of_ended(header: BatchHeader) -> list[tuple[bytes, IntegrityEvent]]:
    """Return (chain, event) for each loss that a batch declares of chains that the box has ended."""
    return [
        (
            bytes(loss.chain),
            IntegrityEvent(
                kind=IntegrityKind.LOSS_DECLARED,
                seq=None,
                key=f"{loss.first}-{loss.last}",
                detail={
                    "first": loss.first,
                    "last": loss.last,
                    "cause": cause_name(LossCause, loss.cause),
                    "in_chain": header.chain.hex(),
                    "in_seq": header.seq,
                },
            ),
        )
        for loss in header.ended_losses
    ]


def _origin_events(header: BatchHeader, known_chains: Collection[bytes]) -> list[IntegrityEvent]:
    """Return the opening of a chain, and a doubt when its origin does not fit what is known."""
    origin = header.origin
    assert origin is not None
    head = origin.last_head
    kind = cause_name(OriginKind, origin.kind)
    events = [
        IntegrityEvent(
            kind=IntegrityKind.CHAIN_OPENED,
            seq=1,
            key="",
            detail={
                "origin": kind,
                "last_chain": head.chain.hex() if head is not None else None,
                "last_seq": head.seq if head is not None else None,
                "last_hash": head.hash.hex() if head is not None else None,
            },
        )
    ]
    others = [chain for chain in known_chains if chain != header.chain]
    if origin.kind == OriginKind.FIRST and others:
        doubt = "says it is the box's first chain, but another one was opened before"
        events.append(
            IntegrityEvent(kind=IntegrityKind.ORIGIN_DOUBTFUL, seq=1, key="first", detail={"problem": doubt})
        )
    return events


def event_of_refusal(batch: OpenedBatch, *, code: RefusalCode, detail: str) -> IntegrityEvent:
    """Return the event of a batch that was refused and put into quarantine."""
    match code:
        case RefusalCode.CONFLICT:
            kind = IntegrityKind.CONFLICT
        case RefusalCode.FORK:
            kind = IntegrityKind.FORK
        case _:
            kind = IntegrityKind.REFUSED
    return IntegrityEvent(
        kind=kind,
        seq=batch.header.seq,
        key=batch.head_hash.hex(),
        detail={"code": code.name, "problem": detail, "hash": batch.head_hash.hex()},
    )


def event_of_release(batch: OpenedBatch, *, sections: Iterable[int]) -> IntegrityEvent:
    """Return the event of sections that came after they had been withheld."""
    named = ",".join(str(section) for section in sorted(sections))
    return IntegrityEvent(
        kind=IntegrityKind.SECTION_RELEASED, seq=batch.header.seq, key=named, detail={"sections": named}
    )


def overdue_holes(
    holes: Iterable[Pair], *, stored: Ranges, received_us: Mapping[int, int], otherwise_us: int, now_us: int
) -> list[IntegrityEvent]:
    """Return an event for each hole that has been open for longer than a backlog needs.

    A hole is as old as the arrival of the first batch above it. That is the next number that is stored, which
    need not be the next number: what lies between may be declared lost.

    Args:
        holes: Ranges of the chain that are neither stored nor declared lost.
        stored: What is stored of the chain.
        received_us: When the batches of `numbers_above` arrived, UTC in µs.
        otherwise_us: What counts where that is not known, UTC in µs: when the chain was last heard of.
        now_us: UTC in µs.
    """
    since = {pair: received_us.get(stored.next_from(pair[1]) or 0, otherwise_us) for pair in holes}
    return [
        IntegrityEvent(
            kind=IntegrityKind.HOLE_UNDECLARED,
            seq=first,
            key=f"{first}-{last}",
            detail={"first": first, "last": last, "since_us": since_us},
        )
        for (first, last), since_us in sorted(since.items())
        if now_us - since_us > INTEGRITY_HOLE_GRACE_US
    ]


def numbers_above(holes: Iterable[Pair], *, stored: Ranges) -> set[int]:
    """Return for each hole the lowest stored number above it, where there is one."""
    return {above for _, last in holes if (above := stored.next_from(last)) is not None}


def filled_holes(reported: Iterable[Pair], *, filled: Ranges) -> list[IntegrityEvent]:
    """Return an event for each reported hole that nothing is missing of any more.

    Args:
        reported: Holes that have an event.
        filled: What is stored or declared lost.
    """
    return [
        IntegrityEvent(
            kind=IntegrityKind.HOLE_FILLED,
            seq=first,
            key=f"{first}-{last}",
            detail={"first": first, "last": last},
        )
        for first, last in reported
        if not filled.holes(first, last)
    ]
