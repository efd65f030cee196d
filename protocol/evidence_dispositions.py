"""What the car did, in an evidence file: its signed dispositions, and since when the starter was inhibited.

Rules: a disposition counts when the box's microcontroller signed it. Numbers of an epoch have no gaps and
each names the hash of the one before, so a chain whose both edges lie outside an interval shows everything
that was accepted in it; whether they do is the question of `evidence_absence`.

This module judges no order: see `evidence_orders`.

Example:
    >>> moment(None, None)
    'at an unknown time'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from protocol.dispositions import Disposition, open_disposition
from protocol.errors import ProtocolError
from protocol.evidence_ledger import Ledger
from protocol.evidence_manifest import ChainClaim, PartKind
from protocol.evidence_orders import ReadOrder
from protocol.evidence_report import Code, Weight, iso
from protocol.orders import State

_SECOND_US = 1_000_000
_HALF = 32
NOT_ACCEPTED = frozenset({State.NONE, State.RECEIVED, State.REJECTED})
"""States of an answer to an order that the car did not take."""
_NO_ORDER = bytes(32)  # cmd_hash of a word about no order: the record was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class DispositionChain:
    """The dispositions of one epoch that are here and hold."""

    claim: ChainClaim
    items: tuple[Disposition, ...]
    is_gapless: bool


def moment(earliest_s: int | None, latest_s: int | None) -> str:
    """Return when something happened, as the device knew it."""
    if earliest_s is None or latest_s is None:
        return "at an unknown time"
    if earliest_s == latest_s:
        return f"at {_time(earliest_s)}"
    return f"between {_time(earliest_s)} and {_time(latest_s)}"


def is_of_no_order(item: Disposition) -> bool:
    """Whether a disposition tells what became of the car itself, and of no order."""
    return item.cmd_hash == _NO_ORDER and item.state is State.FAULT_RELEASED


def check_dispositions(
    ledger: Ledger, orders: Mapping[bytes, ReadOrder], mcu_keys: Mapping[bytes, bytes]
) -> list[DispositionChain]:
    """Return the chains of dispositions, with findings for what is wrong or missing."""
    keys = {kid: _public_key(xy) for kid, xy in mcu_keys.items()}
    found: dict[bytes, dict[int, Disposition]] = {}
    for part, data in ledger.whole(PartKind.DISPOSITION):
        name = part.ref.name
        try:
            item = open_disposition(data, keys.get)
        except ProtocolError as error:
            text = f"{name[0].upper()}{name[1:]} was not signed by the box's microcontroller: {error.detail}."
            ledger.find(Code.DISPOSITION_BROKEN, Weight.CONTRADICTION, text)
            continue
        if (item.epoch, item.sequence) != (part.ref.chain, part.ref.seq):
            text = f"In place of {name} stands another."
            ledger.find(Code.DISPOSITION_BROKEN, Weight.CONTRADICTION, text)
            continue
        known = found.setdefault(item.epoch, {}).setdefault(item.sequence, item)
        if known.digest != item.digest:
            text = f"The car signed two dispositions as number {item.sequence}."
            ledger.find(Code.DISPOSITIONS_CONTRADICT, Weight.CONTRADICTION, text)
        order = orders.get(item.cmd_hash)
        if order is None and not is_of_no_order(item) and item.state not in NOT_ACCEPTED:
            text = f"{name[0].upper()}{name[1:]} is about an order that is not in the file."
            ledger.find(Code.ORDER_MISSING, Weight.UNVERIFIABLE, text)
        elif order is not None and order.cmd_id != item.cmd_id:
            text = f"{name[0].upper()}{name[1:]} names another order than its hash."
            ledger.find(Code.DISPOSITIONS_CONTRADICT, Weight.CONTRADICTION, text)
    chains = [_chain(ledger, claim, found.get(claim.chain, {})) for claim in ledger.manifest.dispositions]
    for chain in chains:
        _tell(chain.items, orders)
    return chains


def _chain(ledger: Ledger, claim: ChainClaim, items: Mapping[int, Disposition]) -> DispositionChain:
    """Return one epoch's chain, with findings for links that do not hold and numbers that are missing."""
    missing = [number for number in range(claim.first, claim.last + 1) if number not in items]
    if missing:
        text = (
            f"{len(missing)} dispositions of epoch {claim.chain.hex()} are missing, first {missing[0]}:"
            " what was accepted there cannot be told."
        )
        ledger.find(Code.DISPOSITION_GAP, Weight.UNVERIFIABLE, text)
    is_linked = True
    for number, item in items.items():
        before = items.get(number - 1)
        is_wrong = (item.previous is not None) if number == 1 else item.previous is None
        if is_wrong or (before is not None and item.previous != before.digest):
            is_linked = False
            text = f"Disposition {number} does not follow the one before it: one was exchanged or left out."
            ledger.find(Code.DISPOSITIONS_CONTRADICT, Weight.CONTRADICTION, text)
    inside = tuple(items[number] for number in sorted(items) if claim.first <= number <= claim.last)
    return DispositionChain(claim=claim, items=inside, is_gapless=not missing and is_linked)


def _tell(items: Sequence[Disposition], orders: Mapping[bytes, ReadOrder]) -> None:
    """Add to each order what the car answered, and when the starter was inhibited."""
    locked: dict[bytes, Disposition] = {}
    for item in items:
        order = orders.get(item.cmd_hash)
        if order is None:
            continue
        said = f"The car: {item.state.name}" + (f" ({item.code.name})" if item.code else "")
        demo = ", by the demonstration's image" if item.is_demo else ""
        order.sentences.append(
            f"{said} {moment(item.earliest_s, item.latest_s)}, number {item.sequence}{demo}."
        )
        since = locked.get(item.cmd_hash)
        if item.state is State.LOCKED and since is None:
            locked[item.cmd_hash] = item
        elif item.state is not State.LOCKED and since is not None:
            del locked[item.cmd_hash]
            order.sentences.append(
                f"The starter was inhibited from {_point(since)} to {_point(item)} ({item.state.name})."
            )
    for digest, since in locked.items():
        orders[digest].sentences.append(
            f"The starter was inhibited from {_point(since)}; the file does not say until when."
        )


def _point(item: Disposition) -> str:
    """Return a moment as the end of an interval, with its width when there is one."""
    if item.earliest_s is None or item.latest_s is None:
        return "an unknown time"
    width = item.latest_s - item.earliest_s
    return _time(item.earliest_s) + (f" (known to {width} s)" if width else "")


def _time(instant_s: int) -> str:
    return str(iso(instant_s * _SECOND_US)).replace(".000000", "")


def _public_key(xy: bytes) -> EllipticCurvePublicKey:
    x, y = int.from_bytes(xy[:_HALF], "big"), int.from_bytes(xy[_HALF:], "big")
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
