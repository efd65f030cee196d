"""The common sins of public DBC files: each is read, or left out alone, and said with its line."""

from pathlib import Path

import pytest

from device.acquisition.decode import Decoder
from device.dbc_compiler import Compilation, compile_dbc
from device.dbc_file import DbcError
from device.dbc_findings import FindingKind
from protocol.signals import RawType
from tests.builders.can import Values, dbc_text, lot_of, values_by_frame

GOOD = 'BO_ 100 Good: 8 ECU\n SG_ Fine : 0|8@1+ (1,0) [0|0] "" ECU\n'


def compiled(tmp_path: Path, text: str | bytes) -> Compilation:
    path = tmp_path / "car.dbc"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return compile_dbc(path)


def names(compilation: Compilation) -> dict[str, list[str]]:
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


def decoded(compilation: Compilation, can_id: int, payload: bytes) -> Values:
    table = compilation.table
    return values_by_frame(table, Decoder(table).decode(lot_of([(0, can_id, payload)]))).get(0, {})


def only_finding(compilation: Compilation) -> tuple[FindingKind, int | None, str]:
    assert len(compilation.findings) == 1, compilation.warnings
    finding = compilation.findings[0]
    return finding.kind, finding.line, str(finding)


def test_a_29_bit_identifier_without_its_flag_is_read_as_extended(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 419361792 Far: 1 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n', 'VAL_ 419361792 A 1 "one" ;'
    )
    compilation = compiled(tmp_path, text)
    kind, line, sentence = only_finding(compilation)
    assert (kind, line) == (FindingKind.IDENTIFIER, 6)
    assert "0x18FEF400" in sentence
    assert sentence.endswith("read as extended")
    assert decoded(compilation, 0x98FEF400, b"\7") == {"A": 7}


@pytest.mark.parametrize("dbc_id", [4294967295, 0x40140639, 0x20000000, 99999999999])
def test_an_identifier_that_is_none_leaves_its_message_out(tmp_path: Path, dbc_id: int) -> None:
    text = dbc_text(f'BO_ {dbc_id} Far: 1 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n', GOOD)
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"Good": ["Fine"]}
    kind, line, _ = only_finding(compilation)
    assert (kind, line) == (FindingKind.IDENTIFIER, 6)


def test_names_that_begin_with_a_digit_are_kept_everywhere(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 2017_5: 8 ECU\n SG_ 0_MUX M : 0|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ 1ST m1 : 8|32@1- (1,0) [0|0] "" ECU\n',
        'VAL_ 1 0_MUX 1 "one" 2 "two" ;\nSIG_VALTYPE_ 1 1ST : 1;\nCM_ SG_ 1 1ST "a comment";',
    )
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"2017_5": ["0_MUX", "1ST"]}
    assert compilation.table.groups[1].branch == "0_MUX=1"
    assert compilation.table.groups[1].columns[0].raw_type is RawType.FLOAT32
    assert compilation.table.messages[0].selectors[0].known == ((1, 2),)
    assert decoded(compilation, 1, b"\1\0\0\x80\x3f\0\0\0") == {"0_MUX": 1, "1ST": 1.0}
    lines = [finding.line for finding in compilation.findings if finding.kind is FindingKind.NAME]
    assert lines == [6, 7, 8]


def test_names_in_other_letters_and_with_dashes_are_kept(tmp_path: Path) -> None:
    text = dbc_text('BO_ 1 Öl-Druck: 1 ECU\n SG_ Größe.x : 0|8@1+ (1,0) [0|0] "°C" ECU\n')
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"Öl-Druck": ["Größe.x"]}
    assert compilation.table.groups[0].columns[0].unit == "°C"


@pytest.mark.parametrize(
    ("factor", "expected"), [(".25", 2.0), ("-.5", -4.0), ("+.125", 1.0), ("2.", 16), (".5e1", 40.0)]
)
def test_factors_without_a_leading_digit_are_read(tmp_path: Path, factor: str, expected: float) -> None:
    text = dbc_text(f'BO_ 1 M: 1 ECU\n SG_ A : 0|8@1+ ({factor},0) [0|0] "" ECU\n')
    assert decoded(compiled(tmp_path, text), 1, b"\x08") == {"A": expected}


