"""`tbox decode`: a CAN log and a DBC in, signal values out; a desk tool on the agent's own decoder.

Rules:
- The values are those the agent would record and cantools would compute; every frame is accounted for in the
  summary: decoded, or dropped by cause.
- A log that is torn in places gives what can be read and says how much could not; a DBC that does not know a
  single frame is said to be the wrong one.
- Warnings and progress go to standard error, the summary to standard output. An interrupted run leaves no
  file (`decode_signals`). What logs and names bring is shown without control characters.

The work is `decode_run`'s, the words `decode_report`'s.

Example:
    $ tbox decode --dbc car.dbc --log drive.log --out drive.csv
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import sys
from pathlib import Path  # noqa: TC003  (typer reads the annotations when it runs)
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from device.adapters.log_files import SUPPORTED
from device.dbc_compiler import Matching
from device.decode_report import cause_text, for_terminal, summary, summary_text, warnings
from device.decode_run import decode_log
from device.decode_signals import orderly_end
from device.errors import EdgeError
from protocol.batch import DropCause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.adapters.log_files import LogReader
    from device.decode_run import DecodeAccount

EXIT_UNUSABLE = 2
EXIT_NOTHING_KNOWN = 3
EXIT_NOT_ALL_READ = 4

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_EPILOG = (
    "Examples: tbox decode --dbc car.dbc --log drive.log --out drive.csv   |   "
    "tbox decode --dbc car.dbc --log drive.mf4 --out drive.parquet --signals 'Speed,Engine*.*'   |   "
    "candump -L can0 | tbox decode --dbc car.dbc --log /dev/stdin --out now.jsonl   |   "
    "Exit: 0 done (what could not be read is counted), 2 a file or an option cannot be used, "
    "3 no frame that could be decoded, 4 with --strict: something in the log could not be read, "
    "130 stopped by Ctrl-C, 143 by SIGTERM (no file is left). Of a pipe, the first Ctrl-C ends the writer, "
    "and what it wrote is decoded."
)


@app.command(epilog=_EPILOG)
def decode(
    *,
    dbc: Annotated[Path, typer.Option(help="DBC file of the bus (.kcd and .sym are read too).")],
    log: Annotated[Path, typer.Option(help=f"CAN log: {SUPPORTED}.")],
    out: Annotated[Path, typer.Option("--out", "--output", help="File to write: .csv, .jsonl or .parquet.")],
    signals: Annotated[
        list[str] | None,
        typer.Option(help="Only these signals: Signal or Message.Signal, with * and ?; several with commas."),
    ] = None,
    bus: Annotated[str | None, typer.Option(help="Only this bus of the log, as the log names it.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Time of the log's first frame, like 2026-11-24T08:00:00+08:00. Default: the log's times."
        ),
    ] = None,
    matching: Annotated[
        Matching, typer.Option(help="How frames find their message: as the DBC says, by PGN, by whole id.")
    ] = Matching.BY_DBC,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 4 when anything in the log could not be read.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Decode a CAN log with a DBC file, one row a value: time_s, bus, message, signal, value, unit."""
    try:
        start_us = None if start is None else parse_moment(start)
        with orderly_end(is_pipe=not log.is_file()), _progress(quiet=as_json) as tell:
            account = decode_log(
                dbc,
                log,
                out,
                bus=bus,
                signals=signals or (),
                start_us=start_us,
                matching=matching,
                tell=tell,
            )
    except EdgeError as error:
        sys.stderr.write(f"error: {for_terminal(error.diagnostics())}\n")
        raise typer.Exit(EXIT_UNUSABLE) from error
    if as_json:
        _print(json.dumps(summary(account)) + "\n", out)
    else:
        _print(for_terminal(summary_text(account)), out)
        for sentence in warnings(account):
            _warn(sentence)
    _exit(account, bus, strict=strict)


def _print(text: str, out: Path) -> None:
    """Write the summary; where it cannot be, say so: the decoded file is there all the same."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is still held would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        what = f"standard output: {error.strerror or error}; {out} is complete"
        sys.stderr.write(f"error: {for_terminal(what)}\n")
        raise typer.Exit(EXIT_UNUSABLE) from error


def _warn(sentence: str) -> None:
    sys.stderr.write(f"warning: {for_terminal(sentence)}\n")


def _exit(account: DecodeAccount, bus: str | None, *, strict: bool) -> None:
    log, dbc = account.reader.path, account.dbc
    if not account.frames:
        where = f"of bus {bus} " if bus else ""
        _warn(f"no frame {where}in {log}")
        raise typer.Exit(EXIT_NOTHING_KNOWN)
    if not account.decoded:
        named = f" on bus {bus}" if bus else ""
        if account.drops[DropCause.UNKNOWN_ID]:
            _warn(
                f"0 of {account.frames} frames{named} are known to {dbc}: is it the DBC of this car and bus?"
            )
        else:  # the DBC may be the right one: no identifier was strange to it
            causes = ", ".join(
                f"{count} x {cause_text(cause)}" for cause, count in sorted(account.drops.items())
            )
            _warn(f"0 of {account.frames} frames{named} could be decoded: {causes}")
        raise typer.Exit(EXIT_NOTHING_KNOWN)
    if strict and account.reader.errors.count:
        raise typer.Exit(EXIT_NOT_ALL_READ)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[LogReader], None]]:
    """Show a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("decoding"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    is_off = quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=is_off, transient=True) as progress:
        task = progress.add_task("decoding", total=None)

        def tell(reader: LogReader) -> None:
            progress.update(task, completed=reader.bytes_read, total=reader.bytes_total or None)

        yield tell


def parse_moment(text: str) -> int:
    """Return a moment with its time zone as µs since 1970.

    Raises:
        EdgeError: It is none, or names no time zone.
    """
    step = "write it like 2026-11-24T08:00:00Z"
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise EdgeError(f"--start {text}: no time zone", is_transient=False, next_step=step)
        since = moment - dt.datetime.fromtimestamp(0, dt.UTC)
    except (ValueError, OverflowError) as error:
        raise EdgeError(f"--start {text}: {error}", is_transient=False, next_step=step) from error
    return since // dt.timedelta(microseconds=1)
