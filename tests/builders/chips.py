"""A TPM for tests: swtpm on a free port of this machine, and tpm2-tools that look at it from outside."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import need


@dataclass(frozen=True, slots=True, kw_only=True)
class Tpm:
    """A simulated chip that runs.

    Attributes:
        tcti: its name, as tpm2-tools and our key store take it.
        folder: for files of the tools.
    """

    tcti: str
    folder: Path

    def tool(self, *words: str, fails: bool = False) -> str:
        """Run one of tpm2-tools against the chip, free its contexts, and return what it said."""
        run = self.run(*words)
        assert (run.returncode != 0) is fails, run.stdout + run.stderr
        self.run("tpm2_flushcontext", "-t")
        return run.stdout + run.stderr

    def transient(self) -> str:
        """Return the handles whose contexts nobody has flushed."""
        return self.run("tpm2_getcap", "handles-transient").stdout

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run one of the tools and leave what it leaves."""
        environment = {**os.environ, "TPM2TOOLS_TCTI": self.tcti}
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=30, check=False
        )


@contextmanager
def running_tpm(folder: Path) -> Iterator[Tpm]:
    """Run a fresh chip."""
    need("swtpm", "tpm2_createprimary")
    state = folder / "tpm-state"
    state.mkdir()
    port, control = _two_free_ports()
    words = [
        "swtpm",
        "socket",
        "--tpm2",
        "--tpmstate",
        f"dir={state}",
        "--flags",
        "not-need-init,startup-clear",
    ]
    words += ["--server", f"type=tcp,port={port},bindaddr=127.0.0.1"]
    words += ["--ctrl", f"type=tcp,port={control},bindaddr=127.0.0.1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(control, process)
        yield Tpm(tcti=f"swtpm:host=127.0.0.1,port={port}", folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _two_free_ports() -> tuple[int, int]:
    """Return two ports side by side: tpm2-tools ask the second for what they set up."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port, port + 1
    raise AssertionError("no two free ports side by side")


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Return when the chip listens; its control port comes last."""
    until = time.monotonic() + 20
    while True:
        assert process.poll() is None, "swtpm ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < until, "swtpm does not listen"
        time.sleep(0.02)
