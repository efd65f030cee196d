"""The boards that we know, each a file of data beside this one; `main.py` is what they run first.

Rules: whatever differs between boards is data: how it calls itself, which MicroPython it needs, how large its
flash is, how long its watchdog may wait, what its first UF2 file looks like. A new board is a new file.

Example:
    >>> load("rp2040").mpy
    6
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_tools.cli_errors import Common, ToolError

FOLDER: Final = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Uf2:
    """What MicroPython's own UF2 file for a board looks like.

    Attributes:
        family: family id of the chip.
        address: where its flash begins.
        bytes: how large its flash is.
    """

    family: int
    address: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A kind of board.

    Attributes:
        name: of its file, and in manifests.
        title: for people.
        machine: text within `os.uname().machine` of its MicroPython.
        micropython_min: lowest version, (major, minor).
        mpy: version of `.mpy` files that it loads.
        filesystem_bytes: what MicroPython leaves of the flash for files.
        baudrate: of its REPL.
        watchdog_ms: longest that its watchdog can wait.
        reset_s: longest until its port is there again after a reset, s.
        uf2: of its first flashing; None when it has none.
    """

    name: str
    title: str
    machine: str
    micropython_min: tuple[int, int]
    mpy: int
    filesystem_bytes: int
    baudrate: int
    watchdog_ms: int
    reset_s: float
    uf2: Uf2 | None


def names() -> list[str]:
    """Return the boards there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Board:
    """Return a board.

    Raises:
        ToolError: NO_FILE, naming those there are.
    """
    if name not in names():
        raise ToolError(Common.NO_FILE, f"There is no board {name!r}: take one of {', '.join(names())}.")
    fields = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    major, minor = fields.pop("micropython_min")
    uf2 = fields.pop("uf2", None)
    return Board(name=name, micropython_min=(major, minor), uf2=Uf2(**uf2) if uf2 else None, **fields)
