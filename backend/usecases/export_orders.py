"""What evidence holds of a box's orders: the orders, who could sign them, the log's proofs, the answers.

Rules:
- Bytes leave as they were signed. Of the microcontroller every disposition is exported, in conflict or not,
  so that whoever verifies can say what was *not* accepted; of the orders all that were ever whole.
- Of each order of class A the leaf that the gate named is proven in the very tree that the gate named,
  whatever stands there: when it is another entry, the file testifies against the gate, and leaving it out
  would hide it.
- All proofs end in one checkpoint, the largest; what the log took later waits for the next export.
- A box without orders and dispositions has nothing of this in its files.

Example:
    >>> parts, claims = order_parts(session, org_id=org, device_id=device)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlmodel import col, select

from backend import ledger
from backend.store.authority import AuthorityDocument, list_documents, list_issuer_documents
from backend.store.dispositions import DispositionConflict, StoredDisposition
from backend.store.ledger import contents_of_device, places_of_content
from backend.store.mcus import Mcu
from backend.store.orders import Order
from protocol import codec, cose_sign
from protocol.evidence_manifest import ChainClaim, Part, PartKind
from protocol.ids import ChainId
from protocol.log_leaves import LeafType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmodel import Session

_SECTIONS: Final = {"delegation": 1, "snapshot": 2, "revocation": 3, "zones": 4, "calendar": 5}
_TOLD: Final = (LeafType.NOTICE, LeafType.LOAN_FACTS)
"""Leaves about the box beside its orders."""


def order_parts(
    session: Session, *, org_id: str, device_id: str
) -> tuple[list[Part], tuple[ChainClaim, ...]]:
    """Return the parts about a box's orders, and what of each epoch's dispositions they hold."""
    orders = session.exec(
        select(Order)
        .where(Order.org_id == org_id, Order.device_id == device_id, col(Order.message).is_not(None))
        .order_by(col(Order.order_no))
    ).all()
    dispositions = _dispositions(session, org_id=org_id, device_id=device_id)
    if not orders and not dispositions:
        return [], ()
    parts = [
        Part(kind=PartKind.MCU_KEY, data=mcu.cose_key)
        for mcu in session.exec(select(Mcu).where(Mcu.org_id == org_id, Mcu.device_id == device_id))
    ]
    parts += _authority(session, org_id=org_id, orders=orders)
    for order in orders:
        cmd_id = ChainId(bytes.fromhex(order.cmd_id))
        parts.append(Part(kind=PartKind.ORDER, chain=cmd_id, data=order.message or b""))
        if order.basis is not None:
            parts.append(Part(kind=PartKind.BASIS, chain=cmd_id, data=order.basis))
    parts += _log(session, device_id=device_id, orders=orders)
    parts += dispositions
    return parts, _claims(dispositions)


def _dispositions(session: Session, *, org_id: str, device_id: str) -> list[Part]:
    kept = session.exec(
        select(StoredDisposition)
        .where(StoredDisposition.org_id == org_id, StoredDisposition.device_id == device_id)
        .order_by(col(StoredDisposition.item_no))
    ).all()
    conflicts = session.exec(
        select(DispositionConflict)
        .where(DispositionConflict.org_id == org_id, DispositionConflict.device_id == device_id)
        .order_by(col(DispositionConflict.item_no))
    ).all()
    rows: list[StoredDisposition | DispositionConflict] = [*kept, *conflicts]
    return [
        Part(kind=PartKind.DISPOSITION, chain=ChainId(row.epoch), seq=row.seq, data=row.document)
        for row in rows
    ]


def _claims(dispositions: Iterable[Part]) -> tuple[ChainClaim, ...]:
    """Return for each epoch the numbers from the first to the highest; what is missing is a gap."""
    numbers: dict[ChainId, list[int]] = {}
    for part in dispositions:
        assert part.chain is not None
        assert part.seq is not None
        numbers.setdefault(part.chain, []).append(part.seq)
    return tuple(
        ChainClaim(chain=epoch, first=min(found), last=max(found), highest=max(found))
        for epoch, found in numbers.items()
    )


def _authority(session: Session, *, org_id: str, orders: Sequence[Order]) -> list[Part]:
    """Return delegations of all signers, what their roots have signed, zone sets and hours."""
    digests = {
        signer.delegation.hex()
        for order in orders
        for signer in _signers(order)
        if signer.delegation is not None
    }
    documents = list_documents(session, org_id=org_id, digests=sorted(digests))
    rows: list[AuthorityDocument] = list(documents.values())
    for issuer in sorted({row.issuer for row in rows}):
        for kind in ("snapshot", "revocation", "zones", "calendar"):
            rows += list_issuer_documents(session, issuer=issuer, kind=kind)
    return [
        Part(kind=PartKind.AUTHORITY, section=_SECTIONS[row.kind], data=row.document)
        for row in rows
        if row.kind in _SECTIONS
    ]


def _signers(order: Order) -> list[cose_sign.Signer]:
    assert order.message is not None, "only whole orders are exported"
    signers: list[cose_sign.Signer] = cose_sign.read_sign(order.message)[1]
    return signers


@dataclass(slots=True)
class _LogParts:
    """Proofs, each once."""

    session: Session
    last: ledger.SignedCheckpoint
    parts: list[Part] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)
    leaves: set[tuple[int, int]] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)

    def checkpoint(self, signed: ledger.SignedCheckpoint) -> None:
        if signed.size in self.sizes:
            return
        self.sizes.add(signed.size)
        self.parts.append(Part(kind=PartKind.CHECKPOINT, seq=signed.size, data=signed.note))
        if signed.size < self.last.size:
            path = ledger.prove_consistency(self.session, signed.size, self.last.size)
            data = codec.encode([signed.size, self.last.size, path])
            self.parts.append(Part(kind=PartKind.CONSISTENCY, seq=signed.size, data=data))

    def leaf(self, index: int, size: int) -> None:
        leaf = ledger.read_leaf(self.session, index)
        if leaf is None or not 0 <= index < size or (index, size) in self.leaves:
            return
        self.leaves.add((index, size))
        path = ledger.prove_inclusion(self.session, index, size)
        data = codec.encode([leaf.data, size, path])
        self.parts.append(Part(kind=PartKind.LEAF, seq=index + 1, data=data))
        opened = ledger.open_leaf(self.session, index)
        if opened is not None and index not in self.opened:
            self.opened.add(index)
            self.parts.append(Part(kind=PartKind.OPENING, seq=index + 1, data=opened[0] + opened[1]))


def _log(session: Session, *, device_id: str, orders: Sequence[Order]) -> list[Part]:
    """Return checkpoints, growth and leaves."""
    last = ledger.latest_checkpoint(session)
    if last is None or last.size == 0:
        return []
    proofs = _LogParts(session, last)
    proofs.checkpoint(last)
    for order in orders:
        for signer in _signers(order):
            if signer.log_ref is not None:
                _, index, size, _ = signer.log_ref
                signed = ledger.checkpoint_of(session, size)
                if signed is not None:
                    proofs.checkpoint(signed)
                    proofs.leaf(index, size)
    digests = [hashlib.sha256(order.message or b"").digest() for order in orders]
    for index, _ in places_of_content(session, digests).values():
        proofs.leaf(index, last.size)
    for leaf_type in _TOLD:
        for row in contents_of_device(session, device_id=device_id, leaf_type=leaf_type):
            proofs.leaf(row.leaf_index, last.size)
    return proofs.parts
