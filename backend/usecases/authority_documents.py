"""Delegations, snapshots and revocations: taken when their root has signed them, kept verbatim, handed on.

Rules (K-03, K-05; README §2.2, §2.3):
- A document is stored when the strict readers accept it against the root known here. The first snapshot of an
  issuer is believed because its own keys have signed it: this makes the backend a courier that refuses
  nonsense, not an authority. Cars have their roots pinned, and so have the lenders' tools.
- The platform's documents are public, and only the platform's organisation brings the first one; a lender's
  belong to the organisation that brought its first snapshot.
- What stands in the log is entered in the same transaction; a revocation releases, so it never waits.

Example:
    >>> outcome = store_document(session, caller=caller, kind="delegation", document=data, now_us=utc_us())
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlmodel import Session

from backend import ledger
from backend.domain.access import Caller
from backend.domain.refusal import Reason, Refusal
from backend.store.authority import (
    AuthorityDocument,
    AuthorityIssuer,
    find_document,
    find_issuer,
    list_issuer_documents,
    locate_issuer,
)
from backend.store.mcus import find_lender_ids
from backend.store.organisations import find_platform
from backend.store.service_keys import list_service_keys
from backend.usecases.register_service_keys import ServicePurpose
from protocol import cose_sign, orders_authority, orders_payload
from protocol.authority_bundle import DocumentKind
from protocol.orders import check_signature

TIME_SUCCESSIONS_MAX: Final = 2
"""Links of the key that signs time in one bundle: a car that was away for longer is served by hand."""

Kind = Literal["delegation", "snapshot", "revocation", "zones", "calendar"]

_LEAVES: Final = {
    "delegation": ledger.LeafType.DELEGATION,
    "snapshot": ledger.LeafType.AUTHORITY,
    "revocation": ledger.LeafType.REVOCATION,
    "zones": ledger.LeafType.ZONES,
    "calendar": ledger.LeafType.POLICY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A document that is stored, now or before."""

    digest: str
    kind: str
    issuer: str
    is_new: bool


def store_document(
    session: Session, *, caller: Caller, kind: Kind, document: bytes, now_us: int
) -> StoredDocument | Refusal:
    """Store a document in the caller's transaction, if its root has signed it."""
    digest = hashlib.sha256(document).hexdigest()
    known = find_document(session, org_id=caller.org_id, digest=digest)
    if known is not None:
        return StoredDocument(digest=digest, kind=known.kind, issuer=known.issuer, is_new=False)
    try:
        issuer, number = _ISSUERS[kind](document)
    except ValueError as broken:
        return _bad(f"BAD_ENCODING: {broken.args[0]}")
    row = locate_issuer(session, issuer=issuer, lock=True)
    if row is not None and not row.is_public and row.org_id != caller.org_id:
        return Refusal(reason=Reason.ISSUER_ELSEWHERE, detail="another organisation has brought its snapshot")
    if row is None and (kind != "snapshot" or not _may_begin(session, caller, issuer)):
        return _bad(f"UNKNOWN_KEY: no snapshot of {issuer} is known; its owner brings that first")
    root = None if row is None else load_root(session, row)
    try:
        new = _READERS[kind](document, root)
    except orders_authority.AuthorityError as refused:
        return _bad(f"{refused.args[0]}: the document does not hold against the root known here")
    owner = row.org_id if row is not None else caller.org_id
    session.add(
        AuthorityDocument(
            digest=digest,
            org_id=owner,
            is_public=issuer == orders_authority.PLATFORM,
            kind=kind,
            issuer=issuer,
            number=number,
            document=document,
            received_us=now_us,
        )
    )
    if kind == "snapshot":
        assert new is not None, "a snapshot makes a root"
        row = row or AuthorityIssuer(
            issuer=issuer,
            org_id=owner,
            is_public=issuer == orders_authority.PLATFORM,
            snapshot=digest,
            updated_us=now_us,
        )
        row.snapshot, row.updated_us = digest, now_us
        session.add(row)
    session.flush()
    entry = ledger.Entry(leaf_type=_LEAVES[kind], content=document, org_id=owner)
    ledger.append_or_queue(session, entry, at_us=now_us)
    return StoredDocument(digest=digest, kind=kind, issuer=issuer, is_new=True)


