"""`tbox install label`: serials, drawings that carry the code's modules, pages, and what is refused."""

import json
import re
from pathlib import Path

import segno
from typer.testing import CliRunner

from firmware_tools.label import app
from firmware_tools.label_drawing import label_svg, sheet_svg
from protocol.label import BoxLabel, make_serial

DEVICE, MCU = "ab" * 32, "0c" * 32
SERIAL = make_serial("TB", 123)


def _says(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout if code == 0 else done.stderr


def _modules(path: str) -> set[tuple[int, int]]:
    """Return the dark modules that a drawing's path fills."""
    runs = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", path)
    return {(int(row), int(x) + i) for x, row, wide, back in runs for i in range(int(wide)) if wide == back}


def test_a_drawing_has_exactly_the_modules_of_its_code_and_the_serial_to_read_aloud() -> None:
    label = BoxLabel.of(SERIAL, device=DEVICE, mcu_id=MCU)
    matrix = segno.make(label.text(), error="q", boost_error=False, micro=False, version=4).matrix
    dark = {(row, column) for row, line in enumerate(matrix) for column, bit in enumerate(line) if bit}
    drawn = label_svg(label)
    assert _modules(drawn) == dark
    assert f">{SERIAL}</text>" in drawn


def test_serials_have_their_check_characters() -> None:
    assert json.loads(_says("serials", "TB", 122, "--count", 2, "--json")) == {
        "serials": [make_serial("TB", 122), SERIAL]
    }


def test_what_was_drawn_is_read_as_the_same_box(tmp_path: Path) -> None:
    text = _says("draw", SERIAL, "--device", DEVICE, "--mcu", MCU).strip()
    assert json.loads(_says("read", text, "--json")) == {
        "serial": SERIAL,
        "device": "ab" * 10,
        "mcu": "0c" * 10,
    }
    assert json.loads(_says("read", "tb 000123 y", "--json"))["serial"] == SERIAL
    _says("draw", SERIAL, "--device", DEVICE, "--out", tmp_path / "l.png")
    assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_has_every_label_in_its_own_place(tmp_path: Path) -> None:
    serials = [make_serial("TB", number) for number in range(48)]
    labels = [BoxLabel.of(serial, device=DEVICE, mcu_id=None) for serial in serials]
    (tmp_path / "texts").write_text("\n".join(label.text() for label in labels))
    _says("sheet", tmp_path / "texts", "--out", tmp_path / "sheet.svg")
    page = (tmp_path / "sheet.svg").read_text()
    assert page == sheet_svg(labels)
    places = re.findall(r'<g transform="translate\((\S+) (\S+)\)"', page)
    assert len(set(places)) == 48
    assert all(float(x) + 38 <= 210 and float(y) + 21 <= 297 for x, y in places)
    assert all(serial in page for serial in serials)


def test_every_refusal_is_one_sentence_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "many").write_text("x\n" * 49)
    for words, said in (
        (("draw", "TB-000124-Y", "--device", DEVICE), "LABEL: A character of the serial is wrong"),
        (("draw", SERIAL, "--device", "ab"), "LABEL: a device id is 64"),
        (("draw", SERIAL, "--device", DEVICE, "--out", tmp_path / "l.gif"), "LABEL: A label is written as"),
        (("draw", SERIAL, "--device", DEVICE, "--out", tmp_path / "no" / "l.svg"), "NOT_WRITTEN: "),
        (("serials", "IL", 1), "LABEL: A serial begins with two capitals"),
        (("read", "TBOX-L1:TB-000123-Y:AB"), "LABEL: The code of the box is damaged"),
        (("sheet", tmp_path / "many", "--out", tmp_path / "s.svg"), "LABEL: "),
        (("sheet", tmp_path / "missing", "--out", tmp_path / "s.svg"), "UNREADABLE: "),
    ):
        told = _says(*words, code=1)
        assert told.startswith(said)
        assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many"]
