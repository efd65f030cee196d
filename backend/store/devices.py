"""Boxes and their keys.

Rules:
- A device belongs to one organisation; its id is the thumbprint of its first agent key, and stays when keys
  change.
- A key belongs to one device for ever, with the time it is valid from and to.
- `locate_device` takes no organisation: the bridge knows only the topic a batch came on, and learns the owner
  here. Nor does `list_revoked_ids`: the broker serves all.
"""

from collections.abc import Sequence

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, owned_by_device


class Device(SQLModel, table=True):
    """One box: name, owner, state of its life."""

    __tablename__ = "device"
    __table_args__ = (UniqueConstraint("org_id", "device_id"),)

    device_id: str = Field(primary_key=True, max_length=DEVICE_ID_CHARS)
    org_id: str = Field(foreign_key="organisation.org_id", max_length=ORG_ID_CHARS)
    label: str | None = Field(default=None, max_length=200)
    status: str = Field(max_length=16)
    created_us: int = Field(sa_type=Microseconds)
    revoked_us: int | None = Field(default=None, sa_type=Microseconds)


class DeviceKey(SQLModel, table=True):
    """One signing key of a box; `kid` is its thumbprint in hex."""

    __tablename__ = "device_key"
    __table_args__ = (owned_by_device(),)

    kid: str = Field(primary_key=True, max_length=64)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS, index=True)
    role: str = Field(max_length=8)
    cose_key: bytes = Field(max_length=256)
    valid_from_us: int = Field(sa_type=Microseconds)
    valid_to_us: int | None = Field(default=None, sa_type=Microseconds)

    def is_in_force(self, now_us: int) -> bool:
        """Whether what it signs counts at this moment, UTC in µs."""
        return self.valid_from_us <= now_us and (self.valid_to_us is None or now_us < self.valid_to_us)


def locate_device(session: Session, *, device_id: str) -> Device | None:
    """Return a box whatever its organisation: for enrolment, renewal and the bridge only."""
    return session.get(Device, device_id)


def find_device(session: Session, *, org_id: str, device_id: str) -> Device | None:
    """Return one box of this organisation."""
    return session.exec(
        select(Device).where(Device.org_id == org_id, Device.device_id == device_id)
    ).one_or_none()


def list_devices(session: Session, *, org_id: str, after: str | None, limit: int) -> Sequence[Device]:
    """Return boxes of this organisation in the order of their ids, those after `after`."""
    query = select(Device).where(Device.org_id == org_id).order_by(Device.device_id).limit(limit)
    if after is not None:
        query = query.where(col(Device.device_id) > after)
    return session.exec(query).all()


def list_revoked_ids(session: Session) -> Sequence[str]:
    """Return the ids of all organisations' revoked boxes, in order: for the broker's access list."""
    return session.exec(
        select(Device.device_id).where(col(Device.revoked_us).is_not(None)).order_by(Device.device_id)
    ).all()


def list_device_keys(session: Session, *, org_id: str, device_id: str) -> Sequence[DeviceKey]:
    """Return all keys of one box, oldest first."""
    return session.exec(
        select(DeviceKey)
        .where(DeviceKey.org_id == org_id, DeviceKey.device_id == device_id)
        .order_by(col(DeviceKey.valid_from_us), DeviceKey.kid)
    ).all()


def locate_device_key(session: Session, *, kid: str) -> DeviceKey | None:
    """Return a key whatever its organisation: to refuse one that another box already has."""
    return session.get(DeviceKey, kid)
