"""One row a sample through the ORM: the baseline of E1, E2 and E3.

Rules: the table that one writes first: a number, the box, the time, the signal, the value; an index on (box,
time). Boxes and signals are small numbers, as foreign keys are, which favours it; their names stand in two
tables that are not counted. The naive way in is one message of JSON rows, parsed, an object a row, `add_all`,
one commit a message, with the product's durability (`backend.store.database` opens it). It verifies nothing,
which favours it.
`fill` puts the same rows in by the fastest way the driver has, for benches that only read or weigh.

Example:
    with RowStore(url) as store:
        store.take(json_message(rows_of(batch, definitions)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import orjson
from sqlalchemy import BigInteger, Index, MetaData, select
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from backend.store.database import open_database
from benchmarks.signed_batches import START_US
from protocol.signals import physical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from benchmarks.signed_batches import MadeBatch
    from protocol.signals import GroupDef

ROWS_AT_ONCE = 20_000

SampleRow = tuple[int, int, int, float]
"""Box, UTC in µs, signal, value."""

_REGISTRY = registry(metadata=MetaData())  # not the product's: its migrations know nothing of this table


class _Base(SQLModel, registry=_REGISTRY):
    """Keeps what follows apart from the product's tables."""


class Sample(_Base, table=True):
    """One sample."""

    __table_args__ = (Index("ix_sample_device_time", "device_id", "utc_us"),)

    id: int | None = Field(default=None, primary_key=True)
    device_id: int
    utc_us: int = Field(sa_type=BigInteger)
    signal_id: int
    value: float


def signal_numbers(definitions: Mapping[int, GroupDef]) -> dict[str, int]:
    """Return a number for each signal by its full name, in order of groups and columns."""
    names = [
        f"{group.bus}.{group.message}.{column.signal}"
        for _, group in sorted(definitions.items())
        for column in group.columns
    ]
    return {name: number for number, name in enumerate(names, start=1)}


def rows_of(batch: MadeBatch, definitions: Mapping[int, GroupDef]) -> Iterator[SampleRow]:
    """Yield every sample of a batch."""
    numbers = signal_numbers(definitions)
    for group in batch.groups:
        definition = definitions[group.gid]
        times = (group.t_us + START_US).tolist()
        for column, raw in zip(definition.columns, group.raw, strict=True):
            number = numbers[f"{definition.bus}.{definition.message}.{column.signal}"]
            for utc_us, value in zip(times, physical(column, raw).tolist(), strict=True):
                yield batch.box, utc_us, number, float(value)


def json_message(rows: Iterable[SampleRow]) -> bytes:
    """Return rows as a naive box would send them: an array of objects."""
    names = ("device_id", "utc_us", "signal_id", "value")
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])


class RowStore:
    """One database with the table of samples; a context manager.

    Args:
        url: of an empty database.
    """

    def __init__(self, url: str) -> None:
        self.database = open_database(url)
        _REGISTRY.metadata.create_all(self.database.engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def take(self, message: bytes) -> None:
        """Take one message in, the naive way."""
        samples = [Sample(**row) for row in orjson.loads(message)]
        with self.database.writing() as session:
            session.add_all(samples)
            session.commit()

    def fill(self, rows: Iterable[SampleRow]) -> None:
        """Put rows in fast, in the order given."""
        columns = "device_id, utc_us, signal_id, value"
        raw = self.database.engine.raw_connection()
        try:
            cursor = raw.cursor()
            if self.database.engine.dialect.name == "sqlite":
                cursor.execute("BEGIN IMMEDIATE")
                cursor.executemany(f"INSERT INTO sample ({columns}) VALUES (?, ?, ?, ?)", list(rows))  # noqa: S608 - our own columns
            else:
                with cursor.copy(f"COPY sample ({columns}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            raw.commit()
        finally:
            raw.close()

    def query(
        self, *, box: int, from_us: int, to_us: int, signal: int | None = None
    ) -> list[tuple[int, int, float]]:
        """Return (UTC in µs, signal, value) of a box in [from, to) by time, as tuples, not objects."""
        table = Sample.__table__  # type: ignore[attr-defined]
        wanted = (
            select(table.c.utc_us, table.c.signal_id, table.c.value)
            .where(table.c.device_id == box, table.c.utc_us >= from_us, table.c.utc_us < to_us)
            .order_by(table.c.utc_us)
        )
        if signal is not None:
            wanted = wanted.where(table.c.signal_id == signal)
        with self.database.reading() as session:
            return list(map(tuple, session.connection().execute(wanted)))
