"""Orders: microcontrollers, challenges, orders and parts, dispositions, authority, what waits to go down."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0006"  # the ledger, written at the same time, stands on 0004
branch_labels = None
depends_on = None

# A migration repeats its types instead of importing the tables': it must do the same for ever.
ORG = sa.String(32)
DEVICE = sa.String(64)
HEX32 = sa.String(32)
HEX64 = sa.String(64)
US = sa.BigInteger()
BIG = sa.BigInteger()
INT = sa.Integer()
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def of_device(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "device_id"], ["device.org_id", "device.device_id"], name=f"fk_{table}_org_id_device_id"
    )


def of_order(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["order_no"], ["command_order.order_no"], name=f"fk_{table}_order_no")


def upgrade() -> None:
    create_mcus()
    create_orders()
    create_dispositions()
    create_authority()
    create_outgoing()


def create_mcus() -> None:
    op.create_table(
        "mcu",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("cose_key", sa.LargeBinary(75), nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("vin_bind", sa.LargeBinary(32), nullable=False),
        sa.Column("contract_ref", sa.LargeBinary(32), nullable=False),
        sa.Column("lender_id", sa.LargeBinary(8), nullable=False),
        sa.Column("jurisdiction", sa.String(6), nullable=False),
        sa.Column("head_a", BIG, nullable=False),
        sa.Column("head_b", BIG, nullable=False),
        sa.Column("head_c", BIG, nullable=False),
        sa.Column("prev", sa.LargeBinary(32), nullable=False),
        sa.Column("mode", INT),
        sa.Column("reported_state", INT),
        sa.Column("reported_seq", BIG, nullable=False),
        sa.Column("reported_us", US),
        sa.Column("created_us", US, nullable=False),
        sa.Column("updated_us", US, nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_mcu"),
        sa.UniqueConstraint("mcu_id", name="uq_mcu_mcu_id"),
        of_device("mcu"),
    )
    op.create_table(
        "mcu_epoch",
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("first_us", US, nullable=False),
        sa.PrimaryKeyConstraint("mcu_id", "epoch", name="pk_mcu_epoch"),
    )
    op.create_table(
        "mcu_challenge",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("chal", sa.LargeBinary(16), nullable=False),
        sa.Column("tick", BIG, nullable=False),
        sa.Column("is_used", sa.Boolean(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_mcu_challenge"),
        of_device("mcu_challenge"),
    )


def create_orders() -> None:
    op.create_table(
        "command_order",
        sa.Column("order_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("cmd_id", HEX32, nullable=False),
        sa.Column("order_type", INT, nullable=False),
        sa.Column("cmd_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("basis", sa.LargeBinary()),
        sa.Column("challenge", sa.LargeBinary()),
        sa.Column("message", sa.LargeBinary()),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("holds_slot", sa.Boolean(), nullable=False),
        sa.Column("expires_us", US),
        sa.Column("requested_by", HEX32, nullable=False),
        sa.Column("overtaken_by", HEX32),
        sa.Column("is_screened", sa.Boolean(), nullable=False),
        sa.Column("leaf_index", BIG),
        sa.Column("leaf_salt", sa.LargeBinary(16)),
        sa.Column("car_state", INT),
        sa.Column("car_code", INT),
        sa.Column("car_seq", BIG, nullable=False),
        sa.Column("sends", INT, nullable=False),
        sa.Column("attempts", INT, nullable=False),
        sa.Column("due_us", US, nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.PrimaryKeyConstraint("order_no", name="pk_command_order"),
        sa.UniqueConstraint("cmd_id", name="uq_command_order_cmd_id"),
        of_device("command_order"),
    )
    op.create_index("ix_command_order_org_id", "command_order", ["org_id"])
    op.create_index("ix_command_order_stage", "command_order", ["stage", "due_us"])
    op.create_index("ix_command_order_device", "command_order", ["device_id", "order_no"])
    op.create_index(
        "uq_command_order_slot",
        "command_order",
        ["device_id"],
        unique=True,
        sqlite_where=sa.text("holds_slot"),
        postgresql_where=sa.text("holds_slot"),
    )
    op.create_table(
        "order_part",
        sa.Column("order_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("role", INT, nullable=False),
        sa.Column("protected", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
        sa.Column("kid", HEX64, nullable=False),
        sa.Column("person", sa.String(32), nullable=False),
        sa.Column("delegation", HEX64, nullable=False),
        sa.Column("key_id", HEX32),
        sa.Column("reason_code", sa.String(64)),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("order_no", "role", name="pk_order_part"),
        of_order("order_part"),
    )
    op.create_table(
        "order_stage",
        sa.Column("order_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("why", sa.String(200), nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("order_no", "number", name="pk_order_stage"),
        of_order("order_stage"),
    )
    op.create_table(
        "gate_answer",
        sa.Column("order_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("question", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("rule", sa.String(64)),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.Column("earliest_s", BIG),
        sa.Column("facts", sa.LargeBinary(32)),
        sa.Column("asked", INT, nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("order_no", "question", name="pk_gate_answer"),
        of_order("gate_answer"),
    )


def create_dispositions() -> None:
    op.create_table(
        "disposition",
        sa.Column("item_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("prev", sa.LargeBinary(32)),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("cmd_id", HEX32, nullable=False),
        sa.Column("state", INT, nullable=False),
        sa.Column("code", INT, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("is_told", sa.Boolean(), nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("item_no", name="pk_disposition"),
        sa.UniqueConstraint("mcu_id", "epoch", "seq", name="uq_disposition_mcu_id_epoch_seq"),
        of_device("disposition"),
    )
    op.create_index("ix_disposition_is_told", "disposition", ["is_told"])
    op.create_index("ix_disposition_cmd", "disposition", ["cmd_id"])
    op.create_index("ix_disposition_device", "disposition", ["device_id", "item_no"])
    op.create_table(
        "disposition_conflict",
        sa.Column("item_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("mcu_id", HEX64, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("item_no", name="pk_disposition_conflict"),
        sa.UniqueConstraint("device_id", "digest", name="uq_disposition_conflict_device_id_digest"),
        of_device("disposition_conflict"),
    )


def create_authority() -> None:
    op.create_table(
        "authority_document",
        sa.Column("digest", HEX64, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("issuer", sa.String(64), nullable=False),
        sa.Column("number", BIG, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_authority_document"),
    )
    op.create_index("ix_authority_document_issuer", "authority_document", ["issuer", "kind", "number"])
    op.create_table(
        "authority_issuer",
        sa.Column("issuer", sa.String(64), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("snapshot", HEX64, nullable=False),
        sa.Column("updated_us", US, nullable=False),
        sa.PrimaryKeyConstraint("issuer", name="pk_authority_issuer"),
    )


def create_outgoing() -> None:
    op.create_table(
        "order_outbox",
        sa.Column("item_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", HEX64, nullable=False),
        sa.Column("priority", INT, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("sends", INT, nullable=False),
        sa.Column("sends_max", INT, nullable=False),
        sa.Column("due_us", US, nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.PrimaryKeyConstraint("item_no", name="pk_order_outbox"),
        sa.UniqueConstraint("device_id", "kind", "subject", name="uq_order_outbox_device_id_kind_subject"),
        of_device("order_outbox"),
    )
    op.create_index("ix_order_outbox_due", "order_outbox", ["due_us"])
    op.create_table(
        "go_question",
        sa.Column("item_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("cmd_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("chal2", sa.LargeBinary(16), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.LargeBinary()),
        sa.Column("verdict", sa.String(16)),
        sa.Column("attempts", INT, nullable=False),
        sa.Column("due_us", US),
        sa.Column("received_us", US, nullable=False),
        sa.PrimaryKeyConstraint("item_no", name="pk_go_question"),
        sa.UniqueConstraint("device_id", "chal2", name="uq_go_question_device_id_chal2"),
        of_device("go_question"),
    )
    op.create_index("ix_go_question_due_us", "go_question", ["due_us"])
    op.create_table(
        "kill_switch",
        sa.Column("item_no", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("key_id", HEX32, nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("item_no", name="pk_kill_switch"),
        sa.ForeignKeyConstraint(["org_id"], ["organisation.org_id"], name="fk_kill_switch_org_id"),
    )
    op.create_index("ix_kill_switch_org_id", "kill_switch", ["org_id"])
    op.create_table(
        "repeated_request",
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("key_id", HEX32, nullable=False),
        sa.Column("name", HEX64, nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("status", INT, nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.PrimaryKeyConstraint("org_id", "key_id", "name", name="pk_repeated_request"),
    )
    op.create_index("ix_repeated_request_at_us", "repeated_request", ["at_us"])


def downgrade() -> None:
    for table in (
        "repeated_request",
        "kill_switch",
        "go_question",
        "order_outbox",
        "authority_issuer",
        "authority_document",
        "disposition_conflict",
        "disposition",
        "gate_answer",
        "order_stage",
        "order_part",
        "command_order",
        "mcu_challenge",
        "mcu_epoch",
        "mcu",
    ):
        op.drop_table(table)
