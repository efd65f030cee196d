"""Frames of an MF4 file: records to lots, in order of time, a piece of the file at a time.

Rules:
- Times are the header's start plus the record's time, rounded to µs.
- Records of several kinds in one data group come in the order of the file; data groups are merged by time.
- A payload that stands apart from its record is found by its offset. A frame whose payload is missing or has
  another length than it says is left out and counted: it is never given the bytes of another.
- Behind a damaged record reading goes on where a run of records fits again.
- Memory is flat: a piece is at most a few MB, whatever the file.

Buses are named by the channel's number, as python-can does: channel 1 is can1.

Example:
    >>> sum(lot.size for lot in Mf4Log(file, size, errors).lots())                      # doctest: +SKIP
    150411
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from device.acquisition.lot import CLASSIC_BYTES, EXTENDED, FD_BYTES, FrameFlag, FrameLot
from device.adapters.log_errors import LogErrors, LogFault
from device.adapters.log_lines import ID_MAX_EXTENDED, ID_MAX_STANDARD
from device.adapters.mf4_blocks import Mf4File
from device.adapters.mf4_layout import DataGroup, FrameKind, Layout
from device.adapters.mf4_mixed import MixedRecords
from device.adapters.mf4_records import FixedRecords, Records, lengths_of
from protocol.limits import LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_TIME_US_MAX = 10.0**17  # three thousand years
_BUS_MAX = 255
_ID_BITS = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """Frames of all buses in order, as equally long columns; `t_us` is absolute."""

    t_us: NDArray[np.int64]
    bus: NDArray[np.int64]
    can_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Frames:
        """Return some of them."""
        return Frames(
            t_us=self.t_us[rows],
            bus=self.bus[rows],
            can_id=self.can_id[rows],
            flags=self.flags[rows],
            length=self.length[rows],
            data=self.data[rows],
        )


class Mf4Log:
    """One MF4 log.

    Args:
        file: Open for reading and seeking.
        size: Its bytes.
        errors: Takes each damage.

    Attributes:
        mf4: Its structure.

    Raises:
        Mf4DamageError: It has no readable header.
    """

    def __init__(self, file: BinaryIO, size: int, errors: LogErrors) -> None:
        self.mf4 = Mf4File(file, size, errors)
        self._errors = errors

    def lots(self) -> Iterator[FrameLot]:
        """Yield the frames in order of time."""
        groups = list(self.mf4.groups())
        streams = [self._frames(group) for group in groups]
        merged = streams[0] if len(streams) == 1 else _merged(streams)
        for frames in merged:
            for first in range(0, len(frames.t_us), LOT_FRAMES_MAX):
                yield from _lots(frames.take(slice(first, first + LOT_FRAMES_MAX)))

    def _frames(self, group: DataGroup) -> Iterator[Frames]:
        kinds = list(group.kinds.values())
        if group.id_bytes == 0:
            records: FixedRecords | MixedRecords = FixedRecords(self.mf4, group, kinds[0], self._errors)
        else:
            records = MixedRecords(self.mf4, group, self._errors)
        for parts in records.pieces():
            frames = [self._of(part) for part in parts]
            places = np.concatenate([part.place for part in parts])
            joined = _joined(frames).take(places.argsort(kind="stable"))
            yield self._possible(joined)

    def _of(self, records: Records) -> Frames:
        """Return the frames of records of one kind."""
        layout, rows = records.layout, records.rows
        count = len(rows)
        seconds = layout.time.numbers(rows)
        with np.errstate(invalid="ignore", over="ignore"):  # times that cannot be are left out below
            t_us = np.where(np.abs(seconds) < _TIME_US_MAX / 1e6, np.round(seconds * 1e6), -1e18)
        flags = _flags(layout, rows)
        length = np.zeros(count, np.int64)
        if layout.kind is FrameKind.DATA:
            length = lengths_of(layout, rows)
        return Frames(
            t_us=t_us.astype(np.int64) + self.mf4.start_us,
            bus=_member(layout, rows, "BusChannel", 0),
            can_id=_identifiers(layout, rows),
            flags=flags,
            length=length.clip(0, 255).astype(np.uint8),
            data=records.payloads
            if layout.kind is FrameKind.DATA
            else np.zeros((count, CLASSIC_BYTES), np.uint8),
        )

    def _possible(self, frames: Frames) -> Frames:
        """Leave out frames that cannot be, counted by what is wrong with them."""
        length = frames.length.astype(np.int64)
        bare = frames.can_id & _ID_BITS
        is_extended = (frames.can_id & EXTENDED) != 0
        too_long = length > np.where(frames.flags & FrameFlag.FD, FD_BYTES, frames.data.shape[1])
        wrong = {
            "time": frames.t_us < 0,
            "bus": (frames.bus < 0) | (frames.bus > _BUS_MAX),
            "identifier": bare > np.where(is_extended, ID_MAX_EXTENDED, ID_MAX_STANDARD),
            "length": (length > frames.data.shape[1]) | too_long,
        }
        is_wrong = np.logical_or.reduce(list(wrong.values()))
        if not is_wrong.any():
            return frames
        for what, mask in wrong.items():
            if mask.any():
                self._errors.add(
                    f"{int(mask.sum())} records with an impossible {what}",
                    LogFault.IMPOSSIBLE,
                    count=int(mask.sum()),
                )
        return frames.take(~is_wrong)


def _member(layout: Layout, rows: NDArray[np.uint8], name: str, default: int) -> NDArray[np.int64]:
    member = layout.fields.get(name)
    return np.full(len(rows), default, np.int64) if member is None else member.integers(rows)


def _identifiers(layout: Layout, rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return identifiers; whether one is extended a member says, else its highest bit or its size does."""
    number = _member(layout, rows, "ID", 0)
    if "IDE" in layout.fields:
        is_extended = layout.fields["IDE"].integers(rows) > 0
    else:
        is_extended = (number & EXTENDED != 0) | (number & _ID_BITS > ID_MAX_STANDARD)
    return ((number & _ID_BITS) | np.where(is_extended, EXTENDED, 0)).astype(np.uint32)


