"""Blocks of an MF4 file (ASAM MDF 4): links, texts, channel groups and their layout, with bounds.

Rules:
- Nothing in the file is believed: addresses, lengths and counts are checked against the file and the limits
  before anything is read, and no chain of links is followed in a circle.
- Only what frames of a CAN bus need is read: channel groups with a channel CAN_DataFrame, CAN_ErrorFrame or
  CAN_RemoteFrame (ASAM MDF, "Bus logging"), the members of that channel and the group's time.
- A group that is damaged costs itself only; it is counted.

It reads no records (`mf4_log`) and no data blocks (`mf4_data`).

Example:
    >>> [len(group.kinds) for group in Mf4File(file, size, errors).groups()]            # doctest: +SKIP
    [9]

Source: ASAM MDF 4.1.1/4.2, block tables; checked against asammdf.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from device.adapters.log_errors import LogFault
from device.adapters.mf4_fields import Conversion, Field, conversion_of
from device.adapters.mf4_layout import MEMBERS, DataGroup, FrameKind, Layout, RecordKind
from protocol.limits import MF4_CHANNELS_MAX, MF4_META_BYTES_MAX, MF4_RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.adapters.log_errors import LogErrors

MAGIC, MAGIC_UNFINISHED = b"MDF     ", b"UnFinMF "

_HEAD = struct.Struct("<4s4xQQ")  # id, length of the block, number of links
_LINK_BYTES = 8
_UNFINISHED_AT = 60
_HD_AT = 64
_HD = struct.Struct("<QhhB")  # start in ns, zone and summer time in minutes, flags (1: local time)
_LOCAL_TIME = 1
_CG = struct.Struct(
    "<QQHHIII"
)  # record id, cycles, flags, separator, reserved, data bytes, invalidation bytes
_VLSD_GROUP = 1
_CN = struct.Struct("<BBBBII")  # type, synchronisation, data type, first bit, first byte, bits
_CC = struct.Struct("<BBHHH16x")  # type, precision, flags, references, values; then the values
_MASTER, _VIRTUAL_MASTER, _VIRTUAL, _VARIABLE = 2, 3, 6, 1
_FRAME_CHANNELS = ("CAN_DataFrame", "CAN_ErrorFrame", "CAN_RemoteFrame")
_BYTE_BITS = 8


class Mf4DamageError(ValueError):
    """A block is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block: its links and what stands behind them."""

    links: tuple[int, ...]
    data: bytes

    def link(self, index: int) -> int:
        """Return a link, 0 where there is none."""
        return self.links[index] if index < len(self.links) else 0


class Mf4File:
    """The structure of one file.

    Args:
        file: Open for reading and seeking.
        size: Its bytes.
        errors: Takes each damage.

    Attributes:
        start_us: When the measurement began, µs since 1970.
        has_zone: That is UTC; else it is local time of a zone that is not said.
        is_finished: Lengths and counts are final.
        is_bus_log: It has channels for CAN frames, with or without any; known when `groups` is through.

    Raises:
        Mf4DamageError: It has no readable header.
    """

    def __init__(self, file: BinaryIO, size: int, errors: LogErrors) -> None:
        self._file = file
        self.size = size
        self._errors = errors
        self._room = MF4_CHANNELS_MAX
        self.is_bus_log = False
        start = self.bytes_at(0, _HD_AT)
        if not start.startswith((MAGIC, MAGIC_UNFINISHED)):
            raise Mf4DamageError("it does not begin as an MDF file")
        version = start[8:9]
        if version != b"4":
            raise Mf4DamageError(f"MDF version {version.decode('ascii', errors='replace')}, only 4 is read")
        self.is_finished = not (start.startswith(MAGIC_UNFINISHED) or start[_UNFINISHED_AT] != 0)
        self._head = self.block(_HD_AT, b"##HD")
        start_ns, zone_min, summer_min, flags = self._unpack(_HD, self._head.data)
        del zone_min, summer_min  # offsets to show local time with; the start itself is UTC
        self.has_zone = not flags & _LOCAL_TIME
        self.start_us = start_ns // 1_000

    def groups(self) -> Iterator[DataGroup]:
        """Yield the data groups that have CAN frames."""
        for address in self._chain(self._head.link(0), b"##DG"):
            try:
                group = self._group(address)
            except Mf4DamageError as error:
                self._errors.add(f"data group at byte {address}: {error}", LogFault.DAMAGED)
                continue
            has_frames = any(kind.layout for kind in group.kinds.values())
            self.is_bus_log |= has_frames
            if group.data and has_frames:
                yield group

    def block(self, address: int, *kinds: bytes) -> Block:
        """Return a block that describes.

        Raises:
            Mf4DamageError: It is beyond the file, of another kind, or too large.
        """
        kind, length, links = self.head(address)
        if kinds and kind not in kinds:
            raise Mf4DamageError(f"block at byte {address} is {kind!r}, not {kinds[0].decode()}")
        if length > MF4_META_BYTES_MAX:
            raise Mf4DamageError(f"block at byte {address} of {length} bytes")
        body = self.bytes_at(address + _HEAD.size, length - _HEAD.size)
        return Block(links=struct.unpack_from(f"<{links}Q", body), data=body[links * _LINK_BYTES :])

    def head(self, address: int) -> tuple[bytes, int, int]:
        """Return kind, length and number of links of a block.

        Raises:
            Mf4DamageError: It is beyond the file, or its numbers do not fit each other.
        """
        kind, length, links = _HEAD.unpack(self.bytes_at(address, _HEAD.size))
        if length < _HEAD.size + links * _LINK_BYTES or links > MF4_META_BYTES_MAX // _LINK_BYTES:
            raise Mf4DamageError(f"block at byte {address} of {length} bytes with {links} links")
        return kind, length, links

    def bytes_at(self, address: int, count: int) -> bytes:
        """Return bytes of the file.

        Raises:
            Mf4DamageError: They are not all there.
        """
        if not 0 <= address <= self.size - count:
            raise Mf4DamageError(f"byte {address + count} is beyond the file's {self.size}")
        self._file.seek(address)
        data = self._file.read(count)
        if len(data) < count:
            raise Mf4DamageError(f"the file ends before byte {address + count}")
        return data

    # --- structure -----------------------------------------------------------------------------------------

    def _chain(self, address: int, kind: bytes) -> Iterator[int]:
        """Yield the addresses of blocks whose first link is the next one."""
        seen: set[int] = set()
        while address:
            self._room -= 1
            if address in seen or self._room < 0:
                self._errors.add(f"blocks {kind.decode()} in a circle at byte {address}", LogFault.DAMAGED)
                return
            seen.add(address)
            try:
                following = self.block(address, kind).link(0)
            except Mf4DamageError as error:
                self._errors.add(str(error), LogFault.DAMAGED)
                return
            yield address
            address = following

    def _group(self, address: int) -> DataGroup:
        block = self.block(address, b"##DG")
        id_bytes = block.data[0] if block.data else 0
        if id_bytes not in {0, 1, 2, 4, 8}:
            raise Mf4DamageError(f"record ids of {id_bytes} bytes")
        group = DataGroup(address=address, id_bytes=id_bytes, data=block.link(2))
        streams: dict[int, int] = {}
        found: list[RecordKind] = []
        for place in self._chain(block.link(1), b"##CG"):
            kind = self._record_kind(place)
            streams[place] = kind.record_id
            found.append(kind)
        for kind in found:
            group.kinds[kind.record_id] = _with_stream(kind, streams)
        return group

    def _record_kind(self, address: int) -> RecordKind:
        block = self.block(address, b"##CG")
        record_id, cycles, flags, _, _, data_bytes, extra_bytes = self._unpack(_CG, block.data)
        is_stream = bool(flags & _VLSD_GROUP)
        size = 0 if is_stream else data_bytes + extra_bytes
        if size > MF4_RECORD_BYTES_MAX:
            raise Mf4DamageError(f"records of {size} bytes")
        layout = None
        if not is_stream:
            try:
                layout = self._layout(block.link(1), size)
            except Mf4DamageError as error:
                self._errors.add(f"channel group at byte {address}: {error}", LogFault.DAMAGED)
        return RecordKind(
            record_id=record_id,
            size=size,
            cycles=cycles if self.is_finished else 0,
            is_stream=is_stream,
            layout=layout,
        )

    def _layout(self, first: int, size: int) -> Layout | None:
        """Return where a frame's parts stand; None when the group is not about CAN frames."""
        time: Field | None = None
        frame: tuple[FrameKind, int] | None = None
        for address in self._chain(first, b"##CN"):
            block = self.block(address, b"##CN")
            kind = self._unpack(_CN, block.data)[0]
            name = self.text(block.link(2))
            if kind in {_MASTER, _VIRTUAL_MASTER}:
                time = self._field(block, size)
            elif name in _FRAME_CHANNELS:
                frame = FrameKind(name), block.link(1)
        if frame is None or time is None:
            return None
        fields: dict[str, Field] = {}
        payload: tuple[int, int] | None = None
        offset: Field | None = None
        stream = 0
        for address in self._chain(frame[1], b"##CN"):
            block = self.block(address, b"##CN")
            kind, _, _, bit, first_byte, bits = self._unpack(_CN, block.data)
            name = self.text(block.link(2)).rpartition(".")[2]
            if name == "DataBytes" and kind == _VARIABLE:
                offset, stream = Field(byte=first_byte, bit=bit, bits=bits), block.link(5)
                _require_inside(first_byte, bits, size)
            elif name == "DataBytes":
                _require_inside(first_byte, bits, size)
                payload = first_byte, bits // _BYTE_BITS
            elif name in MEMBERS:
                fields[name] = self._field(block, size)
        if frame[0] is FrameKind.DATA and not {"ID"} <= fields.keys():
            raise Mf4DamageError("a frame channel without identifiers")
        return Layout(kind=frame[0], time=time, fields=fields, payload=payload, offset=offset, stream=stream)

    def _field(self, block: Block, size: int) -> Field:
        kind, _, data_type, bit, first_byte, bits = self._unpack(_CN, block.data)
        conversion = self._conversion(block.link(4))
        if kind in {_VIRTUAL_MASTER, _VIRTUAL}:
            return Field(byte=0, bit=0, bits=0, conversion=conversion)
        _require_inside(first_byte, bit + bits, size)
        if data_type not in {0, 1, 2, 3, 4, 5}:
            raise Mf4DamageError(f"a number of data type {data_type}")
        return Field.of(data_type=data_type, byte=first_byte, bit=bit, bits=bits, conversion=conversion)

    def _conversion(self, address: int) -> Conversion | None:
        if not address:
            return None
        data = self.block(address, b"##CC").data
        kind, _, _, _, count = self._unpack(_CC, data)
        if _CC.size + 8 * count > len(data):
            raise Mf4DamageError(f"conversion at byte {address} of {count} values")
        try:
            return conversion_of(kind, struct.unpack_from(f"<{count}d", data, _CC.size))
        except ValueError as error:
            raise Mf4DamageError(f"{error} at byte {address}") from error

    def text(self, address: int) -> str:
        """Return a text block's text, empty without one."""
        if not address:
            return ""
        data = self.block(address, b"##TX", b"##MD").data
        return data.split(b"\0", 1)[0].decode(errors="replace")

    @staticmethod
    def _unpack(form: struct.Struct, data: bytes) -> tuple[int, ...]:
        if len(data) < form.size:
            raise Mf4DamageError(f"a block of {len(data)} bytes where {form.size} are needed")
        return form.unpack_from(data)


def _require_inside(first_byte: int, bits: int, size: int) -> None:
    if bits <= 0 or first_byte + (bits + 7) // _BYTE_BITS > size:
        raise Mf4DamageError(f"a channel at byte {first_byte} of {bits} bits in records of {size} bytes")


def _with_stream(kind: RecordKind, streams: dict[int, int]) -> RecordKind:
    """Return the kind with the record id of its payloads' channel group, if that is where they stand."""
    layout = kind.layout
    if layout is None or layout.stream not in streams:
        return kind
    found = replace(layout, stream=0, stream_record=streams[layout.stream])
    return replace(kind, layout=found)
