"""Rows that are written once: a queue beside the batches, packed roll-ups, and months on PostgreSQL."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A migration repeats its types instead of importing the tables': it must do the same for ever.
ORG = sa.String(32)
US = sa.BigInteger()
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FACTS, FINE = 1, 2  # retention
SECTIONS = ((1, 2), (2, 4), (4, 16))  # section and its bit: facts, signals, fixes

BATCH = (
    "chain_ref, seq, org_id, received_us, boot, mono_start_us, mono_end_us, utc_start_us, utc_end_us,"
    " time_source, header"
)
SECTION = "chain_ref, seq, section, org_id, received_us, retention, erased_us, body"


def upgrade() -> None:
    op.create_table(
        "batch_queue",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.Column("boot", sa.LargeBinary(16), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("sections", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_ref", "seq", name="pk_batch_queue"),
        of_chain("batch_queue"),
    )
    op.create_index("ix_batch_queue_state", "batch_queue", ["state", "received_us"])
    queue_everything()
    set_aside("batch", "batch_section")
    create_batches()
    op.execute(f"INSERT INTO batch ({BATCH}) SELECT {BATCH} FROM old_batch")
    op.execute(f"INSERT INTO batch_section ({SECTION}) SELECT {SECTION} FROM old_batch_section")
    forget("batch", "batch_section")
    op.drop_table("rollup_minute")
    op.create_table(
        "rollup_block",
        sa.Column("signal_ref", ROW_ID, nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("signal_ref", "block", name="pk_rollup_block"),
        of_signal("rollup_block"),
        sqlite_with_rowid=False,
    )
    if is_postgresql():  # rows that are written over: room on their page keeps the index out of it
        op.execute("ALTER TABLE rollup_block SET (fillfactor = 85)")
        op.execute("ALTER TABLE latest_state SET (fillfactor = 50)")


def downgrade() -> None:
    if is_postgresql():
        op.execute("ALTER TABLE latest_state RESET (fillfactor)")
    op.drop_table("rollup_block")
    op.create_table(
        "rollup_minute",
        sa.Column("signal_ref", ROW_ID, nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("least", sa.Float(53), nullable=False),
        sa.Column("most", sa.Float(53), nullable=False),
        sa.Column("last", sa.Float(53), nullable=False),
        sa.Column("last_us", US, nullable=False),
        sa.Column("sum_raw", sa.BigInteger(), nullable=False),
        sa.Column("sum_physical", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("signal_ref", "minute", name="pk_rollup_minute"),
        of_signal("rollup_minute"),
        sqlite_with_rowid=False,
    )
    set_aside("batch", "batch_section")
    create_batches_of_0002()
    # Everything waits to be derived again, since the roll-ups of 0002 are gone.
    op.execute(
        f"INSERT INTO batch ({BATCH}, decode_state, retention) SELECT {BATCH}, 0, {FACTS} FROM old_batch"
    )
    op.execute(
        f"INSERT INTO batch_section ({SECTION}, size, is_projected)"
        f" SELECT {SECTION}, coalesce(length(body), 0), {'false' if is_postgresql() else '0'}"
        " FROM old_batch_section"
    )
    forget("batch", "batch_section")
    op.drop_table("batch_queue")


def queue_everything() -> None:
    """Let all be derived again: the roll-ups have another form, and the rest comes out as it is."""
    bit = " ".join(f"WHEN {section} THEN {bit}" for section, bit in SECTIONS)
    op.execute(
        "INSERT INTO batch_queue (chain_ref, seq, org_id, received_us, boot, state, sections)"
        " SELECT b.chain_ref, b.seq, b.org_id, b.received_us, b.boot, 0,"
        f" (SELECT coalesce(sum(CASE s.section {bit} ELSE 0 END), 0) FROM batch_section s"
        " WHERE s.chain_ref = b.chain_ref AND s.seq = b.seq AND s.body IS NOT NULL)"
        " FROM batch b"
    )


def create_batches() -> None:
    # PostgreSQL wants the partition key within the primary key; uniqueness over all months is batch_key's.
    by_month = {"postgresql_partition_by": "RANGE (received_us)"} if is_postgresql() else {}
    month = ["received_us"] if is_postgresql() else []
    op.create_table(
        "batch",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.Column("boot", sa.LargeBinary(16), nullable=False),
        sa.Column("mono_start_us", US, nullable=False),
        sa.Column("mono_end_us", US, nullable=False),
        sa.Column("utc_start_us", US),
        sa.Column("utc_end_us", US),
        sa.Column("time_source", sa.SmallInteger(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_ref", "seq", *month, name="pk_batch"),
        of_chain("batch"),
        **by_month,
    )
    op.create_index("ix_batch_time", "batch", ["chain_ref", "utc_start_us"])
    by_retention = {"postgresql_partition_by": "LIST (retention)"} if is_postgresql() else {}
    op.create_table(
        "batch_section",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("section", sa.SmallInteger(), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.Column("retention", sa.SmallInteger(), nullable=False),
        sa.Column("erased_us", US),
        sa.Column("body", sa.LargeBinary()),
        sa.PrimaryKeyConstraint(
            "chain_ref", "seq", "section", *(["retention", *month] if month else []), name="pk_batch_section"
        ),
        of_chain("batch_section"),
        **by_retention,
    )
    if is_postgresql():
        # What was packed once does not get smaller; trying to costs more than storing it.
        op.execute("ALTER TABLE batch ALTER COLUMN header SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE batch_section ALTER COLUMN body SET STORAGE EXTERNAL")
        op.execute("CREATE TABLE batch_default PARTITION OF batch DEFAULT")
        for name, retention in (("facts", FACTS), ("fine", FINE)):
            op.execute(
                f"CREATE TABLE batch_section_{name} PARTITION OF batch_section FOR VALUES IN ({retention})"
                " PARTITION BY RANGE (received_us)"
            )
            op.execute(f"CREATE TABLE batch_section_{name}_default PARTITION OF batch_section_{name} DEFAULT")


def create_batches_of_0002() -> None:
    op.create_table(
        "batch",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.Column("boot", sa.LargeBinary(16), nullable=False),
        sa.Column("mono_start_us", US, nullable=False),
        sa.Column("mono_end_us", US, nullable=False),
        sa.Column("utc_start_us", US),
        sa.Column("utc_end_us", US),
        sa.Column("time_source", sa.SmallInteger(), nullable=False),
        sa.Column("decode_state", sa.SmallInteger(), nullable=False),
        sa.Column("retention", sa.SmallInteger(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_ref", "seq", name="pk_batch"),
        of_chain("batch"),
    )
    op.create_index("ix_batch_time", "batch", ["chain_ref", "utc_start_us"])
    op.create_index("ix_batch_decode", "batch", ["decode_state", "received_us"])
    op.create_index("ix_batch_boot", "batch", ["boot"])
    op.create_table(
        "batch_section",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("section", sa.SmallInteger(), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.Column("retention", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("is_projected", sa.Boolean(), nullable=False),
        sa.Column("erased_us", US),
        sa.Column("body", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("chain_ref", "seq", "section", name="pk_batch_section"),
        of_chain("batch_section"),
    )


def set_aside(*tables: str) -> None:
    """Keep the rows under another name, without constraints, so that the new table may have the old names."""
    for table in tables:
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")
        op.drop_table(table)


def forget(*tables: str) -> None:
    for table in tables:
        op.drop_table(f"old_{table}")


def of_chain(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "chain_ref"], ["chain.org_id", "chain.chain_ref"], name=f"fk_{table}_org_id_chain_ref"
    )


def of_signal(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["signal_ref"], ["device_signal.signal_ref"], name=f"fk_{table}_signal_ref"
    )


def is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
