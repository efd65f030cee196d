"""`tbox decode`: a CAN log and a DBC in, signal values out; a desk tool on the agent's own decoder.

Rules:
- The values are those the agent would record and cantools would compute; every frame is accounted for in the
  summary: decoded, or dropped by cause.
- A log that is torn in places gives what can be read and says how much could not; a DBC that does not know a
  single frame is said to be the wrong one.
- Warnings and progress go to standard error, the summary to standard output.

Example:
    $ tbox decode --dbc car.dbc --log drive.log --out drive.csv
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003  (typer reads the annotations when it runs)
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from device.acquisition.decode import Decoder
from device.acquisition.lot import EXTENDED
from device.adapters.log_files import LogError, LogReader
from device.adapters.long_form import SUFFIXES, LongFormFile
from device.dbc_compiler import compile_dbc
from device.dbc_file import DbcError
from protocol.batch import DropCause

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.acquisition.decode import DecodeCounts
    from device.acquisition.lot import FrameLot
    from device.acquisition.table import DecodeTable
    from device.dbc_compiler import Compilation

EXIT_UNUSABLE = 2
EXIT_NOTHING_KNOWN = 3

# Lines of a kind in the text summary; --json has them all.
_SHOWN_MAX = 5

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(slots=True)
class _Tally:
    """What became of the frames of a log."""

    frames: int = 0
    decoded: int = 0
    unknown_selector: int = 0
    drops: Counter[DropCause] = field(default_factory=Counter)
    unknown_ids: Counter[int] = field(default_factory=Counter)

    def add(self, lot: FrameLot, counts: DecodeCounts, known: NDArray[np.uint32]) -> None:
        """Count a lot; `known` are the identifiers of the DBC."""
        self.frames += counts.received
        self.decoded += counts.decoded
        self.unknown_selector += counts.unknown_selector
        self.drops.update(counts.drops)
        if DropCause.UNKNOWN_ID in counts.drops:
            ids, numbers = np.unique(lot.can_id[~np.isin(lot.can_id, known)], return_counts=True)
            self.unknown_ids.update(dict(zip(ids.tolist(), numbers.tolist(), strict=True)))


@app.command(
    epilog="Example: tbox decode --dbc car.dbc --log drive.log --out drive.csv   |   "
    "Exit: 0 done (unreadable lines are counted), 2 a file cannot be used, 3 no frame that the DBC knows."
)
def decode(
    *,
    dbc: Annotated[Path, typer.Option(help="DBC file of the bus (.kcd and .sym are read too).")],
    log: Annotated[Path, typer.Option(help="CAN log: candump -l text, Vector .asc or .blf.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv or .jsonl.")],
    bus: Annotated[str | None, typer.Option(help="Only this bus of the log, as the log names it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Decode a CAN log with a DBC file, one line a value: time_s, bus, message, signal, value, unit."""
    if out.suffix.lower() not in SUFFIXES:
        _fail(f"--out {out}: the suffix decides the form, use {' or '.join(SUFFIXES)}")
    if out.resolve() in {log.resolve(), dbc.resolve()}:
        _fail(f"--out {out}: it is what is read, and would be overwritten")
    try:
        compiled = compile_dbc(dbc)
        reader = LogReader(log)
        with LongFormFile(out, compiled.table) as file:
            tally = _decode_all(reader, compiled.table, file, bus)
            rows = file.rows
    except (DbcError, LogError) as error:
        _fail(error.diagnostics())
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror or error}")
    if as_json:
        sys.stdout.write(json.dumps(_summary(dbc, compiled, reader, tally, out, rows)) + "\n")
    else:
        sys.stdout.write(_summary_text(reader, tally, out, rows))
        _warn(compiled, reader)
    if not tally.frames:
        where = f"of bus {bus} " if bus else ""
        sys.stderr.write(f"warning: no frame {where}in {log}\n")
        raise typer.Exit(EXIT_NOTHING_KNOWN)
    if not tally.decoded:
        named = f" on bus {bus}" if bus else ""
        known = f"warning: 0 of {tally.frames} frames{named} are known to {dbc}"
        sys.stderr.write(f"{known}: is it the DBC of this car and bus?\n")
        raise typer.Exit(EXIT_NOTHING_KNOWN)


