"""Partitions of the large tables on PostgreSQL: one a month, made ahead; SQLite has one table each.

Rules:
- `batch` is partitioned by the month of `received_us`; `batch_section` by retention, then by that month: so a
  month of fine data can be erased or dropped while its facts stay.
- Each has a default partition, so a batch is stored whatever month it is and whatever was made: no clock, no
  forgotten command and no failed one can lose it. What lies there is moved when its month is made.
- Months are UTC, named `…_2026_11`.
- Only one process makes partitions at a time, and it waits briefly: a month is made weeks before it is
  needed.

Example:
    >>> make_partitions(session, now_us=utc_us())
    ['batch_2026_11', 'batch_section_facts_2026_11', 'batch_section_fine_2026_11', …]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from protocol.limits import PARTITION_LOCK_MS_MAX, PARTITION_MONTHS_AHEAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlmodel import Session

PARENTS: Final = ("batch", "batch_section_facts", "batch_section_fine")
DEFAULT_SUFFIX: Final = "_default"

_MAKING: Final = 0x74626F78_70617274  # "tboxpart": names the advisory lock
_SECOND_US: Final = 1_000_000
_MONTHS_A_YEAR: Final = 12
_NAME: Final = re.compile(rf"^({'|'.join(PARENTS)})(_\d{{4}}_\d{{2}}|{DEFAULT_SUFFIX})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition as the database has it.

    Attributes:
        name: of the table.
        parent: whose part it is.
        rows: about how many rows, as the server last estimated; exact for default partitions.
        size: bytes with indexes.
        is_default: whether it takes what no month takes.
    """

    name: str
    parent: str
    rows: int
    size: int
    is_default: bool


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, instant_us: int) -> Month:
        """Return the month of an instant, UTC in µs."""
        at = datetime.fromtimestamp(instant_us // _SECOND_US, tz=UTC)
        return cls(at.year, at.month)

    @property
    def next(self) -> Month:
        """The month after it."""
        return Month(self.year + self.month // _MONTHS_A_YEAR, self.month % _MONTHS_A_YEAR + 1)

    @property
    def start_us(self) -> int:
        """Its first instant, UTC in µs."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()) * _SECOND_US

    @property
    def suffix(self) -> str:
        """The end of its partitions' names."""
        return f"_{self.year:04d}_{self.month:02d}"


def is_partition(name: str) -> bool:
    """Whether a table of this name is a partition of ours."""
    return _NAME.match(name) is not None or name in PARENTS[1:]


def months_wanted(now_us: int) -> list[Month]:
    """Return this month and those to be made ahead."""
    months = [Month.of(now_us)]
    for _ in range(PARTITION_MONTHS_AHEAD):
        months.append(months[-1].next)
    return months


def make_partitions(session: Session, *, now_us: int) -> list[str]:
    """Make the partitions that are missing for this month, those ahead, and months that lie in a default one.

    Args:
        session: A writing session in a transaction.
        now_us: UTC in µs.

    Returns:
        The names of those made; nothing on SQLite, or while another process makes them.

    Raises:
        OperationalError: A table was busy for too long; nothing was made, try again later.
    """
    if session.get_bind().dialect.name != "postgresql":
        return []
    connection = session.connection()
    is_alone = connection.execute(
        text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _MAKING}
    ).scalar_one()
    if not is_alone:
        return []
    # A waiting ALTER TABLE makes all others wait behind it: better to give up and come again.
    connection.execute(text(f"SET LOCAL lock_timeout = {PARTITION_LOCK_MS_MAX}"))
    made: list[str] = []
    for parent in PARENTS:
        existing = set(_names(connection, parent))
        months = set(months_wanted(now_us)) | set(_months_in(connection, parent + DEFAULT_SUFFIX))
        missing = [month for month in sorted(months) if parent + month.suffix not in existing]
        made += [_make(connection, parent, month) for month in missing]
    return made


def list_partitions(session: Session) -> list[Partition]:
    """Return all partitions by name; none on SQLite."""
    if session.get_bind().dialect.name != "postgresql":
        return []
    connection = session.connection()
    found: list[Partition] = []
    for parent in PARENTS:
        rows = connection.execute(
            text(
                "SELECT c.relname, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid)"
                " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                " WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY c.relname"
            ),
            {"parent": parent},
        )
        for name, estimate, size in rows:
            is_default = name == parent + DEFAULT_SUFFIX
            count = (
                connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()  # noqa: S608  # from the catalogue
                if is_default
                else estimate
            )
            found.append(Partition(name=name, parent=parent, rows=count, size=size, is_default=is_default))
    return found


def _names(connection: Connection, parent: str) -> Iterator[str]:
    rows = connection.execute(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = CAST(:parent AS regclass)"
        ),
        {"parent": parent},
    )
    return (name for (name,) in rows)


def _months_in(connection: Connection, table: str) -> Iterator[Month]:
    """Return the months of the rows that lie in a default partition."""
    month = "date_trunc('month', to_timestamp(received_us / 1000000) AT TIME ZONE 'UTC')"
    rows = connection.execute(text(f'SELECT DISTINCT {month} FROM "{table}"'))  # noqa: S608  # our own names
    return (Month(at.year, at.month) for (at,) in rows)


def _make(connection: Connection, parent: str, month: Month) -> str:
    """Make one month, with what of it lies in the default partition; return its name."""
    name, default = parent + month.suffix, parent + DEFAULT_SUFFIX
    within = f"received_us >= {month.start_us} AND received_us < {month.next.start_us}"
    connection.execute(text(f'CREATE TABLE "{name}" (LIKE "{parent}" INCLUDING DEFAULTS INCLUDING STORAGE)'))
    connection.execute(text(f'LOCK TABLE "{parent}" IN SHARE ROW EXCLUSIVE MODE'))
    connection.execute(
        text(
            f'WITH moved AS (DELETE FROM "{default}" WHERE {within} RETURNING *)'  # noqa: S608  # our own names and numbers
            f' INSERT INTO "{name}" SELECT * FROM moved'
        )
    )
    connection.execute(
        text(
            f'ALTER TABLE "{parent}" ATTACH PARTITION "{name}"'
            f" FOR VALUES FROM ({month.start_us}) TO ({month.next.start_us})"
        )
    )
    return name
