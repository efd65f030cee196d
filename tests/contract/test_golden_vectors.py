"""Payloads and values that the cantools tests state or recorded: every one decodes to its value.

The vectors of `golden/obdb` are answers over ISO-TP to OBD-II and UDS questions; no DBC describes them, so
no frame of theirs decodes by one.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from cantools.database.can import Database, Message
from cantools.database.namedsignalvalue import NamedSignalValue

from device.acquisition.decode import Decoder
from device.acquisition.lot import EXTENDED
from device.dbc_compiler import compile_dbc
from device.dbc_file import DbcError, load_database
from protocol.batch import DropCause
from tests.builders.can import Values, flat_values_by_frame, lot_of, values_by_frame

# Of a format that is not read; the recordings do not hold the file either.
ARXML = "system-4.2.arxml"


def vectors(test_data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((test_data / "golden" / "cantools_vectors.json").read_text())
    return found


def in_numbers(message: Message, vector: dict[str, Any]) -> Values:
    """Return the stated values as physical numbers: texts and unscaled ones by the DBC's own scale."""
    is_raw = vector["upstream_test"].endswith("no_scaling_no_decode_choices")
    return {name: in_number(message, name, value, is_raw=is_raw) for name, value in vector["decoded"].items()}


def in_number(message: Message, name: str, value: float | str, *, is_raw: bool) -> int | float:
    conversion = message.get_signal_by_name(name).conversion
    if isinstance(value, str):
        choices = conversion.choices or {}
        raw = next(number for number, text in choices.items() if text_of(text) == value)
    elif is_raw:
        raw = int(value)
    else:
        return value
    number = conversion.raw_to_scaled(raw, decode_choices=False)
    assert isinstance(number, int | float)
    return number


def text_of(choice: str | NamedSignalValue) -> str:
    return choice.name if isinstance(choice, NamedSignalValue) else choice


def message_of(database: Database, vector: dict[str, Any]) -> Message:
    return next(message for message in database.messages if message.frame_id == vector["frame_id"])


@pytest.mark.data
def test_every_vector_decodes_to_its_value(test_data: Path) -> None:
    passed, cut, elsewhere = 0, 0, 0
    for vector in vectors(test_data):
        name = Path(vector["db"]).name
        if name == ARXML:
            elsewhere += 1
            continue
        path = test_data / "dbc" / "cantools" / name
        table = compile_dbc(path).table
        database, _ = load_database(path, path.read_bytes())
        message, payload = message_of(database, vector), bytes.fromhex(vector["data_hex"])
        lot = lot_of([(0, vector["frame_id"] | (EXTENDED if message.is_extended_frame else 0), payload)])
        decoded = Decoder(table).decode(lot)
        if len(payload) < message.length:
            # A short frame is a fault, unless one asks for what lies whole in it, as this vector does.
            assert vector["options"]["allow_truncated"]
            assert decoded.counts.drops == {DropCause.SHORT: 1}
            assert decoded.groups == ()
            values = flat_values_by_frame(table, lot, keeps_short=True)[0]
            assert values == pytest.approx(in_numbers(message, vector), rel=1e-12), vector
            cut += 1
            continue
        expected = in_numbers(message, vector)
        assert values_by_frame(table, decoded)[0] == pytest.approx(expected, rel=1e-12), vector
        assert flat_values_by_frame(table, lot)[0] == pytest.approx(expected, rel=1e-12), vector
        passed += 1
    assert (passed, cut, elsewhere) == (51, 2, 1)


@pytest.mark.data
def test_each_golden_dbc_is_read_without_a_word(test_data: Path) -> None:
    names = {Path(vector["db"]).name for vector in vectors(test_data)} - {ARXML}
    assert len(names) == 7
    for name in names:
        compilation = compile_dbc(test_data / "dbc" / "cantools" / name)
        assert all("parameter group" in warning for warning in compilation.warnings), compilation.warnings


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / ARXML
    path.write_text("<AUTOSAR/>")
    with pytest.raises(DbcError, match=r"\.arxml is no format that is read here") as caught:
        compile_dbc(path)
    assert "Convert it to DBC" in caught.value.diagnostics()
