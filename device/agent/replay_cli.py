"""`tbox agent replay`: a recorded drive through the agent's own path, and an account of every frame.

Rules: everything is read and checked before anything is sealed: a DBC that knows no frame of the log's
beginning, a log of several buses without a name, an NMEA log without time, a certificate that no broker can
be shown. What is said at the end is `replay_report`'s.

Example:
    $ tbox agent replay --home box --can drive.log --dbc car.dbc --start 2026-11-24T08:00:00Z
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from device.acquisition.decode import Decoder
from device.adapters.log_files import SUPPORTED, LogReader
from device.adapters.system_clock import SystemClock
from device.adapters.tls import credential_problem
from device.agent.compiling import MATCHING_HELP, MATCHINGS, compile_table
from device.agent.home import AgentHome
from device.agent.process import Exit, fail, supervise
from device.agent.replay import Outcome, Replay, replay_tuning
from device.agent.replay import Progress as Standing
from device.agent.replay_log import SECOND_US, DriveLog, Survey, Timeline, place, survey
from device.agent.replay_report import leave, report, utc_text
from device.agent.settings import PRECISIONS, read_settings
from device.agent.wiring import Wired, plan_bus, read_table, wired
from device.errors import EdgeError
from device.profile_reader import read_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.acquisition.table import DecodeTable
    from device.profile import Profile

WARNINGS_SHOWN = 5
SPEED_MAX = 1_000.0
AHEAD_US_MAX = 60 * SECOND_US  # clocks of two machines may differ by as much
WAIT_S_MAX = 86_400.0  # a day: who waits longer has forgotten it


def replay(
    *,
    home: Annotated[Path, typer.Option(help="Folder of this box: keys, certificate, settings, spool.")],
    can: Annotated[Path, typer.Option(help=f"CAN log: {SUPPORTED}.")],
    dbc: Annotated[Path, typer.Option(help="DBC file of the bus.")],
    nmea: Annotated[Path | None, typer.Option(help="NMEA 0183 log of the same drive.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="UTC of the log's first frame, like 2026-11-24T08:00:00Z. Default: the log's time stamps if "
            "they are an epoch, else the first valid RMC, else now."
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="Times real time; without it as fast as possible.", min=0.01, max=SPEED_MAX),
    ] = None,
    bus: Annotated[
        str | None, typer.Option(help="Bus of the log that the DBC is for, when it has several.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Vehicle profile: catalogue names, raw frames kept.")
    ] = None,
    matching: Annotated[str, typer.Option(help=MATCHING_HELP)] = MATCHINGS[0],
    precision: Annotated[str, typer.Option(help="Of positions: exact, cell, in_out, none.")] = "exact",
    wait: Annotated[
        float,
        typer.Option(help="Longest wait without progress for receipts, seconds.", min=0.0, max=WAIT_S_MAX),
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Feed a recorded drive through the agent's own path, keep every sample, wait until receipts cover it."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    clock = SystemClock()
    try:
        if precision not in PRECISIONS:
            raise _unusable(f"--precision {precision}", f"use one of {', '.join(PRECISIONS)}")
        start_us = _parse_start(start)
        place_of = AgentHome(home)
        trust = place_of.read_trust()
        settings = read_settings(place_of.settings)
        vehicle = None if profile is None else read_profile(profile)
        table = _compile(dbc, matching, quiet=as_json)
        found = survey(can, bus=bus, is_known=Decoder(table).is_known)
        timeline = place(found, start_us=start_us, nmea=nmea, now_us=clock.wall_us())
        _require_known(found, dbc, can)
        doubts = _doubts(found, timeline, vehicle, now_us=clock.wall_us())
        _say(timeline, doubts, quiet=as_json)
        ready = wired(
            place_of,
            trust,
            settings,
            plans={found.bus: plan_bus(found.bus, table, vehicle)},
            profile=vehicle,
            tuning=replay_tuning(
                settings.batch, settings.spool, precision=PRECISIONS[precision], speed=speed
            ),
        )
        _require_credentials(ready)
        drive = DriveLog(LogReader(can), nmea, timeline)
        outcome = _run(ready, place_of, drive, timeline, clock=clock, speed=speed, wait_s=wait, quiet=as_json)
    except EdgeError as error:
        fail(error)
    report(outcome, drive, timeline, found, doubts, as_json=as_json)
    leave(outcome)


def _run(
    ready: Wired,
    home: AgentHome,
    drive: DriveLog,
    timeline: Timeline,
    *,
    clock: SystemClock,
    speed: float | None,
    wait_s: float,
    quiet: bool,
) -> Outcome:
    with _progress(drive, quiet=quiet) as tell:

        async def live(stop_by: Callable[[Callable[[], None]], None]) -> Outcome:
            run = Replay(ready, home, drive, timeline, clock=clock, speed=speed, wait_s=wait_s, tell=tell)
            stop_by(run.stop)
            return await run.run()

        return supervise(live)


@contextlib.contextmanager
def _progress(drive: DriveLog, *, quiet: bool) -> Iterator[Callable[[Standing], None]]:
    """Show a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=1.0, note="")

        def tell(standing: Standing) -> None:
            note = f"{standing.frames} frames, {standing.pending} batches without receipt"
            doing = "reading" if standing.is_reading else "waiting for receipts"
            bar.update(task, completed=drive.fraction_read, description=doing, note=note)

        yield tell