@pytest.mark.parametrize(
    "comment",
    [
        'CM_ 145 "about a number";',
        'CM_ SG_ 304 "about no signal";',
        'CM_ "without an end"',
        'CM_ SG_ 100 Fine "with "quotes" in it";',
        'CM_ BO_ Good "a name for a number";',
        'BA_DEF_ BO_ "Receivable" BOOL False True;\nBA_ "Receivable" BO_ 100 False;',
        "SIG_GROUP_ 100 Group 1 Fine;",
        "some words that are no statement",
        "BO_TX_BU_ 100 ECU;",
    ],
)
def test_what_does_not_matter_for_decoding_is_left_out_and_said(tmp_path: Path, comment: str) -> None:
    compilation = compiled(tmp_path, dbc_text(GOOD, comment, 'VAL_ 100 Fine 1 "x" ;'))
    assert names(compilation) == {"Good": ["Fine"]}
    assert compilation.findings[0].line == 9
    assert {finding.kind for finding in compilation.findings} == {FindingKind.SYNTAX}


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ('VAL_ 100 Gone 1 "x" ;', "VAL_ of Good.Gone"),
        ('VAL_ 77 Fine 1 "x" ;', "VAL_ of signal Fine of message 77"),
        ("SIG_VALTYPE_ 100 Gone : 1;", "SIG_VALTYPE_ of Good.Gone"),
    ],
)
def test_a_statement_about_a_signal_that_is_not_there_is_left_out(
    tmp_path: Path, statement: str, missing: str
) -> None:
    compilation = compiled(tmp_path, dbc_text(GOOD, statement))
    kind, line, sentence = only_finding(compilation)
    assert (kind, line) == (FindingKind.REFERENCE, 9)
    assert missing in sentence
    assert names(compilation) == {"Good": ["Fine"]}


def test_value_texts_of_signals_without_a_message_are_no_sin_of_the_file(tmp_path: Path) -> None:
    free = (
        'BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 Vector__XXX\n SG_ Free : 0|8@1+ (1,0) [0|0] "" ECU\n'
    )
    compilation = compiled(tmp_path, dbc_text(free, GOOD, 'VAL_ 3221225472 Free 1 "x" ;'))
    assert compilation.findings == ()
    assert names(compilation) == {"Good": ["Fine"]}


def test_overlapping_signals_are_read_from_their_own_bits_and_said(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 2 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ B : 4|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ C : 15|4@0+ (1,0) [0|0] "" ECU'
    )
    compilation = compiled(tmp_path, text)
    kind, line, sentence = only_finding(compilation)
    assert (kind, line) == (FindingKind.LAYOUT, 8)
    assert "M.B shares bits with A" in sentence
    assert decoded(compilation, 1, b"\xab\xcd") == {"A": 0xAB, "B": 0xDA, "C": 0xC}


def test_branches_of_one_switch_share_bits_without_a_word_and_share_names(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 2 ECU\n SG_ S M : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ T m0 : 8|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ T m1 : 8|8@1+ (2,0) [0|0] "" ECU'
    )
    compilation = compiled(tmp_path, text)
    assert compilation.findings == ()
    assert decoded(compilation, 1, b"\0\5") == {"S": 0, "T": 5}
    assert decoded(compilation, 1, b"\1\5") == {"S": 1, "T": 10}


def test_a_signal_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 8 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ B : 8|8 (1,0) [0|0] "" ECU\n'
        ' SG_ C : 16|8@1+ (1,0) [0|0] "" ECU',
        GOOD,
    )
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"M": ["A", "C"], "Good": ["Fine"]}
    assert only_finding(compilation)[:2] == (FindingKind.SYNTAX, 8)


@pytest.mark.parametrize(
    "switch", ["SG_ S M : 0|8 (1,0)", 'SG_ S M : 0|0@1+ (1,0) [0|0] "" ECU', "SG_ S x1M : 0|8@1+ (1,0)"]
)
def test_signals_whose_switch_is_lost_are_left_out_with_it(tmp_path: Path, switch: str) -> None:
    text = dbc_text(
        f'BO_ 1 M: 8 ECU\n {switch}\n SG_ A m0 : 8|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ B : 16|8@1+ (1,0) [0|0] "" ECU'
    )
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"M": ["B"]}
    assert [finding.line for finding in compilation.findings] == [7, 8]


