"""`tbox sim` writes logs that other tools read, the same for a seed, and runs until it is told to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import can
import pytest
from typer.testing import CliRunner

from simulators.bus_traffic import EXTENDED, CanFrame
from simulators.cli import app
from tests.builders.sim import car

if TYPE_CHECKING:
    from pathlib import Path

RUN = "from simulators.cli import app; app()"


def write(folder: Path, *more: str) -> tuple[bytes, bytes]:
    """Write a log by the command and return both files' bytes."""
    out, nmea = folder / "drive.log", folder / "drive.nmea"
    result = CliRunner().invoke(
        app, ["log", "--out", str(out), "--nmea", str(nmea), "--seconds", "30", *more]
    )
    assert result.exit_code == 0, result.output
    return out.read_bytes(), nmea.read_bytes()


def test_the_same_seed_writes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    first = write(tmp_path, "--seed", "7")
    assert write(tmp_path, "--seed", "7") == first
    other = write(tmp_path, "--seed", "8")
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_python_can_reads_the_log_as_the_car_said_it(tmp_path: Path) -> None:
    write(tmp_path, "--seed", "7", "--start", "2026-01-05T08:00:00+00:00")
    with can.LogReader(tmp_path / "drive.log") as reader:
        read = list(reader)
    said = [item for item in car(7, seconds=30).until(30_000_000) if isinstance(item, CanFrame)]
    assert [(m.arbitration_id | EXTENDED * m.is_extended_id, bytes(m.data)) for m in read] == [
        (frame.can_id, frame.data) for frame in said
    ]
    assert read[0].timestamp == pytest.approx(1_767_600_000 + said[0].t_us / 1e6, abs=1e-6)


def test_a_start_that_is_no_time_is_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["log", "--out", str(tmp_path / "x"), "--start", "yesterday"])
    assert result.exit_code == 2
    assert "yesterday" in result.output
    assert not (tmp_path / "x").exists()


def test_json_says_what_was_written(tmp_path: Path) -> None:
    arguments = ["log", "--out", str(tmp_path / "x"), "--seconds", "10", "--cycle", "park", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.output) == {"frames": 0, "nmea_lines": 0, "out": str(tmp_path / "x")}


@pytest.mark.parametrize("command", [["car", "--json"], ["broker", "--json", "--folder", "pki"]])
def test_a_running_command_says_where_it_is_and_ends_on_ctrl_c(tmp_path: Path, command: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said.keys() >= ({"can", "nmea"} if command[0] == "car" else {"port", "ca"})
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
