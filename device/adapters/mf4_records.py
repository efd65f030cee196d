"""Records of an MF4 data group that has only one kind of them, with the payloads that stand apart.

Rules:
- Records are cut at their size; holes in the stream keep them in step.
- A frame without its payload, or with one of another length than the record says, is left out and counted.

Groups with several kinds of records are `mf4_mixed`'s.

Example:
    >>> [len(part.rows) for part in next(FixedRecords(mf4, group, kind, errors).pieces())]  # doctest: +SKIP
    [1815]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import CLASSIC_BYTES, FD_BYTES
from device.adapters.log_errors import LogFault
from device.adapters.log_lines import DLC_BYTES
from device.adapters.mf4_data import Hole, stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from device.adapters.log_errors import LogErrors
    from device.adapters.mf4_blocks import Mf4File
    from device.adapters.mf4_layout import DataGroup, Layout, RecordKind

LENGTH_BYTES = 4
_DLC = np.array(DLC_BYTES, np.int64)
_AHEAD_BYTES_MAX = 1 << 24  # how far ahead of what was read a payload may lie
_BACK_BYTES_MAX = 1 << 20  # how far a payload may lie behind the one that was asked for last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Records:
    """Records of one kind.

    Attributes:
        layout: What stands where.
        rows: uint8 (n, bytes of a record).
        place: int64 (n,), ascending in the order of the file.
        payloads: uint8 (n, 8…64), zero padded.
    """

    layout: Layout
    rows: NDArray[np.uint8]
    place: NDArray[np.int64]
    payloads: NDArray[np.uint8]


class FixedRecords:
    """Records of a group that has only one kind.

    Args:
        file: The file.
        group: The data group.
        kind: Its only record kind.
        errors: Takes each damage.
    """

    def __init__(self, file: Mf4File, group: DataGroup, kind: RecordKind, errors: LogErrors) -> None:
        self._file = file
        self._group = group
        self._kind = kind
        self._errors = errors
        layout = kind.layout
        self._payloads = None
        if layout is not None and layout.offset is not None and layout.stream:
            self._payloads = _PayloadStream(file, layout.stream, errors)

    def pieces(self) -> Iterator[list[Records]]:
        """Yield all records, a few MB at a time."""
        size, layout = self._kind.size, self._kind.layout
        if layout is None or not size:
            return
        buffer, skip, count = b"", 0, 0  # skip: bytes to the next record's begin
        for part in stream(self._file, self._group.data, self._errors):
            if isinstance(part, Hole):
                skip = (skip - part.size) % size if skip else -(len(buffer) + part.size) % size
                buffer = b""
                continue
            data = buffer + part[skip:]
            skip = max(0, skip - len(part))
            whole = len(data) // size
            if whole:
                rows = np.frombuffer(data, np.uint8, whole * size).reshape(whole, size)
                count += whole
                yield [self._records(layout, rows)]
            buffer = data[whole * size :]
        if buffer and not self._errors.is_torn:
            self._errors.add(f"the log ends within a record ({len(buffer)} of {size} bytes)", LogFault.TORN)
        if self._kind.cycles > count:
            missing = self._kind.cycles - count
            text = f"{missing} of {self._kind.cycles} records are not there"
            self._errors.add(text, LogFault.TORN, count=missing)

    def _records(self, layout: Layout, rows: NDArray[np.uint8]) -> Records:
        payloads, is_there = inline(layout, rows), None
        if self._payloads is not None:
            assert layout.offset is not None
            payloads, is_there = self._payloads.take(layout.offset.integers(rows))
        elif layout.offset is not None:
            is_there = np.full(len(rows), -1)
        records = Records(layout=layout, rows=rows, place=np.arange(len(rows)), payloads=payloads)
        return records if is_there is None else with_payload(records, is_there, self._errors)


class _PayloadStream:
    """Payloads of variable length in blocks of their own, read as frames ask for them, forward only.

    Args:
        file: The file.
        address: Of the blocks.
        errors: Takes each damage.
    """

    def __init__(self, file: Mf4File, address: int, errors: LogErrors) -> None:
        self._parts = stream(file, address, errors)
        self._window = b""
        self._first = 0  # offset of the window in the stream
        self._is_over = False

    def take(self, offsets: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return payloads and their lengths at offsets; a length of -1 where there is none."""
        payloads = [self._at(offset) for offset in offsets.tolist()]
        keep = max(self._first, int(offsets.max(initial=0)) - _BACK_BYTES_MAX)
        self._window = self._window[keep - self._first :]
        self._first = keep
        return payload_rows(payloads)

    def _at(self, offset: int) -> bytes | None:
        start = offset - self._first
        if start < 0 or not self._has(start + LENGTH_BYTES):
            return None
        size = int.from_bytes(self._window[start : start + LENGTH_BYTES], "little")
        start += LENGTH_BYTES
        if size > FD_BYTES or not self._has(start + size):
            return None
        return self._window[start : start + size]

    def _has(self, stop: int) -> bool:
        """Whether the window reaches so far; reads on when it does not."""
        while len(self._window) < stop and not self._is_over and stop - len(self._window) <= _AHEAD_BYTES_MAX:
            part = next(self._parts, None)
            if part is None:
                self._is_over = True
            else:
                self._window += part if isinstance(part, bytes) else b"\xff" * part.size
        return len(self._window) >= stop


def payload_rows(payloads: Sequence[bytes | None]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return payloads as rows of 64 bytes and their lengths, -1 for one that is missing or too long."""
    lengths = np.array(
        [-1 if item is None or len(item) > FD_BYTES else len(item) for item in payloads], np.int64
    )
    joined = b"".join((item or b"")[:FD_BYTES].ljust(FD_BYTES, b"\0") for item in payloads)
    return np.frombuffer(joined, np.uint8).reshape(len(payloads), FD_BYTES), lengths


def inline(layout: Layout, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the payloads that stand in the records, at least eight bytes wide."""
    first, size = layout.payload or (0, 0)
    size = min(size, FD_BYTES)
    width = CLASSIC_BYTES if size <= CLASSIC_BYTES else FD_BYTES
    payloads = np.zeros((len(rows), width), np.uint8)
    payloads[:, :size] = rows[:, first : first + size]
    return payloads


def with_payload(records: Records, lengths: NDArray[np.int64], errors: LogErrors) -> Records:
    """Return the records whose payload is there and has the length that the record says."""
    said = lengths_of(records.layout, records.rows)
    is_good = (lengths >= 0) & (lengths == said)
    if is_good.all():
        return records
    count = int((~is_good).sum())
    errors.add(f"{count} frames without their payload", LogFault.DAMAGED, count=count)
    return Records(
        layout=records.layout,
        rows=records.rows[is_good],
        place=records.place[is_good],
        payloads=records.payloads[is_good],
    )


def lengths_of(layout: Layout, rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the payload bytes that records say they have."""
    if "DataLength" in layout.fields:
        return layout.fields["DataLength"].integers(rows)
    if "DLC" not in layout.fields:
        return np.zeros(len(rows), np.int64)
    codes = layout.fields["DLC"].integers(rows).clip(0, len(_DLC) - 1)
    result: NDArray[np.int64] = _DLC.take(codes)
    return result
