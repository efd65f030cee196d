"""Chains and sections of an evidence file: links, holes, edges, receipts, and every committed section.

Rules:
- Neighbours must link by hash, inside the interval and at its edges.
- What is missing between the first and the last number is declared by the box or it is not; both are said.
- Every section that a header commits to is here, withheld with a reason, or unexplained.
- A time before 2010 or after the sealing is no time: a clock without battery said it.

This module verifies no signature: the ledger holds only what the box signed.

Example:
    >>> _declared_parts(2, 5, {(3, 4): "quota"})
    [(2, 2, None), (3, 4, 'quota'), (5, 5, None)]
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import pairwise

from protocol.batch import section_ref
from protocol.clock import ClockClass
from protocol.evidence_ledger import Ledger
from protocol.evidence_manifest import ChainClaim, PartKind, WithheldReason
from protocol.evidence_report import ChainReport, Code, Weight
from protocol.header import BatchHeader, DropCause, GapCause, LossCause, OriginKind, Section
from protocol.ids import ChainId
from protocol.limits import CLOCK_AHEAD_US_MAX, CLOCK_EARLIEST_US


def check_chain(ledger: Ledger, claim: ChainClaim) -> ChainReport:
    """Check links, holes, edges and the receipt of one chain, and say what there is of it."""
    seqs = sorted(seq for chain, seq in ledger.batches if chain == claim.chain)
    inside = [ledger.batches[claim.chain, seq] for seq in seqs if claim.first <= seq <= claim.last]
    for below, above in pairwise(seqs):
        if above == below + 1:
            _check_link(ledger, claim.chain, below, above)
    for batch in inside:
        _note_declared(ledger, batch.header)
    _note_dropped(ledger, claim.chain, [batch.header for batch in inside])
    times = [time for time in (believed(ledger, batch.header) for batch in inside) if time is not None]
    origin = ledger.batches.get((claim.chain, 1))
    _check_edges(ledger, claim)
    _check_receipt(ledger, claim.chain)
    receipt = ledger.receipts.get(claim.chain)
    return ChainReport(
        chain=claim.chain.hex(),
        origin=None
        if origin is None or origin.header.origin is None
        else _name(OriginKind, origin.header.origin.kind),
        first=claim.first,
        last=claim.last,
        batches=len(inside),
        from_us=min((start for start, _ in times), default=None),
        to_us=max((end for _, end in times), default=None),
        holes=_check_holes(ledger, claim, {batch.header.seq for batch in inside}),
        receipt_upto=None if receipt is None else receipt.upto,
        receipt_us=None if receipt is None else receipt.issued_us,
    )


def _check_link(ledger: Ledger, chain: ChainId, below: int, above: int) -> None:
    if ledger.batches[chain, above].header.prev != ledger.batches[chain, below].hash:
        text = f"Batch {above} does not follow batch {below}: one of them was exchanged."
        ledger.find(Code.CHAIN_BROKEN, Weight.CONTRADICTION, text, chain=chain, first=below, last=above)


def _note_declared(ledger: Ledger, header: BatchHeader) -> None:
    """Note what the box itself says is missing or doubtful."""
    for gap in header.gaps:
        end = "the end of that life of the box" if gap.end_us is None else f"{gap.end_us} µs"
        text = (
            f"Batch {header.seq} declares a gap in boot {gap.boot.hex()}, from {gap.start_us} µs to {end}:"
            f" {_name(GapCause, gap.cause)}."
        )
        ledger.find(Code.GAP_DECLARED, Weight.GAP, text, chain=header.chain, first=header.seq)
    if not header.are_frames_accounted:
        text = f"Batch {header.seq} does not say where all the frames it received went."
        ledger.find(Code.FRAMES_UNACCOUNTED, Weight.GAP, text, chain=header.chain, first=header.seq)
    if believed(ledger, header) is None:
        text = f"Batch {header.seq} was recorded without a clock; its place in the chain is its only time."
        ledger.find(Code.CLOCK_UNKNOWN, Weight.NOTE, text, chain=header.chain, first=header.seq)


def _check_holes(ledger: Ledger, claim: ChainClaim, present: set[int]) -> tuple[tuple[int, int, str], ...]:
    """Return what is missing between first and last, each declared by the box or not."""
    removed = {
        part.ref.seq
        for part in ledger.file.parts
        if part.ref.kind == PartKind.HEADER and part.ref.chain == claim.chain
    }
    lost = {
        (loss.first, loss.last): _name(LossCause, loss.cause)
        for (chain, _), batch in ledger.batches.items()
        if chain == claim.chain
        for loss in batch.header.losses
    } | {
        (loss.first, loss.last): _name(LossCause, loss.cause)
        for batch in ledger.batches.values()
        for loss in batch.header.ended_losses
        if loss.chain == claim.chain
    }
    holes: list[tuple[int, int, str]] = []
    known = sorted({claim.first - 1, claim.last + 1} | present | {seq for seq in removed if seq})
    for below, above in pairwise(known):
        for first, last, cause in _declared_parts(max(below + 1, claim.first), above - 1, lost):
            if last > claim.last:
                continue
            holes.append((first, last, f"declared {cause}" if cause else "undeclared"))
            span = f"number {first} is" if first == last else f"numbers {first} to {last} are"
            ledger.find(
                Code.LOSS_DECLARED if cause else Code.HOLE_UNDECLARED,
                Weight.GAP,
                f"In chain {claim.chain.hex()} {span} missing; "
                + (f"the box declares it: {cause}." if cause else "no batch here declares it."),
                chain=claim.chain,
                first=first,
                last=last,
            )
    return tuple(holes)


def _check_edges(ledger: Ledger, claim: ChainClaim) -> None:
    """See whether the batches next to the range prove that nothing of the interval was left out."""
    before = ledger.batches.get((claim.chain, claim.first - 1))
    after = ledger.batches.get((claim.chain, claim.last + 1))
    spans = [(claim.first - 1, before), (claim.last + 1, after)]
    for seq, batch in spans:
        time = None if batch is None else believed(ledger, batch.header)
        if time is not None and time[1] > ledger.manifest.from_us and time[0] < ledger.manifest.to_us:
            text = f"Batch {seq} lies in the interval too, but was left out."
            ledger.find(Code.EDGE_LEFT_OUT, Weight.GAP, text, chain=claim.chain, first=seq)
        if batch is not None and time is None:
            text = f"Batch {seq} has no clock of its own, so whether it belongs to the interval is unproven."
            ledger.find(Code.EDGE_UNPROVEN, Weight.NOTE, text, chain=claim.chain, first=seq)
    if before is None and claim.first > 1:
        text = f"That nothing before number {claim.first} belongs to the interval is the backend's word."
        ledger.find(Code.EDGE_UNPROVEN, Weight.NOTE, text, chain=claim.chain, first=claim.first)
    if after is None:
        text = f"That nothing after number {claim.last} belongs to the interval is the backend's word."
        ledger.find(Code.EDGE_UNPROVEN, Weight.NOTE, text, chain=claim.chain, first=claim.last)


def _check_receipt(ledger: Ledger, chain: ChainId) -> None:
    """Compare the backend's receipt with the batches: it may not vouch for other bytes."""
    receipt = ledger.receipts.get(chain)
    if receipt is None:
        return
    vouched = {have.last: have.hash for have in receipt.have}
    if receipt.hash is not None:
        vouched[receipt.upto] = receipt.hash
    for seq, digest in vouched.items():
        batch = ledger.batches.get((chain, seq))
        if batch is not None and batch.hash != digest:
            text = f"The backend's receipt vouches for other bytes than batch {seq} has."
            ledger.find(Code.RECEIPT_CONTRADICTS, Weight.CONTRADICTION, text, chain=chain, first=seq)


