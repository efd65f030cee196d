"""What the car did, in an evidence file: its signed dispositions, and whether a lock was accepted at all.

Rules: a disposition counts when the box's microcontroller signed it. Numbers of an epoch have no gaps and
each names the hash of the one before, so a chain whose both edges lie outside the interval shows everything
that was accepted in it. Absence is answered yes only then; a gap, an unknown order or an open edge makes the
answer UNVERIFIABLE, never yes. The upper edge is a later disposition, or a batch that the box signed after
the interval and that names the last disposition as its head.

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
from protocol.evidence_report import Absence, Answer, Code, Weight, iso
from protocol.orders import OrderType, State

_SECOND_US = 1_000_000
_HALF = 32
_IN_FORCE = {State.ACCEPTED_PENDING, State.WARNING, State.ARMED, State.LOCKED, State.OVERRIDDEN}
_NOT_ACCEPTED = {State.NONE, State.RECEIVED, State.REJECTED}


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
        if order is None and item.state not in _NOT_ACCEPTED:
            text = f"{name[0].upper()}{name[1:]} is about an order that is not in the file."
            ledger.find(Code.ORDER_MISSING, Weight.UNVERIFIABLE, text)
        elif order is not None and order.cmd_id != item.cmd_id:
            text = f"{name[0].upper()}{name[1:]} names another order than its hash."
            ledger.find(Code.DISPOSITIONS_CONTRADICT, Weight.CONTRADICTION, text)
    chains = [_chain(ledger, claim, found.get(claim.chain, {})) for claim in ledger.manifest.dispositions]
    for chain in chains:
        _tell(chain.items, orders)
    return chains


def answer_absence(
    ledger: Ledger, chains: Sequence[DispositionChain], orders: Mapping[bytes, ReadOrder]
) -> Absence:
    """Return whether a lock was accepted or in force in the interval of the file."""
    begin, end = ledger.manifest.from_us, ledger.manifest.to_us
    span = f"between {iso(begin)} and {iso(end)}"
    inside = [
        item
        for chain in chains
        for item in (
            *_in_force_at(chain.items, begin),
            *(item for item in chain.items if _lies(item, begin, end) is True),
        )
        if _is_lock(item, orders) and item.state in _IN_FORCE
    ]
    if inside:
        text = f"A lock was accepted or in force {span}: order {inside[0].cmd_id.hex()}."
        return Absence(answer=Answer.LOCK, text=text)
    why = _doubt(ledger, chains, orders)
    if why is not None:
        text = f"Whether a lock was accepted {span} cannot be told: {why}."
        return Absence(answer=Answer.UNVERIFIABLE, text=text)
    return Absence(
        answer=Answer.NO_LOCK,
        text=f"No lock was accepted {span}: the car's dispositions have no gap and none says so.",
    )


def _doubt(
    ledger: Ledger, chains: Sequence[DispositionChain], orders: Mapping[bytes, ReadOrder]
) -> str | None:
    """Return what keeps absence from being proven, or None."""
    if any(finding.weight is Weight.CONTRADICTION for finding in ledger.findings):
        return "the file is contradicted"
    if any(finding.code is Code.MCU_UNTRUSTED for finding in ledger.findings):
        return "the box's microcontroller is not in the trust file"
    if len(chains) != 1:
        return f"the file has {len(chains)} epochs of the car, and between two nothing is proven"
    (chain,) = chains
    if not chain.items or not chain.is_gapless or chain.claim.last < chain.claim.highest:
        return "dispositions are missing"
    begin, end = ledger.manifest.from_us, ledger.manifest.to_us
    return _unclear_step(chain, orders, begin, end) or _open_edge(ledger, chain, begin, end)


def _unclear_step(
    chain: DispositionChain, orders: Mapping[bytes, ReadOrder], begin: int, end: int
) -> str | None:
    """Return which step may be a lock's acceptance in the interval, or None."""
    for item in chain.items:
        if item.state in _NOT_ACCEPTED or _lies(item, begin, end) is False:
            continue
        order = orders.get(item.cmd_hash)
        if order is None:
            return f"disposition {item.sequence} is about an order that is not here"
        if order.type is OrderType.LOCK and item.state in _IN_FORCE:
            return f"the time of disposition {item.sequence}, about a lock, is not known well enough"
    return None


def _open_edge(ledger: Ledger, chain: DispositionChain, begin: int, end: int) -> str | None:
    """Return at which end something may be missing, or None."""
    first, last = chain.items[0], chain.items[-1]
    if first.sequence != 1 and not (first.latest_s is not None and first.latest_s * _SECOND_US < begin):
        return "the chain of dispositions begins within the interval"
    is_after = last.earliest_s is not None and last.earliest_s * _SECOND_US >= end
    if not is_after and not _is_head_after(ledger, last.digest, end):
        return f"nothing the box signed after it says that disposition {last.sequence} was still the last"
    return None


def _is_head_after(ledger: Ledger, digest: bytes, end_us: int) -> bool:
    """Whether a batch that the box signed after an instant names a disposition as the last one."""
    for batch in ledger.batches.values():
        begin = batch.header.utc_start_us
        if batch.header.disposition_head == digest and begin is not None and begin >= end_us:
            return True
    return False


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


def _in_force_at(items: Sequence[Disposition], begin_us: int) -> list[Disposition]:
    """Return the last word on each order before an instant, where it was still in force."""
    last: dict[bytes, Disposition] = {}
    for item in items:
        if item.latest_s is not None and item.latest_s * _SECOND_US < begin_us:
            last[item.cmd_hash] = item
    return [item for item in last.values() if item.state in _IN_FORCE]


def _is_lock(item: Disposition, orders: Mapping[bytes, ReadOrder]) -> bool:
    return item.cmd_hash in orders and orders[item.cmd_hash].type is OrderType.LOCK


def _lies(item: Disposition, begin_us: int, end_us: int) -> bool | None:
    """Whether a disposition lies in an interval; None when its time cannot tell."""
    if item.earliest_s is None or item.latest_s is None:
        return None
    earliest, latest = item.earliest_s * _SECOND_US, item.latest_s * _SECOND_US
    if latest < begin_us or earliest >= end_us:
        return False
    return True if earliest >= begin_us and latest < end_us else None


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
