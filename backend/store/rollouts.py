"""Rollouts, the boxes that were given a release, and what it did to them.

Rules: one row a rollout; one a box in it, with when it was given and heard; one an outcome of a box and
release, however often it is told. Each turn of a rollout is kept with who turned it and why.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Index, UniqueConstraint, func
from sqlmodel import Field, Session, SQLModel, col, select

from backend.domain.rollout import OPEN, RolloutState, VehicleOutcome
from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds, RowId, owned_by_device
from backend.store.devices import Device

_ID_CHARS = 32


class Rollout(SQLModel, table=True):
    """One rollout."""

    __tablename__ = "rollout"
    __table_args__ = (UniqueConstraint("org_id", "release"),)

    rollout_id: str = Field(primary_key=True, max_length=_ID_CHARS)
    org_id: str = Field(max_length=ORG_ID_CHARS, foreign_key="organisation.org_id")
    release: int
    stages: str = Field(max_length=64)
    thresholds: str = Field(max_length=512)
    stage: int = 0
    state: str = Field(max_length=16)
    reason: str | None = Field(default=None, max_length=200)
    made_by: str = Field(max_length=32)
    created_us: int = Field(sa_type=Microseconds)
    stage_us: int = Field(sa_type=Microseconds)


class RolloutTurn(SQLModel, table=True):
    """One turn: who did what, and why."""

    __tablename__ = "rollout_turn"

    turn_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    rollout_id: str = Field(max_length=_ID_CHARS, foreign_key="rollout.rollout_id", index=True)
    event: str = Field(max_length=16)
    reason: str | None = Field(default=None, max_length=200)
    key_id: str | None = Field(default=None, max_length=32)
    at_us: int = Field(sa_type=Microseconds)


class RolloutBox(SQLModel, table=True):
    """A box that was given the release."""

    __tablename__ = "rollout_box"
    __table_args__ = (owned_by_device(), Index("ix_rollout_box_device_id", "device_id"))

    rollout_id: str = Field(primary_key=True, max_length=_ID_CHARS, foreign_key="rollout.rollout_id")
    device_id: str = Field(primary_key=True, max_length=DEVICE_ID_CHARS)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    given_us: int = Field(sa_type=Microseconds)
    heard_us: int = Field(sa_type=Microseconds)


class BoxRelease(SQLModel, table=True):
    """What a box runs, by its last question."""

    __tablename__ = "box_release"
    __table_args__ = (owned_by_device(),)

    device_id: str = Field(primary_key=True, max_length=DEVICE_ID_CHARS)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    running: int
    asked_s: int = Field(sa_type=Microseconds)
    heard_us: int = Field(sa_type=Microseconds)


class ReleaseOutcome(SQLModel, table=True):
    """What a release did to one vehicle."""

    __tablename__ = "release_outcome"
    __table_args__ = (
        owned_by_device(),
        UniqueConstraint("device_id", "release", "outcome"),
        Index("ix_release_outcome_release", "org_id", "release"),
    )

    outcome_no: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    org_id: str = Field(max_length=ORG_ID_CHARS)
    device_id: str = Field(max_length=DEVICE_ID_CHARS)
    release: int
    outcome: str = Field(max_length=32)
    note: str | None = Field(default=None, max_length=200)
    key_id: str | None = Field(default=None, max_length=32)
    at_us: int = Field(sa_type=Microseconds)


def find_rollout(session: Session, *, org_id: str, rollout_id: str, lock: bool = False) -> Rollout | None:
    """Return one rollout of this organisation; locked for a turn when asked."""
    query = select(Rollout).where(Rollout.org_id == org_id, Rollout.rollout_id == rollout_id)
    return session.exec(query.with_for_update() if lock else query).first()


def open_rollout(session: Session, *, org_id: str, lock: bool = False) -> Rollout | None:
    """Return the organisation's open rollout; there is one at most."""
    query = select(Rollout).where(Rollout.org_id == org_id, col(Rollout.state).in_(OPEN))
    return session.exec(query.with_for_update() if lock else query).first()


def list_rollouts(session: Session, *, org_id: str, limit: int) -> Sequence[Rollout]:
    """Return the organisation's rollouts, newest first."""
    order = col(Rollout.created_us).desc(), col(Rollout.rollout_id)
    return session.exec(select(Rollout).where(Rollout.org_id == org_id).order_by(*order).limit(limit)).all()


def list_turns(session: Session, *, rollout_id: str) -> Sequence[RolloutTurn]:
    """Return a rollout's turns, oldest first."""
    query = select(RolloutTurn).where(RolloutTurn.rollout_id == rollout_id)
    return session.exec(query.order_by(col(RolloutTurn.turn_no))).all()


def is_release_used(session: Session, *, org_id: str, release: int) -> bool:
    """Whether a release had a rollout in this organisation."""
    query = select(Rollout.rollout_id).where(Rollout.org_id == org_id, Rollout.release == release)
    return session.exec(query).first() is not None


def count_outcomes(
    session: Session, *, rollout: Rollout, silent_before_us: int
) -> tuple[int, Mapping[VehicleOutcome, int]]:
    """Return how many boxes were given the release, and boxes by outcome with the silent ones."""
    given = session.exec(
        select(func.count()).select_from(RolloutBox).where(RolloutBox.rollout_id == rollout.rollout_id)
    ).one()
    counted = session.exec(
        select(ReleaseOutcome.outcome, func.count())
        .where(ReleaseOutcome.org_id == rollout.org_id, ReleaseOutcome.release == rollout.release)
        .group_by(ReleaseOutcome.outcome)
    ).all()
    silent = session.exec(
        select(func.count())
        .select_from(RolloutBox)
        .where(RolloutBox.rollout_id == rollout.rollout_id, RolloutBox.heard_us < silent_before_us)
    ).one()
    outcomes = {VehicleOutcome(word): boxes for word, boxes in counted}
    return given, outcomes | {VehicleOutcome.SILENT: silent}


def fleet_ids(session: Session, *, org_id: str) -> Sequence[str]:
    """Return the ids of the organisation's boxes that are in force."""
    return session.exec(
        select(Device.device_id).where(Device.org_id == org_id, col(Device.revoked_us).is_(None))
    ).all()


def note_outcome(session: Session, outcome: ReleaseOutcome) -> bool:
    """Keep an outcome; False when it was known."""
    known = session.exec(
        select(ReleaseOutcome.outcome_no).where(
            ReleaseOutcome.device_id == outcome.device_id,
            ReleaseOutcome.release == outcome.release,
            ReleaseOutcome.outcome == outcome.outcome,
        )
    ).first()
    if known is None:
        session.add(outcome)
        session.flush()
    return known is None


def state_of(rollout: Rollout) -> RolloutState:
    """Return a row's state."""
    return RolloutState(rollout.state)
