"""Many batches at once give what each gives alone; bytes that changed end in an error, not in values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.bulk_decoding import decode_columns, frames_of
from protocol import codec
from protocol.errors import ProtocolError
from protocol.limits import SIGNALS_BYTES_MAX
from protocol.signals import GroupRows, decode_signals, encode_signals

COLUMNS = 3
word = st.one_of(st.integers(-3, 300), st.integers(-(2**63), 2**63 - 1), st.just(7))
rows_of_a_batch = st.lists(st.lists(word, min_size=COLUMNS + 1, max_size=COLUMNS + 1), max_size=12)


def section(rows: list[list[int]], *, gid: int = 5) -> bytes:
    matrix = np.array(rows, dtype=np.int64).reshape(len(rows), COLUMNS + 1).T
    other = GroupRows(gid=9, t_us=np.array([1]), raw=np.array([[1]]))
    return encode_signals([other, GroupRows(gid=gid, t_us=matrix[0].copy(), raw=matrix[1:].copy())])


@given(st.lists(rows_of_a_batch, min_size=1, max_size=6), st.sets(st.integers(0, COLUMNS - 1)))
def test_columns_of_many_batches_are_those_of_each(batches: list[list[list[int]]], some: set[int]) -> None:
    wanted = sorted(some)
    sections = [section(rows) for rows in batches]
    frames = [frame for data in sections for frame in frames_of(data, only={5})]
    alone = [group for data in sections for group in decode_signals(data, only={5})]
    if not frames:
        assert all(group.t_us.size == 0 for group in alone)
        return
    found = decode_columns(frames, wanted=wanted, columns=COLUMNS)
    assert found.t_us.tolist() == np.concatenate([group.t_us for group in alone]).tolist()
    assert found.raw.tolist() == np.concatenate([group.raw[wanted] for group in alone], axis=1).tolist()


def test_frames_of_groups_that_are_not_wanted_are_not_touched() -> None:
    data = section([[1, 2, 3, 4]])
    assert [frame.gid for frame in frames_of(data, only={5})] == [5]
    assert [frame.gid for frame in frames_of(data, only=None)] == [9, 5]


def sane(rows: int = 40) -> list[list[int]]:
    return [[at * 10, at % 7, at * at, 1] for at in range(rows)]


@pytest.mark.parametrize("place", range(0, 120, 3))
def test_a_byte_that_changed_gives_an_error_or_the_same_shape_and_breaks_nothing(place: int) -> None:
    data = bytearray(section(sane()))
    data[place % len(data)] ^= 0x55
    try:
        frames = list(frames_of(bytes(data), only={5}))
        found = decode_columns(frames, wanted=[0], columns=COLUMNS) if frames else None
    except ProtocolError:
        return
    assert found is None or found.raw.shape == (1, found.t_us.size)


@pytest.mark.parametrize(
    "content",
    [
        7,
        [[], None],
        [[[5, 1.5, 1, 3]], b"abc"],
        [[[5, 1, 1, -3]], b"abc"],
        [[[1, 1, 1]], b""],
        [[[5, 2, 1, 3]], b"abc"],
        [[[5, 1, 1, 3]], "text"],
        [[[5, 2**40, 3, 1]], b"x"],
        [[["5", 1, 3, 1]], None],
    ],
)
def test_what_is_no_signals_section_is_refused(content: Any) -> None:
    data = codec.encode(content)
    with pytest.raises(ProtocolError):
        decode_columns(list(frames_of(data, only=None)), wanted=[0], columns=1)


def test_a_frame_of_another_shape_than_announced_is_refused() -> None:
    frames = list(frames_of(section(sane()), only={5}))
    with pytest.raises(ProtocolError, match="not the columns"):
        decode_columns(frames, wanted=[0], columns=COLUMNS + 1)


def test_more_rows_than_any_batch_may_have_are_refused_before_anything_is_decompressed() -> None:
    data = codec.encode([[[5, SIGNALS_BYTES_MAX, 3, 1]], b"x"])
    with pytest.raises(ProtocolError, match="rows of 3 columns"):
        list(frames_of(data, only=None))
