"""The form of an API key and when it is in force.

A key reads `tbox_<key id>_<secret>`: the id (12 hex digits) is public and finds the row, the secret (192
random bits in 48 hex digits) is shown once and kept as SHA-256 only. The secret is long and random, so a
slow password hash would only slow us down.

Example:
    >>> parse_api_key("tbox_0123456789ab_" + "00" * 24).key_id
    '0123456789ab'
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

KEY_ID_BYTES: Final = 6
SECRET_BYTES: Final = 24

_FORM = re.compile(r"tbox_([0-9a-f]{12})_([0-9a-f]{48})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedKey:
    """A key as a client showed it, taken apart; not yet believed."""

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"PresentedKey(key_id={self.key_id!r}, secret=<hidden>)"


def format_api_key(*, key_id: str, secret: str) -> str:
    """Return the text a client sends after `Bearer`."""
    return f"tbox_{key_id}_{secret}"


def parse_api_key(text: str) -> PresentedKey | None:
    """Take a presented key apart, or return None when it has another form."""
    match = _FORM.fullmatch(text)
    return None if match is None else PresentedKey(key_id=match[1], secret=match[2])


def hash_secret(secret: str) -> bytes:
    """Return the 32 bytes that the database keeps of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def is_in_force(*, expires_us: int | None, revoked_us: int | None, now_us: int) -> bool:
    """Whether a key may be used now: not revoked, and its end, if it has one, is still to come."""
    return revoked_us is None and (expires_us is None or now_us < expires_us)
