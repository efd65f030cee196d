"""Installation: vehicles and their boxes, jobs, what happened in them, labels, records, probation."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

# A migration repeats its types instead of importing the tables': it must do the same for ever.
ORG = sa.String(32)
DEVICE = sa.String(64)
HEX32 = sa.String(32)
HEX64 = sa.String(64)
US = sa.BigInteger()
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = (
    "identity_change",
    "probation",
    "install_record",
    "label",
    "job_photo",
    "job_event",
    "job",
    "vehicle_binding",
    "vehicle",
)


def of_device(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "device_id"], ["device.org_id", "device.device_id"], name=f"fk_{table}_org_id_device_id"
    )


def of_org(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org_id"], ["organisation.org_id"], name=f"fk_{table}_org_id")


def of_vehicle(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "vehicle_id"],
        ["vehicle.org_id", "vehicle.vehicle_id"],
        name=f"fk_{table}_org_id_vehicle_id",
    )


def of_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "job_id"], ["job.org_id", "job.job_id"], name=f"fk_{table}_org_id_job_id"
    )


def upgrade() -> None:
    create_vehicles()
    create_jobs()
    create_records()


def create_vehicles() -> None:
    op.create_table(
        "vehicle",
        sa.Column("vehicle_id", HEX32, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("vin", sa.String(17), nullable=False),
        sa.Column("vin_salt", sa.LargeBinary(16), nullable=False),
        sa.Column("lender_id", sa.LargeBinary(8), nullable=False),
        sa.Column("contract_ref", sa.LargeBinary(32), nullable=False),
        sa.Column("jurisdiction", sa.String(6), nullable=False),
        sa.Column("start_type", sa.String(16), nullable=False),
        sa.Column("profile", sa.String(64)),
        sa.Column("ignition_wire", sa.String(200), nullable=False),
        sa.Column("crank_wire", sa.String(200), nullable=False),
        sa.Column("start_note", sa.String(200), nullable=False),
        sa.Column("workshop_until_us", US),
        sa.Column("created_us", US, nullable=False),
        sa.Column("updated_us", US, nullable=False),
        sa.PrimaryKeyConstraint("vehicle_id", name="pk_vehicle"),
        sa.UniqueConstraint("org_id", "vin", name="uq_vehicle_org_id_vin"),
        sa.UniqueConstraint("org_id", "vehicle_id", name="uq_vehicle_org_id_vehicle_id"),
        of_org("vehicle"),
    )
    op.create_table(
        "vehicle_binding",
        sa.Column("binding_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("vehicle_id", HEX32, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("record_sha256", HEX64, nullable=False),
        sa.Column("begun_us", US, nullable=False),
        sa.Column("ended_us", US),
        sa.Column("ended_by", HEX64),
        sa.PrimaryKeyConstraint("binding_no", name="pk_vehicle_binding"),
        of_device("vehicle_binding"),
        of_vehicle("vehicle_binding"),
    )
    for column in ("device", "vehicle"):
        op.create_index(
            f"uq_vehicle_binding_open_{column}",
            "vehicle_binding",
            [f"{column}_id"],
            unique=True,
            sqlite_where=sa.text("ended_us IS NULL"),
            postgresql_where=sa.text("ended_us IS NULL"),
        )
    op.create_table(
        "label",
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("box", DEVICE, nullable=False),
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("mcu_key", sa.LargeBinary(75)),
        sa.Column("iccid", sa.String(22)),
        sa.Column("report_sha256", HEX64, nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.Column("revoked_us", US),
        sa.PrimaryKeyConstraint("org_id", "label", name="pk_label"),
        of_org("label"),
    )
    op.create_index("ix_label_box", "label", ["box"])


def create_jobs() -> None:
    op.create_table(
        "job",
        sa.Column("job_id", HEX32, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("vehicle_id", HEX32, nullable=False),
        sa.Column("acts", sa.String(64), nullable=False),
        sa.Column("installer", sa.String(200), nullable=False),
        sa.Column("installer_key", sa.String(16)),
        sa.Column("label", sa.String(64)),
        sa.Column("from_us", US, nullable=False),
        sa.Column("to_us", US, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("device_id", DEVICE),
        sa.Column("ticket_id", HEX32),
        sa.Column("ticket", sa.LargeBinary()),
        sa.Column("ticket_kid", HEX64),
        sa.Column("ticket_used_us", US),
        sa.Column("report", sa.LargeBinary()),
        sa.Column("report_seq", sa.BigInteger(), nullable=False),
        sa.Column("report_us", US),
        sa.Column("workshop_until_us", US),
        sa.Column("created_by", sa.String(16), nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job"),
        sa.UniqueConstraint("org_id", "job_id", name="uq_job_org_id_job_id"),
        sa.UniqueConstraint("ticket_id", name="uq_job_ticket_id"),
        of_vehicle("job"),
        of_device("job"),
    )
    op.create_index("ix_job_org_id", "job", ["org_id", "from_us"])
    op.create_table(
        "job_event",
        sa.Column("event_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("job_id", HEX32, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("event_no", name="pk_job_event"),
        of_job("job_event"),
        # An event's number is a place to go on from: a number that was used never comes back.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_event_job_id", "job_event", ["job_id", "event_no"])
    op.create_table(
        "job_photo",
        sa.Column("job_id", HEX32, nullable=False),
        sa.Column("sha256", HEX64, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("media_type", sa.String(16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "sha256", name="pk_job_photo"),
        of_job("job_photo"),
    )


def create_records() -> None:
    op.create_table(
        "install_record",
        sa.Column("sha256", HEX64, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("job_id", HEX32, nullable=False),
        sa.Column("vehicle_id", HEX32, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("came_from", sa.String(8), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("attestation", sa.LargeBinary(), nullable=False),
        sa.Column("mcu_key", sa.LargeBinary(75), nullable=False),
        sa.Column("leaf_index", sa.BigInteger()),
        sa.Column("told_gate_us", US),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_install_record"),
        of_device("install_record"),
        of_job("install_record"),
        of_vehicle("install_record"),
    )
    op.create_index("ix_install_record_job_id", "install_record", ["job_id"])
    op.create_table(
        "probation",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("vehicle_id", HEX32, nullable=False),
        sa.Column("record_sha256", HEX64, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("begun_us", US, nullable=False),
        sa.Column("ended_us", US),
        sa.PrimaryKeyConstraint("device_id", "mcu_id", "epoch", name="pk_probation"),
        of_device("probation"),
        of_vehicle("probation"),
    )
    op.create_table(
        "identity_change",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("said", sa.String(64), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("registered", sa.String(64), nullable=False),
        sa.Column("first_us", US, nullable=False),
        sa.Column("cleared_us", US),
        sa.PrimaryKeyConstraint("device_id", "what", "said", name="pk_identity_change"),
        of_device("identity_change"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
