"""MQTT topics: `tbox/1/<device>/up/<kind>` and `…/down/<kind>`, nothing else.

Rules: the device part is its id and equals its certificate's CN; a device publishes below its `up` and
subscribes to its `down`; QoS 1; nothing is retained. Unknown kinds are not errors of ours: `parse_topic`
refuses them and the caller counts. `up/status` carries the will and is a hint only: CBOR {1: is online}.

This module knows no broker.

Example:
    >>> topic = up_topic(DeviceId("ab" * 32), Up.BATCH)
    >>> parse_topic(topic)[1:]
    (<Direction.UP: 'up'>, <Up.BATCH: 'batch'>)

Source: MQTT 3.1.1 §4.7 (topic names and filters).
"""

from enum import StrEnum
from typing import Final

from protocol import codec
from protocol.errors import ProtocolError, Reject
from protocol.fields import Fields, bad_field
from protocol.ids import DeviceId, parse_device_id
from protocol.limits import STATUS_BYTES_MAX, TOPIC_BYTES_MAX

PREFIX: Final = "tbox/1"
ALL_UP: Final = f"{PREFIX}/+/up/#"
"""What a bridge subscribes to."""

_PARTS = 5


class Direction(StrEnum):
    """Who publishes: the device (up) or the backend (down)."""

    UP = "up"
    DOWN = "down"


class Up(StrEnum):
    """Kinds a device publishes."""

    BATCH = "batch"
    DISPOSITION = "disposition"
    CHALLENGE = "challenge"
    REQUEST = "request"
    STATUS = "status"
    INSTALL = "install"


class Down(StrEnum):
    """Kinds a device receives."""

    ORDER = "order"
    GO = "go"
    RECEIPT = "receipt"
    POLICY = "policy"
    TIME = "time"
    AUTHORITY = "authority"
    CHALLENGE = "challenge"
    INSTALL = "install"


def up_topic(device: DeviceId, kind: Up) -> str:
    """Return the topic on which a device publishes a kind."""
    return f"{PREFIX}/{device}/{Direction.UP}/{kind}"


def down_topic(device: DeviceId, kind: Down) -> str:
    """Return the topic on which a device receives a kind."""
    return f"{PREFIX}/{device}/{Direction.DOWN}/{kind}"


def up_filter(device: DeviceId) -> str:
    """Return the filter of all that one device publishes: its publish permission."""
    return f"{PREFIX}/{device}/{Direction.UP}/#"


def down_filter(device: DeviceId) -> str:
    """Return the filter of all that one device receives: its one subscription."""
    return f"{PREFIX}/{device}/{Direction.DOWN}/#"


def parse_topic(text: str) -> tuple[DeviceId, Direction, Up | Down]:
    """Read a topic name.

    Returns:
        Device, direction, and a kind of that direction.

    Raises:
        ProtocolError: BAD_TOPIC for another prefix, version, direction, kind, or a malformed device id.
    """
    parts = text.split("/")
    if len(text) > TOPIC_BYTES_MAX or len(parts) != _PARTS or "/".join(parts[:2]) != PREFIX:
        raise ProtocolError(Reject.BAD_TOPIC, f"not {PREFIX}/<device>/<direction>/<kind>")
    try:
        device = parse_device_id(parts[2])
        direction = Direction(parts[3])
        kind = Up(parts[4]) if direction is Direction.UP else Down(parts[4])
    except (ProtocolError, ValueError) as error:
        raise ProtocolError(Reject.BAD_TOPIC, "unknown device form, direction or kind") from error
    return device, direction, kind


def encode_status(*, is_online: bool) -> bytes:
    """Return the payload of `up/status`."""
    return codec.encode({1: is_online})


def decode_status(data: bytes) -> bool:
    """Return whether `up/status` says online; unsigned, so a hint and never a fact.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING or BAD_FIELD.
    """
    value = Fields(codec.decode(data, max_bytes=STATUS_BYTES_MAX), "status").get(1)
    if not isinstance(value, bool):
        bad_field("status[1]", "a boolean")
    return value
