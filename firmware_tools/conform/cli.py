"""`tbox conform`: judge a microcontroller, ours or another maker's, over its serial line.

Rules: the unit under test is empty and holds the published test key mcu-1 as D1; it must never go into a
car. Times are the unit's own. Exit codes: 0 everything passed, 1 something failed, 2 it could not be tried.

Example:
    $ tbox conform --port /dev/ttyACM0
    $ tbox conform --port build/mcu0 --bench 127.0.0.1:7007 --json
    $ tbox conform --port /dev/ttyACM0 --only rejected/signers,replay
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from firmware_tools.conform import states
from firmware_tools.conform.checks import CUTS, GROUPS, WITH_CAR, run
from firmware_tools.conform.line import SerialLine, TcpBench
from firmware_tools.conform.subject import DeadError, Subject
from firmware_tools.conform.trials import Result

app = typer.Typer(add_completion=False, rich_markup_mode=None)
EXITS = "Exit codes: 0 all passed, 1 something failed, 2 it could not be tried."


@app.command(epilog=f"Example: tbox conform --port /dev/ttyACM0   |   {EXITS}")
def conform(
    port: Annotated[str, typer.Option(help="Serial line of the unit under test.")],
    *,
    bench: Annotated[str, typer.Option(help="HOST:PORT of the simulated board's control port.")] = "",
    cuts: Annotated[int, typer.Option(min=0, max=1_000, help="Power cuts at drawn moments.")] = CUTS,
    seed: Annotated[int, typer.Option(help="Of these moments.")] = 1,
    only: Annotated[str, typer.Option(help=f"Groups, by comma: {', '.join(GROUPS[1:])}.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Judge a microcontroller: vectors, damage, replays; with a car, relay, interlock, lock, power cuts."""
    groups = tuple(only.split(",")) if only else GROUPS
    unknown = {group.partition("/")[0] for group in groups} - set(GROUPS)
    if unknown:
        raise typer.BadParameter(f"no such group: {', '.join(sorted(unknown))}", param_hint="--only")
    results: list[Result] = []
    trouble = ""
    try:
        line = SerialLine(port)
        car = TcpBench(*_address(bench)) if bench else None
        for result in run(Subject(line), car, groups, cuts=cuts, seed=seed):
            results.append(result)
            if not as_json:
                typer.echo(_line(result))
    except (DeadError, OSError) as error:
        trouble = str(error)
    failed = [result for result in results if not result.passed]
    left_out = _left_out(groups, results, has_bench=bool(bench))
    if as_json:
        report = {
            "port": port,
            "passed": len(results) - len(failed),
            "failed": len(failed),
            "left_out": left_out,
            "trouble": trouble or None,
            "results": [asdict(result) for result in results],
        }
        typer.echo(json.dumps(report, indent=1))
    else:
        typer.echo(
            f"\n{len(results) - len(failed)} passed, {len(failed)} failed; left out: {'; '.join(left_out)}"
        )
        if trouble:
            typer.echo(f"it could not be tried to the end: {trouble}", err=True)
    raise typer.Exit(2 if trouble else 1 if failed else 0)


def _line(result: Result) -> str:
    mark = "ok  " if result.passed else "FAIL"
    wanted = "" if result.passed else f"   wanted: {result.expected}"
    return f"{mark} {result.group:<13} {result.name:<58} {result.got}{wanted}"


def _left_out(groups: tuple[str, ...], results: list[Result], *, has_bench: bool) -> list[str]:
    found = [f"{name}: {why}" for name, why in states.LEFT_OUT.items()]
    if {group.partition("/")[0] for group in groups} & set(WITH_CAR) and not has_bench:
        found.append(f"{', '.join(WITH_CAR)}: they need a car (--bench)")
    elif "restored" in groups and "restored" not in {result.group for result in results}:
        found.append("restored: it needs the group lock, and a bench that keeps and restores storage")
    return found


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--bench")
    return host, int(port)
