"""The dictionary: what the columns of `signals` mean, and their physical values exactly as cantools has them.

Rules: a group is one message or one multiplexer branch of it on one bus; its definition rides the same chain
before its first use (section `facts`). physical = raw * scale + offset, multiply first, then add. Whole
numbers stay integers when scale and offset are both whole; a float enters only where the DBC's factor is one.
The raw column is never changed.

This module does not cut bits from frames and converts no units.

Example:
    >>> column = ColumnDef(
    ...     signal="Speed", path=None, raw_type=RawType.UINT, bits=16, scale=0.5, offset=1, unit="km/h"
    ... )
    >>> physical(column, np.array([3, 4])).tolist()
    [2.5, 3.0]

Source: cantools 45 `database/conversion.py` (order and types of operations), IEEE 754-2019 (one rounding
each).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.errors import ProtocolError, Reject

GID_MAX = 2**31 - 1
"""Highest group id; ids are small numbers counted by the writer within a chain."""

CAN_ID_EXTENDED = 1 << 31
"""Bit 31 of `can_id`: a 29-bit extended identifier, which is another key than the 11-bit one of the same
value."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class RawType(IntEnum):
    """How the bits of a column are to be read; wire values."""

    UINT = 0
    INT = 1
    FLOAT32 = 2
    FLOAT64 = 3
    FLOAT16 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDef:
    """What one column means.

    Attributes:
        signal: name in the DBC.
        path: catalogue (VSS) path, or None when the signal is not mapped.
        raw_type: a RawType, or an int this reader does not know.
        bits: width on the bus, 1 … 64.
        scale: physical = raw * scale + offset; finite.
        offset: see `scale`.
        unit: of the physical value, or None.
    """

    signal: str
    path: str | None
    raw_type: int
    bits: int
    scale: int | float
    offset: int | float
    unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDef:
    """One entry of the dictionary.

    Attributes:
        gid: number of the group within its chain, 0 … GID_MAX.
        bus: name of the bus it was received on.
        can_id: arbitration id; bit 31 set for a 29-bit one.
        message: name in the DBC.
        branch: multiplexer branch such as "mux=3", nested ones joined by "/"; None for signals of every
            frame.
        dbc_hash: SHA-256 of the DBC or decode table, 32 bytes.
        columns: one per row of `GroupRows.raw`, in order.
    """

    gid: int
    bus: str
    can_id: int
    message: str
    branch: str | None
    dbc_hash: bytes
    columns: tuple[ColumnDef, ...]


def physical(column: ColumnDef, raw: NDArray[np.int64]) -> NDArray[Any]:
    """Return the physical values of a column.

    Args:
        column: its definition.
        raw: int64, any shape: sign-extended integers, or bit patterns for unsigned and float columns.

    Returns:
        The same shape. Float columns, and columns whose scale or offset is not a whole number: float64. All
        others: int64, or uint64 where a value needs it, or Python integers (dtype object) where even that is
        too small.
    """
    raw = np.ascontiguousarray(raw)
    match column.raw_type:
        case RawType.FLOAT32:
            pattern = raw.view(np.uint64).astype(np.uint32)  # the lower half
            with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one, as in Python
                values = pattern.view(np.float32).astype(np.float64)
            return _linear_float(values, column.scale, column.offset)
        case RawType.FLOAT16:
            return _linear_float(_halves(raw), column.scale, column.offset)
        case RawType.FLOAT64:
            return _linear_float(raw.view(np.float64), column.scale, column.offset)
        case RawType.UINT:
            integers: NDArray[Any] = raw.view(np.uint64)
        case RawType.INT:
            integers = raw
        case _:
            raise ProtocolError(Reject.BAD_FIELD, f"{column.signal}: raw type {column.raw_type} is unknown")
    scale, offset = column.scale, column.offset
    if (
        float(scale).is_integer() and float(offset).is_integer()
    ):  # cantools takes 2.0 for 2 here, and only here
        return _linear_int(integers, int(scale), int(offset))
    if isinstance(scale, int):
        return np.asarray(_linear_int(integers, scale, 0).astype(np.float64) + float(offset))
    return _scaled(integers.astype(np.float64), scale, offset)


def _halves(raw: NDArray[np.int64]) -> NDArray[np.float64]:
    pattern = raw.view(np.uint64).astype(np.uint16)  # the lower quarter
    with np.errstate(invalid="ignore"):
        return pattern.view(np.float16).astype(np.float64)


def _linear_float(values: NDArray[np.float64], scale: float, offset: float) -> NDArray[np.float64]:
    return values if (scale, offset) == (1, 0) else _scaled(values, scale, offset)


def _scaled(values: NDArray[np.float64], scale: float, offset: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite or NaN reading stays one, as in Python
        return values * float(scale) + float(offset)


def _linear_int(integers: NDArray[Any], scale: int, offset: int) -> NDArray[Any]:
    """Return integers * scale + offset without wraparound: int64, or uint64, or Python integers."""
    if integers.size == 0:
        return integers.astype(np.int64)
    least, most = int(integers.min()), int(integers.max())
    products = (least * scale, most * scale)
    steps = (least, most, scale, offset, *products, *(product + offset for product in products))
    if min(steps) >= _INT64_MIN and max(steps) <= _INT64_MAX:
        return integers.astype(np.int64) * scale + offset
    if (scale, offset) == (1, 0):
        return integers  # already uint64, the only way to be beyond int64 here
    return np.asarray(integers.astype(object) * scale + offset)
