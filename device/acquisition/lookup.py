"""Which message of the table a frame is, or why it is none.

Rules:
- Every frame has one message or is dropped for one cause, asked in this order: error frame, remote frame,
  unknown identifier, payload shorter than the message.
- The whole identifier decides first, standard and extended ones being different keys. Only for an extended
  frame that no message names whole do messages of SAE J1939 count: they are found by their parameter group
  number (PGN). Of several messages with the same PGN the one with the frame's source and destination is
  taken, an address that means any (source 0xFE, destination 0xFE or 0xFF) standing for every one; else the
  one with its destination, else the one with its source, else the first, those for any address before others.
- The PGN is the data page bits, the PDU format and, from format 240 on (PDU2), the PDU specific byte. Below
  240 (PDU1) that byte is the destination address: it is no part of the PGN, nor are priority and source.

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
_ADDRESS = np.uint32(0xFF)

ANY_SOURCE = 0xFE
"""The null address, which DBC files of J1939 write where any address is meant."""

ANY_DESTINATION = 0xFF
"""The global address."""


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
    """The J1939 messages of a table by PGN and addresses."""

    def __init__(self, messages: Sequence[Message]) -> None:
        numbers = np.array([number for number, m in enumerate(messages) if m.is_j1939], np.int64)
        can_id = np.array([messages[number].can_id for number in numbers], np.uint32)
        group, (source, destination) = parameter_group(can_id), addresses(can_id)
        # The first of a key counts: order by whether any address is meant, then as the table stands.
        order = np.lexsort((numbers, destination != ANY_DESTINATION, source != ANY_SOURCE))
        numbers = numbers[order]
        group, source, destination = group[order], source[order], destination[order]
        self._whole = _Keys(_key(group, source, destination), numbers)
        self._by_destination = _Keys(_key(group, 0, destination), numbers)
        self._by_source = _Keys(_key(group, source, 0), numbers)
        self._by_group = _Keys(_key(group, 0, 0), numbers)
        _, which, counts = np.unique(group, return_inverse=True, return_counts=True)
        self._is_shared = np.zeros(len(messages), np.bool_)
        self._is_shared[numbers] = counts[which] > 1

    def find(self, can_id: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return message numbers (n,) of extended identifiers, -1 where there is none."""
        found = self._by_group.values_of(_key(parameter_group(can_id), 0, 0))
        rest = ((found >= 0) & self._is_shared.take(found)).nonzero()[0]
        if len(rest):
            by_address = self._by_addresses(can_id.take(rest))
            found[rest] = np.where(by_address >= 0, by_address, found.take(rest))
        return found

    def _by_addresses(self, can_id: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return message numbers (n,) of groups with several messages, -1 where no address fits."""
        group, (source, destination) = parameter_group(can_id), addresses(can_id)
        found = np.full(len(can_id), -1, np.int64)
        for keys, its_source, its_destination in (
            (self._whole, source, destination),
            (self._whole, ANY_SOURCE, destination),
            (self._whole, source, ANY_DESTINATION),
            (self._whole, ANY_SOURCE, ANY_DESTINATION),
            (self._by_destination, 0, destination),
            (self._by_source, source, 0),
        ):
            rest = (found < 0).nonzero()[0]
            if not len(rest):
                break
            found[rest] = keys.values_of(_key(group, its_source, its_destination).take(rest))
        return found


class _Keys:
    """Message numbers by key, the first of each key."""

    def __init__(self, keys: NDArray[np.uint64], numbers: NDArray[np.int64]) -> None:
        self._keys, first = np.unique(keys, return_index=True)
        self._numbers = numbers[first]

    def values_of(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the number of each wanted key (n,), -1 where there is none."""
        place = np.minimum(self._keys.searchsorted(wanted), len(self._keys) - 1)
        return np.where(self._keys.take(place) == wanted, self._numbers.take(place), -1)


def addresses(can_id: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return source and destination address (n,) of extended identifiers (n,).

    The destination is `ANY_DESTINATION` where DBC files mean any, and where a PDU2 group has none.
    """
    destination = (can_id >> np.uint32(8)) & _ADDRESS
    is_any = ((can_id & _FORMAT) >= _PDU2) | (destination == ANY_SOURCE)
    return can_id & _ADDRESS, np.where(is_any, np.uint32(ANY_DESTINATION), destination)


def parameter_group(can_id: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the PGN (n,), 18 bits, of extended identifiers (n,)."""
    is_pdu2 = (can_id & _FORMAT) >= _PDU2
    group: NDArray[np.uint32] = (can_id >> np.uint32(8)) & np.where(is_pdu2, _GROUP_PDU2, _GROUP_PDU1)
    return group


def _key(
    group: NDArray[np.uint32], source: NDArray[np.uint32] | int, destination: NDArray[np.uint32] | int
) -> NDArray[np.uint64]:
    """Return group, source and destination as one number (n,)."""
    key: NDArray[np.uint64] = group.astype(np.uint64) << np.uint64(16)
    key |= np.asarray(source, np.uint64) << np.uint64(8)
    key |= np.asarray(destination, np.uint64)
    return key
