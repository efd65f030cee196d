"""Records of an MF4 data group that has several kinds of them, walked one by one in the order of the file.

Rules:
- A payload that stands apart from its frame is found by the offset that the frame asks for (`mf4_pairs`).
- An id that is not known, or a payload of impossible length, is damage: reading goes on where `_RUN` records
  fit again. Where payloads then stand, nobody says; in a file in which each has followed its frame so far,
  the first frame behind the damage tells. In others such frames are left out and counted.

Groups with one kind of records are `mf4_records`'.

Example:
    >>> [len(part.rows) for part in next(MixedRecords(mf4, group, errors).pieces())]    # doctest: +SKIP
    [1815]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import FD_BYTES
from device.adapters.log_errors import LogFault
from device.adapters.mf4_data import Hole, stream
from device.adapters.mf4_pairs import Pairs
from device.adapters.mf4_records import LENGTH_BYTES, Records, inline, lengths_of, payload_rows, with_payload
from protocol.limits import MF4_RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.adapters.log_errors import LogErrors
    from device.adapters.mf4_blocks import Mf4File
    from device.adapters.mf4_layout import DataGroup

_RUN = 12  # records that must fit behind damage: at worst one in three fits by chance, 12 do in 2 of 10^6
_RUN_AT_END = 3  # as many are enough where the data ends


class MixedRecords:
    """Records of a group that has several kinds.

    Args:
        file: The file.
        group: The data group.
        errors: Takes each damage.
    """

    def __init__(self, file: Mf4File, group: DataGroup, errors: LogErrors) -> None:
        self._file = file
        self._group = group
        self._errors = errors
        self._id_bytes = group.id_bytes
        # Bytes of a record by its id; -1 for a length and as many bytes.
        self._sizes = {key: -1 if kind.is_stream else kind.size for key, kind in group.kinds.items()}
        self._layouts = {key: kind.layout for key, kind in group.kinds.items() if kind.layout is not None}
        self._streams = {key: Pairs(errors, self._length_of) for key, size in self._sizes.items() if size < 0}
        # A stream of CAN payloads has none longer than a frame's; damage shows at once.
        can_streams = {layout.stream_record for layout in self._layouts.values()}
        self._most = {key: FD_BYTES if key in can_streams else MF4_RECORD_BYTES_MAX for key in self._streams}
        self._is_lost = False
        self._at = 0  # bytes of the stream before the buffer
        self._inline: dict[int, list[int]] = {}

    def pieces(self) -> Iterator[list[Records]]:
        """Yield all records, a few MB at a time."""
        buffer = b""
        for part in stream(self._file, self._group.data, self._errors):
            buffer += b"" if isinstance(part, Hole) else part
            used = self._walk(buffer, is_end=isinstance(part, Hole))
            yield from self._hand_over(buffer)
            self._at += used
            buffer = buffer[used:]
            if isinstance(part, Hole):
                self._at += len(buffer) + part.size
                buffer = b""
                self._lose()
        self._walk(buffer, is_end=True)
        for pairs in self._streams.values():
            pairs.finish()
        yield from self._hand_over(buffer)

    # --- walking -------------------------------------------------------------------------------------------

    def _walk(self, buffer: bytes, *, is_end: bool) -> int:
        """Note all whole records of a buffer; return how much of it is done with."""
        place = 0
        while True:
            if self._is_lost:
                found = self._find_run(buffer, place, is_end=is_end)
                if found is None:
                    return len(buffer) if is_end else max(place, len(buffer) - MF4_RECORD_BYTES_MAX)
                place, self._is_lost = found, False
            stop = self._end_of_record(buffer, place)
            if stop is None:
                if is_end and place < len(buffer):
                    self._errors.add(
                        f"the log ends within a record, {len(buffer) - place} bytes", LogFault.TORN
                    )
                return place
            if stop < 0:
                where = self._at + place
                self._errors.add(
                    f"damaged record, {where} bytes behind the start of the data", LogFault.DAMAGED
                )
                self._lose()
                place += 1
                continue
            self._note(buffer, place, stop)
            place = stop

    def _end_of_record(self, buffer: bytes, place: int) -> int | None:
        """Return where a record ends, None when the buffer ends before, -1 when there is no record."""
        body = place + self._id_bytes
        if body > len(buffer):
            return None
        record_id = self._id(buffer, place)
        size = self._sizes.get(record_id)
        if size is None:
            return -1
        if size < 0:
            body += LENGTH_BYTES
            if body > len(buffer):
                return None
            size = int.from_bytes(buffer[body - LENGTH_BYTES : body], "little")
            if size > self._most[record_id]:
                return -1
        return body + size if body + size <= len(buffer) else None

    def _id(self, buffer: bytes, place: int) -> int:
        return buffer[place] if self._id_bytes == 1 else self._wide_id(buffer, place)

    def _wide_id(self, buffer: bytes, place: int) -> int:
        return int.from_bytes(buffer[place : place + self._id_bytes], "little")

    def _find_run(self, buffer: bytes, place: int, *, is_end: bool) -> int | None:
        """Return where a run of records fits, None when it does not in this buffer."""
        for first in range(place, len(buffer)):
            stop: int | None = first
            for count in range(_RUN):
                assert stop is not None
                following = self._end_of_record(buffer, stop)
                if following is None and is_end and count >= _RUN_AT_END:
                    return first
                if following is None and not is_end:
                    return None  # more of the log will tell
                stop = following
                if stop is None or stop < 0:
                    break
            else:
                return first
        return None

    def _lose(self) -> None:
        """Behind damage: nobody knows where the streams stand, and who waits, waits in vain."""
        self._is_lost = True
        for pairs in self._streams.values():
            pairs.lose()

    # --- frames and their payloads -------------------------------------------------------------------------

    def _note(self, buffer: bytes, place: int, stop: int) -> None:
        record_id = self._id(buffer, place)
        body = place + self._id_bytes
        if self._sizes[record_id] < 0:
            self._streams[record_id].payload(buffer[body + LENGTH_BYTES : stop])
            return
        layout = self._layouts.get(record_id)
        if layout is None:
            return
        if layout.offset is None or layout.stream_record is None:
            self._inline.setdefault(record_id, []).append(body)
            return
        pairs = self._streams.get(layout.stream_record)
        if pairs is None:
            return
        record = buffer[body:stop]
        field = layout.offset
        word = int.from_bytes(record[field.byte : field.byte + 8], "little")
        asked = word >> field.bit & ((1 << field.bits) - 1)
        pairs.frame(asked, (self._at + place, record_id, record))

    def _length_of(self, record_id: int, record: bytes) -> int:
        """Return how many payload bytes a record says it has."""
        rows = np.frombuffer(record, np.uint8).reshape(1, -1)
        return int(lengths_of(self._layouts[record_id], rows)[0])

    # --- handing over --------------------------------------------------------------------------------------

    def _hand_over(self, buffer: bytes) -> Iterator[list[Records]]:
        inline, self._inline = self._inline, {}
        apart: dict[int, list[tuple[int, bytes, bytes]]] = {}
        for pairs in self._streams.values():
            for place, record_id, record, payload in pairs.take():
                apart.setdefault(record_id, []).append((place, record, payload))
        found = [self._inline_records(key, buffer, bodies) for key, bodies in inline.items()]
        found += [self._apart_records(key, entries) for key, entries in apart.items()]
        found = [records for records in found if len(records.rows)]
        if found:
            yield found

    def _inline_records(self, record_id: int, buffer: bytes, bodies: list[int]) -> Records:
        layout = self._layouts[record_id]
        starts = np.array(bodies, np.int64)
        rows = np.frombuffer(buffer, np.uint8)[starts[:, None] + np.arange(self._sizes[record_id])]
        records = Records(
            layout=layout,
            rows=rows,
            place=starts + (self._at - self._id_bytes),
            payloads=inline(layout, rows),
        )
        if layout.offset is None:
            return records
        return with_payload(records, np.full(len(rows), -1), self._errors)

    def _apart_records(self, record_id: int, entries: list[tuple[int, bytes, bytes]]) -> Records:
        rows = np.frombuffer(b"".join(record for _, record, _ in entries), np.uint8)
        payloads, is_there = payload_rows([payload for _, _, payload in entries])
        layout = self._layouts[record_id]
        records = Records(
            layout=layout,
            rows=rows.reshape(len(entries), self._sizes[record_id]),
            place=np.array([place for place, _, _ in entries], np.int64),
            payloads=payloads,
        )
        return with_payload(records, is_there, self._errors)
