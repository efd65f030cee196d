"""How `tbox decode` ends: by signals, on outputs that fail, and in words that fit what was in the log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from device.adapters.log_files import LogReader
from device.decode_cli import app

DBC = Path("dbc/tbox_demo.dbc").resolve()
COMMAND = [sys.executable, "-c", "from device.decode_cli import app; app()", "--dbc", str(DBC)]
GOOD = "(1.000000) can0 130#1027000000000000\n"


def decode(tmp_path: Path, log: str, *more: str, name: str = "drive.log") -> Result:
    path = tmp_path / name
    path.write_text(log)
    return CliRunner().invoke(
        app, ["--dbc", str(DBC), "--log", str(path), "--out", str(tmp_path / "out.csv"), *more]
    )


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], int]:
    """A run that reads a pipe and has begun to: what it got is on its way, and the pipe stays open."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*COMMAND, "--log", str(pipe), "--out", str(tmp_path / "out.csv"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    writer = os.open(pipe, os.O_WRONLY)  # waits until it reads
    return process, writer


def test_the_first_interrupt_of_a_pipe_decodes_what_was_written(tmp_path: Path) -> None:
    process, writer = started(tmp_path)
    os.write(writer, GOOD.encode())
    process.send_signal(signal.SIGINT)
    os.write(writer, GOOD.encode())
    os.close(writer)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(said)["frames"] == 2
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 13


def test_a_second_interrupt_leaves_no_file(tmp_path: Path) -> None:
    process, writer = started(tmp_path)
    process.send_signal(signal.SIGINT)
    stop = threading.Event()

    def again() -> None:
        while not stop.wait(0.2) and list(tmp_path.glob("*.partial")):
            process.send_signal(signal.SIGINT)

    sender = threading.Thread(target=again)
    sender.start()
    said, _ = process.communicate(timeout=60)
    stop.set()
    sender.join()
    os.close(writer)
    assert (process.returncode, said) == (130, "")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_termination_leaves_no_file(tmp_path: Path) -> None:
    process, writer = started(tmp_path)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, said) == (143, "")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("more", [["--json"], []])
def test_a_summary_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, more: list[str]) -> None:
    log, out = tmp_path / "drive.log", tmp_path / "out.csv"
    log.write_text(GOOD)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "--log", str(log), "--out", str(out), *more],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == f"error: standard output: No space left on device; {out} is complete\n"
    assert len(out.read_text().splitlines()) == 7


def test_error_and_remote_frames_are_no_unknown_identifiers(tmp_path: Path) -> None:
    log = "(1.0) can0 7FF#R\n(1.1) can0 20000004#0000000000000000\n(1.2) can0 7FE#00\n" + GOOD
    done = decode(tmp_path, log, "--json")
    assert json.loads(done.stdout)["unknown_ids"] == {"0x7FE": 1}


def test_the_dbc_is_doubted_only_where_it_knows_no_identifier(tmp_path: Path) -> None:
    short = decode(tmp_path, "(1.0) can0 130#10\n(1.1) can0 130#R\n(1.2) can0 130#11\n")
    assert short.exit_code == 3
    assert "0 of 3 frames could be decoded: 2 x short, 1 x remote frame" in short.stderr
    assert "is it the DBC" not in short.stderr
    strange = decode(tmp_path, "(1.0) can0 7FF#10\n(1.1) can0 130#R\n")
    assert strange.exit_code == 3
    assert "is it the DBC of this car and bus?" in strange.stderr


def test_a_bus_name_brings_only_what_can_be_printed_and_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / "drive.log").write_bytes(
        b"".join(
            GOOD.encode().replace(b"can0", name) for name in (b"c\xff", b"c\xfe", b"c\xc2\x9b", b"\xc3\xa9")
        )
    )
    names = [lot.bus for lot in LogReader(tmp_path / "drive.log").lots()]
    assert names == ["c\\xff", "c\\xfe", "c\\x9b", "é"]


def test_names_bring_no_control_characters_to_the_terminal(tmp_path: Path) -> None:
    log = GOOD + GOOD.replace("can0", "c\x1b[2Jn0") + "nothing\x1b\n"
    done = decode(tmp_path, log, name="drive\x1b[31m.log")
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "drive\\x1b[31m.log (candump): 1 frames" in done.stdout
    missing = CliRunner().invoke(
        app, ["--dbc", str(DBC), "--log", "no\x9b\u202elog", "--out", str(tmp_path / "o.csv")]
    )
    assert missing.exit_code == 2
    assert "no\\x9b\\u202elog" in missing.stderr
