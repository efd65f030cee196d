"""`tbox agent profile`: which vehicle profiles there are, and what one would make of a recording.

Rules: nothing is sent and nothing is written. The recording runs through the agent's own engine
(`profile_dry_run`); what is told is counted, not estimated. A recording without a frame has the exit code of
one that the DBC does not know, as with `tbox decode`.

Example:
    $ tbox agent profile check --can drive.log --profile vw_mqb
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from device.adapters.log_files import SUPPORTED, LogError, LogReader
from device.adapters.log_times import credible
from device.agent.compiling import compile_table
from device.agent.process import EXITS, Exit, fail, print_json
from device.agent.profile_coverage import BusCoverage
from device.agent.profile_dry_run import DryRun
from device.agent.profile_report import Recording, Report
from device.agent.replay_log import DriveLog, Timeline, survey
from device.agent.wiring import plan_bus, read_table
from device.errors import ConfigError, EdgeError
from device.events import FramesReceived
from device.profile_library import find_dbc, find_profile, shipped_profiles
from device.profile_reader import read_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.acquisition.table import DecodeTable
    from device.intake import BusPlan
    from device.profile import Profile

# What an American driver spends at the wheel on an average day; the reader who knows better says so.
# Source: AAA Foundation, American Driving Survey 2022 (60.2 minutes).
HOURS_A_DAY = 1.0

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Vehicle profiles: which there are, and what one would collect.",
    epilog=EXITS,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class _NoFrameError(LogError):
    """The log is one, and there is no frame in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bus:
    """One bus of the profile, ready to be fed."""

    dbc: Path
    plan: BusPlan
    coverage: BusCoverage


@app.command("list", epilog="Example: tbox agent profile list --json")
def list_profiles(*, as_json: AsJson = False) -> None:
    """Say which profiles come along, and for which cars."""
    profiles = {name: read_profile(find_profile(name)) for name in shipped_profiles()}
    if as_json:
        rows = [
            {"name": name, "family": one.family, "powertrain": one.powertrain, "start_type": one.start_type}
            for name, one in profiles.items()
        ]
        print_json({"profiles": rows})
        return
    for name, one in profiles.items():
        sys.stdout.write(f"{name:<20} {one.powertrain:<11} {one.start_type:<10} {one.family}\n")


@app.command(
    epilog="Example: tbox agent profile check --can drive.log --profile vw_mqb --json   |   " + EXITS
)
def check(
    *,
    can: Annotated[Path, typer.Option(help=f"CAN log: {SUPPORTED}.")],
    profile: Annotated[str, typer.Option(help="Profile: a TOML file, or a name of `profile list`.")],
    dbc: Annotated[
        list[Path] | None, typer.Option(help="DBC that the profile names, if it does not come along.")
    ] = None,
    bus: Annotated[
        str | None, typer.Option(help="Bus of the log that the profile's only bus is, when it has several.")
    ] = None,
    hours: Annotated[float, typer.Option(help="Hours a day that the car drives.", min=0.01, max=24.0)] = (
        HOURS_A_DAY
    ),
    as_json: AsJson = False,
) -> None:
    """Say what a recording contains and what the profile would collect from it: samples, bytes a month."""
    try:
        path = find_profile(profile)
        vehicle = read_profile(path)
        first_us = _first_us(can)
        buses = _ready(vehicle, path, dbc or [])
        places = _places(can, first_us, buses, only=bus)
        report = _run(can, vehicle, buses, *places, hours=hours, quiet=as_json)
    except _NoFrameError as error:
        sys.stderr.write(error.diagnostics() + "\n")
        raise typer.Exit(Exit.NOTHING_KNOWN) from error
    except ConfigError as error:
        fail(_not_checked(error))
    except EdgeError as error:
        fail(error)
    if as_json:
        print_json(report.as_json())
    else:
        sys.stdout.write("\n".join(report.lines()) + "\n")
    if report.known_frames == 0:
        sys.stderr.write(
            f"no frame of {can} is known to the profile's DBC\n"
            "Meaning: it is a profile of another car, or of another bus of this one\n"
            "Next step: give the profile of this car, or name its bus with --bus\n"
        )
        raise typer.Exit(Exit.NOTHING_KNOWN)


def _not_checked(error: ConfigError) -> EdgeError:
    """Return the same problems in the words of a check: no agent is starting here."""
    return EdgeError(
        "; ".join(error.problems),
        is_transient=False,
        meaning="nothing was checked: the profile, its DBC and the options do not go together",
        next_step="correct every point named above",
    )


def _first_us(can: Path) -> int:
    """Return the log's time of its first frame, before the DBC costs a second.

    Raises:
        LogError: the log cannot be read, or can be read once only.
        _NoFrameError: there is no frame in it.
    """
    reader = LogReader(can)
    if reader.is_pipe:
        raise LogError(can, "a pipe, and a check reads its log twice", "Write it to a file first.")
    lots = credible(reader.lots(), reader.errors)
    first_us = next((int(lot.t_us.min()) for lot in lots if lot.size), None)
    if first_us is None:
        raise _NoFrameError(can, "no frame in it", "Give a recording of a drive.")
    return first_us


