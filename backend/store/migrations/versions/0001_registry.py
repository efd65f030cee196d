"""Registry: organisations, keys, boxes, certificates, enrolment tokens, service keys, access log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A migration repeats its types instead of importing the tables': it must do the same for ever.
ORG = sa.String(32)
DEVICE = sa.String(64)
US = sa.BigInteger()
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def of_organisation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org_id"], ["organisation.org_id"], name=f"fk_{table}_org_id")


def of_device(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["org_id", "device_id"], ["device.org_id", "device.device_id"], name=f"fk_{table}_org_id_device_id"
    )


def upgrade() -> None:
    op.create_table(
        "organisation",
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("is_platform", sa.Boolean(), nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.PrimaryKeyConstraint("org_id", name="pk_organisation"),
        sa.UniqueConstraint("name", name="uq_organisation_name"),
    )
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.Column("expires_us", US),
        sa.Column("revoked_us", US),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_key"),
        of_organisation("api_key"),
    )
    op.create_index("ix_api_key_org_id", "api_key", ["org_id"])
    op.create_table(
        "device",
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("label", sa.String(200)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.Column("revoked_us", US),
        sa.PrimaryKeyConstraint("device_id", name="pk_device"),
        sa.UniqueConstraint("org_id", "device_id", name="uq_device_org_id_device_id"),
        of_organisation("device"),
    )
    op.create_table(
        "device_key",
        sa.Column("kid", sa.String(64), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("cose_key", sa.LargeBinary(256), nullable=False),
        sa.Column("valid_from_us", US, nullable=False),
        sa.Column("valid_to_us", US),
        sa.PrimaryKeyConstraint("kid", name="pk_device_key"),
        of_device("device_key"),
    )
    op.create_index("ix_device_key_device_id", "device_key", ["device_id"])
    op.create_table(
        "certificate",
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("not_before_us", US, nullable=False),
        sa.Column("not_after_us", US, nullable=False),
        sa.Column("issued_us", US, nullable=False),
        sa.Column("revoked_us", US),
        sa.Column("key_sha256", sa.LargeBinary(32)),
        sa.Column("der", sa.LargeBinary(4096), nullable=False),
        sa.PrimaryKeyConstraint("serial", name="pk_certificate"),
        of_organisation("certificate"),
        of_device("certificate"),
    )
    op.create_index("ix_certificate_device_id", "certificate", ["device_id"])
    op.create_table(
        "renewal_nonce",
        sa.Column("nonce", sa.LargeBinary(16), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("expires_us", US, nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_renewal_nonce"),
        of_device("renewal_nonce"),
    )
    op.create_table(
        "enrolment_token",
        sa.Column("token_id", sa.String(16), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.Column("created_by", sa.String(16), nullable=False),
        sa.Column("expires_us", US, nullable=False),
        sa.Column("used_us", US),
        sa.Column("used_by", DEVICE),
        sa.PrimaryKeyConstraint("token_id", name="pk_enrolment_token"),
        sa.UniqueConstraint("token_sha256", name="uq_enrolment_token_token_sha256"),
        of_organisation("enrolment_token"),
    )
    op.create_index("ix_enrolment_token_org_id", "enrolment_token", ["org_id"])
    op.create_table(
        "service_key",
        sa.Column("kid", sa.String(64), nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("cose_key", sa.LargeBinary(256), nullable=False),
        sa.Column("created_us", US, nullable=False),
        sa.Column("retired_us", US),
        sa.Column("succession", sa.LargeBinary(4096)),
        sa.PrimaryKeyConstraint("kid", name="pk_service_key"),
        of_organisation("service_key"),
    )
    op.create_table(
        "access_log",
        sa.Column("entry_id", ROW_ID, nullable=False),
        sa.Column("org_id", ORG, nullable=False),
        sa.Column("device_id", DEVICE, nullable=False),
        sa.Column("at_us", US, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("from_us", US),
        sa.Column("to_us", US),
        sa.PrimaryKeyConstraint("entry_id", name="pk_access_log"),
        of_device("access_log"),
    )
    op.create_index("ix_access_log_org_id", "access_log", ["org_id"])


def downgrade() -> None:
    for table in (
        "access_log",
        "service_key",
        "enrolment_token",
        "renewal_nonce",
        "certificate",
        "device_key",
        "device",
        "api_key",
        "organisation",
    ):
        op.drop_table(table)
