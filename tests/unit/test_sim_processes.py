"""Processes of a simulated world are watched, crashed and never left behind; a disk fails for one of them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from typing import TYPE_CHECKING

import pytest

from simulators.disk import DatabaseImage, full_disk
from simulators.processes import Process, ProcessDiedError, ToolFailedError, run, run_tool, tbox

if TYPE_CHECKING:
    from pathlib import Path

FOREVER = "import time; print('ready on 1234'); time.sleep(3600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, lambda *_: print('ending') or exit(3)); {FOREVER}"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_says_when_it_is_ready_and_is_gone_after_the_block(tmp_path: Path) -> None:
    with Process("server", python(FOREVER), log=tmp_path / "log") as server:
        assert server.wait_for_line(r"ready on (\d+)").group(1) == "1234"
        pid = server.pid
        server.check()
    assert not exists(pid)


def test_a_process_that_died_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with (
        Process("server", python("print('port is taken'); exit(7)"), log=tmp_path / "log") as server,
        pytest.raises(ProcessDiedError, match=r"server ended with exit code 7[\s\S]*port is taken"),
    ):
        server.wait_for_line("ready")


def test_a_stop_is_polite_and_returns_the_exit_code(tmp_path: Path) -> None:
    server = Process("server", python(STUBBORN), log=tmp_path / "log")
    server.start()
    server.wait_for_line("ready")
    assert server.stop() == 3
    assert server.stop() is None
    assert server.output().endswith("ending\n")


def test_a_crash_has_no_farewell_and_a_new_life_has_its_own_output(tmp_path: Path) -> None:
    server = Process("server", python(STUBBORN), log=tmp_path / "log")
    with server:
        server.wait_for_line("ready")
        server.kill()
        assert not server.is_running
        assert "ending" not in server.output()
        server.start()
        server.wait_for_line("ready")
        assert server.output().count("ready") == 1
    assert (tmp_path / "log").read_text().count("ready") == 2


def test_a_tool_that_fails_says_what_it_printed() -> None:
    assert run_tool(python("print(1)")) == "1\n"
    assert run(python("exit(10)")).exit_code == 10
    with pytest.raises(ToolFailedError, match=r"exit 4\nno such device"):
        run_tool(python("import sys; sys.stderr.write('no such device'); exit(4)"))


def test_the_tbox_command_is_this_interpreters() -> None:
    assert "tbox" in run_tool(tbox("--version"))


def test_a_full_disk_fails_the_writes_of_one_process_until_there_is_room(tmp_path: Path) -> None:
    code = f"""
import sqlite3, sys, os
db = sqlite3.connect({str(tmp_path / "db")!r})
db.execute("create table t (x)")
db.commit()
fifo = open({str(tmp_path / "fifo")!r})
for line in fifo:
    try:
        db.execute("insert into t values (zeroblob(100000))")
        db.commit()
        os.write(1, b"stored\\n")
    except sqlite3.Error as error:
        db.rollback()
        os.write(1, b"refused\\n")
"""
    os.mkfifo(tmp_path / "fifo")
    said_read, said_write = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        python(code),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, said_write, 1)],
    )
    os.close(said_write)
    with (tmp_path / "fifo").open("w") as ask, os.fdopen(said_read) as said:

        def store() -> str:
            ask.write("\n")
            ask.flush()
            return said.readline().strip()

        assert store() == "stored"
        with full_disk(pid):
            assert store() == "refused"
            (tmp_path / "other").write_bytes(bytes(100_000))  # nobody else is short of room
        assert store() == "stored"
    assert os.waitpid(pid, 0)[1] == 0


def test_an_image_of_a_database_in_use_is_put_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table t (x)")
        database.execute("insert into t values (1)")
        database.commit()
        image = DatabaseImage.take(path, tmp_path / "image")
        database.execute("insert into t values (2)")
        database.commit()
    image.put_back()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("select x from t").fetchall() == [(1,)]
