"""Authority documents verbatim: delegations, snapshots, revocations, and what snapshots name by hash.

Rules:
- A document is kept under its SHA-256 and never changed. Its organisation is the one that brought
  the issuer's first snapshot; the platform's are public, a lender's are not.
- An issuer's row says which snapshot is in force; the documents themselves say everything else.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import BigInteger, Column, Index, LargeBinary, or_
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import ORG_ID_CHARS, Microseconds


class AuthorityDocument(SQLModel, table=True):
    """One document; `digest` is the SHA-256 of the whole message, hex."""

    __tablename__ = "authority_document"
    __table_args__ = (Index("ix_authority_document_issuer", "issuer", "kind", "number"),)

    digest: str = Field(primary_key=True, max_length=64)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    is_public: bool
    kind: str = Field(max_length=16)
    issuer: str = Field(max_length=64)
    number: int = Field(sa_type=BigInteger)
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_us: int = Field(sa_type=Microseconds)


class AuthorityIssuer(SQLModel, table=True):
    """An issuer and its snapshot in force."""

    __tablename__ = "authority_issuer"

    issuer: str = Field(primary_key=True, max_length=64)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    is_public: bool
    snapshot: str = Field(max_length=64)
    updated_us: int = Field(sa_type=Microseconds)


def find_document(session: Session, *, org_id: str, digest: str) -> AuthorityDocument | None:
    """Return a document that this organisation may see."""
    return session.exec(
        select(AuthorityDocument).where(
            AuthorityDocument.digest == digest,
            or_(col(AuthorityDocument.org_id) == org_id, col(AuthorityDocument.is_public).is_(True)),
        )
    ).one_or_none()


def find_issuer(session: Session, *, org_id: str, issuer: str) -> AuthorityIssuer | None:
    """Return an issuer that this organisation may see."""
    return session.exec(
        select(AuthorityIssuer).where(
            AuthorityIssuer.issuer == issuer,
            or_(col(AuthorityIssuer.org_id) == org_id, col(AuthorityIssuer.is_public).is_(True)),
        )
    ).one_or_none()


def locate_issuer(session: Session, *, issuer: str, lock: bool = False) -> AuthorityIssuer | None:
    """Return an issuer whatever its organisation: whose root it is decides about documents that come."""
    query = select(AuthorityIssuer).where(AuthorityIssuer.issuer == issuer)
    return session.exec(query.with_for_update() if lock else query).one_or_none()


def list_issuer_documents(session: Session, *, issuer: str, kind: str) -> Sequence[AuthorityDocument]:
    """Return an issuer's documents of a kind by their number, ascending."""
    return session.exec(
        select(AuthorityDocument)
        .where(AuthorityDocument.issuer == issuer, AuthorityDocument.kind == kind)
        .order_by(col(AuthorityDocument.number), col(AuthorityDocument.digest))
    ).all()


def list_documents(
    session: Session, *, org_id: str, digests: Collection[str]
) -> dict[str, AuthorityDocument]:
    """Return those of the named documents that this organisation may see."""
    rows = session.exec(
        select(AuthorityDocument).where(
            col(AuthorityDocument.digest).in_(list(digests)),
            or_(col(AuthorityDocument.org_id) == org_id, col(AuthorityDocument.is_public).is_(True)),
        )
    )
    return {row.digest: row for row in rows}
