"""The demonstration's report: a failed check is named, the others still run, the last line is JSON."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner

from simulators.demo.command import MARK, app
from simulators.demo.report import Report
from simulators.processes import ProcessDiedError

if TYPE_CHECKING:
    from pathlib import Path


TRUE, FALSE = True, False  # by name, since a bare truth says nothing in a call


def a_report() -> Report:
    return Report(console=Console(file=io.StringIO(), width=200))


def shown(report: Report) -> str:
    report.console.print(report.table())
    assert isinstance(report.console.file, io.StringIO)
    return report.console.file.getvalue()


def test_a_report_without_checks_is_not_ok() -> None:
    assert not a_report().is_ok


def test_a_failed_check_is_named_and_the_next_still_runs() -> None:
    report = a_report()
    with report.check("first", "one is two") as found:
        found.is_right(FALSE, "it is 1")
        found.is_right(TRUE, "never reached")
    with report.check("second", "one is one") as found:
        found.is_right(TRUE, "it is")
        found.is_right(TRUE, "and less than two")
    assert json.loads(report.json()) == {
        "ok": False,
        "checks": [
            {"id": "first", "ok": False, "detail": "it is 1"},
            {"id": "second", "ok": True, "detail": "it is; and less than two"},
        ],
    }
    assert "one is two: it is 1" in shown(report)


def test_what_the_product_does_wrong_is_a_failed_check_and_what_we_do_wrong_is_not() -> None:
    report = a_report()
    with report.check("dead", "the bridge runs"):
        raise ProcessDiedError("bridge ended with exit code 1")
    assert report.results[0].detail == "ProcessDiedError: bridge ended with exit code 1"
    with pytest.raises(ZeroDivisionError), report.check("ours", "we can count"):
        _ = 1 / 0
    assert len(report.results) == 1


def test_many_problems_are_shown_by_the_first_few() -> None:
    report = a_report()
    with report.check("many", "nothing is wrong") as found:
        found.no_problems(["a", "b", "c", "d", "e"], "nothing is")
    with report.check("none", "nothing is wrong") as found:
        found.no_problems([], "nothing is")
    assert [result.detail for result in report.results] == ["a; b; c; and 2 more", "nothing is"]


def test_details_with_brackets_are_shown_as_they_are() -> None:
    report = a_report()
    with report.check("brackets", "text is text") as found:
        found.is_right(FALSE, "values [1, 2] and [bold]")
    assert "values [1, 2] and [bold]" in shown(report)


def test_a_folder_that_the_demonstration_did_not_make_is_never_deleted(tmp_path: Path) -> None:
    mine = tmp_path / "once"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(app, ["--once", "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert not (mine / MARK).exists()
