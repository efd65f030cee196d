"""Vector BLF logs: containers of objects, read one by one, with damaged ones left out.

Rules:
- CAN messages, CAN FD messages and error frames are read; other objects are no frames and no errors.
- Times are counted from the start time of the file's header. It names no time zone and is taken as UTC; they
  are rounded to µs.
- A damaged container or object is left out whole, and reading goes on at the next one that can be found; each
  damage is counted with its byte. A file that ends in the middle of one says so.
- Containers are bounded (`BLF_CONTAINER_BYTES_MAX`), so is what they unpack to: memory is flat.
- Channel 1 is bus can0, as python-can counts.

Example:
    >>> sum(lot.size for lot in BlfLog(source, errors).lots())                          # doctest: +SKIP
    49741

Source: the layout as python-can and Tobias Lorenz's Vector_BLF describe it; checked against python-can.
"""

from __future__ import annotations

import datetime as dt
import struct
import zlib
from typing import TYPE_CHECKING, Protocol

from device.adapters.blf_objects import BASE, OBJECT_MAGIC, frame_of, is_frame
from device.adapters.blf_runs import STAMP_MAX, lots_of_run, run_at
from device.adapters.log_errors import LogErrors, LogFault
from device.adapters.log_lines import LineError, LoggedFrame, lots_of_rows
from protocol.limits import BLF_CONTAINER_BYTES_MAX, LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.acquisition.lot import FrameLot

FILE_MAGIC = b"LOGG"

_FILE_HEADER = struct.Struct("<4sL32x8H")  # magic, bytes of the header, start as year, month, weekday, day, …
_FILE_HEADER_BYTES = 144
_CONTAINER = struct.Struct("<H6xL4x")  # packing, unpacked bytes
_TYPE_CONTAINER = 10
_FRAME_BYTES_MAX = 512  # an FD frame with all its extras has less than half of it
_PADDING_BYTES_MAX = 3
_PLAIN, _ZLIB = 0, 2
_SCAN_BYTES = 1 << 16


