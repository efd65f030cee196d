"""What a receipt says about a chain: what is stored, what is refused, what is wanted.

Rules:
- `upto` is the highest stored number with nothing missing below it, and `hash` the head hash there; what was
  declared lost counts as filled. `have` names stored ranges above it, each with the head hash at its last
  number. The box believes a range only when its own hash at that number agrees.
- `refused` names batches that will never be stored, those just refused first.
- `want` names every hole that is not refused. A hole may be on its way: asking is harmless then, since the
  box sends what it still has to send anyway. After the backend was restored it brings back what was
  evictable.
- Whoever asks where a chain stands names the highest number he sealed: in the answer `want` reaches up to
  it, so that a backend that was restored learns what it cannot know.
- All three lists have a maximum; what does not fit comes with the next receipt.

It does not sign, and does not decide what is stored.

Example:
    >>> state = ChainState(stored=Ranges.of([(1, 3), (6, 6)]))
    >>> hash_points(state, touched=[6])
    (3, 6)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from backend.domain.coverage import Ranges
from protocol.limits import RECEIPT_HAVE_MAX, RECEIPT_REFUSED_MAX, RECEIPT_WANT_MAX
from protocol.receipts import Have, Receipt, Stream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from backend.domain.coverage import Pair
    from backend.domain.ingest import ChainState
    from protocol.ids import ChainId, DeviceId
    from protocol.receipts import RefusalCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a box asks about one chain: its nonce, and the highest number that it sealed there."""

    nonce: bytes
    seq: int


def _have_ranges(state: ChainState, touched: Collection[int]) -> list[Pair]:
    """Return the stored ranges above `upto` that fit, those of the numbers just taken in first."""
    upto = state.upto
    hit = {pair for seq in touched if (pair := state.stored.range_of(seq)) is not None and pair[0] > upto}
    others = (pair for pair in state.stored.above(upto) if pair not in hit)
    chosen = sorted(hit)[:RECEIPT_HAVE_MAX]
    return sorted([*chosen, *islice(others, RECEIPT_HAVE_MAX - len(chosen))])


def hash_points(state: ChainState, *, touched: Collection[int]) -> tuple[int, ...]:
    """Return the numbers whose head hashes a receipt needs, ascending."""
    points = [last for _, last in _have_ranges(state, touched)]
    return (state.upto, *points) if state.upto else tuple(points)


def build_receipt(
    state: ChainState,
    *,
    device: DeviceId,
    chain: ChainId,
    hashes: Mapping[int, bytes],
    touched: Collection[int] = (),
    refused_now: Mapping[int, RefusalCode] | None = None,
    question: Question | None = None,
    issued_us: int,
) -> Receipt:
    """Return the receipt for one chain as it stands after a commit.

    Args:
        state: The chain after the group.
        device: Whose chain it is.
        chain: Its id.
        hashes: Head hashes at the numbers of `hash_points`.
        touched: Numbers of the batches just taken in, so that their ranges are named even in a chain with
            many.
        refused_now: Refusals of this group, also of numbers that are stored with other bytes.
        question: What the box asked about this chain, None when it did not.
        issued_us: UTC of issue in µs.
    """
    refused = dict(refused_now or {})
    refused |= {seq: code for seq, code in state.refused.items() if seq not in refused}
    not_wanted = Ranges.of((seq, seq) for seq in state.refused)
    sealed = state.stored.last if question is None else max(state.stored.last, question.seq)
    wanted = Ranges.of(state.missing(sealed)).minus(not_wanted)
    return Receipt(
        device=device,
        stream=Stream.BATCH,
        chain=chain,
        upto=state.upto,
        hash=hashes[state.upto] if state.upto else None,
        have=tuple(
            Have(first=first, last=last, hash=hashes[last]) for first, last in _have_ranges(state, touched)
        ),
        refused=tuple(refused.items())[:RECEIPT_REFUSED_MAX],
        want=wanted.pairs[:RECEIPT_WANT_MAX],
        issued_us=issued_us,
        answers=None if question is None else question.nonce,
    )
