"""Months of the large tables on PostgreSQL: made ahead, never missing, and gone month by month; and what the
migrations do to batches that are stored already."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import OperationalError

from backend.store.batches import BATCH, BATCH_QUEUE, BATCH_SECTION, load_sections
from backend.store.migrate import downgrade, status, upgrade
from backend.store.partitions import Month, months_wanted
from backend.usecases.keep_partitions import keep_partitions, read_partitions
from backend.usecases.query_state import read_latest, read_rollups
from backend.usecases.query_trace import read_series
from protocol.batch import Section
from protocol.limits import PARTITION_MONTHS_AHEAD
from tests.builders.ingest import ORG, START_US, Backend, Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backend.store.database import Database

PARENTS = ("batch", "batch_section_facts", "batch_section_fine")


@pytest.fixture
def box() -> Box:
    return Box(seed=1)


@pytest.fixture
def backend(tmp_path: Path, postgresql: str, box: Box) -> Iterator[Backend]:
    del postgresql
    with Backend(tmp_path, boxes=[box]) as made:
        yield made


def at(year: int, month: int, day: int = 15) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000


def rows_in(database: Database) -> dict[str, int]:
    """Exact rows of each partition that has any."""
    with database.reading() as session:
        counts = {
            table.name: session.connection()
            .execute(text(f'SELECT count(*) FROM "{table.name}"'))
            .scalar_one()
            for table in read_partitions(database)
        }
    return {name: count for name, count in counts.items() if count}


def take_at(backend: Backend, instant_us: int, *batches: Any) -> None:
    backend.now_us = instant_us
    backend.take(*batches)


def test_months_follow_each_other_over_the_year() -> None:
    months = months_wanted(at(2026, 11))
    assert len(months) == 1 + PARTITION_MONTHS_AHEAD
    assert months[:3] == [Month(2026, 11), Month(2026, 12), Month(2027, 1)]
    assert Month.of(Month(2027, 1).start_us - 1) == Month(2026, 12)
    assert Month(2026, 12).suffix == "_2026_12"


def test_this_month_and_the_next_ones_are_made_once(backend: Backend) -> None:
    made = keep_partitions(backend.database, now_us=at(2026, 11))
    assert made == [parent + month.suffix for parent in PARENTS for month in months_wanted(at(2026, 11))]
    assert keep_partitions(backend.database, now_us=at(2026, 11)) == []
    assert keep_partitions(backend.database, now_us=at(2026, 12)) == [f"{name}_2027_03" for name in PARENTS]


def test_a_batch_lies_in_the_month_it_came_and_its_sections_by_retention(backend: Backend, box: Box) -> None:
    keep_partitions(backend.database, now_us=at(2026, 11))
    chain = box.chain()
    take_at(backend, at(2026, 11), *chain.many(2))
    take_at(backend, at(2026, 12), chain.next())
    assert rows_in(backend.database) == {
        f"{parent}_2026_{month}": count for parent in PARENTS for month, count in ((11, 2), (12, 1))
    }


def test_a_month_that_nobody_made_loses_no_batch_and_takes_its_rows_when_it_is_made(
    backend: Backend, box: Box
) -> None:
    chain = box.chain()
    take_at(backend, at(2031, 5), *chain.many(3))
    assert rows_in(backend.database) == {f"{parent}_default": 3 for parent in PARENTS}
    backend.project()
    made = keep_partitions(backend.database, now_us=at(2026, 11))
    assert "batch_2031_05" in made
    assert rows_in(backend.database) == {f"{parent}_2031_05": 3 for parent in PARENTS}
    assert backend.receipts(backend.take(chain.next()))[0].upto == 4


def test_batches_go_on_being_stored_while_months_are_made(backend: Backend, box: Box) -> None:
    """One bridge takes in, two make months, of which one is enough; what came before is moved meanwhile."""
    batches = box.chain().many(40)
    failures: list[BaseException] = []

    def work(job: Any) -> None:
        try:
            job()
        except BaseException as failed:  # noqa: BLE001  # carried to the test's own thread
            failures.append(failed)

    def take_all() -> None:
        for batch in batches:
            backend.take(batch)

    def make() -> None:
        for month in range(1, 12):
            keep_partitions(backend.database, now_us=at(2026, month))

    threads = [threading.Thread(target=work, args=(job,)) for job in (take_all, make, make)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    keep_partitions(backend.database, now_us=at(2026, 11))
    assert rows_in(backend.database) == {f"{parent}_2026_11": 40 for parent in PARENTS}


def test_a_table_that_is_busy_puts_the_making_off_and_stops_nobody(backend: Backend, box: Box) -> None:
    with backend.database.reading() as reader:
        reader.connection().execute(select(func.count()).select_from(BATCH)).scalar_one()
        with pytest.raises(OperationalError, match="lock timeout"):
            keep_partitions(backend.database, now_us=at(2026, 11))
    assert backend.receipts(backend.take(box.chain().next()))[0].upto == 1
    assert keep_partitions(backend.database, now_us=at(2026, 11)) != []


def test_a_month_of_fine_data_goes_without_its_facts(backend: Backend, box: Box) -> None:
    keep_partitions(backend.database, now_us=at(2026, 11))
    take_at(backend, at(2026, 11), box.chain().next())
    with backend.database.writing() as session, session.begin():
        session.connection().execute(text("DROP TABLE batch_section_fine_2026_11"))
        kept = load_sections(session, [(1, 1)])
        assert set(kept[1, 1]) == {Section.FACTS}
        assert session.connection().execute(select(func.count()).select_from(BATCH)).scalar_one() == 1


@pytest.mark.usefixtures("both_databases")
def test_migrations_with_batches_stored_lose_none_and_derive_the_same_again(tmp_path: Path) -> None:
    box = Box(seed=1)
    with Backend(tmp_path, boxes=[box]) as backend:
        chain = box.chain()
        backend.take(*chain.many(5))
        backend.take(chain.next().without(Section.SIGNALS))
        backend.project()
        before = everything(backend, box)
        downgrade(backend.database, revision="0003")
        assert {"rollup_minute"} <= set(inspect(backend.database.engine).get_table_names())
        with backend.database.reading() as session:
            waiting = session.connection().execute(
                text("SELECT count(*), sum(size) FROM batch b JOIN batch_section s USING (chain_ref, seq)")
            )
            assert waiting.one()[0] == 11
        upgrade(backend.database)
        keep_partitions(backend.database, now_us=backend.now_us)
        assert status(backend.database).is_current
        with backend.database.reading() as session:
            queue = select(BATCH_QUEUE.c.seq, BATCH_QUEUE.c.sections).order_by(BATCH_QUEUE.c.seq)
            assert session.connection().execute(queue).all() == [*((seq, 6) for seq in range(1, 6)), (6, 2)]
        backend.project()
        assert everything(backend, box) == before
        assert backend.receipts(backend.take(chain.next()))[0].upto == 7


def everything(backend: Backend, box: Box) -> dict[str, Any]:
    ask: dict[str, Any] = {"org_id": ORG, "device_id": box.device}
    span = {"from_us": START_US, "to_us": START_US + 3_600_000_000, "signals": None}
    with backend.database.reading() as session:
        sections = select(
            BATCH_SECTION.c.seq, BATCH_SECTION.c.section, BATCH_SECTION.c.received_us, BATCH_SECTION.c.body
        )
        return {
            "latest": [
                (value.signal.name, value.value, value.utc_us) for value in read_latest(session, **ask)
            ],
            "minutes": [
                (signal.name, minute)
                for signal, minute in read_rollups(session, after=None, limit=100, **ask, **span)
            ],
            "series": [
                (series.signal.name, series.utc_us.tolist(), series.values.tolist())
                for series in read_series(session, **ask, **span)
            ],
            "batches": sorted(
                (row.seq, bytes(row.header)) for row in session.connection().execute(select(BATCH))
            ),
            "sections": sorted(
                (row.seq, row.section, row.received_us, bytes(row.body))
                for row in session.connection().execute(sections)
            ),
        }
