"""Key files and passphrases: what opens, what does not, and that nothing secret is said."""

import json
import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.lender.errors import KeyFileError, LenderError
from backend.lender.key_file import new_key_file, open_key_file, read_public_key
from backend.lender.passphrase import Passphrase
from protocol.envelope import verify_raw
from tests.builders.lender import CHEAP_LOG2_N, PASSPHRASE, Desk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    new_key_file(tmp_path / "max.key", PASSPHRASE, log2_n=CHEAP_LOG2_N)
    return tmp_path / "max.key"


def test_a_key_file_opens_with_its_passphrase_and_signs(path: Path) -> None:
    signer = open_key_file(path, PASSPHRASE)
    verify_raw(read_public_key(path), b"order", signer.sign(b"order"))
    assert signer.sign(b"order") == signer.sign(b"order"), "signing again gives the same part"


def test_a_wrong_passphrase_is_told_without_it(path: Path) -> None:
    with pytest.raises(KeyFileError, match="does not open") as told:
        open_key_file(path, "four words somebody said")
    assert "four words" not in told.value.diagnostics()


def test_no_secret_stands_in_the_file(path: Path) -> None:
    signer = open_key_file(path, PASSPHRASE)
    scalar = signer._private_key.private_numbers().private_value
    assert f"{scalar:064x}" not in path.read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content | {"log2_n": CHEAP_LOG2_N + 1},
        lambda content: content | {"salt": "00" * 16},
        lambda content: content | {"nonce": "00" * 12},
        lambda content: content | {"sealed": "00" * 48},
        lambda content: content | {"log2_n": 40},
        lambda content: content | {"log2_n": 1},
        lambda content: content | {"cipher": "none"},
        lambda content: content | {"sealed": "xx"},
        lambda content: content | {"cose_key": "00" * 75},
        lambda content: content | {"more": 1},
        lambda content: {name: value for name, value in content.items() if name != "salt"},
    ],
)
def test_an_altered_key_file_does_not_open(path: Path, change: Callable[[dict], dict]) -> None:  # type: ignore[type-arg]
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(KeyFileError):
        open_key_file(path, PASSPHRASE)


def test_a_public_key_of_somebody_else_in_the_file_is_found(path: Path, tmp_path: Path) -> None:
    new_key_file(tmp_path / "eve.key", PASSPHRASE, log2_n=CHEAP_LOG2_N)
    other = json.loads((tmp_path / "eve.key").read_text())["cose_key"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cose_key": other}))
    with pytest.raises(KeyFileError):
        open_key_file(path, PASSPHRASE)


def test_a_key_file_that_others_can_read_is_refused_with_the_remedy(path: Path) -> None:
    path.chmod(0o640)
    with pytest.raises(KeyFileError) as told:
        open_key_file(path, PASSPHRASE)
    assert told.value.next_step == f"chmod 600 {path}"


def test_a_key_is_never_overwritten(path: Path) -> None:
    with pytest.raises(LenderError, match="exists already"):
        new_key_file(path, PASSPHRASE, log2_n=CHEAP_LOG2_N)


def test_a_passphrase_file_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(PASSPHRASE)
    (tmp_path / "pass").chmod(0o644)
    with pytest.raises(KeyFileError, match="open to others"):
        Passphrase(file=tmp_path / "pass").read("key")


def test_a_short_passphrase_is_not_taken_for_a_new_key(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.secret("short.txt", "short")
    ended = desk.run("key", "new", "new.key", "--passphrase-file", "short.txt", exit_code=5)
    assert "at least 12 characters" in ended.output
    assert not (desk / "new.key").exists()


def _in_terminal(folder: Path, *words: str, answers: tuple[str, ...]) -> tuple[int, str]:
    """Run `tbox lender …` in a terminal of its own, answer each question, return exit code and screen."""
    child, screen = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execv(
            sys.executable, [sys.executable, "-c", "from tbox.cli import main; main()", "lender", *words]
        )
    shown = b""
    waiting = list(answers)
    while True:
        try:
            more = os.read(screen, 4_096)
        except OSError:  # the terminal is gone: the child has ended
            break
        if not more:
            break
        shown += more
        if waiting and more.rstrip().endswith(b":"):
            os.write(screen, waiting.pop(0).encode() + b"\n")
    _, status = os.waitpid(child, 0)
    os.close(screen)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_at_a_terminal_the_passphrase_is_asked_twice_and_not_echoed(tmp_path: Path) -> None:
    code, screen = _in_terminal(tmp_path, "key", "new", "max.key", answers=(PASSPHRASE, PASSPHRASE))
    assert code == 0, screen
    assert screen.count("passphrase of max.key") == 2
    assert PASSPHRASE not in screen
    assert open_key_file(tmp_path / "max.key", PASSPHRASE)


def test_at_a_terminal_two_different_passphrases_make_no_key(tmp_path: Path) -> None:
    code, screen = _in_terminal(tmp_path, "key", "new", "max.key", answers=(PASSPHRASE, PASSPHRASE + "x"))
    assert code == 5, screen
    assert "differ" in screen
    assert not (tmp_path / "max.key").exists()
