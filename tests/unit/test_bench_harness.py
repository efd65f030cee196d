"""The bench's own rules: statistics, what counts as met, the table, `bench.json`, and the gate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.bench import Bench
from benchmarks.harness import BenchBrokenError, Timing, require_same, round_robin
from benchmarks.machine import this_machine
from benchmarks.result import Goal, LeftOut, Row, at_least, at_most, markdown, summary, table, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Setting


class FakeClock:
    """A clock that candidates move: what they take is what the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_row(**changes: object) -> Row:
    fields: dict[str, object] = {
        "id": "X1",
        "case": "a case",
        "goal": at_least(10, "theirs"),
        "measured": "1 µs",
        "baseline": "12 µs",
        "ratio": 12.0,
    }
    return Row(**(fields | changes))  # type: ignore[arg-type]


def test_the_median_counts_and_best_and_worst_are_kept_beside_it() -> None:
    timing = Timing.of([3.0, 1.0, 10.0])
    assert (timing.median_s, timing.best_s, timing.worst_s) == (3.0, 1.0, 10.0)
    assert timing.spread == pytest.approx((1 / 3, 10 / 3))
    assert timing.a(10).median_s == pytest.approx(0.3)


def test_candidates_take_turns_and_the_first_call_of_each_is_not_timed() -> None:
    clock = FakeClock()
    order: list[str] = []
    takes = {"ours": iter([100.0, 1.0, 2.0, 3.0]), "theirs": iter([200.0, 30.0, 20.0, 10.0])}

    def candidate(name: str) -> None:
        order.append(name)
        clock.now += next(takes[name])

    timings = round_robin(
        {"ours": lambda: candidate("ours"), "theirs": lambda: candidate("theirs")},
        rounds=3,
        repeats=1,
        clock=clock,
    )
    assert order == ["ours", "theirs"] * 4
    assert timings["ours"] == Timing(median_s=2.0, best_s=1.0, worst_s=3.0)
    assert timings["theirs"] == Timing(median_s=20.0, best_s=10.0, worst_s=30.0)


def test_a_call_too_short_for_the_clock_is_repeated_and_its_time_is_still_that_of_one() -> None:
    clock = FakeClock()
    calls = 0

    def candidate() -> None:
        nonlocal calls
        calls += 1
        clock.now += 0.001

    timings = round_robin({"one": candidate}, rounds=3, clock=clock)
    assert timings["one"].median_s == pytest.approx(0.001)
    assert calls == 2 + 3 * 10


def test_a_candidate_with_other_values_is_not_timed() -> None:
    require_same("sums", 3, 3)
    with pytest.raises(BenchBrokenError, match="sums: values differ"):
        require_same("sums", 3, 4)


@pytest.mark.parametrize(
    ("goal", "reached", "short"), [(at_least(10, "x"), 10.0, 9.99), (at_most(1.25, "x"), 1.25, 1.26)]
)
def test_a_goal_is_met_at_its_bound_and_missed_beyond_it(goal: Goal, reached: float, short: float) -> None:
    assert a_row(goal=goal, ratio=reached).is_met is True
    assert a_row(goal=goal, ratio=short).is_met is False


def test_slack_forgives_times_but_not_sizes() -> None:
    late = a_row(ratio=8.0)
    assert not late.is_met
    assert late.passes(0.3)
    assert not a_row(ratio=6.9).passes(0.3)
    assert not a_row(ratio=8.0, is_exact=True).passes(0.3)
    assert a_row(goal=at_most(1.25, "x"), ratio=1.7).passes(0.3)
    assert not a_row(goal=at_most(1.25, "x"), ratio=1.8).passes(0.3)


def test_a_missed_goal_is_printed_as_missed_with_what_stands_in_the_way() -> None:
    lines = [
        a_row(),
        a_row(id="X2", ratio=3.0, note="the disk is slow"),
        a_row(id="X3", goal=None),
        LeftOut(id="X4", case="PostgreSQL", why="its programs are not here"),
    ]
    text = table(lines)
    assert "MISSED X2 a case: the disk is slow" in text
    assert "left out X4 PostgreSQL: its programs are not here" in text
    assert summary(lines) == "1 of 2 goals met; missed: X2 a case"
    by_id = {line.split()[0]: line for line in text.splitlines()[2:5]}
    assert "  met " in by_id["X1"]
    assert "  MISSED " in by_id["X2"]
    assert "met" not in by_id["X3"].lower()


