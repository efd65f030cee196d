"""The `tbox` command: the first word names a group, everything after it is the group's own.

Groups are entry points of `tbox.commands`. A group is imported only when it is called, so a box that has the
`device` extra alone never imports the server, and a group whose extra is missing says which one to install
instead of failing with an ImportError. This module knows no group's options.

Example:
    $ tbox decode --dbc car.dbc --log drive.log --out drive.csv
"""

from __future__ import annotations

import difflib
import importlib
import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUP = "tbox.commands"

# The exit code of a call that cannot be understood, as POSIX shells and typer use it.
EXIT_USAGE = 2

# One line a group, so that `tbox --help` need not import any of them.
SUMMARIES = {
    "agent": "The box in the car: enrol, run, replay a recorded drive.",
    "backend": "The server: set up, serve, bridge, keys, devices, traces.",
    "bench": "Measure speed and size against named baselines.",
    "decode": "Decode a CAN log with a DBC file to CSV or JSON lines.",
    "demo": "A simulated car driving, from the CAN bus to a proved trace.",
    "evidence": "Export a trace as evidence, and verify one offline.",
    "install": "Depot, car and workshop: flash, key, label, fit, prove, update.",
    "lender": "For a lender's officers: keys, ceremonies, request, approve, unlock.",
    "sim": "Simulated car, receiver and broker, each on its own.",
}

# Which extra brings what a group needs; a group that is not named here needs the whole development set.
EXTRAS = {
    "agent": "device",
    "backend": "backend",
    "bench": "bench",
    "decode": "device",
    "demo": "sim",
    "evidence": "backend",
    "install": "tools",
    "lender": "lender",
    "sim": "sim",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `tbox <group> …` and exit with the group's code.

    Args:
        arguments: The words after `tbox`; the process's own when None.

    Raises:
        SystemExit: Always: 0 after help or version, 2 for an unknown group, else what the group returns.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    groups = {point.name: point for point in entry_points(group=GROUP)}
    match words:
        case [] | ["-h" | "--help" | "help", *_]:
            _print_help(groups)
            sys.exit(0)
        case ["-V" | "--version", *_]:
            sys.stdout.write(f"tbox {version('tbox')}\n")
            sys.exit(0)
        case [name, *rest] if name in groups:
            _run(groups[name], rest)
        case [name, *_]:
            near = difflib.get_close_matches(name, groups, n=1)
            hint = f" Did you mean `tbox {near[0]}`?" if near else ""
            _fail(f"there is no `tbox {name}`.{hint} `tbox --help` lists what there is.")
        case _:
            _fail("the arguments cannot be read. `tbox --help` lists what there is.")


def _run(point: EntryPoint, arguments: list[str]) -> NoReturn:
    """Import one group and hand it the rest of the words."""
    try:
        app = getattr(importlib.import_module(point.module), point.attr)
    except ModuleNotFoundError as missing:
        if missing.name is not None and missing.name.split(".")[0] == point.module.split(".")[0]:
            raise  # our own module is not there: that is our mistake, not a missing extra
        extra = EXTRAS.get(point.name, "dev")
        _fail(f"`tbox {point.name}` needs {missing.name}. Install it:  pip install 'tbox[{extra}]'")
    app(args=arguments, prog_name=f"tbox {point.name}")
    sys.exit(0)


def _print_help(groups: dict[str, EntryPoint]) -> None:
    """Print the groups with a line each."""
    from rich.console import Console  # noqa: PLC0415 - a box that runs for months never shows this
    from rich.table import Table  # noqa: PLC0415 - nor this

    console = Console()
    console.print("Usage: tbox GROUP …      T-Box: signed telemetry from a pledged car, and its backend.\n")
    table = Table(box=None, show_header=False, pad_edge=True)
    for name in sorted(groups):
        table.add_row(f"[bold]{name}[/bold]", SUMMARIES.get(name, ""))
    console.print(table)
    console.print("\n`tbox GROUP --help` tells more. Examples:", highlight=False)
    console.print("  tbox demo", highlight=False)
    console.print("  tbox decode --dbc car.dbc --log drive.log --out drive.csv", highlight=False)


def _fail(message: str) -> NoReturn:
    """Say in one line what is wrong and what to do, and exit with 2."""
    from rich.console import Console  # noqa: PLC0415 - a box that runs for months never shows this

    Console(stderr=True, soft_wrap=True).print(f"tbox: {message}", highlight=False, markup=False)
    sys.exit(EXIT_USAGE)
