"""Frames to raw signal rows: a compiled table applied to a lot.

Rules:
- The values are cantools' values bit for bit: raw bits here, scaled by `protocol.signals.physical`.
- Every frame of a lot is accounted for once: decoded, or dropped by exactly one cause (`lookup`).
- A known frame fills its base group and every branch its selectors name. A selector value that the DBC does
  not name leaves the base group and is counted apart (`unknown_selector`); it is no drop. A message without
  signals decodes to nothing.
- A frame longer than its message is read as far as the message goes.

How: identifiers are looked up, frames sorted by group so that a group's rows lie together, branches found
from the selectors' values, and the bits extracted (`extract`).

It holds no state between lots, does not filter and does not scale.

Example:
    >>> decoded = Decoder(table).decode(lot)                                            # doctest: +SKIP
    >>> [(table.groups[group.index].message, group.raw.shape) for group in decoded.groups]  # doctest: +SKIP
    [('EngineStatus', (6, 25)), ('WheelSpeeds', (4, 25))]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.extract import Extractor, Payloads, Rows
from device.acquisition.lookup import Lookup
from device.acquisition.table import DecodeTable
from protocol.signals import RawType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from device.acquisition.lot import FrameLot
    from device.acquisition.table import Message, Ranges
    from protocol.batch import DropCause

__all__ = ["DecodeCounts", "DecodeTable", "Decoded", "DecodedGroup", "Decoder"]

# Mean rows a group from which one block per group beats lanes over the whole lot (measured on seven DBCs: the
# two cross between 60 and 300).
_ROWS_FOR_BLOCKS = 128


@dataclass(frozen=True, slots=True, eq=False)
class DecodedGroup:
    """Rows of one group in order of reception.

    Attributes:
        index: Index into `DecodeTable.groups`.
        t_us: int64 (n,), time of each row as in the lot.
        raw: int64 (n_columns, n), not always contiguous; unsigned and float columns hold their bit pattern.
    """

    index: int
    t_us: NDArray[np.int64]
    raw: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeCounts:
    """Where each frame of a lot went: `received == decoded + sum(drops.values())`.

    Attributes:
        received: Frames in the lot.
        decoded: Data frames of known identifier and sufficient length.
        drops: Frames by cause (UNKNOWN_ID, SHORT, ERROR_FRAME, REMOTE_FRAME), causes above zero only.
        unknown_selector: Decoded frames with a selector value that the DBC does not name.
    """

    received: int
    decoded: int
    drops: Mapping[DropCause, int]
    unknown_selector: int


class Decoded:
    """One lot, decoded.

    Attributes:
        counts: Where each frame went.
    """

    def __init__(
        self,
        counts: DecodeCounts,
        rows: Rows,
        t_us: NDArray[np.int64],
        blocks: Sequence[NDArray[np.int64]],
    ) -> None:
        self.counts = counts
        self._rows = rows
        self._t_us = t_us
        self._blocks = blocks

    @cached_property
    def groups(self) -> tuple[DecodedGroup, ...]:
        """Each group that occurred, once, ascending by index."""
        stop = 0
        groups = []
        runs = zip(self._rows.group.tolist(), self._rows.count.tolist(), self._blocks, strict=True)
        for index, count, block in runs:
            groups.append(DecodedGroup(index, self._t_us[stop : stop + count], block))
            stop += count
        return tuple(sorted(groups, key=lambda group: group.index))


class Decoder:
    """Executes one table; share it freely, it never changes."""

    def __init__(self, table: DecodeTable) -> None:
        self.table = table
        messages = table.messages
        self._extractor = Extractor(table)
        self._lookup = Lookup(table)
        self._base_group = np.array([-1 if m.group is None else m.group for m in messages], np.int64)
        self._has_selector = np.array([bool(message.selectors) for message in messages], bool)
        # numpy sorts 16-bit keys by radix, and few tables have more messages than that.
        self._sort_key = np.uint16 if len(messages) < 2**16 else np.int64

    def is_known(self, can_id: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return for each identifier (n,), bit 31 set for extended, whether the table has its message."""
        return self._lookup.is_known(can_id)

    def dbc_ids(self, can_id: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return for each identifier (n,) that of its message in the DBC, all bits set where none."""
        return self._lookup.dbc_ids(can_id)

    def decode(self, lot: FrameLot) -> Decoded:
        """Decode one lot.

        Args:
            lot: Any number of frames of one bus, any mix of identifiers.

        Returns:
            Rows by group, and counts whose sum is the size of the lot.
        """
        message, drops = self._lookup.messages_of(lot)
        n_decoded = lot.size - sum(drops.values())
        payloads = Payloads(lot.data)
        rows, unknown_selector = self._rows(message, n_decoded, payloads)
        is_many = len(rows.frame) >= _ROWS_FOR_BLOCKS * len(rows.group)
        extract = self._extractor.blocks if is_many else self._extractor.lanes
        counts = DecodeCounts(
            received=lot.size, decoded=n_decoded, drops=drops, unknown_selector=unknown_selector
        )
        return Decoded(counts, rows, lot.t_us.take(rows.frame), extract(rows, payloads))

    def _rows(self, message: NDArray[np.int64], n_decoded: int, payloads: Payloads) -> tuple[Rows, int]:
        """Sort good frames by message and add rows for every branch that occurs.

        Returns:
            The rows, and the frames with a selector value that the DBC does not name.
        """
        n_messages = len(self.table.messages)
        frame = message.astype(self._sort_key).argsort(kind="stable")[:n_decoded]
        occurs = np.bincount(message, minlength=n_messages + 1)[:n_messages]
        present = occurs.nonzero()[0]
        rows = Rows(frame, self._base_group.take(present), occurs.take(present))
        is_muxed = self._has_selector.take(present)
        unknown = 0
        if is_muxed.any():
            before = rows.count.cumsum() - rows.count
            branches: dict[int, NDArray[np.int64]] = {}
            for run in is_muxed.nonzero()[0].tolist():
                frames = frame[before[run] : before[run] + rows.count[run]]
                found, unnamed = self._branches(self.table.messages[present[run]], frames, payloads)
                branches |= found
                unknown += unnamed
            rows = _with_branches(rows, branches)
        if len(rows.group) and rows.group.min() < 0:
            rows = _without_empty(rows)
        return rows, unknown

    def _branches(
        self, message: Message, frames: NDArray[np.int64], payloads: Payloads
    ) -> tuple[dict[int, NDArray[np.int64]], int]:
        """Return the frame numbers of each branch of a message, and how many frames have an unnamed value."""
        assert message.group is not None, "a selector stands in a group"
        frames_of = {message.group: frames}
        unnamed: list[NDArray[np.int64]] = []
        for selector in message.selectors:
            here = frames_of.get(selector.group)
            if here is None:
                continue
            column = int(self._extractor.first_column[selector.group]) + selector.column
            raw_type = self.table.groups[selector.group].columns[selector.column].raw_type
            values = self._extractor.column(column, here, payloads)
            parts: dict[int, list[NDArray[np.int64]]] = {}
            for value in sorted(set(values.tolist())):
                matching = here[values == value]
                number = value if raw_type is RawType.INT else value % 2**64
                for branch in selector.branches:
                    if _holds(branch.ids, number):
                        parts.setdefault(branch.group, []).append(matching)
                if not _holds(selector.known, number):
                    unnamed.append(matching)
            for group, chosen in parts.items():
                frames_of[group] = np.sort(np.concatenate(chosen)) if len(chosen) > 1 else chosen[0]
        del frames_of[message.group]
        return frames_of, len(np.unique(np.concatenate(unnamed))) if unnamed else 0


def _with_branches(rows: Rows, branches: Mapping[int, NDArray[np.int64]]) -> Rows:
    """Append the branches' rows."""
    if not branches:
        return rows
    return Rows(
        np.concatenate((rows.frame, *branches.values())),
        np.concatenate((rows.group, np.fromiter(branches, np.int64))),
        np.concatenate((rows.count, np.array([len(frames) for frames in branches.values()], np.int64))),
    )


def _without_empty(rows: Rows) -> Rows:
    """Leave out the rows of messages that have no signals."""
    has_signals = rows.group >= 0
    return Rows(rows.frame[has_signals.repeat(rows.count)], rows.group[has_signals], rows.count[has_signals])


def _holds(ranges: Ranges, value: int) -> bool:
    return any(first <= value <= last for first, last in ranges)
