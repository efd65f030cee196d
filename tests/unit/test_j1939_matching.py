"""SAE J1939: messages found by parameter group, whoever sends with whatever priority."""

from pathlib import Path

import numpy as np
import pytest
from cantools.j1939 import pgn_from_frame_id
from hypothesis import given
from hypothesis import strategies as st

from device.acquisition.decode import Decoder
from device.acquisition.flat import FlatDecoder
from device.acquisition.lookup import parameter_group
from device.acquisition.lot import EXTENDED
from device.acquisition.table import DecodeTable
from device.dbc_compiler import Matching, compile_dbc, main
from device.dbc_findings import FindingKind
from protocol.batch import DropCause
from tests.builders.can import Values, dbc_text, flat_values_by_frame, lot_of, values_by_frame

# EEC1, group 61444 (PDU2), any source; TSC1, group 0 (PDU1), to the engine from the retarder.
EEC1 = f'BO_ {0x8CF004FE} EEC1: 8 X\n SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" X\n'
TSC1 = f'BO_ {0x8C00000F} TSC1: 8 X\n SG_ Torque : 24|8@1+ (1,-125) [-125|125] "%" X\n'

IS_J1939 = (
    'BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";\n'
    'BA_DEF_DEF_ "VFrameFormat" "J1939PG";'
)
PROTOCOL = 'BA_DEF_ "ProtocolType" STRING ;\nBA_DEF_DEF_ "ProtocolType" "";\nBA_ "ProtocolType" "J1939";'

PAYLOAD = bytes([0, 0, 0, 0x20, 0x4E, 0, 0, 0])


def table_of(tmp_path: Path, *parts: str, matching: Matching = Matching.BY_DBC) -> DecodeTable:
    path = tmp_path / "truck.dbc"
    path.write_text(dbc_text(*parts))
    return compile_dbc(path, matching).table


def decoded(table: DecodeTable, *identifiers: int) -> dict[int, Values]:
    lot = lot_of([(number, can_id | EXTENDED, PAYLOAD) for number, can_id in enumerate(identifiers)])
    values = values_by_frame(table, Decoder(table).decode(lot))
    assert flat_values_by_frame(table, lot) == values
    return values


@pytest.mark.parametrize("said", [IS_J1939, PROTOCOL])
def test_source_and_priority_do_not_count(tmp_path: Path, said: str) -> None:
    table = table_of(tmp_path, EEC1, said)
    for identifier in (0x0CF00400, 0x18F00421, 0x00F004FE, 0x1CF004FF):
        assert decoded(table, identifier) == {0: {"EngineSpeed": 2500.0}}


def test_the_destination_counts_in_no_pdu1_message_and_the_extension_in_every_pdu2_message(
    tmp_path: Path,
) -> None:
    table = table_of(tmp_path, EEC1, TSC1, IS_J1939)
    assert decoded(table, 0x0C000003, 0x18002521) == {0: {"Torque": -93}, 1: {"Torque": -93}}
    assert decoded(table, 0x0CF00500, 0x0CF10400, 0x0DF00400, 0x0EF00400) == {}


def test_a_standard_frame_is_never_j1939(tmp_path: Path) -> None:
    table = table_of(tmp_path, 'BO_ 2147483649 Low: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n', IS_J1939)
    assert table.messages[0].is_j1939
    counts = Decoder(table).decode(lot_of([(0, 1, PAYLOAD)])).counts
    assert counts.drops == {DropCause.UNKNOWN_ID: 1}


def test_without_the_attribute_identifiers_are_exact_and_a_switch_overrules_it(tmp_path: Path) -> None:
    assert decoded(table_of(tmp_path, EEC1), 0x0CF00400) == {}
    assert decoded(table_of(tmp_path, EEC1, matching=Matching.J1939), 0x0CF00400) != {}
    assert decoded(table_of(tmp_path, EEC1, IS_J1939, matching=Matching.EXACT), 0x0CF00400) == {}


def test_a_message_may_say_of_itself_that_it_is_plain(tmp_path: Path) -> None:
    table = table_of(tmp_path, EEC1, TSC1, IS_J1939, f'BA_ "VFrameFormat" BO_ {0x8CF004FE} 1;')
    assert decoded(table, 0x0CF00400, 0x0CF004FE, 0x18000000) == {
        1: {"EngineSpeed": 2500.0},
        2: {"Torque": -93},
    }


def test_messages_of_one_group_are_told_apart_by_their_source_and_said(tmp_path: Path) -> None:
    front = f'BO_ {0x98FF0010} Front: 8 X\n SG_ F : 32|8@1+ (1,0) [0|0] "" X\n'
    rear = f'BO_ {0x98FF0011} Rear: 8 X\n SG_ R : 32|8@1+ (1,0) [0|0] "" X\n'
    table = table_of(tmp_path, front, rear, IS_J1939)
    assert decoded(table, 0x18FF0011, 0x0CFF0010, 0x18FF0099) == {0: {"R": 78}, 1: {"F": 78}, 2: {"F": 78}}
    findings = compile_dbc(tmp_path / "truck.dbc").findings
    assert [finding.kind for finding in findings] == [FindingKind.J1939]
    anyone = rear.replace(str(0x98FF0011), str(0x98FF00FE)).replace("Rear", "Anyone")
    assert decoded(table_of(tmp_path, front, anyone, IS_J1939), 0x18FF0099) == {0: {"R": 78}}


