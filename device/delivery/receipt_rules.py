"""What a verified receipt means for this spool. A receipt frees only batches whose hash it names.

Rules:
- `upto` is believed only if our own digest at `upto` agrees; a `have` range only if our own at its `last`
  does. A batch commits to all before it, so one digest speaks for a range.
- A head that we never sealed, or a digest other than ours, means that our storage was replaced by an older
  image (or that another box signs as us): the chain is forked and a new one must begin.
- A refusal as CONFLICT or FORK of the growing chain means the same. Any other refusal concerns one batch.
- A receipt newer than all before it whose `upto` went back comes from a restored backend: what it no longer
  names is sent again. An older receipt, delivered late, never takes anything back.
- What is wanted and still here is sent again; what is wanted and gone is lost and will be declared. In a
  chain with two ends that holds for what was confirmed once; what was not is offered or sealed again.
- A number is *named* when the receipt says that something stands there, ours or not: offering a batch under
  it can only be confirmed or refused. Under any other number it could fill a hole of another life.

It changes nothing: it reads the index and returns a verdict.

Example:
    >>> Verdict().is_empty
    True
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.state import BatchKey, ChainRecord, EntryState
from protocol.batch import ChainHead
from protocol.receipts import RefusalCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.delivery.index import SpoolEntry, SpoolIndex
    from protocol.receipts import Receipt

__all__ = ["ChainRecord", "Verdict", "is_named", "judge"]

# Refusals that say: another batch stands there already, so this chain has two ends.
FORK_CODES = frozenset({RefusalCode.CONFLICT, RefusalCode.FORK, RefusalCode.BAD_ORIGIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do because of one receipt.

    Attributes:
        head: The believed `upto` with its digest, None when it was not believed.
        freed: Pending batches that the backend has.
        reopened: Confirmed batches that the backend no longer has.
        refused: Pending batches that the backend will never take, with its code.
        wanted: Pending batches to send now; none in a chain with two ends.
        missing: Seq ranges that are wanted and no longer here.
        fork: The backend's head that contradicts ours; None without contradiction.
        is_forked: The chain has two ends.
    """

    head: ChainHead | None = None
    freed: tuple[SpoolEntry, ...] = ()
    reopened: tuple[SpoolEntry, ...] = ()
    refused: tuple[tuple[SpoolEntry, int], ...] = ()
    wanted: tuple[SpoolEntry, ...] = ()
    missing: tuple[tuple[int, int], ...] = ()
    fork: ChainHead | None = None
    is_forked: bool = field(default=False)

    @property
    def reopened_keys(self) -> frozenset[BatchKey]:
        """Names of the batches that the backend once had: no other life can have sealed them."""
        return frozenset(entry.key for entry in self.reopened)

    @property
    def is_empty(self) -> bool:
        """Nothing follows from it."""
        return self == Verdict()


def judge(receipt: Receipt, chain: ChainRecord, index: SpoolIndex, *, is_newest: bool) -> Verdict:
    """Compare a verified receipt with what is stored.

    Args:
        receipt: Verified, of this device and of `chain`.
        chain: The chain as stored; `last_seq` is the highest that can have been published.
        index: What is stored.
        is_newest: No receipt of this chain was issued later.
    """
    claims = list(_claims(receipt))
    fork = next((head for _, head in reversed(claims) if _contradicts(head, chain, index)), None)
    believed = [(first, head) for first, head in claims if _agrees(head, chain, index)]
    freed = {
        entry.key: entry
        for first, head in believed
        for entry in index.pending_within(chain.chain, first, head.seq)
    }
    refused = tuple(_refused(receipt, index))
    is_forked = fork is not None or any(code in FORK_CODES for _, code in refused)
    reopened: dict[BatchKey, SpoolEntry] = {}
    wanted: dict[BatchKey, SpoolEntry] = {}
    missing: list[tuple[int, int]] = []
    if is_newest:
        reopened = {entry.key: entry for entry in _taken_back(receipt, chain, index, believed)}
    if is_newest:
        for first, last in receipt.want:
            held = _held(index, chain, first, last)
            for entry in held:
                if entry.state == EntryState.RECEIPTED:
                    reopened[entry.key] = entry
                elif entry.state == EntryState.PENDING and not is_forked:
                    wanted[entry.key] = entry
            sendable = [entry for entry in held if entry.state != EntryState.QUARANTINED]
            missing += _holes(sendable, first, min(last, chain.last_seq))
    for key in [*reopened, *wanted]:
        freed.pop(key, None)
    believed_upto = any(first == 1 and head.seq == receipt.upto for first, head in believed)
    return Verdict(
        head=ChainHead(chain=chain.chain, seq=receipt.upto, hash=receipt.hash)
        if believed_upto and receipt.hash is not None
        else None,
        freed=tuple(freed.values()),
        reopened=tuple(reopened.values()),
        refused=refused,
        wanted=tuple(wanted.values()),
        missing=tuple(missing),
        fork=fork,
        is_forked=is_forked,
    )


