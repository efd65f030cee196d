"""Decoding, whatever the layout: cantools' values, and every frame accounted for."""

import random
from pathlib import Path

import cantools
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.acquisition import decode as decode_module
from device.acquisition.decode import Decoder
from device.acquisition.extract import Extractor, Payloads, Rows
from device.acquisition.flat import FlatDecoder
from device.acquisition.lot import EXTENDED, FrameFlag, FrameLot
from device.dbc_compiler import compile_dbc
from device.dbc_file import load_database
from tests.builders.can import (
    Oracle,
    Values,
    dbc_text,
    flat_values_by_frame,
    frames_for,
    lot_of,
    same,
    values_by_frame,
)

DEMO_PATH = Path("dbc/tbox_demo.dbc")
DEMO = compile_dbc(DEMO_PATH).table
DEMO_DATABASE, _ = load_database(DEMO_PATH, DEMO_PATH.read_bytes())
IDENTIFIERS = [message.can_id for message in DEMO.messages]

any_frame = st.tuples(
    st.one_of(
        st.sampled_from(IDENTIFIERS), st.integers(0, 0x7FF), st.integers(EXTENDED, EXTENDED | 0x1FFF_FFFF)
    ),
    st.binary(max_size=8) | st.binary(min_size=8, max_size=8) | st.binary(max_size=64),
    st.sampled_from(
        [0, 0, 0, FrameFlag.FD, FrameFlag.REMOTE, FrameFlag.ERROR, FrameFlag.ERROR | FrameFlag.REMOTE]
    ),
)


@st.composite
def signal(draw: st.DrawFn) -> str:
    """A `SG_` line with any place in a 64-byte payload, any size, order, sign, float type and factors."""
    is_float = draw(st.booleans())
    bits = draw(st.sampled_from([16, 32, 64]) if is_float else st.integers(1, 64))
    first = draw(st.integers(0, 512 - bits))
    order = draw(st.sampled_from("01"))
    start = first if order == "1" else 8 * (first // 8) + 7 - first % 8
    sign = "-" if is_float else draw(st.sampled_from("+-"))
    scale = draw(st.sampled_from(["1", "2", "1.0", "0.5", "0.01", "-3", "0.1", "1e-3", "7.25"]))
    offset = draw(st.sampled_from(["0", "-40", "0.5", "-67.67", "100"]))
    value_type = f"SIG_VALTYPE_ 1 S : {2 if bits == 64 else 1};" if is_float else ""
    place = f"{start}|{bits}@{order}{sign} ({scale},{offset})"
    return f'BO_ 1 M: 64 ECU\n SG_ S : {place} [0|0] "" ECU\n\n{value_type}'


@given(signal(), st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=4))
def test_any_signal_decodes_to_cantools_value_and_type(
    tmp_path_factory: pytest.TempPathFactory, block: str, payloads: list[bytes]
) -> None:
    text = dbc_text(block)
    path = tmp_path_factory.getbasetemp() / "any.dbc"
    path.write_text(text)
    table = compile_dbc(path).table
    database = cantools.database.load_string(text, "dbc")
    frames = [(number, 1, payload) for number, payload in enumerate(payloads)]
    ours = values_by_frame(table, Decoder(table).decode(lot_of(frames)))
    flat = flat_values_by_frame(table, lot_of(frames))
    for number, can_id, payload in frames:
        theirs = database.decode_message(can_id, payload, decode_choices=False)
        assert same(ours[number], theirs), text
        assert same(flat[number], theirs), text


def assert_same_frames(one: dict[int, Values], other: dict[int, Values]) -> None:
    assert one.keys() == other.keys()
    assert all(same(one[number], other[number]) for number in one)


@given(st.lists(any_frame, max_size=60))
def test_every_frame_is_decoded_or_dropped_for_one_cause(frames: list[tuple[int, bytes, int]]) -> None:
    rows = [(number, can_id, payload) for number, (can_id, payload, _) in enumerate(frames)]
    decoded = Decoder(DEMO).decode(FrameLot.of("can0", rows, [flags for _, _, flags in frames]))
    counts = decoded.counts
    assert counts.received == len(frames)
    assert counts.received == counts.decoded + sum(counts.drops.values())
    assert all(count > 0 for count in counts.drops.values())
    bases = {message.group for message in DEMO.messages}
    assert counts.decoded == sum(len(group.t_us) for group in decoded.groups if group.index in bases)
    oracle = Oracle(DEMO_DATABASE)
    lot = FrameLot.of("can0", rows, [flags for _, _, flags in frames])
    flat = FlatDecoder(DEMO).decode(lot)
    assert (flat.decoded, flat.drops) == (counts.decoded, counts.drops)
    values_of = values_by_frame(DEMO, decoded)
    assert_same_frames(flat_values_by_frame(DEMO, lot), values_of)
    for number, values in values_of.items():
        _, can_id, payload = rows[number]
        length = oracle.message(can_id).length
        assert same(values, oracle.values(can_id, payload[:length]))


