"""The small parts of an installation: what is kept, what the link says, which words there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import device.commissioning
from device.commissioning.diagnosis import codes_of, is_vin, odometer_km_of, vin_of
from device.commissioning.progress import Progress
from device.orders.link import read_part, read_status
from protocol import install_words, strict_cbor
from protocol.errors import ProtocolError
from protocol.install_report import StepRow
from protocol.install_vocabulary import Stage, Step, StepState
from tests.builders.orders_desk import status

FOLDER = Path(device.commissioning.__file__).parent


def test_progress_survives_and_a_step_under_way_begins_again() -> None:
    kept = Progress(stage=Stage.OPEN, ticket=b"t", seqs={bytes(16): 4}, used=[bytes(16)], bitrate=250_000)
    kept.steps[Step.SUPPLY] = StepRow(step=Step.SUPPLY, state=StepState.PASS, measured="12600")
    kept.steps[Step.CRANK_WIRE] = StepRow(step=Step.CRANK_WIRE, state=StepState.ASKING)
    found = Progress.load(kept.dump())
    assert found.steps[Step.SUPPLY] == kept.steps[Step.SUPPLY]
    assert found.steps[Step.CRANK_WIRE].state is StepState.WAITING
    assert found.steps[Step.CRANK_WIRE].code == "INTERRUPTED"
    assert (found.seqs, found.used, found.bitrate) == (kept.seqs, kept.used, 250_000)


@pytest.mark.parametrize("data", [b"\xff", b"\xa0", b"\xa1\x01\x02", b"\xa1\x01\x01", bytes(70_000)])
def test_a_damaged_progress_is_an_empty_one_and_says_so(data: bytes) -> None:
    found = Progress.load(data)
    assert found.is_damaged
    assert found.stage is Stage.IDLE
    assert not Progress.load(b"").is_damaged


def test_a_progress_cut_anywhere_is_damage_or_itself() -> None:
    whole = Progress(stage=Stage.OPEN, ticket=b"t" * 40, facts={"vin": "x"}).dump()
    assert all(Progress.load(whole[:at]).is_damaged for at in range(1, len(whole)))


def test_old_tickets_are_forgotten_before_the_file_grows() -> None:
    kept = Progress()
    for number in range(200):
        kept.note_seq(number.to_bytes(16, "big"), 1)
        kept.note_used(number.to_bytes(16, "big"))
    assert len(kept.seqs) == len(kept.used) == 64
    assert (199).to_bytes(16, "big") in kept.seqs


def test_the_wires_and_benches_of_a_status_are_read_and_odd_ones_are_unknown() -> None:
    bench = [bytes(16), 12, 3, 0, 0, True]
    found = read_status(status(key_18=[12_480, True, False, None, "still", False], key_19=[bench]))
    assert found.inputs is not None
    assert (found.inputs.supply_mv, found.inputs.ignition, found.inputs.engine) == (12_480, True, None)
    assert found.benches[0].crank_s == 3
    assert read_status(status()).inputs is None
    assert read_status(status(key_18=["x"])).inputs is None
    assert read_status(status(key_19=7)).benches == ()


def test_a_part_without_a_signature_is_no_part() -> None:
    for fields in (
        {1: 1, 2: 11, 3: bytes(32), 4: b"p"},
        {1: 1, 2: 11, 3: bytes(32), 4: b"p", 5: bytes(63)},
        {1: 1, 2: 0, 3: bytes(32)},
        {1: 1, 2: 5, 3: bytes(32), 6: b"x"},
        {1: 1, 2: 0, 3: bytes(31), 6: b"x"},
    ):
        with pytest.raises(ProtocolError):
            read_part(strict_cbor.dumps(fields))
    assert read_part(strict_cbor.dumps({1: 1, 2: 0, 3: bytes(32), 6: b"x"})).message == b"x"


def test_answers_that_are_none_of_ours_are_none() -> None:
    assert vin_of(b"\x7f\x09\x12") is None
    assert vin_of(b"\x49\x02\x01" + b"IOQ" + b"0" * 14) is None
    assert vin_of(b"\x49\x02\x01" + bytes(3) + b"TBXTEST0000000042") == "TBXTEST0000000042"
    assert not is_vin("TBXTEST000000004")
    assert codes_of(b"\x7f\x03\x11") is None
    assert codes_of(b"\x59\x02\xff\x01") is None
    assert codes_of(b"\x43\x00") == ()
    assert codes_of(b"\x59\x02\xff") == ()
    assert codes_of(bytes.fromhex("43014123")) == ("C0123",)
    assert odometer_km_of(b"\x41\xa6\x00") is None
    assert odometer_km_of(b"\x41\x0c\x00\x00\x00\x00") is None


def test_every_code_that_the_engine_says_has_its_sentence_in_two_languages() -> None:
    text = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
    said = set(re.findall(r"(?:fail|RefusedError)\(\s*\"([A-Z_]+)\"", text))
    said |= set(re.findall(r"code = \"([A-Z_]+)\"|_refuse\(\"([A-Z_]+)\"", text)[0])
    known = {**install_words.FINDINGS, **install_words.REFUSALS}
    assert len(said) >= 40
    assert said - {""} <= set(known)
    asked = set(re.findall(r"asks(?::[^=]+)? = \"([A-Z_]+)\"", text))
    assert asked <= set(install_words.ASKS)
    for words in (*known.values(), *install_words.ASKS.values()):
        assert words.en.endswith(".")
        assert words.zh.endswith("。")
        assert len(words.en) <= 110
