"""Deterministic CBOR for telemetry: one value has exactly one encoding, and only that one is read.

Rules: integers within 64 bits, floats, byte and text strings, booleans, null, arrays, and maps with integer
or text keys; no tags, no undefined, no other simple values. Shortest integers, lengths and floats; definite
lengths; map keys in bytewise order of their encodings (RFC 8949 §4.2.1). `decode` proves all of it at once:
what it read must encode again to the very bytes it was given. Readers above this layer tolerate unknown
integer keys.

cbor2 does the work, but its `canonical=True` still sorts keys by length first (RFC 7049 §3.9), so maps are
put in order here and cbor2 keeps the order given. Orders do not use this module: see `strict_cbor`.

Example:
    >>> encode({100: "b", -1: "a"}).hex()
    'a218646162206161'
    >>> decode(bytes.fromhex("a218646162206161"), max_bytes=100)
    {100: 'b', -1: 'a'}
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn, cast

import cbor2

from protocol.errors import ProtocolError, Reject
from protocol.limits import DEPTH_MAX

_INT_MIN, _INT_MAX = -(2**64), 2**64 - 1  # major types 0 and 1; beyond it CBOR needs a tag, which we refuse
_PLAIN = frozenset({type(None), bool, float, bytes, str})
_ARRAYS = frozenset({list, tuple})
_NO_ARRAYS = bytearray | memoryview | range  # sequences to Python, nothing to telemetry
_NEEDS_NO_LOOK = _PLAIN - {float} | {int}  # what was read of these types has one form only
_ENCODE_DEPTH_MAX = 64  # our own values are shallow; deeper is a cycle or a mistake


def encode(value: object) -> bytes:
    """Return the one deterministic encoding of a value.

    Args:
        value: int (-2⁶⁴ … 2⁶⁴-1), float, bytes, str, bool, None, a sequence or a mapping of them; enums by
            their value.

    Returns:
        The bytes of RFC 8949 §4.2.1 core deterministic encoding.

    Raises:
        TypeError: a type that telemetry does not have.
        ValueError: an integer beyond 64 bits, or more than 64 containers, one in another.
    """
    return _dumps(_ordered(value, _ENCODE_DEPTH_MAX))


def decode(data: bytes, *, max_bytes: int, max_depth: int = DEPTH_MAX) -> object:
    """Read one value, strictly.

    Args:
        data: the encoded item, nothing before or after it.
        max_bytes: longest input accepted, in bytes.
        max_depth: deepest nesting of arrays and maps accepted; 1 is a flat array.

    Returns:
        int, float, bytes, str, bool, None, list or dict, nested.

    Raises:
        ProtocolError: TOO_LARGE above `max_bytes`, TOO_DEEP above `max_depth`, BAD_ENCODING for all else:
            malformed, truncated, trailing bytes, tags, indefinite lengths, duplicate or unordered keys, a
            longer form than needed.

    Source: RFC 8949 §4.2.1 (deterministic encoding), §5.6 (duplicate keys).
    """
    if len(data) > max_bytes:
        raise ProtocolError(Reject.TOO_LARGE, f"{len(data)} B of CBOR, at most {max_bytes} B")
    try:
        value: object = cbor2.loads(
            data,
            max_depth=max_depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_NO_TAGS,
            tag_hook=_refuse_tag,
        )
    except cbor2.CBORDecodeError as error:
        code = Reject.TOO_DEEP if "nesting depth" in str(error) else Reject.BAD_ENCODING
        raise ProtocolError(code, str(error)) from error
    try:
        # cbor2 keeps the order it read, so with the order of keys proved the value is written as it stands;
        # without floats it needs no help, and is three times as fast.
        write = _dumps if _survey(value, max_depth) else cbor2.dumps
        is_same = write(value) == data
    except _TooDeepError as error:  # cbor2 does not count an innermost empty container, we do
        raise ProtocolError(Reject.TOO_DEEP, f"nested deeper than {max_depth}") from error
    except (TypeError, ValueError) as error:
        raise ProtocolError(Reject.BAD_ENCODING, str(error)) from error
    if not is_same:
        raise ProtocolError(Reject.BAD_ENCODING, "not the deterministic encoding of its value")
    return value


def encode_strings(items: Sequence[bytes | str]) -> bytes:
    """Return the encoding of a flat array of strings, in which nothing has to be put in order."""
    return cbor2.dumps(list(items))


def _dumps(ordered: object) -> bytes:
    return cbor2.dumps(ordered, encoders=_ENCODERS)


def _shortest_float(encoder: cbor2.CBOREncoder, value: object) -> None:
    """Write the shortest of half, single and double precision that keeps the value; every NaN is f97e00."""
    encoder.write(cbor2.dumps(value, canonical=True))


_ENCODERS: Mapping[type, Callable[[cbor2.CBOREncoder, object], None]] = {float: _shortest_float}


def _survey(value: object, depth: int) -> bool:
    """Check a value as cbor2 read it: only types telemetry has, keys in order, not too deep.

    Args:
        value: what was read; its maps are in the order of the wire.
        depth: how many more containers may be opened.

    Returns:
        Whether there is a float in it, for which cbor2's own form is not the shortest.

    Raises:
        TypeError: another type.
        ValueError: keys out of order, or too deep (`_TooDeepError`).
    """
    kind = type(value)
    if kind is float or kind in _NEEDS_NO_LOOK:
        return kind is float
    if kind is not list and kind is not dict:
        raise TypeError(f"no telemetry type: {kind.__name__}")
    if depth == 0:
        raise _TooDeepError
    has_float = False
    members: Iterable[object] = cast("list[object]", value)
    if kind is dict:
        pairs = cast("dict[object, object]", value)
        if list(pairs) != _ordered_keys(pairs):
            raise ValueError("map keys are out of order")
        members = pairs.values()
    for member in members:
        if type(member) not in _NEEDS_NO_LOOK:
            has_float |= _survey(member, depth - 1)
    return has_float


def _ordered(value: object, depth: int) -> object:
    """Copy a value with every map in bytewise key order, checking that it has only types telemetry has.

    Args:
        value: to be written, or as cbor2 read it.
        depth: how many more containers may be opened.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, str):
        return str(value)
    is_map = kind is dict or (kind not in _ARRAYS and isinstance(value, Mapping))
    is_array = kind in _ARRAYS or (isinstance(value, Sequence) and not isinstance(value, _NO_ARRAYS))
    if depth == 0 and (is_map or is_array):
        raise _TooDeepError
    if is_map:
        members = cast("Mapping[object, object]", value)
        return {key: _ordered(members[key], depth - 1) for key in _ordered_keys(members)}
    if is_array:
        return [
            item if type(item) in _PLAIN else _ordered(item, depth - 1)
            for item in cast("Sequence[object]", value)
        ]
    raise TypeError(f"no telemetry type: {kind.__name__}")


