"""Documents that roots have signed: delegations, snapshots, revocations."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from backend.api.deps import CurrentCaller, NowUs, ReadSession, WriteSession, allow
from backend.api.openapi import problems
from backend.api.order_schemas import (
    EXAMPLE_HASH,
    EXAMPLE_MESSAGE,
    Document,
)
from backend.api.problems import NOT_FOUND, ProblemError, from_refusal
from backend.api.schemas import EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.refusal import Refusal
from backend.store.authority import AuthorityDocument, find_document, find_issuer, list_issuer_documents
from backend.store.contention import in_transaction
from backend.usecases.authority_documents import Kind, load_root, store_document
from protocol import cose_sign
from protocol.base64url import to_bytes, to_text

router = APIRouter(tags=["orders"])

_ISSUER = "lender:e6289ebb27e83335"


class DocumentIn(BaseModel):
    """A document as its root signed it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kind": "delegation", "document": EXAMPLE_MESSAGE}]},
    )

    kind: Literal["delegation", "authority", "snapshot", "revocation", "zones", "calendar"] = Field(
        description="What it is. `authority` and `snapshot` are the same; zone sets and calendars are "
        "those that a snapshot of the platform names by hash."
    )
    document: Document = Field(description="The whole message, base64url.")


class DocumentTakenOut(BaseModel):
    """A document is stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"digest": EXAMPLE_HASH, "kind": "delegation", "issuer": _ISSUER, "is_new": True},
            ]
        }
    )

    digest: str = Field(description="SHA-256 of the message, hex: its name.")
    kind: str = Field(description="What it is.")
    issuer: str = Field(description="`platform`, or `lender:` and the lender's id.")
    is_new: bool = Field(description="False when it was stored before.")


class DocumentOut(BaseModel):
    """A stored document."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "digest": EXAMPLE_HASH,
                    "kind": "delegation",
                    "issuer": _ISSUER,
                    "document": EXAMPLE_MESSAGE,
                    "received_at": EXAMPLE_TIME,
                }
            ]
        }
    )

    digest: str = Field(description="SHA-256 of the message, hex.")
    kind: str = Field(description="What it is.")
    issuer: str = Field(description="Whose root signed it.")
    document: str = Field(description="The whole message, base64url.")
    received_at: UtcTime


class IssuerOut(BaseModel):
    """An issuer's root as it stands here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "issuer": _ISSUER,
                    "version": 3,
                    "expires_at": EXAMPLE_TIME,
                    "threshold": 2,
                    "keys": [EXAMPLE_HASH],
                    "revoked": ["maker-7"],
                    "snapshot": EXAMPLE_HASH,
                    "document": EXAMPLE_MESSAGE,
                    "revocations": [EXAMPLE_HASH],
                    "delegations": [EXAMPLE_HASH],
                }
            ]
        }
    )

    issuer: str = Field(description="`platform`, or `lender:` and the lender's id.")
    version: int = Field(description="Version of the snapshot in force.")
    expires_at: UtcTime
    threshold: int = Field(description="How many root keys have to sign.")
    keys: list[str] = Field(description="Thumbprints of the root keys, hex; compare them with your pins.")
    revoked: list[str] = Field(description="Revoked keys (hex) and persons.")
    snapshot: str = Field(description="SHA-256 of the snapshot, hex.")
    document: str = Field(description="The snapshot, base64url.")
    revocations: list[str] = Field(description="SHA-256 of the additions of revocations, hex.")
    delegations: list[str] = Field(description="SHA-256 of the delegations, hex.")


@router.post(
    "/authority/documents",
    summary="Bring a document",
    status_code=201,
    responses=problems(409),
    dependencies=[allow(Permission.AUTHORITY_WRITE)],
)
def post_document(
    asked: DocumentIn, caller: CurrentCaller, session: WriteSession, now_us: NowUs
) -> DocumentTakenOut:
    """Bring a document; its root's signatures decide, not who brings it. The same again changes nothing."""
    kind: Kind = "snapshot" if asked.kind == "authority" else asked.kind
    data = to_bytes(asked.document)
    outcome = in_transaction(
        session, lambda: store_document(session, caller=caller, kind=kind, document=data, now_us=now_us)
    )
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return DocumentTakenOut(
        digest=outcome.digest, kind=outcome.kind, issuer=outcome.issuer, is_new=outcome.is_new
    )


@router.get(
    "/authority/documents/{digest}",
    summary="Show a document",
    dependencies=[allow(Permission.AUTHORITY_READ)],
)
def read_document(
    digest: Annotated[
        str,
        Path(
            pattern="^[0-9a-f]{64}$",
            description="SHA-256 of the whole message, hex.",
            examples=[EXAMPLE_HASH],
        ),
    ],
    caller: CurrentCaller,
    session: ReadSession,
) -> DocumentOut:
    """Return a document of the platform or of the own organisation, verbatim."""
    row = find_document(session, org_id=caller.org_id, digest=digest)
    if row is None:
        raise ProblemError(NOT_FOUND)
    return _show(row)


@router.get(
    "/authority/issuers/{issuer}", summary="Show an issuer", dependencies=[allow(Permission.AUTHORITY_READ)]
)
def read_issuer(
    issuer: Annotated[
        str,
        Path(
            pattern="^(platform|lender:[0-9a-f]{16})$",
            description="`platform`, or `lender:` and 16 hex digits.",
            examples=[_ISSUER],
        ),
    ],
    caller: CurrentCaller,
    session: ReadSession,
) -> IssuerOut:
    """Return an issuer's root as it stands here. Whoever relies on it compares it with what he has pinned."""
    row = find_issuer(session, org_id=caller.org_id, issuer=issuer)
    snapshot = row and find_document(session, org_id=caller.org_id, digest=row.snapshot)
    if row is None or not snapshot:
        raise ProblemError(NOT_FOUND)
    root = load_root(session, row)
    revoked = [*root.listed, *(entry for _, entry in root.added)]
    return IssuerOut(
        issuer=issuer,
        version=root.version,
        expires_at=to_datetime(root.expires * 1_000_000),
        threshold=root.threshold,
        keys=[cose_sign.thumbprint(key).hex() for key in root.keys],
        revoked=[entry.hex() if isinstance(entry, bytes) else entry for entry in revoked],
        snapshot=row.snapshot,
        document=to_text(snapshot.document),
        revocations=_digests(list_issuer_documents(session, issuer=issuer, kind="revocation")),
        delegations=_digests(list_issuer_documents(session, issuer=issuer, kind="delegation")),
    )


def _show(row: AuthorityDocument) -> DocumentOut:
    return DocumentOut(
        digest=row.digest,
        kind=row.kind,
        issuer=row.issuer,
        document=to_text(row.document),
        received_at=to_datetime(row.received_us),
    )


def _digests(rows: Sequence[AuthorityDocument]) -> list[str]:
    return [row.digest for row in rows]
