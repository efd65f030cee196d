"""`tbox install depot`: a tray of boxes side by side, from their Linux side to label and report.

Rules: the tray file and the release are read and judged whole before any box is touched. Each box has a
thread; one that fails does not stop the others. Running the same again goes on: boxes that are done are left
alone, and of the others each step looks before it acts. With `--dry-run` nothing is changed, here or there.
Exit codes: 0 all boxes are done, 1 a rule refused one, 2 wrong usage, 3 one was cut short or waits for its
first start.

Example:
    $ tbox install depot tray.toml --dry-run
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from firmware_tools import boards, release, release_trust
from firmware_tools.cli_errors import EXITS, Common, Exit, ToolError, told
from firmware_tools.depot_codes import DepotCode
from firmware_tools.depot_office import LabelOffice
from firmware_tools.depot_report import Report, State, Step, read_report
from firmware_tools.depot_steps import Plan, run_box
from firmware_tools.depot_tray import TrayBox, read_tray
from firmware_tools.flash_plan import Job
from firmware_tools.label import save
from firmware_tools.label_drawing import sheet_svg
from protocol.label import read_label
from protocol.limits import DEPOT_BOXES_AT_ONCE, LABELS_A_SHEET_MAX

app = typer.Typer(add_completion=False, rich_markup_mode=None)

KEY_VARIABLE = "TBOX_API_KEY"


@app.command(epilog=f"Example: tbox install depot tray.toml --dry-run   |   {EXITS}")
def depot(
    tray: Annotated[Path, typer.Argument(help="Tray file, TOML or CSV: serial, where, board, mcu_port, …")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder of reports and labels.", show_default="beside the tray file")
    ] = None,
    release_folder: Annotated[
        Path | None, typer.Option("--release", help="Signed release for the boards.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Trust file: whose signatures of a release count.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Trust the published test keys.")] = False,
    no_car: Annotated[
        bool, typer.Option("--no-car", help="You have the boxes in your hand, and they are in no car.")
    ] = False,
    api: Annotated[
        str | None, typer.Option(help=f"Office that keeps labels and enrols; key in ${KEY_VARIABLE}.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM of the office's own authority, here.")] = None,
    box_ca: Annotated[str | None, typer.Option(help="The same file on the box.")] = None,
    tbox: Annotated[str, typer.Option(help="The program on the box.")] = "/opt/tbox/bin/tbox",
    home: Annotated[str, typer.Option(help="Home of the agent on the box.")] = "/var/lib/tbox",
    user: Annotated[str, typer.Option(help="Who runs the agent on the box.")] = "tbox",
    ssh_config: Annotated[Path | None, typer.Option(help="Settings of ssh (its -F).")] = None,
    only: Annotated[list[Step] | None, typer.Option(help="Do these steps and no others.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Do boxes too that are done.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Prepare a tray of boxes, in parallel; run it again after an interruption and it goes on."""
    with told(as_json=as_json):
        boxes = read_tray(tray)
        plan = Plan(
            out=out or tray.with_suffix(".depot"),
            steps=frozenset(only or Step),
            tbox=tbox,
            home=home,
            user=user,
            api=api,
            api_ca=box_ca,
            office=_office(api, ca),
            job=_job(release_folder, trust, is_demo=demo, is_no_car=no_car),
            ssh_config=ssh_config,
            is_dry=dry_run,
        )
        done = {} if again or dry_run or only else _done(boxes, plan.out)
        results = _all(
            [box for box in boxes if box.serial not in done], plan, is_shown=_is_shown(as_json=as_json)
        )
        reports = [done.get(box.serial) or results[box.serial][0] for box in boxes]
        if not dry_run:
            _sheet(reports, plan.out)
    if as_json:
        rows = [json.loads(report.encode()) | {"difference": _diff(results, report)} for report in reports]
        typer.echo(json.dumps({"out": str(plan.out), "boxes": rows}))
    else:
        for report in reports:
            typer.echo(report.text() + (_diff(results, report) if dry_run else ""), nl=False)
    raise typer.Exit(_exit(reports, is_dry=dry_run))


def _diff(results: dict[str, tuple[Report, str]], report: Report) -> str:
    return results[report.serial][1] if report.serial in results else ""


def _is_shown(*, as_json: bool) -> bool:
    return not as_json and sys.stderr.isatty()


def _office(api: str | None, ca: Path | None) -> LabelOffice | None:
    if api is None:
        return None
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise ToolError(
            DepotCode.OFFICE_REFUSED, f"The office wants a key: put the depot's into ${KEY_VARIABLE}."
        )
    return LabelOffice(url=api.rstrip("/"), api_key=key, authority=ca)


def _job(folder: Path | None, trust: Path | None, *, is_demo: bool, is_no_car: bool) -> Job | None:
    if folder is None:
        return None
    if (trust is None) is not is_demo:
        raise typer.BadParameter("name a trust file, or --demo for the published test keys")
    found = release.read(folder)
    release_trust.require_signed(
        found, release_trust.demo_trust() if trust is None else release_trust.read_trust(trust)
    )
    return Job(release=found, board=boards.load(found.manifest.board), is_no_car=is_no_car)


def _done(boxes: list[TrayBox], out: Path) -> dict[str, Report]:
    """Return the reports of boxes that an earlier run finished."""
    found = {}
    for box in boxes:
        try:
            report = read_report(out / box.serial, box.serial)
        except ToolError:
            continue  # said when the box has its turn
        if report.is_done:
            found[box.serial] = report
    return found


def _all(boxes: list[TrayBox], plan: Plan, *, is_shown: bool) -> dict[str, tuple[Report, str]]:
    """Work on all boxes side by side and return their reports and differences by serial."""
    if not boxes:
        return {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[step]}"))
    with (
        Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=not is_shown) as drawn,
        ThreadPoolExecutor(max_workers=min(len(boxes), DEPOT_BOXES_AT_ONCE)) as pool,
    ):

        def one(box: TrayBox) -> tuple[Report, str]:
            task = drawn.add_task(box.serial, total=len(plan.steps), step="waits")
            result = run_box(box, plan, lambda step: drawn.update(task, advance=1, step=step))
            failure = result[0].failure
            drawn.update(task, completed=len(plan.steps), step="done" if failure is None else failure.error)
            return result

        return dict(zip([box.serial for box in boxes], pool.map(one, boxes), strict=True))


def _sheet(reports: list[Report], out: Path) -> None:
    """Draw the tray's labels, a page for each four dozen."""
    labels = [read_label(report.label) for report in reports if report.label is not None]
    if labels and not out.is_dir():
        raise ToolError(Common.NO_FILE, f"{out} is gone: run again.")
    for page, first in enumerate(range(0, len(labels), LABELS_A_SHEET_MAX), start=1):
        save(out / f"labels-{page}.svg", sheet_svg(labels[first : first + LABELS_A_SHEET_MAX]).encode())


def _exit(reports: list[Report], *, is_dry: bool) -> Exit:
    failures = [failure for report in reports if (failure := report.failure) is not None]
    if not all(failure.is_transient for failure in failures):
        return Exit.REFUSED
    waits = any(check.state is State.LATER for report in reports for check in report.checks)
    return Exit.CUT_SHORT if failures or (waits and not is_dry) else Exit.DONE
