"""`tbox sim bench`: bring up everything a fitter's bench needs, say where it is, and end it all with Ctrl-C.

Rules: everything stays on this machine. The folder is made afresh, and nothing else is ever deleted. With
`--run` the installation is done at once by `tbox install car`, unattended, and its record verified; then the
command ends. Exit codes: 0 ended, or the record verified; 1 refused, with the finding's sentence; 2 wrong
usage.

Example:
    $ tbox sim bench --fault swapped-wires
    $ tbox sim bench --run --json
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from simulators.demo.lock_fitting import FittingError
from simulators.demo.report import EXPECTED_FAILURES
from simulators.install_bench_faults import DOES, BenchFault
from simulators.install_bench_world import InstallWorld
from simulators.mcu_board import FirmwareError
from simulators.processes import run, tbox

if TYPE_CHECKING:
    from types import FrameType

MARK = ".tbox-bench"
LOOK_S = 1.0


def bench(
    *,
    home: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("build/bench"),
    fault: Annotated[list[BenchFault] | None, typer.Option(help="What is wrong; may be given again.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same car.")] = 7,
    once: Annotated[
        bool, typer.Option("--run", help="Install unattended, verify the record, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring up a fitter's bench: car, box with real firmware, office, gate, and a job to do."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    console = Console(stderr=as_json)
    folder = home.absolute()
    _afresh(folder)
    _log_to(folder / "logs" / "broker.log")
    wrong = frozenset(fault or ())
    began = time.monotonic()
    try:
        with console.status("bringing up office, gate, box and car"):
            world = InstallWorld(home=folder, wrong=wrong, seed=seed)
            world.__enter__()
        try:
            ready_s = round(time.monotonic() - began, 1)
            for one in sorted(wrong):
                console.print(f"wrong here: {DOES[one]}", style="yellow")
            if once:
                _finish(install(world), ready_s, console, as_json=as_json)
                return
            _say(world, ready_s, console, as_json=as_json)
            while True:
                world.check()
                time.sleep(LOOK_S)
        finally:
            world.__exit__(None, None, None)
    except KeyboardInterrupt:
        console.print("\neverything is stopped")
    except (*EXPECTED_FAILURES, FittingError, FirmwareError) as failure:
        console.print(f"{type(failure).__name__}: {failure}", style="red", markup=False)
        console.print(f"logs are in {folder / 'logs'}", highlight=False)
        raise typer.Exit(1) from failure


def install(world: InstallWorld) -> dict[str, Any]:
    """Install unattended as a fitter would type it, verify the record, and return what both said."""
    began = time.monotonic()
    out = world.home / "job"
    done = run(tbox(*world.command(out), "--json"))
    said: dict[str, Any] = json.loads(done.output.splitlines()[-1] if done.output else "{}")
    said["exit"], said["took_s"] = done.exit_code, round(time.monotonic() - began, 1)
    if done.exit_code == 0:
        trust = world.home / "fitter" / "trust.json"
        world.write_trust(trust)
        words = ("install", "record", "verify", said["record"], "--trust", str(trust), "--json")
        verified = run(tbox(*words))
        said["verified"] = verified.exit_code == 0
        said["verify"] = json.loads(verified.output or "{}")
    return said


def _finish(said: dict[str, Any], ready_s: float, console: Console, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"ready_s": ready_s, **said}))
    elif said.get("verified"):
        console.print(
            f"[green]signed and verified[/] {said['record']}, {said['pdf']}\n"
            f"up after {ready_s} s, then {said['took_s']} s: waited {said['waited_s']} s",
            highlight=False,
        )
    else:
        console.print(f"[red]{said.get('finding', said.get('error'))}[/]  {said.get('message')}")
    if not said.get("verified"):
        raise typer.Exit(1)


def _say(world: InstallWorld, ready_s: float, console: Console, *, as_json: bool) -> None:
    host, port = world.bench.mcu.control
    places = {
        "box": str(world.box.home),
        "can": str(world.bench.can.path),
        "gnss": str(world.bench.nmea.path),
        "mcu": str(world.bench.mcu.line),
        "key": f"{host}:{port}",
        "api": world.cloud.api_url,
        "gate": world.gate_url,
        "job": world.job,
        "install": " ".join(["tbox", *world.command()]),
        "ready_s": ready_s,
    }
    if as_json:
        typer.echo(json.dumps(places))
        return
    for name, place in places.items():
        console.print(f"{name:<8} {place}", highlight=False, soft_wrap=True, markup=False)
    console.print("[dim]Ctrl-C ends everything[/]")


def _afresh(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise typer.BadParameter(
            f"{folder} was not made by `tbox sim bench`: choose another", param_hint="--home"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def _log_to(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    logging.basicConfig(
        filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
