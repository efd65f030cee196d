"""Compiles a DBC in a process of its own, so that cantools and what it costs never enter the agent's.

Example:
    warnings = compile_table(Path("car.dbc"), Path("tables/can0.table"))
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from device.adapters.long_form_paths import is_same_file
from device.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path

COMPILE_S_MAX = 120.0  # the largest public DBC takes three seconds on a slow machine


# How frames find their message, as `device.dbc_compiler.Matching` names it.
MATCHINGS = ("dbc", "j1939", "exact")
MATCHING_HELP = "How frames find their message: dbc (as the DBC says), j1939 (by PGN), exact (by whole id)."


def compile_table(dbc: Path, table: Path, matching: str = MATCHINGS[0]) -> tuple[str, ...]:
    """Compile a DBC file.

    Args:
        dbc: file to read.
        table: file to write; replaced whole.
        matching: one of `MATCHINGS`: as the DBC says, by J1939 parameter group, by the whole identifier.

    Returns:
        What was forgiven or left out, one sentence each.

    Raises:
        EdgeError: the DBC cannot be used, the table cannot be written, or there is no such matching.
    """
    if matching not in MATCHINGS:
        step = f"use one of {', '.join(MATCHINGS)}"
        raise EdgeError(f"--matching {matching}", is_transient=False, next_step=step)
    if is_same_file(dbc, table):
        step = "name another file to write"
        raise EdgeError(
            f"{table}: it is what is read, and would be overwritten", is_transient=False, next_step=step
        )
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise _not_written(f"{table}: {failure.strerror or failure}") from failure
    command = [sys.executable, "-m", "device.dbc_compiler", str(dbc), str(table), "--matching", matching]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            command, capture_output=True, text=True, timeout=COMPILE_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise EdgeError(
            f"{dbc}: not compiled: {failure}", is_transient=True, next_step="run the command again"
        ) from failure
    lines = [line for line in done.stderr.splitlines() if line]
    if done.returncode != 0 and lines and lines[0].startswith(f"{table}: "):
        raise _not_written(lines[0])
    if done.returncode != 0:
        raise EdgeError(
            lines[0] if lines else f"{dbc}: not compiled",
            is_transient=False,
            meaning="frames of this bus cannot be decoded",
            next_step=" ".join(line.removeprefix("Next step: ") for line in lines[1:]),
        )
    return tuple(line.removeprefix("warning: ") for line in lines)


def _not_written(what: str) -> EdgeError:
    return EdgeError(
        what,
        is_transient=False,
        meaning="the table could not be written there; nothing is wrong with the DBC",
        next_step="check the path, its permissions and the space on the disk",
    )
