"""Frames to physical values in one go: one lane for each (frame, signal), whatever the mix of messages.

Rules:
- The values are cantools' values bit for bit, like those of `decode` followed by `protocol.signals.physical`;
  a test holds the two against each other.
- A frame's lanes lie together, frames in order of reception. A multiplexed signal has a lane only where its
  selectors switch it on.
- A lane's value is a float64. Whole-number columns (`Lanes.is_whole`) are exact in it; those that may not fit
  into 53 bits stand in `wide` and are exact through `numbers`.
- Dropped frames have no lanes and are counted by cause, as in `decode`. A reader that asks for it
  (`keeps_short`) gets the signals that lie whole within a short frame, as a desk tool may want them; such
  frames are then decoded, and counted in `Lanes.short`.

How: all lanes of a lot are cut, shifted and scaled together, so the number of numpy calls does not depend on
how many messages a lot mixes. `decode` is the better way where the rows of one group are needed together.

It keeps nothing between lots.

Example:
    >>> lanes = FlatDecoder(table).decode(lot)                                          # doctest: +SKIP
    >>> lanes.frame.tolist(), lanes.column.tolist(), lanes.value.tolist()               # doctest: +SKIP
    ([0, 0, 1], [4, 5, 0], [812.5, 1.0, 21.3])
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from device.acquisition.extract import Extractor, Payloads
from device.acquisition.lookup import Lookup
from device.acquisition.lot import FD_BYTES
from device.acquisition.table import COLUMN_BITS_MAX
from protocol.batch import DropCause
from protocol.signals import RawType, physical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from device.acquisition.lot import FrameLot
    from device.acquisition.table import Column, DecodeTable, Ranges
    from protocol.signals import ColumnDef

_EXACT = 2**53  # whole numbers up to here are exact in a float64

_SINGLE, _DOUBLE = 32, 64  # bits of a float


class Lanes(NamedTuple):
    """The values of a lot.

    Attributes:
        frame: int64 (n,), number of the frame in the lot, ascending.
        column: int64 (n,), number of the column among all of the table, groups in order.
        raw: int64 (n,), as in `DecodedGroup.raw`.
        value: float64 (n,), physical.
        decoded: Frames that gave lanes or could have.
        drops: Frames by cause, causes above zero only.
        short: Frames decoded in part, 0 unless asked for.
    """

    frame: NDArray[np.int64]
    column: NDArray[np.int64]
    raw: NDArray[np.int64]
    value: NDArray[np.float64]
    decoded: int
    drops: Mapping[DropCause, int]
    short: int


class FlatDecoder:
    """Executes one table; share it freely, it never changes.

    Attributes:
        columns: All columns of the table in order, what `Lanes.column` counts.
        is_whole: bool, by column: its values are whole numbers, as cantools gives integers.
        wide: bool, by column: whole numbers that may be beyond 53 bits, or floats from such ones.
    """

    def __init__(self, table: DecodeTable, *, keeps_short: bool = False) -> None:
        """Take the table, and whether short frames are decoded as far as they go."""
        self.table = table
        self._keeps_short = keeps_short
        self._end = np.array([c.start + c.bits for group in table.groups for c in group.columns], np.int64)
        definitions = [group.definition(0, "", table.dbc_hash, {}).columns for group in table.groups]
        self.columns: tuple[ColumnDef, ...] = tuple(column for group in definitions for column in group)
        compiled = [column for group in table.groups for column in group.columns]
        self.is_whole = np.array([_is_whole(column) for column in compiled], bool)
        self.wide = np.array([_is_wide(column) for column in compiled], bool)
        self._lookup = Lookup(table)
        self._extractor = Extractor(table)
        self._scale = np.array([column.scale for column in compiled], np.float64)
        self._offset = np.array([column.offset for column in compiled], np.float64)
        self._float_bits = np.array([c.bits if _is_float(c) else 0 for c in compiled], np.uint8)
        self._is_scaled = (self._scale != 1) | (self._offset != 0)
        # Unscaled whole numbers become the nearest float as they are, but for unsigned ones of a whole word.
        self._is_word = np.array([_is_word(column) for column in compiled], bool) & ~self._is_scaled
        self._is_special = (self.wide & self._is_scaled) | self._is_word | (self._float_bits != 0)
        self._has_special = bool(self._is_special.any())
        # Almost all floats on buses are single and unscaled; a table that has no others needs less care.
        self._has_plain_floats = bool(
            ((self._float_bits == _SINGLE) & ~self._is_scaled)[self._is_special].all()
        )
        first, count = _spans(table, self._extractor)
        self._first = first
        self._count = count
        self._muxes = _Muxes(table, self._extractor)

    def decode(self, lot: FrameLot) -> Lanes:
        """Decode one lot.

        Args:
            lot: Any number of frames of one bus, any mix of identifiers.

        Returns:
            One lane for each signal that is there.
        """
        message, drops, short = self._messages_of(lot)
        width = self._count.take(message)
        before = width.cumsum()
        n_lanes = int(before[-1]) if lot.size else 0
        before -= width
        lane = np.arange(n_lanes)
        frame = np.arange(lot.size).repeat(width)
        column = (self._first.take(message) - before).repeat(width)
        column += lane
        raw = self._extractor.flat(column, frame, Payloads(lot.data))
        if short or self._muxes.is_there(message):
            is_inside = (
                self._end.take(column) <= 8 * lot.length.take(frame).astype(np.int64) if short else None
            )
            there = self._muxes.switched_on(lane, column, raw, is_inside).nonzero()[0]
            frame, column, raw = frame.take(there), column.take(there), raw.take(there)
        value = raw * self._scale.take(column)
        value += self._offset.take(column)
        if self._has_special:
            self._mend(column, raw, value)
        decoded = lot.size - sum(drops.values())
        return Lanes(frame, column, raw, value, decoded, drops, short)

    def _messages_of(self, lot: FrameLot) -> tuple[NDArray[np.int64], Mapping[DropCause, int], int]:
        """Return message numbers, drops, and how many frames are short and kept."""
        message, drops = self._lookup.messages_of(lot)
        if not self._keeps_short or DropCause.SHORT not in drops:
            return message, drops, 0
        padded = replace(lot, length=np.full(lot.size, FD_BYTES, np.uint8))
        message, others = self._lookup.messages_of(padded)
        return message, others, drops[DropCause.SHORT]

    def numbers(self, lanes: Lanes) -> list[int | float]:
        """Return the values as Python numbers of cantools' types."""
        numbers: list[int | float] = lanes.value.tolist()
        for number in self.is_whole.take(lanes.column).nonzero()[0].tolist():
            column = lanes.column[number]
            if self.wide[column]:
                numbers[number] = physical(self.columns[column], lanes.raw[number : number + 1]).tolist()[0]
            else:
                numbers[number] = int(numbers[number])
        return numbers

    def by_column(self, lanes: Lanes) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each column that occurs, ascending, with its lanes in order of reception."""
        order = lanes.column.argsort(kind="stable")
        columns, starts = np.unique(lanes.column.take(order), return_index=True)
        yield from zip(columns.tolist(), np.split(order, starts[1:]), strict=True)

    def _mend(self, column: NDArray[np.int64], raw: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        """Put in the values of float columns and of numbers beyond 53 bits."""
        lanes = self._is_special.take(column).nonzero()[0]
        if not len(lanes):
            return
        if self._has_plain_floats:
            value[lanes] = _singles(raw.take(lanes))
            return
        columns = column.take(lanes)
        bits = self._float_bits.take(columns)
        for width in (_SINGLE, _DOUBLE):
            mine = lanes[bits == width]
            if len(mine):
                value[mine] = self._floats(width, column.take(mine), raw.take(mine))
        is_word = self._is_word.take(columns)
        words = lanes[is_word]
        value[words] = raw.take(words).view(np.uint64).astype(np.float64)
        is_done = is_word | (bits == _SINGLE) | (bits == _DOUBLE)
        for number in np.unique(columns[~is_done]).tolist():
            mine = lanes[columns == number]
            value[mine] = physical(self.columns[number], raw.take(mine)).astype(np.float64)

    def _floats(self, bits: int, column: NDArray[np.int64], raw: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the values of float columns of one width."""
        value = raw.view(np.float64) if bits == _DOUBLE else _singles(raw)
        is_scaled = self._is_scaled.take(column)
        if not is_scaled.any():
            return value
        with np.errstate(over="ignore", invalid="ignore"):  # an infinite or NaN reading stays one
            scaled = value * self._scale.take(column) + self._offset.take(column)
        return np.where(is_scaled, scaled, value)


