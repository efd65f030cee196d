"""Rollouts of releases, the boxes in them, what they run, and what releases did to vehicles."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ORG, DEVICE, ID = sa.String(32), sa.String(64), sa.String(32)
US = sa.BigInteger()
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rollout",
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("stages", sa.String(64), nullable=False),
        sa.Column("thresholds", sa.String(512), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(200)),
        sa.Column("made_by", sa.String(32), nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.Column("stage_us", US, nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", name="pk_rollout"),
        sa.UniqueConstraint("org_id", "release", name="uq_rollout_org_id_release"),
        sa.ForeignKeyConstraint(["org_id"], ["organisation.org_id"], name="fk_rollout_org_id"),
    )
    op.create_table(
        "rollout_turn",
        sa.Column("turn_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(200)),
        sa.Column("key_id", sa.String(32)),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("turn_no", name="pk_rollout_turn"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"], name="fk_rollout_turn_rollout_id"),
    )
    op.create_index("ix_rollout_turn_rollout_id", "rollout_turn", ["rollout_id"])
    op.create_table(
        "rollout_box",
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("given_us", US, nullable=False),
        sa.Column("heard_us", US, nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "device_id", name="pk_rollout_box"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"], name="fk_rollout_box_rollout_id"),
        _owned("rollout_box"),
    )
    op.create_index("ix_rollout_box_device_id", "rollout_box", ["device_id"])
    op.create_table(
        "box_release",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("asked_s", US, nullable=False),
        sa.Column("heard_us", US, nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_box_release"),
        _owned("box_release"),
    )
    op.create_table(
        "release_outcome",
        sa.Column("outcome_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("note", sa.String(200)),
        sa.Column("key_id", sa.String(32)),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("outcome_no", name="pk_release_outcome"),
        sa.UniqueConstraint(
            "device_id", "release", "outcome", name="uq_release_outcome_device_id_release_outcome"
        ),
        _owned("release_outcome"),
    )
    op.create_index("ix_release_outcome_release", "release_outcome", ["org_id", "release"])


def downgrade() -> None:
    for name in ("release_outcome", "box_release", "rollout_box", "rollout_turn", "rollout"):
        op.drop_table(name)


def _owned(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "device_id"], ["device.org_id", "device.device_id"], name=f"fk_{table}_org_id_device_id"
    )
