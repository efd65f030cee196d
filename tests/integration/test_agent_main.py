"""The door of `tbox agent`: running loads only what running needs, and means the same in every spelling."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device.agent.process import Exit
from simulators.processes import TBOX

if TYPE_CHECKING:
    from pathlib import Path

NOT_IN_A_CAR = {"typer", "rich", "pydantic", "pandas", "pyarrow", "cantools"}


def type_words(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-c", TBOX, "agent", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def imported(run: subprocess.CompletedProcess[str]) -> set[str]:
    lines = (line for line in run.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def said(run: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in run.stderr.splitlines() if not line.startswith("import time:")]


def test_running_as_a_unit_file_writes_it_loads_nothing_of_the_other_commands(tmp_path: Path) -> None:
    run = type_words("run", "--home", str(tmp_path / "nowhere"))
    assert run.returncode == Exit.UNUSABLE
    assert {"numpy", "paho", "can", "device"} <= imported(run)
    assert imported(run) & NOT_IN_A_CAR == set()


def test_every_spelling_of_run_means_the_same(tmp_path: Path) -> None:
    home = str(tmp_path / "nowhere")
    straight, round_about = type_words("run", "--home", home), type_words("run", f"--home={home}")
    assert "typer" in imported(round_about)
    assert straight.returncode == round_about.returncode == Exit.UNUSABLE
    assert said(straight) == said(round_about)
    assert "no such folder" in said(straight)[0]


@pytest.mark.parametrize("words", [("run", "--help"), ("run", "--home", "--help"), ("run",), ("--help",)])
def test_words_that_are_not_quite_run_go_to_the_command_line(words: tuple[str, ...]) -> None:
    assert "typer" in imported(type_words(*words))
