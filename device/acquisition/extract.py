"""Bits out of payloads: the executor of a compiled table, with no idea of identifiers or multiplexing.

Rules:
- Every column is read from one 64-bit word of the payload, in its own byte order: shift left until the
  signal's highest bit is the word's, shift right by the rest. The right shift is arithmetic, so signed values
  extend; for all others the bits above are cleared.
- A payload of 8 bytes is one word. In a 64-byte payload the word starts at the byte where the signal starts;
  the few signals of 58 to 64 bits that then reach into a ninth byte are put together from both.
- `lanes` treats all (row, column) pairs of a lot in one go: a fixed number of numpy calls, best for many
  groups of few rows. `blocks` goes group by group: fewer operations a value, best for few groups of many
  rows. They give the same values.

Example:
    >>> rows = Rows(frame=np.array([0, 1]), group=np.array([0]), count=np.array([2]))       # doctest: +SKIP
    >>> Extractor(table).lanes(rows, Payloads(lot.data))[0].shape                           # doctest: +SKIP
    (6, 2)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import CLASSIC_BYTES, FD_BYTES
from protocol.signals import RawType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.acquisition.table import Column, DecodeTable

_WORD_BITS = 64
_WORD_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Which frames give a row to which group.

    Attributes:
        frame: int64 (n_rows,), frame numbers of the lot, the rows of one group together and in order.
        group: int64 (n_groups,), groups in the order of their rows.
        count: int64 (n_groups,), rows of each, above 0.
    """

    frame: NDArray[np.int64]
    group: NDArray[np.int64]
    count: NDArray[np.int64]


