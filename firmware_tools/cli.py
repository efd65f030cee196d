"""`tbox install`: everything a fitter needs, from the depot to the car.

Rules: one line of `PARTS` a sub-command, which is imported when it is called and not before: a depot without
the `tools` extra still makes labels, and a missing package is said with the extra that brings it. Help lists
what there is without importing any of it.

To add one: a module of your own with a `typer.Typer` named `app`, and its line here.

Example:
    $ tbox install flash --release build/release --port /dev/ttyACM0
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup


class Part(NamedTuple):
    """A sub-command: where its app is, its line in the help, and the extra that brings what it needs."""

    module: str
    summary: str
    extra: str = "tools"


PARTS: Final[dict[str, Part]] = {
    "car": Part("firmware_tools.install_car", "Fit a box at the car, from ticket to signed record."),
    "doctor": Part("firmware_tools.doctor", "Is a box well, on site or from afar."),
    "record": Part("firmware_tools.record_cli", "Show, verify and print the signed record."),
    "flash": Part("firmware_tools.flash_cli", "Put a signed release on boards, many at a time."),
    "firmware": Part("firmware_tools.release_cli", "Build, sign and look at a release of the firmware."),
    "depot": Part("firmware_tools.depot", "Prepare a tray of boxes: Linux side, keys, board, label, report."),
    "label": Part("firmware_tools.label", "Make serials, draw labels and sheets, read a label's code."),
    "update": Part("firmware_tools.update", "Bundles of releases, and their signed repository."),
}


class _Parts(MutableMapping[str, Any]):
    """The commands by their names, each imported when it is asked for."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - typer keeps its commands' class to itself
        if name not in self._found:
            self._found[name] = _load(name, PARTS[name])
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in PARTS

    def __setitem__(self, name: str, command: Any) -> None:  # noqa: ANN401 - as above
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(PARTS))

    def __len__(self) -> int:
        return len(PARTS)


def _load(name: str, part: Part) -> Any:  # noqa: ANN401 - as above
    try:
        module = importlib.import_module(part.module)
    except ModuleNotFoundError as missing:
        if missing.name is not None and missing.name.split(".")[0] == __name__.split(".", maxsplit=1)[0]:
            raise  # our own module is not there: that is our mistake, not a missing extra
        need = f"`tbox install {name}` needs {missing.name}"
        raise typer.BadParameter(f"{need}. Install it:  pip install 'tbox[{part.extra}]'") from None
    command = typer.main.get_command(module.app)
    command.name = name
    return command


class _Group(TyperGroup):
    """The group; its help imports nothing."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - whatever typer gives its groups
        super().__init__(**attributes)
        self.commands = _Parts()

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's own classes
        """Write one line a sub-command."""
        if rows := [(name, PARTS[name].summary) for name in sorted(PARTS)]:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=_Group,
    help="Depot, car and workshop: flash, key, label, fit, prove, update.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(epilog="Example: tbox install flash --release build/release --port /dev/ttyACM0")
def _install() -> None:
    """Depot, car and workshop: flash, key, label, fit, prove, update."""
