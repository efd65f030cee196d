"""`tbox install record`: what verifies, what is refused with which sentence, and what the PDF says."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pypdf
import pytest
from typer.testing import CliRunner

from firmware_tools.record_cli import app
from firmware_tools.record_pdf import record_pdf, with_unit
from protocol import base64url
from protocol.ids import cose_key_bytes
from protocol.install_forms import sign_work_ticket
from protocol.install_record import encode_record, write_record_file
from protocol.vectors.installs import (
    INSTALLER,
    POLICY_SIGNER,
    RECORD,
    TICKET,
    install_messages,
)
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import MCU
from protocol.vectors.story import DEVICE_SIGNER

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.envelope import Signer

GOOD = install_messages()


def written(folder: Path, *, ticket: bytes = GOOD["work-ticket"]) -> Path:
    path = folder / "record.json"
    text = write_record_file(
        record=GOOD["commissioning-record"], attestation=GOOD["commissioning"], ticket=ticket
    )
    path.write_text(text, "utf-8")
    return path


def trusting(folder: Path, *signers: Signer) -> Path:
    path = folder / "trust.json"
    keys = [cose_key_bytes(signer.public_key).hex() for signer in signers]  # type: ignore[attr-defined]
    policy = [cose_key_bytes(POLICY_SIGNER.public_key).hex()]
    path.write_text(json.dumps({"keys": keys, "policy_keys": policy}), "utf-8")
    return path


def asked(*words: object) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_a_record_signed_by_all_four_verifies_offline(tmp_path: Path) -> None:
    trust = trusting(tmp_path, DEVICE_SIGNER, INSTALLER, MCU)
    code, found = asked("verify", written(tmp_path), "--trust", trust)
    assert (code, found["verified"], found["record"]["vin"]) == (0, True, RECORD.vin)
    assert found["sha256"] == hashlib.sha256(encode_record(RECORD)).hexdigest()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_each_signer_must_be_trusted(tmp_path: Path, missing: int) -> None:
    signers = [DEVICE_SIGNER, INSTALLER, MCU]
    del signers[missing]
    code, found = asked("verify", written(tmp_path), "--trust", trusting(tmp_path, *signers))
    assert (code, found["error"]) == (1, "KEY_UNKNOWN")


@pytest.mark.parametrize("name", ["record", "commissioning", "work_ticket"])
def test_a_flipped_signature_of_anyone_is_refused(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    message = bytearray(base64url.to_bytes(content[name]))
    message[-1] ^= 1
    path.write_text(json.dumps(content | {name: base64url.to_text(bytes(message))}), "utf-8")
    code, found = asked("verify", path, "--trust", trusting(tmp_path, DEVICE_SIGNER, INSTALLER, MCU))
    assert (code, found["error"]) == (1, "SIGNATURE_WRONG")


def test_words_that_say_more_than_the_bytes_are_refused_before_any_key(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    content["readable"]["vin"] = "LSVAA4182E2999999"
    path.write_text(json.dumps(content), "utf-8")
    code, found = asked("show", path)
    assert (code, found["error"]) == (1, "RECORD_CHANGED")


@pytest.mark.parametrize(
    "change", [{"ticket_id": bytes(16)}, {"vin": "LSVAA4182E2999999"}, {"lender_id": bytes(8)}]
)
def test_a_ticket_of_another_installation_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    other = sign_work_ticket(replace(TICKET, **change), POLICY_SIGNER)
    trust = trusting(tmp_path, DEVICE_SIGNER, INSTALLER, MCU)
    code, found = asked("verify", written(tmp_path, ticket=other), "--trust", trust)
    assert (code, found["error"]) == (1, "OTHER_TICKET")


def test_a_ticket_that_the_backend_did_not_sign_is_refused(tmp_path: Path) -> None:
    forged = sign_work_ticket(TICKET, published_signer("stranger"))
    trust = trusting(tmp_path, DEVICE_SIGNER, INSTALLER, MCU)
    code, found = asked("verify", written(tmp_path, ticket=forged), "--trust", trust)
    assert (code, found["error"]) == (1, "KEY_UNKNOWN")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', "\x00" * 9])
def test_another_file_is_called_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, "utf-8")
    assert asked("show", path)[1]["error"] == "NOT_A_RECORD"


def test_a_file_that_is_not_there_and_a_trust_that_is_none_are_said_so(tmp_path: Path) -> None:
    assert asked("show", tmp_path / "none.json")[1]["error"] == "NO_FILE"
    trust = tmp_path / "trust.json"
    trust.write_text('{"keys": ["00"]}', "utf-8")
    assert asked("verify", written(tmp_path), "--trust", trust)[1]["error"] == "BAD_TRUST"


def said_by(data: bytes) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)


def test_the_pdf_says_what_was_signed_and_names_its_hash(tmp_path: Path) -> None:
    out = tmp_path / "record.pdf"
    trust = trusting(tmp_path, DEVICE_SIGNER, INSTALLER, MCU)
    assert asked("pdf", written(tmp_path), "--trust", trust, "--out", out)[0] == 0
    text = said_by(out.read_bytes())
    digest = hashlib.sha256(encode_record(RECORD)).hexdigest()
    for part in (digest, RECORD.vin, "SUPPLY", "12480 mV", "11500 to 15000 mV", "verified", "Bound:"):
        assert str(part) in text


def test_the_same_record_gives_the_same_pdf_and_another_a_different_one() -> None:
    def printed(vin: str) -> bytes:
        return record_pdf(replace(RECORD, vin=vin), sha256=bytes(32), signers=("a", "b"))

    assert printed("LSVAA4182E2123456") == printed("LSVAA4182E2123456")
    assert printed("LSVAA4182E2123456") != printed("LSVAA4182E2999999")


def test_a_unit_is_said_once() -> None:
    shown = [with_unit("3 s", "s"), with_unit("12480", "mV"), with_unit("", "s"), with_unit("on", "")]
    assert shown == ["3 s", "12480 mV", "", "on"]


def test_letters_that_the_font_lacks_are_shown_as_their_code_points() -> None:
    data = record_pdf(replace(RECORD, facts={"place": "上海"}), sha256=bytes(32), signers=("a", "b"))
    assert "\\u4e0a\\u6d77" in said_by(data)
