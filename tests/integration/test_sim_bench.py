"""`tbox sim bench`: a mistake is named, put right, and the job ends in a verified record, all of it real."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from simulators.install_bench_cli import install
from simulators.install_bench_faults import BenchFault
from simulators.install_bench_world import InstallWorld
from simulators.processes import run, tbox

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_mistake_is_named_put_right_and_the_same_job_ends_in_a_verified_record(tmp_path: Path) -> None:
    with InstallWorld(home=tmp_path, wrong=frozenset({BenchFault.SWAPPED_WIRES}), speed=3.0) as world:
        said = install(world)
        assert (said["exit"], said["finding"], said["step"]) == (1, "WIRES_SWAPPED", "IGNITION_WIRE")
        assert "swap them" in said["message"]
        world.bench.board.car.wrong = frozenset()
        done = run(tbox(*world.command(), "--redo", "IGNITION_WIRE", "--json"))
        found = json.loads(done.output.splitlines()[-1])
        assert (done.exit_code, found.get("verdict")) == (0, "bound"), found
        trust = tmp_path / "trust.json"
        world.write_trust(trust)
        words = ("install", "record", "verify", found["record"], "--trust", str(trust), "--json")
        assert run(tbox(*words)).exit_code == 0
        seen = world.bench.look()
        assert (seen["disturbed"], seen["coil"], seen["stalls"]) == (0, False, 0)
