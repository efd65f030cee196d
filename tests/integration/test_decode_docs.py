"""`docs/decode.md` is true: its commands run, its output is what is printed, its Python works."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device.adapters.log_errors import LogFault
from device.adapters.log_recognise import LogFormat
from device.decode_cli import app
from tests.builders.can import dbc_text

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "decode.md").read_text()

DBC = dbc_text(
    'BO_ 304 Motion: 8 ECU\n SG_ Speed : 0|16@1+ (0.01,0) [0|0] "km/h" ECU\n',
    'BO_ 305 EngineStatus: 8 ECU\n SG_ Rpm : 0|16@1+ (1,0) [0|0] "rpm" ECU\n'
    ' SG_ Torque : 16|16@1- (1,0) [0|0] "Nm" ECU\n SG_ Gear : 32|4@1+ (1,0) [0|0] "" ECU\n',
)
LOG = """\
(1795507200.000250) can0 130#1027000000000000
(1795507200.500000) can0 131#E803640002000000
(1795507200.750000) can0 131#D007640003000000
(1795507201.000001) can0 7FF#00
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "car.dbc").write_text(DBC)
    (tmp_path / "drive.log").write_text(LOG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run_and_the_output_is_the_one_that_is_shown(desk: Path) -> None:
    commands = [line for line in "".join(blocks("sh")).splitlines() if line.startswith("tbox decode ")]
    assert len(commands) == 2
    done = [CliRunner().invoke(app, shlex.split(command)[2:]) for command in commands]
    assert [one.exit_code for one in done] == [0, 0]
    assert done[0].stdout == blocks("text")[0]
    assert len((desk / "drive.csv").read_text().splitlines()) == 8
    assert len((desk / "drive.jsonl").read_text().splitlines()) == 7


def test_the_python_examples_work(capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks("python"):  # each is whole in itself
        exec(block, {})
    said = capsys.readouterr().out
    assert said.startswith("1 values, 0 bad places\n")
    assert "can0 EngineStatus Torque [1795507200500000 1795507200750000] [100 100] Nm" in said


def test_every_format_cause_and_exit_code_is_told() -> None:
    told = TEXT.lower()
    assert [form for form in LogFormat if form.value not in told] == []
    in_replays_only = {LogFault.ODD_TIME, LogFault.BEFORE_START}
    assert [cause for cause in set(LogFault) - in_replays_only if f"`{cause.value}`" not in TEXT] == []
    for code in ("0", "2", "3", "4", "130, 143"):
        assert f"| {code} | " in TEXT
