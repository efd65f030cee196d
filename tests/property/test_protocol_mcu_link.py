"""Frames read back whatever is in them, no flipped bit passes, and a reader is in step after any noise."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.limits import MCU_BODY_BYTES_MAX
from protocol.mcu_link import BODY_BYTES_MAX, FRAME_BYTES_MAX, Decoder, encode_frame
from tests.builders.micropython import run_cpython, run_micropython

BODIES = st.binary(max_size=600) | st.integers(0, 800).map(lambda size: b"\x01" * size) | st.just(bytes(700))


@given(kind=st.integers(1, 255), body=BODIES)
def test_a_frame_reads_back_and_has_one_zero(kind: int, body: bytes) -> None:
    frame = encode_frame(kind, body)
    assert frame.count(b"\0") == 1
    assert frame.endswith(b"\0")
    assert Decoder().feed(frame) == [(kind, body)]


@given(bodies=st.lists(BODIES, min_size=1, max_size=4), cuts=st.lists(st.integers(1, 200), min_size=1))
@settings(max_examples=50)
def test_frames_torn_anywhere_read_the_same(bodies: list[bytes], cuts: list[int]) -> None:
    line = b"".join(encode_frame(7, body) for body in bodies)
    decoder, found, at, step = Decoder(), [], 0, 0
    while at < len(line):
        size = cuts[step % len(cuts)]
        found += decoder.feed(line[at : at + size])
        at, step = at + size, step + 1
    assert found == [(7, body) for body in bodies]
    assert decoder.garbled == 0


@given(body=st.binary(min_size=1, max_size=60), data=st.data())
def test_no_flipped_bit_passes_and_the_next_frame_reads(body: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(2, body))
    bit = data.draw(st.integers(0, 8 * (len(frame) - 1) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    decoder = Decoder()
    found = decoder.feed(bytes(frame) + encode_frame(3, b"next"))
    assert found == [(3, b"next")]
    assert decoder.garbled >= 1


@given(noise=st.binary(max_size=9_000))
@settings(max_examples=50)
def test_after_any_noise_a_zero_puts_the_reader_in_step(noise: bytes) -> None:
    decoder = Decoder()
    decoder.feed(noise + b"\0")
    assert decoder.feed(encode_frame(9, b"clear")) == [(9, b"clear")]


def test_the_longest_body_fits_a_frame_and_a_longer_one_is_refused() -> None:
    assert BODY_BYTES_MAX == MCU_BODY_BYTES_MAX
    for byte in (0, 1):
        frame = encode_frame(4, bytes([byte]) * BODY_BYTES_MAX)
        assert len(frame) <= FRAME_BYTES_MAX
        assert Decoder().feed(frame) == [(4, bytes([byte]) * BODY_BYTES_MAX)]
    with pytest.raises(ValueError, match="out of range"):
        encode_frame(4, bytes(BODY_BYTES_MAX + 1))
    with pytest.raises(ValueError, match="out of range"):
        encode_frame(0, b"")


def test_the_checksum_is_crc_32_little_endian_behind_kind_and_body() -> None:
    data = b"\x05abc"
    crc = zlib.crc32(data).to_bytes(4, "little")
    assert b"\0" not in crc
    assert encode_frame(5, b"abc") == bytes([9]) + data + crc + b"\0"


def test_micropython_writes_and_reads_the_same_frames() -> None:
    program = (
        "from protocol.mcu_link import Decoder, encode_frame\n"
        "body = bytes(range(256)) * 3 + bytes(300)\n"
        "frame = encode_frame(2, body)\n"
        "print(frame.hex(), Decoder().feed(b'x\\0' + frame) == [(2, body)])\n"
    )
    assert run_micropython(program) == run_cpython(program)
    assert run_micropython(program)[0].endswith("True")


def test_two_zeros_in_a_row_are_no_frame_and_no_mistake() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\0\0" + encode_frame(1, b"") + b"\0") == [(1, b"")]
    assert decoder.garbled == 0
