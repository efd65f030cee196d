"""The compiler: what it makes of a DBC, and how it says what it cannot use."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from device.acquisition.table import TABLE_VERSION, DecodeTable
from device.dbc_compiler import compile_dbc, main
from device.dbc_file import DbcError
from protocol import codec
from protocol.errors import ProtocolError, Reject
from protocol.limits import DBC_BYTES_MAX
from protocol.signals import RawType
from tests.builders.can import dbc_text

DEMO = Path("dbc/tbox_demo.dbc")

MUX = """BO_ 100 Mux: 8 ECU
 SG_ Outer M : 0|8@1+ (1,0) [0|0] "" ECU
 SG_ Always : 56|8@1+ (1,0) [0|0] "" ECU
 SG_ Inner m1M : 8|8@1+ (1,0) [0|0] "" ECU
 SG_ Deep m5 : 16|8@1- (1,0) [0|0] "" ECU
 SG_ Wide m2 : 16|16@1+ (1,0) [0|0] "" ECU

SG_MUL_VAL_ 100 Inner Outer 1-1;
SG_MUL_VAL_ 100 Deep Inner 5-7, 9-9;
SG_MUL_VAL_ 100 Wide Outer 2-3, 255-255;
"""


def compiled(tmp_path: Path, text: str, name: str = "car.dbc") -> DecodeTable:
    path = tmp_path / name
    path.write_text(text)
    return compile_dbc(path).table


def test_the_demo_car_compiles_without_a_warning() -> None:
    compilation = compile_dbc(DEMO)
    assert compilation.warnings == ()
    assert len(compilation.table.messages) == 9
    assert compilation.table.dbc_hash == hashlib.sha256(DEMO.read_bytes()).digest()


def test_a_table_survives_its_bytes() -> None:
    table = compile_dbc(DEMO).table
    assert DecodeTable.from_bytes(table.to_bytes()) == table
    assert DecodeTable.from_bytes(table.to_bytes()).to_bytes() == table.to_bytes()


def test_a_table_keeps_the_difference_between_one_and_one_point_zero(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 8 ECU\n SG_ A : 0|8@1+ (2.0,1) [0|0] "" ECU\n SG_ B : 8|8@1+ (0.5,1) [0|0] "" ECU\n'
        ' SG_ C : 16|8@1+ (1.0,0) [0|0] "" ECU'
    )
    table = DecodeTable.from_bytes(compiled(tmp_path, text).to_bytes())
    factors = [(column.scale, column.offset) for column in table.groups[0].columns]
    assert factors == [(2, 1), (0.5, 1), (1, 0)]
    assert [type(scale) for scale, _ in factors] == [int, float, int]


def test_nested_multiplexing_becomes_one_group_for_each_set_of_values(tmp_path: Path) -> None:
    table = compiled(tmp_path, dbc_text(MUX))
    assert [(group.branch, [column.signal for column in group.columns]) for group in table.groups] == [
        (None, ["Outer", "Always"]),
        ("Outer=1", ["Inner"]),
        ("Outer=2-3,255", ["Wide"]),
        ("Outer=1/Inner=5-7,9", ["Deep"]),
    ]
    outer, inner = table.messages[0].selectors
    assert (outer.group, outer.known) == (0, ((1, 3), (255, 255)))
    assert (inner.group, inner.known) == (1, ((5, 7), (9, 9)))


def test_a_branch_with_very_many_values_has_a_short_and_unique_name(tmp_path: Path) -> None:
    even = ", ".join(f"{value}-{value}" for value in range(0, 256, 2))
    odd = ", ".join(f"{value}-{value}" for value in range(1, 256, 2))
    text = dbc_text(
        'BO_ 1 M: 8 ECU\n SG_ S M : 0|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ A m0 : 8|8@1+ (1,0) [0|0] "" ECU\n SG_ B m1 : 8|8@1+ (1,0) [0|0] "" ECU\n',
        f"SG_MUL_VAL_ 1 A S {even};\nSG_MUL_VAL_ 1 B S {odd};",
    )
    names = [group.branch for group in compiled(tmp_path, text).groups[1:]]
    assert len(set(names)) == 2
    assert all(name is not None and len(name) < 100 for name in names)


def test_standard_and_extended_identifiers_of_the_same_number_are_two_messages(tmp_path: Path) -> None:
    block = 'BO_ {} {}: 1 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n'
    text = dbc_text(block.format(0x123, "Short"), block.format(0x80000123, "Long"))
    table = compiled(tmp_path, text)
    assert [(message.can_id, message.name) for message in table.messages] == [
        (0x123, "Short"),
        (0x80000123, "Long"),
    ]


def test_a_signal_that_does_not_fit_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    path.write_text(
        dbc_text('BO_ 1 M: 2 ECU\n SG_ In : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ Out : 8|16@1+ (1,0) [0|0] "" ECU')
    )
    compilation = compile_dbc(path)
    assert [column.signal for column in compilation.table.groups[0].columns] == ["In"]
    assert compilation.warnings == ("line 8: M.Out does not fit into 2 bytes: left out",)


def test_a_big_endian_signal_past_the_end_of_the_frame_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    path.write_text(dbc_text('BO_ 1 M: 2 ECU\n SG_ Out : 11|16@0+ (1,0) [0|0] "" ECU'))
    assert compile_dbc(path).table.groups == ()


def test_floats_keep_their_width(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 8 ECU\n SG_ F : 0|32@1- (1,0) [0|0] "" ECU\n',
        'BO_ 2 N: 8 ECU\n SG_ D : 0|64@1- (1,0) [0|0] "" ECU\n',
        "SIG_VALTYPE_ 1 F : 1;\nSIG_VALTYPE_ 2 D : 2;",
    )
    groups = compiled(tmp_path, text).groups
    assert [group.columns[0].raw_type for group in groups] == [RawType.FLOAT32, RawType.FLOAT64]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DbcError, match=r"gone\.dbc: No such file") as caught:
        compile_dbc(tmp_path / "gone.dbc")
    assert "Next step" in caught.value.diagnostics()


def test_a_syntax_error_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.dbc"
    path.write_text(dbc_text('BO_ one M: 8 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU'))
    with pytest.raises(DbcError) as caught:
        compile_dbc(path)
    assert caught.value.line == 6
    assert "broken.dbc:6" in str(caught.value)
    assert "Correct that line" in caught.value.diagnostics()


def test_an_error_that_names_a_message_is_reported_with_that_message_s_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.dbc"
    path.write_text(dbc_text('BO_ 4294967295 Far: 8 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU'))
    with pytest.raises(DbcError) as caught:
        compile_dbc(path)
    assert caught.value.line == 6


@pytest.mark.parametrize("content", [b"\x00\xff\xfe" * 40, b"PK\x03\x04zip", b"(1.0) can0 123#00\n", b"BO_ "])
def test_what_is_no_dbc_is_refused_with_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.dbc"
    path.write_bytes(content)
    with pytest.raises(DbcError, match="not readable as DBC"):
        compile_dbc(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.dbc"
    with path.open("wb") as file:
        file.truncate(DBC_BYTES_MAX + 1)
    with pytest.raises(DbcError, match="hardly a DBC"):
        compile_dbc(path)


def test_a_table_of_a_newer_version_says_to_compile_again() -> None:
    newer = codec.encode([TABLE_VERSION + 1, bytes(32), [], []])
    with pytest.raises(ProtocolError, match="compile the DBC again") as caught:
        DecodeTable.from_bytes(newer)
    assert caught.value.code is Reject.UNSUPPORTED_VERSION


def test_damaged_tables_are_refused_and_never_half_read() -> None:
    good = codec.decode(compile_dbc(DEMO).table.to_bytes(), max_bytes=1 << 20, max_depth=10)
    assert isinstance(good, list)
    _, digest, messages, groups = good
    column_outside = [[*group[:3], [[c[0], c[1], 64, 9, *c[4:]] for c in group[3]]] for group in groups]
    damaged = (
        b"",
        codec.encode([]),
        codec.encode([TABLE_VERSION]),
        codec.encode([TABLE_VERSION, digest[:-1], messages, groups]),
        codec.encode([TABLE_VERSION, digest, messages[::-1], groups]),
        codec.encode([TABLE_VERSION, digest, messages, groups[1:]]),
        codec.encode([TABLE_VERSION, digest, messages, column_outside]),
        codec.encode([TABLE_VERSION, digest, [[1, "M", 8, "0", []]], groups]),
        codec.encode([TABLE_VERSION, digest, messages, [["x"]]]),
    )
    for data in damaged:
        with pytest.raises(ProtocolError):
            DecodeTable.from_bytes(data)


def test_the_command_line_writes_a_table(tmp_path: Path) -> None:
    out = tmp_path / "demo.table"
    assert main([str(DEMO), str(out)]) == 0
    assert DecodeTable.from_bytes(out.read_bytes()) == compile_dbc(DEMO).table
    assert list(tmp_path.iterdir()) == [out]


def test_the_command_line_says_what_is_wrong_and_exits_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "gone.dbc"), str(tmp_path / "t")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main([str(DEMO), str(tmp_path / "no" / "folder")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_decoding_with_a_table_needs_no_cantools() -> None:
    code = (
        "import sys, device.acquisition.decode, device.acquisition.sample, device.acquisition.plausibility, "
        "device.profile_reader; sys.exit('cantools' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
