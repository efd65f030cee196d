"""Batches: chains, keys, headers, sections, dictionary, integrity events, quarantine, derived state."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A migration repeats its types instead of importing the tables': it must do the same for ever.
ORG = sa.String(32)
DEVICE = sa.String(64)
US = sa.BigInteger()
BIG = sa.BigInteger()
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def of_device(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "device_id"], ["device.org_id", "device.device_id"], name=f"fk_{table}_org_id_device_id"
    )


def of_chain(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "chain_ref"], ["chain.org_id", "chain.chain_ref"], name=f"fk_{table}_org_id_chain_ref"
    )


def of_signal(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["signal_ref"], ["device_signal.signal_ref"], name=f"fk_{table}_signal_ref"
    )


def upgrade() -> None:
    create_batches()
    create_findings()
    create_derived()


def create_batches() -> None:
    op.create_table(
        "chain",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("chain", sa.LargeBinary(16), nullable=False),
        sa.Column("stored", sa.Text(), nullable=False),
        sa.Column("lost", sa.Text(), nullable=False),
        sa.Column("refused", sa.Text(), nullable=False),
        sa.Column("span_us_max", US, nullable=False),
        sa.Column("opened_us", US),
        sa.Column("first_received_us", US, nullable=False),
        sa.Column("last_received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("chain_ref", name="pk_chain"),
        sa.UniqueConstraint("device_id", "chain", name="uq_chain_device_id_chain"),
        sa.UniqueConstraint("org_id", "chain_ref", name="uq_chain_org_id_chain_ref"),
        of_device("chain"),
    )
    op.create_table(
        "batch_key",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("seq", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("prev", sa.LargeBinary(32)),
        sa.Column("received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("chain_ref", "seq", name="pk_batch_key"),
        of_chain("batch_key"),
        sqlite_with_rowid=False,
    )
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


def create_findings() -> None:
    op.create_table(
        "integrity_event",
        sa.Column("event_id", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("seq", BIG),
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_integrity_event"),
        sa.UniqueConstraint("chain_ref", "kind", "key", name="uq_integrity_event_chain_ref_kind_key"),
        of_chain("integrity_event"),
    )
    op.create_index("ix_integrity_event_chain_ref", "integrity_event", ["chain_ref", "event_id"])
    op.create_table(
        "quarantine",
        sa.Column("item_id", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("chain", sa.LargeBinary(16)),
        sa.Column("seq", BIG),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(200), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_quarantine"),
        sa.UniqueConstraint("device_id", "sha256", name="uq_quarantine_device_id_sha256"),
        of_device("quarantine"),
    )
    op.create_table(
        "ingest_counter",
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("cause", sa.String(32), nullable=False),
        sa.Column("count", BIG, nullable=False),
        sa.Column("sample_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("first_us", US, nullable=False),
        sa.Column("last_us", US, nullable=False),
        sa.PrimaryKeyConstraint("org_id", "device_id", "cause", name="pk_ingest_counter"),
    )


def create_derived() -> None:
    op.create_table(
        "dictionary_group",
        sa.Column("chain_ref", ROW_ID, nullable=False),
        sa.Column("gid", sa.Integer(), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_ref", "gid", name="pk_dictionary_group"),
        of_chain("dictionary_group"),
    )
    op.create_table(
        "device_signal",
        sa.Column("signal_ref", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("bus", sa.String(256), nullable=False),
        sa.Column("message", sa.String(256), nullable=False),
        sa.Column("signal", sa.String(256), nullable=False),
        sa.Column("path", sa.String(256)),
        sa.Column("unit", sa.String(256)),
        sa.Column("raw_type", sa.SmallInteger(), nullable=False),
        sa.Column("bits", sa.SmallInteger(), nullable=False),
        sa.Column("scale", sa.String(40), nullable=False),
        sa.Column("offset", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("signal_ref", name="pk_device_signal"),
        sa.UniqueConstraint("device_id", "fingerprint", name="uq_device_signal_device_id_fingerprint"),
        of_device("device_signal"),
    )
    op.create_table(
        "latest_state",
        sa.Column("signal_ref", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("utc_us", US, nullable=False),
        sa.Column("raw", BIG, nullable=False),
        sa.Column("time_source", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("signal_ref", name="pk_latest_state"),
        of_signal("latest_state"),
    )
    op.create_table(
        "latest_fix",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("utc_us", US, nullable=False),
        sa.Column("time_source", sa.SmallInteger(), nullable=False),
        sa.Column("precision", sa.SmallInteger(), nullable=False),
        sa.Column("t_us", US, nullable=False),
        sa.Column("mode", sa.SmallInteger(), nullable=False),
        sa.Column("lat_e7", sa.Integer()),
        sa.Column("lon_e7", sa.Integer()),
        sa.Column("alt_mm", sa.Integer()),
        sa.Column("speed_mm_s", sa.Integer()),
        sa.Column("course_cdeg", sa.Integer()),
        sa.Column("hdop_centi", sa.Integer()),
        sa.Column("sats_used", sa.SmallInteger()),
        sa.Column("sats_in_view", sa.SmallInteger()),
        sa.PrimaryKeyConstraint("device_id", name="pk_latest_fix"),
        of_device("latest_fix"),
    )
    op.create_table(
        "boot_clock",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("boot", sa.LargeBinary(16), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("mono_us", US, nullable=False),
        sa.Column("utc_us", US, nullable=False),
        sa.PrimaryKeyConstraint("device_id", "boot", name="pk_boot_clock"),
        of_device("boot_clock"),
    )
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
        sa.Column("sum_raw", BIG, nullable=False),
        sa.Column("sum_physical", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("signal_ref", "minute", name="pk_rollup_minute"),
        of_signal("rollup_minute"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in (
        "rollup_minute",
        "boot_clock",
        "latest_fix",
        "latest_state",
        "device_signal",
        "dictionary_group",
        "ingest_counter",
        "quarantine",
        "integrity_event",
        "batch_section",
        "batch",
        "batch_key",
        "chain",
    ):
        op.drop_table(table)
