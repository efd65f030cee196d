"""Logs of text: lines read one by one into lots, each bad line at its own cost only.

Rules:
- A form of text is an object with `read(line)`: a frame, None for a line that is none by the form's own rules
  (a comment, an event, a heading), or `LineError` for one that should be a frame and is not.
- A bad line is counted with its number. One that is the log's last and has no line end is a torn end.
- Lines are bounded (`LOG_LINE_BYTES_MAX`), so are lots (`LOT_FRAMES_MAX`): memory is flat.

It knows no form: `candump`, `asc_lines`, `trc_lines`, `csv_lines` and `busmaster_lines` do.

Example:
    >>> lines = iter([Lines(first=1, lines=[b"good", b"bad"], is_open=True)])
    >>> errors = LogErrors()
    >>> [lot.size for lot in lots_of_lines(lines, form, errors)], errors.first          # doctest: +SKIP
    ([1], ["line 2 ..."])
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from device.acquisition.lot import CLASSIC_BYTES, EXTENDED, FD_BYTES, FrameFlag, FrameLot
from device.adapters.log_errors import LogErrors, LogFault
from protocol.limits import LOG_LINE_BYTES_MAX, LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "LineError",
    "LineForm",
    "Lines",
    "LogErrors",
    "LoggedFrame",
    "after",
    "line_batches",
    "logged",
    "lots_of_lines",
    "lots_of_rows",
    "micros",
    "shown",
]

_CHUNK_BYTES = 1 << 18
_SHOWN_BYTES = 60
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # a damaged line end makes two lines one
_US_DIGITS = 6
SPAN_US_MAX = 10**17  # three thousand years: what relative times add up to, far from overflowing
ID_MAX_STANDARD, ID_MAX_EXTENDED = 0x7FF, 0x1FFF_FFFF

# `FrameFlag`'s bits as plain integers: an enum's arithmetic costs as much as the rest of a line.
REMOTE, ERROR, FD = int(FrameFlag.REMOTE), int(FrameFlag.ERROR), int(FrameFlag.FD)

# Payload bytes by data length code (ISO 11898-1, table "DLC").
DLC_BYTES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


class LineError(ValueError):
    """A line should be a frame and is not.

    Args:
        what: A phrase that ends "line 7 …".
        cause: What kind of fault it is.
    """

    def __init__(self, what: str, cause: LogFault = LogFault.NO_FRAME) -> None:
        super().__init__(what)
        self.cause = cause


class LoggedFrame(NamedTuple):
    """One frame of a log.

    Attributes:
        bus: As the log names it.
        t_us: The log's time, µs.
        can_id: Bit 31 set for an extended one.
        flags: Bits of `FrameFlag`.
        data: Payload, empty for remote frames.
    """

    bus: str
    t_us: int
    can_id: int
    flags: int
    data: bytes


class LineForm(Protocol):
    """Reads one form of text; may remember headings and times from line to line."""

    def read(self, line: bytes) -> LoggedFrame | None:
        """Return the frame of a line, None when the line is none by the form's rules.

        Raises:
            LineError: It should be one and is not.
        """


class Source(Protocol):
    """Where bytes come from."""

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer than `count` only at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Some lines of a log.

    Attributes:
        first: Number of the first one, counted from 1.
        lines: Without their line ends.
        is_open: The last of them ends the log and has no line end.
    """

    first: int
    lines: Sequence[bytes]
    is_open: bool = False


