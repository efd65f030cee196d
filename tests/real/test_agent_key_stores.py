"""`tbox agent keys` and `enrol` with the key in a chip: a real PKCS#11 token and a real TPM's firmware.

softhsm2 keeps its settings for a process's life, so that each command has a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from device.adapters.key_store import KeyName
from device.agent.cli import app
from device.agent.home import AgentHome
from device.agent.wiring import wire
from protocol.envelope import Kind, open_sign1, sign1
from protocol.ids import thumbprint
from simulators.pki import CertificateAuthority
from tests.builders.agent_http import Answer, Json, Server, good_answer
from tests.builders.chips import running_tpm
from tests.builders.tokens import PIN, Token, plug_in

pytestmark = [pytest.mark.real, pytest.mark.slow]
TOKEN = "tboxe_" + "ab" * 24


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Token:
    return plug_in(tmp_path, monkeypatch, label="box")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    authority = CertificateAuthority.create(tmp_path / "ca")
    with Server() as server:
        server.answer = lambda path, body: _answer(authority, path, body)
        yield server


def _answer(authority: CertificateAuthority, path: str, body: Json) -> Answer:
    if path.endswith("/nonce"):
        return 200, {"nonce": "00" * 16}
    return 201, good_answer(authority, body)


def agent(*words: object, code: int = 0) -> str:
    """Run `tbox agent …` in a process of its own and return what it printed."""
    command = [sys.executable, "-c", "from tbox.cli import main; main()", "agent", *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout + run.stderr


def asked(home: Path, *words: object) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(agent("keys", "--home", home, *words, "--json"))
    return made


def pin_file(folder: Path, pin: str = PIN, mode: int = 0o600) -> Path:
    path = folder / "pin.txt"
    path.write_text(pin)
    path.chmod(mode)
    return path


def test_a_box_whose_key_is_in_a_token_enrols_and_answers_to_its_name(
    token: Token, server: Server, tmp_path: Path
) -> None:
    home = tmp_path / "box"
    where = (
        "--pkcs11-module",
        token.module,
        "--pkcs11-token",
        "box",
        "--pkcs11-pin-file",
        pin_file(tmp_path),
    )
    made = asked(home, "--key-store", "pkcs11", *where)
    assert asked(home) == made, "its record says where the key is"
    assert not (home / "keys" / "d2.key").exists()
    agent("enrol", "--home", home, "--api", server.url, "--token", TOKEN)
    assert json.loads(agent("status", "--home", home, "--json"))["device"] == made["device"]


@pytest.mark.parametrize(
    ("name", "pin", "mode", "sentence"),
    [
        ("box", "0000-wrong", 0o600, "the token box refuses the PIN"),
        ("other", PIN, 0o600, "there is no token other"),
        ("box", PIN, 0o644, "key is open to others"),
    ],
)
def test_what_is_wrong_with_a_token_is_said_in_one_sentence_and_makes_no_key(
    token: Token, tmp_path: Path, name: str, pin: str, mode: int, sentence: str
) -> None:
    home, secret = tmp_path / "box", pin_file(tmp_path, pin, mode)
    where = ("--pkcs11-module", token.module, "--pkcs11-token", name, "--pkcs11-pin-file", secret)
    said = agent("keys", "--home", home, "--key-store", "pkcs11", *where, code=2)
    assert said.splitlines()[0].startswith(sentence)
    assert pin not in said
    assert not (home / "keys" / "d2.json").exists()


def test_a_box_whose_key_is_in_a_tpm_enrols_and_renews_by_its_signature(
    server: Server, tmp_path: Path
) -> None:
    home = tmp_path / "box"
    with running_tpm(tmp_path) as tpm:
        where = ("--key-store", "tpm", "--tpm", tpm.tcti, "--tpm-handle", "0x81000002")
        agent("enrol", "--home", home, "--api", server.url, "--token", TOKEN, *where)
        device = asked(home)["device"]
        assert asked(home, *where)["key_store"] == "tpm"
        agent("renew", "--home", home)
        signer = wire(AgentHome(home)).signer
        batch = sign1(Kind.BATCH, b"what the car said", signer)
        key = AgentHome(home).keys.signer(KeyName.D2).public_key
        assert (
            open_sign1(batch, Kind.BATCH, {signer.kid: key}.get, max_bytes=500).payload
            == b"what the car said"
        )
        assert thumbprint(key).hex() == device == signer.kid.hex()
        assert json.loads(agent("status", "--home", home, "--json"))["device"] == device
        moved = agent("keys", "--home", home, "--key-store", "file", code=2)
        assert "a new key would make this another device" in moved
    assert "the TPM is not reached" in agent("keys", "--home", home, code=4)


def test_options_that_do_not_fit_each_other_are_said_before_anything_is_made(tmp_path: Path) -> None:
    home = tmp_path / "box"
    for words in (
        ("--key-store", "file", "--tpm-handle", "0x81000001"),
        ("--key-store", "pkcs11", "--pkcs11-token", "box"),
        ("--key-store", "tpm", "--tpm-handle", "0x80000000"),
        ("--key-store", "tpm", "--tpm", "swtpm:host=10.0.0.1,port=2321"),
    ):
        done = CliRunner().invoke(app, ["keys", "--home", str(home), *words])
        assert done.exit_code == 2
        assert "Meaning: " in done.stderr
    assert not home.exists()
