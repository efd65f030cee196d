"""`tbox demo`: set everything up, drive, and show where to look; or tell the stories to their end, checked.

Rules: all of it stays on this machine, on free ports, below one folder. Ctrl-C ends every process. `--once`
always starts afresh in a folder of its own, and its last line on standard output is one JSON object. Exit
codes: 0 done and, with `--once`, every check held; 1 a check failed, or something could not be started; 2
wrong usage.

Example:
    $ tbox demo
    $ tbox demo --once --seed 7
    $ tbox demo --once --story lock
"""

import logging
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from simulators import drive_cycles
from simulators.api_client import ApiRefusedError
from simulators.demo.attacks import Attacks
from simulators.demo.checks import Checks
from simulators.demo.drive import DRIVE_SECONDS, drive
from simulators.demo.lock_fitting import FittingError
from simulators.demo.lock_story import LockStory
from simulators.demo.lock_world import LockWorld
from simulators.demo.looking import places
from simulators.demo.report import EXPECTED_FAILURES, CheckFailedError, Report
from simulators.mcu_board import FirmwareError
from simulators.stored import Stored
from simulators.world import World

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="A simulated car driving, from CAN bus to signed trace.",
)

MARK = ".tbox-demo"  # in every folder that this command made; nothing else is ever deleted
LIVE_BATCH_AGE_S = 5.0
ONCE_BATCH_AGE_S = 2.0
WIDTH = 150
REFRESH_SECONDS = 1.0
COUNT_EVERY = 3  # refreshes between two questions to the API


class StoryName(StrEnum):
    """The stories one can choose, `all` being the first two; the live demonstration is the first's drive."""

    TELEMETRY = "telemetry"
    LOCK = "lock"
    INSTALL = "install"
    ALL = "all"


