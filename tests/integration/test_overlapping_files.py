"""What is read is never overwritten: outputs that are inputs, logs named like unfinished files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from device.agent.cli import app as agent
from device.decode_cli import app as decode
from tests.builders.can import dbc_text

if TYPE_CHECKING:
    from pathlib import Path

    from typer import Typer

DBC = dbc_text('BO_ 1 M: 8 ECU\n SG_ S : 0|8@1+ (1,0) [0|0] "" ECU\n')
LOG = "(1.000000) can0 001#0500000000000000\n"


def run(app: Typer, *words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard"])
def test_a_table_is_not_written_over_its_dbc(tmp_path: Path, link: str) -> None:
    dbc = tmp_path / "car.dbc"
    dbc.write_text(DBC)
    out = dbc if link == "itself" else tmp_path / "other.dbc"
    if link == "symbolic":
        out.symlink_to(dbc)
    elif link == "hard":
        os.link(dbc, out)
    done = run(agent, "compile", "--dbc", dbc, "--out", out)
    assert done.exit_code == 2
    assert "it is what is read, and would be overwritten" in done.stderr
    assert dbc.read_text() == DBC


def test_a_log_named_like_an_unfinished_file_is_read_and_kept(tmp_path: Path) -> None:
    dbc, log, out = tmp_path / "car.dbc", tmp_path / "drive.csv.partial", tmp_path / "drive.csv"
    dbc.write_text(DBC)
    log.write_text(LOG)
    done = run(decode, "--dbc", dbc, "--log", log, "--out", out)
    assert done.exit_code == 0
    assert log.read_text() == LOG
    assert out.read_text().endswith("1.000000,can0,M,S,5,\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["car.dbc", "drive.csv", "drive.csv.partial"]


def test_a_hard_link_of_the_log_is_not_written_over(tmp_path: Path) -> None:
    dbc, log, out = tmp_path / "car.dbc", tmp_path / "drive.log", tmp_path / "drive.csv"
    dbc.write_text(DBC)
    log.write_text(LOG)
    os.link(log, out)
    assert run(decode, "--dbc", dbc, "--log", log, "--out", out).exit_code == 2
    assert log.read_text() == LOG