class _Muxes:
    """Which lanes the selectors switch on.

    A message's lanes lie together, so a column finds its selector at a fixed distance before it.
    """

    def __init__(self, table: DecodeTable, extractor: Extractor) -> None:
        n_columns = int(extractor.n_columns.sum())
        self._distance = np.zeros(n_columns, np.int64)
        depth = np.zeros(n_columns, np.int64)
        ranges: list[Ranges] = [((0, 2**64 - 1),)] * n_columns
        for message in table.messages:
            for selector in message.selectors:
                where = int(extractor.first_column[selector.group]) + selector.column
                for branch in selector.branches:
                    start = int(extractor.first_column[branch.group])
                    for column in range(start, start + int(extractor.n_columns[branch.group])):
                        self._distance[column] = where - column
                        depth[column] = depth[where] + 1
                        ranges[column] = branch.ids
        self._is_muxed = np.array([*(bool(message.selectors) for message in table.messages), False], bool)
        self._depth = int(depth.max(initial=0))
        most = max((len(ids) for ids in ranges), default=1)
        filled = [ids + ids[:1] * (most - len(ids)) for ids in ranges]
        # Differences are taken modulo 2**64, so that one comparison decides for signed and unsigned alike.
        self._low = [np.array([ids[row][0] for ids in filled], np.uint64) for row in range(most)]
        self._span = [
            np.array([ids[row][1] - ids[row][0] for ids in filled], np.uint64) for row in range(most)
        ]

    def is_there(self, message: NDArray[np.int64]) -> bool:
        """Say whether any frame's message has a selector."""
        return self._depth > 0 and bool(np.count_nonzero(self._is_muxed.take(message)))

    def switched_on(
        self,
        lane: NDArray[np.int64],
        column: NDArray[np.int64],
        raw: NDArray[np.int64],
        is_inside: NDArray[np.bool_] | None,
    ) -> NDArray[np.bool_]:
        """Return for each lane whether its selectors name it, and it and they lie inside the frame."""
        selector = lane + self._distance.take(column)
        value = raw.take(selector).view(np.uint64)
        is_on = (value - self._low[0].take(column)) <= self._span[0].take(column)
        for low, span in zip(self._low[1:], self._span[1:], strict=True):
            is_on |= (value - low.take(column)) <= span.take(column)
        depth = self._depth - 1
        if is_inside is not None:
            is_on &= is_inside
            depth = self._depth
        for _ in range(depth):
            is_on &= is_on.take(selector)
        return is_on


