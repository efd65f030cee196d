"""Organisations: who owns the rows.

Every other table names one of these in `org_id`. There is no self-registration: the operator makes
organisations on the command line, the first one at `init`, which also owns the platform's own keys.
"""

from collections.abc import Sequence

from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import ORG_ID_CHARS, Microseconds


class Organisation(SQLModel, table=True):
    """One tenant."""

    __tablename__ = "organisation"

    org_id: str = Field(primary_key=True, max_length=ORG_ID_CHARS)
    name: str = Field(max_length=200, unique=True)
    is_platform: bool = Field(default=False)
    created_us: int = Field(sa_type=Microseconds)


def find_organisation(session: Session, *, org_id: str) -> Organisation | None:
    """Return one organisation by its id."""
    return session.get(Organisation, org_id)


def find_organisation_by_name(session: Session, *, name: str) -> Organisation | None:
    """Return one organisation by its exact name."""
    return session.exec(select(Organisation).where(Organisation.name == name)).one_or_none()


def find_platform(session: Session) -> Organisation | None:
    """Return the organisation that runs this server and owns its service keys."""
    return session.exec(select(Organisation).where(col(Organisation.is_platform))).first()


def list_organisations(session: Session) -> Sequence[Organisation]:
    """Return all organisations by name: for the operator's command line only, never for a route."""
    return session.exec(select(Organisation).order_by(Organisation.name)).all()