def specific(name: str, signal: str, can_id: int) -> str:
    return f'BO_ {can_id} {name}: 8 X\n SG_ {signal} : 32|8@1+ (1,0) [0|0] "" X\n'


def findings_of(tmp_path: Path) -> list[str]:
    return [str(finding) for finding in compile_dbc(tmp_path / "truck.dbc").findings]


def test_messages_of_one_pdu1_group_are_told_apart_by_their_destination_and_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, specific("A", "S", 0x98EF1017), specific("B", "T", 0x98EF2017), PROTOCOL)
    assert decoded(table, 0x18EF2017, 0x1CEF2017, 0x1CEF2018, 0x1CEF1018, 0x1CEF3018) == {
        0: {"T": 78},
        1: {"T": 78},
        2: {"T": 78},
        3: {"S": 78},
        4: {"S": 78},
    }
    (sentence,) = findings_of(tmp_path)
    assert "the parameter group 61184 of A: told apart by the destination address" in sentence
    assert sentence.endswith("else they are read as A")


def test_source_and_destination_come_before_either_and_any_address_before_a_wrong_one(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        specific("A", "SA", 0x98EF1017),
        specific("B", "SB", 0x98EF1018),
        specific("C", "SC", 0x98EF2018),
        specific("D", "SD", 0x98EF3019),
        specific("E", "SE", 0x98EFFF1A),
        PROTOCOL,
    )
    frames = {
        0x1CEF1018: "SB",  # source and destination
        0x1CEF2018: "SC",
        0x1CEF101A: "SE",  # its source, to any destination
        0x1CEF3018: "SD",  # destination before source
        0x1CEF4019: "SD",  # source alone
        0x1CEF4099: "SE",  # neither: the one for any destination
    }
    expected = {number: {signal: 78} for number, signal in enumerate(frames.values())}
    assert decoded(table, *frames) == expected
    said = [sentence.partition(": message ")[2].partition(";")[0] for sentence in findings_of(tmp_path)]
    assert said == [
        "B has the parameter group 61184 of A: told apart by the source address",
        "C has the parameter group 61184 of A: told apart by the source and destination address",
        "D has the parameter group 61184 of A: told apart by the source and destination address",
        "E has the parameter group 61184 of A: told apart by the source and destination address",
    ]


def test_messages_that_differ_in_priority_alone_are_said_not_to_be_told_apart(tmp_path: Path) -> None:
    table = table_of(tmp_path, specific("A", "S", 0x8CEF1017), specific("B", "T", 0x98EF1017), PROTOCOL)
    assert decoded(table, 0x0CEF1017, 0x18EF1017, 0x1CEF1017) == {0: {"S": 78}, 1: {"T": 78}, 2: {"S": 78}}
    (sentence,) = findings_of(tmp_path)
    assert sentence.endswith("not told apart by addresses; frames that neither names whole are read as A")


def test_messages_of_a_pdu2_group_are_said_to_be_told_apart_by_their_source(tmp_path: Path) -> None:
    table_of(tmp_path, specific("A", "S", 0x98FF0010), specific("B", "T", 0x98FF00FE), PROTOCOL)
    (sentence,) = findings_of(tmp_path)
    assert sentence.endswith("told apart by the source address; others are read as B")


def test_short_frames_are_counted_and_known_identifiers_are_known(tmp_path: Path) -> None:
    table = table_of(tmp_path, EEC1, IS_J1939)
    lot = lot_of([(0, 0x18F00400 | EXTENDED, b"\0"), (1, 0x18FEF100 | EXTENDED, PAYLOAD)])
    expected = {DropCause.SHORT: 1, DropCause.UNKNOWN_ID: 1}
    assert Decoder(table).decode(lot).counts.drops == expected
    assert FlatDecoder(table).decode(lot).drops == expected
    assert Decoder(table).is_known(lot.can_id).tolist() == [True, False]


def test_every_sender_of_a_message_has_the_identifier_of_the_dbc(tmp_path: Path) -> None:
    decoder = Decoder(table_of(tmp_path, EEC1, IS_J1939))
    received = np.array([0x98F00400, 0x8CF004FE, 0x98FEF100, 0x18F00400], np.uint32)
    assert decoder.dbc_ids(received).tolist() == [0x8CF004FE, 0x8CF004FE, 0xFFFF_FFFF, 0xFFFF_FFFF]


def test_a_table_keeps_how_its_messages_are_matched(tmp_path: Path) -> None:
    table = table_of(tmp_path, EEC1, IS_J1939)
    assert DecodeTable.from_bytes(table.to_bytes()) == table
    out = tmp_path / "exact.table"
    assert main([str(tmp_path / "truck.dbc"), str(out), "--matching", "exact"]) == 0
    assert not DecodeTable.from_bytes(out.read_bytes()).messages[0].is_j1939


@given(st.integers(0, 2**29 - 1))
def test_the_parameter_group_is_the_one_that_cantools_computes(identifier: int) -> None:
    group = parameter_group(np.array([identifier | EXTENDED], np.uint32))
    assert group.tolist() == [pgn_from_frame_id(identifier)]
