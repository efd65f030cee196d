"""CAN logs from disk or a pipe as lots of frames, whatever tool wrote them.

Rules:
- The content decides what a log is (`log_recognise`); candump is read as columns, the other texts line by
  line, BLF by containers, MF4 by records. All but MF4 may be packed with gzip and may come through a pipe.
- Lots are bounded (`LOT_FRAMES_MAX`), one bus each, in the order of the log: of lots that are read
  together, the one whose first frame stands first comes first. So the first frame of all is the log's.
- Times are µs of its own clock, an epoch where the log has one (`clock`).
- A log that is torn or odd in places yields what can be read; each bad place is counted by cause, the first
  of each cause with its line or byte. A log that ends in the middle of something says so.
- A file that is missing, unreadable, or in which nothing looks like a log raises `LogError`.
- Memory is flat: no log is held as a whole. `bytes_read` of `bytes_total` is the progress.

It decodes nothing and drops nothing: error and remote frames come with their flags.

Example:
    >>> reader = LogReader(Path("drive.log"))                                           # doctest: +SKIP
    >>> sum(lot.size for lot in reader.lots()), reader.errors.count                     # doctest: +SKIP
    (49741, 0)
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import FrameLot
from device.adapters.blf_log import BlfLog
from device.adapters.candump import parse_lines
from device.adapters.log_errors import LogError, LogErrors, LogFault
from device.adapters.log_lines import Lines, line_batches, lots_of_lines, note_bad_line
from device.adapters.log_recognise import HEAD_BYTES, SUPPORTED, LogFormat, line_form, recognise
from device.adapters.log_source import LogSource
from device.adapters.mf4_blocks import Mf4DamageError
from device.adapters.mf4_log import Mf4Log
from protocol.limits import LOG_BUSES_MAX, LOG_LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SUPPORTED", "LogClock", "LogError", "LogErrors", "LogFault", "LogFormat", "LogReader"]

# Time stamps above it (2001-09-09) are an epoch, below it they count from some start.
EPOCH_LIKE_US = 1_000_000_000 * 1_000_000


class LogClock(StrEnum):
    """What a log's time stamps are."""

    UTC = "UTC"
    """The log says so."""
    HEADER_DATE = "date of the log's header, which names no time zone: taken as UTC"
    EPOCH = "time stamps of the log"
    """Seconds since 1970 by their size; the log says no more."""
    RELATIVE = "time since some start"


