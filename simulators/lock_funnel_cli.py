"""`tbox sim funnel`: the lock funnel and its payment races, with a progress bar.

Rules: it runs in this process alone, opens no socket and writes no file. Exit codes: 0 done, 2 wrong usage,
3 with --gate: a goal is missed.

Example:
    $ tbox sim funnel --cars 1000 --days 60 --races 500 --json
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

CARS_MAX, DAYS_MIN, DAYS_MAX, RACES_MAX = 20_000, 21, 120, 5_000
EXIT_MISSED = 3


def funnel(
    *,
    cars: Annotated[int, typer.Option(min=1, max=CARS_MAX, help="Delinquent loans.")] = 1_000,
    days: Annotated[int, typer.Option(min=DAYS_MIN, max=DAYS_MAX, help="Days of the span.")] = 60,
    races: Annotated[int, typer.Option(min=0, max=RACES_MAX, help="Payment races besides.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 1,
    eager: Annotated[
        bool, typer.Option("--eager", help="Sign LOCKs as soon as the notice has run, warned or not.")
    ] = False,
    gate: Annotated[bool, typer.Option("--gate", help="Fail when a goal is missed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Let loans fall behind, order locks by the rules, and say how many cars locked in time and why not."""
    # Imported here: the other commands of this group need neither gate nor firmware.
    from simulators.lock_funnel import Funnel  # noqa: PLC0415
    from simulators.lock_funnel_races import run_races  # noqa: PLC0415
    from simulators.lock_funnel_report import as_text, of_run  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{cars} cars over {days} days", total=1.0)
        run = Funnel(cars=cars, days=days, seed=seed, is_eager=eager)
        run.run(progress=lambda share: progress.update(task, completed=share))
        progress.update(task, completed=1.0)
        report = of_run(run, seed=seed)
        raced = None
        if races:
            second = progress.add_task(f"{races} payment races", total=1.0)
            raced = run_races(
                races=races, seed=seed, progress=lambda share: progress.update(second, completed=share)
            )
    if as_json:
        whole = report.as_json() | {"races": None if raced is None else raced.as_json()}
        sys.stdout.write(json.dumps(whole) + "\n")
    else:
        typer.echo(as_text(report))
        if raced is not None:
            typer.echo(
                "\npayment races\n" + "\n".join(f"  {key}: {value}" for key, value in raced.as_json().items())
            )
    missed = report.missed() + ([] if raced is None or not raced.wrongful else ["wrongful races"])
    if gate and missed:
        typer.echo(f"missed: {', '.join(missed)}", err=True)
        raise typer.Exit(EXIT_MISSED)
