"""Labels: what the depot stuck on a box, and which keys that box has.

Rules: a label is of one organisation and of one box, a box has one label in force. A label is written before
its box is enrolled, so it does not refer to the registry. What was revoked stays, and stays revoked.
"""

from sqlmodel import Field, Session, SQLModel, col, select

from backend.store.columns import DEVICE_ID_CHARS, ORG_ID_CHARS, Microseconds


class Label(SQLModel, table=True):
    """One label; `box` is the device id, `mcu_key` is D1 as a COSE_Key, where the depot has sent it."""

    __tablename__ = "label"

    org_id: str = Field(primary_key=True, foreign_key="organisation.org_id", max_length=ORG_ID_CHARS)
    label: str = Field(primary_key=True, max_length=64)
    box: str = Field(max_length=DEVICE_ID_CHARS, index=True)
    mcu_id: str = Field(max_length=64)
    mcu_key: bytes | None = Field(default=None, max_length=75)
    iccid: str | None = Field(default=None, max_length=22)
    report_sha256: str = Field(max_length=64)
    created_us: int = Field(sa_type=Microseconds)
    revoked_us: int | None = Field(default=None, sa_type=Microseconds)


def find_label(session: Session, *, org_id: str, label: str) -> Label | None:
    """Return a label of this organisation, revoked or not."""
    return session.get(Label, (org_id, label))


def label_of_mcu(session: Session, *, org_id: str, mcu_id: str) -> Label | None:
    """Return a label in force of the box with this microcontroller, in this organisation."""
    return session.exec(
        select(Label)
        .where(Label.org_id == org_id, Label.mcu_id == mcu_id, col(Label.revoked_us).is_(None))
        .order_by(col(Label.created_us).desc())
        .limit(1)
    ).first()


def label_of_device(session: Session, *, device_id: str) -> Label | None:
    """Return the label in force of a box, whatever its organisation: for enrolment."""
    return session.exec(
        select(Label)
        .where(Label.box == device_id, col(Label.revoked_us).is_(None))
        .order_by(col(Label.created_us).desc())
        .limit(1)
    ).first()
