"""Column types that every table shares, so that SQLite and PostgreSQL keep the same values.

Rules:
- An instant is a 64-bit integer of microseconds since the Unix epoch, UTC; SQL date types differ between
  databases and round silently.
- Ids are text; a hash or a key is bytes.
- A row that belongs to a device names organisation *and* device and refers to both together
  (`owned_by_device`), so the database itself refuses a row of one organisation about another's box.

Example:
    class Trip(SQLModel, table=True):
        __table_args__ = (owned_by_device(),)
        trip_id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
        org_id: str = Field(max_length=ORG_ID_CHARS)
        device_id: str = Field(max_length=DEVICE_ID_CHARS)
        started_us: int = Field(sa_type=Microseconds)
"""

from typing import Final

from sqlalchemy import BigInteger, ForeignKeyConstraint, Integer
from sqlmodel import SQLModel

# Constraints have the same names on every database, so that a later migration can drop one by name.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# Microseconds since the epoch need 51 bits until the year 2041; 64 bits are the SQL type that holds them.
Microseconds: Final = BigInteger

# A growing row number. SQLite makes only INTEGER keys grow by themselves, PostgreSQL wants 64 bits.
RowId: Final = BigInteger().with_variant(Integer, "sqlite")

ORG_ID_CHARS: Final = 32  # 16 random bytes in hex
DEVICE_ID_CHARS: Final = 64  # SHA-256 thumbprint in hex


def storable(text: str) -> str:
    """Return a text from outside as both databases keep it: PostgreSQL has no room for U+0000 in texts."""
    return text.replace("\0", "\ufffd")


def owned_by_device() -> ForeignKeyConstraint:
    """Return the constraint that a row's device belongs to the row's organisation."""
    return ForeignKeyConstraint(["org_id", "device_id"], ["device.org_id", "device.device_id"])
