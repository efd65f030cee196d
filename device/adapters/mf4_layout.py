"""How the frames of an MF4 file are laid out: data groups, kinds of records, and the parts of a frame.

It reads nothing (`mf4_blocks` does).

Example:
    >>> DataGroup(address=168, id_bytes=1, data=0).kinds
    {}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device.adapters.mf4_fields import Field

MEMBERS = frozenset({"BusChannel", "ID", "IDE", "DLC", "DataLength", "EDL"})
"""What is read of a frame beside its payload."""


class FrameKind(StrEnum):
    """What a channel group's records are."""

    DATA = "CAN_DataFrame"
    ERROR = "CAN_ErrorFrame"
    REMOTE = "CAN_RemoteFrame"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the parts of a frame stand in a record.

    Attributes:
        kind: What frame it is.
        time: The group's time channel, seconds.
        fields: Those of `MEMBERS` that it has, by name.
        payload: First byte and number of bytes of the payload in the record; None when it stands elsewhere.
        offset: Where the payload stands in a stream of variable lengths; None when it stands in the record.
        stream: Address of that stream's blocks, 0 when it is a channel group of the same data group.
        stream_record: Record id of that channel group.
    """

    kind: FrameKind
    time: Field
    fields: dict[str, Field]
    payload: tuple[int, int] | None = None
    offset: Field | None = None
    stream: int = 0
    stream_record: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordKind:
    """One channel group.

    Attributes:
        record_id: What its records begin with, where a data group has several.
        size: Bytes of a record without its id.
        cycles: Records that should be there; 0 when that is not said.
        is_stream: Its records are a length and as many bytes.
        layout: None when its records are no CAN frames.
    """

    record_id: int
    size: int
    cycles: int
    is_stream: bool
    layout: Layout | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataGroup:
    """One data group.

    Attributes:
        address: Of its block.
        id_bytes: Bytes of a record's id, 0 when it has only one kind of record.
        data: Address of its data blocks, 0 without data.
        kinds: By record id.
    """

    address: int
    id_bytes: int
    data: int
    kinds: dict[int, RecordKind] = field(default_factory=dict)
