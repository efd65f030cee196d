r"""Real processes of the product in a simulated world: started, watched, killed, and never left behind.

Rules: each process writes one log file that grows over its restarts; a process that ends by itself is
reported with the tail of its log; a stop is SIGTERM first, SIGKILL after a while; a crash is SIGKILL at
once. Each runs in a session of its own, so that Ctrl-C reaches the world and the world ends its processes
in order.

Example:
    >>> import sys, tempfile, pathlib
    >>> command = [sys.executable, "-c", "print('ready on 1234')"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Process("hello", command, log=pathlib.Path(folder, "log")) as hello:
    ...         hello.wait_for_line(r"ready on (\d+)").group(1)
    '1234'
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

POLL_SECONDS = 0.05
READY_SECONDS_MAX = 30.0  # a Python server with a database starts in two, on a busy machine in ten
STOP_SECONDS_MAX = 10.0  # an agent seals and stores its open batch in well under one
TAIL_LINES = 15
TBOX = "from tbox.cli import main; main()"


class ProcessDiedError(Exception):
    """A process ended that should run; says how, with the end of its log."""


class ToolFailedError(Exception):
    """A command that should succeed did not; says what it printed."""


def tbox(*arguments: str) -> list[str]:
    """Return the command line of the `tbox` command that belongs to this interpreter."""
    return [sys.executable, "-c", TBOX, *arguments]


def python(module: str, *arguments: str) -> list[str]:
    """Return the command line of a module that belongs to this interpreter."""
    return [sys.executable, "-m", module, *arguments]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """What a command came to."""

    exit_code: int
    output: str
    errors: str


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> ToolRun:
    """Run a command to its end, whatever that is; `env` adds variables to those of this process."""
    done = subprocess.run(  # noqa: S603 - our own commands, no shell
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    return ToolRun(exit_code=done.returncode, output=done.stdout, errors=done.stderr)


def run_tool(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Run a command that should succeed and return what it wrote to standard output.

    Raises:
        ToolFailedError: it did not.
    """
    done = run(command, env=env)
    if done.exit_code != 0:
        shown = shlex.join(["tbox", *command[3:]] if TBOX in command else command)
        raise ToolFailedError(f"{shown}: exit {done.exit_code}\n{done.errors or done.output}")
    return done.output


class Process:
    """One process of the product; a context manager that starts and stops it.

    Args:
        name: how messages call it.
        command: program and arguments.
        log: where its output goes, standard error included.
        env: variables beside those of this process.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it was not running."""
        assert not self.is_running, f"{self.name} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            ProcessDiedError: it ended by itself.
        """
        if self._process is not None and (code := self._process.poll()) is not None:
            raise ProcessDiedError(
                f"{self.name} ended with {_ending(code)}; the end of {self.log}:\n{self.tail()}"
            )

    def wait_for_line(self, pattern: str, seconds: float = READY_SECONDS_MAX) -> re.Match[str]:
        """Wait until a line of this run's log matches, and return the match.

        Raises:
            ProcessDiedError: it ended before.
            TimeoutError: it did not say so in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            has_ended = not self.is_running
            if found := re.search(pattern, self.output()):
                return found
            if has_ended:
                self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} did not say /{pattern}/ in {seconds} s:\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def output(self) -> str:
        """Return what it has written since it was started last."""
        with self.log.open("rb") as written:
            written.seek(self._log_start)
            return written.read().decode("utf-8", "replace")

    def tail(self) -> str:
        """Return the last lines of this run's log, indented."""
        return "\n".join(f"    {line}" for line in self.output().splitlines()[-TAIL_LINES:])

    def kill(self) -> None:
        """Crash it: SIGKILL, no farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int | None:
        """End it in good order, by force when it takes too long; returns its exit code. Idempotent."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
