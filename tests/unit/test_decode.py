"""The decoder: every frame accounted for, every signal from its own bits."""

from pathlib import Path

import numpy as np
import pytest

from device.acquisition.decode import Decoded, Decoder
from device.acquisition.flat import FlatDecoder
from device.acquisition.lot import EXTENDED, FrameFlag, FrameLot
from device.acquisition.table import DecodeTable
from device.dbc_compiler import compile_dbc
from protocol.batch import DropCause
from tests.builders.can import dbc_text, flat_values_by_frame, values_by_frame

DEMO = compile_dbc(Path("dbc/tbox_demo.dbc")).table


def table_of(tmp_path: Path, *blocks: str) -> DecodeTable:
    path = tmp_path / "car.dbc"
    path.write_text(dbc_text(*blocks))
    return compile_dbc(path).table


def decode(table: DecodeTable, *frames: tuple[int, bytes], flags: list[int] | None = None) -> Decoded:
    rows = [(number, can_id, payload) for number, (can_id, payload) in enumerate(frames)]
    return Decoder(table).decode(FrameLot.of("can0", rows, flags))


def test_an_empty_lot_gives_nothing() -> None:
    decoded = decode(DEMO)
    assert decoded.groups == ()
    assert decoded.counts.received == decoded.counts.decoded == 0


def test_a_dbc_without_signals_still_knows_its_identifiers(tmp_path: Path) -> None:
    decoded = decode(table_of(tmp_path, "BO_ 5 Empty: 2 ECU"), (5, b"\1\2"), (6, b""))
    assert decoded.groups == ()
    assert decoded.counts.decoded == 1
    assert decoded.counts.drops == {DropCause.UNKNOWN_ID: 1}


def test_every_cause_of_a_drop_is_counted_once() -> None:
    decoded = decode(
        DEMO,
        (0x130, bytes(8)),
        (0x130, bytes(7)),
        (0x7FF, bytes(8)),
        (0x130, bytes(8)),
        (0x130, b""),
        (0x7FF, bytes(8)),
        (0x130, bytes(8)),
        flags=[
            0,
            0,
            0,
            FrameFlag.ERROR,
            FrameFlag.REMOTE,
            FrameFlag.ERROR,
            FrameFlag.ERROR | FrameFlag.REMOTE,
        ],
    )
    assert decoded.counts.received == 7
    assert decoded.counts.decoded == 1
    assert decoded.counts.drops == {
        DropCause.ERROR_FRAME: 3,
        DropCause.REMOTE_FRAME: 1,
        DropCause.UNKNOWN_ID: 1,
        DropCause.SHORT: 1,
    }
    assert [group.t_us.tolist() for group in decoded.groups] == [[0]]


def test_the_same_number_as_standard_and_extended_identifier_decodes_differently(tmp_path: Path) -> None:
    block = 'BO_ {} {}: 1 ECU\n SG_ {} : 0|8@1+ (1,0) [0|0] "" ECU\n'
    table = table_of(tmp_path, block.format(0x123, "Short", "A"), block.format(0x80000123, "Long", "B"))
    decoded = decode(table, (0x123, b"\1"), (0x123 | EXTENDED, b"\2"))
    assert values_by_frame(table, decoded) == {0: {"A": 1}, 1: {"B": 2}}


def test_a_frame_longer_than_its_message_is_read_as_far_as_the_message_goes() -> None:
    decoded = decode(DEMO, (0x110, b"\x04\x00\x07\x00\xff\xff\xff\xff"))
    assert values_by_frame(DEMO, decoded)[0]["IgnitionState"] == 4
    assert values_by_frame(DEMO, decoded)[0]["IgnitionCycles"] == 7


def test_classic_frames_in_a_lot_with_fd_frames_decode_as_before() -> None:
    payload = bytes(range(1, 9))
    narrow = decode(DEMO, (0x100, payload), (0x140, payload))
    wide = decode(DEMO, (0x100, payload), (0x140, payload), (0x7FF, bytes(64)))
    assert values_by_frame(DEMO, narrow) == values_by_frame(DEMO, wide)
    assert wide.counts.drops == {DropCause.UNKNOWN_ID: 1}


def test_a_page_fills_the_base_group_and_its_own_branch() -> None:
    page_1 = bytes.fromhex("01 e80c 1c0d 000000")
    decoded = decode(DEMO, (0x18FF50E5 | EXTENDED, page_1))
    assert values_by_frame(DEMO, decoded)[0] == {
        "HybridPage": 1,
        "CellVoltageMin": pytest.approx(3.304),
        "CellVoltageMax": pytest.approx(3.356),
    }
    assert decoded.counts.unknown_selector == 0


def test_an_unnamed_page_keeps_the_base_group_and_is_counted() -> None:
    decoded = decode(DEMO, (0x18FF50E5 | EXTENDED, b"\x09" + bytes(7)), (0x18FF50E5 | EXTENDED, bytes(8)))
    assert values_by_frame(DEMO, decoded)[0] == {"HybridPage": 9}
    assert decoded.counts.decoded == 2
    assert decoded.counts.unknown_selector == 1
    assert decoded.counts.drops == {}


