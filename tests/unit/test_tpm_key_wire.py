"""The bytes between us and a TPM: what is asked, and what of its answers is not believed."""

from pathlib import Path

import pytest

from device.adapters import tpm_key_wire as wire
from device.adapters.key_store import KeyStoreError
from device.adapters.key_store_record import TokenPlace, parse_handle, read_place, write_place
from device.adapters.tpm_key import TpmPlace, open_tpm_key, parse_tcti


def _answer(body: bytes, code: int = 0) -> bytes:
    return b"\x80\x02" + (10 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body


def _signature(r: bytes, s: bytes, algorithm: bytes = b"\x00\x18\x00\x0b") -> bytes:
    inner = algorithm + len(r).to_bytes(2, "big") + r + len(s).to_bytes(2, "big") + s
    return _answer(len(inner).to_bytes(4, "big") + inner + b"\x00\x00\x01\x00\x00")


def test_a_question_says_its_own_length_and_carries_the_password_of_the_key() -> None:
    asked = wire.sign(0x81000001, b"\x05" * 32, b"\x07" * 32)
    assert int.from_bytes(asked[2:6], "big") == len(asked)
    assert asked[:2] + asked[6:14] == bytes.fromhex("80020000015d81000001")
    assert bytes.fromhex("40000009" + "0000" + "00" + "0020") + b"\x07" * 32 in asked
    assert bytes.fromhex("0020") + b"\x05" * 32 + bytes.fromhex("0018000b8024400000070000") == asked[-46:]


def test_short_halves_of_a_signature_are_filled_from_the_left() -> None:
    assert wire.signature_of(_signature(b"\x01", b"\x02" * 31)) == b"\0" * 31 + b"\x01" + b"\0" + b"\x02" * 31


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        _answer(b"")[:-1],
        _answer(b"") + b"\0",
        _signature(b"\x01" * 33, b"\x02" * 32),
        _signature(b"\x01" * 32, b"\x02" * 32, b"\x00\x14\x00\x0b"),
        _answer(b"\0\0\0\0\x00\x18\x00\x0b\x00\x20"),
    ],
)
def test_an_answer_of_another_form_is_not_a_signature(answer: bytes) -> None:
    with pytest.raises(wire.TpmFormError):
        wire.signature_of(answer)


def test_a_refusal_keeps_its_code() -> None:
    with pytest.raises(wire.TpmCodeError) as refused:
        wire.done(_answer(b"", 0x921))
    assert refused.value.code == 0x921


@pytest.mark.parametrize(
    "text",
    [
        "",
        "device:",
        "device:tpm0",
        "/dev/tpm0",
        "swtpm:host=10.0.0.1,port=1",
        "swtpm:host=127.0.0.1,port=0",
        "swtpm:host=127.0.0.1,port=70000",
        "swtpm:port=1",
        "mssim:host=127.0.0.1,port=1",
    ],
)
def test_a_tpm_is_a_device_or_a_simulator_of_this_machine(text: str) -> None:
    with pytest.raises(KeyStoreError, match="not a TPM's name"):
        parse_tcti(text)


def test_a_port_where_nobody_listens_is_said_and_may_be_tried_again() -> None:
    with pytest.raises(KeyStoreError) as away:
        open_tpm_key(TpmPlace(tcti="swtpm:host=127.0.0.1,port=1"), b"")
    assert away.value.is_transient


@pytest.mark.parametrize("text", ["0x81800000", "0x80000000", "0x7fffffff", "five", ""])
def test_only_a_persistent_handle_of_the_owner_is_taken(text: str) -> None:
    with pytest.raises(ValueError, match=r"persistent handle|invalid literal"):
        parse_handle(text)


def test_a_record_is_read_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    for place in (
        TpmPlace(tcti="swtpm:host=::1,port=2321", handle=0x81000005),
        TokenPlace(module=tmp_path / "m.so", token="box", label="d2", pin_file=tmp_path / "pin"),
    ):
        write_place(tmp_path, place)
        assert read_place(tmp_path) == place
    for text in (
        "",
        "[]",
        '{"schema": 2}',
        '{"schema": 1, "store": "file"}',
        '{"schema": 1, "store": "tpm"}',
    ):
        (tmp_path / "d2.json").write_text(text)
        with pytest.raises(KeyStoreError, match="not readable"):
            read_place(tmp_path)