class LogReader:
    """One log; `lots()` reads it once from start to end.

    Attributes:
        path: The file.
        format: What it is; None until reading began.
        clock: What its times are; None until a frame was read.
        bytes_total: Its size, 0 for a pipe.
        errors: What could not be read so far.
        notes: What a person should know and that costs no frame.
    """

    def __init__(self, path: Path) -> None:
        """Find the file.

        Raises:
            LogError: It is missing, no file, or may not be read.
        """
        self.path = path
        self.format: LogFormat | None = None
        self.clock: LogClock | None = None
        self.errors = LogErrors()
        self.notes: list[str] = []
        self._source = LogSource(path)
        self.bytes_total = self._source.bytes_total
        self._jumped_to = 0  # in an MF4 log, which is not read from start to end
        self._has_date = False
        self._buses: set[str] = set()

    @property
    def bytes_read(self) -> int:
        """How far it has been read."""
        return max(self._jumped_to, self._source.bytes_read)

    @property
    def is_pipe(self) -> bool:
        """It can be read once only."""
        return not self._source.is_regular

    def lots(self) -> Iterator[FrameLot]:
        """Yield the frames.

        Raises:
            LogError: Nothing in it looks like a log, or the disk failed.
        """
        with self._source.open() as source:
            head = source.read(HEAD_BYTES)
            self.format = recognise(self.path, head)
            source.unread(head)
            match self.format:
                case LogFormat.CANDUMP:
                    lots = self._candump(source)
                case LogFormat.BLF:
                    lots = self._blf(source)
                case LogFormat.MF4:
                    lots = self._mf4(source)
                case _:
                    lots = self._text(source, self.format)
            for lot in lots:
                if not self._knows_bus(lot):
                    continue
                if self.clock is None:
                    self.clock = self._clock_of(int(lot.t_us[0]))
                yield lot
            if source.fault is not None:
                self.errors.add(source.fault[1], source.fault[0])
        self._jumped_to = self.bytes_total

    def _knows_bus(self, lot: FrameLot) -> bool:
        """Whether a lot's bus is one of those a log may have; its frames are counted when it is not."""
        if lot.bus not in self._buses and len(self._buses) >= LOG_BUSES_MAX:
            place = f"bus {lot.bus!r}: a log has no more than {LOG_BUSES_MAX} buses"
            self.errors.add(place, LogFault.IMPOSSIBLE, count=lot.size)
            return False
        self._buses.add(lot.bus)
        return True

    def _clock_of(self, t_us: int) -> LogClock:
        if self._has_date:
            return LogClock.HEADER_DATE
        return LogClock.EPOCH if t_us >= EPOCH_LIKE_US else LogClock.RELATIVE

    # --- text ----------------------------------------------------------------------------------------------

    def _text(self, source: LogSource, name: LogFormat) -> Iterator[FrameLot]:
        form = line_form(name)
        for lot in lots_of_lines(self._noting_open_end(line_batches(source)), form, self.errors):
            self._has_date = bool(getattr(form, "has_date", False))
            yield lot

    def _candump(self, source: LogSource) -> Iterator[FrameLot]:
        for batch in self._noting_open_end(line_batches(source)):
            yield from self._lots_of_candump(batch)

    def _noting_open_end(self, batches: Iterator[Lines]) -> Iterator[Lines]:
        for batch in batches:
            before = self.errors.count
            yield batch
            if batch.is_open and batch.lines[-1] and self.errors.count == before:
                number = batch.first + len(batch.lines) - 1
                self.notes.append(
                    f"line {number}, the last, has no line end; its frame may have been cut short"
                )

    def _lots_of_candump(self, batch: Lines) -> Iterator[FrameLot]:
        parsed = parse_lines(batch.lines)
        for row in (~parsed.is_frame).nonzero()[0].tolist():
            line = batch.lines[row]
            if len(line) > LOG_LINE_BYTES_MAX:
                note_bad_line(batch, row, f"has {len(line)} bytes or more", LogFault.OVERLONG, self.errors)
            elif line:
                note_bad_line(batch, row, "is no candump frame", LogFault.NO_FRAME, self.errors)
        by_bus = [
            ((parsed.is_frame & (parsed.bus == index)).nonzero()[0], bus)
            for index, bus in enumerate(parsed.bus_names)
        ]
        for rows, bus in sorted(
            ((rows, bus) for rows, bus in by_bus if len(rows)), key=lambda pair: int(pair[0][0])
        ):
            yield FrameLot(
                bus=bus,
                t_us=parsed.t_us[rows],
                can_id=parsed.can_id[rows],
                flags=parsed.flags[rows],
                length=parsed.length[rows],
                data=np.ascontiguousarray(parsed.data[rows, : parsed.width]),
            )

    # --- binary --------------------------------------------------------------------------------------------

    def _blf(self, source: LogSource) -> Iterator[FrameLot]:
        log = BlfLog(source, self.errors)
        frames = 0
        for lot in log.lots():
            frames += lot.size
            self._has_date = log.has_date
            yield lot
        if not frames and not log.is_header_good:
            raise LogError(self.path, "not a readable BLF log", "Check that the file is complete.")

    def _mf4(self, source: LogSource) -> Iterator[FrameLot]:
        if source.is_packed or self.is_pipe:
            step = "Give the file itself, not packed: an MF4 log is read by jumping in it."
            raise LogError(self.path, "an MF4 log that is packed or comes through a pipe", step)
        try:
            log = Mf4Log(source.file, self.bytes_total, self.errors)
            for lot in log.lots():
                if self.clock is None:
                    self.clock = LogClock.UTC if log.mf4.has_zone else LogClock.HEADER_DATE
                self._jumped_to = min(max(self._jumped_to, source.file.tell()), self.bytes_total)
                yield lot
        except Mf4DamageError as error:
            raise LogError(
                self.path, f"not a readable MF4 log: {error}", "Check that the file is complete."
            ) from error
        except OSError as error:
            raise LogError(self.path, error.strerror or type(error).__name__, "Check the disk.") from error
        if not log.mf4.is_bus_log and not self.errors.count:
            raise LogError(
                self.path,
                "an MF4 file without CAN frames: it has no channel CAN_DataFrame",
                "Record with bus logging; measured signals are decoded already, read them with an MDF tool.",
            )
        if self.clock is None and self.errors.count:
            raise LogError(
                self.path,
                f"an MF4 log in which no frame can be read: {self.errors.first[0]}",
                "Check that the file is complete.",
            )
