"""Every bench goes through all of its lines at tiny size: values are compared, and rows come out.

Figures at this size mean nothing, so none is looked at: what counts is that a bench does not break.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import (
    agent_process,
    batch_encode,
    batch_size,
    cli,
    decode_arrays,
    decode_messages,
    envelope_verify,
    ingest,
    read_candump,
    storage,
)
from benchmarks.bench import Bench, Setting
from benchmarks.recordings import Recordings
from benchmarks.result import LeftOut, Line, Row, table

if TYPE_CHECKING:
    from pathlib import Path

HERE = Recordings(folder=None)
QUICK = [
    decode_arrays,
    decode_messages,
    read_candump,
    batch_size,
    batch_encode,
    envelope_verify,
    ingest,
    storage,
]


def lines_of(bench: Bench, folder: Path, recordings: Recordings = HERE) -> list[Line]:
    return list(bench.run(Setting(recordings=recordings, folder=folder, is_tiny=True, rounds=3)))


@pytest.mark.parametrize("module", QUICK, ids=lambda module: module.__name__)
def test_a_bench_finds_rows_for_its_goals_without_any_recording(module: object, tmp_path: Path) -> None:
    bench: Bench = module.BENCH  # type: ignore[attr-defined]
    lines = lines_of(bench, tmp_path)
    rows = [line for line in lines if isinstance(line, Row)]
    assert {line.id for line in lines} == {row.id for row in rows} == set(bench.ids)
    for row in rows:
        assert row.ratio > 0
        assert row.measured
        assert row.baseline
    assert all(row.case in table(lines) for row in rows)


def test_rows_that_need_recordings_are_left_out_with_the_reason(tmp_path: Path) -> None:
    for bench in (decode_messages.BENCH, read_candump.BENCH, batch_size.BENCH):
        left_out = [line for line in lines_of(bench, tmp_path) if isinstance(line, LeftOut)]
        assert left_out
        assert all("TBOX_TEST_DATA" in line.why for line in left_out)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("module", [decode_messages, read_candump, batch_size, batch_encode])
def test_with_recordings_nothing_is_left_out(module: object, tmp_path: Path, test_data: Path) -> None:
    bench: Bench = module.BENCH  # type: ignore[attr-defined]
    lines = lines_of(bench, tmp_path, Recordings(folder=test_data))
    assert [line for line in lines if isinstance(line, LeftOut)] == []


@pytest.mark.slow
def test_the_agent_is_measured_as_a_process_and_every_frame_is_accounted_for(tmp_path: Path) -> None:
    cases = [line.case for line in lines_of(agent_process.BENCH, tmp_path) if isinstance(line, Row)]
    assert [case.split()[0].rstrip(",") for case in cases] == ["processor", "memory", "cold"]


def test_every_bench_is_found_by_the_command_and_no_goal_has_two() -> None:
    found = cli.load_benches()
    names = [name for bench in found.values() for name in bench.ids]
    assert sorted(names) == sorted(set(names))
    goals = {"A1", "A4", "A5", "B1", "B2", "C1", "E1", "E2", "E3", "AGENT", "FUNNEL", "UPDATE", "INSTALL"}
    assert goals == set(names)