def is_named(receipt: Receipt, seq: int) -> bool:
    """Return whether the backend says that something stands under a number, whatever it is."""
    return seq <= receipt.upto or any(have.first <= seq <= have.last for have in receipt.have)


def _claims(receipt: Receipt) -> Iterator[tuple[int, ChainHead]]:
    """Yield each claimed range as its first seq and its head, `upto` first."""
    if receipt.upto and receipt.hash is not None:
        yield 1, ChainHead(chain=receipt.chain, seq=receipt.upto, hash=receipt.hash)
    for have in receipt.have:
        yield have.first, ChainHead(chain=receipt.chain, seq=have.last, hash=have.hash)


def _own_digest(head: ChainHead, chain: ChainRecord, index: SpoolIndex) -> bytes | None:
    entry = index.find(BatchKey(head.chain, head.seq))
    if entry is not None:
        return entry.digest
    if head.seq == chain.last_seq:
        return chain.last_digest
    if chain.receipted is not None and head.seq == chain.receipted.seq:
        return chain.receipted.hash
    return None


def _agrees(head: ChainHead, chain: ChainRecord, index: SpoolIndex) -> bool:
    return _own_digest(head, chain, index) == head.hash


def _contradicts(head: ChainHead, chain: ChainRecord, index: SpoolIndex) -> bool:
    own = _own_digest(head, chain, index)
    return head.seq > chain.last_seq or (own is not None and own != head.hash)


def _refused(receipt: Receipt, index: SpoolIndex) -> Iterator[tuple[SpoolEntry, int]]:
    for seq, code in receipt.refused:
        entry = index.find(BatchKey(receipt.chain, seq))
        if entry is not None and entry.state == EntryState.PENDING:
            yield entry, code


def _taken_back(
    receipt: Receipt, chain: ChainRecord, index: SpoolIndex, believed: list[tuple[int, ChainHead]]
) -> Iterator[SpoolEntry]:
    """Yield confirmed batches that a restored backend no longer names, up to where it confirmed before."""
    if chain.receipted is None or receipt.upto >= chain.receipted.seq:
        return
    for entry in index.of_chain(chain.chain):
        is_beyond = receipt.upto < entry.key.seq <= chain.receipted.seq
        is_named = any(first <= entry.key.seq <= head.seq for first, head in believed)
        if is_beyond and not is_named and entry.state == EntryState.RECEIPTED:
            yield entry


def _held(index: SpoolIndex, chain: ChainRecord, first: int, last: int) -> list[SpoolEntry]:
    last = min(last, chain.last_seq)
    return [entry for entry in index.of_chain(chain.chain) if first <= entry.key.seq <= last]


def _holes(held: list[SpoolEntry], first: int, last: int) -> list[tuple[int, int]]:
    """Return the seq ranges of `first…last` that are not held."""
    holes: list[tuple[int, int]] = []
    expected = first
    for seq in [*(entry.key.seq for entry in held), last + 1]:
        if seq > expected:
            holes.append((expected, seq - 1))
        expected = max(expected, seq + 1)
    return holes
