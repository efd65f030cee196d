"""`tbox decode` on nothing, or onto its own input: said, and nothing overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from device.decode_cli import app

if TYPE_CHECKING:
    from pathlib import Path

DBC = """VERSION ""
BU_: X
BO_ 304 Motion: 8 X
 SG_ Speed : 0|16@1+ (0.1,0) [0|0] "km/h" X
"""
FRAME = "(1.000000) can0 130#0102030405060708\n"


def decode(folder: Path, content: str, *more: str, log: str = "drive.log") -> tuple[int, str]:
    (folder / "car.dbc").write_text(DBC)
    (folder / log).write_text(content)
    paths = ["--dbc", str(folder / "car.dbc"), "--log", str(folder / log), "--out", str(folder / "drive.csv")]
    done = CliRunner().invoke(app, [*paths, *more])
    return done.exit_code, done.stderr


@pytest.mark.parametrize(("content", "more"), [("", ()), (FRAME, ("--bus", "can7"))])
def test_a_log_without_a_frame_to_decode_is_no_success(
    tmp_path: Path, content: str, more: tuple[str, ...]
) -> None:
    code, said = decode(tmp_path, content, *more)
    assert code == 3
    assert "no frame" in said


def test_a_log_is_not_overwritten_by_its_own_values(tmp_path: Path) -> None:
    code, said = decode(tmp_path, FRAME, log="drive.csv")
    assert code == 2
    assert "overwritten" in said
    assert (tmp_path / "drive.csv").read_text() == FRAME
