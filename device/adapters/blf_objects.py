"""Objects of a BLF log that are frames: CAN messages, CAN FD messages and error frames.

Rules:
- An identifier above 11 bits is an extended one, whatever its mark says.
- A time is in units of 10 µs or 1 ns, rounded to µs.

It reads no containers (`blf_log`).

Example:
    >>> frame_of(b"LOBJ" + bytes(12), 0) is None
    True

Source: the layout as python-can and Tobias Lorenz's Vector_BLF describe it; checked against python-can.
"""

from __future__ import annotations

import struct

from device.acquisition.lot import CLASSIC_BYTES, EXTENDED, FD_BYTES
from device.adapters.log_errors import LogFault
from device.adapters.log_lines import (
    ERROR,
    FD,
    ID_MAX_EXTENDED,
    ID_MAX_STANDARD,
    REMOTE,
    LineError,
    LoggedFrame,
    logged,
)

OBJECT_MAGIC = b"LOBJ"

# Magic, bytes of the whole header, its version, bytes of the object, its type.
BASE = struct.Struct("<4sHHLL")

_STAMP = struct.Struct("<L4xQ")  # flags (1: unit of 10 µs, else 1 ns) and time, in header versions 1 and 2
_STAMP_BYTES = {1: 16, 2: 24}
_MESSAGE = struct.Struct("<HBBL8s")  # channel, flags, DLC, identifier, data
_ERROR = struct.Struct("<H")  # channel; what follows describes the error
_ERROR_FD = struct.Struct("<B")
_ERROR_ID = struct.Struct("<16xL")  # identifier in the long form of an error
_FD_MESSAGE = struct.Struct("<HBBL5xBB5x")  # channel, flags, DLC, identifier, FD flags, valid bytes; data
_FD_MESSAGE_64 = struct.Struct("<BBBxLLL16xHBBL")  # channel, DLC, valid bytes, identifier, …, flags, …
_TYPES_MESSAGE = frozenset({1, 86})
_TYPE_ERROR, _TYPE_ERROR_EXT, _TYPE_FD_ERROR = 2, 73, 104
_TYPE_FD, _TYPE_FD_64 = 100, 101
_FRAME_TYPES = _TYPES_MESSAGE | {_TYPE_ERROR, _TYPE_ERROR_EXT, _TYPE_FD_ERROR, _TYPE_FD, _TYPE_FD_64}
_REMOTE, _FD, _REMOTE_64, _FD_64 = 0x80, 0x1, 0x10, 0x1000
_UNIT_10_US = 1
_TIME_US_MAX = 10**17  # three thousand years


def is_frame(kind: int) -> bool:
    """Whether objects of this type are frames."""
    return kind in _FRAME_TYPES


def frame_of(data: bytes, start_us: int) -> LoggedFrame | None:
    """Return an object's frame, None when it is none.

    Args:
        data: The whole object.
        start_us: What its time counts from.

    Raises:
        LineError: A frame cannot be so.
        struct.error: The object is too short.
    """
    _, header_bytes, version, _, kind = BASE.unpack_from(data)
    if not is_frame(kind):
        return None
    if version not in _STAMP_BYTES:
        raise LineError(f"has a header of version {version}", LogFault.DAMAGED)
    unit, stamp = _STAMP.unpack_from(data, BASE.size)
    t_us = stamp * 10 if unit == _UNIT_10_US else (stamp + 500) // 1_000
    if t_us > _TIME_US_MAX:
        raise LineError("has an impossible time", LogFault.IMPOSSIBLE)
    return _frame(kind, data[BASE.size + _STAMP_BYTES[version] :], start_us + t_us, header_bytes)


def _frame(kind: int, body: bytes, t_us: int, header_bytes: int) -> LoggedFrame:
    """Return the frame of an object's bytes behind its header, which had `header_bytes`."""
    is_fd = False
    if kind in _TYPES_MESSAGE:
        channel, flags, dlc, identifier, data = _MESSAGE.unpack_from(body)
        is_remote = bool(flags & _REMOTE)
        data = data[: min(dlc, CLASSIC_BYTES)]
    elif kind == _TYPE_FD:
        channel, flags, _, identifier, fd_flags, valid = _FD_MESSAGE.unpack_from(body)
        is_remote, is_fd = bool(flags & _REMOTE), bool(fd_flags & _FD)
        data = _payload(body[_FD_MESSAGE.size :], valid)
    elif kind == _TYPE_FD_64:
        channel, _, valid, identifier, _, flags, _, _, extra_at, _ = _FD_MESSAGE_64.unpack_from(body)
        is_remote, is_fd = bool(flags & _REMOTE_64), bool(flags & _FD_64)
        stop = extra_at - header_bytes if extra_at else len(body)
        data = _payload(body[_FD_MESSAGE_64.size : max(0, stop)], valid)
    else:
        channel = (_ERROR_FD if kind == _TYPE_FD_ERROR else _ERROR).unpack_from(body)[0]
        identifier = _ERROR_ID.unpack_from(body)[0] if kind == _TYPE_ERROR_EXT else 0
        can_id = identifier & (ID_MAX_EXTENDED | EXTENDED)
        return LoggedFrame(_bus(channel), t_us, can_id, ERROR, b"")
    flag = (REMOTE if is_remote else 0) | (FD if is_fd else 0)
    number = identifier & ID_MAX_EXTENDED  # bits 29 and 30 say nothing
    is_extended = bool(identifier & EXTENDED) or number > ID_MAX_STANDARD
    payload = b"" if is_remote else data
    return logged(_bus(channel), t_us, number, payload, is_extended=is_extended, flags=flag)


def _payload(data: bytes, valid: int) -> bytes:
    """Return the valid bytes; less may be there than is said to be valid, the rest was zero."""
    if valid > FD_BYTES:
        raise LineError(f"has {valid} payload bytes", LogFault.IMPOSSIBLE)
    return data[:valid].ljust(valid, b"\0")


def _bus(channel: int) -> str:
    return f"can{max(1, channel) - 1}"
