"""Typed reading of what the codec decoded: a wrong type or range is one `ProtocolError` that names the field.

Rules: maps have integer keys and unknown keys are ignored; arrays may be longer than this reader knows and
the rest is ignored, so forms grow only at the end. A number that an enum does not know is kept as a plain
int. Booleans are never integers here.

This module knows no message; each message's module says which fields it has.

Example:
    >>> fields = Fields({1: 7, 2: None, 99: "from the future"}, "example")
    >>> fields.integer(1, least=1, most=10), fields.integer_or_none(2, least=0, most=1)
    (7, None)
"""

import math
from collections.abc import Mapping
from enum import IntEnum
from typing import NoReturn, TypeVar

from protocol import codec
from protocol.errors import ProtocolError, Reject
from protocol.limits import COUNT_MAX, TEXT_BYTES_MAX

_E = TypeVar("_E", bound=IntEnum)


def bad_field(what: str, expected: str) -> NoReturn:
    """Refuse a field.

    Raises:
        ProtocolError: BAD_FIELD, always.
    """
    raise ProtocolError(Reject.BAD_FIELD, f"{what}: expected {expected}")


def integer(value: object, what: str, *, least: int, most: int) -> int:
    """Return an integer of least … most, both included; a bool is not one."""
    if type(value) is not int or not least <= value <= most:
        bad_field(what, f"an integer of {least} … {most}")
    return value


def number(value: object, what: str) -> int | float:
    """Return an integer or a finite float, each as it was written."""
    if type(value) is int:
        return value
    if type(value) is not float or not math.isfinite(value):
        bad_field(what, "a finite number")
    return value


def octets(value: object, what: str, *, size: int) -> bytes:
    """Return a byte string of exactly `size` bytes."""
    if type(value) is not bytes or len(value) != size:
        bad_field(what, f"{size} bytes")
    return value


def text(value: object, what: str) -> str:
    """Return a text of at most TEXT_BYTES_MAX bytes of UTF-8."""
    if type(value) is not str or len(value.encode()) > TEXT_BYTES_MAX:
        bad_field(what, f"text of at most {TEXT_BYTES_MAX} bytes")
    return value


def array(value: object, what: str, *, least: int = 0, most: int) -> list[object]:
    """Return an array of least … most items."""
    if type(value) is not list or not least <= len(value) <= most:
        bad_field(what, f"an array of {least} … {most} items")
    return value


def record(value: object, what: str, *, size: int) -> list[object]:
    """Return the first `size` items of an array; what a newer writer adds after them is left out."""
    if type(value) is not list or len(value) < size:
        bad_field(what, f"an array of {size} items")
    return value[:size]


def mapping(value: object, what: str, *, most: int) -> Mapping[object, object]:
    """Return a map of at most `most` members."""
    if type(value) is not dict or len(value) > most:
        bad_field(what, f"a map of at most {most} members")
    return value


def known(kind: type[_E], value: int) -> _E | int:
    """Return the enum's member for a wire value, or the plain int when this reader does not know it."""
    try:
        return kind(value)
    except ValueError:
        return value


def versioned(data: bytes, what: str, *, version: int, max_bytes: int) -> "Fields":
    """Decode a message whose key 1 is its version.

    Raises:
        ProtocolError: TOO_LARGE, TOO_DEEP or BAD_ENCODING by the codec; BAD_FIELD when it is not a map or key
            1 not an integer; UNSUPPORTED_VERSION for any version but `version`.
    """
    fields = Fields(codec.decode(data, max_bytes=max_bytes), what)
    found = fields.integer(1, least=0, most=COUNT_MAX)
    if found != version:
        raise ProtocolError(Reject.UNSUPPORTED_VERSION, f"{what} of version {found}, not {version}")
    return fields


class Fields:
    """One decoded map with integer keys, read by key; what nobody asks for is ignored."""

    __slots__ = ("_members", "_what")

    def __init__(self, value: object, what: str) -> None:
        if type(value) is not dict:
            bad_field(what, "a map")
        self._members: dict[object, object] = value
        self._what = what

    def label(self, key: int) -> str:
        """Return the name of a field as errors show it."""
        return f"{self._what}[{key}]"

    def has(self, key: int) -> bool:
        """Return whether a member is there: for keys that older writers do not know."""
        return key in self._members

    def get(self, key: int) -> object:
        """Return a member that must be there, of any type."""
        if key not in self._members:
            bad_field(self.label(key), "to be present")
        return self._members[key]

    def integer(self, key: int, *, least: int, most: int) -> int:
        """Return an integer of least … most."""
        value = self._members.get(key)
        if type(value) is int and least <= value <= most:
            return value  # what nearly always is; a field's name is made up only to refuse it
        return integer(self.get(key), self.label(key), least=least, most=most)

    def integer_or_none(self, key: int, *, least: int, most: int) -> int | None:
        """Return an integer of least … most, or None for null."""
        value = self.get(key)
        return None if value is None else integer(value, self.label(key), least=least, most=most)

    def octets(self, key: int, *, size: int) -> bytes:
        """Return a byte string of exactly `size` bytes."""
        value = self._members.get(key)
        if type(value) is bytes and len(value) == size:
            return value
        return octets(self.get(key), self.label(key), size=size)

    def octets_or_none(self, key: int, *, size: int) -> bytes | None:
        """Return a byte string of exactly `size` bytes, or None for null."""
        return None if self.get(key) is None else self.octets(key, size=size)

    def text(self, key: int) -> str:
        """Return a text."""
        return text(self.get(key), self.label(key))

    def text_or_none(self, key: int) -> str | None:
        """Return a text, or None for null."""
        value = self.get(key)
        return None if value is None else text(value, self.label(key))

    def array(self, key: int, *, most: int) -> list[object]:
        """Return an array of at most `most` items."""
        return array(self.get(key), self.label(key), most=most)

    def record(self, key: int, *, size: int) -> list[object]:
        """Return the first `size` items of an array."""
        return record(self.get(key), self.label(key), size=size)

    def record_or_none(self, key: int, *, size: int) -> list[object] | None:
        """Return the first `size` items of an array, or None for null."""
        value = self.get(key)
        return None if value is None else record(value, self.label(key), size=size)

    def mapping(self, key: int, *, most: int) -> Mapping[object, object]:
        """Return a map of at most `most` members."""
        return mapping(self.get(key), self.label(key), most=most)
