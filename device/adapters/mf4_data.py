"""Data blocks of an MF4 file as one stream of bytes, a piece at a time.

Rules:
- Plain blocks, packed blocks and lists of both are read; a piece has at most a few MB, whatever the block.
- The last block of a file that was not finished goes on to the file's end.
- A damaged block leaves a hole of known size in the stream, so that records of fixed size stay in step; where
  the size is not known the stream ends. Each is counted.

It knows no records (`mf4_log`).

Example:
    >>> sum(part.size for part in stream(mf4, group.data, errors) if isinstance(part, Hole))  # doctest: +SKIP
    0

Source: ASAM MDF 4.1.1/4.2, blocks DT, DV, SD, DZ, DL, HL and LD.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.adapters.log_errors import LogFault
from device.adapters.mf4_blocks import Mf4DamageError
from protocol.limits import MF4_BLOCK_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.adapters.log_errors import LogErrors
    from device.adapters.mf4_blocks import Mf4File

_PLAIN = frozenset({b"##DT", b"##DV", b"##SD", b"##RD", b"##DI"})
_LISTS = frozenset({b"##DL", b"##LD"})
_HEAD_BYTES = 24
_DZ = struct.Struct("<2sBxIQQ")  # packed block's kind, way of packing, parameter, unpacked and packed bytes
_TRANSPOSED = 1
_PIECE_BYTES = 1 << 18  # a few thousand records; as columns they take some ten times as much


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes of the stream that cannot be had."""

    size: int


def stream(file: Mf4File, address: int, errors: LogErrors) -> Iterator[bytes | Hole]:
    """Yield the bytes behind an address.

    Args:
        file: The file.
        address: Of a data block or a list of them.
        errors: Takes each damage.
    """
    try:
        for block, is_last in _blocks(file, address):
            yield from _block(file, block, errors, is_last=is_last)
    except Mf4DamageError as error:
        cause = LogFault.TORN if "beyond the file" in str(error) else LogFault.DAMAGED
        errors.add(f"data at byte {address}: {error}", cause)


def _blocks(file: Mf4File, address: int) -> Iterator[tuple[int, bool]]:
    """Yield the addresses of data blocks, and whether it is known that none follows."""
    kind, _, _ = file.head(address)
    if kind == b"##HL":
        address = file.block(address, b"##HL").link(0)
        kind = file.head(address)[0]
    if kind not in _LISTS:
        yield address, True
        return
    seen: set[int] = set()
    while address:
        if address in seen:
            raise Mf4DamageError(f"lists of data in a circle at byte {address}")
        seen.add(address)
        block = file.block(address, *_LISTS)
        following = block.link(0)
        blocks = [link for link in block.links[1:] if link]
        for place, link in enumerate(blocks):
            if link in seen:
                raise Mf4DamageError(f"data at byte {link} is listed twice")
            seen.add(link)
            yield link, not following and place == len(blocks) - 1
        address = following


def _block(file: Mf4File, address: int, errors: LogErrors, *, is_last: bool) -> Iterator[bytes | Hole]:
    kind, length, links = file.head(address)
    if kind == b"##DZ":
        yield from _packed(file, address, errors)
        return
    if kind not in _PLAIN or links:
        raise Mf4DamageError(f"block at byte {address} is {kind!r}, no data")
    start, stop = address + _HEAD_BYTES, address + length
    if is_last and not file.is_finished and (length == _HEAD_BYTES or stop > file.size):
        stop = file.size
    if stop > file.size:
        errors.add(f"data at byte {address} goes on beyond the file's end", LogFault.TORN)
        stop = file.size
    for first in range(start, stop, _PIECE_BYTES):
        yield file.bytes_at(first, min(_PIECE_BYTES, stop - first))


def _packed(file: Mf4File, address: int, errors: LogErrors) -> Iterator[bytes | Hole]:
    _, way, parameter, size, packed_size = _DZ.unpack(file.bytes_at(address + _HEAD_BYTES, _DZ.size))
    if size > MF4_BLOCK_BYTES_MAX or packed_size > MF4_BLOCK_BYTES_MAX:
        raise Mf4DamageError(f"packed block at byte {address} of {size} bytes")
    first = address + _HEAD_BYTES + _DZ.size
    there = min(packed_size, file.size - first)
    is_torn = there < packed_size
    data, problem = _unpacked(file.bytes_at(first, there), size, is_torn=is_torn)
    if is_torn:
        errors.add(f"packed block at byte {address} goes on beyond the file's end", LogFault.TORN)
    elif problem:
        errors.add(f"packed block at byte {address}: {problem}", LogFault.DAMAGED)
    if way == _TRANSPOSED:
        data = _put_back(data, parameter) if len(data) == size else b""
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]
    if len(data) < size:
        yield Hole(size - len(data))


def _unpacked(packed: bytes, size: int, *, is_torn: bool) -> tuple[bytes, str]:
    """Return what could be unpacked, and what was wrong.

    Nothing of a block that is damaged is returned: its bytes may have been wrong long before the checksum at
    its end says so. Of a torn one there is what was unpacked before the end.
    """
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, size + 1)
    except zlib.error as error:
        return b"", str(error)
    if len(data) == size and inflater.eof:
        return data, ""
    return (data[:size] if is_torn else b""), f"{len(data)} bytes of {size}"


def _put_back(data: bytes, columns: int) -> bytes:
    """Undo the transposition that packs better: rows of `columns` bytes were written column by column."""
    rows = len(data) // columns if columns else 0
    if not rows:
        return data
    block = np.frombuffer(data, np.uint8, rows * columns).reshape(columns, rows)
    return block.T.tobytes() + data[rows * columns :]