def test_a_signal_is_left_out_when_its_type_or_switch_cannot_be_understood(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 8 ECU\n SG_ S M : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ A m0 : 8|32@1- (1,0) [0|0] "" ECU\n'
        ' SG_ B m1 : 8|8@1- (1,0) [0|0] "" ECU\n SG_ C : 48|8@1- (1,0) [0|0] "" ECU',
        "SIG_VALTYPE_ 1 A : float;\nSG_MUL_VAL_ 1 B S 5-;",
    )
    assert names(compiled(tmp_path, text)) == {"M": ["S", "C"]}


def test_a_float_type_without_its_colon_is_still_a_float(tmp_path: Path) -> None:
    text = dbc_text('BO_ 1 M: 8 ECU\n SG_ A : 0|32@1- (1,0) [0|0] "" ECU\n', "SIG_VALTYPE_ 1 A 1;")
    assert compiled(tmp_path, text).table.groups[0].columns[0].raw_type is RawType.FLOAT32


def test_a_bare_m_is_the_switch_of_a_message_that_has_no_other(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 2 ECU\n SG_ S m : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ A m1 : 8|8@1+ (1,0) [0|0] "" ECU'
    )
    compilation = compiled(tmp_path, text)
    assert only_finding(compilation)[0] is FindingKind.MULTIPLEXING
    assert decoded(compilation, 1, b"\0\5") == {"S": 0}
    assert decoded(compilation, 1, b"\1\5") == {"S": 1, "A": 5}


def test_a_file_written_twice_is_read_once_and_floats_stay_floats(tmp_path: Path) -> None:
    text = dbc_text('BO_ 1 M: 8 ECU\n SG_ A : 0|32@1- (1,0) [0|0] "" ECU\n', "SIG_VALTYPE_ 1 A : 1;")
    compilation = compiled(tmp_path, text + text)
    assert compilation.table.messages == compiled(tmp_path, text).table.messages
    assert decoded(compilation, 1, b"\0\0\x80\x3f\0\0\0\0") == {"A": 1.0}


@pytest.mark.parametrize(
    ("content", "unit"),
    [
        (dbc_text(GOOD.replace('""', '"°C"')).encode("cp1252"), "°C"),
        (dbc_text(GOOD.replace('""', '"°C"')).encode("utf-8"), "°C"),
        (dbc_text(GOOD.replace('""', '"°C"')).encode("utf-8-sig"), "°C"),
        (dbc_text(GOOD.replace('""', '"°C"')).encode("utf-16"), "°C"),
        (dbc_text(GOOD).replace('""', '"\x00"').encode("cp1252").replace(b"\0", b"\x81"), "\ufffd"),
    ],
)
def test_the_encoding_is_found_out_and_said(tmp_path: Path, content: bytes, unit: str) -> None:
    compilation = compiled(tmp_path, content)
    assert compilation.table.groups[0].columns[0].unit == unit
    assert all(finding.kind is FindingKind.ENCODING for finding in compilation.findings)
    is_proper = content.startswith(b"VERSION") and unit == "°C" and b"\xc2" not in content
    assert (compilation.findings == ()) == is_proper


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_line_endings_do_not_matter(tmp_path: Path, ending: str) -> None:
    text = dbc_text(GOOD, 'VAL_ 100 Gone 1 "x" ;').replace("\n", ending)
    assert only_finding(compiled(tmp_path, text))[1] == 9


def test_attributes_that_do_not_fit_together_do_not_cost_the_file(tmp_path: Path) -> None:
    compilation = compiled(tmp_path, dbc_text(GOOD, 'BA_ "NeverDefined" BO_ 100 5;'))
    assert names(compilation) == {"Good": ["Fine"]}
    kind, _, sentence = only_finding(compilation)
    assert kind is FindingKind.ATTRIBUTE
    assert "NeverDefined" in sentence


