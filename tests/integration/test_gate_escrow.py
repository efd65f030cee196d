"""Keys of emergency codes at the gate and with an ombuds: what follows from them is what the car takes."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from backend.gate.cli import app
from backend.gate.store import GateStore
from device.mcu import floors
from device.mcu.override import OPENED, Override
from protocol.orders_override import code
from protocol.vectors.orders_story import EPOCH, MCU
from protocol.vectors.story import fixed_bytes

if TYPE_CHECKING:
    from pathlib import Path

KEY, EPISODE = fixed_bytes("K_ovr", 32), fixed_bytes("episode")
ID = MCU.kid.hex()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "k_ovr.hex"
    path.write_text(KEY.hex() + "\n")
    path.chmod(0o600)
    return path


def types(*words: object, code: int = 0) -> str:
    """Run a command; return all that it said."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_codes_from_the_gate_s_escrow_open_the_car_one_after_the_other(tmp_path: Path, key: Path) -> None:
    home = tmp_path / "gate"
    home.mkdir()
    types("escrow", "add", "--mcu", ID, "--key", key, "--home", home)
    kept = home / "escrow" / f"{ID}.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    said = json.loads(types("codes", "--mcu", ID, "--episode", EPISODE.hex(), "--home", home, "--json"))
    car, tick = Override(floors, KEY), 0
    car.begin(EPISODE, 3, 86_400, 0)
    for digits in said["codes"]:
        assert car.by_code(digits, tick) == OPENED
        tick += 86_401
    assert len(said["codes"]) == 3
    assert json.loads(types("escrow", "list", "--home", home, "--json")) == {"mcus": [ID]}


def test_the_journal_says_that_codes_were_computed_and_holds_no_digits(tmp_path: Path, key: Path) -> None:
    home = tmp_path / "gate"
    home.mkdir()
    types("escrow", "add", "--mcu", ID, "--key", key, "--home", home)
    types("codes", "--mcu", ID, "--episode", EPISODE.hex(), "--count", 16, "--home", home)
    store = GateStore.open(home / "gate.sqlite")
    with store.writing() as at:
        lines = at.journal(0, limit=-1)
    store.close()
    assert [line.event for line in lines] == ["escrow kept", "codes computed"]
    assert all(line.subject == MCU.kid for line in lines)
    digits = [code(KEY, EPISODE, number)[:8].encode() for number in range(1, 17)]
    everything = b"".join(path.read_bytes() for path in home.glob("gate.sqlite*"))
    assert not any(one in everything for one in [*digits, KEY, KEY.hex().encode()])


def test_an_ombuds_computes_the_same_codes_from_his_own_copy_without_a_gate(
    tmp_path: Path, key: Path
) -> None:
    out = tmp_path / "codes.json"
    words = ("codes", "--key", key, "--episode", EPISODE.hex(), "--home", tmp_path / "none")
    shown: dict[str, Any] = json.loads(types(*words, "--json"))
    assert shown["codes"] == [code(KEY, EPISODE, number) for number in (1, 2, 3)]
    types(*words, "--json", "--out", out)
    assert json.loads(out.read_text()) == shown
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert not (tmp_path / "none").exists()


def test_another_key_for_a_known_microcontroller_is_refused_and_the_first_stays(
    tmp_path: Path, key: Path
) -> None:
    home, other = tmp_path / "gate", tmp_path / "other.bin"
    home.mkdir()
    other.write_bytes(fixed_bytes("another K_ovr", 32))
    other.chmod(0o600)
    types("escrow", "add", "--mcu", ID, "--key", key, "--home", home)
    types("escrow", "add", "--mcu", ID, "--key", key, "--home", home)
    assert "another key" in types("escrow", "add", "--mcu", ID, "--key", other, "--home", home, code=7)
    assert (home / "escrow" / f"{ID}.key").read_text() == f"{KEY.hex()}\n"


def test_what_is_no_key_or_open_to_others_or_missing_is_said_with_what_to_do(
    tmp_path: Path, key: Path
) -> None:
    home = tmp_path / "gate"
    home.mkdir()
    wanted = ("--episode", EPOCH.hex(), "--home", home)
    assert "escrow add" in types("codes", "--mcu", ID, *wanted, code=5)
    assert "64 hex digits" in types("codes", "--mcu", ID[:-1], *wanted, code=7)
    assert "--mcu or --key" in types("codes", *wanted, code=7)
    key.chmod(0o644)
    assert "chmod 600" in types("codes", "--key", key, *wanted, code=5)
    key.chmod(0o600)
    key.write_text("00" * 32)
    assert "no key" in types("codes", "--key", key, *wanted, code=5)
