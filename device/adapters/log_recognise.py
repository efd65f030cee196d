r"""What a log is: told by its content, and by its name only where the content does not say.

Rules:
- Binary logs are known by their first bytes. A text is given to each form's reader, and the one that finds
  most frames in its beginning has it; a heading counts where there is no frame yet.
- A log without any content is an empty log of the form that its name says, candump without a name.
- A text in which nobody finds anything is refused, with its first line and what is supported.

Example:
    >>> recognise(Path("drive.txt"), b"(1.000000) can0 123#00\n")
    <LogFormat.CANDUMP: 'candump'>
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from device.adapters.asc_lines import AscLines
from device.adapters.blf_log import FILE_MAGIC
from device.adapters.blf_objects import OBJECT_MAGIC
from device.adapters.busmaster_lines import BusmasterLines
from device.adapters.candump import parse_lines
from device.adapters.csv_lines import CsvLines
from device.adapters.log_errors import LogError
from device.adapters.log_lines import LineError, LineForm, shown
from device.adapters.mf4_blocks import MAGIC, MAGIC_UNFINISHED
from device.adapters.trc_lines import TrcLines
from protocol.limits import LOG_LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD_BYTES = 1 << 16  # what is looked at
_LINES_MAX = 500
_PACKED = ".gz"

SUPPORTED = (
    "candump, Vector .asc and .blf, PEAK .trc, .csv of python-can or SavvyCAN (GVRET), BUSMASTER .log, "
    "MDF 4 .mf4; all but .mf4 may be packed with gzip"
)


class LogFormat(StrEnum):
    """Forms of a log."""

    CANDUMP = "candump"
    ASC = "asc"
    BLF = "blf"
    TRC = "trc"
    CSV = "csv"
    BUSMASTER = "busmaster"
    MF4 = "mf4"


_TEXT: dict[LogFormat, Callable[[], LineForm]] = {
    LogFormat.ASC: AscLines,
    LogFormat.TRC: TrcLines,
    LogFormat.CSV: CsvLines,
    LogFormat.BUSMASTER: BusmasterLines,
}
_HEADINGS = {
    LogFormat.ASC: (b"date ", b"base hex", b"base dec"),
    LogFormat.TRC: (b";$FILEVERSION", b";##########"),
    LogFormat.CSV: (b"timestamp,arbitration_id", b"Time Stamp,"),
    LogFormat.BUSMASTER: (b"***BUSMASTER",),
}
_SUFFIXES = {
    ".asc": LogFormat.ASC,
    ".blf": LogFormat.BLF,
    ".trc": LogFormat.TRC,
    ".csv": LogFormat.CSV,
    ".mf4": LogFormat.MF4,
}


def recognise(path: Path, head: bytes) -> LogFormat:
    """Return what a log is.

    Args:
        path: Its name.
        head: Its first bytes, `HEAD_BYTES` of them or all.

    Raises:
        LogError: It is none of those that are supported.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != _PACKED]
    named = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if head.startswith((MAGIC, MAGIC_UNFINISHED)):
        return LogFormat.MF4
    if head.startswith((FILE_MAGIC, OBJECT_MAGIC)):
        return LogFormat.BLF
    if named in {LogFormat.BLF, LogFormat.MF4}:
        return named  # its reader says what is wrong
    if not head.strip():
        return named or LogFormat.CANDUMP
    lines = [line.rstrip() for line in head.split(b"\n")[:_LINES_MAX]]
    found = {LogFormat.CANDUMP: int(parse_lines(lines).is_frame.sum())}
    found |= {name: _frames(form(), lines) for name, form in _TEXT.items()}
    best = max(found, key=lambda name: (found[name], name is named))
    if found[best]:
        return best
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for name, headings in _HEADINGS.items():
        if start.startswith(tuple(heading.lower() for heading in headings)):
            return name
    number, first = next((number, line) for number, line in enumerate(lines, 1) if line)
    raise LogError(
        path, f"not a CAN log of a known form: line {number} is {shown(first)}", f"Give one of: {SUPPORTED}."
    )


def line_form(name: LogFormat) -> LineForm:
    """Return a fresh reader of a form of text (not candump, which is read as columns)."""
    return _TEXT[name]()


def _frames(form: LineForm, lines: list[bytes]) -> int:
    count = 0
    for line in lines:
        if len(line) <= LOG_LINE_BYTES_MAX:
            try:
                count += form.read(line) is not None
            except LineError:
                continue
    return count
