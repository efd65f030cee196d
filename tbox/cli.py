"""The `tbox` command: one word for each group, each imported only when it is called.

Groups are entry points of `tbox.commands`, so a box with the `device` extra alone has no server code to import,
and a group whose extra is missing says which one to install instead of failing with an ImportError.

Example:
    $ tbox decode --dbc car.dbc --log drive.log --out drive.csv
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points, version

import click
import typer
from typer.main import get_command

GROUP = "tbox.commands"

# One line a group, so that `tbox --help` need not import any of them.
SUMMARIES = {
    "agent": "The box in the car: enrol, run, replay a recording.",
    "backend": "The server: set up, serve, bridge, keys, devices, traces.",
    "decode": "Decode a CAN log with a DBC file to CSV or JSON lines.",
    "demo": "A simulated car driving, from CAN bus to signed trace.",
    "evidence": "Export a trace as evidence, and verify one offline.",
    "sim": "Simulated car, receiver and broker, each on its own.",
}

# Which extra brings what a group needs, named in the message when an import fails.
EXTRAS = {"agent": "device", "decode": "device", "backend": "backend", "demo": "sim", "sim": "sim"}


class LazyGroups(click.Group):
    """A click group whose members are entry points, loaded when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all installed groups, in alphabetical order."""
        del ctx
        return sorted(point.name for point in entry_points(group=GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one group, or None when there is none of that name."""
        for point in entry_points(group=GROUP):
            if point.name == cmd_name:
                return _load(point, ctx)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of groups from their one-line summaries, importing none."""
        rows = [(name, SUMMARIES.get(name, "")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _load(point: EntryPoint, ctx: click.Context) -> click.Command:
    """Import a group; a missing library becomes one line that says what to install."""
    try:
        app = getattr(importlib.import_module(point.module), point.attr)
    except ModuleNotFoundError as missing:
        extra = EXTRAS.get(point.name, "dev")
        ctx.fail(f"`tbox {point.name}` needs {missing.name}: install it with  pip install 'tbox[{extra}]'")
    return get_command(app) if isinstance(app, typer.Typer) else app


@click.group(
    cls=LazyGroups,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tbox decode --dbc car.dbc --log drive.log --out drive.csv",
)
@click.version_option(version("tbox"), prog_name="tbox")
def main() -> None:
    """T-Box: signed telemetry from a pledged car, and the backend that proves it."""
