"""What is done with a batch that verified: the one place where a chain's rules are decided.

Rules:
- Only what the device's key signed is judged here. Bytes that did not verify are counted by cause elsewhere
  and can never make the backend refuse a sequence number, or anyone at the broker could make a box give up
  a good batch.
- A number is stored once. The same bytes again are DUPLICATE and get the receipt again; other bytes are
  CONFLICT.
- A batch must link to both neighbours that are stored: its `prev` to the one below, the `prev` of the one
  above to it. If not it is FORK, whichever of them came first.
- Batches come in any order (the open batch first after a silence), so a number above a hole is stored, not
  refused.
- A number that was declared lost is closed: a batch that comes under it after all is stored only when the
  stored batch above names its hash. Else it may be one that another life of the box sealed (exchanged
  storage), and is CONFLICT.
- A refusal concerns one batch. It is quarantined and blocks nothing.
- The same batch may come later with a section that was withheld before: the section is added (RELEASE).

It does not open envelopes, touch a database or know the time.

Example:
    >>> decide(batch, neighbours=Neighbours())        # the first of a chain
    Decision(verdict=<Verdict.STORE: 'store'>, refusal=None, detail='', sections=frozenset({1, 2}))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from backend.domain.coverage import Ranges
from protocol.batch import OriginKind
from protocol.limits import CHAIN_RANGES_MAX, QUARANTINE_ITEMS_MAX
from protocol.receipts import RefusalCode

if TYPE_CHECKING:
    from protocol.batch import BatchHeader, OpenedBatch


class Verdict(StrEnum):
    """What becomes of a batch that verified."""

    STORE = "store"
    DUPLICATE = "duplicate"
    RELEASE = "release"
    REFUSE = "refuse"
    DEFER = "defer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How a stored batch hangs in its chain."""

    head_hash: bytes
    prev: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What is stored at one number and beside it; None where nothing is."""

    same: Link | None = None
    below: Link | None = None
    above: Link | None = None
    held: frozenset[int] = frozenset()
    """Sections kept for the batch stored at the same number."""
    is_lost: bool = False
    """The number was declared lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict on one batch, with the code the device gets when it is refused."""

    verdict: Verdict
    refusal: RefusalCode | None = None
    detail: str = ""
    sections: frozenset[int] = frozenset()
    """Sections to write: all that came with STORE, the new ones with RELEASE."""


def decide(batch: OpenedBatch, *, neighbours: Neighbours) -> Decision:
    """Return what to do with `batch`, given what is stored around its number.

    Args:
        batch: A batch whose signature and section hashes verified.
        neighbours: What the store holds at seq - 1, seq and seq + 1 of the same chain.
    """
    header = batch.header
    came = frozenset(batch.sections)
    if neighbours.same is not None:
        if neighbours.same.head_hash != batch.head_hash:
            return _refuse(RefusalCode.CONFLICT, f"number {header.seq} is stored with other bytes")
        if released := came - neighbours.held:
            return Decision(verdict=Verdict.RELEASE, sections=released)
        return Decision(verdict=Verdict.DUPLICATE)
    for code, detail in (
        (RefusalCode.BAD_ORIGIN, _origin_problem(header)),
        (RefusalCode.BAD_FIELD, _loss_problem(header)),
        (RefusalCode.FORK, _link_problem(batch, neighbours)),
        (RefusalCode.CONFLICT, _lost_problem(header, neighbours)),
    ):
        if detail is not None:
            return _refuse(code, detail)
    return Decision(verdict=Verdict.STORE, sections=came)


def _refuse(code: RefusalCode, detail: str) -> Decision:
    return Decision(verdict=Verdict.REFUSE, refusal=code, detail=detail)


def _origin_problem(header: BatchHeader) -> str | None:
    """Return why a first batch's origin cannot be, or None. Later batches have none, by the codec."""
    origin = header.origin
    if origin is None:
        return None
    if origin.last_head is not None and origin.last_head.chain == header.chain:
        return "names itself as the chain it follows"
    if origin.kind == OriginKind.FIRST and origin.last_head is not None:
        return "says it is the first chain and names one before it"
    return None


def _loss_problem(header: BatchHeader) -> str | None:
    """Return why the declared losses cannot be, or None: only what was sealed before can be lost."""
    if any(loss.last >= header.seq for loss in header.losses):
        return "declares a number lost that was not sealed before it"
    return None


