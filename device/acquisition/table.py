"""What a DBC says, compiled: messages, groups, columns and selectors, ready for the decoder and for a file.

Rules:
- The unit is the **group**: all signals of a message that are always there, and for each multiplexer one
  group per distinct set of selector values. A signal therefore stands in exactly one group and one column,
  and its name, message and branch never change meaning. A frame fills its base group and each branch its
  selector values name; with extended multiplexing a branch may hold the next selector.
- A signal's place is kept in one form: little-endian by the bit number of its lowest bit (as DBC writes it),
  big-endian by the number of its highest bit counted from the first bit on the wire.
- Scale and offset are integers where cantools computes with integers, floats where it computes with floats.
- The table carries the SHA-256 of the file it was made from. Bytes are versioned and deterministic, so that
  the agent reads a table without knowing cantools, and equal DBCs give equal tables.

It does not parse DBC files (`device.dbc_compiler`) and does not decode (`device.acquisition.decode`).

Example:
    >>> speed = Column(signal="Speed", raw_type=RawType.UINT, bits=16, start=0, is_big_endian=False,
    ...                scale=0.01, offset=0, unit="km/h")
    >>> group = Group(can_id=0x130, message="Motion", branch=None, columns=(speed,))
    >>> message = Message(can_id=0x130, name="Motion", length=8, group=0, selectors=())
    >>> table = DecodeTable(dbc_hash=bytes(32), messages=(message,), groups=(group,))
    >>> DecodeTable.from_bytes(table.to_bytes()) == table
    True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from protocol import codec
from protocol.errors import ProtocolError, Reject
from protocol.limits import DECODE_TABLE_BYTES_MAX
from protocol.signals import ColumnDef, GroupDef, RawType

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE_VERSION = 2  # 1 knew no J1939

DBC_HASH_BYTES = 32  # SHA-256

COLUMN_BITS_MAX = 64  # a raw value is one 64-bit word

# Nested lists in the encoded table: table, list, message, list, selector, list, branch, list, range.
_DEPTH = 10

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One signal of a group.

    Attributes:
        signal: Name in the DBC.
        raw_type: How the bits are read.
        bits: 1…64; 32 or 64 for floats.
        start: Bit number 0…511 of the lowest bit (little-endian), or of the highest bit counted from the
            first bit on the wire (big-endian).
        is_big_endian: Byte order (DBC `@0` is big-endian, "Motorola").
        scale: Physical = raw * scale + offset; an int where the result is an int.
        offset: See `scale`.
        unit: As the DBC says it, None when it says nothing.
    """

    signal: str
    raw_type: RawType
    bits: int
    start: int
    is_big_endian: bool
    scale: int | float
    offset: int | float
    unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The signals of one message that always come together.

    Attributes:
        can_id: Identifier, bit 31 set for a 29-bit one.
        message: Name in the DBC.
        branch: None for the base group, else as `mux=0-3,7`, nested ones joined by `/`.
        columns: In the DBC's order of bits.
    """

    can_id: int
    message: str
    branch: str | None
    columns: tuple[Column, ...]

    def definition(self, gid: int, bus: str, dbc_hash: bytes, paths: Mapping[str, str]) -> GroupDef:
        """Return the dictionary entry of this group on a bus.

        Args:
            gid: Number of the group in the chain's dictionary.
            bus: Name of the bus.
            dbc_hash: SHA-256 of the DBC, 32 bytes.
            paths: Catalogue path by `Message.Signal`; a signal without one has none.
        """
        columns = tuple(
            ColumnDef(
                signal=column.signal,
                path=paths.get(f"{self.message}.{column.signal}"),
                raw_type=column.raw_type,
                bits=column.bits,
                scale=column.scale,
                offset=column.offset,
                unit=column.unit,
            )
            for column in self.columns
        )
        return GroupDef(
            gid=gid,
            bus=bus,
            can_id=self.can_id,
            message=self.message,
            branch=self.branch,
            dbc_hash=dbc_hash,
            columns=columns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One set of selector values and the group they switch on."""

    ids: Ranges  # inclusive, ascending, apart
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A multiplexer switch: its column, what its raw values switch on, and all values the DBC names."""

    group: int
    column: int
    branches: tuple[Branch, ...]
    known: Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One identifier: its shortest payload and its groups.

    Attributes:
        can_id: Identifier, bit 31 set for a 29-bit one.
        name: Name in the DBC.
        length: Payload bytes a frame must have, 0…64; longer frames are read up to here.
        group: Index of the base group, None when the message has no signal that can be decoded.
        selectors: Outer ones before those that stand in their branches.
        is_j1939: Whether frames are also found by the identifier's parameter group number (`lookup`).
    """

    can_id: int
    name: str
    length: int
    group: int | None
    selectors: tuple[Selector, ...]
    is_j1939: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeTable:
    """All of one DBC.

    Attributes:
        dbc_hash: SHA-256 of the file's bytes.
        messages: Ascending by `can_id`, each once.
        groups: Base group and branches of each message, in the order of the messages.
    """

    dbc_hash: bytes
    messages: tuple[Message, ...]
    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        """Check what the decoder relies on.

        Raises:
            ProtocolError: BAD_FIELD when a place, an index or an order is impossible.
        """
        ids = [message.can_id for message in self.messages]
        _require(len(self.dbc_hash) == DBC_HASH_BYTES, "hash of 32 bytes")
        _require(ids == sorted(set(ids)), "messages ascending by identifier")
        _require(all(0 <= can_id < 2**32 for can_id in ids), "identifiers of 32 bits")
        for message in self.messages:
            self._check_message(message)

    def to_bytes(self) -> bytes:
        """Return the table as deterministic, versioned CBOR."""
        return codec.encode(
            [
                TABLE_VERSION,
                self.dbc_hash,
                [_message_fields(message) for message in self.messages],
                [_group_fields(group) for group in self.groups],
            ]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ProtocolError: UNSUPPORTED_VERSION, or BAD_FIELD and the codec's codes for damaged bytes.
        """
        value = codec.decode(data, max_bytes=DECODE_TABLE_BYTES_MAX, max_depth=_DEPTH)
        if not isinstance(value, list) or not value or not isinstance(value[0], int):
            raise ProtocolError(Reject.BAD_FIELD, "decode table: not a table")
        if value[0] != TABLE_VERSION:
            raise ProtocolError(
                Reject.UNSUPPORTED_VERSION,
                f"decode table of version {value[0]}, known is {TABLE_VERSION}: compile the DBC again",
            )
        try:
            _, dbc_hash, messages, groups = value
            return cls(
                dbc_hash=bytes(dbc_hash),
                messages=tuple(_read_message(fields) for fields in messages),
                groups=tuple(_read_group(fields) for fields in groups),
            )
        except (TypeError, ValueError) as error:
            raise ProtocolError(Reject.BAD_FIELD, f"decode table: {error}") from error

    def _check_message(self, message: Message) -> None:
        bits = message.length * 8
        indices = [] if message.group is None else [message.group]
        for selector in message.selectors:
            _require(
                selector.group in indices, f"selector of {message.name} in a group that stands before it"
            )
            _require(
                0 <= selector.column < len(self.groups[selector.group].columns),
                f"selector column of {message.name}",
            )
            indices += [branch.group for branch in selector.branches]
        for index in indices:
            _require(0 <= index < len(self.groups), f"group index of {message.name}")
            _require(self.groups[index].can_id == message.can_id, f"group of {message.name}'s own identifier")
            for column in self.groups[index].columns:
                is_inside = column.start >= 0 and column.start + column.bits <= bits
                _require(
                    is_inside and 1 <= column.bits <= COLUMN_BITS_MAX,
                    f"{message.name}.{column.signal} within {message.length} bytes",
                )


def _require(is_met: bool, what: str) -> None:  # noqa: FBT001  (reads as a sentence at its calls)
    if not is_met:
        raise ProtocolError(Reject.BAD_FIELD, f"decode table needs: {what}")


def _message_fields(message: Message) -> list[object]:
    selectors = [
        [item.group, item.column, [[branch.group, branch.ids] for branch in item.branches], item.known]
        for item in message.selectors
    ]
    return [message.can_id, message.name, message.length, message.group, selectors, message.is_j1939]


def _group_fields(group: Group) -> list[object]:
    columns = [
        [
            column.signal,
            int(column.raw_type),
            column.bits,
            column.start,
            column.is_big_endian,
            column.scale,
            column.offset,
            column.unit,
        ]
        for column in group.columns
    ]
    return [group.can_id, group.message, group.branch, columns]


def _read_message(fields: list[object]) -> Message:
    can_id, name, length, group, selectors, is_j1939 = fields
    return Message(
        can_id=cast("int", can_id),
        name=str(name),
        length=cast("int", length),
        group=cast("int | None", group),
        selectors=tuple(_read_selector(item) for item in cast("list[list[object]]", selectors)),
        is_j1939=bool(is_j1939),
    )


def _read_selector(fields: list[object]) -> Selector:
    group, column, branches, known = fields
    return Selector(
        group=cast("int", group),
        column=cast("int", column),
        branches=tuple(
            Branch(group=index, ids=_read_ranges(ids))
            for index, ids in cast("list[tuple[int, list[list[int]]]]", branches)
        ),
        known=_read_ranges(cast("list[list[int]]", known)),
    )


def _read_ranges(ranges: list[list[int]]) -> Ranges:
    return tuple((first, last) for first, last in ranges)


def _read_group(fields: list[object]) -> Group:
    can_id, message, branch, columns = fields
    return Group(
        can_id=cast("int", can_id),
        message=str(message),
        branch=None if branch is None else str(branch),
        columns=tuple(_read_column(item) for item in cast("list[list[object]]", columns)),
    )


def _read_column(fields: list[object]) -> Column:
    signal, raw_type, bits, start, is_big_endian, scale, offset, unit = fields
    return Column(
        signal=str(signal),
        raw_type=RawType(cast("int", raw_type)),
        bits=cast("int", bits),
        start=cast("int", start),
        is_big_endian=bool(is_big_endian),
        scale=cast("int | float", scale),
        offset=cast("int | float", offset),
        unit=None if unit is None else str(unit),
    )
