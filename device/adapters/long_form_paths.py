"""Names of files to write: never those of what is read, and unfinished ones under names of their own.

Rules:
- Two paths are one file when they lead to the same place, by whatever links.
- An unfinished file gets a name that no other file has, beside the one it will have.

Example:
    >>> is_same_file(Path("car.dbc"), Path("./car.dbc"))
    True
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["Path", "create_partial", "is_same_file"]

_MODE = 0o666  # less what the user's mask takes away, as `open` does
_TRIES = 8


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths name one file, also one that is not there yet."""
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()


def create_partial(path: Path) -> tuple[int, Path]:
    """Create an empty file for what will be moved to a path; return it open for writing, and its name.

    Raises:
        OSError: The folder is not there or may not be written, or the disk is full.
    """
    for _ in range(_TRIES):
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE), partial
        except FileExistsError:
            continue
    raise FileExistsError(f"{path}: no free name beside it")