@pytest.mark.parametrize(("bits", "value"), [(8, 255), (16, 256), (16, 65_535), (12, 0xFFF)])
def test_selectors_may_be_255_and_more(tmp_path: Path, bits: int, value: int) -> None:
    table = table_of(
        tmp_path,
        f'BO_ 1 M: 8 ECU\n SG_ S M : 0|{bits}@1+ (1,0) [0|0] "" ECU\n'
        f' SG_ A m{value} : 16|8@1+ (1,0) [0|0] "" ECU\n SG_ B m0 : 24|8@1+ (1,0) [0|0] "" ECU',
    )
    payload = value.to_bytes(2, "little") + b"\x07" + bytes(5)
    assert values_by_frame(table, decode(table, (1, payload)))[0] == {"S": value, "A": 7}


def test_a_selector_whose_dbc_is_not_subscribed_elsewhere_does_not_leak_into_other_messages(
    tmp_path: Path,
) -> None:
    table = table_of(
        tmp_path,
        'BO_ 1 M: 2 ECU\n SG_ S M : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ A m1 : 8|8@1+ (1,0) [0|0] "" ECU\n',
        'BO_ 2 N: 2 ECU\n SG_ S M : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ A m2 : 8|8@1+ (1,0) [0|0] "" ECU\n',
    )
    decoded = decode(table, (1, b"\1\5"), (2, b"\1\6"), (2, b"\2\7"))
    assert values_by_frame(table, decoded) == {0: {"S": 1, "A": 5}, 1: {"S": 1}, 2: {"S": 2, "A": 7}}
    assert decoded.counts.unknown_selector == 1


def test_rows_of_a_group_keep_the_order_of_reception() -> None:
    ignition_frames = [(0x110, bytes([number % 5, 0, number % 256, 0])) for number in range(500)]
    frames = [frame for ignition in ignition_frames for frame in (ignition, (0x130, bytes(8)))]
    groups = decode(DEMO, *frames).groups
    ignition = next(group for group in groups if DEMO.groups[group.index].message == "IgnitionStatus")
    assert ignition.t_us.tolist() == list(range(0, 1000, 2))
    assert ignition.raw[5].tolist() == [number % 256 for number in range(500)]


def test_groups_come_ascending_by_index() -> None:
    page, acceleration = 0x18FF50E5 | EXTENDED, 0x18FF60E5 | EXTENDED
    frames = [(acceleration, bytes(8)), (page, b"\2" + bytes(7)), (0x100, bytes(8)), (page, bytes(8))]
    indices = [group.index for group in decode(DEMO, *frames).groups]
    assert indices == sorted(indices)
    assert len(indices) == 5


@pytest.mark.parametrize("order", ["1", "0"])
@pytest.mark.parametrize("shift", range(8))
def test_a_64_bit_signal_across_nine_bytes_is_whole(tmp_path: Path, order: str, shift: int) -> None:
    # The number of the first bit, as DBC writes it: the lowest one, or for big-endian the highest one.
    start = 8 * 9 + (shift if order == "1" else 7 - shift)
    table = table_of(tmp_path, f'BO_ 1 M: 64 ECU\n SG_ A : {start}|64@{order}+ (1,0) [0|0] "" ECU')
    value = 0xF123_4567_89AB_CDEF
    if order == "1":
        payload = (value << (72 + shift)).to_bytes(64, "little")
    else:
        payload = (value << (512 - 72 - 64 - shift)).to_bytes(64, "big")
    decoded = decode(table, *[(1, payload)] * 300)
    assert set(map(int, decoded.groups[0].raw.view(np.uint64)[0])) == {value}
    assert values_by_frame(table, decode(table, (1, payload)))[0] == {"A": value}


def test_a_desk_may_ask_for_the_signals_that_lie_whole_in_a_short_frame(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        'BO_ 1 M: 4 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ S M : 8|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ B m0 : 16|8@1+ (1,0) [0|0] "" ECU\n SG_ C m0 : 20|12@1+ (1,0) [0|0] "" ECU',
    )
    frames = [(number, 1, bytes([7, 0, 5, 0])[:length]) for number, length in enumerate((4, 3, 2, 1, 0))]
    lot = FrameLot.of("can0", [*frames, (5, 2, b"")], [0, 0, 0, 0, FrameFlag.REMOTE, 0])
    assert flat_values_by_frame(table, lot, keeps_short=True) == {
        0: {"A": 7, "S": 0, "B": 5, "C": 0},
        1: {"A": 7, "S": 0, "B": 5},
        2: {"A": 7, "S": 0},
        3: {"A": 7},
    }
    lanes = FlatDecoder(table, keeps_short=True).decode(lot)
    assert (lanes.decoded, lanes.short) == (4, 3)
    assert lanes.drops == {DropCause.REMOTE_FRAME: 1, DropCause.UNKNOWN_ID: 1}
    plain = FlatDecoder(table).decode(lot)
    assert (plain.decoded, plain.short, plain.drops[DropCause.SHORT]) == (1, 0, 3)


def test_lanes_lead_back_to_columns(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        'BO_ 1 M: 1 ECU\n SG_ A : 0|4@1+ (1,0) [0|0] "" ECU\n SG_ B : 4|4@1+ (1,0) [0|0] "" ECU\n',
        'BO_ 2 N: 1 ECU\n SG_ C : 0|8@1+ (0.5,0) [0|0] "" ECU',
    )
    decoder = FlatDecoder(table)
    lanes = decoder.decode(FrameLot.of("can0", [(0, 2, b"\3"), (1, 1, b"\x21"), (2, 1, b"\x43")]))
    series = {
        decoder.columns[column].signal: lanes.value[rows].tolist()
        for column, rows in decoder.by_column(lanes)
    }
    assert series == {"A": [1.0, 3.0], "B": [2.0, 4.0], "C": [1.5]}
