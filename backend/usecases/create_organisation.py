"""The operator makes an organisation; nobody registers himself.

Example:
    >>> with database.writing() as session:
    ...     made = create_organisation(session, name="Example Leasing", is_platform=False, now_us=utc_us())
"""

import secrets

from sqlmodel import Session

from backend.domain.refusal import Reason, Refusal
from backend.store.columns import ORG_ID_CHARS
from backend.store.organisations import Organisation, find_organisation_by_name
from protocol.limits import NAME_CHARS_MAX


def create_organisation(
    session: Session, *, name: str, is_platform: bool, now_us: int
) -> Organisation | Refusal:
    """Add an organisation and commit it.

    Args:
        session: A writing session without an open transaction.
        name: What people call it, 1 to 200 characters, unique.
        is_platform: Whether it runs this server and owns the service keys.
        now_us: When, µs UTC.
    """
    name = name.strip()
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        return Refusal(reason=Reason.BAD_NAME, detail=f"a name has 1 to {NAME_CHARS_MAX} characters")
    with session.begin():
        if find_organisation_by_name(session, name=name) is not None:
            return Refusal(reason=Reason.NAME_TAKEN, detail="an organisation has this name")
        organisation = Organisation(
            org_id=secrets.token_hex(ORG_ID_CHARS // 2), name=name, is_platform=is_platform, created_us=now_us
        )
        session.add(organisation)
    return organisation
