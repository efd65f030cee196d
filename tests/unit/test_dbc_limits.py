"""A DBC that is a bomb: refused or cut down by a named limit, fast, and in little memory."""

import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from device.dbc_compiler import Compilation, compile_dbc
from device.dbc_file import DbcError
from device.dbc_findings import FindingKind
from protocol.limits import (
    DBC_BROKEN_MAX,
    DBC_BYTES_MAX,
    DBC_FINDINGS_MAX,
    DBC_MESSAGE_BYTES_MAX,
    DBC_MESSAGES_MAX,
    DBC_SELECTOR_VALUES_MAX,
    DBC_SIGNALS_MAX,
    DBC_VALUE_TEXTS_MAX,
    DBC_VERBATIM_CHARS_MAX,
)

ONE = 'BO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n'
SECONDS_MAX = 20.0  # of a busy machine; a quiet one takes below one, and minutes without the limits
MEMORY_MAX = 8 * DBC_BYTES_MAX


def measured(path: Path) -> Compilation | DbcError:
    """Compile a file; fail when it takes long or much memory."""
    tracemalloc.start()
    begin = time.monotonic()
    try:
        result: Compilation | DbcError = compile_dbc(path)
    except DbcError as error:
        result = error
    seconds = time.monotonic() - begin
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < SECONDS_MAX
    assert peak < MEMORY_MAX
    return result


def refused(path: Path, *parts: str) -> str:
    path.write_text("".join(parts))
    result = measured(path)
    assert isinstance(result, DbcError)
    assert result.next_step
    return str(result)


def read(path: Path, *parts: str) -> Compilation:
    path.write_text("".join(parts))
    result = measured(path)
    assert isinstance(result, Compilation), result
    return result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bomb.dbc"


def test_a_million_signals_are_refused_by_size(path: Path) -> None:
    line = ' SG_ A : 0|8@1+ (1,0) [0|0] "" X\n'
    with path.open("w") as file:
        file.write("BO_ 1 M: 8 X\n")
        for _ in range(100):
            file.write(line * 10_000)
    result = measured(path)
    assert isinstance(result, DbcError)
    assert f"at most {DBC_BYTES_MAX}" in str(result)


def test_half_a_million_short_signals_are_refused_by_number(path: Path) -> None:
    sentence = refused(path, "BO_ 1 M: 8 X\n", ' SG_ A:0|8@1+(1,0)[0|0]""X\n' * 500_000)
    assert f"500000 signals, at most {DBC_SIGNALS_MAX}" in sentence


def test_signals_that_share_a_line_are_counted_too(path: Path) -> None:
    sentence = refused(path, "BO_ 1 M: 8 X", ' SG_ A:0|8@1+(1,0)[0|0]""X' * (DBC_SIGNALS_MAX + 1))
    assert f"{DBC_SIGNALS_MAX + 1} signals, at most" in sentence


def test_too_many_messages_are_refused(path: Path) -> None:
    sentence = refused(path, *(f"BO_ {number} M: 8 X\n" for number in range(DBC_MESSAGES_MAX + 1)))
    assert f"more than {DBC_MESSAGES_MAX} messages" in sentence


@pytest.mark.parametrize("separator", ["\n", " ", "//\n"])
def test_a_message_longer_than_any_is_left_out_wherever_it_stands(path: Path, separator: str) -> None:
    compilation = read(path, ONE, 'CM_ "x";', separator, "BO_ 2 Long: 4000000000 X", separator)
    assert [message.name for message in compilation.table.messages] == ["M"]
    assert f"at most {DBC_MESSAGE_BYTES_MAX}" in compilation.warnings[0]


@pytest.mark.parametrize("place", ["0|4000000000@1+", "4000000000|8@1+", "4000000000|8@0-", "0|0@1+"])
def test_a_signal_that_cannot_be_is_left_out(path: Path, place: str) -> None:
    compilation = read(path, ONE, f' SG_ B : {place} (1,0) [0|0] "" X\n')
    assert [column.signal for column in compilation.table.groups[0].columns] == ["A"]
    assert compilation.findings[0].line == 3


MUXED = 'BO_ 2 N: 8 X\n SG_ S M : 0|8@1+ (1,0) [0|0] "" X\n SG_ B m0 : 8|8@1+ (1,0) [0|0] "" X\n'