def _flags(layout: Layout, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    kind = {FrameKind.DATA: 0, FrameKind.ERROR: FrameFlag.ERROR, FrameKind.REMOTE: FrameFlag.REMOTE}[
        layout.kind
    ]
    is_fd = _member(layout, rows, "EDL", 0) > 0
    return (np.where(is_fd, FrameFlag.FD, 0) | kind).astype(np.uint8)


def _joined(frames: list[Frames]) -> Frames:
    """Return all frames one after the other, as wide as the widest."""
    if len(frames) == 1:
        return frames[0]
    width = max(part.data.shape[1] for part in frames)
    return Frames(
        t_us=np.concatenate([part.t_us for part in frames]),
        bus=np.concatenate([part.bus for part in frames]),
        can_id=np.concatenate([part.can_id for part in frames]),
        flags=np.concatenate([part.flags for part in frames]),
        length=np.concatenate([part.length for part in frames]),
        data=np.concatenate(
            [np.pad(part.data, ((0, 0), (0, width - part.data.shape[1]))) for part in frames]
        ),
    )


def _merged(streams: list[Iterator[Frames]]) -> Iterator[Frames]:
    """Merge streams by time, lots of a stream staying together as far as they can."""
    heap: list[tuple[int, int, Frames]] = []

    def refill(number: int) -> None:
        frames = next((part for part in streams[number] if len(part.t_us)), None)
        if frames is not None:
            heapq.heappush(heap, (int(frames.t_us[0]), number, frames))

    for number in range(len(streams)):
        refill(number)
    while heap:
        _, number, frames = heapq.heappop(heap)
        limit = heap[0][0] if heap else None
        later = np.flatnonzero(frames.t_us > limit) if limit is not None else np.empty(0, np.int64)
        stop = int(later[0]) if len(later) else len(frames.t_us)
        yield frames.take(slice(0, stop))
        if stop < len(frames.t_us):
            rest = frames.take(slice(stop, None))
            heapq.heappush(heap, (int(rest.t_us[0]), number, rest))
        else:
            refill(number)


def _lots(frames: Frames) -> Iterator[FrameLot]:
    """Yield frames as one lot a bus, buses in order of appearance."""
    buses, earliest = np.unique(frames.bus, return_index=True)
    for bus in buses[earliest.argsort()].tolist():
        part = frames.take(frames.bus == bus)
        is_narrow = int(part.length.max(initial=0)) <= CLASSIC_BYTES
        width = CLASSIC_BYTES if is_narrow else FD_BYTES
        data = np.zeros((len(part.t_us), width), np.uint8)
        there = min(width, part.data.shape[1])
        data[:, :there] = part.data[:, :there]
        data[np.arange(width) >= part.length[:, None]] = 0
        yield FrameLot(
            bus=f"can{bus}",
            t_us=part.t_us,
            can_id=part.can_id,
            flags=part.flags,
            length=part.length,
            data=data,
        )
