"""The operator replaces the receipt or policy key; the old key signs its successor.

Boxes pinned the old key at enrolment. They get the signed succession with their next renewal and follow it
link by link; a verifier does the same with the trust file he has.

Rules:
- The order keeps every crash harmless: the new key is written beside the old one, the succession is
  committed, and only then does the new file take the old one's name. Running it again after a crash goes on
  where it stopped.
- The old private key is destroyed; what it signed stays true, and its public half stays in the table.

Example:
    >>> with database.writing() as session:
    ...     successor = succeed_service_key(session, path=path, signer=signer, purpose=ServicePurpose.RECEIPT,
    ...                                     org_id=platform, now_us=utc_us())
"""

from pathlib import Path

from sqlmodel import Session

from backend.store.key_files import load_private_key, make_private_key, sync_folder
from backend.store.service_keys import ServiceKey, find_service_key
from backend.usecases.register_service_keys import ServicePurpose
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes
from protocol.key_succession import KeyRole, KeySuccession, sign_key_succession

_ROLES = {ServicePurpose.RECEIPT: KeyRole.RECEIPT, ServicePurpose.POLICY: KeyRole.POLICY}


def succeed_service_key(
    session: Session, *, path: Path, signer: SoftwareSigner, purpose: ServicePurpose, org_id: str, now_us: int
) -> SoftwareSigner:
    """Make the next key, have it signed by the one in force, commit, and put it in place.

    Args:
        session: A writing session without an open transaction.
        path: File of the key in force.
        signer: The key in force.
        purpose: What both sign.
        org_id: The platform's organisation.
        now_us: From when the new key signs, µs UTC.

    Returns:
        The new signer.

    Raises:
        SecretError: A key file cannot be read or written.
    """
    waiting = path.with_name(f"{path.name}.next")
    successor = SoftwareSigner(load_private_key(waiting) if waiting.exists() else make_private_key(waiting))
    link = KeySuccession(
        role=_ROLES[purpose], successor=cose_key_bytes(successor.public_key), valid_from_us=now_us
    )
    with session.begin():
        if find_service_key(session, kid=successor.kid.hex()) is None:
            session.add(
                ServiceKey(
                    kid=successor.kid.hex(),
                    org_id=org_id,
                    purpose=purpose,
                    cose_key=link.successor,
                    created_us=now_us,
                    succession=sign_key_succession(link, signer),
                )
            )
            old = find_service_key(session, kid=signer.kid.hex())
            if old is not None:
                old.retired_us = now_us
    waiting.replace(path)
    sync_folder(path.parent)
    return successor
