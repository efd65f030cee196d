"""Delta byte planes: integer columns in a form that zstd packs well, exact for every 64-bit value.

Rules: a block holds `columns` columns of `rows` int64 each. First come, per column, one byte of width (0 … 8)
and the first value (8 bytes, little-endian, two's complement); then per column its planes: plane k is byte k
(least significant first) of each of the rows - 1 zigzag-coded differences, for k below the column's width.
Differences wrap modulo 2⁶⁴, so any bit pattern survives. A width is the least that holds the column's largest
difference; a reader accepts no larger one, so that a block has one form. With 0 rows the block is empty.

This module neither compresses nor knows what a column means.

Example:
    >>> block = encode_planes(np.array([[5, 6, 4]]))
    >>> block.hex(), decode_planes(block, columns=1, rows=3)
    ('0105000000000000000203', array([[5, 6, 4]]))
"""

import numpy as np
from numpy.typing import NDArray

from protocol.errors import ProtocolError, Reject

_WORD_BYTES = 8
_FIRST = np.dtype([("width", "u1"), ("value", "<i8")])
_STEP_BITS = np.arange(_WORD_BYTES, dtype=np.uint64) * np.uint64(8)
_ONE = np.uint64(1)


def block_bytes_max(*, columns: int, rows: int) -> int:
    """Return the most bytes a block of this shape can have."""
    return columns * (_FIRST.itemsize + _WORD_BYTES * (rows - 1)) if rows else 0


def encode_planes(matrix: NDArray[np.int64]) -> bytes:
    """Return the block of a matrix.

    Args:
        matrix: int64, shape (columns, rows); any values.
    """
    columns, rows = matrix.shape
    if rows == 0:
        return b""
    words = np.ascontiguousarray(matrix).view(np.uint64)
    steps = words[:, 1:] - words[:, :-1]
    zigzag = (steps << _ONE) ^ (steps.view(np.int64) >> 63).view(np.uint64)
    widths = _widths(zigzag)
    head = np.empty(columns, dtype=_FIRST)
    head["width"] = widths
    head["value"] = matrix[:, 0]
    # (columns, 8, rows - 1): byte k of all differences lies together; only planes below the width are kept.
    planes = zigzag.astype("<u8").view(np.uint8).reshape(columns, rows - 1, _WORD_BYTES).transpose(0, 2, 1)
    kept = planes[np.arange(_WORD_BYTES) < widths[:, None]]
    return head.tobytes() + kept.tobytes()


def decode_planes(block: bytes, *, columns: int, rows: int) -> NDArray[np.int64]:
    """Return the matrix of a block.

    Args:
        block: as `encode_planes` writes it.
        columns: number of columns the block claims to hold.
        rows: number of rows it claims to hold.

    Returns:
        int64, shape (columns, rows), C order.

    Raises:
        ProtocolError: BAD_ENCODING when the block's length or widths do not fit the shape.
    """
    if rows == 0:
        if block:
            raise ProtocolError(Reject.BAD_ENCODING, "planes: bytes where there are no rows")
        return np.empty((columns, 0), dtype=np.int64)
    head_bytes = columns * _FIRST.itemsize
    if len(block) < head_bytes:
        raise ProtocolError(Reject.BAD_ENCODING, "planes: shorter than its column heads")
    head = np.frombuffer(block, dtype=_FIRST, count=columns)
    widths = head["width"]
    if columns and int(widths.max()) > _WORD_BYTES:
        raise ProtocolError(Reject.BAD_ENCODING, "planes: a column wider than 8 bytes")
    kept = int(widths.sum(dtype=np.int64))
    if len(block) != head_bytes + kept * (rows - 1):
        raise ProtocolError(Reject.BAD_ENCODING, "planes: length does not fit columns, widths and rows")
    planes = np.zeros((columns, _WORD_BYTES, rows - 1), dtype=np.uint8)
    stored = np.frombuffer(block, dtype=np.uint8, offset=head_bytes).reshape(kept, rows - 1)
    planes[np.arange(_WORD_BYTES) < widths[:, None]] = stored
    zigzag = (
        np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u8")[:, :, 0].astype(np.uint64, copy=False)
    )
    if not np.array_equal(_widths(zigzag), widths):
        raise ProtocolError(Reject.BAD_ENCODING, "planes: a column wider than its differences need")
    steps = (zigzag >> _ONE) ^ (~(zigzag & _ONE) + _ONE)
    words = np.empty((columns, rows), dtype=np.uint64)
    words[:, 0] = head["value"].astype(np.int64).view(np.uint64)
    words[:, 1:] = steps
    return np.add.accumulate(words, axis=1, dtype=np.uint64).view(np.int64)


def _widths(zigzag: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return per column the bytes its largest difference needs, 0 … 8."""
    largest = zigzag.max(axis=1, initial=0)
    return np.asarray(((largest[:, None] >> _STEP_BITS) != 0).sum(axis=1), dtype=np.uint8)
