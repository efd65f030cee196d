"""Orders with what people signed, verbatim: payload, parts, stages, the gate's answers.

Rules:
- Bytes are kept as they were signed and never written anew. Rows are added, and an order's stage is changed
  only through `order_flow`, by a use-case that holds the vehicle's row.
- `holds_slot` has a unique index per vehicle where it is true: the database itself refuses a second open
  restrictive order (C-21).
- Every read that a caller causes names the organisation.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import BigInteger, Column, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, Session, SQLModel, col, select

from backend.domain.order_flow import DRIVEN, Stage
from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device
from protocol.orders import OrderType, State
from protocol.orders_vocabulary import FINAL


class Order(SQLModel, table=True):
    """One order."""

    __tablename__ = "command_order"
    __table_args__ = (
        owned_by_device(),
        UniqueConstraint("cmd_id"),
        Index(
            "uq_command_order_slot",
            "device_id",
            unique=True,
            sqlite_where=text("holds_slot"),
            postgresql_where=text("holds_slot"),
        ),
        Index("ix_command_order_stage", "stage", "due_us"),
        Index("ix_command_order_device", "device_id", "order_no"),
    )

    order_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS, index=True)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    cmd_id: str = Field(max_length=32)
    order_type: int
    cmd_hash: bytes = Field(max_length=32)
    payload: bytes
    basis: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    challenge: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    message: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    stage: str = Field(max_length=20)
    holds_slot: bool
    expires_us: int | None = Field(default=None, sa_type=Microseconds)
    requested_by: str = Field(max_length=32)
    overtaken_by: str | None = Field(default=None, max_length=32)
    is_screened: bool = False
    leaf_index: int | None = Field(default=None, sa_type=BigInteger)
    leaf_salt: bytes | None = Field(default=None, max_length=16)
    car_state: int | None = None
    car_code: int | None = None
    car_seq: int = Field(default=0, sa_type=BigInteger)
    sends: int = 0
    attempts: int = 0
    due_us: int = Field(sa_type=Microseconds)
    created_us: int = Field(sa_type=Microseconds)

    @property
    def type(self) -> OrderType:
        """What it asks for."""
        return OrderType(self.order_type)

    @property
    def in_car(self) -> State | None:
        """Its last signed state in the car, None before any."""
        return None if self.car_state is None else State(self.car_state)


class OrderPart(SQLModel, table=True):
    """One signer's part of an order, verified when it was stored."""

    __tablename__ = "order_part"

    order_no: int = Field(primary_key=True, sa_type=RowId, foreign_key="command_order.order_no")
    org_id: str = Field(max_length=ORG_ID_CHARS)
    role: int = Field(primary_key=True)
    protected: bytes
    signature: bytes = Field(max_length=64)
    kid: str = Field(max_length=64)
    person: str = Field(max_length=32)
    delegation: str = Field(max_length=64)
    key_id: str | None = Field(default=None, max_length=32)
    reason_code: str | None = Field(default=None, max_length=64)
    at_us: int = Field(sa_type=Microseconds)


class OrderStage(SQLModel, table=True):
    """One stage that an order has had, and why."""

    __tablename__ = "order_stage"

    order_no: int = Field(primary_key=True, sa_type=RowId, foreign_key="command_order.order_no")
    org_id: str = Field(max_length=ORG_ID_CHARS)
    number: int = Field(primary_key=True)
    stage: str = Field(max_length=20)
    why: str = Field(max_length=200)
    at_us: int = Field(sa_type=Microseconds)


class GateAnswer(SQLModel, table=True):
    """What the gate said of an order, as it came; of repeats only the last is kept."""

    __tablename__ = "gate_answer"

    order_no: int = Field(primary_key=True, sa_type=RowId, foreign_key="command_order.order_no")
    org_id: str = Field(max_length=ORG_ID_CHARS)
    question: str = Field(primary_key=True, max_length=16)
    verdict: str = Field(max_length=16)
    rule: str | None = Field(default=None, max_length=64)
    detail: str = Field(max_length=500)
    earliest_s: int | None = Field(default=None, sa_type=BigInteger)
    facts: bytes | None = Field(default=None, max_length=32)
    asked: int = 1
    at_us: int = Field(sa_type=Microseconds)


def find_order(session: Session, *, org_id: str, cmd_id: str) -> Order | None:
    """Return one order of this organisation."""
    return session.exec(select(Order).where(Order.org_id == org_id, Order.cmd_id == cmd_id)).one_or_none()


def locate_order(session: Session, *, cmd_id: str) -> Order | None:
    """Return an order whatever its organisation: to refuse an id that is taken, and for the bridge."""
    return session.exec(select(Order).where(Order.cmd_id == cmd_id)).one_or_none()


def locate_order_by_hash(session: Session, *, device_id: str, cmd_hash: bytes) -> Order | None:
    """Return a vehicle's order by the hash of its payload, whatever its organisation: for the bridge."""
    return session.exec(
        select(Order).where(Order.device_id == device_id, Order.cmd_hash == cmd_hash)
    ).one_or_none()


