"""The telemetry codec: bytewise key order, limits, and nothing that telemetry does not have."""

import math
import struct
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

import cbor2
import pytest

from protocol import codec
from protocol.errors import ProtocolError, Reject


def refuse(hex_text: str, *, max_bytes: int = 1_000, max_depth: int = 8) -> Reject:
    with pytest.raises(ProtocolError) as refused:
        codec.decode(bytes.fromhex(hex_text), max_bytes=max_bytes, max_depth=max_depth)
    return refused.value.code


def test_keys_are_ordered_by_their_bytes_and_not_by_length_first() -> None:
    value = {"aa": 1, "z": 2, 100: 3, -1: 4, 10: 5}
    assert codec.encode(value).hex() == "a50a05186403" + "2004" + "617a02" + "6261610 1".replace(" ", "")
    assert cbor2.dumps(value, canonical=True) != codec.encode(value), (
        "cbor2 orders by RFC 7049, so we order ourselves"
    )


def test_length_first_order_is_refused() -> None:
    assert refuse("a2200418 6403".replace(" ", "")) is Reject.BAD_ENCODING
    assert codec.decode(bytes.fromhex("a21864032004"), max_bytes=100) == {100: 3, -1: 4}


def test_floats_take_the_shortest_form_that_keeps_them() -> None:
    for value, hex_text in (
        (1.5, "f93e00"),
        (100000.0, "fa47c35000"),
        (0.1, "fb3fb999999999999a"),
        (-0.0, "f98000"),
        (5e-324, "fb0000000000000001"),
        (math.inf, "f97c00"),
        (math.nan, "f97e00"),
    ):
        assert codec.encode(value).hex() == hex_text


def test_a_nan_with_a_payload_is_written_as_the_one_nan_and_refused_when_read() -> None:
    odd = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]
    assert codec.encode(odd).hex() == "f97e00"
    assert refuse("fb7ff8000000000001") is Reject.BAD_ENCODING


def test_the_whole_range_of_64_bits_is_there_and_nothing_beyond() -> None:
    for value in (2**64 - 1, -(2**64)):
        assert codec.decode(codec.encode(value), max_bytes=9) == value
    for value in (2**64, -(2**64) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            codec.encode(value)
        with pytest.raises(ValueError, match="64 bits"):
            codec.encode({value: 0})


def test_enums_are_written_by_their_value() -> None:
    class Colour(IntEnum):
        RED = 7

    class Word(StrEnum):
        HELLO = "hi"

    assert codec.encode({Colour.RED: [Colour.RED, Word.HELLO]}).hex() == "a10782076268 69".replace(" ", "")


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        {1, 2},
        1j,
        object(),
        cbor2.undefined,
        cbor2.CBORTag(1, 0),
        bytearray(b"x"),
        memoryview(b"x"),
        range(3),
    ],
)
def test_types_that_telemetry_does_not_have_are_not_written(value: object) -> None:
    with pytest.raises(TypeError):
        codec.encode(value)


@pytest.mark.parametrize("key", [None, True, 1.5, b"x", (1,)])
def test_map_keys_are_integers_or_text(key: object) -> None:
    with pytest.raises(TypeError):
        codec.encode({key: 0})


@pytest.mark.parametrize(
    "hex_text", ["a1f500", "a1f600", "a1f93e0000", "a1400 0".replace(" ", ""), "a18000", "a1a000", "a1c00000"]
)
def test_maps_with_other_keys_are_refused(hex_text: str) -> None:
    assert refuse(hex_text) is Reject.BAD_ENCODING


@pytest.mark.parametrize(
    "tag", [0, 1, 2, 3, 4, 5, 18, 24, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 55799, 2**40]
)
def test_no_tag_is_ever_interpreted(tag: int) -> None:
    for inner in (b"\x00", b"\x60", b"\x40", b"\x80", b"\x82\x1b\x00\x00\x00\xff\xff\xff\xff\xff\x01"):
        head = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
        assert refuse((head + inner).hex()) is Reject.BAD_ENCODING


def test_one_level_too_deep_is_refused_by_name() -> None:
    assert codec.decode(b"\x81" * 8 + b"\x00", max_bytes=100) == [[[[[[[[0]]]]]]]]
    assert refuse("81" * 9 + "00") is Reject.TOO_DEEP
    assert refuse("a100" * 9 + "00") is Reject.TOO_DEEP
    assert refuse("81" * 200_000 + "00", max_bytes=1_000_000) is Reject.TOO_DEEP
    assert refuse("8180", max_depth=1) is Reject.TOO_DEEP


def test_one_byte_too_long_is_refused_before_it_is_read() -> None:
    assert codec.decode(b"\x43abc", max_bytes=4) == b"abc"
    assert refuse("43616263", max_bytes=3) is Reject.TOO_LARGE
    assert refuse("ff" * 4, max_bytes=3) is Reject.TOO_LARGE


@pytest.mark.parametrize(
    "hex_text", ["5bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff", "9a7fffffff"]
)
def test_a_length_that_promises_more_than_there_is_allocates_nothing(hex_text: str) -> None:
    assert refuse(hex_text) is Reject.BAD_ENCODING


@pytest.mark.parametrize(
    "hex_text",
    [
        "",
        "00 00",
        "1800",
        "5800",
        "9800",
        "b800",
        "a201000100",
        "a202000100",
        "61ff",
        "5f4101ff",
        "9fff",
        "f7",
        "e0",
        "f8ff",
        "fb3ff8000000000000",
        "fa3fc00000",
        "810100",
        "81f7",
        "81e0",
        "81fb3ff8000000000000",
        "a101fa3fc00000",
        "82a0fb3ff8000000000000",
        "811800",
        "a1011800",
        "a10161ff",
        "81a202000100",
        "a201a2020001000200",
        "a2616200616100",
        "a2200001 00",
    ],
)
def test_anything_but_the_one_encoding_is_refused(hex_text: str) -> None:
    assert refuse(hex_text.replace(" ", "")) is Reject.BAD_ENCODING


def test_an_array_of_strings_has_the_same_encoding_by_the_short_way() -> None:
    for items in ([], [b""], ["Signature1", b"\xa0" * 300, b"", "é"]):
        assert codec.encode_strings(items) == codec.encode(items)


@pytest.mark.parametrize("position", range(4))
def test_a_float_is_proved_shortest_wherever_it_stands(position: int) -> None:
    """Floats are written another way than all else, so that way must be taken for any float inside."""
    values: list[object] = [1, b"x", {}, None]
    values[position] = {7: [2.5]}
    data = codec.encode(values)
    assert codec.decode(data, max_bytes=100) == values
    longer = data.replace(bytes.fromhex("f94100"), bytes.fromhex("fa40200000"))
    assert longer != data
    assert refuse(longer.hex()) is Reject.BAD_ENCODING
