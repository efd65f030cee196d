"""Reading a trace: order over overlapping chains, selection without decompressing, and text that harms
nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from backend.api.trace_formats import csv_of_rows, gpx_of_fixes, harmless, iso_us, segments
from backend.domain.batch_time import TimeSource
from backend.domain.decoding import decode_groups
from backend.domain.trace import Chunk, RowMerger, TraceSignal, wanted_groups
from backend.store.batches import BATCH_SECTION
from backend.usecases.query_trace import read_series, read_trace
from protocol.batch import Section
from protocol.dictionary import ColumnDef, GroupDef, RawType, physical
from protocol.errors import ProtocolError
from protocol.fixes import Fix, Precision
from protocol.signals import GroupRows, encode_signals
from tests.builders.ingest import DICTIONARY, ENGINE, ORG, SPEED, START_US, WHEELS, Backend, Box

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("both_databases")


def chunk(name: str, times: list[int]) -> Chunk:
    utc_us = np.array(times, dtype=np.int64)
    return Chunk(
        signal=TraceSignal(name=name, unit=None),
        source=TimeSource.DEVICE,
        utc_us=utc_us,
        mono_us=utc_us,
        values=utc_us,
    )


batches = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 50), min_size=1, max_size=8)), max_size=10
)


@given(batches, st.lists(st.integers(0, 60), max_size=4))
def test_rows_come_in_order_however_they_are_released(
    given_batches: list[tuple[str, list[int]]], cuts: list[int]
) -> None:
    """Rows earlier than a cut come before it; none is lost or doubled; all are in order of time, then
    name."""
    merger = RowMerger()
    for name, times in given_batches:
        merger.add([chunk(name, times)])
    seen: list[tuple[int, str]] = []
    for cut in sorted(cuts):
        rows = [(row[0], row[2].name) for row in merger.release(before_us=cut)]
        assert all(at < cut for at, _ in rows)
        seen += rows
    seen += [(row[0], row[2].name) for row in merger.release(before_us=None)]
    assert seen == sorted((at, name) for name, times in given_batches for at in times)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 300_000_000), min_size=1, max_size=6), st.data())
def test_every_range_of_overlapping_chains_is_a_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, starts: list[int], data: st.DataObject
) -> None:
    box = Box(seed=1)
    made = [
        box.chain(seed=seed, mono_us=start).next(speeds=range(seed, seed + 6), length_us=60_000_000)
        for seed, start in enumerate(starts, 1)
    ]
    with Backend(tmp_path_factory.mktemp("ranges"), boxes=[box]) as backend:
        backend.take(*made)
        backend.project()

        def rows(from_us: int, to_us: int) -> list[Any]:
            with backend.database.reading() as session:
                blocks = read_trace(
                    session,
                    org_id=ORG,
                    device_id=box.device,
                    from_us=from_us,
                    to_us=to_us,
                    signals={"Vehicle.Speed"},
                )
                return [row for block in blocks for row in block]

        whole = rows(START_US, START_US + 400_000_000)
        assert len(whole) == 6 * len(made)
        assert [row[0] for row in whole] == sorted(row[0] for row in whole)
        low, high = sorted(data.draw(st.tuples(*[st.integers(0, 400_000_000)] * 2)))
        part = [row for row in whole if START_US + low <= row[0] < START_US + high]
        assert rows(START_US + low, START_US + high) == part


def test_series_hold_the_rows_of_the_trace_signal_by_signal(tmp_path: Path) -> None:
    """Also over chains that overlap, batches that wait for the derived tables, and a change of scale."""
    box = Box(seed=1)
    coarse = replace(WHEELS, columns=(replace(SPEED, scale=1), WHEELS.columns[1]))
    old, new = box.chain(), box.chain(seed=2, mono_us=15_000_000)
    with Backend(tmp_path, boxes=[box]) as backend:
        backend.take(*old.many(3))
        backend.take(new.next(dictionary=[coarse], speeds=[7, 8]))
        backend.project()
        backend.take(new.next(speeds=[9]))
        ask: dict[str, Any] = {"org_id": ORG, "device_id": box.device}
        ask |= {"from_us": START_US + 5_000_000, "to_us": START_US + 40_000_000, "signals": None}
        with backend.database.reading() as session:
            rows = [row for block in read_trace(session, **ask) for row in block]
            series = {at.signal.name: at for at in read_series(session, **ask)}
    assert set(series) == {"Vehicle.Speed", "pt.WHEELS.Gear"}
    for name, found in series.items():
        expected = [(row[0], row[3]) for row in rows if row[2].name == name]
        assert list(zip(found.utc_us.tolist(), found.values.tolist(), strict=True)) == expected
    assert {7, 8, 9} <= set(series["Vehicle.Speed"].values.tolist())


def test_a_damaged_batch_gives_no_rows_and_hides_no_other(tmp_path: Path) -> None:
    """Its bytes were whole when they came, and are not any more."""
    box = Box(seed=1)
    with Backend(tmp_path, boxes=[box]) as backend:
        backend.take(*box.chain().many(3))
        backend.project()
        with backend.database.writing() as session, session.begin():
            damaged = (BATCH_SECTION.c.seq == 2) & (BATCH_SECTION.c.section == int(Section.SIGNALS))
            body = session.connection().execute(select(BATCH_SECTION.c.body).where(damaged)).scalar_one()
            session.connection().execute(
                update(BATCH_SECTION).where(damaged).values(body=bytes(body)[:-6] + b"broken")
            )
        ask: dict[str, Any] = {"org_id": ORG, "device_id": box.device, "signals": {"Vehicle.Speed"}}
        with backend.database.reading() as session:
            (found,) = read_series(session, from_us=START_US, to_us=START_US + 60_000_000, **ask)
    whole = [0, 3_333_333, 6_666_666]
    assert (found.utc_us - START_US).tolist() == [*whole, *(20_000_000 + at for at in whole)]


def test_one_signal_does_not_decompress_the_others() -> None:
    """The frame of the other group is destroyed, and nobody notices."""
    t_us = np.arange(1_000, dtype=np.int64)
    wheels = GroupRows(gid=1, t_us=t_us, raw=np.vstack([t_us, t_us]))
    engine = GroupRows(gid=2, t_us=t_us, raw=t_us[np.newaxis])
    data = bytearray(encode_signals([wheels, engine]))
    data[-10:] = bytes(10)
    header = Box().chain().next().header
    dictionary = {group.gid: group for group in DICTIONARY}
    only = wanted_groups(dictionary, {"Vehicle.Speed"})
    assert only == {1}
    decoded = decode_groups(header, bytes(data), dictionary=dictionary, only=only)
    assert [at.definition.message for at in decoded.groups] == ["WHEELS"]
    with pytest.raises(ProtocolError):
        decode_groups(header, bytes(data), dictionary=dictionary)


@pytest.mark.parametrize(
    ("column", "raw"),
    [
        (SPEED, [0, 1, 65_535]),
        (replace(SPEED, scale=1, offset=-40), [0, 255]),
        (replace(SPEED, raw_type=RawType.UINT, bits=64, scale=1), [-1, 0]),
        (replace(SPEED, raw_type=RawType.FLOAT64, bits=64, scale=1), [0, 4_607_182_418_800_017_408]),
    ],
)
def test_values_come_out_as_the_dictionary_scales_them(
    tmp_path: Path, column: ColumnDef, raw: list[int]
) -> None:
    group = replace(WHEELS, gid=7, message="M", columns=(column,))
    rows = GroupRows(gid=7, t_us=np.arange(len(raw), dtype=np.int64), raw=np.array([raw], dtype=np.int64))
    box = Box(seed=1)
    with Backend(tmp_path, boxes=[box]) as backend:
        backend.take(box.chain().next(dictionary=[group], groups=[rows]))
        backend.project()
        with backend.database.reading() as session:
            blocks = read_trace(
                session, org_id=ORG, device_id=box.device, from_us=START_US, to_us=START_US + 10, signals=None
            )
            values = [row[3] for block in blocks for row in block]
    assert values == physical(column, np.array(raw, dtype=np.int64)).tolist()
    assert [type(value) for value in values] == [type(v) for v in physical(column, np.array(raw)).tolist()]


def test_a_column_of_a_later_version_has_no_values_and_harms_no_other(tmp_path: Path) -> None:
    later = replace(SPEED, signal="New", path=None, raw_type=77)
    group: GroupDef = replace(ENGINE, columns=(later, ENGINE.columns[0]))
    rows = GroupRows(gid=2, t_us=np.array([5]), raw=np.array([[1], [4]]))
    box = Box(seed=1)
    with Backend(tmp_path, boxes=[box]) as backend:
        backend.take(box.chain().next(dictionary=[group], groups=[rows]))
        backend.project()
        with backend.database.reading() as session:
            blocks = read_trace(
                session, org_id=ORG, device_id=box.device, from_us=START_US, to_us=START_US + 10, signals=None
            )
            assert [(row[2].name, row[3]) for block in blocks for row in block] == [("pt.ENGINE.Rpm", 1.0)]


def test_a_name_that_a_spreadsheet_would_run_is_made_harmless() -> None:
    merger = RowMerger()
    merger.add([chunk('=HYPERLINK("http://x")', [1]), chunk('quote"and,comma', [2])])
    lines = "".join(csv_of_rows([merger.release(before_us=None)])).splitlines()
    assert lines[1].split(",")[1].startswith("\"'=HYPERLINK")
    assert '"quote""and,comma"' in lines[2]
    assert [harmless(text) for text in ("+1", "-1", "@x", "km/h")] == ["'+1", "'-1", "'@x", "km/h"]


def test_times_are_exact_to_the_microsecond_also_before_1970() -> None:
    assert iso_us([0, -1, 1_795_500_000_123_456]) == [
        "1970-01-01T00:00:00.000000Z",
        "1969-12-31T23:59:59.999999Z",
        "2026-11-24T06:00:00.123456Z",
    ]


def test_a_way_is_cut_where_the_precision_changes() -> None:
    fix = Fix(t_us=0, mode=3, lat_e7=1, lon_e7=2)
    rows = [
        (at, fix, precision, TimeSource.DEVICE)
        for at, precision in enumerate([Precision.EXACT, Precision.EXACT, Precision.CELL])
    ]
    assert [len(segment) for segment in segments(rows)] == [2, 1]


def test_a_gpx_of_nothing_is_still_a_gpx() -> None:
    assert "".join(gpx_of_fixes([], device="a<b&c")).count("<trkseg>") == 0
    assert "a&lt;b&amp;c" in "".join(gpx_of_fixes([], device="a<b&c"))