def find_slot_holder(session: Session, *, device_id: str) -> Order | None:
    """Return the open restrictive order of a vehicle."""
    return session.exec(
        select(Order).where(Order.device_id == device_id, col(Order.holds_slot).is_(True))
    ).one_or_none()


def list_orders(
    session: Session,
    *,
    org_id: str,
    device_id: str | None,
    stage: Stage | None,
    after: int | None,
    limit: int,
) -> Sequence[Order]:
    """Return orders of this organisation, newest first, those below row number `after`."""
    query = select(Order).where(Order.org_id == org_id)
    if device_id is not None:
        query = query.where(Order.device_id == device_id)
    if stage is not None:
        query = query.where(Order.stage == stage)
    if after is not None:
        query = query.where(col(Order.order_no) < after)
    return session.exec(query.order_by(col(Order.order_no).desc()).limit(limit)).all()


def list_unsent(session: Session, *, device_id: str, stages: Collection[Stage]) -> Sequence[Order]:
    """Return a vehicle's orders in some stages, oldest first."""
    return session.exec(
        select(Order)
        .where(Order.device_id == device_id, col(Order.stage).in_([str(stage) for stage in stages]))
        .order_by(col(Order.order_no))
    ).all()


def list_due(session: Session, *, now_us: int, limit: int) -> Sequence[str]:
    """Return the ids of orders in which the worker has something to do now, the longest due first."""
    return session.exec(
        select(Order.cmd_id)
        .where(col(Order.stage).in_([str(stage) for stage in DRIVEN]), Order.due_us <= now_us)
        .order_by(col(Order.due_us), col(Order.order_no))
        .limit(limit)
    ).all()


def list_expiring(session: Session, *, now_us: int, stages: Collection[Stage], limit: int) -> Sequence[str]:
    """Return the ids of orders whose life has ended in a stage that can still end so."""
    return session.exec(
        select(Order.cmd_id)
        .where(
            col(Order.stage).in_([str(stage) for stage in stages]),
            col(Order.expires_us).is_not(None),
            col(Order.expires_us) <= now_us,
        )
        .order_by(col(Order.order_no))
        .limit(limit)
    ).all()


def list_parts(session: Session, *, order_no: int) -> Sequence[OrderPart]:
    """Return an order's parts, maker first."""
    return session.exec(
        select(OrderPart).where(OrderPart.order_no == order_no).order_by(col(OrderPart.role))
    ).all()


def list_stages(session: Session, *, order_no: int) -> Sequence[OrderStage]:
    """Return an order's stages in the order it had them."""
    return session.exec(
        select(OrderStage).where(OrderStage.order_no == order_no).order_by(col(OrderStage.number))
    ).all()


def list_answers(session: Session, *, order_no: int) -> Sequence[GateAnswer]:
    """Return what the gate said of an order, the oldest question first."""
    return session.exec(
        select(GateAnswer).where(GateAnswer.order_no == order_no).order_by(col(GateAnswer.at_us))
    ).all()


def counters_used(session: Session, *, device_id: str) -> Sequence[tuple[int, bytes]]:
    """Return type and payload of a vehicle's latest orders: whoever writes one takes a higher counter."""
    rows = session.exec(
        select(Order.order_type, Order.payload)
        .where(Order.device_id == device_id)
        .order_by(col(Order.order_no).desc())
        .limit(64)
    )
    return [(row[0], row[1]) for row in rows]


def standing_orders(session: Session, *, device_id: str) -> Sequence[Order]:
    """Return a vehicle's orders of which its car has said that they stand, and not yet that they are over."""
    over = [int(state) for state in FINAL]
    rows = session.exec(
        select(Order).where(
            Order.device_id == device_id,
            col(Order.car_state).is_not(None),
            col(Order.car_state).not_in(over),
        )
    )
    return list(rows)


def refused_releases(session: Session, *, device_id: str, requested_by: str) -> Sequence[tuple[bytes, int]]:
    """Return payload and time of making, newest first, of UNLOCKs by somebody that the car has refused."""
    rows = session.exec(
        select(Order.payload, Order.created_us)
        .where(
            Order.device_id == device_id,
            Order.requested_by == requested_by,
            Order.order_type == int(OrderType.UNLOCK),
            Order.car_state == int(State.REJECTED),
        )
        .order_by(col(Order.order_no).desc())
        .limit(32)
    )
    return [(row[0], row[1]) for row in rows]


def accepted_payloads(session: Session, *, device_id: str) -> Sequence[bytes]:
    """Return payloads of a vehicle's latest orders that its car has accepted, by its signed word."""
    refused = [int(state) for state in (State.NONE, State.RECEIVED, State.REJECTED)]
    rows = session.exec(
        select(Order.payload)
        .where(
            Order.device_id == device_id,
            col(Order.car_state).is_not(None),
            col(Order.car_state).not_in(refused),
        )
        .order_by(col(Order.order_no).desc())
        .limit(64)
    )
    return rows.all()
