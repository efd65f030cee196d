"""Which message of the table a frame is, or why it is none.

Rules:
- Every frame has one message or is dropped for one cause, asked in this order: error frame, remote frame,
  unknown identifier, payload shorter than the message.
- The whole identifier decides first, standard and extended ones being different keys. Only for an extended
  frame that no message names whole do messages of SAE J1939 count: they are found by their parameter group
  number (PGN). Of several messages with the same PGN the one with the frame's source address is taken, else
  the one for any source (address 0xFE), else the first.
- The PGN is the data page bits, the PDU format and, from format 240 on (PDU2), the PDU specific byte. Below
  240 (PDU1) that byte is the destination address: it does not count, nor do priority and source address.

It decodes nothing.

Example:
    >>> hex(parameter_group(np.array([0x98FEF117, 0x98EA0A17], np.uint32))[0])
    '0xfef1'

Source: SAE J1939-21 (PDU1, PDU2 and the fields of the identifier); ISO 11898-1 (11 and 29 bits).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import EXTENDED, FrameFlag
from protocol.batch import DropCause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.acquisition.lot import FrameLot
    from device.acquisition.table import DecodeTable, Message

# No identifier on a bus has all bits set, so this key stands after the last message and matches no frame.
_NO_KEY = 0xFFFF_FFFF

_NOT_DATA = int(FrameFlag.REMOTE | FrameFlag.ERROR)

_FORMAT = np.uint32(0xFF_0000)  # the PDU format in an identifier
_PDU2 = np.uint32(240 << 16)  # from this format on, the PDU specific byte belongs to the group
_GROUP_PDU1, _GROUP_PDU2 = np.uint32(0x3_FF00), np.uint32(0x3_FFFF)  # after the source address is shifted out
_SOURCE = np.uint32(0xFF)
_ANY_SOURCE = 0xFE  # the null address, which DBC files of J1939 write where any source is meant


class Lookup:
    """The identifiers of a table; share it freely, it never changes."""

    def __init__(self, table: DecodeTable) -> None:
        messages = table.messages
        self._n_messages = len(messages)
        self._keys = np.array([*(message.can_id for message in messages), _NO_KEY], np.uint32)
        self._bytes_needed = np.array([*(message.length for message in messages), 0], np.uint8)
        self._groups = _J1939(messages) if any(message.is_j1939 for message in messages) else None

    def is_known(self, can_id: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return for each identifier (n,) whether a message of the table answers to it."""
        return self._find(can_id)[1]

    def dbc_ids(self, can_id: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return for each identifier (n,) that of its message in the DBC, all bits set where none."""
        message, is_known = self._find(can_id)
        return np.where(is_known, self._keys.take(message), np.uint32(_NO_KEY))

    def messages_of(self, lot: FrameLot) -> tuple[NDArray[np.int64], dict[DropCause, int]]:
        """Return each frame's message number (n,), `len(messages)` for a dropped one, and drops by cause."""
        message, is_known = self._find(lot.can_id)
        is_good = lot.length >= self._bytes_needed.take(message)
        is_good &= is_known
        has_flags = np.count_nonzero(lot.flags)
        if not has_flags and np.count_nonzero(is_good) == lot.size:
            return message, {}
        is_data = (lot.flags & _NOT_DATA) == 0
        is_good &= is_data
        if np.count_nonzero(is_good) == lot.size:
            return message, {}
        is_error = (lot.flags & int(FrameFlag.ERROR)) != 0
        causes = {
            DropCause.ERROR_FRAME: is_error,
            DropCause.REMOTE_FRAME: ~is_data & ~is_error,
            DropCause.UNKNOWN_ID: is_data & ~is_known,
            DropCause.SHORT: is_data & is_known & ~is_good,
        }
        counted = {cause: int(np.count_nonzero(mask)) for cause, mask in causes.items()}
        message[~is_good] = self._n_messages
        return message, {cause: count for cause, count in counted.items() if count}

    def _find(self, can_id: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return message numbers and whether they are meant."""
        message: NDArray[np.int64] = self._keys.searchsorted(can_id)
        is_known = self._keys.take(message) == can_id
        if self._groups is not None:
            rest = (~is_known & ((can_id & EXTENDED) != 0)).nonzero()[0]
            if len(rest):
                found = self._groups.find(can_id.take(rest))
                is_known[rest] = found >= 0
                message[rest] = np.where(found >= 0, found, self._n_messages)
        return message, is_known


class _J1939:
    """The J1939 messages of a table by PGN, and by PGN and source address."""

    def __init__(self, messages: Sequence[Message]) -> None:
        numbers = np.array([number for number, m in enumerate(messages) if m.is_j1939], np.int64)
        can_id = np.array([messages[number].can_id for number in numbers], np.uint32)
        group, source = parameter_group(can_id), can_id & _SOURCE
        # The first of a key counts: order by whether any source is meant, then as the table stands.
        order = np.lexsort((numbers, source != _ANY_SOURCE, group))
        self._groups, first = np.unique(group[order], return_index=True)
        self._by_group = numbers[order][first]
        self._pairs, first = np.unique(_pair(group, source), return_index=True)
        self._by_pair = numbers[first]

    def find(self, can_id: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return message numbers (n,) of extended identifiers, -1 where there is none."""
        group = parameter_group(can_id)
        found = _looked_up(self._groups, self._by_group, group)
        exact = _looked_up(self._pairs, self._by_pair, _pair(group, can_id & _SOURCE))
        return np.where(exact >= 0, exact, found)


def parameter_group(can_id: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the PGN (n,), 18 bits, of extended identifiers (n,)."""
    is_pdu2 = (can_id & _FORMAT) >= _PDU2
    group: NDArray[np.uint32] = (can_id >> np.uint32(8)) & np.where(is_pdu2, _GROUP_PDU2, _GROUP_PDU1)
    return group


def _pair(group: NDArray[np.uint32], source: NDArray[np.uint32]) -> NDArray[np.uint32]:
    pair: NDArray[np.uint32] = (group << np.uint32(8)) | source
    return pair


def _looked_up(
    keys: NDArray[np.uint32], values: NDArray[np.int64], wanted: NDArray[np.uint32]
) -> NDArray[np.int64]:
    """Return the value of each wanted key, -1 where there is none."""
    place = np.minimum(keys.searchsorted(wanted), len(keys) - 1)
    return np.where(keys.take(place) == wanted, values.take(place), -1)
