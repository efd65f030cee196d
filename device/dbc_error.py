"""The one error of reading a DBC: which file, which line, what to do.

Example:
    >>> DbcError(Path("car.dbc"), "not a DBC", "Name the DBC.", line=3).what            # doctest: +SKIP
    'car.dbc:3: not a DBC'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path


class DbcError(EdgeError):
    """A DBC cannot be used.

    Attributes:
        path: The file.
        line: Line number from 1, None when unknown.
    """

    def __init__(self, path: Path, cause: str, next_step: str, line: int | None = None) -> None:
        place = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {cause}", is_transient=False, next_step=next_step)
        self.path = path
        self.line = line
