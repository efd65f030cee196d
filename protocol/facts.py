"""The section `facts`: the dictionary of groups, events, and the health of the box.

Rules: one zstd frame around the CBOR map {1: dictionary, 2: events, 3: health}. A group is defined in its
chain before its first row, and again whenever it changes; a batch whose dictionary is missing is stored and
marked undecodable. Events are named facts with a time and a few fields. Health values are numbers, texts or
null by metric name.

This module knows no event's meaning and no metric's.

Example:
    >>> facts = Facts(events=(Event(t_us=7, name="ignition_on", fields={"source": "can"}),))
    >>> decode_facts(encode_facts(facts)) == facts
    True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol import codec
from protocol.compression import compress, decompress
from protocol.dictionary import CAN_ID_EXTENDED, GID_MAX, ColumnDef, GroupDef, RawType
from protocol.errors import ProtocolError
from protocol.fields import Fields, array, integer, known, mapping, number, record, text
from protocol.header import ENUM_MAX, HASH_BYTES
from protocol.limits import (
    COLUMNS_MAX,
    EVENT_FIELDS_MAX,
    EVENTS_MAX,
    FACTS_BYTES_MAX,
    GROUPS_MAX,
    HEALTH_MAX,
    TIME_US_MAX,
)

Scalar = int | float | str | bool | None
"""What an event's field or a health value can be; floats are finite."""

_BITS_MAX = 64
_CAN_ID_MAX = CAN_ID_EXTENDED | (1 << 29) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact with a time: monotonic µs of the batch's boot, a snake_case name, and a few fields."""

    t_us: int
    name: str
    fields: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Contents of the section.

    Attributes:
        dictionary: definitions of groups used from this batch on.
        events: in order of time.
        health: values by metric name.
    """

    dictionary: tuple[GroupDef, ...] = ()
    events: tuple[Event, ...] = ()
    health: Mapping[str, Scalar] = field(default_factory=dict)


def encode_facts(facts: Facts) -> bytes:
    """Return the section's data.

    Raises:
        ValueError: more or larger content than a reader accepts.
    """
    content = codec.encode(
        {
            1: [_group_map(group) for group in facts.dictionary],
            2: [[event.t_us, event.name, event.fields] for event in facts.events],
            3: facts.health,
        }
    )
    try:
        _decode_content(content)
    except ProtocolError as error:
        raise ValueError(f"no reader would accept these facts: {error}") from error
    return compress(content)


def decode_facts(data: bytes) -> Facts:
    """Read the section's data.

    Raises:
        ProtocolError: TOO_LARGE, TOO_DEEP, BAD_ENCODING or BAD_FIELD.
    """
    return _decode_content(decompress(data, max_bytes=FACTS_BYTES_MAX))


def _decode_content(content: bytes) -> Facts:
    fields = Fields(codec.decode(content, max_bytes=FACTS_BYTES_MAX), "facts")
    return Facts(
        dictionary=tuple(_group(item) for item in fields.array(1, most=GROUPS_MAX)),
        events=tuple(_event(item) for item in fields.array(2, most=EVENTS_MAX)),
        health=_scalars(fields.get(3), "facts[3]", most=HEALTH_MAX),
    )


def _event(value: object) -> Event:
    t_us, name, fields = record(value, "event", size=3)
    return Event(
        t_us=integer(t_us, "event time", least=0, most=TIME_US_MAX),
        name=text(name, "event name"),
        fields=_scalars(fields, "event fields", most=EVENT_FIELDS_MAX),
    )


def _scalars(value: object, what: str, *, most: int) -> dict[str, Scalar]:
    return {text(name, what): _scalar(item, what) for name, item in mapping(value, what, most=most).items()}


def _scalar(value: object, what: str) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    return text(value, what) if isinstance(value, str) else number(value, what)


def _group_map(group: GroupDef) -> dict[int, object]:
    return {
        1: group.gid,
        2: group.bus,
        3: group.can_id,
        4: group.message,
        5: group.branch,
        6: group.dbc_hash,
        7: [_column_map(column) for column in group.columns],
    }


def _group(value: object) -> GroupDef:
    fields = Fields(value, "group")
    return GroupDef(
        gid=fields.integer(1, least=0, most=GID_MAX),
        bus=fields.text(2),
        can_id=fields.integer(3, least=0, most=_CAN_ID_MAX),
        message=fields.text(4),
        branch=fields.text_or_none(5),
        dbc_hash=fields.octets(6, size=HASH_BYTES),
        columns=tuple(_column(item) for item in array(fields.get(7), "group columns", most=COLUMNS_MAX)),
    )


def _column_map(column: ColumnDef) -> dict[int, object]:
    return {
        1: column.signal,
        2: column.path,
        3: column.raw_type,
        4: column.bits,
        5: column.scale,
        6: column.offset,
        7: column.unit,
    }


def _column(value: object) -> ColumnDef:
    fields = Fields(value, "column")
    return ColumnDef(
        signal=fields.text(1),
        path=fields.text_or_none(2),
        raw_type=known(RawType, fields.integer(3, least=0, most=ENUM_MAX)),
        bits=fields.integer(4, least=1, most=_BITS_MAX),
        scale=number(fields.get(5), "column scale"),
        offset=number(fields.get(6), "column offset"),
        unit=fields.text_or_none(7),
    )