def _link_problem(batch: OpenedBatch, neighbours: Neighbours) -> str | None:
    """Return which stored neighbour the batch does not hang together with, or None."""
    seq = batch.header.seq
    if neighbours.below is not None and neighbours.below.head_hash != batch.header.prev:
        return f"does not follow the stored number {seq - 1}"
    if neighbours.above is not None and neighbours.above.prev != batch.head_hash:
        return f"the stored number {seq + 1} does not follow it"
    return None


def _lost_problem(header: BatchHeader, neighbours: Neighbours) -> str | None:
    """Return why a batch under a number that was declared lost cannot be believed, or None."""
    if neighbours.is_lost and neighbours.above is None:
        return f"number {header.seq} was declared lost, and no stored batch proves that it is this one"
    return None


@dataclass(slots=True, kw_only=True)
class ChainState:
    """What is known of one chain while a group of messages is taken in.

    `links` holds only the numbers that the group touches and their neighbours; the store loads them before
    and writes back what `changed` says.
    """

    stored: Ranges = field(default_factory=Ranges)
    lost: Ranges = field(default_factory=Ranges)
    lost_later: Ranges = field(default_factory=Ranges)
    """Declared lost by later chains: no hole and not wanted, but no part of `upto` either, since a box with
    an older image of its storage may still hold the batch."""
    refused: dict[int, RefusalCode] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    held: dict[int, frozenset[int]] = field(default_factory=dict)
    is_changed: bool = False

    def take(self, batch: OpenedBatch) -> Decision:
        """Decide on a batch and remember the outcome for the next one of the group."""
        seq = batch.header.seq
        around = Neighbours(
            same=self.links.get(seq),
            below=self.links.get(seq - 1),
            above=self.links.get(seq + 1),
            held=self.held.get(seq, frozenset()),
            is_lost=seq in self.lost or seq in self.lost_later,
        )
        decision = decide(batch, neighbours=around)
        match decision.verdict:
            case Verdict.STORE:
                grown = self.stored.add(seq)
                if len(grown) > CHAIN_RANGES_MAX:
                    return Decision(verdict=Verdict.DEFER, detail="too many holes; fill some first")
                self.stored = grown
                self.links[seq] = Link(head_hash=batch.head_hash, prev=batch.header.prev)
                self.held[seq] = decision.sections
                declared = Ranges.of((loss.first, loss.last) for loss in batch.header.losses)
                self.lost = self.lost.union(declared)
                self._forget_refused()
                self.is_changed = True
            case Verdict.RELEASE:
                self.held[seq] = around.held | decision.sections
            case Verdict.REFUSE:
                assert decision.refusal is not None
                if seq not in self.stored and len(self.refused) < QUARANTINE_ITEMS_MAX:
                    self.refused[seq] = decision.refusal
                    self.is_changed = True
            case Verdict.DUPLICATE | Verdict.DEFER:
                pass
        return decision

    def lose_later(self, first: int, last: int) -> None:
        """Note what a later chain declares lost of this one, which has ended."""
        self.lost_later = self.lost_later.union(Ranges.of([(first, last)]))
        self._forget_refused()
        self.is_changed = True

    @property
    def filled(self) -> Ranges:
        """Numbers that are stored or declared lost anywhere."""
        return self.stored.union(self.lost).union(self.lost_later)

    def _forget_refused(self) -> None:
        """Drop refusals of numbers that were stored or declared lost since."""
        settled = [seq for seq in self.refused if seq in self.filled]
        for seq in settled:
            del self.refused[seq]

    @property
    def upto(self) -> int:
        """Up to where nothing is missing, see `filled_upto`."""
        return filled_upto(self.stored, self.lost)

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """Ranges below the highest stored number that are neither stored nor declared lost."""
        return self.missing(self.stored.last)

    def missing(self, last: int) -> tuple[tuple[int, int], ...]:
        """Ranges of 1 … last that are neither stored nor declared lost."""
        return self.filled.holes(1, last)


def filled_upto(stored: Ranges, lost: Ranges) -> int:
    """Return the highest stored number with nothing missing below it; 0 when there is none.

    What was declared lost counts as filled, but the number returned is always a stored one: a receipt proves
    itself to the box by the hash at this number, and what is lost has no hash.
    """
    first_hole = stored.union(lost).holes(1, stored.last + 1)[0][0]
    highest = 0
    for first, last in stored:
        if first >= first_hole:
            break
        highest = last
    return highest
