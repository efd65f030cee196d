"""One-time enrolment tokens: made for installers, listed without their text."""

from datetime import datetime
from typing import Literal, Self

from fastapi import APIRouter, status
from pydantic import BaseModel, ConfigDict, Field

from backend.api.deps import CurrentCaller, NowUs, ReadSession, WriteSession, allow
from backend.api.openapi import problems
from backend.api.paging import Page, Paging
from backend.api.problems import from_refusal
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.refusal import Refusal
from backend.store.enrolment_tokens import EnrolmentToken, list_tokens
from backend.usecases.issue_enrolment_tokens import IssuedToken, issue_enrolment_tokens
from protocol.limits import (
    ENROLMENT_TOKEN_LIFE_S_DEFAULT,
    ENROLMENT_TOKEN_LIFE_S_MAX,
    ENROLMENT_TOKENS_PER_REQUEST_MAX,
)

router = APIRouter(tags=["enrolment"], dependencies=[allow(Permission.ENROLMENT_MANAGE)])

_SCOPE = "enrolment-tokens"

TokenState = Literal["open", "used", "expired"]


class TokensIn(BaseModel):
    """How many tokens, and for how long."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"count": 2, "life_s": 86400}]})

    count: int = Field(default=1, ge=1, le=ENROLMENT_TOKENS_PER_REQUEST_MAX, description="One for each box.")
    life_s: int = Field(
        default=ENROLMENT_TOKEN_LIFE_S_DEFAULT,
        ge=1,
        le=ENROLMENT_TOKEN_LIFE_S_MAX,
        description="Seconds until they expire.",
    )


class TokenOut(BaseModel):
    """A token as it is listed: who used it and when, never its text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "token_id": "0123456789ab",
                    "state": "used",
                    "created_at": EXAMPLE_TIME,
                    "created_by": "ba9876543210",
                    "expires_at": EXAMPLE_TIME,
                    "used_at": EXAMPLE_TIME,
                    "used_by": EXAMPLE_DEVICE,
                }
            ]
        }
    )

    token_id: str = Field(description="Names the token in lists and logs; it opens nothing.")
    state: TokenState = Field(description="Whether a box can still use it.")
    created_at: UtcTime
    created_by: str = Field(description="Key that asked for it, or `cli`.")
    expires_at: UtcTime
    used_at: datetime | None = Field(description="When a box used it.")
    used_by: str | None = Field(description="Device id of that box.")

    @classmethod
    def of(cls, row: EnrolmentToken, *, now_us: int) -> Self:
        """Show a row as it is now."""
        state: TokenState = "open" if now_us < row.expires_us else "expired"
        return cls(
            token_id=row.token_id,
            state="used" if row.used_us is not None else state,
            created_at=to_datetime(row.created_us),
            created_by=row.created_by,
            expires_at=to_datetime(row.expires_us),
            used_at=optional_time(row.used_us),
            used_by=row.used_by,
        )


class IssuedTokenOut(BaseModel):
    """A token that was just made, with its text."""

    token_id: str = Field(description="Names the token in lists and logs.")
    token: str = Field(description="Type or scan it into the box. It is shown this once.")
    expires_at: UtcTime

    @classmethod
    def of(cls, issued: IssuedToken) -> Self:
        """Show a token this once."""
        return cls(
            token_id=issued.row.token_id, token=issued.text, expires_at=to_datetime(issued.row.expires_us)
        )


class TokensOut(BaseModel):
    """The tokens of one request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "token_id": "0123456789ab",
                            "token": "tboxe_" + "0" * 48,
                            "expires_at": EXAMPLE_TIME,
                        }
                    ]
                }
            ]
        }
    )

    items: list[IssuedTokenOut] = Field(description="Each one enrols one box.")


@router.get("/enrolment-tokens", summary="List enrolment tokens")
def read_tokens(caller: CurrentCaller, session: ReadSession, paging: Paging, now_us: NowUs) -> Page[TokenOut]:
    """Return the organisation's tokens, used and expired ones too, without their text."""
    rows = list_tokens(session, org_id=caller.org_id, after=paging.after_text(_SCOPE), limit=paging.limit + 1)
    return paging.page(
        rows, scope=_SCOPE, key=lambda row: [row.token_id], show=lambda row: TokenOut.of(row, now_us=now_us)
    )


@router.post(
    "/enrolment-tokens",
    summary="Make enrolment tokens",
    status_code=status.HTTP_201_CREATED,
    responses=problems(429),
)
def make_tokens(wanted: TokensIn, caller: CurrentCaller, session: WriteSession, now_us: NowUs) -> TokensOut:
    """Make one-time tokens; their text is shown in this answer and never again."""
    outcome = issue_enrolment_tokens(
        session,
        org_id=caller.org_id,
        issued_by=caller.key_id,
        count=wanted.count,
        life_s=wanted.life_s,
        now_us=now_us,
    )
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return TokensOut(items=[IssuedTokenOut.of(issued) for issued in outcome])
