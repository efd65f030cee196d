"""The section `frames`: raw CAN data frames as received, kept behind decisive signals as the better evidence.

Rules: per bus the frames are sorted by arbitration id, keeping their order of arrival, because frames of one
id resemble each other; payload bytes are XORed with the frame before. A fourth of the columns is the place
each frame had on arrival, left out when sorting by time and then id gives that order back anyway. The section
is the CBOR array [table, body]; the table has [bus, rows, width, has_place, bytes] per bus, the body the zstd
frames in that order. A frame holds the delta byte planes of time, id, length (and place), then `width` planes
of payload bytes.

Remote and error frames are not data and are only counted. This module does not decode anything.

Example:
    >>> lot = RawFrames(
    ...     bus="can0",
    ...     t_us=np.array([1, 2]),
    ...     can_id=np.array([291, 17], dtype=np.uint32),
    ...     length=np.array([8, 8], dtype=np.uint8),
    ...     data=np.zeros((2, 8), dtype=np.uint8),
    ... )
    >>> decode_frames(encode_frames([lot]))[0].can_id.tolist()
    [291, 17]

Source: ISO 11898-1 (identifiers of 11 and 29 bits, up to 8 or 64 data bytes).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol import codec
from protocol.compression import compress, decompress
from protocol.dictionary import CAN_ID_EXTENDED
from protocol.errors import ProtocolError, Reject
from protocol.fields import array, integer, record, text
from protocol.limits import BUSES_MAX, FRAMES_BYTES_MAX, FRAMES_MAX, PAYLOAD_BYTES_MAX
from protocol.planes import block_bytes_max, decode_planes, encode_planes

CLASSIC_BYTES, FD_BYTES = 8, 64
"""Data bytes of a classic and of an FD frame: the two widths of `RawFrames.data`."""

_HEAD_COLUMNS = 3  # time, id, length
_EXTENDED_ID_MAX = CAN_ID_EXTENDED | (1 << 29) - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawFrames:
    """Frames of one bus in order of arrival.

    Attributes:
        bus: name of the bus.
        t_us: monotonic µs of the batch's boot, int64, shape (n,).
        can_id: arbitration id, bit 31 set for a 29-bit one, uint32, shape (n,).
        length: data bytes, uint8, shape (n,), at most the width of `data`.
        data: bytes, zero beyond `length`, uint8, shape (n, 8) or (n, 64).
    """

    bus: str
    t_us: NDArray[np.int64]
    can_id: NDArray[np.uint32]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]


def encode_frames(lots: Sequence[RawFrames]) -> bytes:
    """Return the section's data.

    Args:
        lots: one per bus, at most BUSES_MAX and together FRAMES_MAX frames.

    Raises:
        ValueError: too many buses or frames, or arrays that do not fit each other.
    """
    if len(lots) > BUSES_MAX or sum(len(lot.t_us) for lot in lots) > FRAMES_MAX:
        raise ValueError("more buses or frames than one section may hold")
    table: list[list[object]] = []
    bodies: list[bytes] = []
    for lot in lots:
        rows, width = lot.data.shape
        shapes = {lot.t_us.shape, lot.can_id.shape, lot.length.shape}
        if width not in (CLASSIC_BYTES, FD_BYTES) or shapes != {(rows,)}:
            raise ValueError(f"bus {lot.bus}: arrays of {shapes} with data of {lot.data.shape}")
        by_id = np.argsort(lot.can_id, kind="stable")
        columns = [lot.t_us[by_id], lot.can_id[by_id].astype(np.int64), lot.length[by_id].astype(np.int64)]
        needs_place = not np.array_equal(by_id[_arrival(columns[0], columns[1])], np.arange(rows))
        if needs_place:
            columns.append(by_id.astype(np.int64))
        payload = lot.data[by_id]
        payload[1:] ^= payload[:-1].copy()
        frame = compress(encode_planes(np.vstack(columns)) + payload.T.tobytes())
        table.append([lot.bus, rows, width, int(needs_place), len(frame)])
        bodies.append(frame)
    return codec.encode([table, b"".join(bodies)])


def decode_frames(data: bytes) -> list[RawFrames]:
    """Read the section's data.

    Returns:
        One item per bus, frames in order of arrival.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, or BAD_FIELD for an id or length that cannot be.
    """
    table_items, body = record(codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX), "frames", size=2)
    if not isinstance(body, bytes):
        raise ProtocolError(Reject.BAD_FIELD, "frames[1]: expected bytes")
    table = [_entry(item, len(body)) for item in array(table_items, "frames[0]", most=BUSES_MAX)]
    if sum(entry[-1] for entry in table) != len(body):
        raise ProtocolError(Reject.BAD_FIELD, "frames: the table's sizes do not add up to the body")
    if sum(rows * (width + 16) for _, rows, width, _, _ in table) > FRAMES_BYTES_MAX:
        raise ProtocolError(Reject.TOO_LARGE, f"frames: arrays of more than {FRAMES_BYTES_MAX} B")
    lots: list[RawFrames] = []
    start = 0
    for bus, rows, width, has_place, size in table:
        lots.append(_decode_bus(body[start : start + size], bus, rows, width, has_place=bool(has_place)))
        start += size
    return lots


def _decode_bus(frame: bytes, bus: str, rows: int, width: int, *, has_place: bool) -> RawFrames:
    columns = _HEAD_COLUMNS + has_place
    block = decompress(frame, max_bytes=block_bytes_max(columns=columns, rows=rows) + rows * width)
    split = len(block) - rows * width
    if split < 0:
        raise ProtocolError(Reject.BAD_ENCODING, "frames: shorter than its payload bytes")
    head = decode_planes(block[:split], columns=columns, rows=rows)
    t_us, can_id, length = head[:_HEAD_COLUMNS]
    payload = np.frombuffer(block, dtype=np.uint8, offset=split).reshape(width, rows).T
    payload = np.bitwise_xor.accumulate(payload, axis=0)
    if rows and (
        can_id.min() < 0 or can_id.max() > _EXTENDED_ID_MAX or length.min() < 0 or length.max() > width
    ):
        raise ProtocolError(Reject.BAD_FIELD, "frames: an arbitration id or length that cannot be")
    if has_place:
        if not np.array_equal(np.sort(head[_HEAD_COLUMNS]), np.arange(rows)):
            raise ProtocolError(Reject.BAD_FIELD, "frames: places are not a permutation")
        order = np.argsort(head[_HEAD_COLUMNS])
    else:
        order = _arrival(t_us, can_id)
    return RawFrames(
        bus=bus,
        t_us=t_us[order],
        can_id=can_id[order].astype(np.uint32),
        length=length[order].astype(np.uint8),
        data=payload[order],
    )


def _arrival(t_us: NDArray[np.int64], can_id: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the order of arrival when no places are stored: by time, then by id, then as they stand."""
    return np.lexsort((can_id, t_us))


def _entry(value: object, body_bytes: int) -> tuple[str, int, int, int, int]:
    bus, rows, width, has_place, size = record(value, "frames[0] entry", size=5)
    wire_width = integer(width, "frames width", least=CLASSIC_BYTES, most=FD_BYTES)
    if wire_width not in (CLASSIC_BYTES, FD_BYTES):
        raise ProtocolError(Reject.BAD_FIELD, f"frames width: {CLASSIC_BYTES} or {FD_BYTES}")
    return (
        text(bus, "frames bus"),
        integer(rows, "frames rows", least=0, most=FRAMES_MAX),
        wire_width,
        integer(has_place, "frames has_place", least=0, most=1),
        integer(size, "frames size", least=0, most=body_bytes),
    )
