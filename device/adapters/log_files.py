"""CAN logs from disk as lots of frames: candump, Vector ASC and BLF.

Rules:
- The suffix decides: `.asc` and `.blf` are read by python-can, all else is taken as `candump -l` text.
- Lots are bounded (`LOT_FRAMES_MAX`), one bus each, in the order of the log; times are µs of the log's own
  clock.
- A log that is torn or odd in places yields what can be read. Bad candump lines are counted, the first few
  are kept with their line numbers. ASC and BLF cannot be resumed behind a bad spot: they end there, with one
  error.
- A file that is missing, unreadable, or in which nothing looks like the format raises `LogError`.
- `bytes_read` of `bytes_total` is the progress.

It decodes nothing and drops nothing: error and remote frames come with their flags.

Example:
    >>> reader = LogReader(Path("drive.log"))                                           # doctest: +SKIP
    >>> sum(lot.size for lot in reader.lots()), reader.errors.count                     # doctest: +SKIP
    (49741, 0)
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import can
import numpy as np
from can.io.asc import ASCReader
from can.io.blf import BLFParseError, BLFReader

from device.acquisition.lot import EXTENDED, FrameFlag, FrameLot
from device.adapters.candump import parse_lines
from device.errors import EdgeError
from protocol.limits import LOG_LINE_BYTES_MAX, LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_CHUNK_BYTES = 1 << 20

# Errors that are kept with their place; the rest are only counted.
_FIRST_ERRORS = 5

# What python-can's readers raise on a damaged file.
_READER_FAILURES = (
    BLFParseError,
    can.CanError,
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class LogError(EdgeError):
    """A log cannot be read at all."""

    def __init__(self, path: Path, cause: str, next_step: str) -> None:
        super().__init__(f"{path}: {cause}", is_transient=False, next_step=next_step)
        self.path = path


@dataclass(slots=True)
class LogErrors:
    """Places that could not be read: how many, and the first few in words."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """Count one, and keep it while few are kept."""
        self.count += 1
        if len(self.first) < _FIRST_ERRORS:
            self.first.append(place)


class LogReader:
    """One log; `lots()` reads it once from start to end.

    Attributes:
        path: The file.
        bytes_total: Its size.
        bytes_read: How far it has been read.
        errors: What could not be read so far.
    """

    def __init__(self, path: Path) -> None:
        """Find the file.

        Raises:
            LogError: It is missing, no file, or may not be read.
        """
        self.path = path
        self.errors = LogErrors()
        self.bytes_read = 0
        try:
            with path.open("rb"):
                self.bytes_total = path.stat().st_size
        except OSError as error:
            cause = error.strerror or type(error).__name__
            raise LogError(path, cause, "Check the path and its permissions.") from error

    def lots(self) -> Iterator[FrameLot]:
        """Yield the frames.

        Raises:
            LogError: Nothing in it looks like the format, or the disk failed.
        """
        match self.path.suffix.lower():
            case ".asc":
                with (
                    self._open() as file,
                    io.TextIOWrapper(file, encoding="cp1252", errors="replace") as text,
                ):
                    yield from self._read_with(lambda: ASCReader(text), file)
            case ".blf":
                with self._open() as file:
                    yield from self._read_with(lambda: BLFReader(file), file)
            case _:
                yield from self._candump()

    # --- candump ------------------------------------------------------------------------------------------

    def _candump(self) -> Iterator[FrameLot]:
        number, frames = 0, 0
        for lines in self._line_batches():
            for lot in self._lots_of_lines(lines, number):
                frames += lot.size
                yield lot
            number += len(lines)
            if frames == 0 and self.errors.count:
                raise LogError(
                    self.path,
                    f"not a candump log: {self.errors.first[0]}",
                    "Give a log of `candump -l`, or name a Vector log .asc or .blf.",
                )

    def _line_batches(self) -> Iterator[list[bytes]]:
        """Yield bounded lists of lines; the last line needs no line end."""
        pending = b""
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    *lines, pending = (pending + chunk).split(b"\n")
                    for start in range(0, len(lines), LOT_FRAMES_MAX):
                        self.bytes_read += sum(map(len, lines[start : start + LOT_FRAMES_MAX]))
                        self.bytes_read += len(lines[start : start + LOT_FRAMES_MAX])
                        yield lines[start : start + LOT_FRAMES_MAX]
                    if len(pending) > _CHUNK_BYTES:
                        # No line end in a whole chunk: keep what is needed to call it one overlong line.
                        pending = pending[: LOG_LINE_BYTES_MAX + 1]
        except OSError as error:
            raise LogError(self.path, error.strerror or type(error).__name__, "Check the disk.") from error
        if pending:
            yield [pending]
        self.bytes_read = self.bytes_total

    def _lots_of_lines(self, lines: list[bytes], lines_before: int) -> Iterator[FrameLot]:
        lines = [line.rstrip() for line in lines]
        parsed = parse_lines(lines)
        for row in (~parsed.is_frame).nonzero()[0].tolist():
            if lines[row]:
                shown = lines[row][:60].decode("ascii", errors="replace")
                self.errors.add(f"line {lines_before + row + 1} is no candump frame: {shown!r}")
        for index, bus in enumerate(parsed.bus_names):
            rows = (parsed.is_frame & (parsed.bus == index)).nonzero()[0]
            if len(rows):
                yield FrameLot(
                    bus=bus,
                    t_us=parsed.t_us[rows],
                    can_id=parsed.can_id[rows],
                    flags=parsed.flags[rows],
                    length=parsed.length[rows],
                    data=np.ascontiguousarray(parsed.data[rows, : parsed.width]),
                )

    # --- ASC and BLF ----------------------------------------------------------------------------------------

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise LogError(self.path, error.strerror or type(error).__name__, "Check the disk.") from error

    def _read_with(
        self, open_reader: Callable[[], Iterable[can.Message]], file: BinaryIO
    ) -> Iterator[FrameLot]:
        """Read with python-can until the end or the first failure; `file` says how far it is."""
        rows: dict[str, list[can.Message]] = defaultdict(list)
        frames = 0
        try:
            for message in open_reader():
                frames += 1
                bus = f"can{message.channel if message.channel is not None else 0}"
                rows[bus].append(message)
                if len(rows[bus]) == LOT_FRAMES_MAX:
                    self.bytes_read = min(file.tell(), self.bytes_total)
                    yield _lot_of_messages(bus, rows.pop(bus))
        except _READER_FAILURES as error:
            cause = str(error) or type(error).__name__
            if frames == 0:
                kind = self.path.suffix[1:].upper()
                raise LogError(
                    self.path, f"not a readable {kind} log: {cause}", "Check that the file is complete."
                ) from error
            self.errors.add(f"unreadable after {frames} frames, near byte {file.tell()}: {cause}")
        for bus, messages in rows.items():
            yield _lot_of_messages(bus, messages)
        self.bytes_read = self.bytes_total


def _lot_of_messages(bus: str, messages: list[can.Message]) -> FrameLot:
    return FrameLot.of(
        bus,
        (
            (
                round(message.timestamp * 1e6),
                message.arbitration_id | (EXTENDED if message.is_extended_id else 0),
                b"" if message.is_remote_frame or message.is_error_frame else bytes(message.data),
            )
            for message in messages
        ),
        [_flags(message) for message in messages],
    )


def _flags(message: can.Message) -> int:
    return (
        (FrameFlag.REMOTE if message.is_remote_frame else 0)
        | (FrameFlag.ERROR if message.is_error_frame else 0)
        | (FrameFlag.FD if message.is_fd else 0)
    )
