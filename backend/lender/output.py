"""What commands print and how they end: text or one JSON object, errors with a next step.

Rules: `--json` prints exactly one object to standard output; everything said to a person goes to standard
error then. Instants are UTC to the second.

Example:
    >>> shown_time(1_795_608_000)
    '2026-11-25 12:00:00 UTC'
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.lender.errors import LenderError
from backend.lender.passphrase import Passphrase

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Out = Annotated[Path, typer.Option("--out", help="File to write; never overwritten.")]
Key = Annotated[
    str | None,
    typer.Option("--key", help="Key file, or pkcs11:token=NAME;object=LABEL. Default: of lender.toml."),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File of mode 0600 with passphrase or PIN; else it is asked for."),
]
Module = Annotated[
    Path | None, typer.Option("--pkcs11-module", help="Library of the token. Default: of lender.toml.")
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings. Default: $TBOX_LENDER_CONFIG, ~/.config/tbox/lender.toml."),
]


class ReportingGroup(TyperGroup):
    """A command group that ends with an officer's error as three lines and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # the framework's own signature, of a library it hides
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LenderError as error:
            typer.echo(f"error: {error.diagnostics()}", err=True)
            raise typer.Exit(error.exit_code) from error


def show(record: Mapping[str, object], *, as_json: bool) -> None:
    """Print one thing: a line a value, or a JSON object."""
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False))
        return
    width = max(map(len, record))
    for name, value in record.items():
        typer.echo(f"{name:<{width}}  {_text(value)}")


def show_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str) -> None:
    """Print things in columns, or a JSON object with `items`; `empty` is said when there is none."""
    if as_json:
        typer.echo(json.dumps({"items": list(rows)}, ensure_ascii=False))
        return
    if not rows:
        typer.echo(empty)
        return
    cells = [[str(name) for name in rows[0]], *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    for line in cells:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def say(text: str, *, as_json: bool) -> None:
    """Say something to the person, where it does not disturb `--json`."""
    typer.echo(text, err=as_json)


def confirm(question: str, *, yes: bool) -> None:
    """Ask at the terminal, unless `--yes` was given; no ends the command with exit code 1."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


def ask_passphrase(file: Path | None) -> Passphrase:
    """Return where the passphrase comes from."""
    return Passphrase(file=file)


def shown_time(instant_s: int | None) -> str | None:
    """Return an instant as a person reads it, UTC to the second; None for none."""
    if instant_s is None:
        return None
    try:
        return datetime.fromtimestamp(instant_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError):
        return f"{instant_s} s, beyond the year 9999"


def shown_span(seconds: int) -> str:
    """Return a duration exactly: days, hours, minutes, seconds, without what is zero.

    Example:
        >>> shown_span(259_200), shown_span(90)
        ('3 d', '1 min 30 s')
    """
    left, words = seconds, []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words) or "0 s"


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(_text, value)) or "-"
        case _:
            return str(value)
