"""The units in `deploy/systemd` are what systemd understands, and name commands that exist."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli import app
from tests.conftest import ROOT, need

pytestmark = pytest.mark.real

UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
INSTALLED = "/opt/tbox/bin/tbox"


def test_systemd_finds_nothing_wrong_with_our_units(tmp_path: Path) -> None:
    need("systemd-analyze", "mosquitto")
    for unit in UNITS:
        here = unit.read_text().replace(INSTALLED, str(Path(sys.executable).with_name("tbox")))
        (tmp_path / unit.name).write_text(here)
    names = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_misspelt_setting_would_be_found(tmp_path: Path) -> None:
    """Or the test above could not fail."""
    need("systemd-analyze")
    wrong = tmp_path / "wrong.service"
    wrong.write_text("[Service]\nExecStart=/bin/true\nRestrat=always\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(wrong)], capture_output=True, text=True, check=False
    )
    assert "Restrat" in done.stderr


def test_every_command_of_a_unit_is_one_of_ours() -> None:
    commands = [
        shlex.split(line.partition("=")[2])
        for unit in UNITS
        for line in unit.read_text().splitlines()
        if line.startswith("ExecStart=") and INSTALLED in line
    ]
    assert len(commands) == 7
    for _, group, *words in commands:
        assert group == "backend"
        verbs = words[: words.index("--home")]
        assert CliRunner().invoke(app, [*verbs, "--help"]).exit_code == 0
