"""`tbox agent compile`: who is to blame when no table comes of it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from device.acquisition.table import DecodeTable
from device.agent.cli import app
from tests.builders.can import dbc_text

DBC = dbc_text('BO_ 1 M: 8 ECU\n SG_ S : 0|8@1+ (1,0) [0|0] "" ECU\n')


def test_a_table_that_cannot_be_written_is_not_the_dbcs_fault(tmp_path: Path) -> None:
    (tmp_path / "car.dbc").write_text(DBC)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.table").mkdir()
    for out in (tmp_path / "file" / "can0.table", tmp_path / "folder.table"):
        done = CliRunner().invoke(app, ["compile", "--dbc", str(tmp_path / "car.dbc"), "--out", str(out)])
        assert done.exit_code == 2
        assert f"{out}: " in done.stderr
        assert "nothing is wrong with the DBC" in done.stderr
        assert "check the path, its permissions and the space" in done.stderr


def test_a_dbc_that_cannot_be_read_is(tmp_path: Path) -> None:
    out = tmp_path / "can0.table"
    done = CliRunner().invoke(app, ["compile", "--dbc", str(tmp_path / "gone.dbc"), "--out", str(out)])
    assert done.exit_code == 2
    assert "gone.dbc" in done.stderr
    assert "nothing is wrong with the DBC" not in done.stderr


@pytest.mark.parametrize(("matching", "is_j1939"), [("dbc", False), ("j1939", True), ("exact", False)])
def test_how_frames_find_their_message_can_be_said(tmp_path: Path, matching: str, *, is_j1939: bool) -> None:
    (tmp_path / "car.dbc").write_text(DBC.replace("BO_ 1 ", "BO_ 2566844926 "))
    out = tmp_path / "can0.table"
    where = ["compile", "--dbc", str(tmp_path / "car.dbc"), "--out", str(out)]
    assert CliRunner().invoke(app, [*where, "--matching", matching]).exit_code == 0
    assert DecodeTable.from_bytes(out.read_bytes()).messages[0].is_j1939 is is_j1939


def test_a_matching_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "car.dbc").write_text(DBC)
    where = ["compile", "--dbc", str(tmp_path / "car.dbc"), "--out", str(tmp_path / "t")]
    done = CliRunner().invoke(app, [*where, "--matching", "roughly"])
    assert done.exit_code == 2
    assert "use one of dbc, j1939, exact" in done.stderr