def _integer(value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise ValueError(f"integer beyond 64 bits: {value.bit_length()} bits")
    return int(value)


def _ordered_keys(members: Mapping[object, object]) -> list[int | str]:
    """Return a map's keys in bytewise order of their encodings."""
    if set(map(type, members)) == {int}:
        numbers = sorted(cast("Mapping[int, object]", members))
        if (
            numbers[0] >= 0 and numbers[-1] <= _INT_MAX
        ):  # our usual map; unsigned integers stand as they count
            return cast("list[int | str]", numbers)
    return sorted(map(_key, members), key=cbor2.dumps)


def _key(key: object) -> int | str:
    if type(key) is str:
        return key
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise TypeError(f"map keys are integers or text, not {type(key).__name__}")
    return str(key) if isinstance(key, str) else _integer(key)


class _TooDeepError(ValueError):
    """More containers than allowed, one in another."""


class _NoTags(Mapping[int, Callable[[object, bool], NoReturn]]):
    """Stands in for cbor2's table of tag decoders, so that no tag's content is ever interpreted."""

    def __getitem__(self, tag: int) -> Callable[[object, bool], NoReturn]:
        return _refuse_tag

    def __contains__(self, tag: object) -> bool:
        return True

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1


def _refuse_tag(_value: object, _immutable: bool = False) -> NoReturn:  # noqa: FBT001, FBT002  (cbor2 calls it so)
    raise cbor2.CBORDecodeError("tags are not part of telemetry")


_NO_TAGS = _NoTags()
