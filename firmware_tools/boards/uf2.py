"""Whether a UF2 file is MicroPython's first image for a board, looked at without the board.

Rules: every block has its three magic numbers, the board's family, its number in order, 256 bytes, and an
address in the board's flash that no other block has. What follows from it is that the boot loader will take
it, not what it does: MicroPython's own file is taken from micropython.org, with its hash.

Example:
    $ tbox install firmware uf2 RPI_PICO-20260401-v1.28.0.uf2 --board rp2040

Source: Microsoft, UF2 file format (512-byte blocks, magic numbers, family ids).
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_tools.cli_errors import Common, ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_tools.boards import Uf2

BLOCK_BYTES: Final = 512
PAYLOAD_BYTES: Final = 256
_HEAD: Final = struct.Struct("<8I")
_MAGIC: Final = (0x0A324655, 0x9E5D5157)
_END: Final = 0x0AB16F30
_HAS_FAMILY: Final = 0x2000


class Wrong(StrEnum):
    """Why it is not."""

    UF2 = "UF2"


def check(path: Path, board: Uf2) -> int:
    """Return how many bytes of flash a UF2 file writes.

    Raises:
        ToolError: NO_FILE, or UF2 with the first block that is wrong.
    """
    try:
        size = path.stat().st_size
        if size > board.bytes // PAYLOAD_BYTES * BLOCK_BYTES:
            raise _wrong(path, "it is larger than the board's flash")
        data = path.read_bytes()
    except OSError as error:
        raise ToolError(
            Common.NO_FILE, f"{path} cannot be read ({error.strerror}): name a UF2 file."
        ) from error
    if not data or len(data) % BLOCK_BYTES:
        raise _wrong(path, f"it has {len(data)} bytes, which is no whole number of blocks")
    count = len(data) // BLOCK_BYTES
    seen = set()
    for number in range(count):
        block = data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        first, second, flags, address, length, index, blocks, family = _HEAD.unpack(block[: _HEAD.size])
        if (first, second) != _MAGIC or int.from_bytes(block[-4:], "little") != _END:
            raise _wrong(path, f"block {number} is no UF2 block")
        if not flags & _HAS_FAMILY or family != board.family:
            raise _wrong(path, f"block {number} is for the family {family:#010x}, not {board.family:#010x}")
        if (index, blocks, length) != (number, count, PAYLOAD_BYTES):
            raise _wrong(path, f"block {number} is out of its order")
        inside = board.address <= address <= board.address + board.bytes - PAYLOAD_BYTES
        if not inside or address % PAYLOAD_BYTES or address in seen:
            raise _wrong(path, f"block {number} writes to {address:#010x}")
        seen.add(address)
    return count * PAYLOAD_BYTES


def _wrong(path: Path, why: str) -> ToolError:
    return ToolError(Wrong.UF2, f"{path} is no first image for this board: {why}; download it again.")
