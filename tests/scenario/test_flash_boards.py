"""Boards that may not have a release, boards that cannot take it, and what a board runs afterwards."""

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device.mcu.record import Open, Record
from firmware_tools.board_link import LinkLostError, opened
from firmware_tools.cli import app
from firmware_tools.cli_errors import Exit
from firmware_tools.flash import Outcome, Report, flash
from firmware_tools.flash_plan import Refusal
from firmware_tools.release import Release
from protocol.cose_sign import read_sign
from protocol.mcu_link import Decoder
from protocol.orders_vocabulary import ACTIVE, LOCK, LOCKED
from protocol.strict_cbor import loads
from simulators.mcu_board import McuBoard
from simulators.mcu_usb import UNAME, McuUsb, UsbBoard, lay
from tests.builders.firmware import (
    boots,
    content,
    job,
    keep_record,
    put,
    real_release,
    small_release,
    wait_for,
)

MPREMOTE = Path(sys.executable).with_name("mpremote")
STATUS = 0x81
JSON = """
from ujson import *
import ujson
def dumps(value):
    return {} if isinstance(value, dict) else ujson.dumps(value)
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return small_release(tmp_path_factory.mktemp("one") / "release", number=1)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return small_release(tmp_path_factory.mktemp("two") / "release", number=2, floor=2)


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return real_release(tmp_path_factory.mktemp("firmware") / "release")


@pytest.fixture
def usb(tmp_path: Path) -> Iterator[McuUsb]:
    with McuUsb(UsbBoard(tmp_path / "board", link=tmp_path / "tty")) as usb:
        yield usb


def code_of(report: Report) -> str:
    assert report.error is not None
    assert report.outcome is Outcome.REFUSED
    return str(report.error.code)


def test_the_real_mpremote_talks_to_a_simulated_board(usb: McuUsb, tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("print(6 * 7)\n" * 200)
    for words, said in (
        (["exec", "import sys; print(sys.implementation.name)"], "micropython"),
        (["cp", str(source), ":there.py"], ""),
        (["sha256sum", ":there.py"], sha256(b"print(6 * 7)\n" * 200).hexdigest()),
    ):
        done = subprocess.run(
            [MPREMOTE, "connect", str(usb.board.link), "resume", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert said in done.stdout
    assert (usb.board.state / "there.py").read_bytes() == source.read_bytes()


@pytest.mark.slow
def test_flashed_firmware_runs_with_its_watchdog_and_says_its_measurement(
    usb: McuUsb, firmware: Release
) -> None:
    report = flash(str(usb.board.link), job(firmware), lambda *_: None)
    assert report.outcome is Outcome.FLASHED
    decoder, said = Decoder(), []

    def has_said() -> bool:
        said.extend(body for kind, body in decoder.feed(usb.board.read_line()) if kind == STATUS)
        return bool(said)

    wait_for(usb, has_said)
    assert loads(said[0])[13] == [bytes.fromhex(firmware.manifest.measurement), True]
    again = flash(str(usb.board.link), job(firmware), lambda *_: None)
    assert again.outcome is Outcome.UP_TO_DATE
    said.clear()
    wait_for(usb, has_said)  # it was interrupted to be asked, and runs on
    assert not usb.board.in_repl


def test_a_box_that_belongs_to_a_car_or_is_locked_is_left_alone_and_runs_on(
    usb: McuUsb, firmware: Release
) -> None:
    assert flash(str(usb.board.link), job(firmware), lambda *_: None).outcome is Outcome.FLASHED
    record = Record()
    record.mode, record.binding = ACTIVE, [bytes(8), bytes(32), bytes(32), "US-CA"]
    before = content(usb, ".")
    for kept, code in ((record, Refusal.BOUND), (locked_record(), Refusal.LOCKED)):
        keep_record(usb.board, kept)
        assert code_of(flash(str(usb.board.link), job(firmware), lambda *_: None)) == code
        assert content(usb, "a") == firmware.content
        assert {path: before[path] for path in ("boot.json", "main.py")} == {
            path: content(usb, ".")[path] for path in ("boot.json", "main.py")
        }
        wait_for(usb, lambda: not usb.board.in_repl)


@pytest.mark.slow
def test_a_board_that_cannot_say_whether_it_is_in_a_car_is_not_flashed(usb: McuUsb, one: Release) -> None:
    assert put(usb, one).outcome is Outcome.FLASHED
    report = flash(str(usb.board.link), job(one), lambda *_: None)
    assert code_of(report) == Refusal.STATE_UNKNOWN


def test_another_board_is_refused_and_not_touched(usb: McuUsb, one: Release) -> None:
    usb.board.uname = ("rp2", "rp2", "1.28.0", "", "Raspberry Pi Pico with RP2040")
    assert code_of(put(usb, one)) == Refusal.WRONG_BOARD
    assert content(usb, ".") == {}
    usb.board.uname = UNAME
    assert put(usb, one).outcome is Outcome.FLASHED


def test_a_downgrade_is_refused_below_the_floor_whatever_is_asked_for(
    usb: McuUsb, one: Release, two: Release
) -> None:
    assert put(usb, two).outcome is Outcome.FLASHED
    assert code_of(put(usb, one)) == Refusal.DOWNGRADE
    assert code_of(put(usb, one, is_older_wanted=True)) == Refusal.DOWNGRADE
    assert boots(usb) == "2"


@pytest.mark.slow
def test_an_older_release_above_the_floor_is_put_on_when_asked_for(
    usb: McuUsb, one: Release, tmp_path: Path
) -> None:
    three = small_release(tmp_path / "three", number=3, floor=1)
    assert put(usb, three).outcome is Outcome.FLASHED
    assert code_of(put(usb, one)) == Refusal.DOWNGRADE
    assert put(usb, one, is_older_wanted=True).outcome is Outcome.FLASHED
    assert boots(usb) == "1"


@pytest.mark.slow
def test_two_releases_with_one_number_are_not_mixed(usb: McuUsb, one: Release, tmp_path: Path) -> None:
    assert put(usb, one).outcome is Outcome.FLASHED
    other = small_release(tmp_path / "other", number=1, floor=1)
    assert code_of(put(usb, other)) == Refusal.SAME_NUMBER


@pytest.mark.slow
def test_a_flash_that_is_full_or_cannot_be_written_keeps_the_old_image(
    usb: McuUsb, one: Release, two: Release
) -> None:
    assert put(usb, one).outcome is Outcome.FLASHED
    usb.board.room_bytes = 40_000  # too little from the start
    assert code_of(put(usb, two)) == Refusal.NO_ROOM
    usb.board.room_bytes, usb.board.hidden_bytes = 2_000, 1_000_000  # too little when it comes to it
    assert code_of(put(usb, two)) == Refusal.NO_ROOM
    usb.board.room_bytes = 1_000_000
    usb.board.is_read_only = True
    assert code_of(put(usb, two)) == Refusal.READ_ONLY
    usb.board.is_read_only = False
    assert boots(usb) == "1"
    assert put(usb, two).outcome is Outcome.FLASHED


def test_looking_changes_nothing(usb: McuUsb, one: Release) -> None:
    report = put(usb, one, is_dry=True)
    assert report.outcome is Outcome.WOULD_FLASH
    assert report.written == len(one.content)
    assert content(usb, ".") == {}


def test_an_image_that_lost_a_byte_does_not_start_and_is_repaired(usb: McuUsb, one: Release) -> None:
    assert put(usb, one).outcome is Outcome.FLASHED
    word = usb.board.state / "a" / "protocol" / "word.mpy"
    word.write_bytes(word.read_bytes()[:-1] + b"\0")
    assert boots(usb) is None
    assert b"no image: a/protocol/word.mpy" in usb.board.output
    assert put(usb, one).outcome is Outcome.FLASHED
    assert boots(usb) == "1"


@pytest.mark.slow
def test_strange_files_in_the_way_are_cleared_and_others_are_kept(
    usb: McuUsb, one: Release, two: Release
) -> None:
    assert put(usb, one).outcome is Outcome.FLASHED
    (usb.board.state / "caches").write_bytes(b"mine")
    (usb.board.state / "b" / "device" / "mcu" / "main.mpy").mkdir(parents=True)
    (usb.board.state / "b" / "protocol").write_bytes(b"a file where a folder belongs")
    (usb.board.state / "b" / "machine.py").write_bytes(b"raise SystemExit")
    assert put(usb, two).outcome is Outcome.FLASHED
    assert content(usb, "b") == two.content
    assert (usb.board.state / "caches").read_bytes() == b"mine"
    assert boots(usb) == "2"


@pytest.mark.slow
def test_modules_in_the_flash_take_no_place_in_what_runs(usb: McuUsb, one: Release) -> None:
    assert put(usb, one).outcome is Outcome.FLASHED
    for name in ("json", "hashlib", "device", "protocol"):
        (usb.board.state / f"{name}.py").write_text("raise ValueError('not ours')")
    assert boots(usb) == "1"


@pytest.mark.slow
def test_a_slow_board_is_waited_for(usb: McuUsb, one: Release) -> None:
    usb.board.command_s = 0.05
    assert put(usb, one).outcome is Outcome.FLASHED


def test_a_port_without_a_board_says_so(tmp_path: Path, one: Release) -> None:
    report = flash(str(tmp_path / "nothing"), job(one), lambda *_: None, enter_s=0.2)
    assert code_of(report) == Refusal.NO_BOARD
    assert report.error is not None
    assert report.error.exit is Exit.CUT_SHORT
    with pytest.raises(LinkLostError):
        opened(str(tmp_path / "nothing"), 115_200, 0.1)


@pytest.mark.slow
def test_a_tray_is_flashed_side_by_side_and_one_bad_board_stops_no_other(
    tmp_path: Path, one: Release
) -> None:
    boards = [
        UsbBoard(tmp_path / f"{n}", link=tmp_path / f"{n}.tty", unique_id=f"{n:016x}") for n in range(3)
    ]
    boards[1].uname = ("other", "", "1.28.0", "", "some other board")
    usbs = [McuUsb(board) for board in boards]
    ports = [word for board in boards for word in ("--port", str(board.link))]
    with usbs[0], usbs[1], usbs[2]:
        done = CliRunner().invoke(app, ["flash", "--release", str(one.folder), "--demo", "--json", *ports])
    assert done.exit_code == Exit.REFUSED
    said = json.loads(done.stdout)["boards"]
    assert [entry["outcome"] for entry in said] == ["FLASHED", "REFUSED", "FLASHED"]
    assert [entry["chip"] for entry in said] == [f"{0:016x}", "", f"{2:016x}"]
    assert said[1]["error"] == "WRONG_BOARD"
    assert said[1]["message"].startswith("This is some other board")


def locked_record() -> Record:
    """Return the record of a car with an open LOCK."""
    vectors = json.loads((Path(__file__).parents[2] / "protocol/vectors/order-messages.json").read_text())
    lock = next(entry for group in vectors.values() for entry in group if _is_lock(entry))
    record = Record()
    record.mode, record.binding = ACTIVE, [bytes(8), bytes(32), bytes(32), "US-CA"]
    record.open[LOCK] = Open(read_sign(bytes.fromhex(lock["hex"]))[0], LOCKED, [], True)  # noqa: FBT003
    return record


def _is_lock(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("name") == "lock"


@pytest.mark.slow
def test_a_board_that_was_laid_out_without_a_port_is_as_flashed(usb: McuUsb, one: Release) -> None:
    usb.unplug()
    lay(usb.board.state, one)
    assert boots(usb) == "1"
    report = put(usb, one)
    assert (report.outcome, report.written) == (Outcome.UP_TO_DATE, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "program"),
    [
        ("main.py", "import os\nos.uname = lambda: ('x', '', '', '', '\\x1b[31m' + 'm' * 10000)"),
        ("main.py", "import os\ndef uname():\n    raise OSError(5)\nos.uname = uname"),
        ("json.py", JSON.format("'[1, 2]'")),
        ("json.py", JSON.format("'{'")),
        ("json.py", JSON.format("'x' * 100000")),
    ],
)
def test_a_board_that_answers_nonsense_is_refused_in_a_short_plain_sentence(
    usb: McuUsb, one: Release, file: str, program: str
) -> None:
    (usb.board.state / file).write_text(program)
    usb.unplug()
    usb.plug()
    report = put(usb, one)
    assert code_of(report) in (Refusal.BOARD_FAILED, Refusal.WRONG_BOARD)
    assert report.error is not None
    assert report.error.sentence.isprintable()
    assert len(report.error.sentence) < 300


def test_a_flash_boots_as_the_board_of_the_car_too(tmp_path: Path, firmware: Release) -> None:
    lay(tmp_path, firmware)
    with McuBoard(tmp_path / "a", tmp_path) as board:
        board.power_on()
        board.run(3.0)
        said = [body for kind, body in Decoder().feed(board.read_line()) if kind == STATUS]
    assert loads(said[-1])[13] == [bytes.fromhex(firmware.manifest.measurement), True]
