"""Numbers in the records of an MF4 file: bits of a record, and what they mean.

Rules:
- A field has up to 64 bits within eight bytes; integers, unsigned or signed, of both byte orders, and floats.
- Of the conversions those that bus logging uses are known: none, linear, and a table of values with or
  without interpolation (a data length code to bytes). Other ones between numbers are refused, for raw numbers
  would pass as true ones; those to text leave the number as it is. A field of no bits is a constant: its
  conversion of zero.

Example:
    >>> Field(byte=1, bit=4, bits=4).integers(np.array([[0, 0x5F]], np.uint8)).tolist()
    [5]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD_BYTES = 8
_LINEAR, _TABLE_INTERPOLATED, _TABLE = 1, 4, 5
_UNREAD = {2: "rational", 3: "a formula", 6: "ranges to values"}
_FLOAT_BITS = (32, 64)
_BIG_ENDIAN = frozenset({1, 3, 5})
_SIGNED = frozenset({2, 3})
_FLOAT_TYPES = frozenset({4, 5})


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a raw number means: `offset + factor * raw`, or what a table has for it.

    Attributes:
        offset: Added, when there is no table.
        factor: Of the raw number, when there is no table.
        keys: Raw numbers of a table, ascending; none without one.
        values: What they mean.
        is_interpolated: Between two keys a straight line holds, else the value of the largest key not above.
    """

    offset: float = 0.0
    factor: float = 1.0
    keys: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    is_interpolated: bool = False

    def of(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the meaning of raw numbers."""
        if self.is_interpolated:
            return np.interp(raw, self.keys, self.values)
        if self.keys:
            place = np.searchsorted(np.array(self.keys), raw, side="right") - 1
            result: NDArray[np.float64] = np.array(self.values).take(place.clip(0))
            return result
        with np.errstate(invalid="ignore", over="ignore"):
            return self.offset + self.factor * raw


def conversion_of(kind: int, values: tuple[float, ...]) -> Conversion | None:
    """Return a conversion block's meaning, None for one that leaves numbers as they are.

    Args:
        kind: As the block numbers it.
        values: The block's, in its order.

    Raises:
        ValueError: It is between numbers and not known, or has too few values.
    """
    if kind in _UNREAD:
        raise ValueError(f"conversion of kind {kind} ({_UNREAD[kind]})")
    if kind not in {_LINEAR, _TABLE, _TABLE_INTERPOLATED}:
        return None
    if len(values) < 2:  # noqa: PLR2004 (offset and factor, or a pair)
        raise ValueError(f"conversion of kind {kind} with {len(values)} values")
    if kind == _LINEAR:
        return Conversion(offset=values[0], factor=values[1])
    pairs = sorted(zip(values[::2], values[1::2], strict=False))
    return Conversion(
        keys=tuple(key for key, _ in pairs),
        values=tuple(value for _, value in pairs),
        is_interpolated=kind == _TABLE_INTERPOLATED,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One number of a record.

    Attributes:
        byte: First byte.
        bit: First bit in it, counted from the lowest.
        bits: 1…64; 0 for a constant.
        is_big_endian: Byte order.
        is_signed: Two's complement.
        is_float: 32 or 64 bits of IEEE 754.
        conversion: What the number means, None for itself.
    """

    byte: int
    bit: int
    bits: int
    is_big_endian: bool = False
    is_signed: bool = False
    is_float: bool = False
    conversion: Conversion | None = None

    @classmethod
    def of(cls, *, data_type: int, byte: int, bit: int, bits: int, conversion: Conversion | None) -> Self:
        """Make a field from MDF's data type: 0, 1 unsigned, 2, 3 signed, 4, 5 float; odd ones big-endian."""
        return cls(
            byte=byte,
            bit=bit,
            bits=bits,
            is_big_endian=data_type in _BIG_ENDIAN,
            is_signed=data_type in _SIGNED,
            is_float=data_type in _FLOAT_TYPES and bits in _FLOAT_BITS,
            conversion=conversion,
        )

    def raw(self, records: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Return the bits of each record as an unsigned number; what lies beyond eight bytes is cut off."""
        count = min(_WORD_BYTES, (self.bit + self.bits + 7) // 8)
        part = records[:, self.byte : self.byte + count]
        word = np.zeros((len(records), _WORD_BYTES), np.uint8)
        word[:, :count] = part[:, ::-1] if self.is_big_endian else part
        mask = np.uint64((1 << self.bits) - 1)
        bits: NDArray[np.uint64] = (word.view("<u8")[:, 0] >> np.uint64(self.bit)) & mask
        return bits

    def numbers(self, records: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the value of each record."""
        raw = self.raw(records)
        if self.is_float:
            is_single = self.bits == _FLOAT_BITS[0]
            with np.errstate(invalid="ignore"):  # a float that is no number is one of the file's
                numbers = (
                    raw.astype("<u4").view("<f4").astype(np.float64) if is_single else raw.view("<f8").copy()
                )
        elif self.is_signed:
            shift = np.uint64(64 - self.bits)
            numbers = ((raw << shift).view(np.int64) >> shift.astype(np.int64)).astype(np.float64)
        else:
            numbers = raw.astype(np.float64)
        return numbers if self.conversion is None else self.conversion.of(numbers)

    def integers(self, records: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the value of each record as an integer; what is none is -1."""
        if self.conversion is None and not self.is_float and not self.is_signed:
            return self.raw(records).view(np.int64)
        with np.errstate(invalid="ignore", over="ignore"):
            numbers = self.numbers(records)
            is_good = np.isfinite(numbers) & (np.abs(numbers) < 2.0**53)
            result: NDArray[np.int64] = np.where(is_good, np.round(numbers), -1).astype(np.int64)
        return result
