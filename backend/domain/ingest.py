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
- What a batch declares lost is noted whole or the batch is not stored: beyond a chain's ranges it is DEFER,
  and the box keeps it.
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
from backend.domain.filled import Filled
from protocol.batch import OriginKind
from protocol.limits import CHAIN_LOST_RANGES_MAX, CHAIN_RANGES_MAX, QUARANTINE_ITEMS_MAX
from protocol.receipts import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backend.domain.coverage import Pair
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
    _known: Filled | None = field(default=None, init=False, repr=False, compare=False)

    def take(self, batch: OpenedBatch, *, ended: Mapping[bytes, ChainState] | None = None) -> Decision:
        """Decide on a batch and remember the outcome for the next one of the group.

        Args:
            batch: A batch whose signature and section hashes verified.
            ended: By chain id, the states of the chains of `ended_losses`; of a chain that is not among them
                nothing is noted.
        """
        seq = batch.header.seq
        around = Neighbours(
            same=self.links.get(seq),
            below=self.links.get(seq - 1),
            above=self.links.get(seq + 1),
            held=self.held.get(seq, frozenset()),
            is_lost=self._is_lost(seq),
        )
        decision = decide(batch, neighbours=around)
        match decision.verdict:
            case Verdict.STORE:
                if (full := self._store(batch, decision, ended or {})) is not None:
                    return Decision(verdict=Verdict.DEFER, detail=full)
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

    def _store(self, batch: OpenedBatch, decision: Decision, ended: Mapping[bytes, ChainState]) -> str | None:
        """Note a stored batch with all that it declares lost; else say what is too much, noting nothing."""
        header = batch.header
        stored = self.stored.add(header.seq)
        lost = self.lost.union(Ranges.of((loss.first, loss.last) for loss in header.losses))
        later = _lost_of_ended(header, ended)
        if len(stored) > max(CHAIN_RANGES_MAX, len(self.stored)):
            return "too many holes; fill some first"
        grown = [(self.lost, lost), *((ended[chain].lost_later, ranges) for chain, ranges in later.items())]
        if any(len(after) > max(CHAIN_LOST_RANGES_MAX, len(before)) for before, after in grown):
            return "declares more ranges lost than are noted of one chain"
        self.stored, self.lost = stored, lost
        self.links[header.seq] = Link(head_hash=batch.head_hash, prev=header.prev)
        self.held[header.seq] = decision.sections
        self.note_change()
        for chain, ranges in later.items():
            ended[chain].lost_later = ranges
            ended[chain].note_change()
        return None

    def _is_lost(self, seq: int) -> bool:
        return seq in self.lost or seq in self.lost_later

    def note_change(self) -> None:
        """Have the chain written back, without refusals of numbers that are stored or declared lost now."""
        self.is_changed = True
        for seq in [seq for seq in self.refused if seq in self.stored or self._is_lost(seq)]:
            del self.refused[seq]

    def _coverage(self) -> Filled:
        """Return what follows from the ranges, computed again only after one of them was exchanged."""
        known = self._known
        if known is None or not known.is_of(self.stored, self.lost, self.lost_later):
            known = self._known = Filled.of(self.stored, self.lost, self.lost_later)
        return known

    @property
    def filled(self) -> Ranges:
        """Numbers that are stored or declared lost anywhere."""
        return self._coverage().filled

    @property
    def upto(self) -> int:
        """Up to where nothing is missing, see `Filled`."""
        return self._coverage().upto

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """Ranges below the highest stored number that are neither stored nor declared lost."""
        return self.missing(self.stored.last)

    def missing(self, last: int) -> tuple[tuple[int, int], ...]:
        """Ranges of 1 … last that are neither stored nor declared lost."""
        return self.filled.holes(1, last)


def _lost_of_ended(header: BatchHeader, ended: Mapping[bytes, ChainState]) -> dict[bytes, Ranges]:
    """Return what is lost of each ended chain once a batch's losses are added, all of a chain at once."""
    declared: dict[bytes, list[Pair]] = {}
    for loss in header.ended_losses:
        if loss.chain in ended:
            declared.setdefault(bytes(loss.chain), []).append((loss.first, loss.last))
    return {chain: ended[chain].lost_later.union(Ranges.of(pairs)) for chain, pairs in declared.items()}
