"""Compiles a DBC in a process of its own, so that cantools and what it costs never enter the agent's.

Example:
    warnings = compile_table(Path("car.dbc"), Path("tables/can0.table"))
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from device.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path

COMPILE_S_MAX = 120.0  # the largest public DBC takes three seconds on a slow machine


def compile_table(dbc: Path, table: Path) -> tuple[str, ...]:
    """Compile a DBC file.

    Args:
        dbc: file to read.
        table: file to write; replaced whole.

    Returns:
        What was forgiven or left out, one sentence each.

    Raises:
        EdgeError: the DBC cannot be used or the table cannot be written.
    """
    command = [sys.executable, "-m", "device.dbc_compiler", str(dbc), str(table)]
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            command, capture_output=True, text=True, timeout=COMPILE_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise EdgeError(
            f"{dbc}: not compiled: {failure}", is_transient=True, next_step="run the command again"
        ) from failure
    lines = [line for line in done.stderr.splitlines() if line]
    if done.returncode != 0:
        raise EdgeError(
            lines[0] if lines else f"{dbc}: not compiled",
            is_transient=False,
            meaning="frames of this bus cannot be decoded",
            next_step=" ".join(line.removeprefix("Next step: ") for line in lines[1:]),
        )
    return tuple(line.removeprefix("warning: ") for line in lines)
