"""Every command that the running demonstration shows does what its title says when it is pasted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from simulators import drive_cycles
from simulators.demo.looking import places
from simulators.processes import TBOX
from simulators.stored import Stored
from simulators.world import World

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def paste(command: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell whose `tbox` is ours; one that never ends by itself gets a second."""
    (path / "tbox").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{TBOX}' \"$@\"\n")
    (path / "tbox").chmod(0o755)
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    shell = ["timeout", "1", "sh", "-c", command] if command.startswith("tail") else ["sh", "-c", command]
    return subprocess.run(shell, env=env, capture_output=True, text=True, check=False)


def test_every_command_works_when_it_is_pasted(tmp_path: Path) -> None:
    began_us = time.time_ns() // 1000
    with World(home=tmp_path / "demo", seed=2, legs=drive_cycles.city(2, 40), batch_age_s=1.0) as world:
        world.set_off()
        device = Stored(api=world.cloud.api, device=world.box.device)
        assert world.wait_for(lambda: any(batch.seq > 9 for batch in device.batches()), 30)
        tools = tmp_path / "bin"
        tools.mkdir()
        told = {}
        for title, command in places(world, began_us=began_us):
            assert world.cloud.files.admin_key.read_text().strip() not in command
            done = paste(f"curl -sSf {command}" if command.startswith("http") else command, tools)
            assert done.returncode in (0, 124), f"{title}: {command}\n{done.stderr}{done.stdout}"
            told[title] = done.stdout
    assert "Vehicle.Speed" in told["the trace, at the server"]
    assert '"Vehicle.Speed"' in told["latest state, over HTTP"]
    assert '"value":' in told["speeds, over HTTP"]
    assert "LineString" in told["the way it drove, as GeoJSON"]
    assert '"result":"verified"' in told["its batches, each verified now"]
    assert told["verify it, without the server"].startswith("VERIFIED")
    assert "agent started" in told["what the processes log"]
