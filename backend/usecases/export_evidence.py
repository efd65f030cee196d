"""An auditor exports what a box recorded in an interval as one sealed file that anyone can verify offline.

Rules:
- Bytes leave as they were received; the backend's word is only the seal around them.
- Of each chain the range of numbers is exported that covers the interval, batches without a time included,
  so that the hashes link without a hole that we made. What is missing is missing in the file too.
- A chain without any time in the interval may still have been written then: its batches without a time that
  came after the interval began, and that no timed neighbour places elsewhere, are in it, up to a limit.
- Beside the range stand headers that prove something: the neighbours on both sides, the batches that
  announced the dictionary, and those that declare what is lost.
- What the box signed under these numbers and we refused is in it as well: leaving it out would tell half of
  the story. A refused batch of a chain that never began has no range to stand in; it stays in quarantine.
- What the box was ordered and answered is in it whole, whatever the interval: see `export_orders`.
- The export is as complete as the store; chains with holes are exported and the verifier names them.

Example:
    >>> file = export_evidence(session, org_id=org, device_id=device, from_us=start, to_us=end,
    ...                        purpose="dispute", signer=signer, now_us=utc_us())
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backend.domain.receipting import build_receipt, hash_points
from backend.domain.refusal import Reason, Refusal
from backend.store.batch_ranges import batches_in_chain, is_untimed, seqs_in_time, untimed_between
from backend.store.batches import StoredBatch, load_erased, load_links, load_sections
from backend.store.chains import StoredChain, find_chain, list_chains
from backend.store.devices import list_device_keys
from backend.store.dictionaries import announcing_seqs
from backend.store.integrity_events import loss_declarations
from backend.store.quarantine import list_refused
from backend.store.service_keys import list_service_keys
from backend.usecases.export_orders import order_parts
from backend.usecases.query_trace import header_of
from backend.usecases.register_service_keys import ServicePurpose
from protocol.batch import Section
from protocol.evidence_file import write_file
from protocol.evidence_manifest import (
    ChainClaim,
    Manifest,
    Part,
    PartKind,
    Withheld,
    WithheldReason,
    part_ref,
)
from protocol.ids import ChainId, DeviceId
from protocol.limits import EVIDENCE_BYTES_MAX, EVIDENCE_PARTS_MAX, EVIDENCE_UNTIMED_BATCHES_MAX
from protocol.receipts import sign_receipt

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlmodel import Session

    from protocol.envelope import Signer

_BATCHES_AT_ONCE: Final = 200
_UNTIMED_MAX: Final = 10_000  # batches without a time taken along at each end; more is a box without a clock


@dataclass(slots=True, kw_only=True)
class _Bundle:
    """What the file will hold, with its size so far."""

    parts: list[Part] = field(default_factory=list)
    withheld: list[Withheld] = field(default_factory=list)
    size: int = 0
    declared_later: set[tuple[bytes, int]] = field(default_factory=set)
    """Batches of later chains that declare losses of the chains in the file."""

    def add(self, part: Part) -> None:
        self.parts.append(part)
        self.size += len(part.data)

    @property
    def is_too_large(self) -> bool:
        return self.size > EVIDENCE_BYTES_MAX // 2 or len(self.parts) > EVIDENCE_PARTS_MAX


def export_evidence(
    session: Session,
    *,
    org_id: str,
    device_id: str,
    from_us: int,
    to_us: int,
    purpose: str,
    signer: Signer,
    now_us: int,
) -> bytes | Refusal:
    """Return the sealed file.

    Args:
        session: A reading session: one snapshot.
        org_id: Whose box it must be.
        device_id: Which box.
        from_us: UTC in µs, included.
        to_us: UTC in µs, excluded.
        purpose: Why, as it was logged.
        signer: The receipt key.
        now_us: UTC in µs.
    """
    bundle = _Bundle()
    claims: list[ChainClaim] = []
    _add_keys(session, bundle, org_id=org_id, device_id=device_id)
    for chain in list_chains(session, org_id=org_id, device_id=device_id):
        span = _span(session, chain, from_us=from_us, to_us=to_us)
        if span is None:
            continue
        first, last = span
        chain_id = ChainId(chain.chain)
        claims.append(ChainClaim(chain=chain_id, first=first, last=last, highest=chain.state.stored.last))
        _add_receipt(session, bundle, chain, signer=signer, now_us=now_us)
        _add_range(session, bundle, chain, first=first, last=last)
        _add_context(session, bundle, chain, first=first, last=last)
        for item in list_refused(session, org_id=org_id, device_id=device_id):
            if item.chain == chain.chain and item.seq is not None and first <= item.seq <= last:
                kind = PartKind.QUARANTINED
                bundle.add(Part(kind=kind, chain=chain_id, seq=item.seq, data=item.payload))
        if bundle.is_too_large:
            return _too_large()
    _add_declared_later(session, bundle, org_id=org_id, device_id=device_id)
    parts, dispositions = order_parts(session, org_id=org_id, device_id=device_id)
    for part in parts:
        bundle.add(part)
    if bundle.is_too_large:
        return _too_large()
    manifest = Manifest(
        device=DeviceId(device_id),
        from_us=from_us,
        to_us=to_us,
        sealed_us=now_us,
        purpose=purpose,
        chains=tuple(claims),
        withheld=tuple(bundle.withheld),
        parts=tuple(part_ref(part) for part in bundle.parts),
        dispositions=dispositions,
    )
    return write_file(manifest, bundle.parts, signer)


def _too_large() -> Refusal:
    return Refusal(
        reason=Reason.TOO_MUCH_EVIDENCE,
        detail=f"more than {EVIDENCE_BYTES_MAX // 2} bytes; export a shorter interval",
    )


def _span(session: Session, chain: StoredChain, *, from_us: int, to_us: int) -> tuple[int, int] | None:
    """Return the range of numbers that covers the interval, untimed neighbours included; None for none."""
    span = seqs_in_time(
        session, chain_ref=chain.chain_ref, from_us=from_us, to_us=to_us, span_us=chain.span_us_max
    )
    if span is None:
        return untimed_between(
            session,
            chain_ref=chain.chain_ref,
            from_us=from_us,
            to_us=to_us,
            most=EVIDENCE_UNTIMED_BATCHES_MAX,
        )
    first, last = span
    for _ in range(_UNTIMED_MAX):
        if not is_untimed(session, chain_ref=chain.chain_ref, seq=first - 1):
            break
        first -= 1
    for _ in range(_UNTIMED_MAX):
        if not is_untimed(session, chain_ref=chain.chain_ref, seq=last + 1):
            break
        last += 1
    return first, last


def _add_keys(session: Session, bundle: _Bundle, *, org_id: str, device_id: str) -> None:
    """Add the box's keys, and how one backend key handed over to the next, oldest first."""
    for key in list_device_keys(session, org_id=org_id, device_id=device_id):
        bundle.add(Part(kind=PartKind.KEY, data=key.cose_key))
    for service in reversed(list_service_keys(session, purpose=ServicePurpose.RECEIPT)):
        if service.succession is not None:
            bundle.add(Part(kind=PartKind.SUCCESSION, data=service.succession))