@given(st.integers(0, 2**32), st.integers(1, 300))
def test_lanes_and_blocks_give_the_same_values(seed: int, count: int) -> None:
    frames = frames_for(DEMO_DATABASE, random.Random(seed), count)
    lot = lot_of(frames)
    identifiers, first = np.unique(lot.can_id, return_index=True)
    order = lot.can_id.argsort(kind="stable")
    bases = {message.can_id: message.group for message in DEMO.messages}
    counts = np.unique(lot.can_id, return_counts=True)[1]
    rows = Rows(order, np.array([bases[int(i)] for i in identifiers]), counts)
    extractor = Extractor(DEMO)
    wide = np.zeros((len(lot.data), 64), np.uint8)
    wide[:, :8] = lot.data
    results = [
        method(rows, Payloads(data))
        for data in (lot.data, wide)
        for method in (extractor.lanes, extractor.blocks)
    ]
    assert len(first) == len(results[0])
    for other in results[1:]:
        assert all((one == two).all() for one, two in zip(results[0], other, strict=True))


def test_large_and_small_lots_take_different_ways_to_the_same_values() -> None:
    frames = frames_for(DEMO_DATABASE, random.Random(7), 4_000)
    assert len(frames) > decode_module._ROWS_FOR_BLOCKS * len(DEMO.groups)
    decoder = Decoder(DEMO)
    whole = values_by_frame(DEMO, decoder.decode(lot_of(frames)))
    parts: dict[int, dict[str, int | float]] = {}
    for start in range(0, len(frames), 50):
        parts |= values_by_frame(DEMO, decoder.decode(lot_of(frames[start : start + 50])))
    assert_same_frames(whole, parts)


@st.composite
def multiplexed(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A message with switches within switches and beside each other, and payloads that mostly hit them."""
    lines = ["BO_ 1 M: 8 ECU"]
    ranges = []
    switches = draw(st.integers(1, 3))
    for number in range(switches):
        bits = 8
        mark = "M" if number == 0 else "m0M"
        lines.append(f' SG_ S{number} {mark} : {8 * number}|{bits}@1+ (1,0) [0|0] "" ECU')
        if number:
            parent = draw(st.integers(0, number - 1))
            ranges.append(f"SG_MUL_VAL_ 1 S{number} S{parent} {draw(value_ranges())};")
    for number in range(draw(st.integers(1, 6))):
        parent = draw(st.integers(0, switches - 1))
        sign = draw(st.sampled_from("+-"))
        scale = draw(st.sampled_from(["1", "0.5"]))
        place = f"{24 + 6 * number}|6@1{sign} ({scale},0)"
        lines.append(f' SG_ V{number} m0 : {place} [0|0] "" ECU')
        ranges.append(f"SG_MUL_VAL_ 1 V{number} S{parent} {draw(value_ranges())};")
    few = st.integers(0, 6)
    payloads = draw(
        st.lists(
            st.builds(
                lambda a, b, c, rest: bytes([a, b, c]) + rest,
                few,
                few,
                few,
                st.binary(min_size=5, max_size=5),
            ),
            min_size=1,
            max_size=8,
        )
    )
    return dbc_text("\n".join(lines), *ranges), payloads


@st.composite
def value_ranges(draw: st.DrawFn) -> str:
    pairs = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=2))
    return ", ".join(f"{first}-{first + more}" for first, more in pairs)


@given(multiplexed())
def test_any_multiplexing_gives_what_cantools_gives_and_nothing_more(
    tmp_path_factory: pytest.TempPathFactory, given_text: tuple[str, list[bytes]]
) -> None:
    text, payloads = given_text
    path = tmp_path_factory.getbasetemp() / "muxed.dbc"
    path.write_text(text)
    table = compile_dbc(path).table
    oracle = Oracle(cantools.database.load_string(text, "dbc", strict=False))
    frames = [(number, 1, payload) for number, payload in enumerate(payloads)]
    lot = lot_of(frames)
    ours = values_by_frame(table, Decoder(table).decode(lot))
    assert_same_frames(flat_values_by_frame(table, lot), ours)
    for number, can_id, payload in frames:
        assert same(ours.get(number, {}), oracle.values(can_id, payload)), text
