"""Broken lines of a DBC: none of them swallows the next one, and none gives a signal to the wrong message."""

from pathlib import Path

import pytest

from device.dbc_compiler import Compilation, compile_dbc
from device.dbc_file import DbcError
from protocol.signals import RawType
from tests.builders.can import dbc_text

LOOSE = ' SG_ 7S : 0|8@1+ (1,0) [0|0] "" X'
EXACT = ' SG_ S : 0|8@1+ (1,0) [0|0] "" X'
LATER = ' SG_ T : 8|8@1+ (1,0) [0|0] "" X'
SWITCHED = ' SG_ T m1 : 8|8@1+ (1,0) [0|0] "" X'


def compiled(tmp_path: Path, *lines: str) -> Compilation:
    path = tmp_path / "car.dbc"
    path.write_text(dbc_text("\n".join(lines)))
    return compile_dbc(path)


def signals(compilation: Compilation) -> dict[str, list[str]]:
    table = compilation.table
    return {
        message.name: [
            column.signal
            for group in table.groups
            if group.can_id == message.can_id
            for column in group.columns
        ]
        for message in table.messages
    }


@pytest.mark.parametrize("header", ["BO_512 B: 8 X", "BO 512 B: 8 X", "SG_ 512 B: 8 X", "512 B: 8 X"])
@pytest.mark.parametrize(
    ("before", "read"),
    [
        (EXACT, ["S"]),
        (EXACT.removesuffix(" X"), ["S"]),  # its receiver is missing, and none stands in the next line
        (EXACT + ",", ["S"]),
        (LOOSE, ["7S"]),
        (EXACT.replace("|8@", ";8@"), []),
        (EXACT + "\n some words\n SG MORE : 16|8@1+ (1,0)", ["S"]),
        (EXACT + '\nCM_ "open\n SG MORE : 16|8@1+ (1,0)', ["S"]),
        (EXACT + "\nBU_: X", ["S"]),
    ],
)
def test_a_mistyped_message_keeps_its_signals_from_the_one_before(
    tmp_path: Path, before: str, read: list[str], header: str
) -> None:
    compilation = compiled(tmp_path, "BO_ 256 A: 8 X", before, header, LATER)
    assert signals(compilation) == {"A": read}
    said = [str(finding) for finding in compilation.findings]
    assert any("SG_ T" in sentence and sentence.endswith("left out") for sentence in said), said


def test_a_mistyped_message_behind_one_with_an_odd_name_gets_its_signals_left_out(tmp_path: Path) -> None:
    assert signals(compiled(tmp_path, "BO_ 256 7A: 8 X", "BO_512 B: 8 X", LATER)) == {"7A": []}


def test_a_mistyped_message_with_its_signal_in_its_line_ends_the_one_before(tmp_path: Path) -> None:
    header = f"BO 512 B: 8 X{EXACT}"
    assert signals(compiled(tmp_path, "BO_ 256 A: 8 X", LOOSE, header, LATER)) == {"A": ["7S"]}


@pytest.mark.parametrize(
    "switch",
    [
        "SG MX M : 16|4@1+ (1,0)",
        "MX M : 16|4@1+ (1,0)",
        "MX m0M : 16|4@1+ (1,0)",
        "SG_ MX:M 16|4@1+ (1,0)",
        'SG MORE : 24|8@1+ (1,0) [0|0] "" X SG_ MX M 16|4@1+ (1,0)',
    ],
)
@pytest.mark.parametrize(
    ("before", "read"), [(EXACT, ["S"]), (EXACT.removesuffix(" X"), ["S"]), (LOOSE, ["7S"])]
)
def test_a_mistyped_switch_behind_any_line_takes_its_signals_with_it(
    tmp_path: Path, before: str, read: list[str], switch: str
) -> None:
    compilation = compiled(tmp_path, "BO_ 256 A: 8 X", before, f" {switch}", SWITCHED)
    assert signals(compilation) == {"A": read}


@pytest.mark.parametrize("name", ["H", "1H"])
def test_two_signals_in_one_line_are_both_read(tmp_path: Path, name: str) -> None:
    line = LOOSE.replace("7S", name) + LATER
    assert signals(compiled(tmp_path, "BO_ 256 A: 8 X", line)) == {"A": [name, "T"]}
    assert signals(compiled(tmp_path, f"BO_ 256 7A: 8 X{line}")) == {"7A": [name, "T"]}


def test_a_float_type_behind_a_signal_with_an_odd_name_makes_it_a_float(tmp_path: Path) -> None:
    line = LOOSE.replace("0|8", "0|32")
    compilation = compiled(tmp_path, "BO_ 256 A: 8 X", f"{line} SIG_VALTYPE_ 256 7S : 1;")
    assert compilation.table.groups[0].columns[0].raw_type is RawType.FLOAT32


def test_the_digits_of_an_identifier_are_never_a_name(tmp_path: Path) -> None:
    with pytest.raises(DbcError, match="no message: BO_ 2561: 8 X"):
        compiled(tmp_path, "BO_ 2561: 8 X", EXACT)
    whole = compiled(tmp_path, "BO_ 256 A: 8 X", EXACT.replace(" S ", " 1 ").replace("0|8", "0|32"))
    other = compiled(
        tmp_path,
        "BO_ 256 A: 8 X",
        EXACT.replace(" S ", " 1 ").replace("0|8", "0|32"),
        "SIG_VALTYPE_ 2561 : 1;",
    )
    assert signals(whole) == {"A": ["1"]}
    assert not any(
        column.raw_type is RawType.FLOAT32 for group in other.table.groups for column in group.columns
    )