def _spans(table: DecodeTable, extractor: Extractor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each message's first column and number of columns, and (0, 0) for a frame that is dropped."""
    groups: list[list[int]] = []
    for message in table.messages:
        mine = [] if message.group is None else [message.group]
        mine += [branch.group for selector in message.selectors for branch in selector.branches]
        assert not mine or sorted(mine) == list(range(min(mine), max(mine) + 1)), "groups lie together"
        groups.append(mine)
    first = [int(extractor.first_column[min(mine)]) if mine else 0 for mine in groups]
    count = [sum(int(extractor.n_columns[group]) for group in mine) for mine in groups]
    return np.array([*first, 0], np.int64), np.array([*count, 0], np.int64)


def _singles(raw: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of single-precision patterns in the lower 32 bits."""
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one, as in Python
        return raw.astype(np.uint32).view(np.float32).astype(np.float64)


def _is_float(column: Column) -> bool:
    return column.raw_type not in {RawType.UINT, RawType.INT}


def _is_word(column: Column) -> bool:
    return column.raw_type is RawType.UINT and column.bits == COLUMN_BITS_MAX


def _is_whole(column: Column) -> bool:
    return not _is_float(column) and float(column.scale).is_integer() and float(column.offset).is_integer()


def _is_wide(column: Column) -> bool:
    """Say whether float64 arithmetic could round where cantools computes with integers."""
    if _is_float(column):
        return False
    raw = 2**column.bits
    return bool(raw > _EXACT or raw * abs(column.scale) + abs(column.offset) > _EXACT)
