"""An officer's key in a real PKCS#11 token: softhsm2. What it signs, the protocol's verifier believes.

The library keeps its settings for a process's life, so that each run of commands has a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.lender.roots import read_root_file
from protocol import orders_authority
from protocol.orders import check_signature
from tests.builders.lender import LENDER, Desk
from tests.builders.tokens import PIN, Token, plug_in

pytestmark = pytest.mark.real
KEY = "pkcs11:token=officer;object=sign"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Token:
    return plug_in(tmp_path, monkeypatch)


def _run(desk: Desk, token: Token, *words: object, exit_code: int = 0, pin: str = PIN) -> str:
    """Run `tbox lender …` in a process of its own and return what it printed."""
    desk.secret("pin.txt", pin)
    command = [sys.executable, "-c", "from tbox.cli import main; main()", "lender", *map(str, words)]
    command += ["--passphrase-file", "pin.txt", "--pkcs11-module", str(token.module)]
    run = subprocess.run(command, cwd=desk.folder, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == exit_code, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_a_token_makes_a_key_shows_it_and_signs_as_a_root_officer(desk: Desk, token: Token) -> None:
    made = json.loads(_run(desk, token, "key", "new", KEY, "--json"))
    shown = json.loads(_run(desk, token, "key", "show", KEY, "--out", "ann.pub", "--json"))
    assert shown["kid"] == made["kid"]
    desk.key("bob")
    officers = ("--officer", "ann.pub", "--officer", "bob.pub")
    desk.run("root", "new", "--issuer", LENDER, *officers, "--threshold", 2, "--out", "root.json")
    desk.key("max")
    words = ("--role", "maker", "--person", "M-1", "--public", "max.pub", "--out", "max.draft", "--count", 3)
    desk.run("delegation", "draft", "--issuer", LENDER, *words)
    _run(desk, token, "delegation", "sign", "max.draft", "--key", KEY, "--out", "ann.part", "--yes")
    parts = ["ann.part", desk.sign("delegation", "max.draft", "bob")]
    desk.run("delegation", "assemble", "max.draft", *parts, "--root", "root.json", "--out", "max.delegation")
    roots = {LENDER: read_root_file(desk / "root.json").to_root()}
    for number in (1, 2, 3):
        data = (desk / f"max-{number}.delegation").read_bytes()
        assert orders_authority.read_delegation(data, roots, check_signature).person == "M-1"


@pytest.mark.parametrize(
    ("key", "pin", "reason"),
    [
        (KEY, "wrong-pin-0000", "refuses the PIN"),
        ("pkcs11:token=nobody;object=sign", PIN, "there is no token nobody"),
        ("pkcs11:token=officer;object=other", PIN, "has 0 PRIVATE_KEY"),
        (f"{KEY}?pin-value={PIN}", PIN, "does not belong into the name of a key"),
        ("pkcs11:sign", PIN, "is named pkcs11:token=NAME;object=LABEL"),
    ],
)
def test_a_token_that_cannot_sign_says_why_in_one_sentence(
    desk: Desk, token: Token, key: str, pin: str, reason: str
) -> None:
    _run(desk, token, "key", "new", KEY)
    said = _run(desk, token, "key", "show", key, exit_code=5, pin=pin)
    assert reason in said
    assert pin not in said.replace(key, "")


def test_a_second_key_of_the_same_label_is_not_made(desk: Desk, token: Token) -> None:
    _run(desk, token, "key", "new", KEY)
    assert "has an object sign already" in _run(desk, token, "key", "new", KEY, exit_code=5)


def test_a_library_that_is_none_is_said(desk: Desk, token: Token) -> None:
    (desk / "lib.so").write_text("no library")
    wrong = Token(label=token.label, module=desk / "lib.so")
    assert "cannot be used" in _run(desk, wrong, "key", "show", KEY, exit_code=5)