def check_origins(ledger: Ledger) -> None:
    """Compare what a chain says about the one before with that one."""
    for (chain, _), batch in ledger.batches.items():
        origin = batch.header.origin
        if origin is None or origin.kind == OriginKind.FIRST:
            continue
        kind, head = _name(OriginKind, origin.kind), origin.last_head
        text = f"Chain {chain.hex()} is not the box's first; it began because of {kind}."
        ledger.find(Code.ORIGIN_NOT_FIRST, Weight.GAP, text, chain=chain, first=1)
        known = None if head is None else ledger.batches.get((head.chain, head.seq))
        if head is not None and known is not None and known.hash != head.hash:
            text = f"It says that chain {head.chain.hex()} had another batch {head.seq} than the one here."
            ledger.find(Code.ORIGIN_CONFLICTS, Weight.GAP, text, chain=chain, first=1)


def check_sections(ledger: Ledger) -> None:
    """Account for every section that a header commits to, and for every section that is here."""
    withheld = {(item.chain, item.seq, item.section): item.reason for item in ledger.manifest.withheld}
    sealed = {
        (part.ref.chain, part.ref.seq, part.ref.section)
        for part in ledger.file.parts
        if part.ref.kind == PartKind.SECTION
    }
    left_out: defaultdict[tuple[ChainId, int, int], list[int]] = defaultdict(list)
    for (chain, seq), batch in ledger.batches.items():
        for section, ref in batch.header.sections.items():
            place = (chain, seq, int(section))
            data = ledger.sections.get(place)
            if data is not None and section_ref(data) != ref:
                _find_section(ledger, Code.SECTION_ALTERED, place, "is not what the box signed")
            elif data is None and place in withheld:
                if _is_inside(ledger, chain, seq) or withheld[place] != WithheldReason.CONTEXT:
                    left_out[chain, int(section), withheld[place]].append(seq)
            elif data is None and place not in sealed:
                _find_section(
                    ledger, Code.SECTION_UNEXPLAINED, place, "is neither here nor said to be withheld"
                )
    for (chain, section, reason), seqs in left_out.items():
        _note_withheld(ledger, chain, section, reason, sorted(seqs))
    for chain, seq, section in ledger.sections:
        signed = ledger.batches.get((chain, seq))
        if signed is None or section not in signed.header.sections:
            _find_section(
                ledger, Code.SECTION_ALTERED, (chain, seq, section), "belongs to no batch that the box signed"
            )


