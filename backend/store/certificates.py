"""Certificates this server's CA has issued, and the nonces that renewals used up.

The serial number is the key, in hex. The hash of the public key lets a box whose answer got lost get the same
one again. Revocation is a time on the row; the CRL is made from the rows.
"""

from collections.abc import Sequence

from sqlalchemy import delete
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, owned_by_device


class Certificate(SQLModel, table=True):
    """One certificate; `device_id` is null for those of the server itself and of the broker."""

    __tablename__ = "certificate"
    __table_args__ = (owned_by_device(),)

    serial: str = Field(primary_key=True, max_length=40)
    org_id: str = Field(foreign_key="organisation.org_id", max_length=ORG_ID_CHARS)
    device_id: str | None = Field(default=None, max_length=DEVICE_ID_CHARS, index=True)
    subject: str = Field(max_length=200)
    not_before_us: int = Field(sa_type=Microseconds)
    not_after_us: int = Field(sa_type=Microseconds)
    issued_us: int = Field(sa_type=Microseconds)
    revoked_us: int | None = Field(default=None, sa_type=Microseconds)
    key_sha256: bytes | None = Field(default=None, max_length=32)
    der: bytes = Field(max_length=4096)


class RenewalNonce(SQLModel, table=True):
    """A nonce that a renewal has used; kept until it would have expired anyway."""

    __tablename__ = "renewal_nonce"
    __table_args__ = (owned_by_device(),)

    nonce: bytes = Field(primary_key=True, max_length=16)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    expires_us: int = Field(sa_type=Microseconds)


def list_certificates(session: Session, *, org_id: str, device_id: str) -> Sequence[Certificate]:
    """Return the certificates of one box, newest first."""
    return session.exec(
        select(Certificate)
        .where(Certificate.org_id == org_id, Certificate.device_id == device_id)
        .order_by(col(Certificate.issued_us).desc(), Certificate.serial)
    ).all()


def find_answered(session: Session, *, org_id: str, device_id: str, key_sha256: bytes) -> Certificate | None:
    """Return the newest certificate for this key of this box that is not revoked."""
    return session.exec(
        select(Certificate)
        .where(
            Certificate.org_id == org_id,
            Certificate.device_id == device_id,
            Certificate.key_sha256 == key_sha256,
            col(Certificate.revoked_us).is_(None),
        )
        .order_by(col(Certificate.issued_us).desc(), Certificate.serial)
    ).first()


def list_revoked(session: Session, *, not_after_us: int) -> Sequence[Certificate]:
    """Return all organisations' revoked certificates that expire at `not_after_us` or later, for the CRL."""
    return session.exec(
        select(Certificate)
        .where(col(Certificate.revoked_us).is_not(None), col(Certificate.not_after_us) >= not_after_us)
        .order_by(Certificate.serial)
    ).all()


def list_service_names(session: Session, *, now_us: int) -> Sequence[str]:
    """Return the names under which the server's own certificates in force were issued, in order."""
    return session.exec(
        select(Certificate.subject)
        .where(
            col(Certificate.device_id).is_(None),
            col(Certificate.revoked_us).is_(None),
            col(Certificate.not_after_us) > now_us,
        )
        .distinct()
        .order_by(Certificate.subject)
    ).all()


def is_nonce_used(session: Session, *, org_id: str, nonce: bytes) -> bool:
    """Whether a renewal of this organisation's boxes has used this nonce."""
    found = select(RenewalNonce).where(RenewalNonce.org_id == org_id, RenewalNonce.nonce == nonce)
    return session.exec(found).one_or_none() is not None


def forget_expired_nonces(session: Session, *, org_id: str, now_us: int) -> None:
    """Delete this organisation's used nonces that are refused for their age by now."""
    session.exec(
        delete(RenewalNonce).where(col(RenewalNonce.org_id) == org_id, col(RenewalNonce.expires_us) < now_us)
    )