class Payloads:
    """The payloads of a lot as words in both byte orders.

    Attributes:
        data: uint8 (n, 8 or 64).
        is_wide: Whether payloads have 64 bytes.
    """

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = np.ascontiguousarray(data)
        self.is_wide = data.shape[1] == FD_BYTES
        if self.is_wide:
            # Eight bytes from any byte on: words that overlap.
            n_words = max(0, self.data.size - _WORD_BYTES + 1)
            self._windows = np.ndarray((n_words,), "<u8", self.data, strides=(1,))
        else:
            self._little: NDArray[np.uint64] = self.data.view("<u8").reshape(-1)
            self._big: NDArray[np.uint64] = self._little.byteswap()

    def little(self, frame: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the little-endian words (n,) of classic payloads."""
        return self._little.take(frame)

    def big(self, frame: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the big-endian words (n,) of classic payloads."""
        return self._big.take(frame)

    def windows(self, frame: NDArray[np.int64], window: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return little-endian words of wide payloads, `frame` and `window` broadcast against each other.

        Args:
            frame: Frame numbers.
            window: First byte of the eight, 0…56.
        """
        return np.asarray(self._windows[frame * FD_BYTES + window])

    def either(self, frame: NDArray[np.int64], is_big: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Return words (n,) of classic payloads, big-endian where `is_big` says so."""
        return np.concatenate((self._little, self._big)).take(frame + is_big * np.int64(len(self._little)))


class Extractor:
    """The columns of a table as shifts and masks."""

    def __init__(self, table: DecodeTable) -> None:
        columns = [column for group in table.groups for column in group.columns]
        self.n_columns = np.array([len(group.columns) for group in table.groups], np.int64)
        self.first_column = np.cumsum(self.n_columns) - self.n_columns
        self._window = np.array([_window(column) for column in columns], np.int64)
        self._start = np.array([column.start for column in columns], np.int64) - 8 * self._window
        bits = np.array([column.bits for column in columns], np.int64)
        self._is_big = np.array([column.is_big_endian for column in columns], bool)
        self._straddles = self._start + bits > _WORD_BITS
        self._has_straddling = bool(self._straddles.any())
        left = np.where(self._is_big, self._start, _WORD_BITS - self._start - bits)
        self._left = np.where(self._straddles, 0, left).astype(np.uint64)
        self._right = _WORD_BITS - bits
        self._keep = np.array([_kept_bits(column) for column in columns], np.int64)
        self._is_all_big = bool(self._is_big.all())
        self._is_all_little = not self._is_big.any()

    def flat(
        self, column: NDArray[np.int64], frame: NDArray[np.int64], payloads: Payloads
    ) -> NDArray[np.int64]:
        """Extract one value a lane.

        Args:
            column: Number of the column (n,) among all of the table.
            frame: Frame number (n,).
            payloads: The lot.

        Returns:
            Raw values (n,).
        """
        if payloads.is_wide:
            words = payloads.windows(frame, self._window.take(column))
            if not self._is_all_little:
                is_big = self._is_big.take(column)
                words = np.where(is_big, words.byteswap(), words)
        else:
            words = self._flat_words(column, frame, payloads)
        words <<= self._left.take(column)
        raw = words.view(np.int64)
        raw >>= self._right.take(column)
        raw &= self._keep.take(column)
        if payloads.is_wide and self._has_straddling:
            lanes = self._straddles.take(column).nonzero()[0]
            columns = column.take(lanes)
            for number in np.unique(columns).tolist():
                mine = lanes[columns == number]
                raw[mine] = self.column(number, frame.take(mine), payloads)
        return raw

    def lanes(self, rows: Rows, payloads: Payloads) -> list[NDArray[np.int64]]:
        """Extract all (row, column) pairs at once.

        Returns:
            For each group of `rows` raw values (n_columns, n_rows); transposed views of one array.
        """
        n_columns = self.n_columns.take(rows.group)
        in_group = n_columns * rows.count
        end = in_group.cumsum()
        width = n_columns.repeat(rows.count)
        lanes_before = width.cumsum() - width
        first = self.first_column.take(rows.group).repeat(rows.count)
        column = (first - lanes_before).repeat(width)
        column += np.arange(len(column))
        words = self._lane_words(rows, payloads, width, column)
        words <<= self._left.take(column)
        raw = words.view(np.int64)
        raw >>= self._right.take(column)
        raw &= self._keep.take(column)
        blocks = [
            raw[stop - size : stop].reshape(-1, n).T
            for stop, size, n in zip(end.tolist(), in_group.tolist(), n_columns.tolist(), strict=True)
        ]
        if payloads.is_wide and self._straddles.take(column).any():
            self._mend(rows, payloads, blocks)
        return blocks

    def blocks(self, rows: Rows, payloads: Payloads) -> list[NDArray[np.int64]]:
        """Extract group by group.

        Returns:
            For each group of `rows` raw values (n_columns, n_rows), contiguous.
        """
        blocks = []
        stop = 0
        for group, count in zip(rows.group.tolist(), rows.count.tolist(), strict=True):
            first = self.first_column[group]
            here = slice(first, first + self.n_columns[group])
            frame = rows.frame[stop : stop + count]
            stop += count
            words = self._block_words(payloads, frame, here)
            raw = words.view(np.int64)
            raw >>= self._right[here, None]
            raw &= self._keep[here, None]
            blocks.append(raw)
        if payloads.is_wide and self._straddles.any():
            self._mend(rows, payloads, blocks)
        return blocks

    def column(self, column: int, frame: NDArray[np.int64], payloads: Payloads) -> NDArray[np.int64]:
        """Extract one column, whatever its place.

        Args:
            column: Number of the column among all of the table.
            frame: Frame numbers (n,).
            payloads: The lot.

        Returns:
            Raw values (n,).
        """
        here = slice(column, column + 1)
        right = self._right[column]
        if self._straddles[column]:
            word = self._straddling(column, frame, payloads)
        else:
            word = self._block_words(payloads, frame, here)[0]
        raw: NDArray[np.int64] = (word.view(np.int64) >> right) & self._keep[column]
        return raw

    def _flat_words(
        self, column: NDArray[np.int64], frame: NDArray[np.int64], payloads: Payloads
    ) -> NDArray[np.uint64]:
        """Return a fresh array with the word of each lane of classic payloads."""
        if self._is_all_big:
            return payloads.big(frame)
        if self._is_all_little:
            return payloads.little(frame)
        return payloads.either(frame, self._is_big.take(column))

    def _lane_words(
        self, rows: Rows, payloads: Payloads, width: NDArray[np.int64], column: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """Return a fresh array with the word of each lane; a row has `width` lanes, each of one column."""
        if payloads.is_wide:
            words = payloads.windows(rows.frame.repeat(width), self._window.take(column))
            if not self._is_all_little:
                is_big = self._is_big.take(column)
                words[is_big] = words[is_big].byteswap()
            return words
        if self._is_all_big:
            return payloads.big(rows.frame).repeat(width)
        little = payloads.little(rows.frame).repeat(width)
        if self._is_all_little:
            return little
        return np.where(self._is_big.take(column), payloads.big(rows.frame).repeat(width), little)

    def _block_words(self, payloads: Payloads, frame: NDArray[np.int64], here: slice) -> NDArray[np.uint64]:
        """Return a fresh array (n_columns, n_rows) of words, shifted left."""
        left, is_big = self._left[here, None], self._is_big[here]
        if payloads.is_wide:
            words = payloads.windows(frame[None, :], self._window[here, None])
            words[is_big] = words[is_big].byteswap()
            words <<= left
            return words
        if is_big.all():
            return payloads.big(frame) << left
        if not is_big.any():
            return payloads.little(frame) << left
        both = np.where(is_big[:, None], payloads.big(frame), payloads.little(frame))
        both <<= left
        return both

    def _mend(self, rows: Rows, payloads: Payloads, blocks: list[NDArray[np.int64]]) -> None:
        """Extract again, in place, the columns that lie across nine bytes."""
        stop = 0
        for group, count, block in zip(rows.group.tolist(), rows.count.tolist(), blocks, strict=True):
            frame = rows.frame[stop : stop + count]
            stop += count
            first = int(self.first_column[group])
            for number in self._straddles[first : first + len(block)].nonzero()[0].tolist():
                block[number] = self.column(first + number, frame, payloads)

    def _straddling(self, column: int, frame: NDArray[np.int64], payloads: Payloads) -> NDArray[np.uint64]:
        """Return words with the signal's highest bit on top, put together from nine bytes."""
        window, start = self._window[column], int(self._start[column])
        word = payloads.windows(frame, window)
        ninth = payloads.data[frame, int(window) + _WORD_BYTES].astype(np.uint64)
        if self._is_big[column]:
            return np.asarray((word.byteswap() << np.uint64(start)) | (ninth >> np.uint64(8 - start)))
        whole = (word >> np.uint64(start)) | (ninth << np.uint64(_WORD_BITS - start))
        return np.asarray(whole << np.uint64(self._right[column]))


def _window(column: Column) -> int:
    """Return the first byte of the eight that are read for a column; 0 where the message is a classic one."""
    last_byte = (column.start + column.bits - 1) // 8
    return 0 if last_byte < CLASSIC_BYTES else min(column.start // 8, FD_BYTES - _WORD_BYTES)


def _kept_bits(column: Column) -> int:
    """Return the mask after an arithmetic shift: signed values keep their extension, others lose it."""
    if column.raw_type is RawType.INT or column.bits == _WORD_BITS:
        return -1
    return (1 << column.bits) - 1
