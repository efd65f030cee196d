"""Who am I: the organisation, role and permissions of the key that asks."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from backend.api.deps import CurrentCaller, ReadSession, allow
from backend.domain.access import GRANTS, Permission, Role
from backend.store.organisations import find_organisation

router = APIRouter(tags=["server"])


class MeOut(BaseModel):
    """The caller, as the server sees it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "org_id": "0f" * 16,
                    "organisation": "Example Leasing",
                    "key_id": "0123456789ab",
                    "role": "operator",
                    "permissions": ["device-read", "position-read", "self-read", "telemetry-read"],
                }
            ]
        }
    )

    org_id: str = Field(description="Id of the organisation.")
    organisation: str = Field(description="Its name.")
    key_id: str = Field(description="The public part of the key.")
    role: Role = Field(description="What the holder of the key is.")
    permissions: list[Permission] = Field(description="What the role may do.")


@router.get("/me", summary="Who am I", dependencies=[allow(Permission.SELF_READ)])
def read_me(caller: CurrentCaller, session: ReadSession) -> MeOut:
    """Return the organisation, role and permissions of the key that asks."""
    organisation = find_organisation(session, org_id=caller.org_id)
    assert organisation is not None, "a key's organisation exists: the database holds the reference"
    return MeOut(
        org_id=caller.org_id,
        organisation=organisation.name,
        key_id=caller.key_id,
        role=caller.role,
        permissions=sorted(GRANTS[caller.role]),
    )
