"""Sections: exact at the edges, bounded before they allocate, and open to what newer writers add."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard

from protocol import codec
from protocol.compression import compress, decompress
from protocol.errors import ProtocolError, Reject
from protocol.facts import Event, Facts, decode_facts, encode_facts
from protocol.fixes import Fix, Precision, decode_fixes, encode_fixes
from protocol.frames import RawFrames, decode_frames, encode_frames
from protocol.limits import (
    EVENTS_MAX,
    FACTS_BYTES_MAX,
    FIXES_MAX,
    PAYLOAD_BYTES_MAX,
    SIGNALS_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from protocol.planes import decode_planes, encode_planes
from protocol.signals import GroupDef, GroupRows, decode_signals, encode_signals
from protocol.window import Window, decode_windows, encode_windows
from tests.builders.protocol import INT64_MAX, INT64_MIN, a_column


def rows(gid: int = 0, *, columns: int = 1, count: int = 3) -> GroupRows:
    return GroupRows(
        gid=gid, t_us=np.arange(count, dtype=np.int64), raw=np.full((columns, count), gid, dtype=np.int64)
    )


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 0), dtype=np.int64),
        np.zeros((0, 0), dtype=np.int64),
        np.array([[INT64_MIN]]),
        np.array([[INT64_MAX, INT64_MIN, INT64_MAX, 0, -1]]),
        np.array([[0, 0, 0], [0, 1, -1], [0, 127, -128]]),
        np.array([2**64 - 1, 0, 2**63], dtype=np.uint64).view(np.int64)[None, :],
        np.array([np.nan, -0.0, np.inf, 5e-324]).view(np.int64)[None, :],
    ],
    ids=["no rows", "nothing", "one cell", "wraparound", "widths", "uint64", "floats"],
)
def test_planes_are_exact_at_the_edges(matrix: np.ndarray) -> None:
    columns, count = matrix.shape
    assert np.array_equal(decode_planes(encode_planes(matrix), columns=columns, rows=count), matrix)


def test_a_constant_column_costs_its_head_only() -> None:
    assert len(encode_planes(np.full((1, 1_000), 7, dtype=np.int64))) == 9


def test_planes_have_one_form_only() -> None:
    good = encode_planes(np.array([[0, 1, 2]]))
    wider = bytes([2]) + good[1:] + b"\x00\x00"
    for block in (wider, bytes([9]) + good[1:], good[:-1], good + b"\x00", b""):
        with pytest.raises(ProtocolError) as refused:
            decode_planes(block, columns=1, rows=3)
        assert refused.value.code is Reject.BAD_ENCODING
    with pytest.raises(ProtocolError):
        decode_planes(b"\x00", columns=1, rows=0)


def test_a_transposed_or_strided_matrix_is_written_like_any_other() -> None:
    matrix = np.arange(24, dtype=np.int64).reshape(4, 6)
    for view in (matrix.T, matrix[:, ::2], np.asfortranarray(matrix)):
        again = decode_planes(encode_planes(view), columns=view.shape[0], rows=view.shape[1])
        assert np.array_equal(again, view)


def test_asking_for_one_group_decompresses_no_other() -> None:
    table, body = codec.decode(encode_signals([rows(1), rows(2), rows(3)]), max_bytes=PAYLOAD_BYTES_MAX)  # type: ignore[misc]
    sizes = [size for _, _, _, size in table]
    damaged = bytes(sizes[0]) + body[sizes[0] : sizes[0] + sizes[1]] + bytes(sizes[2])
    data = codec.encode([table, damaged])
    assert [group.gid for group in decode_signals(data, only={2})] == [2]
    assert decode_signals(data, only=set()) == []
    with pytest.raises(ProtocolError):
        decode_signals(data)


def test_a_group_may_come_twice_and_order_is_kept() -> None:
    read = decode_signals(encode_signals([rows(2), rows(1), rows(2, count=1)]))
    assert [(group.gid, len(group.t_us)) for group in read] == [(2, 3), (1, 3), (2, 1)]


def test_arrays_that_do_not_fit_each_other_are_our_mistake() -> None:
    for group in (
        GroupRows(gid=0, t_us=np.arange(2), raw=np.zeros((1, 3), dtype=np.int64)),
        GroupRows(gid=-1, t_us=np.arange(3), raw=np.zeros((1, 3), dtype=np.int64)),
        GroupRows(gid=0, t_us=np.arange(3), raw=np.zeros((513, 3), dtype=np.int64)),
        GroupRows(gid=0, t_us=np.arange(3), raw=np.zeros((1, 3))),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="group"):
            encode_signals([group])


def test_a_bomb_is_refused_before_it_is_decompressed() -> None:
    bomb = compress(bytes(100_000_000))
    assert len(bomb) < 20_000
    with pytest.raises(ProtocolError) as refused:
        decode_facts(bomb)
    assert refused.value.code is Reject.TOO_LARGE
    with pytest.raises(ProtocolError) as refused:
        decode_signals(codec.encode([[[0, 1_000, 2, len(bomb)]], bomb]))
    assert refused.value.code is Reject.TOO_LARGE


def test_rows_that_cost_nothing_to_send_still_count_as_memory() -> None:
    count = SIGNALS_BYTES_MAX // 8 // 2 + 1
    frame = compress(bytes(9) * 2)
    with pytest.raises(ProtocolError) as refused:
        decode_signals(codec.encode([[[0, count, 1, len(frame)]], frame]))
    assert refused.value.code is Reject.TOO_LARGE


def test_a_zstd_frame_states_its_size_and_stands_alone() -> None:
    good = compress(b"content")
    assert decompress(good, max_bytes=7) == b"content"
    streaming = zstandard.ZstdCompressor(write_content_size=False).compress(b"content")
    for frame in (streaming, good + b"\x00", good + good, good[:-1], b"", good[1:]):
        with pytest.raises(ProtocolError) as refused:
            decompress(frame, max_bytes=100)
        assert refused.value.code is Reject.BAD_ENCODING
    with pytest.raises(ProtocolError) as refused:
        decompress(good, max_bytes=6)
    assert refused.value.code is Reject.TOO_LARGE
    assert decompress(compress(b""), max_bytes=0) == b""


def test_fixes_of_a_newer_writer_are_read_without_their_new_columns() -> None:
    fixes = [Fix(t_us=1, mode=3, lat_e7=5), Fix(t_us=2, mode=1)]
    precision, count, width, frame = codec.decode(encode_fixes(fixes, Precision.EXACT), max_bytes=10_000)  # type: ignore[misc]
    matrix = decode_planes(decompress(frame, max_bytes=10_000), columns=width, rows=count)
    matrix = np.vstack((matrix, [[7, 8]]))
    matrix[1] |= 1 << 10
    newer = codec.encode([9, count, width + 1, compress(encode_planes(matrix)), "more"])
    assert decode_fixes(newer) == (9, fixes)
    assert precision == Precision.EXACT


@pytest.mark.parametrize(
    "changes",
    [
        {"lat_e7": 900_000_001},
        {"lon_e7": -1_800_000_001},
        {"speed_mm_s": -1},
        {"course_cdeg": 36_001},
        {"mode": 256},
        {"t_us": -1},
    ],
)
def test_a_fix_that_cannot_be_is_never_written(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="fixes"):
        encode_fixes([Fix(**({"t_us": 0} | changes))], Precision.EXACT)


def test_precision_none_writes_no_position() -> None:
    with pytest.raises(ValueError, match="NONE"):
        encode_fixes([Fix(t_us=0, lat_e7=1)], Precision.NONE)
    assert decode_fixes(encode_fixes([Fix(t_us=0, mode=3)], Precision.NONE))[0] is Precision.NONE
    with pytest.raises(ValueError, match="at most"):
        encode_fixes([Fix(t_us=0)] * (FIXES_MAX + 1), Precision.EXACT)


def frames(times: list[int], ids: list[int]) -> RawFrames:
    count = len(times)
    return RawFrames(
        bus="can0",
        t_us=np.array(times, dtype=np.int64),
        can_id=np.array(ids, dtype=np.uint32),
        length=np.full(count, 8, dtype=np.uint8),
        data=np.arange(8 * count, dtype=np.uint8).reshape(count, 8),
    )


def test_frames_store_places_only_when_time_and_id_do_not_give_the_order() -> None:
    def has_place(lot: RawFrames) -> int:
        (entry,), _ = codec.decode(encode_frames([lot]), max_bytes=PAYLOAD_BYTES_MAX)  # type: ignore[misc]
        return int(entry[3])

    assert has_place(frames([1, 2, 3], [9, 5, 9])) == 0
    assert has_place(frames([1, 1, 1], [5, 9, 9])) == 0
    assert has_place(frames([1, 1, 1], [9, 5, 9])) == 1
    assert has_place(frames([3, 2, 1], [5, 5, 5])) == 1


def test_encoding_frames_leaves_the_caller_s_arrays_alone() -> None:
    lot = frames([1, 2, 3], [9, 5, 9])
    before = lot.data.copy()
    encode_frames([lot])
    assert np.array_equal(lot.data, before)


def test_frames_with_places_that_are_no_permutation_are_refused() -> None:
    head = encode_planes(np.array([[1, 1], [5, 5], [8, 8], [0, 0]]))
    frame = compress(head + bytes(16))
    with pytest.raises(ProtocolError) as refused:
        decode_frames(codec.encode([[["can0", 2, 8, 1, len(frame)]], frame]))
    assert refused.value.code is Reject.BAD_FIELD


def test_facts_keep_whole_and_broken_factors_apart() -> None:
    group = GroupDef(
        gid=1,
        bus="b",
        can_id=5,
        message="M",
        branch="mux=3",
        dbc_hash=bytes(32),
        columns=(a_column(scale=2), a_column(scale=2.0)),
    )
    column, other = decode_facts(encode_facts(Facts(dictionary=(group,)))).dictionary[0].columns
    assert (type(column.scale), type(other.scale)) == (int, float)


@pytest.mark.parametrize(
    "facts",
    [
        Facts(events=(Event(t_us=-1, name="x"),)),
        Facts(events=(Event(t_us=0, name="x" * (TEXT_BYTES_MAX + 1)),)),
        Facts(events=(Event(t_us=0, name="x"),) * (EVENTS_MAX + 1)),
        Facts(health={"x": float("nan")}),
        Facts(health={"x": b"bytes"}),  # type: ignore[dict-item]
        Facts(health={str(number): 0 for number in range(300)}),
    ],
    ids=["time", "long name", "too many", "nan", "bytes", "too much health"],
)
def test_facts_that_no_reader_would_take_are_never_written(facts: Facts) -> None:
    with pytest.raises(ValueError, match="no reader would accept"):
        encode_facts(facts)


def test_facts_of_a_newer_writer_are_read_without_what_is_new() -> None:
    content = codec.encode({1: [], 2: [[5, "x", {}, "more"]], 3: {}, 4: "new"})
    assert decode_facts(compress(content)) == Facts(events=(Event(t_us=5, name="x"),))
    assert len(content) < FACTS_BYTES_MAX


def test_windows_are_int32_of_one_dimension() -> None:
    for values in (np.zeros(3), np.zeros((2, 2), dtype=np.int32)):
        with pytest.raises(ValueError, match="int32"):
            encode_windows([Window(name="x", t0_us=0, period_us=1, scale=1, unit=None, values=values)])  # type: ignore[arg-type]
    frame = compress(encode_planes(np.array([[2**31]])))
    with pytest.raises(ProtocolError) as refused:
        decode_windows(codec.encode([["x", 0, 1, 1, None, 1, frame]]))
    assert refused.value.code is Reject.BAD_FIELD


def test_windows_count_together_against_their_limit() -> None:
    frame = compress(bytes(9))
    one = ["x", 0, 1, 1, None, 600_000, frame]
    with pytest.raises(ProtocolError) as refused:
        decode_windows(codec.encode([one, one]))
    assert refused.value.code is Reject.TOO_LARGE


def test_threads_compress_and_read_at_the_same_time_without_disturbing_each_other() -> None:
    blocks = [bytes([number % 251]) * 5_000 + number.to_bytes(4, "big") * 500 for number in range(64)]
    with ThreadPoolExecutor(4) as threads:
        frames = list(threads.map(compress, blocks * 4))
        read = list(threads.map(lambda frame: decompress(frame, max_bytes=10_000), frames))
    assert frames == [compress(block) for block in blocks] * 4
    assert read == blocks * 4
