"""Text of a DBC that nobody can read: what it may be about is left out, and nothing untrue is said of it."""

from pathlib import Path

import pytest

from device.dbc_compiler import Compilation, compile_dbc
from protocol.signals import RawType
from tests.builders.can import dbc_text

ONE = 'BO_ 256 A: 8 X\n SG_ F : 16|32@1- (1,0) [0|0] "" X\n SG_ G : 0|8@1+ (1,0) [0|0] "" X\n'
OTHER = 'BO_ 512 B: 8 X\n SG_ F : 16|32@1- (1,0) [0|0] "" X\n SG_ H : 0|8@1+ (1,0) [0|0] "" X\n'
SWITCHED = (
    'BO_ 256 A: 8 X\n SG_ MX M : 0|8@1+ (1,0) [0|0] "" X\n SG_ F m1 : 8|8@1+ (1,0) [0|0] "" X\n'
    ' SG_ G : 16|8@1+ (1,0) [0|0] "" X\n'
)


def compiled(tmp_path: Path, *parts: str) -> Compilation:
    path = tmp_path / "car.dbc"
    path.write_text(dbc_text(*parts))
    return compile_dbc(path)


def signals(compilation: Compilation) -> dict[str, set[str]]:
    table = compilation.table
    return {
        message.name: {
            column.signal
            for group in table.groups
            if group.can_id == message.can_id
            for column in group.columns
        }
        for message in table.messages
    }


@pytest.mark.parametrize(
    "text",
    [
        "SIG_ VALTYPE_ 256 F : 1;",
        "SIGVALTYPE_ 256 F : 1;",
        "sig_valtype_ 256 F : 1;",
        "SIG_VALTYPE_ 0x100 F : 1;",
        "SIG_VALTYPE_ 256 F : 1.5;",
        "SIG_VALTYPE_ 256 F G1 : 1;",
        "SIG_VLATYPE_ 256 F : 1;",
        "SG_TYPE 256 F : 1 ;",
        'VAL_ 256 G 1 "x" y ;\nSIG_ VALTYPE_ 256 F : 1;',
        'CM_ "open\nSIG_ VALTYPE_ 256 F : 1;',
        'VAL_ 256 G 1 "x" ; SIG_ VALTYPE_ 256 F : 1;',
    ],
)
def test_a_float_type_that_cannot_be_read_leaves_its_signal_out_and_is_not_called_idle(
    tmp_path: Path, text: str
) -> None:
    compilation = compiled(tmp_path, ONE, OTHER, text)
    assert signals(compilation) == {"A": {"G"}, "B": {"F", "H"}}
    assert not any("does not matter" in sentence for sentence in compilation.warnings)
    assert any("signal F of A: line" in sentence for sentence in compilation.warnings)


@pytest.mark.parametrize(
    "text", ["SIG_ VALTYPE_ F : 1;", "SIG_VALTYPE_ 2 56 F : 1;", "SIG_VALTYPE_ 0y100 F : 1;"]
)
def test_a_float_type_of_no_message_leaves_every_signal_of_that_name_out(tmp_path: Path, text: str) -> None:
    assert signals(compiled(tmp_path, ONE, OTHER, text)) == {"A": {"G"}, "B": {"H"}}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("SG_MUL_VAL_ 256 F MX 5-;", {"MX", "G"}),
        ("SG_MULVAL_ 256 F MX 5-5;", {"G"}),
        ("SG_MUL_VAL_ 0x100 F MX 5-5;", {"G"}),
        ("SG_MXL_VAL 256 F MX 5-5, 7-9;", {"G"}),
        ("SG_MUL_VAL_ 256 F; MX 5-5;", {"MX", "G"}),
    ],
)
def test_multiplexer_values_that_cannot_be_read_leave_their_signal_out(
    tmp_path: Path, text: str, left: set[str]
) -> None:
    assert signals(compiled(tmp_path, SWITCHED, text)) == {"A": left}


@pytest.mark.parametrize(
    ("text", "is_idle"),
    [
        ('CM_ SG_ 256 F "says "VALTYPE" and" ;', False),
        ('CM_ 256 "about SIG_VALTYPE_ 256 F";', True),
        ("BO_TX_BU_ 256 ECU;", True),
        ("words about F", False),
        ('CM_ "open\nwords', False),
        ('BA_ "VFrameFormat" BO_ 256 J1939PG;', False),
        ('VAL_ 256 F 1 "SIG_VALTYPE_" y ;', False),
    ],
)
def test_only_what_has_no_part_in_decoding_is_said_not_to_matter(
    tmp_path: Path, text: str, *, is_idle: bool
) -> None:
    compilation = compiled(tmp_path, ONE, text)
    assert signals(compilation) == {"A": {"F", "G"}}
    (sentence,) = compilation.warnings
    assert sentence.endswith("left out, it does not matter for decoding" if is_idle else ": left out")


def test_a_float_type_that_can_be_read_stays_one(tmp_path: Path) -> None:
    compilation = compiled(tmp_path, ONE, "words\nSIG_VALTYPE_ 256 F 1")
    types = {column.signal: column.raw_type for column in compilation.table.groups[0].columns}
    assert types["F"] is RawType.FLOAT32


NESTED = (
    'BO_ 256 A: 8 X\n SG_ G0 M : 0|4@1+ (1,0) [0|0] "" X\n SG_ G1 m0M : 4|4@1+ (1,0) [0|0] "" X\n'
    ' SG_ S m1 : 8|8@1+ (1,0) [0|0] "" X\n SG_ P : 16|8@1+ (1,0) [0|0] "" X\n'
)


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ("", {"G0", "P"}),
        ("SG_MUL_VAL_ 256 G1 G0 0-0;", {"G0", "G1", "P"}),
        ("SG_MUL_VAL_ 256 S G1 1-1;", {"G0", "P"}),
        ("SG_MUL_VAL_ 256 G1 G0 0-0;\nSG_MUL_VAL_ 256 S GX 1-1;", {"G0", "G1", "P"}),
        ("SG_MUL_VAL_ 256 G1 G0 0-0;\nSG_MUL_VAL_ 256 S P 1-1;", {"G0", "G1", "P"}),
        ("SG_MUL_VAL_ 256 G1 G0 0-0;\nSG_MUL_VAL_ 256 S G1 1-1;", {"G0", "G1", "S", "P"}),
    ],
)
def test_of_several_switches_one_must_be_named_for_each_signal(
    tmp_path: Path, values: str, left: set[str]
) -> None:
    compilation = compiled(tmp_path, NESTED, values)
    assert signals(compilation) == {"A": left}
    assert len(compilation.findings) == 4 - len(left)
    assert all(sentence.endswith(": left out") for sentence in compilation.warnings)


def test_a_signal_whose_named_switch_is_not_there_is_not_given_to_another(tmp_path: Path) -> None:
    compilation = compiled(tmp_path, SWITCHED, "SG_MUL_VAL_ 256 F HX 1-1;")
    assert signals(compilation) == {"A": {"MX", "G"}}
    (sentence,) = compilation.warnings
    assert "names HX as its switch, which is not there" in sentence


def test_multiplexer_values_of_a_signal_that_is_not_there_are_said_to_be_left_out(tmp_path: Path) -> None:
    (sentence,) = compiled(tmp_path, SWITCHED, "SG_MUL_VAL_ 256 GONE MX 1-1;").warnings
    assert "SG_MUL_VAL_ of A.GONE, which is not there" in sentence
