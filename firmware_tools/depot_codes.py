"""Why the depot stops at a box: stable codes, for programs and for the guide (docs/guides/depot.md).

Rules: a code never changes its meaning; the sentence beside it says what to do.

Example:
    >>> DepotCode.NOT_LINUX.value
    'NOT_LINUX'
"""

from __future__ import annotations

from enum import StrEnum


class DepotCode(StrEnum):
    """What is wrong with a tray, a box or the office."""

    TRAY = "TRAY"
    LABEL = "LABEL"
    NOT_LINUX = "NOT_LINUX"
    READ_ONLY = "READ_ONLY"
    NO_ROOM = "NO_ROOM"
    NOT_WRITTEN = "NOT_WRITTEN"
    IN_THE_WAY = "IN_THE_WAY"
    UNREACHABLE = "UNREACHABLE"
    SSH_KEY = "SSH_KEY"
    HOST_KEY = "HOST_KEY"
    GARBLED = "GARBLED"
    NO_SOFTWARE = "NO_SOFTWARE"
    ACTIVATION = "ACTIVATION"
    KEYS = "KEYS"
    MCU = "MCU"
    ENROL = "ENROL"
    OTHER_BOX = "OTHER_BOX"
    FLASH = "FLASH"
    OFFICE_AWAY = "OFFICE_AWAY"
    OFFICE_REFUSED = "OFFICE_REFUSED"
