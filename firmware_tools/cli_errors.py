"""How every `tbox install` command fails: a stable code, one sentence that says what to do, an exit code.

Rules: a command raises `ToolError` with a member of its own catalogue, a StrEnum; `told` prints it and ends
the program. Text goes to stderr as `CODE: sentence`; with `--json` the object goes to stdout, so that one
reader takes success and failure alike. What is not a `ToolError` is our own mistake and keeps its traceback.

Exit codes, the same in all of them: see `Exit`.

Example:
    >>> str(ToolError(Common.NO_FILE, "There is no release at build/x: build one first."))
    'NO_FILE: There is no release at build/x: build one first.'
"""

from __future__ import annotations

import contextlib
import json
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

EXITS = "Exit codes: 0 done, 1 refused by a rule, 2 wrong usage, 3 cut short: run it again and it goes on."


class Exit(IntEnum):
    """What the process returns."""

    DONE = 0
    REFUSED = 1  # a rule said no, or what was given is not right; nothing was changed
    USAGE = 2  # typer's own
    CUT_SHORT = 3  # the world failed half-way; running it again goes on from there


class Common(StrEnum):
    """Failures that any command may have."""

    NO_FILE = "NO_FILE"
    UNREADABLE = "UNREADABLE"


class ToolError(Exception):
    """A command cannot do what was asked.

    Attributes:
        code: stable, for programs and for the guide.
        sentence: one, for the person; says what to do.
        exit: of the process.
    """

    def __init__(self, code: StrEnum, sentence: str, exit_: Exit = Exit.REFUSED) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code, self.sentence, self.exit = code, sentence, exit_

    def as_json(self) -> dict[str, str]:
        """Return what `--json` prints."""
        return {"error": str(self.code), "message": self.sentence}


@contextlib.contextmanager
def told(*, as_json: bool = False) -> Iterator[None]:
    """Print a `ToolError` of the block and end the program with its exit code."""
    try:
        yield
    except ToolError as error:
        if as_json:
            typer.echo(json.dumps(error.as_json()))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(int(error.exit)) from error
