"""A client shows its key and becomes a caller of one organisation and role, or no one.

Nothing here says which check failed: an unknown, wrong, expired or revoked key is the same answer.

Example:
    >>> authenticate(session, bearer="tbox_0123456789ab_...", now_us=utc_us())
    Caller(org_id='...', key_id='0123456789ab', role=<Role.OPERATOR: 'operator'>)
"""

import hmac
from typing import Final

from sqlmodel import Session

from backend.domain.access import Caller, Role
from backend.domain.api_key import hash_secret, is_in_force, parse_api_key
from backend.store.api_keys import find_api_key_by_prefix

# Compared with when there is no such key, so that an unknown id takes the same path as a wrong secret. No
# secret is known to hash to it.
_NO_HASH: Final = bytes(32)


def authenticate(session: Session, *, bearer: str, now_us: int) -> Caller | None:
    """Return who holds this key, or None when it may not be used."""
    presented = parse_api_key(bearer)
    if presented is None:
        return None
    row = find_api_key_by_prefix(session, key_id=presented.key_id)
    expected = _NO_HASH if row is None else row.secret_sha256
    if not hmac.compare_digest(hash_secret(presented.secret), expected) or row is None:
        return None
    if not is_in_force(expires_us=row.expires_us, revoked_us=row.revoked_us, now_us=now_us):
        return None
    if row.role not in set(Role):
        return None  # a role of another version of this program: what it may do is not known here
    return Caller(org_id=row.org_id, key_id=row.key_id, role=Role(row.role))
