"""`tbox backend trace` and `tbox backend rebuild`: look at a trace on the server itself; derive tables anew.

Example:
    $ tbox backend trace 9f… --from 2026-11-24T08:00:00Z --signals Vehicle.Speed --format csv > speed.csv
    $ tbox backend rebuild
"""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import typer
from sqlmodel import Session

from backend.api.trace_formats import csv_of_rows, iso_us
from backend.cli.opening import open_instance
from backend.cli.output import Home
from backend.clock import from_datetime, utc_us
from backend.domain.trace import TraceRows
from backend.errors import NotFoundError, RefusedError
from backend.store.devices import Device, locate_device
from backend.usecases.query_state import latest_utc_us
from backend.usecases.query_trace import find_unknown_signals, read_trace
from backend.usecases.rebuild import rebuild as derive_again
from protocol.evidence_report import printable
from protocol.limits import TRACE_RANGE_US_MAX

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)

_HOUR_US: Final = 3_600_000_000
_LINES_DEFAULT: Final = 40  # a screen


class TraceText(StrEnum):
    """How a trace is printed."""

    TEXT = "text"
    CSV = "csv"
    JSONL = "jsonl"


DeviceArgument = Annotated[str, typer.Argument(help="Device id, 64 hex digits.", metavar="DEVICE")]


@app.command(epilog="Example: tbox backend trace 9f… --from 2026-11-24T08:00:00Z --signals Vehicle.Speed")
def trace(
    device: DeviceArgument,
    *,
    home: Home = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="Start, included; default: an hour before the latest value.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="End, excluded; default: after the latest value.")
    ] = None,
    signals: Annotated[str | None, typer.Option(help="Names, separated by commas; default: all.")] = None,
    format_: Annotated[
        TraceText, typer.Option("--format", help="text shows the last lines; csv and jsonl print all.")
    ] = TraceText.TEXT,
    lines: Annotated[int, typer.Option(min=1, help="Lines of text shown.")] = _LINES_DEFAULT,
) -> None:
    """Print a box's values from this server's database; positions need the API, which logs their reading."""
    with open_instance(home) as instance, instance.database.reading() as session:
        box = _found(session, device)
        from_us, to_us = _range(session, box, begin=begin, end=end)
        names = None if signals is None else frozenset(name for name in signals.split(",") if name)
        unknown = find_unknown_signals(session, org_id=box.org_id, device_id=box.device_id, names=names)
        if unknown:
            raise RefusedError(what=f"the box has no signal {printable(', '.join(unknown))}")
        blocks = read_trace(
            session,
            org_id=box.org_id,
            device_id=box.device_id,
            from_us=from_us,
            to_us=to_us,
            signals=names,
        )
        match format_:
            case TraceText.CSV:
                for piece in csv_of_rows(blocks):
                    _write(piece.replace("\r\n", "\n"))
            case TraceText.JSONL:
                for line in _json_lines(blocks):
                    _write(f"{line}\n")
            case TraceText.TEXT:
                shown = list(_text_lines(blocks))
                typer.echo(f"{box.device_id}  {' to '.join(iso_us([from_us, to_us]))}  {len(shown)} values")
                typer.echo("\n".join(shown[-lines:]) or "nothing recorded then, or not decoded yet")


def _write(text: str) -> None:
    """Write whole lines: exactly as they are to a file or another program, and harmless on a screen.

    A name comes from a box, and might have been chosen to repaint the screen of whoever looks.
    """
    if sys.stdout.isatty():
        text = "".join(f"{printable(line)}\n" for line in text.removesuffix("\n").split("\n"))
    sys.stdout.write(text)


@app.command(epilog="Example: tbox backend rebuild --device 9f…")
def rebuild(
    *,
    home: Home = None,
    device: Annotated[str | None, typer.Option(help="One device id; default: all boxes.")] = None,
) -> None:
    """Delete dictionary, latest values, roll-ups and positions, and derive them again from the batches."""
    with open_instance(home) as instance:
        if device is not None:
            with instance.database.reading() as session:
                _found(session, device)
        count = derive_again(instance.database, now_us=utc_us(), device_id=device)
    typer.echo(f"derived again from {count} batches")


def _found(session: Session, device: str) -> Device:
    """Return a box of any organisation: this is the operator of the server.

    Raises:
        NotFoundError: There is none of this name.
    """
    found = locate_device(session, device_id=device)
    if found is None:
        raise NotFoundError(what=f"no box {device}")
    return found


def _range(session: Session, box: Device, *, begin: str | None, end: str | None) -> tuple[int, int]:
    """Return the range asked for; without one, the last hour that has values.

    Raises:
        RefusedError: A time is none or has no offset, or the range is reversed or too long.
    """
    latest_us = latest_utc_us(session, org_id=box.org_id, device_id=box.device_id)
    to_us = (utc_us() if latest_us is None else latest_us + 1) if end is None else _instant(end)
    from_us = to_us - _HOUR_US if begin is None else _instant(begin)
    if not 0 <= to_us - from_us <= TRACE_RANGE_US_MAX:
        raise RefusedError(what="the range is reversed, or longer than 31 days")
    return from_us, to_us


def _instant(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RefusedError(what=f"{text} is not a time like 2026-11-24T08:00:00Z") from error
    if moment.tzinfo is None:
        raise RefusedError(what=f"{text} has no offset: add Z for UTC")
    return from_datetime(moment)


def _json_lines(blocks: Iterable[TraceRows]) -> Iterator[str]:
    for block in blocks:
        times = iso_us(block.utc_us.tolist())
        for time, (_, _, signal, value, _) in zip(times, block, strict=True):
            record = {"time": time, "signal": signal.name, "value": value, "unit": signal.unit}
            yield json.dumps(record, ensure_ascii=False)


def _text_lines(blocks: Iterable[TraceRows]) -> Iterator[str]:
    for block in blocks:
        times = iso_us(block.utc_us.tolist())
        for time, (_, _, signal, value, _) in zip(times, block, strict=True):
            shown = "-" if value is None else value
            yield printable(f"{time}  {signal.name:<40}  {shown} {signal.unit or ''}".rstrip())