def _decode_all(reader: LogReader, table: DecodeTable, file: LongFormFile, bus: str | None) -> _Tally:
    tally = _Tally()
    decoder = Decoder(table)
    known = np.array([message.can_id for message in table.messages], np.uint32)
    console = Console(stderr=True)
    columns = (TextColumn("decoding"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("decoding", total=reader.bytes_total)
        for lot in reader.lots():
            if bus is None or lot.bus == bus:
                decoded = decoder.decode(lot)
                tally.add(lot, decoded.counts, known)
                file.write(lot.bus, decoded)
            progress.update(task, completed=reader.bytes_read)
    return tally


def _summary(
    dbc: Path, compiled: Compilation, reader: LogReader, tally: _Tally, out: Path, rows: int
) -> dict[str, object]:
    return {
        "dbc": str(dbc),
        "dbc_sha256": compiled.table.dbc_hash.hex(),
        "log": str(reader.path),
        "out": str(out),
        "rows": rows,
        "frames": tally.frames,
        "decoded": tally.decoded,
        "drops": {cause.name.lower(): count for cause, count in sorted(tally.drops.items())},
        "unknown_selector": tally.unknown_selector,
        "unknown_ids": {_id_text(can_id): count for can_id, count in tally.unknown_ids.most_common()},
        "log_errors": {"count": reader.errors.count, "first": reader.errors.first},
        "dbc_warnings": list(compiled.warnings),
    }


def _summary_text(reader: LogReader, tally: _Tally, out: Path, rows: int) -> str:
    share = f" ({100 * tally.decoded / tally.frames:.1f} %)" if tally.frames else ""
    lines = [f"{reader.path}: {tally.frames} frames, {tally.decoded} decoded{share}, {rows} values to {out}"]
    lines += [
        f"  {count} frames: {cause.name.lower().replace('_', ' ')}"
        for cause, count in sorted(tally.drops.items())
    ]
    if tally.unknown_ids:
        top = tally.unknown_ids.most_common(_SHOWN_MAX)
        shown = ", ".join(f"{_id_text(can_id)} ({count})" for can_id, count in top)
        more = f" and {len(tally.unknown_ids) - len(top)} more" if len(tally.unknown_ids) > len(top) else ""
        lines.append(f"  unknown identifiers: {shown}{more}")
    if tally.unknown_selector:
        lines.append(f"  {tally.unknown_selector} frames have a multiplexer value that the DBC does not name")
    return "\n".join(lines) + "\n"


def _warn(compiled: Compilation, reader: LogReader) -> None:
    for warning in compiled.warnings[:_SHOWN_MAX]:
        sys.stderr.write(f"warning: DBC: {warning}\n")
    if len(compiled.warnings) > _SHOWN_MAX:
        sys.stderr.write(f"warning: DBC: {len(compiled.warnings) - _SHOWN_MAX} more, see --json\n")
    for place in reader.errors.first:
        sys.stderr.write(f"warning: log: {place}\n")
    if reader.errors.count > len(reader.errors.first):
        sys.stderr.write(f"warning: log: {reader.errors.count} places in all could not be read\n")


def _id_text(can_id: int) -> str:
    """Return an identifier as people write it: 0x123, and 8 digits for an extended one."""
    return f"0x{can_id & ~EXTENDED:08X}" if can_id & EXTENDED else f"0x{can_id:03X}"


def _fail(sentence: str) -> None:
    sys.stderr.write(f"error: {sentence}\n")
    raise typer.Exit(EXIT_UNUSABLE)
