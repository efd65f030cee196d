"""What commands print and how they end: text or JSON, errors with a next step.

Exit codes: 0 done · 1 failed · 2 wrong usage · 3 settings · 4 database · 5 key files · 6 not
found · 7 refused by the rules.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.errors import BackendError, RefusedError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder of this instance. Default: $TBOX_HOME, else ./tbox-home.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Org = Annotated[
    str | None,
    typer.Option(
        "--org", help="Name of the organisation. Default: the one made by `init`.", show_default=False
    ),
]

Value = str | int | bool | None
Record = dict[str, Value]
"""What a command shows of one thing: names and plain values."""


class ReportingGroup(TyperGroup):
    """A command group that ends with an operator's error as three lines and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # the framework's own signature, of a library it hides
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BackendError as error:
            typer.echo(f"error: {error.diagnostics()}", err=True)
            raise typer.Exit(error.exit_code) from error


def show(record: Record, *, as_json: bool) -> None:
    """Print one thing: a line a value, or a JSON object."""
    if as_json:
        typer.echo(json.dumps(record))
        return
    width = max(map(len, record))
    for name, value in record.items():
        typer.echo(f"{name:<{width}}  {_text(value)}")


def show_list(records: Sequence[Record], *, as_json: bool, empty: str) -> None:
    """Print things in columns, or a JSON object with `items`; `empty` is said when there is none."""
    if as_json:
        typer.echo(json.dumps({"items": records}))
        return
    if not records:
        typer.echo(empty)
        return
    names = list(records[0])
    rows = [names, *([_text(record[name]) for name in names] for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def refuse(detail: str) -> RefusedError:
    """Return the error for a no of the rules."""
    return RefusedError(what=f"refused: {detail}")


def log_to_stderr() -> None:
    """Let a long-running command log, once."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)


def _text(value: Value) -> str:
    return "-" if value is None else str(value)
