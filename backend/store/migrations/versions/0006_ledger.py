"""The ledger: one head, leaves, subtrees, what leaves commit to, checkpoints, and what waits.

It stands on 0004: 0005 (orders) was written at the same time and follows it (its `down_revision` is 0006);
neither refers to the other's tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

US = sa.BigInteger()
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORG, DEVICE = sa.String(32), sa.String(64)


def upgrade() -> None:
    head = op.create_table(
        "ledger_head",
        sa.Column("head_id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("size", ROW_ID, nullable=False),
        sa.Column("peaks", sa.LargeBinary(), nullable=False),
        sa.Column("origin", sa.String(256)),
        sa.Column("halted", sa.Text()),
        sa.PrimaryKeyConstraint("head_id", name="pk_ledger_head"),
    )
    # Whoever appends locks this row, so it is there before the first leaf.
    op.bulk_insert(head, [{"head_id": 1, "size": 0, "peaks": b"", "origin": None, "halted": None}])
    op.create_table(
        "ledger_leaf",
        sa.Column("leaf_index", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("leaf_type", sa.SmallInteger(), nullable=False),
        sa.Column("commitment", sa.LargeBinary(32), nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.Column("is_late", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_ledger_leaf"),
    )
    op.create_table(
        "ledger_node",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name="pk_ledger_node"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_content",
        sa.Column("leaf_index", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("org_id", ORG),
        sa.Column("device_id", DEVICE),
        sa.PrimaryKeyConstraint("leaf_index", name="pk_ledger_content"),
        sa.ForeignKeyConstraint(
            ["org_id", "device_id"],
            ["device.org_id", "device.device_id"],
            name="fk_ledger_content_org_id_device_id",
        ),
    )
    op.create_index("ix_ledger_content_digest", "ledger_content", ["digest"])
    op.create_index("ix_ledger_content_device_id", "ledger_content", ["device_id", "leaf_index"])
    op.create_table(
        "ledger_checkpoint",
        sa.Column("size", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.Column("witnessed", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_ledger_checkpoint"),
    )
    op.create_table(
        "ledger_late",
        sa.Column("late_id", ROW_ID, nullable=False),
        sa.Column("leaf_type", sa.SmallInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("org_id", ORG),
        sa.Column("device_id", DEVICE),
        sa.Column("asked_us", US, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("leaf_index", ROW_ID),
        sa.PrimaryKeyConstraint("late_id", name="pk_ledger_late"),
        sa.ForeignKeyConstraint(
            ["org_id", "device_id"],
            ["device.org_id", "device.device_id"],
            name="fk_ledger_late_org_id_device_id",
        ),
    )


def downgrade() -> None:
    for table in (
        "ledger_late",
        "ledger_checkpoint",
        "ledger_content",
        "ledger_node",
        "ledger_leaf",
        "ledger_head",
    ):
        op.drop_table(table)
