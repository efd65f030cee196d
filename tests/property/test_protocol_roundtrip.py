"""What is written is read back as it was: every type of the protocol, over its whole range."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec, strict_cbor
from protocol.batch import decode_header, encode_header
from protocol.facts import decode_facts, encode_facts
from protocol.fixes import Precision, decode_fixes, encode_fixes
from protocol.frames import decode_frames, encode_frames
from protocol.limits import DEPTH_MAX
from protocol.planes import decode_planes, encode_planes
from protocol.receipts import Receipt, decode_receipt, encode_receipt
from protocol.signals import GroupRows, decode_signals, encode_signals
from protocol.window import decode_windows, encode_windows
from tests.builders import protocol as build


def same(left: object, right: object) -> bool:
    """Equal in value and type, NaN equal to NaN, zero not equal to minus zero."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


@given(build.telemetry)
def test_telemetry_reads_back_as_it_was_written(value: object) -> None:
    assert same(codec.decode(codec.encode(value), max_bytes=1 << 20, max_depth=40), value)


@given(build.telemetry)
def test_map_keys_stand_in_bytewise_order_of_their_encodings(value: object) -> None:
    def check(item: object) -> None:
        if isinstance(item, dict):
            keys = [codec.encode(key) for key in item]
            assert keys == sorted(keys)
        for inner in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            check(inner)

    check(codec.decode(codec.encode(value), max_bytes=1 << 20, max_depth=40))


@given(build.order_values)
def test_both_codecs_write_the_same_bytes_where_both_can(value: object) -> None:
    written = strict_cbor.dumps(value)
    assert written == codec.encode(value)
    assert strict_cbor.loads(written, 1 << 20, 40) == codec.decode(written, max_bytes=1 << 20, max_depth=40)


@given(st.binary(max_size=24))
def test_whatever_strict_cbor_reads_it_writes_again_byte_for_byte(data: bytes) -> None:
    try:
        value = strict_cbor.loads(data)
    except strict_cbor.CBORError:
        return
    assert strict_cbor.dumps(value) == data
    assert same(codec.decode(data, max_bytes=24, max_depth=DEPTH_MAX), value)


@given(build.headers())
def test_a_header_reads_back_as_it_was_written(header: object) -> None:
    assert decode_header(encode_header(header)) == header


@given(build.receipts())
def test_a_receipt_reads_back_as_it_was_written(receipt: Receipt) -> None:
    assert decode_receipt(encode_receipt(receipt)) == receipt


@given(st.lists(build.group_rows(), max_size=4))
def test_signals_read_back_exactly_over_all_64_bits(groups: list[GroupRows]) -> None:
    read = decode_signals(encode_signals(groups))
    assert [group.gid for group in read] == [group.gid for group in groups]
    for before, after in zip(groups, read, strict=True):
        assert np.array_equal(before.t_us, after.t_us)
        assert np.array_equal(before.raw, after.raw)
        assert after.raw.shape == before.raw.shape


@given(st.lists(build.group_rows(), max_size=4), st.sets(st.integers(0, 3)))
def test_asking_for_some_groups_gives_exactly_those(groups: list[GroupRows], places: set[int]) -> None:
    wanted = {group.gid for place, group in enumerate(groups) if place in places}
    read = decode_signals(encode_signals(groups), only=wanted)
    assert [group.gid for group in read] == [group.gid for group in groups if group.gid in wanted]


@given(st.integers(0, 4), st.integers(0, 5), st.data())
def test_planes_keep_every_bit_pattern_of_floats(columns: int, rows: int, data: st.DataObject) -> None:
    floats = data.draw(st.lists(st.floats(), min_size=columns * rows, max_size=columns * rows))
    matrix = np.array(floats, dtype=np.float64).view(np.int64).reshape(columns, rows)
    assert np.array_equal(decode_planes(encode_planes(matrix), columns=columns, rows=rows), matrix)


@given(
    st.lists(build.fixes, max_size=6), st.sampled_from((Precision.IN_OUT, Precision.CELL, Precision.EXACT))
)
def test_fixes_read_back_with_what_was_absent_still_absent(fixes: list[object], precision: Precision) -> None:
    assert decode_fixes(encode_fixes(fixes, precision)) == (precision, fixes)


@given(st.lists(build.raw_frames(), max_size=3))
def test_raw_frames_read_back_in_order_of_arrival(lots: list[object]) -> None:
    read = decode_frames(encode_frames(lots))
    assert [lot.bus for lot in read] == [lot.bus for lot in lots]
    for before, after in zip(lots, read, strict=True):
        for name in ("t_us", "can_id", "length", "data"):
            assert np.array_equal(getattr(before, name), getattr(after, name)), name
            assert getattr(before, name).dtype == getattr(after, name).dtype, name


@given(st.lists(build.windows(), max_size=3))
def test_windows_read_back_as_they_were_written(windows: list[object]) -> None:
    read = decode_windows(encode_windows(windows))
    for before, after in zip(windows, read, strict=True):
        assert np.array_equal(before.values, after.values)
        for name in ("name", "t0_us", "period_us", "unit"):
            assert getattr(before, name) == getattr(after, name)
        assert same(before.scale, after.scale)


@given(build.facts)
def test_facts_read_back_as_they_were_written(facts: object) -> None:
    assert decode_facts(encode_facts(facts)) == facts