def keep_delegation(session: Session, *, org_id: str, document: bytes, issuer: str, now_us: int) -> None:
    """Keep a delegation that came with a part and was read against its root, in the caller's transaction."""
    digest = hashlib.sha256(document).hexdigest()
    row = locate_issuer(session, issuer=issuer)
    if row is None or find_document(session, org_id=org_id, digest=digest) is not None:
        return
    session.add(
        AuthorityDocument(
            digest=digest,
            org_id=row.org_id,
            is_public=row.is_public,
            kind="delegation",
            issuer=issuer,
            number=0,
            document=document,
            received_us=now_us,
        )
    )
    session.flush()
    entry = ledger.Entry(leaf_type=ledger.LeafType.DELEGATION, content=document, org_id=row.org_id)
    ledger.append_or_queue(session, entry, at_us=now_us)


def load_root(session: Session, row: AuthorityIssuer) -> Any:  # noqa: ANN401  # an `orders_authority.Root`
    """Return an issuer's root in force, from the documents that were verified when they came."""
    documents = {
        item.digest: item for item in list_issuer_documents(session, issuer=row.issuer, kind="snapshot")
    }
    data = documents[row.snapshot].document
    fields = _signed_fields("authority", data)
    root = orders_authority.Root(row.issuer, fields[6], fields[7])
    root.version, root.expires, root.listed, root.online = fields[3], fields[5], fields[8], fields[9]
    root.pack, root.zones, root.metadata = fields[10], fields[11], fields[12]
    root.digest = bytes.fromhex(row.snapshot)
    for item in list_issuer_documents(session, issuer=row.issuer, kind="revocation"):
        added = _signed1_fields("revocation", item.document)
        root.added += [(added[3], entry) for entry in added[5] if added[3] > fields[13]]
    return root


def load_roots(session: Session, *, org_id: str, lender_id: bytes | None) -> dict[str, Any]:
    """Return the platform's root and a lender's, as far as this organisation knows them."""
    issuers = [orders_authority.PLATFORM]
    if lender_id is not None:
        issuers.append(orders_authority.lender_issuer(lender_id))
    found = {}
    for issuer in issuers:
        row = find_issuer(session, org_id=org_id, issuer=issuer)
        if row is not None:
            found[issuer] = load_root(session, row)
    return found


def documents_in_force(session: Session, *, org_id: str) -> list[tuple[DocumentKind, bytes]]:
    """Return what is in force for an organisation's cars, links of the time key too, and what snapshots name.

    The platform's come first: a lender's makers mean nothing to a car whose platform snapshot is over.
    """
    issuers = [orders_authority.PLATFORM]
    issuers += [
        orders_authority.lender_issuer(lender_id) for lender_id in find_lender_ids(session, org_id=org_id)
    ]
    snapshots: list[tuple[DocumentKind, bytes]] = []
    revocations: list[tuple[DocumentKind, bytes]] = []
    named: list[tuple[DocumentKind, bytes]] = []
    for issuer in issuers:
        row = find_issuer(session, org_id=org_id, issuer=issuer)
        snapshot = row and find_document(session, org_id=org_id, digest=row.snapshot)
        if not snapshot:
            continue
        fields = _signed_fields("authority", snapshot.document)
        snapshots.append((DocumentKind.SNAPSHOT, snapshot.document))
        revocations += [
            (DocumentKind.REVOCATION, item.document)
            for item in list_issuer_documents(session, issuer=issuer, kind="revocation")
            if item.number > fields[13]
        ]
        for kind, key in ((DocumentKind.ZONES, 11), (DocumentKind.CALENDAR, 10)):
            digest = fields[key] and bytes(fields[key][-1]).hex()
            found = digest and find_document(session, org_id=org_id, digest=digest)
            if found:
                named.append((kind, found.document))
    return [*snapshots, *revocations, *_time_successions(session), *named]


