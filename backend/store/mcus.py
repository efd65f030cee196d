"""Microcontrollers of boxes: who they are to orders, their epochs, and the challenge they have open.

Rules:
- One row per box says which D1 it has and what its orders must name; commissioning writes it.
- An epoch that is over never comes back: `mcu_epoch` remembers each one, so that an old challenge replayed
  cannot put the clock back. Heads and `prev` are the car's own signed word, kept for whoever writes an order.
- Of challenges only the newest is kept; an order keeps the one that it was written for.
- `locate_mcu` takes no organisation: the bridge knows only the topic.
"""

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field, Session, SQLModel, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, owned_by_device


class Mcu(SQLModel, table=True):
    """The microcontroller of a box, as orders name it."""

    __tablename__ = "mcu"
    __table_args__ = (owned_by_device(), UniqueConstraint("mcu_id"))

    device_id: str = Field(primary_key=True, max_length=DEVICE_ID_CHARS)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    mcu_id: str = Field(max_length=64)
    cose_key: bytes = Field(max_length=75)
    epoch: bytes = Field(max_length=16)
    vin_bind: bytes = Field(max_length=32)
    contract_ref: bytes = Field(max_length=32)
    lender_id: bytes = Field(max_length=8)
    jurisdiction: str = Field(max_length=6)
    head_a: int = Field(default=0, sa_type=BigInteger)
    head_b: int = Field(default=0, sa_type=BigInteger)
    head_c: int = Field(default=0, sa_type=BigInteger)
    prev: bytes = Field(default=bytes(32), max_length=32)
    mode: int | None = None
    reported_state: int | None = None
    reported_seq: int = Field(default=0, sa_type=BigInteger)
    reported_us: int | None = Field(default=None, sa_type=Microseconds)
    created_us: int = Field(sa_type=Microseconds)
    updated_us: int = Field(sa_type=Microseconds)

    @property
    def heads(self) -> list[int]:
        """Counter heads of classes A, B and C, as the car last signed them."""
        return [self.head_a, self.head_b, self.head_c]

    @heads.setter
    def heads(self, heads: list[int]) -> None:
        self.head_a, self.head_b, self.head_c = heads


class McuEpoch(SQLModel, table=True):
    """An epoch that a microcontroller has had."""

    __tablename__ = "mcu_epoch"

    mcu_id: str = Field(primary_key=True, max_length=64)
    epoch: bytes = Field(primary_key=True, max_length=16)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    first_us: int = Field(sa_type=Microseconds)


class McuChallenge(SQLModel, table=True):
    """The newest challenge of a box, verbatim."""

    __tablename__ = "mcu_challenge"
    __table_args__ = (owned_by_device(),)

    device_id: str = Field(primary_key=True, max_length=DEVICE_ID_CHARS)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    epoch: bytes = Field(max_length=16)
    chal: bytes = Field(max_length=16)
    tick: int = Field(sa_type=BigInteger)
    is_used: bool = Field(default=False)
    document: bytes
    received_us: int = Field(sa_type=Microseconds)


def find_mcu(session: Session, *, org_id: str, device_id: str) -> Mcu | None:
    """Return a box's microcontroller in this organisation."""
    return session.exec(select(Mcu).where(Mcu.org_id == org_id, Mcu.device_id == device_id)).one_or_none()


def locate_mcu(session: Session, *, device_id: str, lock: bool = False) -> Mcu | None:
    """Return a box's microcontroller whatever its organisation: for the bridge and the worker.

    Args:
        session: Reads.
        device_id: Which box.
        lock: Keep other writers away from this vehicle until the transaction ends.
    """
    query = select(Mcu).where(Mcu.device_id == device_id)
    return session.exec(query.with_for_update() if lock else query).one_or_none()


def find_mcu_by_id(session: Session, *, mcu_id: str) -> Mcu | None:
    """Return the microcontroller of this thumbprint, whatever its organisation."""
    return session.exec(select(Mcu).where(Mcu.mcu_id == mcu_id)).one_or_none()


def is_known_epoch(session: Session, *, mcu_id: str, epoch: bytes) -> bool:
    """Return whether a microcontroller has had this epoch."""
    return session.get(McuEpoch, (mcu_id, epoch)) is not None


def is_left_epoch(session: Session, *, mcu_id: str, epoch: bytes) -> bool:
    """Return whether a microcontroller has had this epoch and a later one."""
    known = session.get(McuEpoch, (mcu_id, epoch))
    if known is None:
        return False
    later = select(McuEpoch.epoch).where(McuEpoch.mcu_id == mcu_id, McuEpoch.first_us > known.first_us)
    return session.exec(later.limit(1)).first() is not None


def note_epoch(session: Session, *, mcu: Mcu, epoch: bytes, at_us: int) -> None:
    """Remember an epoch."""
    if not is_known_epoch(session, mcu_id=mcu.mcu_id, epoch=epoch):
        session.add(McuEpoch(mcu_id=mcu.mcu_id, epoch=epoch, org_id=mcu.org_id, first_us=at_us))
        session.flush()


def find_challenge(session: Session, *, org_id: str, device_id: str) -> McuChallenge | None:
    """Return a box's newest challenge."""
    return session.exec(
        select(McuChallenge).where(McuChallenge.org_id == org_id, McuChallenge.device_id == device_id)
    ).one_or_none()


def find_lender_ids(session: Session, *, org_id: str) -> list[bytes]:
    """Return the lenders that an organisation's cars are bound to."""
    rows = session.exec(select(Mcu.lender_id).where(Mcu.org_id == org_id).distinct())
    return sorted(bytes(row) for row in rows)
