"""The door of `tbox agent`: a box that runs loads what running needs, and nothing of the other commands.

Rules: `run --home DIR`, as a unit file writes it, goes straight to `running`. Every other word, and every
other way to write this one, is the command line's business (`cli`), which means the same by it. The command
line and what it stands on take some fifteen megabytes that a box in a car would keep for months.

Example:
    app(["run", "--home", "/var/lib/tbox"], prog_name="tbox agent")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def app(args: Sequence[str], prog_name: str) -> None:
    """Do what the words after `tbox agent` say.

    Raises:
        SystemExit: with the command's exit code.
    """
    match list(args):
        case ["run", "--home", home] if not home.startswith("-"):
            from device.agent.running import run_box  # noqa: PLC0415 - what the other commands need not load

            run_box(Path(home))
        case words:
            from device.agent.cli import app as command_line  # noqa: PLC0415 - what a running box need not load

            command_line(args=words, prog_name=prog_name)
