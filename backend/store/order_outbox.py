"""What waits to go down to boxes, go requests that wait for the gate, the kill switch, repeated requests.

Rules:
- A row of the outbox is claimed in a transaction before it is published, so that what may have left is known
  to have been meant to leave. Releases first, then what they need, then the rest; within one, oldest first.
- A row that has been published is due again later, until whoever waits for its answer removes it; one that
  nobody answers (`sends_max`) ends by itself.
"""

from collections.abc import Sequence

from sqlalchemy import Column, Index, LargeBinary, UniqueConstraint, delete, update
from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device


class Outgoing(SQLModel, table=True):
    """One message to a box."""

    __tablename__ = "order_outbox"
    __table_args__ = (
        owned_by_device(),
        UniqueConstraint("device_id", "kind", "subject"),
        Index("ix_order_outbox_due", "due_us"),
    )

    item_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    kind: str = Field(max_length=16)
    subject: str = Field(max_length=64)
    priority: int
    payload: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    sends: int = 0
    sends_max: int = 0
    due_us: int = Field(sa_type=Microseconds)
    created_us: int = Field(sa_type=Microseconds)


class GoQuestion(SQLModel, table=True):
    """A go request of a car, until the gate has answered it."""

    __tablename__ = "go_question"
    __table_args__ = (owned_by_device(), UniqueConstraint("device_id", "chal2"))

    item_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    cmd_hash: bytes = Field(max_length=32)
    chal2: bytes = Field(max_length=16)
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    token: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    verdict: str | None = Field(default=None, max_length=16)
    attempts: int = 0
    due_us: int | None = Field(default=None, sa_type=Microseconds, index=True)
    received_us: int = Field(sa_type=Microseconds)


class KillSwitch(SQLModel, table=True):
    """One turn of an organisation's kill switch; the last one counts."""

    __tablename__ = "kill_switch"

    item_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS, foreign_key="organisation.org_id", index=True)
    is_on: bool
    reason: str = Field(max_length=200)
    key_id: str = Field(max_length=32)
    at_us: int = Field(sa_type=Microseconds)


class RepeatedRequest(SQLModel, table=True):
    """The answer to a request with an idempotency key."""

    __tablename__ = "repeated_request"

    org_id: str = Field(primary_key=True, max_length=ORG_ID_CHARS)
    key_id: str = Field(primary_key=True, max_length=32)
    name: str = Field(primary_key=True, max_length=64)
    request_sha256: bytes = Field(max_length=32)
    status: int
    answer: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    at_us: int = Field(sa_type=Microseconds, index=True)


def put_outgoing(session: Session, item: Outgoing) -> None:
    """Queue a message, in the place of an older one of the same box, kind and subject."""
    drop_outgoing(session, device_id=item.device_id, kind=item.kind, subject=item.subject)
    session.add(item)
    session.flush()


def drop_outgoing(session: Session, *, device_id: str, kind: str, subject: str | None = None) -> None:
    """Take messages out of the queue: they are answered, or no longer true."""
    query = delete(Outgoing).where(col(Outgoing.device_id) == device_id, col(Outgoing.kind) == kind)
    if subject is not None:
        query = query.where(col(Outgoing.subject) == subject)
    session.exec(query)


def claim_due(session: Session, *, now_us: int, limit: int) -> Sequence[Outgoing]:
    """Return what is due, releases first, locked for this transaction."""
    return session.exec(
        select(Outgoing)
        .where(Outgoing.due_us <= now_us)
        .order_by(col(Outgoing.priority), col(Outgoing.item_no))
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


def put_off(session: Session, *, item_nos: Sequence[int], due_us: int) -> None:
    """Make messages due at another time: the line was down."""
    session.exec(update(Outgoing).where(col(Outgoing.item_no).in_(item_nos)).values(due_us=due_us))


def list_due_go(session: Session, *, now_us: int, limit: int) -> Sequence[GoQuestion]:
    """Return go requests that the gate is to be asked about now, oldest first."""
    return session.exec(
        select(GoQuestion)
        .where(col(GoQuestion.due_us).is_not(None), col(GoQuestion.due_us) <= now_us)
        .order_by(col(GoQuestion.item_no))
        .limit(limit)
    ).all()


def find_go(session: Session, *, device_id: str, chal2: bytes) -> GoQuestion | None:
    """Return the go request of this parking."""
    return session.exec(
        select(GoQuestion).where(GoQuestion.device_id == device_id, GoQuestion.chal2 == chal2)
    ).one_or_none()


def trim_go(session: Session, *, device_id: str, keep: int) -> None:
    """Forget a box's oldest go requests beyond so many: each is void after its parking."""
    newest = session.exec(
        select(GoQuestion.item_no)
        .where(GoQuestion.device_id == device_id)
        .order_by(col(GoQuestion.item_no).desc())
        .offset(keep)
        .limit(1)
    ).first()
    if newest is not None:
        session.exec(
            delete(GoQuestion).where(
                col(GoQuestion.device_id) == device_id, col(GoQuestion.item_no) <= newest
            )
        )


def kill_switch_of(session: Session, *, org_id: str) -> KillSwitch | None:
    """Return the last turn of an organisation's kill switch, None when it never was turned."""
    return session.exec(
        select(KillSwitch)
        .where(KillSwitch.org_id == org_id)
        .order_by(col(KillSwitch.item_no).desc())
        .limit(1)
    ).first()


def is_killed(session: Session, *, org_id: str) -> bool:
    """Return whether an organisation's restrictive orders are not to be sent."""
    found = kill_switch_of(session, org_id=org_id)
    return found is not None and found.is_on
