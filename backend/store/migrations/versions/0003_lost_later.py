"""What later chains declare lost of a chain that has ended."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("chain") as table:
        table.add_column(sa.Column("lost_later", sa.Text(), nullable=False, server_default="[]"))


def downgrade() -> None:
    with op.batch_alter_table("chain") as table:
        table.drop_column("lost_later")