def test_long_names_survive_a_repair(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 Short: 1 ECU\n SG_ S : 0|8@1+ (.5,0) [0|0] "" ECU\n',
        'BA_DEF_ BO_ "SystemMessageLongSymbol" STRING ;\nBA_DEF_ SG_ "SystemSignalLongSymbol" STRING ;',
        'BA_DEF_DEF_ "SystemMessageLongSymbol" "";\nBA_DEF_DEF_ "SystemSignalLongSymbol" "";',
        'BA_ "SystemMessageLongSymbol" BO_ 1 "A_very_long_message_name_of_more_than_32";',
        'BA_ "SystemSignalLongSymbol" SG_ 1 S "A_very_long_signal_name_of_more_than_32";',
    )
    assert names(compiled(tmp_path, text)) == {
        "A_very_long_message_name_of_more_than_32": ["A_very_long_signal_name_of_more_than_32"]
    }


def test_two_messages_of_one_name_are_both_read_and_said(tmp_path: Path) -> None:
    other = GOOD.replace("100", "101")
    compilation = compiled(tmp_path, dbc_text(GOOD, other))
    assert [message.can_id for message in compilation.table.messages] == [100, 101]
    assert only_finding(compilation)[:2] == (FindingKind.DUPLICATE, 9)


def test_a_file_of_which_no_message_is_left_names_the_line_in_its_way(tmp_path: Path) -> None:
    with pytest.raises(DbcError, match="no message of it can be read") as caught:
        compiled(tmp_path, dbc_text("BO_ 1 M 8 ECU"))
    assert caught.value.line == 6
    assert "car.dbc:6" in caught.value.diagnostics()


def test_one_bad_dbc_leaves_the_others_of_a_run_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.dbc").write_text("no DBC at all")
    with pytest.raises(DbcError):
        compile_dbc(tmp_path / "bad.dbc")
    assert names(compiled(tmp_path, dbc_text(GOOD))) == {"Good": ["Fine"]}


def test_no_character_of_a_file_reaches_a_screen_that_would_repaint_it(tmp_path: Path) -> None:
    red, bell = "\x1b[31m", "\x07"
    text = dbc_text(
        f'BO_ 1 {red}Red: 1 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n',
        f'BO_ 2 M: 1 ECU\n SG_ B{bell} : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ C : 0|8@1+ (1,0) [0|0] "{red}V" ECU',
        f"CM_ {red};",
    )
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"M": ["C"]}
    assert compilation.table.groups[0].columns[0].unit == "\ufffd[31mV"
    said = "".join(compilation.warnings)
    assert len(compilation.findings) == 3
    assert red not in said
    assert bell not in said


def test_signals_after_a_message_that_cannot_be_read_are_not_given_to_the_one_before(tmp_path: Path) -> None:
    broken = GOOD.replace("BO_", "B0_").replace("Fine", "Lost")
    compilation = compiled(
        tmp_path, dbc_text(GOOD, broken, GOOD.replace("100", "101").replace("Good", "Next"))
    )
    assert names(compilation) == {"Good": ["Fine"], "Next": ["Fine"]}
    assert [finding.line for finding in compilation.findings] == [9, 10]


def test_multiplexed_signals_are_left_out_when_a_broken_line_may_have_been_their_switch(
    tmp_path: Path,
) -> None:
    for line in (" S_ S M : 0|8@1+ (1,0)", " SG_ S M; 0|8@1+ (1,0)", ' SX_ S M : 0,8 (1,0) [0|0] "" ECU'):
        text = dbc_text(
            f'BO_ 1 M: 8 ECU\n{line}\n SG_ A m0 : 8|8@1+ (1,0) [0|0] "" ECU\n'
            ' SG_ B : 16|8@1+ (1,0) [0|0] "" ECU'
        )
        assert names(compiled(tmp_path, text)) == {"M": ["B"]}


def test_words_behind_a_signal_cost_nothing(tmp_path: Path) -> None:
    text = dbc_text(
        'BO_ 1 M: 8 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU1 ECU2\n SG_ B : 8|8@1+ (1,0) [0|0] "" ECU'
    )
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"M": ["A", "B"]}
    assert only_finding(compilation)[:2] == (FindingKind.SYNTAX, 7)


def test_signals_apart_from_their_message_are_read_and_said(tmp_path: Path) -> None:
    text = dbc_text(GOOD + 'CM_ "between";\n SG_ More : 8|8@1+ (1,0) [0|0] "" ECU')
    compilation = compiled(tmp_path, text)
    assert names(compilation) == {"Good": ["Fine", "More"]}
    assert only_finding(compilation)[:2] == (FindingKind.SYNTAX, 9)
