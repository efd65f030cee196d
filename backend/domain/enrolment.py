"""When a box may enrol: rules about its one-time token, its rate, and who owns it already.

Rules:
- A token is used once, before it expires, and names the organisation. Its text reads `tboxe_` and 48 hex
  digits; the database keeps its SHA-256.
- A box that enrols again with the same key, a fresh token and the same organisation gets a new certificate
  and stays what it was. Another organisation's box is refused: a transfer is not an enrolment.
- A revoked box stays revoked.

Example:
    >>> judge_token(TokenFacts(expires_us=10, used_us=None), now_us=11).reason
    <Reason.ENROLMENT_EXPIRED: 'enrolment-expired'>
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from backend.domain.device_life import DeviceEvent, DeviceStatus, is_legal
from backend.domain.refusal import Reason, Refusal
from protocol.limits import (
    ENROLMENT_TOKEN_LIFE_S_MAX,
    ENROLMENT_TOKENS_OPEN_MAX,
    ENROLMENT_TOKENS_PER_REQUEST_MAX,
    ENROLMENTS_PER_HOUR_MAX,
)

TOKEN_SECRET_BYTES: Final = 24
HOUR_US: Final = 3_600_000_000

_FORM = re.compile(r"tboxe_[0-9a-f]{48}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """What the rules need to know of a token."""

    expires_us: int
    used_us: int | None


def format_token(secret: str) -> str:
    """Return the text an installer types or scans."""
    return f"tboxe_{secret}"


def is_token(text: str) -> bool:
    """Whether a text has the form of a token."""
    return _FORM.fullmatch(text) is not None


def hash_token(text: str) -> bytes:
    """Return the 32 bytes that the database keeps of a token, and that the box's proof names."""
    return hashlib.sha256(text.encode()).digest()


def judge_issue(*, count: int, life_s: int, open_now: int) -> Refusal | None:
    """Say whether an organisation may have more tokens."""
    if not 1 <= life_s <= ENROLMENT_TOKEN_LIFE_S_MAX:
        return Refusal(
            reason=Reason.BAD_LIFE, detail=f"a token lives 1 to {ENROLMENT_TOKEN_LIFE_S_MAX} seconds"
        )
    if not 1 <= count <= ENROLMENT_TOKENS_PER_REQUEST_MAX:
        return Refusal(
            reason=Reason.TOO_MANY_TOKENS,
            detail=f"one request makes 1 to {ENROLMENT_TOKENS_PER_REQUEST_MAX} tokens",
        )
    if open_now + count > ENROLMENT_TOKENS_OPEN_MAX:
        return Refusal(
            reason=Reason.TOO_MANY_TOKENS,
            detail=f"{open_now} tokens are unused, {ENROLMENT_TOKENS_OPEN_MAX} are the most",
        )
    return None


def judge_token(facts: TokenFacts | None, *, now_us: int) -> Refusal | None:
    """Say whether a token may be used now."""
    if facts is None:
        return Refusal(reason=Reason.ENROLMENT_UNKNOWN, detail="ask for a fresh token")
    if facts.used_us is not None:
        return Refusal(reason=Reason.ENROLMENT_USED, detail="a token enrols once; ask for a fresh one")
    if now_us >= facts.expires_us:
        return Refusal(reason=Reason.ENROLMENT_EXPIRED, detail="ask for a fresh token")
    return None


def judge_rate(*, last_hour: int) -> Refusal | None:
    """Say whether an organisation may enrol one more box now."""
    if last_hour >= ENROLMENTS_PER_HOUR_MAX:
        return Refusal(
            reason=Reason.TOO_MANY_ENROLMENTS,
            detail=f"{ENROLMENTS_PER_HOUR_MAX} enrolments an hour are the most; try again later",
        )
    return None


def judge_owner(*, owner: str | None, status: DeviceStatus | None, org_id: str) -> Refusal | None:
    """Say whether a box that may be known already can enrol into an organisation.

    Args:
        owner: Organisation that has the box, None for a box nobody has.
        status: The box's state, None for a box nobody has.
        org_id: Organisation of the token.
    """
    if owner is None or status is None:
        return None
    if owner != org_id:
        return Refusal(
            reason=Reason.DEVICE_ELSEWHERE, detail="its owner has to revoke it, then it needs new keys"
        )
    if not is_legal(status, DeviceEvent.ENROL_AGAIN):
        return Refusal(reason=Reason.DEVICE_REVOKED, detail="a revoked box needs new keys to enrol")
    return None