def _time_successions(session: Session) -> list[tuple[DocumentKind, bytes]]:
    """Return the last links of the key that signs time, the older first: a car follows link by link."""
    links = [row.succession for row in list_service_keys(session, purpose=ServicePurpose.RECEIPT)]
    newest = [link for link in links if link is not None][:TIME_SUCCESSIONS_MAX]
    return [(DocumentKind.SUCCESSION, link) for link in reversed(newest)]


def _may_begin(session: Session, caller: Caller, issuer: str) -> bool:
    """Return whether this organisation may bring an issuer's first snapshot."""
    role = orders_authority.root_role(issuer)
    if role is None:
        return False
    platform = find_platform(session)
    is_platform = platform is not None and platform.org_id == caller.org_id
    return is_platform if issuer == orders_authority.PLATFORM else True


def _signed_fields(kind: str, data: bytes) -> dict[int, Any]:
    payload, _ = cose_sign.read_sign(data)
    fields: dict[int, Any] = orders_payload.read_document(kind, payload)
    return fields


def _signed1_fields(kind: str, data: bytes) -> dict[int, Any]:
    fields: dict[int, Any] = orders_payload.read_document(kind, cose_sign.read_sign1(data)[2])
    return fields


def _snapshot_issuer(data: bytes) -> tuple[str, int]:
    fields = _signed_fields("authority", data)
    return fields[2], fields[3]


def _delegation_issuer(data: bytes) -> tuple[str, int]:
    return _signed_fields("delegation", data)[1], 0


def _revocation_issuer(data: bytes) -> tuple[str, int]:
    fields = _signed1_fields("revocation", data)
    return fields[2], fields[3]


def _platforms(data: bytes) -> tuple[str, int]:
    del data
    return orders_authority.PLATFORM, 0


def _read_snapshot(data: bytes, root: Any) -> Any:  # noqa: ANN401  # `orders_authority.Root`s
    if root is None:
        fields = _signed_fields("authority", data)
        root = orders_authority.Root(fields[2], fields[6], fields[7])
    return orders_authority.read_snapshot(data, root, check_signature)


def _read_delegation(data: bytes, root: Any) -> None:  # noqa: ANN401  # an `orders_authority.Root`
    orders_authority.read_delegation(data, {root.issuer: root}, check_signature)


def _read_revocation(data: bytes, root: Any) -> None:  # noqa: ANN401  # an `orders_authority.Root`
    orders_authority.read_revocation(data, root, check_signature)


def _read_named(data: bytes, root: Any) -> None:  # noqa: ANN401  # an `orders_authority.Root`
    """Take what a snapshot names by hash: nobody signs it, so nothing else may be brought."""
    named = [bytes(entry[-1]) for entry in (root.zones, root.pack) if entry]
    if hashlib.sha256(data).digest() not in named:
        raise orders_authority.AuthorityError("UNKNOWN_KEY")


_ISSUERS: Final[dict[Kind, Callable[[bytes], tuple[str, int]]]] = {
    "snapshot": _snapshot_issuer,
    "delegation": _delegation_issuer,
    "revocation": _revocation_issuer,
    "zones": _platforms,
    "calendar": _platforms,
}
_READERS: Final[dict[Kind, Callable[[bytes, Any], Any]]] = {
    "snapshot": _read_snapshot,
    "delegation": _read_delegation,
    "revocation": _read_revocation,
    "zones": _read_named,
    "calendar": _read_named,
}


def _bad(detail: str) -> Refusal:
    return Refusal(reason=Reason.BAD_DOCUMENT, detail=detail)
