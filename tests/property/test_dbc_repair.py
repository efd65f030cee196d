"""The repair of DBC files: it changes nothing that is well-formed, and what it writes means the same."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.dbc_compiler import compile_dbc
from device.dbc_findings import Findings
from device.dbc_repair import Repaired, repair
from device.dbc_statements import statements
from device.dbc_text import decode_text
from protocol.limits import DBC_VERBATIM_CHARS_MAX
from tests.builders.can import dbc_files, dbc_text

DEMO = Path("dbc/tbox_demo.dbc")

# The files of the recordings that cantools refuses.
NOT_WELL_FORMED = {"from_sym_test.dbc", "issue_199_extended.dbc", "tesla_can.dbc"}


def repaired(text: str) -> Repaired:
    return repair(Path("x.dbc"), text, Findings())


def own_dbcs(test_data: Path) -> list[Path]:
    return [path for path in dbc_files(test_data) if path.suffix.lower() == ".dbc"]


def without_hash(path: Path) -> object:
    table = compile_dbc(path).table
    return table.messages, table.groups


@pytest.mark.data
def test_every_well_formed_dbc_goes_on_as_it_stands(test_data: Path) -> None:
    paths = own_dbcs(test_data)
    assert len(paths) == 86
    for path in paths:
        text = decode_text(path.read_bytes(), Findings())
        if path.name in NOT_WELL_FORMED:
            assert not repaired(text).is_original, path
        else:
            assert repaired(text).text is text, path


@pytest.mark.data
def test_every_dbc_written_anew_means_the_same(test_data: Path, tmp_path: Path) -> None:
    anew = tmp_path / "anew.dbc"
    for path in own_dbcs(test_data):
        text = decode_text(path.read_bytes(), Findings())
        if len(text) > 20_000 or not compile_dbc(path).table.messages:
            continue
        draft = repaired(text + "\nno statement\n")
        assert not draft.is_original
        for line, statement in enumerate(draft.text.split("\n"), start=1):
            if statement.startswith("BO_ "):
                assert text.split("\n")[line - 1].split()[2].rstrip(":") in statement
        anew.write_text(draft.text, encoding="utf-8")
        assert without_hash(anew) == without_hash(path), path


def test_our_own_dbc_written_anew_means_the_same(tmp_path: Path) -> None:
    anew = tmp_path / "anew.dbc"
    anew.write_text(repaired(DEMO.read_text() + "\nno statement\n").text)
    assert without_hash(anew) == without_hash(DEMO)


def test_a_long_text_is_reduced_without_a_word(tmp_path: Path) -> None:
    long = tmp_path / "long.dbc"
    long.write_text(DEMO.read_text() + 'CM_ "more";\n' * (DBC_VERBATIM_CHARS_MAX // 12))
    assert compile_dbc(long).findings == ()
    assert without_hash(long) == without_hash(DEMO)


@given(st.lists(st.sampled_from([*'"\\;: \n', "BO_ ", "SG_ ", "CM_ ", "VAL_ ", "1", "x", "//"]), max_size=60))
def test_every_character_is_in_one_statement_or_between_them(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = list(statements(text))
    assert all(item.text for item in found)
    assert [item.line for item in found] == sorted(item.line for item in found)
    place = 0
    for item in found:
        assert text.index(item.text, place) >= place
        place = text.index(item.text, place) + len(item.text)


names = st.text(st.characters(categories=["L", "N"], include_characters="_-.+"), min_size=1, max_size=12)


@given(st.lists(names, min_size=1, max_size=4, unique=True))
def test_any_name_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, odd: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "names.dbc"
    block = "".join(f' SG_ {name} : {8 * n}|8@1+ (1,0) [0|0] "" X\n' for n, name in enumerate(odd))
    path.write_text(dbc_text(f"BO_ 1 {odd[0]}: 8 X\n{block}"), encoding="utf-8")
    table = compile_dbc(path).table
    assert table.messages[0].name == odd[0]
    assert [column.signal for column in table.groups[0].columns] == odd
