"""The server's public keys are entered in the database, so that receipts and evidence can name them for ever.

A key that follows another carries the old key's signature over it: a box that pinned the old one believes
the new one by that alone. The retired key stays in the table, since what it signed stays true.

Example:
    >>> with database.writing() as session:
    ...     keys = {ServicePurpose.RECEIPT: signer.public_key}
    ...     register_service_keys(session, org_id=platform, keys=keys, now_us=utc_us())
"""

from collections.abc import Mapping
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from sqlmodel import Session

from backend.store.service_keys import ServiceKey, find_service_key
from protocol.ids import cose_key_bytes, thumbprint


class ServicePurpose(StrEnum):
    """What a key of the platform signs."""

    RECEIPT = "receipt"  # receipts, signed time, evidence manifests
    POLICY = "policy"  # collection policies


def register_service_keys(
    session: Session, *, org_id: str, keys: Mapping[ServicePurpose, EllipticCurvePublicKey], now_us: int
) -> None:
    """Enter the keys that are not there yet, and commit.

    Args:
        session: A writing session without an open transaction.
        org_id: The platform's organisation.
        keys: The key in force for each purpose.
        now_us: When, µs UTC.
    """
    with session.begin():
        for purpose, public_key in keys.items():
            kid = thumbprint(public_key).hex()
            if find_service_key(session, kid=kid) is None:
                session.add(
                    ServiceKey(
                        kid=kid,
                        org_id=org_id,
                        purpose=purpose,
                        cose_key=cose_key_bytes(public_key),
                        created_us=now_us,
                    )
                )
