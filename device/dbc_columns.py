"""One signal of cantools' database as a column of the table, or why it cannot be one.

Rules:
- A place is kept in one form (`Column.start`); scale and offset are integers exactly where cantools computes
  with integers.
- A branch is named by its selector values; very long lists are shortened with a digest and stay unique.

Example:
    >>> ranges_of([5, 7, 6, 9])
    ((5, 7), (9, 9))
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from device.acquisition.lot import FD_BYTES
from device.acquisition.table import COLUMN_BITS_MAX, Column
from device.dbc_findings import shown
from protocol.limits import TEXT_BYTES_MAX
from protocol.signals import RawType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cantools.database.can import Signal as DbcSignal

    from device.acquisition.table import Ranges

_FLOATS = {16: RawType.FLOAT16, 32: RawType.FLOAT32, 64: RawType.FLOAT64}

_FACTOR_MAX = 2**63  # what an integer column of the dictionary can say

# Text that names a branch may be as long as any text; longer lists of ranges are shortened with a digest.
_BRANCH_CHARS_MAX = TEXT_BYTES_MAX // 4


def obstacle_to(signal: DbcSignal, length: int) -> str | None:
    """Return why a signal cannot be decoded, None when it can."""
    if len(signal.name.encode()) > TEXT_BYTES_MAX:
        return f"has a name above {TEXT_BYTES_MAX} bytes"
    if signal.conversion.is_float and signal.length not in _FLOATS:
        return f"is a float of {signal.length} bits, not 16, 32 or 64"
    if not 1 <= signal.length <= COLUMN_BITS_MAX:
        return f"has {signal.length} bits, not 1 to {COLUMN_BITS_MAX}"
    start = _start(signal)
    if start < 0 or start + signal.length > 8 * length:
        return f"does not fit into {length} bytes"
    if not all(abs(number) < _FACTOR_MAX for number in (signal.conversion.scale, signal.conversion.offset)):
        return "has a scale or offset that is not a number or beyond 64 bits"
    return None


def _start(signal: DbcSignal) -> int:
    """Return the start bit in the table's form (see `Column.start`)."""
    start: int = signal.start
    return 8 * (start // 8) + 7 - start % 8 if signal.byte_order == "big_endian" else start


def _factors(signal: DbcSignal) -> tuple[int | float, int | float]:
    """Return scale and offset, as integers exactly where cantools computes with integers."""
    scale, offset = signal.conversion.scale, signal.conversion.offset
    if scale == 1 and offset == 0:
        return 1, 0
    if not signal.conversion.is_float and float(scale).is_integer() and float(offset).is_integer():
        return int(scale), int(offset)
    return scale, offset


def column_of(signal: DbcSignal) -> Column:
    """Return a signal that has no obstacle as a column."""
    scale, offset = _factors(signal)
    if signal.conversion.is_float:
        raw_type = _FLOATS[signal.length]
    else:
        raw_type = RawType.INT if signal.is_signed else RawType.UINT
    unit = shown(signal.unit or "").encode()[:TEXT_BYTES_MAX].decode(errors="ignore")
    return Column(
        signal=signal.name,
        raw_type=raw_type,
        bits=signal.length,
        start=_start(signal),
        is_big_endian=signal.byte_order == "big_endian",
        scale=scale,
        offset=offset,
        unit=unit or None,
    )


def ranges_of(values: Iterable[int]) -> Ranges:
    """Return sorted inclusive ranges that hold exactly the values."""
    ranges: list[tuple[int, int]] = []
    for value in sorted(set(values)):
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return tuple(ranges)


def branch_label(selector: str, ids: Ranges, outer: str | None) -> str:
    """Return the name of a branch: `mux=3`, `mux=0-2,7`, nested `outer=1/inner=4`."""
    values = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ids)
    if len(values) > _BRANCH_CHARS_MAX:
        digest = hashlib.sha256(values.encode()).hexdigest()[:8]
        values = f"{values[: _BRANCH_CHARS_MAX - 9].rpartition(',')[0]},…{digest}"
    label = f"{selector}={values}"
    return label if outer is None else f"{outer}/{label}"


def bits_of(column: Column) -> int:
    """Return the bits of the payload that a column takes, as a mask, byte by byte from the lowest."""
    mask = (1 << column.bits) - 1
    if not column.is_big_endian:
        return mask << column.start
    first = 8 * FD_BYTES - column.start - column.bits
    return int.from_bytes((mask << first).to_bytes(FD_BYTES, "big"), "little")


def are_apart(one: DbcSignal, other: DbcSignal) -> bool:
    """Say whether two signals of one name are never there in the same frame."""
    if one.multiplexer_signal is None or one.multiplexer_signal != other.multiplexer_signal:
        return False
    return not set(one.multiplexer_ids or ()) & set(other.multiplexer_ids or ())
