"""Derived tables: what they hold, when they wait, and that they can be derived again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from backend.domain.batch_time import TimeSource
from backend.domain.integrity import IntegrityKind
from backend.domain.rollup import MINUTE_US, MinuteValues
from backend.errors import RefusedError
from backend.store.batch_queue import has_erased
from backend.store.batches import (
    BATCH,
    BATCH_QUEUE,
    BATCH_SECTION,
    DecodeState,
    select_batches,
    stored_batch,
)
from backend.store.chains import CHAIN
from backend.store.dictionaries import DICTIONARY_GROUP, DeviceSignal, list_signals
from backend.store.integrity_events import page_of_events
from backend.store.latest import BOOT_CLOCK, LATEST_FIX, LATEST_STATE, load_fix, load_latest
from backend.store.rollups import ROLLUP_BLOCK
from backend.usecases.project import project
from backend.usecases.query_state import read_rollups
from backend.usecases.rebuild import rebuild
from backend.usecases.set_aside_batch import set_aside_next
from protocol.batch import Section, salted, section_ref
from protocol.dictionary import ColumnDef, physical
from protocol.fixes import Fix, Precision
from protocol.ids import BootId
from protocol.signals import GroupRows
from tests.builders.databases import trip, untrip
from tests.builders.ingest import DICTIONARY, ENGINE, GEAR, ORG, SPEED, START_US, WHEELS, Backend, Box, Chain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("both_databases")

DERIVED = (DICTIONARY_GROUP, LATEST_STATE, LATEST_FIX, BOOT_CLOCK, ROLLUP_BLOCK)


@pytest.fixture
def box() -> Box:
    return Box(seed=1)


@pytest.fixture
def backend(tmp_path: Path, box: Box) -> Iterator[Backend]:
    with Backend(tmp_path, boxes=[box, Box(seed=2)]) as made:
        yield made


def project_all(backend: Backend, *, limit: int = 100) -> None:
    while project(backend.database, now_us=backend.now_us, limit=limit):
        pass


def dump(backend: Backend) -> dict[str, list[Any]]:
    """All derived rows, and where each batch stands."""
    with backend.database.reading() as session:
        connection = session.connection()
        tables = {table.name: sorted(map(repr, connection.execute(select(table)).all())) for table in DERIVED}
        places = select(BATCH.c.chain_ref, BATCH.c.seq, BATCH.c.utc_start_us, BATCH.c.time_source)
        waiting = select(
            BATCH_QUEUE.c.chain_ref, BATCH_QUEUE.c.seq, BATCH_QUEUE.c.state, BATCH_QUEUE.c.sections
        )
        return tables | {
            "batch": sorted(map(repr, connection.execute(places).all())),
            "queue": sorted(map(repr, connection.execute(waiting).all())),
        }


def states(backend: Backend) -> list[DecodeState]:
    with backend.database.reading() as session:
        rows = session.connection().execute(select_batches().order_by(BATCH.c.chain_ref, BATCH.c.seq))
        return [stored_batch(row).decode_state for row in rows]


def latest(backend: Backend, box: Box) -> dict[str, tuple[int | float, int, TimeSource]]:
    with backend.database.reading() as session:
        signals = {at.signal_ref: at for at in list_signals(session, org_id=ORG, device_id=box.device)}
        values = load_latest(session, org_id=ORG, signal_refs=signals)
    return {
        signals[at.signal_ref].full_name: (
            physical(signals[at.signal_ref].column, np.array([at.raw])).item(),
            at.utc_us,
            at.time_source,
        )
        for at in values
    }


def rollups(backend: Backend, box: Box, **changes: Any) -> list[tuple[DeviceSignal, MinuteValues]]:
    wanted: dict[str, Any] = {"from_us": 0, "to_us": 2**60, "signals": None, "after": None, "limit": 1_000}
    with backend.database.reading() as session:
        return read_rollups(session, org_id=ORG, device_id=box.device, **wanted | changes)


def minutes(backend: Backend, box: Box, column: ColumnDef) -> list[tuple[int, int, float, float, float]]:
    return [
        (at.minute, at.count, at.least, at.most, at.mean)
        for signal, at in rollups(backend, box)
        if signal.column.signal == column.signal
    ]


def test_the_latest_value_is_the_latest_in_time_whatever_arrives_last(backend: Backend, box: Box) -> None:
    batches = box.chain().many(2)
    chain = box.chain(seed=2, mono_us=60_000_000)
    newest = chain.next(speeds=[5555])
    backend.take(newest)
    project_all(backend)
    backend.take(*batches)
    project_all(backend)
    assert latest(backend, box)["pt.WHEELS.Speed"] == (5555 * 0.01, START_US + 60_000_000, TimeSource.DEVICE)


def test_a_minute_has_count_least_most_mean_and_last_over_batches(backend: Backend, box: Box) -> None:
    chain = box.chain()
    backend.take(chain.next(speeds=[100, 200]), chain.next(speeds=[50, 650]))
    project_all(backend, limit=1)
    assert minutes(backend, box, SPEED) == [(START_US // MINUTE_US, 4, 0.5, 6.5, 2.5)]


def test_minutes_are_cut_at_utc_minutes(backend: Backend, box: Box) -> None:
    chain = box.chain(utc_at_mono_0_us=START_US + 55_000_000)
    backend.take(chain.next(speeds=[100, 200]))  # at second 55 and 60
    project_all(backend)
    first = START_US // MINUTE_US
    assert [(minute, count) for minute, count, *_ in minutes(backend, box, SPEED)] == [
        (first, 1),
        (first + 1, 1),
    ]


def test_a_repeat_does_not_count_twice(backend: Backend, box: Box) -> None:
    batch = box.chain().next()
    backend.take(batch)
    project_all(backend)
    before = dump(backend)
    backend.take(batch)
    project_all(backend)
    assert dump(backend) == before


def test_a_batch_without_its_dictionary_waits_and_is_decoded_when_it_comes(
    backend: Backend, box: Box
) -> None:
    first, second, third = box.chain().many(3)
    backend.take(second, third)
    project_all(backend)
    assert states(backend) == [DecodeState.UNDECODABLE] * 2
    assert latest(backend, box) == {}
    backend.take(first)
    project_all(backend)
    assert states(backend) == [DecodeState.DONE] * 3
    assert minutes(backend, box, SPEED)[0][1] == 9


def test_a_dictionary_announced_again_later_serves_the_batches_before_it(backend: Backend, box: Box) -> None:
    _, second, _ = box.chain().many(3)
    again = box.chain()
    again.many(2)
    third = again.next(dictionary=DICTIONARY)
    backend.take(second)
    project_all(backend)
    backend.take(third)
    project_all(backend)
    assert states(backend) == [DecodeState.DONE] * 2


def test_a_dictionary_that_changes_its_mind_is_an_event_and_the_first_stays(
    backend: Backend, box: Box
) -> None:
    chain = box.chain()
    other = replace(WHEELS, columns=(replace(SPEED, scale=0.5), GEAR))
    backend.take(chain.next(), chain.next(dictionary=[other]))
    project_all(backend)
    with backend.database.reading() as session:
        found = page_of_events(session, org_id=ORG, device_id=box.device, after=None, limit=100)
    assert [(at.kind, at.seq) for at in found if at.kind is IntegrityKind.DICTIONARY_CONFLICT] == [
        (IntegrityKind.DICTIONARY_CONFLICT, 2)
    ]
    assert latest(backend, box)["pt.WHEELS.Speed"][0] == 1020 * 0.01


def test_a_batch_without_a_clock_gets_its_time_from_its_boot(backend: Backend, box: Box) -> None:
    chain = box.chain(utc_at_mono_0_us=None)
    untimed = chain.next()
    backend.take(untimed)
    project_all(backend)
    assert states(backend) == [DecodeState.UNTIMED]
    chain.utc_at_mono_0_us = START_US
    backend.take(chain.next(speeds=[]))
    project_all(backend)
    assert states(backend) == [DecodeState.DONE] * 2
    value, utc_us, source = latest(backend, box)["pt.WHEELS.Speed"]
    assert (value, utc_us, source) == (1020 * 0.01, START_US + 6_666_666, TimeSource.INFERRED)


def test_a_clock_of_another_boot_says_nothing(backend: Backend, box: Box) -> None:
    chain = box.chain(utc_at_mono_0_us=None)
    backend.take(chain.next())
    chain.utc_at_mono_0_us, chain.boot = START_US, BootId(b"\xbb" * 16)
    backend.take(chain.next())
    project_all(backend)
    assert states(backend) == [DecodeState.UNTIMED, DecodeState.DONE]


def test_a_clock_of_1970_waits_for_a_better_one_and_poisons_nothing(backend: Backend, box: Box) -> None:
    chain = box.chain(utc_at_mono_0_us=0)
    backend.take(chain.next())
    project_all(backend)
    assert latest(backend, box) == {}
    chain.utc_at_mono_0_us = START_US
    backend.take(chain.next(speeds=[]))
    project_all(backend)
    assert latest(backend, box)["pt.WHEELS.Speed"][2] is TimeSource.INFERRED


def test_a_section_released_later_is_derived_then_and_once(backend: Backend, box: Box) -> None:
    batch = box.chain().next()
    backend.take(batch.without(Section.SIGNALS))
    project_all(backend)
    assert minutes(backend, box, SPEED) == []
    for _ in range(2):
        backend.take(batch)
        project_all(backend)
    assert minutes(backend, box, SPEED)[0][1] == 3


def unreadable(chain: Chain, section: Section, data: bytes) -> Any:
    """An authentic batch whose section is not what its number promises."""
    template = chain.twin().next()
    body = salted(data, bytes(16))
    made = chain.next(sections={**template.header.sections, section: section_ref(body)})
    return replace(made, sections={**made.sections, section: body})


@pytest.mark.parametrize("section", [Section.FACTS, Section.SIGNALS, Section.FIXES])
def test_an_authentic_section_that_cannot_be_read_is_an_event_and_blocks_nothing(
    backend: Backend, box: Box, section: Section
) -> None:
    chain = box.chain()
    first = chain.next()
    broken = unreadable(chain, section, b"\xff not ours")
    after = chain.next(speeds=[4242])
    backend.take(first, broken, after)
    project_all(backend)
    assert states(backend) == [DecodeState.DONE, DecodeState.UNREADABLE, DecodeState.DONE]
    assert latest(backend, box)["pt.WHEELS.Speed"][0] == 42.42
    with backend.database.reading() as session:
        found = page_of_events(session, org_id=ORG, device_id=box.device, after=None, limit=100)
    (event,) = (at for at in found if at.kind is IntegrityKind.SECTION_UNREADABLE)
    assert (event.seq, event.detail["section"]) == (2, section)


@pytest.mark.parametrize("t_us", [-(2**62), 2**62])
def test_rows_far_outside_their_batch_derive_nothing(backend: Backend, box: Box, t_us: int) -> None:
    stray = GroupRows(gid=2, t_us=np.array([t_us]), raw=np.array([[1]]))
    backend.take(box.chain().next(groups=[stray]))
    project_all(backend)
    assert states(backend) == [DecodeState.UNREADABLE]
    assert latest(backend, box) == {}


def test_rows_with_other_columns_than_announced_derive_nothing(backend: Backend, box: Box) -> None:
    odd = GroupRows(gid=2, t_us=np.array([5]), raw=np.array([[1], [2]]))
    backend.take(box.chain().next(groups=[odd]))
    project_all(backend)
    assert states(backend) == [DecodeState.UNREADABLE]


def test_the_latest_position_is_the_latest_fix_that_has_one(backend: Backend, box: Box) -> None:
    fixes = [
        Fix(t_us=1_000_000, mode=3, lat_e7=481_000_000, lon_e7=116_000_000, sats_used=7),
        Fix(t_us=2_000_000, mode=3, lat_e7=482_000_000, lon_e7=116_000_000),
        Fix(t_us=3_000_000, mode=1),
    ]
    chain = box.chain()
    backend.take(chain.next(fixes=fixes))
    project_all(backend)
    with backend.database.reading() as session:
        found = load_fix(session, org_id=ORG, device_id=box.device)
    assert found is not None
    assert (found.fix.lat_e7, found.utc_us, found.precision) == (
        482_000_000,
        START_US + 2_000_000,
        Precision.EXACT,
    )


def test_another_boxes_signals_are_its_own(backend: Backend, box: Box) -> None:
    other = Box(seed=2)
    backend.take(box.chain().next(speeds=[1]), other.chain().next(speeds=[2]))
    project_all(backend)
    assert latest(backend, box)["pt.WHEELS.Speed"][0] == 0.01
    assert latest(backend, other)["pt.WHEELS.Speed"][0] == 0.02


def test_a_signal_keeps_its_series_over_chains_and_dictionaries(backend: Backend, box: Box) -> None:
    renumbered = replace(WHEELS, gid=9, dbc_hash=b"\x01" * 32)
    chain = box.chain(seed=2, mono_us=30_000_000)
    rows = GroupRows(gid=9, t_us=np.array([30_000_000]), raw=np.array([[700], [2]]))
    backend.take(box.chain().next(), chain.next(dictionary=[renumbered], groups=[rows]))
    project_all(backend)
    with backend.database.reading() as session:
        assert len(list_signals(session, org_id=ORG, device_id=box.device)) == 2
    assert latest(backend, box)["pt.WHEELS.Speed"][0] == 7.0


def test_a_rebuild_refuses_when_what_it_needs_was_erased(backend: Backend, box: Box) -> None:
    backend.take(box.chain().next())
    project_all(backend)
    before = dump(backend)
    with backend.database.writing() as session, session.begin():
        session.connection().execute(
            update(BATCH_SECTION).where(BATCH_SECTION.c.section == 2).values(body=None, erased_us=5)
        )
        assert has_erased(session, chain_refs=[1])
    with pytest.raises(RefusedError):
        rebuild(backend.database, now_us=backend.now_us)
    assert dump(backend) == before


def test_a_crash_between_batches_loses_and_doubles_nothing(backend: Backend, box: Box) -> None:
    """The queue and what is derived change together: a transaction that is rolled back left no trace."""
    backend.take(*box.chain().many(3))
    with backend.database.writing() as session, session.begin():
        trip(session, "batch_queue", on="DELETE", message="power cut")
    with pytest.raises(Exception, match="power cut"):
        project(backend.database, now_us=backend.now_us)
    with backend.database.writing() as session, session.begin():
        untrip(session, "batch_queue")
    project_all(backend)
    assert minutes(backend, box, SPEED)[0][1] == 9


orders = st.permutations(list(range(12)))


@settings(max_examples=12)
@given(order=orders, chunk=st.integers(1, 12), groups=st.integers(1, 5), hidden=st.sampled_from([None, 2, 5]))
def test_a_rebuild_equals_what_was_derived_on_the_way(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], chunk: int, groups: int, hidden: int | None
) -> None:
    """Whatever the order of arrival and the sizes of transactions, with late clocks and dictionaries."""
    box = Box(seed=1)
    chain = box.chain(utc_at_mono_0_us=None)
    batches = chain.many(4)
    chain.utc_at_mono_0_us = START_US
    batches += chain.many(3)
    chain.boot, chain.mono_us = BootId(b"\xcc" * 16), 0
    chain.utc_at_mono_0_us = START_US + 100_000_000
    batches += [chain.next(dictionary=[ENGINE], speeds=[3, 1, 2]) for _ in range(2)]
    batches += [box.chain(seed=2).next(speeds=[9]), *box.chain(seed=3, mono_us=5_000_000).many(2)]
    arrivals = [batches[at] for at in order if at != hidden]
    with Backend(tmp_path_factory.mktemp("rebuild"), boxes=[box]) as backend:
        for start in range(0, len(arrivals), groups):
            backend.take(*arrivals[start : start + groups])
            project(backend.database, now_us=backend.now_us, limit=chunk)
        project_all(backend, limit=chunk)
        on_the_way = dump(backend)
        rebuild(backend.database, now_us=backend.now_us)
        assert dump(backend) == on_the_way
        with backend.database.reading() as session:
            assert session.connection().execute(select(CHAIN.c.chain_ref)).all()


def test_a_scale_beyond_every_float_is_left_out_of_rollups_and_stops_no_other_batch(
    backend: Backend, box: Box
) -> None:
    column = replace(SPEED, scale=1e308, offset=1e308)  # whole numbers, so values are exact integers
    chain = box.chain()
    backend.take(chain.next(dictionary=[replace(WHEELS, columns=(column, GEAR))]), chain.next())
    project_all(backend)
    assert states(backend) == [DecodeState.DONE] * 2
    assert minutes(backend, box, SPEED) == []
    assert len(minutes(backend, box, GEAR)) == 1


def test_rollups_come_by_minute_and_signal_and_page_by_page_the_same(backend: Backend, box: Box) -> None:
    """Over block ends, with late batches of another chain in between, and a signal that pauses."""
    chain = box.chain()
    for number in range(70):
        rows = [GroupRows(gid=1, t_us=np.array([chain.mono_us]), raw=np.array([[number], [1]]))]
        if number % 3:
            rows.append(GroupRows(gid=2, t_us=np.array([chain.mono_us]), raw=np.array([[number]])))
        backend.take(chain.next(groups=rows, length_us=MINUTE_US))
    project_all(backend, limit=9)
    backend.take(box.chain(seed=2, mono_us=30 * MINUTE_US).next(speeds=[9]))
    project_all(backend)
    whole = rollups(backend, box)
    assert [(at.minute, signal.signal_ref) for signal, at in whole] == sorted(
        {(at.minute, signal.signal_ref) for signal, at in whole}
    )
    assert len(whole) == 70 * 2 + sum(1 for number in range(70) if number % 3)
    paged: list[tuple[DeviceSignal, MinuteValues]] = []
    while page := rollups(
        backend,
        box,
        after=(paged[-1][1].minute, paged[-1][0].signal_ref) if paged else None,
        limit=7,
    ):
        paged += page
    assert paged == whole
    first = START_US // MINUTE_US
    cut = rollups(backend, box, from_us=(first + 25) * MINUTE_US, to_us=(first + 41) * MINUTE_US)
    assert cut == [row for row in whole if first + 25 <= row[1].minute < first + 41]
    assert minutes(backend, box, SPEED)[30] == (first + 30, 2, 0.09, 0.3, (9 + 30) / 2 * 0.01)


def test_a_name_that_a_database_cannot_keep_stops_nothing(backend: Backend, box: Box) -> None:
    odd = replace(WHEELS, columns=(replace(SPEED, path=None, signal="a\0b", unit="\0"), GEAR))
    backend.take(box.chain().next(dictionary=[odd]))
    project_all(backend)
    assert states(backend) == [DecodeState.DONE]
    assert "pt.WHEELS.a\ufffdb" in latest(backend, box)


def test_facts_without_a_dictionary_wake_nobody(backend: Backend, box: Box) -> None:
    chain = box.chain()
    chain.next()
    backend.take(chain.next())
    project_all(backend)
    backend.take(chain.next())
    assert project(backend.database, now_us=backend.now_us) == 1


def test_a_batch_the_program_fails_on_is_set_aside_with_an_event(backend: Backend, box: Box) -> None:
    backend.take(*box.chain().many(2))
    assert set_aside_next(backend.database, now_us=backend.now_us) == 1
    project_all(backend)
    assert states(backend) == [DecodeState.UNREADABLE, DecodeState.UNDECODABLE]
    with backend.database.reading() as session:
        found = page_of_events(session, org_id=ORG, device_id=box.device, after=None, limit=100)
    assert IntegrityKind.SECTION_UNREADABLE in {at.kind for at in found}