def _ready(vehicle: Profile, path: Path, given: list[Path]) -> dict[str, _Bus]:
    """Compile every bus's DBC and fit the profile to it.

    Raises:
        EdgeError: a DBC is missing or cannot be used, or with everything that does not fit.
    """
    ready: dict[str, _Bus] = {}
    problems = [f"{file}: no such file" for file in given if not file.is_file()]
    if problems:
        raise ConfigError(tuple(problems))
    for name, profile in vehicle.buses.items():
        by_name = [file for file in given if file.name == profile.dbc]
        only = given if len(given) == len(vehicle.buses) == 1 else []
        dbc = next(iter([*by_name, *only]), None) or find_dbc(path, profile.dbc)
        if dbc is None:
            problems.append(f"{name}: {profile.dbc} does not come along: name it with --dbc")
            continue
        table = _compile(dbc)
        try:
            plan = plan_bus(name, table, vehicle)
        except ConfigError as error:
            problems += error.problems
            continue
        states = {state: rule for state, rule in vehicle.states.items() if rule.bus == name}
        problems += _unknown_states(vehicle, name, plan)
        ready[name] = _Bus(dbc=dbc, plan=plan, coverage=BusCoverage(profile, table, plan, states))
    if problems:
        raise ConfigError(tuple(problems))
    return ready


def _unknown_states(vehicle: Profile, bus: str, plan: BusPlan) -> list[str]:
    known = {f"{group.message}.{column.signal}" for group in plan.groups for column in group.columns}
    return [
        f"{bus}: state {name} asks for {rule.signal}, which the DBC does not have"
        for name, rule in vehicle.states.items()
        if rule.bus == bus and rule.signal not in known
    ]


def _compile(dbc: Path) -> DecodeTable:
    with tempfile.TemporaryDirectory(prefix="tbox-profile-") as folder:
        table = Path(folder, "check.table")
        for warning in compile_table(dbc, table):
            sys.stderr.write(f"warning: {warning}\n")
        return read_table(table)


def _run(
    can: Path,
    vehicle: Profile,
    buses: dict[str, _Bus],
    first_us: int,
    names: dict[str, str],
    *,
    hours: float,
    quiet: bool,
) -> Report:
    """Read the log once, through coverage and engine.

    Args:
        can: the log.
        vehicle: its profile.
        buses: of the profile.
        first_us: the log's time of its first frame.
        names: the profile's name of each bus of the log.
        hours: that the car drives a day.
        quiet: whether no progress is shown.

    Raises:
        LogError: the log cannot be read.
    """
    reader = LogReader(can)
    drive = DriveLog(reader, None, Timeline(first_us=first_us, utc_us=0, utc_source="not asked"))
    engine = DryRun({name: bus.plan for name, bus in buses.items()}, profile_hash=vehicle.profile_hash)
    unplanned: Counter[str] = Counter()
    span: list[int] = []
    with _progress(drive, quiet=quiet) as tell:
        for item in drive:
            assert isinstance(item.event, FramesReceived), "there is no receiver's log"
            lot = replace(item.event.lot, bus=names.get(item.event.lot.bus, item.event.lot.bus))
            span = [min([*span[:1], int(lot.t_us.min())]), max([*span[1:], int(lot.t_us.max())])]
            if item.event.lot.bus in names:
                buses[lot.bus].coverage.take(lot)
                engine.feed(replace(item, event=FramesReceived(lot=lot)))
            else:
                unplanned[item.event.lot.bus] += lot.size
            tell()
    return Report(
        recording=Recording(
            path=can,
            format="unknown" if reader.format is None else reader.format.value,
            seconds=(span[1] - span[0]) / 1_000_000,
            frames=drive.frames,
            unplanned=dict(unplanned),
            errors=drive.log_errors.count,
        ),
        profile=vehicle,
        dbcs={name: bus.dbc for name, bus in buses.items()},
        buses=tuple(bus.coverage for bus in buses.values()),
        collected=engine.finish(),
        hours_a_day=hours,
    )


def _places(
    can: Path, first_us: int, buses: dict[str, _Bus], *, only: str | None
) -> tuple[int, dict[str, str]]:
    """Return the log's time of its first frame, and the profile's name of each bus of the log.

    A profile of one bus means the only bus of the log, or the one that was named; several are found by name.

    Raises:
        LogError: the log cannot be read, or has several buses and none was named.
    """
    if len(buses) == 1:
        [(name, bus)] = buses.items()
        found = survey(can, bus=only, is_known=bus.plan.decoder.is_known)
        return found.first_us, {found.bus: name}
    return first_us, {name: name for name in buses}


@contextlib.contextmanager
def _progress(drive: DriveLog, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("reading"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=1.0, note="")

        def tell() -> None:
            bar.update(task, completed=drive.fraction_read, note=f"{drive.frames} frames")

        yield tell
