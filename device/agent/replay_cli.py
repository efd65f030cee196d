"""`tbox agent replay`: a recorded drive through the agent's own path, and an account of every frame.

Rules: everything is read and checked before anything is sealed: a DBC that knows no frame of the log's
beginning, a log of several buses without a name, an NMEA log without time. What is printed comes from the
signed headers.

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
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from device.adapters.log_files import LogReader
from device.adapters.system_clock import SystemClock
from device.agent.compiling import compile_table
from device.agent.home import AgentHome
from device.agent.process import Exit, fail, print_json, supervise
from device.agent.replay import Outcome, Replay, replay_tuning
from device.agent.replay import Progress as Standing
from device.agent.replay_log import SECOND_US, DriveLog, Survey, Timeline, place, survey
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
WAIT_S_MAX = 86_400.0  # a day: who waits longer has forgotten it


def replay(
    *,
    home: Annotated[Path, typer.Option(help="Folder of this box: keys, certificate, settings, spool.")],
    can: Annotated[Path, typer.Option(help="CAN log: candump -l text, Vector .asc or .blf.")],
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
        table = _compile(dbc, quiet=as_json)
        found = survey(can, bus=bus, known_ids={message.can_id for message in table.messages})
        timeline = place(found, start_us=start_us, nmea=nmea, now_us=clock.wall_us())
        _require_known(found, dbc, can)
        _say(found, timeline, vehicle, quiet=as_json)
        ready = wired(
            place_of,
            trust,
            settings,
            plans={found.bus: plan_bus(found.bus, table, vehicle)},
            profile=vehicle,
            tuning=replay_tuning(settings.batch, precision=PRECISIONS[precision], speed=speed),
        )
        drive = DriveLog(LogReader(can), nmea, timeline)
        outcome = _run(ready, place_of, drive, timeline, clock=clock, speed=speed, wait_s=wait, quiet=as_json)
    except EdgeError as error:
        fail(error)
    _report(outcome, drive, timeline, found, as_json=as_json)
    _exit(outcome)


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


def _compile(dbc: Path, *, quiet: bool) -> DecodeTable:
    with tempfile.TemporaryDirectory(prefix="tbox-replay-") as folder:
        table = Path(folder, "replay.table")
        warnings = compile_table(dbc, table)
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


def _say(found: Survey, timeline: Timeline, vehicle: Profile | None, *, quiet: bool) -> None:
    """Say what was decided on the person's behalf."""
    if quiet:
        return
    sys.stderr.write(f"UTC of the first frame: {_utc(timeline.utc_us)} ({timeline.utc_source})\n")
    if timeline.nmea_source:
        sys.stderr.write(f"NMEA: {timeline.nmea_source}\n")
    if vehicle is not None and found.bus not in vehicle.buses:
        sys.stderr.write(f"warning: profile {vehicle.name} says nothing about bus {found.bus}\n")


def _account(outcome: Outcome, drive: DriveLog, timeline: Timeline, found: Survey) -> dict[str, object]:
    tally = outcome.tally
    return {
        "ok": _code(outcome) is Exit.DONE,
        "bus": found.bus,
        "utc_start": _utc(timeline.utc_us),
        "utc_source": timeline.utc_source,
        "nmea_source": timeline.nmea_source or None,
        "frames_read": outcome.frames_read,
        "frames_decoded": tally.decoded,
        "frames_dropped": tally.frame_drops,
        "drops": dict(sorted(tally.drops.items())),
        "samples": tally.samples,
        "rows": tally.rows,
        "fixes": tally.fixes,
        "nmea_lines": drive.nmea_lines,
        "log_errors": drive.log_errors.count,
        "first_log_errors": list(drive.log_errors.first),
        "batches_sealed": tally.batches,
        "batches_receipted": outcome.receipted,
        "batches_pending": outcome.pending,
        "is_complete": outcome.is_complete,
        "seconds": round(outcome.seconds, 3),
    }


def _report(outcome: Outcome, drive: DriveLog, timeline: Timeline, found: Survey, *, as_json: bool) -> None:
    account = _account(outcome, drive, timeline, found)
    if as_json:
        print_json(account)
        return
    tally = outcome.tally
    lost = "".join(f" + {count} {cause}" for cause, count in tally.frame_drops.items())
    sys.stdout.write(f"frames:   {outcome.frames_read} read = {tally.decoded} decoded{lost}\n")
    sys.stdout.write(f"samples:  {tally.samples} in {tally.rows} rows, {tally.fixes} fixes\n")
    sys.stdout.write(
        f"batches:  {tally.batches} sealed, {outcome.receipted} receipted, {outcome.pending} pending "
        f"({outcome.seconds:.1f} s)\n"
    )
    for error in drive.log_errors.first:
        sys.stdout.write(f"log:      {error}\n")
    if drive.log_errors.count > len(drive.log_errors.first):
        sys.stdout.write(
            f"log:      and {drive.log_errors.count - len(drive.log_errors.first)} more places\n"
        )


def _exit(outcome: Outcome) -> NoReturn:
    tally = outcome.tally
    if outcome.is_stored:
        assert tally.is_balanced, "every frame is decoded or dropped by a named cause"
        assert tally.received == outcome.frames_read, "every frame that was read reached the engine"
    if not outcome.is_complete:
        sys.stderr.write(
            "stopped before the end of the log; what was read is stored. Run it again for the whole.\n"
        )
    elif not outcome.is_stored:
        sys.stderr.write("the disk did not take the last batches. Check its space, then run it again.\n")
    elif outcome.pending:
        sys.stderr.write(
            f"{outcome.pending} batches are stored and have no receipt yet. Check broker and bridge; "
            "`tbox agent run` or the next replay sends them.\n"
        )
    raise typer.Exit(_code(outcome))


def _code(outcome: Outcome) -> Exit:
    if outcome.is_interrupted:
        return Exit.INTERRUPTED
    return Exit.DONE if outcome.is_complete and outcome.is_stored and not outcome.pending else Exit.NOT_NOW


def _utc(utc_us: int) -> str:
    moment = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=utc_us)
    return moment.isoformat().replace("+00:00", "Z")


def _unusable(what: str, next_step: str) -> EdgeError:
    return EdgeError(what, is_transient=False, next_step=next_step)