def _compile(dbc: Path, matching: str, *, quiet: bool) -> DecodeTable:
    with tempfile.TemporaryDirectory(prefix="tbox-replay-") as folder:
        table = Path(folder, "replay.table")
        warnings = compile_table(dbc, table, matching)
        if not quiet:
            for warning in warnings[:WARNINGS_SHOWN]:
                sys.stderr.write(f"warning: {warning}\n")
            if len(warnings) > WARNINGS_SHOWN:
                sys.stderr.write(f"warning: and {len(warnings) - WARNINGS_SHOWN} more\n")
        return read_table(table)


def _parse_start(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as failure:
        raise _unusable(f"--start {text}: {failure}", "write it like 2026-11-24T08:00:00Z") from failure
    if moment.tzinfo is None:
        raise _unusable(f"--start {text}: no time zone", "write it like 2026-11-24T08:00:00Z")
    return round(moment.timestamp() * SECOND_US)


def _require_known(found: Survey, dbc: Path, can: Path) -> None:
    """Refuse a DBC of another car before anything is sealed."""
    if found.known == 0:
        frames = found.buses[found.bus]
        sys.stderr.write(
            f"0 of {frames} frames on bus {found.bus} of {can} are known to {dbc}\n"
            "Meaning: it is the DBC of another car or bus; nothing was replayed\n"
            "Next step: give the DBC of this car, or name its bus with --bus\n"
        )
        raise typer.Exit(Exit.NOTHING_KNOWN)


def _require_credentials(ready: Wired) -> None:
    """Refuse to begin with a certificate that no broker can be shown: every batch would stay pending."""
    uplink = ready.uplink
    problem = credential_problem(ca_file=uplink.ca_file, cert_file=uplink.cert_file, key_file=uplink.key_file)
    if problem is not None:
        raise EdgeError(
            f"the broker cannot be reached with these files: {problem}",
            is_transient=False,
            meaning="what is replayed would be stored and never sent; nothing was replayed",
            next_step="`tbox agent renew`, or enrol again with a fresh token",
        )


def _doubts(found: Survey, timeline: Timeline, vehicle: Profile | None, *, now_us: int) -> list[str]:
    """Return what a person may not have meant."""
    doubts = []
    ahead_us = timeline.utc_us - now_us
    if ahead_us > AHEAD_US_MAX:
        ahead = dt.timedelta(seconds=ahead_us // SECOND_US)
        doubts.append(
            f"the drive begins {ahead} in the future ({timeline.utc_source}): its batches would be evidence "
            "of a time that has not been. Is --start right, and this machine's clock?"
        )
    if vehicle is not None and found.bus not in vehicle.buses:
        doubts.append(f"profile {vehicle.name} says nothing about bus {found.bus}")
    return doubts


def _say(timeline: Timeline, doubts: list[str], *, quiet: bool) -> None:
    """Say what was decided on the person's behalf, and what looks wrong."""
    if quiet:
        return
    sys.stderr.write(f"UTC of the first frame: {utc_text(timeline.utc_us)} ({timeline.utc_source})\n")
    if timeline.nmea_source:
        sys.stderr.write(f"NMEA: {timeline.nmea_source}\n")
    for doubt in doubts:
        sys.stderr.write(f"warning: {doubt}\n")


def _unusable(what: str, next_step: str) -> EdgeError:
    return EdgeError(what, is_transient=False, next_step=next_step)
