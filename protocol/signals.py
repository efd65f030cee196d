"""The section `signals`: rows of raw CAN integers, each group compressed alone behind one offset table.

Rules: the unit is the *group*, one message or one multiplexer branch of it: one time column and one column
per signal, all recorded together. What travels are the raw integers of the bus, never scaled floats; the
*dictionary* (`GroupDef`) says what they mean and rides the same chain before its first use. The section is
the CBOR array [table, body]: the table has [gid, rows, columns, bytes] per group in the order of the zstd
frames in the body, so one group is read without decompressing another. A frame holds the delta byte planes
(see `planes`) of the time column and then the signal columns.

This module does not know what a gid means (that is `dictionary`) nor how to cut bits from a frame.

Example:
    >>> rows = GroupRows(gid=3, t_us=np.array([10, 20]), raw=np.array([[7, 8]]))
    >>> decode_signals(encode_signals([rows]))[0].raw.tolist()
    [[7, 8]]
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol import codec
from protocol.compression import compress, decompress
from protocol.dictionary import GID_MAX, ColumnDef, GroupDef, RawType, physical
from protocol.errors import ProtocolError, Reject
from protocol.fields import array, integer, record
from protocol.limits import COLUMNS_MAX, GROUPS_MAX, PAYLOAD_BYTES_MAX, SIGNALS_BYTES_MAX
from protocol.planes import block_bytes_max, decode_planes, encode_planes

__all__ = [
    "ColumnDef",
    "GroupDef",
    "GroupRows",
    "RawType",
    "decode_signals",
    "encode_signals",
    "physical",
]

_WORD_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupRows:
    """Recorded rows of one group.

    Attributes:
        gid: which group.
        t_us: monotonic µs of the batch's boot, int64, shape (n,).
        raw: raw values, int64, shape (columns, n). Signed values are sign-extended; unsigned and float values
            are their bit pattern, seen as int64.
    """

    gid: int
    t_us: NDArray[np.int64]
    raw: NDArray[np.int64]


def encode_signals(groups: Sequence[GroupRows]) -> bytes:
    """Return the section's data.

    Args:
        groups: at most GROUPS_MAX, in the order they are to be read back; a gid may repeat.

    Raises:
        ValueError: more groups, columns or cells than a reader accepts, or arrays that do not fit each other.
    """
    if len(groups) > GROUPS_MAX or sum(map(_decoded_bytes, groups)) > SIGNALS_BYTES_MAX:
        raise ValueError("more groups or cells than one section may hold")
    table: list[list[int]] = []
    frames: list[bytes] = []
    for group in groups:
        columns, rows = group.raw.shape
        if group.t_us.shape != (rows,) or columns > COLUMNS_MAX or not 0 <= group.gid <= GID_MAX:
            raise ValueError(f"group {group.gid}: {columns} columns of {rows} rows, times {group.t_us.shape}")
        if group.t_us.dtype != np.int64 or group.raw.dtype != np.int64:
            raise ValueError(
                f"group {group.gid}: int64 expected, not {group.t_us.dtype} and {group.raw.dtype}"
            )
        frame = compress(encode_planes(np.vstack((group.t_us, group.raw))))
        table.append([group.gid, rows, columns, len(frame)])
        frames.append(frame)
    return codec.encode([table, b"".join(frames)])


def decode_signals(data: bytes, *, only: Collection[int] | None = None) -> list[GroupRows]:
    """Read the section's data.

    Args:
        data: as `encode_signals` writes it.
        only: gids wanted; the frames of all others are skipped without being decompressed. None wants all.

    Returns:
        The groups wanted, in the order they were written.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_FIELD; TOO_LARGE when the groups wanted would take more than
            SIGNALS_BYTES_MAX.
    """
    table_items, body_items = record(codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX), "signals", size=2)
    if not isinstance(body_items, bytes):
        raise ProtocolError(Reject.BAD_FIELD, "signals[1]: expected bytes")
    table = [_entry(item, len(body_items)) for item in array(table_items, "signals[0]", most=GROUPS_MAX)]
    if sum(size for _, _, _, size in table) != len(body_items):
        raise ProtocolError(Reject.BAD_FIELD, "signals: the table's sizes do not add up to the body")
    wanted_bytes = sum(
        (columns + 1) * rows * _WORD_BYTES for gid, rows, columns, _ in table if only is None or gid in only
    )
    if wanted_bytes > SIGNALS_BYTES_MAX:
        raise ProtocolError(
            Reject.TOO_LARGE, f"signals: {wanted_bytes} B of arrays, at most {SIGNALS_BYTES_MAX} B"
        )
    groups: list[GroupRows] = []
    start = 0
    for gid, rows, columns, size in table:
        if only is None or gid in only:
            frame = body_items[start : start + size]
            block = decompress(frame, max_bytes=block_bytes_max(columns=columns + 1, rows=rows))
            matrix = decode_planes(block, columns=columns + 1, rows=rows)
            groups.append(GroupRows(gid=gid, t_us=matrix[0], raw=matrix[1:]))
        start += size
    return groups


def _decoded_bytes(group: GroupRows) -> int:
    return group.t_us.nbytes + group.raw.nbytes


def _entry(value: object, body_bytes: int) -> tuple[int, int, int, int]:
    gid, rows, columns, size = record(value, "signals[0] entry", size=4)
    return (
        integer(gid, "signals gid", least=0, most=GID_MAX),
        integer(rows, "signals rows", least=0, most=SIGNALS_BYTES_MAX // _WORD_BYTES),
        integer(columns, "signals columns", least=0, most=COLUMNS_MAX),
        integer(size, "signals size", least=0, most=body_bytes),
    )