def _add_receipt(
    session: Session, bundle: _Bundle, chain: StoredChain, *, signer: Signer, now_us: int
) -> None:
    """Add a receipt of the chain as it stands."""
    points = hash_points(chain.state, touched=())
    links = load_links(session, [(chain.chain_ref, seq) for seq in points])
    receipt = build_receipt(
        chain.state,
        device=DeviceId(chain.device_id),
        chain=ChainId(chain.chain),
        hashes={seq: link.head_hash for (_, seq), link in links.items()},
        issued_us=now_us,
    )
    data = sign_receipt(receipt, signer)
    bundle.add(Part(kind=PartKind.RECEIPT, chain=ChainId(chain.chain), data=data))


def _add_range(session: Session, bundle: _Bundle, chain: StoredChain, *, first: int, last: int) -> None:
    """Add headers and sections of first … last."""
    at = first
    while batches := batches_in_chain(
        session, chain_ref=chain.chain_ref, first=at, last=last, limit=_BATCHES_AT_ONCE
    ):
        _add_batches(session, bundle, chain, batches, only=None)
        at = batches[-1].seq + 1
        if bundle.is_too_large:
            return


def _add_context(session: Session, bundle: _Bundle, chain: StoredChain, *, first: int, last: int) -> None:
    """Add headers outside the range that prove its edges, its dictionary and its declared losses.

    The one before comes with its facts: only they say that it was not sealed anew later, with later heads.
    """
    ref = chain.chain_ref
    dictionary = set(announcing_seqs(session, chain_ref=ref))
    declared = [
        item
        for item in loss_declarations(session, chain_ref=ref)
        if item.lost[0] <= last and item.lost[1] >= first
    ]
    bundle.declared_later |= {(item.chain, item.seq) for item in declared if item.chain is not None}
    losses = {item.seq for item in declared if item.chain is None}
    for seq in sorted({first - 1, last + 1} | dictionary | losses):
        if not first <= seq <= last:
            only = {Section.FACTS} if seq in dictionary or seq == first - 1 else set()
            batches = batches_in_chain(session, chain_ref=ref, first=seq, last=seq)
            _add_batches(session, bundle, chain, batches, only=only)


def _add_declared_later(session: Session, bundle: _Bundle, *, org_id: str, device_id: str) -> None:
    """Add headers of later chains that declare what ended chains lost, where they are not in the file yet."""
    here = {(part.chain, part.seq) for part in bundle.parts if part.kind == PartKind.HEADER}
    for name, seq in sorted(bundle.declared_later):
        chain = find_chain(session, org_id=org_id, device_id=device_id, chain=name)
        if chain is not None and (name, seq) not in here:
            batches = batches_in_chain(session, chain_ref=chain.chain_ref, first=seq, last=seq)
            _add_batches(session, bundle, chain, batches, only=set())


def _add_batches(
    session: Session,
    bundle: _Bundle,
    chain: StoredChain,
    batches: list[StoredBatch],
    *,
    only: Collection[int] | None,
) -> None:
    """Add headers with their sections, and say what is withheld; `only` limits the sections of context."""
    chain_id = ChainId(chain.chain)
    refs = [batch.ref for batch in batches]
    bodies, erased = load_sections(session, refs), load_erased(session, refs)
    for batch in batches:
        bundle.add(Part(kind=PartKind.HEADER, chain=chain_id, seq=batch.seq, data=batch.header))
        for section in sorted(header_of(batch).sections):
            body = bodies.get(batch.ref, {}).get(section)
            number = int(section)
            if only is not None and section not in only:
                reason = WithheldReason.CONTEXT
            elif body is not None:
                bundle.add(
                    Part(kind=PartKind.SECTION, chain=chain_id, seq=batch.seq, section=number, data=body)
                )
                continue
            elif section in erased.get(batch.ref, {}):
                reason = WithheldReason.ERASED
            else:
                reason = WithheldReason.BOX
            bundle.withheld.append(Withheld(chain=chain_id, seq=batch.seq, section=number, reason=reason))
