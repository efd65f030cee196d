"""Receipts of dispositions: up to where a chain is whole, and what lies beyond; the box may then forget it.

Example:
    >>> disposition_receipt(device, epoch, chain, refused={}, now_us=utc_us()).upto
    3
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.ids import ChainId
from protocol.limits import RECEIPT_HAVE_MAX, RECEIPT_REFUSED_MAX
from protocol.receipts import Have, Receipt, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from protocol.ids import DeviceId
    from protocol.receipts import RefusalCode


def disposition_receipt(
    device: DeviceId,
    epoch: bytes,
    chain: list[tuple[int, bytes]],
    *,
    refused: Mapping[int, RefusalCode],
    now_us: int,
) -> Receipt:
    """Return the receipt of one epoch's chain, unsigned.

    Args:
        device: the box.
        epoch: of the chain.
        chain: number and hash of each disposition that is stored, ascending.
        refused: numbers that are kept apart, and why.
        now_us: UTC in µs.
    """
    upto = 0
    while upto < len(chain) and chain[upto][0] == upto + 1:
        upto += 1
    listed = sorted(refused.items())[:RECEIPT_REFUSED_MAX]
    return Receipt(
        device=device,
        stream=Stream.DISPOSITION,
        chain=ChainId(epoch),
        upto=upto,
        hash=chain[upto - 1][1] if upto else None,
        have=tuple(_ranges(chain[upto:]))[:RECEIPT_HAVE_MAX],
        refused=tuple((seq, int(code)) for seq, code in listed),
        want=(),
        issued_us=now_us,
    )


def _ranges(chain: Iterable[tuple[int, bytes]]) -> list[Have]:
    found: list[Have] = []
    for seq, digest in chain:
        if found and found[-1].last + 1 == seq:
            found[-1] = Have(first=found[-1].first, last=seq, hash=digest)
        else:
            found.append(Have(first=seq, last=seq, hash=digest))
    return found