def _is_inside(ledger: Ledger, chain: ChainId, seq: int) -> bool:
    """Whether a batch belongs to the interval, and is not only here to prove its edge or dictionary."""
    return any(at.chain == chain and at.first <= seq <= at.last for at in ledger.manifest.chains)


def _find_section(ledger: Ledger, code: Code, place: tuple[ChainId, int, int], what: str) -> None:
    chain, seq, section = place
    text = f"The section {_name(Section, section)} of batch {seq} {what}."
    ledger.find(code, Weight.CONTRADICTION, text, chain=chain, first=seq, section=section)


def _note_withheld(ledger: Ledger, chain: ChainId, section: int, reason: int, seqs: list[int]) -> None:
    is_erased = reason == WithheldReason.ERASED
    batches = f"batch {seqs[0]}" if len(seqs) == 1 else f"{len(seqs)} batches, {seqs[0]} to {seqs[-1]}"
    reasons = {
        WithheldReason.BOX: "the box has not sent it",
        WithheldReason.ERASED: "its time of retention is over",
        WithheldReason.CONTEXT: "whoever exported it left it out",
    }
    why = next((text for known, text in reasons.items() if known == reason), f"for reason {reason}")
    text = f"WITHHELD: the section {_name(Section, section)} of {batches}; {why}. Its hash is signed."
    ledger.find(
        Code.SECTION_ERASED if is_erased else Code.SECTION_WITHHELD,
        Weight.GAP,
        text,
        chain=chain,
        first=seqs[0],
        last=seqs[-1],
        section=section,
    )


def believed(ledger: Ledger, header: BatchHeader) -> tuple[int, int] | None:
    """Return when a batch happened by its own clock, UTC µs, or None when that clock cannot be believed."""
    start_us, end_us = header.utc_start_us, header.utc_end_us
    if header.clock == ClockClass.NONE or start_us is None or end_us is None:
        return None
    latest_us = ledger.manifest.sealed_us + CLOCK_AHEAD_US_MAX
    return (start_us, end_us) if CLOCK_EARLIEST_US <= start_us <= latest_us else None


def _note_dropped(ledger: Ledger, chain: ChainId, headers: Sequence[BatchHeader]) -> None:
    """Note what the box counted as left out, by cause."""
    dropped: Counter[int] = Counter()
    for header in headers:
        dropped.update(header.drops)
    if dropped:
        causes = ", ".join(f"{_name(DropCause, cause)} {count}" for cause, count in sorted(dropped.items()))
        ledger.find(
            Code.DROPS_COUNTED, Weight.NOTE, f"Left out and counted by the box: {causes}.", chain=chain
        )


def _declared_parts(
    first: int, last: int, lost: Mapping[tuple[int, int], str]
) -> list[tuple[int, int, str | None]]:
    """Cut the missing numbers first … last into what was declared, with its cause, and what was not."""
    if first > last:
        return []
    for (begin, end), cause in sorted(lost.items()):
        low, high = max(first, begin), min(last, end)
        if low <= high:
            return [
                *_declared_parts(first, low - 1, lost),
                (low, high, cause),
                *_declared_parts(high + 1, last, lost),
            ]
    return [(first, last, None)]


def _name(vocabulary: type[IntEnum], value: int) -> str:
    """Return a wire value's name in words, or `unknown <n>`."""
    try:
        return vocabulary(value).name.lower().replace("_", " ")
    except ValueError:
        return f"unknown {value}"
