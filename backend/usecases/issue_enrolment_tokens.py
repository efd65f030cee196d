"""An installer gets one-time tokens, each good for one box; they are shown once and kept as hashes.

Example:
    >>> with database.writing() as session:
    ...     made = issue_enrolment_tokens(
    ...         session, org_id=org, issued_by=key_id, count=2, life_s=None, now_us=utc_us()
    ...     )
"""

import secrets
from dataclasses import dataclass

from sqlmodel import Session

from backend.domain.enrolment import TOKEN_SECRET_BYTES, format_token, hash_token, judge_issue
from backend.domain.refusal import Refusal
from backend.store.enrolment_tokens import EnrolmentToken, count_open_tokens
from protocol.limits import ENROLMENT_TOKEN_LIFE_S_DEFAULT

_S_US = 1_000_000
_TOKEN_ID_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A token that was just made. `text` is the only copy there will ever be."""

    row: EnrolmentToken
    text: str

    def __repr__(self) -> str:
        return f"IssuedToken(token_id={self.row.token_id!r}, text=<hidden>)"


def issue_enrolment_tokens(
    session: Session, *, org_id: str, issued_by: str, count: int, life_s: int | None, now_us: int
) -> list[IssuedToken] | Refusal:
    """Add tokens and commit them.

    Args:
        session: A writing session without an open transaction.
        org_id: Organisation that the boxes will belong to.
        issued_by: Id of the key that asked, or `cli`.
        count: How many, 1 to 100.
        life_s: Seconds until they expire; None for a day.
        now_us: When, µs UTC.
    """
    life = ENROLMENT_TOKEN_LIFE_S_DEFAULT if life_s is None else life_s
    with session.begin():
        open_now = count_open_tokens(session, org_id=org_id, now_us=now_us)
        refusal = judge_issue(count=count, life_s=life, open_now=open_now)
        if refusal is not None:
            return refusal
        issued = []
        for _ in range(count):
            text = format_token(secrets.token_hex(TOKEN_SECRET_BYTES))
            row = EnrolmentToken(
                token_id=secrets.token_hex(_TOKEN_ID_BYTES),
                org_id=org_id,
                token_sha256=hash_token(text),
                created_us=now_us,
                created_by=issued_by,
                expires_us=now_us + life * _S_US,
            )
            session.add(row)
            issued.append(IssuedToken(row=row, text=text))
    return issued
