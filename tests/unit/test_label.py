"""The sticker on a box: serials that notice a slip of the hand, and a code that names the keys."""

from itertools import combinations
from pathlib import Path

import pytest

import protocol
from protocol.errors import ProtocolError, Reject
from protocol.label import SERIAL_ALPHABET, BoxLabel, check_character, make_serial, read_label, read_serial

DEVICE = "ab" * 32
MCU = "0c" * 32
SERIAL = "TB-000123-Y"


def _swapped(text: str, first: int, second: int) -> str:
    characters = list(text)
    characters[first], characters[second] = characters[second], characters[first]
    return "".join(characters)


def _refused(text: str) -> str:
    with pytest.raises(ProtocolError) as refused:
        read_label(text)
    assert refused.value.code is Reject.BAD_FIELD
    return refused.value.detail


def test_the_code_of_a_box_is_this_text_and_stays_so() -> None:
    text = BoxLabel.of(make_serial("TB", 123), device=DEVICE, mcu_id=MCU).text()
    assert text == "TBOX-L1:TB-000123-Y:ABABABABABABABABABAB:0C0C0C0C0C0C0C0C0C0C:6F37"
    specification = Path(protocol.__file__).parent / "SPEC.md"
    assert f"```\n{text}\n```" in specification.read_text("utf-8")


def test_a_label_is_read_back_and_names_its_keys_and_no_others() -> None:
    label = read_label(BoxLabel.of(SERIAL, device=DEVICE, mcu_id=MCU).text())
    assert label.serial == SERIAL
    assert label.is_of_device(DEVICE)
    assert not label.is_of_device(MCU)
    assert label.is_of_mcu(MCU)
    assert not label.is_of_mcu(DEVICE)
    assert not label.is_of_mcu(None)


def test_a_box_without_a_microcontroller_has_a_label_too() -> None:
    label = read_label(BoxLabel.of(SERIAL, device=DEVICE, mcu_id=None).text())
    assert label.is_of_mcu(None)
    assert not label.is_of_mcu(MCU)


def test_every_character_that_is_wrong_in_a_serial_is_found() -> None:
    for at, right in enumerate(SERIAL):
        for other in SERIAL_ALPHABET if right != "-" else "":
            if other != right:
                with pytest.raises(ProtocolError):
                    read_serial(SERIAL[:at] + other + SERIAL[at + 1 :])


def test_every_two_characters_that_changed_places_are_found() -> None:
    serial = "TB2A9CX5" + check_character("TB2A9CX5")
    assert _is_serial(serial)
    for first, second in combinations(range(len(serial)), 2):
        swapped = _swapped(serial, first, second)
        assert swapped == serial or not _is_serial(swapped), swapped


def _is_serial(text: str) -> bool:
    try:
        read_serial(text)
    except ProtocolError:
        return False
    return True


@pytest.mark.parametrize("typed", ["tb-000123-y", "TB 000123 Y", "tboooi23y", "TB-OOOL23-Y"])
def test_what_a_person_types_is_read_kindly(typed: str) -> None:
    assert read_serial(typed) == SERIAL


@pytest.mark.parametrize(
    "typed", ["", "TB-00123-Y", "QU-000123-Y", "12-000123-Y", "TB-000123-YY", "TÜ-000123-Y"]
)
def test_what_is_no_serial_is_refused_with_how_one_looks(typed: str) -> None:
    with pytest.raises(ProtocolError, match="A serial looks like TB-000123-Y"):
        read_serial(typed)


def test_each_altered_character_of_a_code_is_refused() -> None:
    text = BoxLabel.of(SERIAL, device=DEVICE, mcu_id=MCU).text()
    for at in range(len(text)):
        _refused(text[:at] + ("Z" if text[at] != "Z" else "Y") + text[at + 1 :])


def test_another_code_a_torn_one_and_a_newer_one_each_have_their_sentence() -> None:
    text = BoxLabel.of(SERIAL, device=DEVICE, mcu_id=MCU).text()
    assert "scan the sticker on the box" in _refused("https://example.org/1234")
    assert "scan the sticker on the box" in _refused("TBOX-L1:" + "A" * 4000)
    assert "type the serial below it" in _refused(text[:-9])


@pytest.mark.parametrize(
    ("letters", "number"), [("TB", -1), ("TB", 1_000_000), ("T", 1), ("tb", 1), ("IL", 1), ("T1", 1)]
)
def test_a_serial_is_made_of_two_letters_and_six_digits_only(letters: str, number: int) -> None:
    with pytest.raises(ProtocolError):
        make_serial(letters, number)
