"""`tbox install flash`: a signed release onto a tray of boards, side by side.

Rules: the release is read whole and its signatures are judged before any board is touched. Each board has a
thread; one that fails does not stop the others. Running the same again goes on where a board was cut off.
Exit codes: 0 all boards have the release, 1 a rule refused one, 2 wrong usage, 3 one was cut short.

Example:
    $ tbox install flash --release build/release --trust t.json --port /dev/ttyACM0 --port /dev/ttyACM1
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from firmware_tools import boards, release, release_trust
from firmware_tools.cli_errors import EXITS, Exit, ToolError, told
from firmware_tools.flash import Report, flash
from firmware_tools.flash_plan import Job, Refusal
from protocol.limits import BOARDS_AT_ONCE_MAX

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    epilog="Example: tbox install flash --release build/release --trust t.json --port /dev/ttyACM0   |   "
    f"{EXITS}"
)
def flash_boards(
    folder: Annotated[Path, typer.Option("--release", help="Folder of the release.")],
    port: Annotated[list[str], typer.Option(help="A board's serial port; each board once.")],
    *,
    trust: Annotated[Path | None, typer.Option(help="Trust file: whose signatures count.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Trust the published test keys.")] = False,
    older: Annotated[
        bool, typer.Option("--older", help="Go back to an older release, down to the board's floor.")
    ] = False,
    no_car: Annotated[
        bool, typer.Option("--no-car", help="You have the box in your hand, and it is in no car.")
    ] = False,
    in_car: Annotated[
        bool, typer.Option("--in-car", help="The car's own update: a bound box is taken, a locked one never.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at the boards and change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put a signed release on boards, checked by hash on each, resumable after any interruption."""
    if (trust is None) is not demo:
        raise typer.BadParameter("name a trust file, or --demo for the published test keys")
    with told(as_json=as_json):
        found = release.read(folder)
        release_trust.require_signed(
            found, release_trust.demo_trust() if trust is None else release_trust.read_trust(trust)
        )
        if len({Path(name).resolve() for name in port}) != len(port) or len(port) > BOARDS_AT_ONCE_MAX:
            raise ToolError(
                Refusal.PORTS, f"Name each port once, and at most {BOARDS_AT_ONCE_MAX} of them in one call."
            )
        job = Job(
            release=found,
            board=boards.load(found.manifest.board),
            is_older_wanted=older,
            is_no_car=no_car,
            is_in_car=in_car,
            is_dry=dry_run,
        )
        reports = _all(port, job, is_shown=not as_json and sys.stderr.isatty())
    if as_json:
        typer.echo(json.dumps({"release": found.manifest.release, "boards": [_json(one) for one in reports]}))
    else:
        for one in reports:
            typer.echo(_line(one), err=one.error is not None)
    raise typer.Exit(max(int(one.error.exit) if one.error else int(Exit.DONE) for one in reports))


def _all(ports: list[str], job: Job, *, is_shown: bool) -> list[Report]:
    """Flash all boards at once and return their reports in the order of the ports."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[step]}"))
    with (
        Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=not is_shown) as shown,
        ThreadPoolExecutor(max_workers=len(ports)) as pool,
    ):

        def one(port: str) -> Report:
            task = shown.add_task(port, total=1, step="")
            return flash(
                port,
                job,
                lambda step, done, total: shown.update(task, completed=done, total=total, step=step),
            )

        return list(pool.map(one, ports))


def _line(report: Report) -> str:
    if report.error is not None:
        return f"{report.port}: {report.error}"
    return (
        f"{report.port}: {report.outcome}, slot {report.slot}, {report.written} files written, "
        f"{report.kept} right already, {report.took_s} s, chip {report.chip}"
    )


def _json(report: Report) -> dict[str, object]:
    fields: dict[str, object] = {
        "port": report.port,
        "outcome": report.outcome,
        "chip": report.chip,
        "slot": report.slot,
        "written": report.written,
        "kept": report.kept,
        "took_s": report.took_s,
    }
    return fields if report.error is None else {**fields, **report.error.as_json()}