def test_a_range_of_selector_values_without_end_leaves_its_message_out(path: Path) -> None:
    compilation = read(path, ONE, MUXED, "SG_MUL_VAL_ 2 B S 0-4294967295;\n")
    assert [message.name for message in compilation.table.messages] == ["M"]
    assert f"at most {DBC_SELECTOR_VALUES_MAX}" in compilation.warnings[0]


def test_switches_within_switches_may_not_multiply_without_end(path: Path) -> None:
    signals = [f' SG_ S{n} m0M : {n}|1@1+ (1,0) [0|0] "" X\n' for n in range(1, 30)]
    ranges = [f"SG_MUL_VAL_ 2 S{n} S{n - 1} 0-9;\n" for n in range(1, 30)]
    top = 'BO_ 2 N: 8 X\n SG_ S0 M : 0|1@1+ (1,0) [0|0] "" X\n'
    compilation = read(path, ONE, top, *signals, *ranges)
    assert [message.name for message in compilation.table.messages] == ["M"]
    assert compilation.findings[0].kind is FindingKind.LIMIT


def test_a_ring_of_switches_is_no_trap(path: Path) -> None:
    ring = "SG_MUL_VAL_ 2 S B 0-1;\nSG_MUL_VAL_ 2 B S 0-1;\n"
    compilation = read(path, ONE, MUXED.replace("m0", "m0M"), ring)
    assert "N.B is multiplexed by a signal that is not there: left out" in "\n".join(compilation.warnings)


def test_long_lists_that_do_not_matter_cost_little(path: Path) -> None:
    assert read(path, "BU_: ", "A " * 500_000, "\n", ONE).findings == ()
    assert read(path, ONE, 'CM_ BO_ 1 "a comment as others are";\n' * 20_000).findings == ()


def test_the_texts_of_too_many_values_are_left_out(path: Path) -> None:
    pairs = " ".join(f'{number} "x"' for number in range(DBC_VALUE_TEXTS_MAX + 1))
    compilation = read(path, ONE, f"VAL_ 1 A {pairs} ;\n")
    assert [finding.kind for finding in compilation.findings] == [FindingKind.LIMIT]


def test_text_that_is_mostly_broken_is_refused(path: Path) -> None:
    assert f"more than {DBC_BROKEN_MAX}" in refused(path, ONE, 'CM_ "\n' * 100_000)


def test_findings_are_listed_up_to_a_number_and_counted_beyond(path: Path) -> None:
    compilation = read(path, ONE, "CM_ no comment;\n" * (DBC_FINDINGS_MAX + 7))
    assert len(compilation.findings) == DBC_FINDINGS_MAX + 1
    assert compilation.findings[-1].what == "7 more findings"


@pytest.mark.parametrize(
    "text",
    [
        "SIG_VALTYPE_ 1 A" + " " * 500_000 + "x",
        "SG_ A" + " " * 500_000 + "x",
        'CM_ "' + '\\"' * 500_000,
        "\x00" * 2_000_000,
        "/" * 1_000_000,
        "//\n" * 500_000,
        '"' * 500_000,
        "BO_ " * 500_000,
    ],
)
def test_text_made_to_stall_the_reader_does_not(path: Path, text: str) -> None:
    assert read(path, ONE, text).table.messages[0].name == "M"


def test_a_kcd_with_a_length_beyond_any_message_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bomb.kcd"
    path.write_text('<NetworkDefinition>\n<Message id="0x1" length="4000000000"/></NetworkDefinition>')
    result = measured(path)
    assert isinstance(result, DbcError)
    assert result.line == 2
    path.write_text("<x/>" * DBC_VERBATIM_CHARS_MAX)
    assert "Convert it to DBC" in getattr(measured(path), "next_step", "")


@pytest.mark.parametrize(
    "signal",
    [
        ' SG_ A m{0} : 0|8@1+ (1,0) [0|0] "" X\n',
        ' SG_ A{0} m : 0|8@1+ (1,0) [0|0] "" X\n',
        ' SG_ {0}A : 0|8@1+ (1,0) [0|0] "" X\n',
        " SG_ A{0} M : 0|8\n",
    ],
)
def test_many_signals_of_one_message_take_no_longer_each(path: Path, signal: str) -> None:
    path.write_text("BO_ 1 M: 8 X\n" + "".join(signal.format(number) for number in range(4_000)))
    begin = time.monotonic()
    with suppress(DbcError):
        compile_dbc(path)
    assert time.monotonic() - begin < SECONDS_MAX