class Source(Protocol):
    """Where bytes come from."""

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer than `count` only at the end."""

    def unread(self, data: bytes) -> None:
        """Put bytes back before the next ones."""


class BlfLog:
    """One BLF log.

    Args:
        source: At its start.
        errors: Takes each damage.

    Attributes:
        has_date: Times are an epoch: the header has a start time.
    """

    def __init__(self, source: Source, errors: LogErrors) -> None:
        self.has_date = False
        self._source = source
        self._errors = errors
        self._start_us = 0
        self._at = 0  # bytes of the source taken
        self._tail = b""  # the beginning of an object that goes on in the next container
        self._frames: list[LoggedFrame] = []
        self._lots: list[FrameLot] = []  # of what came before `_frames`
        self.is_header_good = self._read_header()

    def lots(self) -> Iterator[FrameLot]:
        """Yield the frames in the order of the log."""
        while (data := self._next_object()) is not None:
            kind = BASE.unpack_from(data)[4]
            if kind == _TYPE_CONTAINER:
                self._read_container(data)
            else:
                self._read_object(data, self._at - len(data))
            if self._lots or len(self._frames) >= LOT_FRAMES_MAX:
                yield from self._hand_over()
        if len(self._tail) > BASE.size and not self._errors.is_torn:
            self._errors.add(f"the log ends within an object, at byte {self._at}", LogFault.TORN)
        yield from self._hand_over()

    def _hand_over(self) -> Iterator[FrameLot]:
        self._close_frames()
        lots, self._lots = self._lots, []
        yield from lots

    def _close_frames(self) -> None:
        frames, self._frames = self._frames, []
        for first in range(0, len(frames), LOT_FRAMES_MAX):
            self._lots += lots_of_rows(frames[first : first + LOT_FRAMES_MAX])

    # --- the file ------------------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        data = self._source.read(count)
        self._at += len(data)
        return data

    def _give_back(self, data: bytes) -> None:
        self._source.unread(data)
        self._at -= len(data)

    def _read_header(self) -> bool:
        data = self._take(_FILE_HEADER_BYTES)
        if len(data) < _FILE_HEADER_BYTES or not data.startswith(FILE_MAGIC):
            self._give_back(data)
            return False
        _, size, year, month, _, day, hour, minute, second, milli = _FILE_HEADER.unpack_from(data)
        if _FILE_HEADER_BYTES < size <= _SCAN_BYTES:
            self._take(size - _FILE_HEADER_BYTES)
        try:
            moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
        except ValueError:  # zeros: the tool did not know
            return True
        self._start_us = max(0, int(moment.timestamp()) * 1_000_000 + min(milli, 999) * 1_000)
        self.has_date = self._start_us > 0
        return True

    def _next_object(self) -> bytes | None:
        """Return the next object of the file, header included; skips what is damaged."""
        while True:
            head = self._take(BASE.size)
            if head.startswith(b"\0"):  # padding
                self._give_back(head.lstrip(b"\0"))
                continue
            if len(head) < BASE.size:
                if head:
                    self._errors.add(f"the log ends within an object, at byte {self._at}", LogFault.TORN)
                return None
            magic, _, _, size, _ = BASE.unpack(head)
            if magic != OBJECT_MAGIC or not BASE.size <= size <= BLF_CONTAINER_BYTES_MAX:
                if not self._find_next(head):
                    return None
                continue
            body = self._take(size - BASE.size)
            if len(body) < size - BASE.size:
                return self._torn_object(head, body)
            self._skip_padding(size)
            return head + body

    def _torn_object(self, head: bytes, body: bytes) -> bytes | None:
        """Return what there is of the last object, unless its length is wrong and others follow."""
        if (place := body.find(OBJECT_MAGIC)) >= 0 and BASE.unpack(head)[4] != _TYPE_CONTAINER:
            self._errors.add(f"damaged object before byte {self._at}", LogFault.DAMAGED)
            self._give_back(body[place:])
            return self._next_object()
        self._errors.add(f"the log ends within an object, at byte {self._at}", LogFault.TORN)
        return head + body

    def _skip_padding(self, size: int) -> None:
        """Take the bytes that fill an object up; how many there are, writers do not agree on."""
        padding = self._take(size % 4)
        if OBJECT_MAGIC[:1] in padding:
            self._give_back(padding[padding.index(OBJECT_MAGIC[:1]) :])

    def _find_next(self, head: bytes) -> bool:
        """Go to the next object behind a damaged spot; False when there is none."""
        self._errors.add(f"damaged object near byte {self._at - len(head)}", LogFault.DAMAGED)
        self._tail = b""
        window = head[1:]
        while True:
            place = window.find(OBJECT_MAGIC)
            if place >= 0:
                self._give_back(window[place:])
                return True
            more = self._take(_SCAN_BYTES)
            if not more:
                return False
            window = window[-len(OBJECT_MAGIC) :] + more

    # --- containers and their objects ----------------------------------------------------------------------

    def _read_container(self, data: bytes) -> None:
        try:
            packing, _ = _CONTAINER.unpack_from(data, BASE.size)
        except struct.error:
            return  # a torn end, counted where it was met
        content = data[BASE.size + _CONTAINER.size :]
        if packing == _ZLIB:
            content = self._unpack(content)
        elif packing != _PLAIN:
            self._lose(f"container packed in an unknown way ({packing})")
            return
        self._read_objects(self._tail + content)

    def _unpack(self, content: bytes) -> bytes:
        """Return what a container unpacks to; of a torn one what is there, of a damaged one nothing.

        The bytes of a damaged one may have been wrong long before zlib noticed.
        """
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(content, BLF_CONTAINER_BYTES_MAX)
        except zlib.error as error:
            self._lose(f"damaged container before byte {self._at}: {error}")
            self._tail = b""
            return b""
        if not inflater.eof and not self._errors.is_torn:
            self._lose(f"incomplete container before byte {self._at}")
            self._tail = b""
            return b""
        return data

    def _lose(self, what: str) -> None:
        self._errors.add(what, LogFault.DAMAGED)

    def _read_objects(self, data: bytes) -> None:
        """Read the objects of a container; keeps the beginning of the last one for the next container."""
        place, is_lost = 0, False
        while True:
            start = data.find(OBJECT_MAGIC, place)
            if start < 0 or start + BASE.size > len(data):
                keep = max(place, len(data) - BASE.size) if start < 0 else start
                break
            is_lost |= start - place > _PADDING_BYTES_MAX
            size = BASE.unpack_from(data, start)[3]
            goes_on = start + size > len(data)
            if not self._is_object(data, start, size):
                place, is_lost = start + 1, True
                continue
            if is_lost:
                self._lose(f"damaged object in the container before byte {self._at}")
                is_lost = False
            if goes_on:
                keep = start
                break
            run = run_at(data, start)
            if run is not None and int(run["stamp"].max()) <= STAMP_MAX:
                self._close_frames()
                self._lots += lots_of_run(run, self._start_us)
                place = start + run.nbytes
                continue
            self._read_object(data[start : start + size], self._at)
            place = start + size
        if is_lost:
            self._lose(f"damaged object in the container before byte {self._at}")
        self._tail = data[keep:]

    def _is_object(self, data: bytes, start: int, size: int) -> bool:
        """Whether the size of an object can be: a frame's is small and holds no other object."""
        if not BASE.size <= size <= BLF_CONTAINER_BYTES_MAX:
            return False
        if not is_frame(BASE.unpack_from(data, start)[4]):
            return start + size <= len(data) or data.find(OBJECT_MAGIC, start + 1) < 0
        return size <= _FRAME_BYTES_MAX and data.find(OBJECT_MAGIC, start + 1, start + size) < 0

    def _read_object(self, data: bytes, at: int) -> None:
        """Read one object: a frame is kept, anything else is passed over."""
        try:
            frame = frame_of(data, self._start_us)
        except struct.error:
            self._errors.add(f"object too short before byte {at}", LogFault.DAMAGED)
        except LineError as error:
            self._errors.add(f"object before byte {at} {error}", error.cause)
        else:
            if frame is not None:
                self._frames.append(frame)