@app.command(epilog="Example: tbox demo --once --seed 7")
def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Run the story to its end, check it, and stop.")
    ] = False,
    home: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("build/demo"),
    reset: Annotated[bool, typer.Option("--reset", help="Forget earlier runs first.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same car and drive.")] = 7,
    story: Annotated[StoryName, typer.Option(help="With --once: which story.")] = StoryName.ALL,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the JSON object only.")] = False,
) -> None:
    """Show a simulated car driving, from its CAN bus to a signed and verified trace."""
    if story in (StoryName.LOCK, StoryName.INSTALL) and not once:
        raise typer.BadParameter(
            "this story is told to its end: add --once (make: ONCE=1)", param_hint="--story"
        )
    signal.signal(signal.SIGTERM, _as_interrupt)
    # Into a file or a pipe, lines are as long as the table needs; on a terminal, as wide as that is.
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else WIDTH)
    folder = (home / "once" if once else home / "live").absolute()
    if reset or once:
        _forget(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    _log_to(folder / "logs" / "broker.log")
    try:
        is_ok = _run_once(folder, seed, console, story) if once else _run_live(folder, seed, console)
    except KeyboardInterrupt:
        console.print("\neverything is stopped")
        raise typer.Exit(1 if once else 0) from None
    raise typer.Exit(0 if is_ok else 1)


def _run_once(folder: Path, seed: int, console: Console, story: StoryName) -> bool:
    """Tell the stories, print table and JSON, and return whether every check held."""
    report = Report(console=console)
    begun = time.monotonic()
    if story is StoryName.INSTALL:
        from simulators.demo.install_story import tell_install  # noqa: PLC0415 - it stands on this package

        _tell(report, "install story", partial(tell_install, folder / "install", seed, report))
        return _told(report, begun, folder, console)
    has_both = story is StoryName.ALL
    locking = LockWorld(home=folder / "lock", seed=seed, is_patient=has_both)
    with ThreadPoolExecutor(1) as aside:  # people meet for their ceremonies while the car of the first drives
        preparing = aside.submit(locking.prepare) if has_both else None
        if story is not StoryName.LOCK:
            _tell(report, "telemetry story", partial(_tell_telemetry, folder, seed, report))
        if story is not StoryName.TELEMETRY:
            _tell(report, "lock story", partial(_tell_lock, locking, preparing, report))
    return _told(report, begun, folder, console)


def _told(report: Report, begun: float, folder: Path, console: Console) -> bool:
    console.print(report.table())
    console.print(f"{time.monotonic() - begun:.0f} s, logs in {folder}/**/logs", highlight=False)
    typer.echo(report.json())
    return report.is_ok


def _tell(report: Report, name: str, story: Callable[[], None]) -> None:
    """Tell a story; one that breaks off is a check that failed."""
    begun = time.monotonic()
    try:
        story()
    except (*EXPECTED_FAILURES, CheckFailedError, FittingError, FirmwareError) as failure:
        report.fail(
            name.replace(" ", "_"), f"the {name} runs to its end", f"{type(failure).__name__}: {failure}"
        )
    report.say(f"{name}: {time.monotonic() - begun:.0f} s")


def _tell_telemetry(folder: Path, seed: int, report: Report) -> None:
    report.say("setting up server, broker and box")
    legs = drive_cycles.city(seed, DRIVE_SECONDS)
    with World(home=folder, seed=seed, legs=legs, batch_age_s=ONCE_BATCH_AGE_S) as world:
        report.say("all of it runs")
        facts = drive(world, report)
        Checks(world, facts, report).run()
        Attacks(world, facts, report).run()


def _tell_lock(world: LockWorld, preparing: Future[None] | None, report: Report) -> None:
    report.say("setting up lender, gate, loan system, microcontroller, and another server, broker and box")
    if preparing is not None:
        preparing.result()
    with world:
        report.say("all of it runs")
        world.set_off()
        LockStory(world, report).tell()


def _run_live(folder: Path, seed: int, console: Console) -> bool:
    """Drive until Ctrl-C; returns false when something could not be started or died."""
    console.print("setting up server, broker and box …")
    try:
        with World(
            home=folder, seed=seed, legs=drive_cycles.day(seed), batch_age_s=LIVE_BATCH_AGE_S
        ) as world:
            world.set_off()
            console.print(
                f"\na simulated car drives; its box is [bold]{world.box.device}[/]\n", highlight=False
            )
            for title, command in places(world, began_us=time.time_ns() // 1000):
                console.print(f"[dim]# {title}[/]", highlight=False)
                console.print(command, highlight=False, markup=False, soft_wrap=True)
            console.print("\n[dim]Ctrl-C ends everything[/]")
            _watch(world, console)
    except EXPECTED_FAILURES as failure:
        console.print(f"{type(failure).__name__}: {failure}", style="red", markup=False)
        console.print(f"logs are in {folder / 'logs'}; --reset starts afresh", highlight=False)
        return False
    return True


def _watch(world: World, console: Console) -> None:
    """Show one live line until something dies or someone presses Ctrl-C."""
    stored = Stored(api=world.cloud.api, device=world.box.device)
    seen = "no batch yet"
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        turn = 0
        while True:
            world.check()
            if turn % COUNT_EVERY == 0:
                seen = _progress(stored)
            live.update(Text(f"{_car_now(world)}   {seen}"))
            turn += 1
            time.sleep(REFRESH_SECONDS)


def _progress(stored: Stored) -> str:
    """Return how far the server is, in a few words."""
    try:
        chains = stored.chains()
    except (ApiRefusedError, OSError) as failure:
        return f"the API does not answer: {failure}"
    return f"{sum(chain['stored_count'] for chain in chains)} batches verified and stored"


def _car_now(world: World) -> str:
    state, counters = world.car.car.vehicle.state, world.car.adapter.counters
    return (
        f"{state.ignition.name:<5} {state.speed_mps * 3.6:5.1f} km/h {state.rpm:5.0f} rpm "
        f"{state.supply_v:5.2f} V {state.odometer_m / 1000:9.2f} km   {counters.sent} frames sent"
    )


def _forget(folder: Path) -> None:
    """Delete an earlier run.

    Raises:
        typer.BadParameter: the folder has something in it and was not made by this command.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise typer.BadParameter(f"{folder} was not made by `tbox demo`: choose another", param_hint="--home")
    shutil.rmtree(folder, ignore_errors=True)


def _log_to(path: Path) -> None:
    """Let the broker's library and the simulators write a log of their own instead of to the screen."""
    path.parent.mkdir(exist_ok=True)
    logging.basicConfig(
        filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM end everything in the same order as Ctrl-C."""
    del number, frame
    raise KeyboardInterrupt
