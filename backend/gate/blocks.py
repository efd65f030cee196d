"""Which blocks of a loan are in force: each has an owner, a reason and an end of its own kind (P-07).

Rules (README §1.7): a promise ends at its date and not before; a dispute when someone other than maker and
checker of the order has answered in writing; a bankruptcy stay or active duty on a document; hardship and
medical reasons at their date or on a document; a loan that is paid off stays blocked. Ends that are not of
the block's kind change nothing. Flags of the loan facts block beside this: a flag without a record has no
end that this gate could know.

This module reads no message.

Example:
    >>> in_force([], [], now_s=0, signers=frozenset())
    []
"""

from collections.abc import Iterable

from backend.gate.names import folded
from protocol.loan_facts import Block, BlockEnd, BlockEnding, Flag

_BY_DATE = frozenset({Flag.PROMISE, Flag.HARDSHIP, Flag.MEDICAL})
_BY_DOCUMENT = frozenset({Flag.BANKRUPTCY, Flag.ACTIVE_DUTY, Flag.HARDSHIP, Flag.MEDICAL})


def in_force(
    blocks: Iterable[Block], ends: Iterable[BlockEnd], *, now_s: int, signers: frozenset[str]
) -> list[Block]:
    """Return the blocks that stop an order now.

    Args:
        blocks: of one loan.
        ends: of its blocks.
        now_s: POSIX seconds.
        signers: persons who are maker or checker of the order; their answer ends no dispute.
    """
    known = list(ends)
    return [
        block
        for block in blocks
        if not _is_over(block, now_s)
        and not any(end.block_id == block.block_id and _ends(block, end, signers) for end in known)
    ]


def ends_at(blocks: Iterable[Block]) -> int | None:
    """Return when all of these will have ended by their dates; None when one has no date of its own."""
    times = [block.until_s if block.flag in _BY_DATE else None for block in blocks]
    found = [time for time in times if time is not None]
    return max(found) if found and len(found) == len(times) else None


def _is_over(block: Block, now_s: int) -> bool:
    return block.flag in _BY_DATE and block.until_s is not None and now_s >= block.until_s


def _ends(block: Block, end: BlockEnd, signers: frozenset[str]) -> bool:
    if block.flag is Flag.DISPUTE:
        is_written = end.how is BlockEnding.ANSWERED_IN_WRITING and end.document is not None
        return is_written and folded(end.by) not in map(folded, signers)
    if block.flag in _BY_DOCUMENT:
        return end.how is BlockEnding.DOCUMENT and end.document is not None
    return False
