"""What a box calls its signals cannot repaint a screen, and reaches a file as it is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders.backend import make_backend
from tests.builders.ingest import DICTIONARY, SPEED, WHEELS, Backend, Box

if TYPE_CHECKING:
    from tests.builders import backend as backend_builders

pytestmark = pytest.mark.usefixtures("each_database")

TBOX = Path(sys.executable).parent / "tbox"
EVIL = "a\x1b[2J\x9b31m\x7f\u202eb"  # clears the screen, paints it red, deletes, turns the line around
RANGE = ("--from", "2026-11-24T06:00:00Z", "--to", "2026-11-24T07:00:00Z")


@pytest.fixture
def home(tmp_path: Path) -> backend_builders.Backend:
    made = make_backend(tmp_path)
    box = Box(seed=1)
    group = replace(WHEELS, columns=(replace(SPEED, path=None, signal=EVIL), WHEELS.columns[1]))
    with Backend.at_home(made, boxes=[box]) as backend:
        backend.take(box.chain().next(dictionary=[group, *DICTIONARY[1:]]))
        backend.project()
    return made


def command(home: backend_builders.Backend, format_: str) -> list[str]:
    own = ["--home", str(home.settings.home), "--format", format_]
    return [str(TBOX), "backend", "trace", Box(seed=1).device, *RANGE, *own]


@pytest.mark.parametrize(
    "format_", ["csv", *(pytest.param(at, marks=pytest.mark.slow) for at in ("text", "jsonl"))]
)
def test_a_screen_shows_names_escaped(home: backend_builders.Backend, format_: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(home, format_), stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    text = shown.decode()
    assert "[2J" in text
    assert all(at.isprintable() or at in "\r\n" for at in text), ascii(text)


@pytest.mark.slow
def test_a_file_gets_every_name_as_the_box_has_it(home: backend_builders.Backend) -> None:
    done = subprocess.run(command(home, "jsonl"), capture_output=True, check=True, timeout=30)
    names = {json.loads(line)["signal"] for line in done.stdout.decode().splitlines() if EVIL[-1] in line}
    assert f"pt.WHEELS.{EVIL}" in names
    done = subprocess.run(command(home, "csv"), capture_output=True, check=True, timeout=30)
    assert f"pt.WHEELS.{EVIL}".encode() in done.stdout