def line_batches(source: Source) -> Iterator[Lines]:
    """Yield bounded lists of lines; the last line needs no line end, carriage returns are taken off."""
    pending, number = b"", 1
    while chunk := source.read(_CHUNK_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        for start in range(0, len(lines), LOT_FRAMES_MAX):
            part = [line.rstrip() for line in lines[start : start + LOT_FRAMES_MAX]]
            yield Lines(first=number, lines=part)
            number += len(part)
        if len(pending) > _CHUNK_BYTES:
            # No line end in a whole chunk: keep what is needed to call it one overlong line.
            pending = pending[: LOG_LINE_BYTES_MAX + 1]
    if pending:
        yield Lines(first=number, lines=[pending.rstrip()], is_open=True)


def lots_of_lines(batches: Iterator[Lines], form: LineForm, errors: LogErrors) -> Iterator[FrameLot]:
    """Yield the frames of lines, one bus a lot, in order within a bus.

    Args:
        batches: In the order of the log.
        form: What the text is.
        errors: Takes each line that cannot be read.
    """
    for batch in batches:
        frames: list[LoggedFrame] = []
        for row, line in enumerate(batch.lines):
            if len(line) > LOG_LINE_BYTES_MAX:
                note_bad_line(batch, row, f"has {len(line)} bytes or more", LogFault.OVERLONG, errors)
                continue
            if _CONTROL.search(line):
                note_bad_line(batch, row, "has control characters", LogFault.NO_FRAME, errors)
                continue
            try:
                frame = form.read(line)
            except LineError as error:
                note_bad_line(batch, row, str(error), error.cause, errors)
                continue
            if frame is not None:
                frames.append(frame)
        yield from lots_of_rows(frames)


def note_bad_line(batch: Lines, row: int, what: str, cause: LogFault, errors: LogErrors) -> None:
    """Count a line that cannot be read; the log's last one without a line end is a torn end."""
    if batch.is_open and row == len(batch.lines) - 1:
        cause = LogFault.TORN
    errors.add(f"line {batch.first + row} {what}: {shown(batch.lines[row])}", cause)


def lots_of_rows(frames: Sequence[LoggedFrame]) -> Iterator[FrameLot]:
    """Yield frames as one lot a bus, buses in order of appearance."""
    by_bus: dict[str, list[LoggedFrame]] = defaultdict(list)
    for frame in frames:
        by_bus[frame[0]].append(frame)
    for bus, rows in by_bus.items():
        _, t_us, can_id, flags, data = zip(*rows, strict=True)
        lengths = np.fromiter(map(len, data), np.uint8, len(data))
        width = CLASSIC_BYTES if lengths.max() <= CLASSIC_BYTES else FD_BYTES
        joined = b"".join([payload.ljust(width, b"\0") for payload in data])
        yield FrameLot(
            bus=bus,
            t_us=np.array(t_us, np.int64),
            can_id=np.array(can_id, np.uint32),
            flags=np.array(flags, np.uint8),
            length=lengths,
            data=np.frombuffer(joined, np.uint8).reshape(len(data), width),
        )


def logged(
    bus: str, t_us: int, can_id: int, data: bytes, *, is_extended: bool, flags: int = 0
) -> LoggedFrame:
    """Return a frame that can be.

    Raises:
        LineError: Its identifier or its length is impossible.
    """
    if can_id > (ID_MAX_EXTENDED if is_extended else ID_MAX_STANDARD):
        kind = "extended" if is_extended else "standard"
        raise LineError(f"has no {kind} identifier ({can_id:X})", LogFault.IMPOSSIBLE)
    if len(data) > (FD_BYTES if flags & FD else CLASSIC_BYTES):
        raise LineError(f"has {len(data)} payload bytes", LogFault.IMPOSSIBLE)
    return LoggedFrame(bus, t_us, can_id | (EXTENDED if is_extended else 0), flags, data)


def micros(whole: bytes, fraction: bytes, *, digits: int = _US_DIGITS) -> int:
    """Return a decimal number of seconds (6 digits to a µs) or milliseconds (3) as µs; more are cut off.

    Example:
        >>> micros(b"1", b"5"), micros(b"17535", b"4", digits=3)
        (1500000, 17535400)
    """
    unit = 1_000_000 if digits == _US_DIGITS else 1_000
    return int(whole) * unit + int(fraction[:digits].ljust(digits, b"0"))


def hex_bytes(words: Sequence[bytes]) -> bytes:
    """Return the bytes of two-digit hexadecimal words.

    Raises:
        LineError: One of them is none.
    """
    joined = b"".join(words)
    try:
        if len(joined) == 2 * len(words):
            return bytes.fromhex(joined.decode("ascii"))
        return bytes([int(word, 16) for word in words])
    except ValueError as error:  # a UnicodeDecodeError is one
        raise LineError("has a payload that is not hexadecimal") from error


def after(before_us: int, step_us: int) -> int:
    """Return the time of a relative log, a step behind the one before.

    Raises:
        LineError: No log is so long.
    """
    if before_us + step_us > SPAN_US_MAX:
        raise LineError("has a time no log reaches", LogFault.IMPOSSIBLE)
    return before_us + step_us


def shown(line: bytes) -> str:
    """Return the beginning of a line for a person."""
    return repr(line[:_SHOWN_BYTES].decode("ascii", errors="replace"))
