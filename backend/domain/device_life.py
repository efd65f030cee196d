"""The life of a box in the registry: a literal table.

Rules:
- What the table does not name is illegal: it raises and changes nothing.
- REVOKED is the end. A box that comes back gets new keys, and so a new name.
- There is no ACTIVE state: whether a box is heard from is read from its batches, not from a flag that could
  be wrong.

Example:
    >>> next_status(DeviceStatus.ENROLLED, DeviceEvent.REVOKE)
    <DeviceStatus.REVOKED: 'revoked'>
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class DeviceStatus(StrEnum):
    """Where a box is in its life."""

    ENROLLED = "enrolled"
    REVOKED = "revoked"


class DeviceEvent(StrEnum):
    """What can happen to a box in the registry."""

    ENROL_AGAIN = "enrol-again"
    RENEW = "renew"
    REVOKE = "revoke"


class IllegalDeviceEventError(Exception):
    """The event is not possible in this state; nothing was changed."""


TRANSITIONS: Final[Mapping[tuple[DeviceStatus, DeviceEvent], DeviceStatus]] = MappingProxyType(
    {
        (DeviceStatus.ENROLLED, DeviceEvent.ENROL_AGAIN): DeviceStatus.ENROLLED,
        (DeviceStatus.ENROLLED, DeviceEvent.RENEW): DeviceStatus.ENROLLED,
        (DeviceStatus.ENROLLED, DeviceEvent.REVOKE): DeviceStatus.REVOKED,
        (DeviceStatus.REVOKED, DeviceEvent.REVOKE): DeviceStatus.REVOKED,
    }
)


def is_legal(status: DeviceStatus, event: DeviceEvent) -> bool:
    """Whether the event is possible in this state."""
    return (status, event) in TRANSITIONS


def next_status(status: DeviceStatus, event: DeviceEvent) -> DeviceStatus:
    """Return the state after an event.

    Raises:
        IllegalDeviceEventError: The table does not name it.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError as unnamed:
        raise IllegalDeviceEventError(f"{event} is not possible for a box that is {status}") from unnamed
