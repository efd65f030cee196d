"""Runs of equal CAN messages in a BLF container, read as columns: most of a log is one such run.

Rules:
- A run is of objects with the same header up to their type (86 or 1), 48 bytes each, one behind the other.
  What it gives is what `blf_objects` gives of each.
- Short runs are left to the careful way; long ones are taken in windows, so the work stays linear.

Example:
    >>> run_at(b"LOBJ" + bytes(500), 0) is None
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import CLASSIC_BYTES, EXTENDED, FrameFlag, FrameLot
from device.adapters.log_lines import ID_MAX_EXTENDED, ID_MAX_STANDARD
from protocol.limits import LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_OBJECT_BYTES = 48
_HEAD_BYTES = 16
# Magic, bytes of the whole header (32), its version (1), bytes of the object (48); then the type.
_HEAD = b"LOBJ" + (32).to_bytes(2, "little") + (1).to_bytes(2, "little") + (48).to_bytes(4, "little")
_HEADS = frozenset(_HEAD + kind.to_bytes(4, "little") for kind in (1, 86))
_RUN_MIN = 16
_MESSAGE = np.dtype(
    [
        ("head", "V16"),
        ("unit", "<u4"),
        ("more", "<u4"),
        ("stamp", "<u8"),
        ("channel", "<u2"),
        ("flags", "u1"),
        ("dlc", "u1"),
        ("id", "<u4"),
        ("data", "u1", (8,)),
    ]
)
_REMOTE = 0x80
_UNIT_10_US = 1
STAMP_MAX = 10**16  # in either unit within three thousand years, and far from overflowing


def run_at(data: bytes, start: int) -> NDArray[np.void] | None:
    """Return the messages of a run that begins at a place, None when there is none worth it."""
    head = data[start : start + _HEAD_BYTES]
    last = start + (_RUN_MIN - 1) * _OBJECT_BYTES
    if head not in _HEADS or data[last : last + _HEAD_BYTES] != head:
        return None
    count = min(LOT_FRAMES_MAX, (len(data) - start) // _OBJECT_BYTES)
    rows = np.frombuffer(data, np.uint8, count * _OBJECT_BYTES, start).reshape(count, _OBJECT_BYTES)
    is_same = (rows[:, :_HEAD_BYTES] == rows[0, :_HEAD_BYTES]).all(axis=1)
    length = count if is_same.all() else int(is_same.argmin())
    return rows[:length].view(_MESSAGE)[:, 0] if length >= _RUN_MIN else None


def lots_of_run(messages: NDArray[np.void], start_us: int) -> Iterator[FrameLot]:
    """Yield the messages as one lot a bus, buses in order of appearance.

    Args:
        messages: As `run_at` returns them, stamps up to `STAMP_MAX`.
        start_us: What their times count from.
    """
    channels, first = np.unique(messages["channel"], return_index=True)
    for channel in channels[first.argsort()].tolist():
        part = messages[messages["channel"] == channel]
        stamp = part["stamp"].astype(np.int64)
        is_remote = (part["flags"] & _REMOTE) != 0
        length = np.where(is_remote, 0, np.minimum(part["dlc"], CLASSIC_BYTES)).astype(np.uint8)
        data = part["data"].copy()
        data[np.arange(CLASSIC_BYTES) >= length[:, None]] = 0
        number = part["id"] & np.uint32(ID_MAX_EXTENDED)
        is_extended = ((part["id"] & np.uint32(EXTENDED)) != 0) | (number > ID_MAX_STANDARD)
        yield FrameLot(
            bus=f"can{max(1, channel) - 1}",
            t_us=start_us + np.where(part["unit"] == _UNIT_10_US, stamp * 10, (stamp + 500) // 1_000),
            can_id=(number | np.where(is_extended, EXTENDED, 0)).astype(np.uint32),
            flags=np.where(is_remote, int(FrameFlag.REMOTE), 0).astype(np.uint8),
            length=length,
            data=data,
        )
