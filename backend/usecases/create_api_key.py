"""An administrator makes an API key for a role, and revokes one; its text is shown once and kept as a hash.

Example:
    >>> with database.writing() as session:
    ...     made = create_api_key(session, org_id=org, name="loan system", role=Role.OPERATOR, life_days=None,
    ...                           roles=GRANTABLE, now_us=utc_us())
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlmodel import Session

from backend.domain.access import Role
from backend.domain.api_key import KEY_ID_BYTES, SECRET_BYTES, format_api_key, hash_secret
from backend.domain.refusal import Reason, Refusal
from backend.store.api_keys import ApiKey, find_api_key
from protocol.limits import API_KEY_LIFE_DAYS_DEFAULT, API_KEY_LIFE_DAYS_MAX, NAME_CHARS_MAX

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """A key that was just made. `text` is the only copy there will ever be."""

    row: ApiKey
    text: str

    def __repr__(self) -> str:
        return f"CreatedKey(key_id={self.row.key_id!r}, text=<hidden>)"


def create_api_key(
    session: Session,
    *,
    org_id: str,
    name: str,
    role: Role,
    life_days: int | None,
    roles: Collection[Role],
    now_us: int,
) -> CreatedKey | Refusal:
    """Add a key and commit it.

    Args:
        session: A writing session without an open transaction.
        org_id: Whose key it is.
        name: What it is for, 1 to 200 characters.
        role: What its holder may be.
        life_days: Days until it ends; None for the default of a year.
        roles: Roles that may be given here: fewer over the API than on the command line.
        now_us: When, µs UTC.
    """
    life = API_KEY_LIFE_DAYS_DEFAULT if life_days is None else life_days
    if role not in roles:
        return Refusal(
            reason=Reason.ROLE_NOT_GRANTABLE, detail=f"a {role} is made on the server's command line"
        )
    if not 1 <= life <= API_KEY_LIFE_DAYS_MAX:
        return Refusal(reason=Reason.BAD_LIFE, detail=f"a key lives 1 to {API_KEY_LIFE_DAYS_MAX} days")
    name = name.strip()
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        return Refusal(reason=Reason.BAD_NAME, detail=f"a name has 1 to {NAME_CHARS_MAX} characters")
    secret = secrets.token_hex(SECRET_BYTES)
    row = ApiKey(
        key_id=secrets.token_hex(KEY_ID_BYTES),
        org_id=org_id,
        name=name,
        role=role,
        secret_sha256=hash_secret(secret),
        created_us=now_us,
        expires_us=now_us + life * DAY_US,
    )
    with session.begin():
        session.add(row)
    return CreatedKey(row=row, text=format_api_key(key_id=row.key_id, secret=secret))


def revoke_api_key(session: Session, *, org_id: str, key_id: str, now_us: int) -> ApiKey | Refusal:
    """End a key now and commit it; a key that was revoked before keeps its first time."""
    with session.begin():
        row = find_api_key(session, org_id=org_id, key_id=key_id)
        if row is None:
            return Refusal(reason=Reason.KEY_UNKNOWN, detail="no such key in this organisation")
        if row.revoked_us is None:
            row.revoked_us = now_us
            session.add(row)
    return row
