"""The real MicroPython unix port, run as a process: our files, a bounded heap, lines in and out.

The port comes from a wheel pinned in the dev extra. A program reads the folder of the checkout from its first
line, so that `from protocol import …` finds the same files that CPython imports.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MICROPYTHON = Path(sys.executable).parent / "micropython"
HEAP_KB = 192
"""What an RP2040 leaves to MicroPython, KB."""

PRELUDE = "import sys\nsys.path.insert(0, sys.stdin.readline().strip())\n"


def run_micropython(program: str, lines: Sequence[str] = (), *, heap_kb: int = HEAP_KB) -> list[str]:
    """Return what a program prints on MicroPython with a heap of so many KB; it must end well."""
    assert MICROPYTHON.is_file(), "the pinned MicroPython unix port is part of the dev dependencies"
    done = _run([str(MICROPYTHON), "-X", f"heapsize={heap_kb}k"], program, lines)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.splitlines()


def run_cpython(program: str, lines: Sequence[str] = ()) -> list[str]:
    """Return what the same program prints on CPython."""
    done = _run([sys.executable], program, lines)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def fits_in(program: str, lines: Sequence[str], *, heap_kb: int) -> bool:
    """Return whether a program ends well with a heap of so many KB."""
    return _run([str(MICROPYTHON), "-X", f"heapsize={heap_kb}k"], program, lines).returncode == 0


def _run(interpreter: Sequence[str], program: str, lines: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*interpreter, "-c", PRELUDE + program],
        input="\n".join([str(ROOT), *lines, ""]),
        capture_output=True,
        text=True,
        check=False,
    )
