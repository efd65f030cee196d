"""The installation story: a bench, a fitter's tool without a person, and a record that anyone can verify.

Rules: every part is a process of its own; the tool is `tbox install car` as a fitter types it, and the record
is verified by `tbox install record verify`, which asks nobody. The board's time runs faster than the world's:
so the story need not wait long for the relay test's ticket to end.

Example:
    tell_install(folder, seed, report)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from simulators.install_bench import VIN
from simulators.install_bench_cli import install
from simulators.install_bench_world import InstallWorld
from simulators.processes import run, tbox

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.demo.report import Report

BOARD_SPEED: Final = 3.0  # faster, and its clock would leave the orders' two minutes behind


def tell_install(folder: Path, seed: int, report: Report) -> None:
    """Tell it, and check what came out."""
    report.say("setting up office, gate, box, and a car that nobody has fitted")
    with InstallWorld(home=folder, seed=seed, speed=BOARD_SPEED) as world:
        report.say("all of it runs; the fitter's tool begins")
        said = install(world)
        with report.check(
            "install_signed", "ends with a record signed by box, microcontroller, fitter"
        ) as found:
            found.is_right(bool(said.get("verified")), str(said.get("message", "verified without a server")))
        with report.check("install_proved", "every proof passed, the relay's three among them") as found:
            steps = {row["step"]: row["state"] for row in said["verify"]["record"]["steps"]}
            wrong = [
                step for step, state in steps.items() if state not in ("PASS", "LATER") and step != "RECORD"
            ]
            found.no_problems(wrong, f"{len(steps) - 1} steps, {said['took_s']} s")
        with report.check("install_known", "the office knows the vehicle's box by that record") as found:
            vehicle = world.cloud.api.get(f"/v1/vehicles/{VIN}")
            found.is_right(
                [row["device"] for row in vehicle["bindings"]] == [world.box.device], f"{VIN} has one box"
            )
        with report.check(
            "install_car_as_found", "the relay is free and no frame disturbed the bus"
        ) as found:
            seen = world.bench.look()
            found.is_right(seen["disturbed"] == 0, f"{seen['frames']} frames heard, {seen['received']} sent")
        with report.check("install_no_more", "the used work ticket begins nothing more") as found:
            again = run(tbox(*world.command(folder / "again"), "--json"))
            said = json.loads(again.output.splitlines()[-1])
            found.is_right(again.exit_code != 0, f"{said['error']}: {said['message']}")