def test_bench_json_is_a_list_of_rows_that_says_what_each_goal_came_to(tmp_path: Path) -> None:
    lines = [
        a_row(),
        a_row(id="X2", ratio=3.0),
        a_row(id="X3", goal=None),
        LeftOut(id="X4", case="all", why="no recordings"),
    ]
    path = tmp_path / "build" / "bench.json"
    write_json(path, lines, this_machine())
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [row["id"] for row in rows] == ["X1", "X2", "X3", "X4"]
    assert [row["met"] for row in rows] == [True, False, None, None]
    for row in rows:
        assert {"id", "goal", "measured", "baseline", "met", "case", "machine", "versions"} <= row.keys()
    assert rows[0]["goal"] == "≥ 10× theirs"
    assert rows[0]["versions"]["python"]
    assert rows[3]["note"] == "left out: no recordings"


def test_a_page_has_one_line_a_goal_with_its_reach_and_its_worst_case() -> None:
    lines = [
        a_row(case="easy", ratio=30.0),
        a_row(case="hard", ratio=12.0),
        a_row(case="disk", goal=at_most(1 / 30, "rows"), ratio=1 / 40),
        a_row(case="disk, small", goal=at_most(1 / 30, "rows"), ratio=1 / 20),
        a_row(id="X2", goal=None),
        LeftOut(id="X3", case="all", why="no recordings"),
    ]
    text = markdown(lines, this_machine())
    assert "| X1 | ≥ 10× theirs | 12× … 30× | 2 of 2 | hard | 1 µs | 12 µs |" in text
    assert "| X1 | ≤ 1/30 of rows | 1/20.0 … 1/40.0 | 1 of 2 | disk, small | 1 µs | 12 µs |" in text
    assert "3 of 4 goals met; missed: X1 disk, small." in text
    assert "X2" not in text


def a_bench(name: str, *lines: Row) -> Bench:
    """A bench that finds these rows."""
    return Bench(ids=(name,), title=name, run=lambda _: iter(lines))


def breaking(_setting: Setting) -> Iterator[Row]:
    raise BenchBrokenError("values differ")


def ids_in(path: Path) -> list[str]:
    return [row["id"] for row in json.loads(path.read_text(encoding="utf-8"))]


def test_a_missed_goal_is_no_failure_unless_the_gate_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benches = [
        a_bench("SLOW", a_row(id="SLOW", ratio=1.0, note="too slow")),
        a_bench("FINE", a_row(id="FINE")),
    ]
    out = tmp_path / "bench.json"
    assert cli.measure(benches, out=out, slack=None) == 0
    assert "MISSED SLOW a case: too slow" in capsys.readouterr().out
    assert cli.measure(benches, out=out, slack=0.3) == cli.EXIT_MISSED
    assert "gate: missed by more than 30%: SLOW a case" in capsys.readouterr().out
    assert ids_in(out) == ["SLOW", "FINE"]
    assert cli.measure(benches[1:], out=out, slack=0.3) == 0
    assert ids_in(out) == ["FINE"]
    assert list(tmp_path.iterdir()) == [out], "scratch space is gone"


def test_a_bench_that_breaks_fails_the_run_and_costs_no_other_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Bench(ids=("BAD",), title="broken", run=breaking)
    out = tmp_path / "bench.json"
    assert cli.measure([broken, a_bench("FINE", a_row(id="FINE"))], out=out, slack=None) == cli.EXIT_BROKEN
    said = capsys.readouterr()
    assert "BROKEN: BAD" in said.out
    assert "values differ" in said.err
    assert ids_in(out) == ["FINE"]


def test_goals_are_chosen_by_name() -> None:
    benches = [a_bench("A1"), a_bench("B1"), a_bench("E2")]
    assert [bench.ids for bench in cli.chosen("a1, E2", benches)] == [("A1",), ("E2",)]
    assert cli.chosen("", benches) == benches


def test_a_goal_that_nobody_knows_is_named_with_those_there_are() -> None:
    done = CliRunner().invoke(cli.app, ["--only", "Z9"])
    assert done.exit_code == cli.EXIT_USAGE
    for name in ("Z9", "A1", "AGENT"):
        assert name in done.output
