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
    matrix = np.ascontiguousarray(matrix)
    steps = matrix[:, 1:] - matrix[:, :-1]
    zigzag = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    widths = _widths(zigzag)
    head = np.empty(columns, dtype=_FIRST)
    head["width"] = widths
    head["value"] = matrix[:, 0]
    steps_bytes = zigzag.astype("<u8", copy=False).view(np.uint8).reshape(columns, rows - 1, _WORD_BYTES)
    planes = [steps_bytes[column, :, :width].T.tobytes() for column, width in enumerate(widths)]
    return b"".join((head.tobytes(), *planes))


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
    widths: list[int] = head["width"].tolist()
    if max(widths, default=0) > _WORD_BYTES:
        raise ProtocolError(Reject.BAD_ENCODING, "planes: a column wider than 8 bytes")
    if len(block) != head_bytes + sum(widths) * (rows - 1):
        raise ProtocolError(Reject.BAD_ENCODING, "planes: length does not fit columns, widths and rows")
    stored = np.frombuffer(block, dtype=np.uint8, offset=head_bytes).reshape(sum(widths), rows - 1)
    steps_bytes = np.zeros((columns, rows - 1, _WORD_BYTES), dtype=np.uint8)
    plane = 0
    for column, width in enumerate(widths):
        steps_bytes[column, :, :width] = stored[plane : plane + width].T
        plane += width
    zigzag = steps_bytes.view("<u8")[:, :, 0].astype(np.uint64, copy=False)
    if _widths(zigzag) != widths:
        raise ProtocolError(Reject.BAD_ENCODING, "planes: a column wider than its differences need")
    words = np.empty((columns, rows), dtype=np.uint64)
    words[:, 0] = head["value"].astype(np.int64).view(np.uint64)
    words[:, 1:] = (zigzag >> _ONE) ^ (~(zigzag & _ONE) + _ONE)
    return np.add.accumulate(words, axis=1, out=words).view(np.int64)


def _widths(zigzag: NDArray[np.uint64]) -> list[int]:
    """Return per column the bytes its largest difference needs, 0 … 8."""
    return [(largest.bit_length() + 7) // 8 for largest in zigzag.max(axis=1, initial=0).tolist()]
