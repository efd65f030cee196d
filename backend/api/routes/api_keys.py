"""API keys of the own organisation: made, listed without their secret, revoked."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, status
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backend.api.deps import CurrentCaller, NowUs, ReadSession, WriteSession, allow
from backend.api.paging import Page, Paging
from backend.api.problems import from_refusal
from backend.api.schemas import EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.domain.access import GRANTABLE, Permission, Role
from backend.domain.refusal import Refusal
from backend.store.api_keys import ApiKey, list_api_keys
from backend.usecases.create_api_key import create_api_key, revoke_api_key
from protocol.limits import API_KEY_LIFE_DAYS_DEFAULT, API_KEY_LIFE_DAYS_MAX, NAME_CHARS_MAX

router = APIRouter(tags=["keys"], dependencies=[allow(Permission.KEY_MANAGE)])

_SCOPE = "api-keys"
_EXAMPLE: dict[str, JsonValue] = {
    "key_id": "0123456789ab",
    "name": "loan system",
    "role": "operator",
    "created_at": EXAMPLE_TIME,
    "expires_at": EXAMPLE_TIME,
    "revoked_at": None,
}

KeyPath = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{12}$",
        description="Public part of the key, 12 hex digits.",
        examples=["0123456789ab"],
    ),
]


class ApiKeyIn(BaseModel):
    """What a new key is for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "loan system", "role": "operator", "life_days": 365}]},
    )

    name: str = Field(
        min_length=1, max_length=NAME_CHARS_MAX, pattern=r"\S", description="What it is for, in a few words."
    )
    role: Role = Field(description="What its holder may be.")
    life_days: int = Field(
        default=API_KEY_LIFE_DAYS_DEFAULT, ge=1, le=API_KEY_LIFE_DAYS_MAX, description="Days until it ends."
    )


class ApiKeyOut(BaseModel):
    """A key as it is listed, without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    key_id: str = Field(description="Public part of the key.")
    name: str = Field(description="What it is for.")
    role: Role = Field(description="What its holder may be.")
    created_at: UtcTime
    expires_at: datetime | None = Field(description="When it ends.")
    revoked_at: datetime | None = Field(description="When it was revoked.")

    @classmethod
    def of(cls, row: ApiKey) -> Self:
        """Show a row."""
        return cls(
            key_id=row.key_id,
            name=row.name,
            role=Role(row.role),
            created_at=to_datetime(row.created_us),
            expires_at=optional_time(row.expires_us),
            revoked_at=optional_time(row.revoked_us),
        )


class CreatedKeyOut(ApiKeyOut):
    """A key that was just made, with its text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE | {"key": "tbox_0123456789ab_" + "0" * 48}]}
    )

    key: str = Field(description="Send it as `Authorization: Bearer <key>`. It is shown this once.")


@router.get("/api-keys", summary="List API keys")
def read_keys(caller: CurrentCaller, session: ReadSession, paging: Paging) -> Page[ApiKeyOut]:
    """Return the organisation's keys, ended ones too, without their secrets."""
    rows = list_api_keys(
        session, org_id=caller.org_id, after=paging.after_text(_SCOPE), limit=paging.limit + 1
    )
    return paging.page(rows, scope=_SCOPE, key=lambda row: [row.key_id], show=ApiKeyOut.of)


@router.post("/api-keys", summary="Make an API key", status_code=status.HTTP_201_CREATED)
def make_key(wanted: ApiKeyIn, caller: CurrentCaller, session: WriteSession, now_us: NowUs) -> CreatedKeyOut:
    """Make a key; its text is shown in this answer and never again."""
    outcome = create_api_key(
        session,
        org_id=caller.org_id,
        name=wanted.name,
        role=wanted.role,
        life_days=wanted.life_days,
        roles=GRANTABLE,
        now_us=now_us,
    )
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return CreatedKeyOut(**ApiKeyOut.of(outcome.row).model_dump(), key=outcome.text)


@router.post("/api-keys/{key_id}/revoke", summary="Revoke an API key")
def end_key(key_id: KeyPath, caller: CurrentCaller, session: WriteSession, now_us: NowUs) -> ApiKeyOut:
    """End a key now, also the one that asks. Asking again changes nothing."""
    outcome = revoke_api_key(session, org_id=caller.org_id, key_id=key_id, now_us=now_us)
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return ApiKeyOut.of(outcome)
