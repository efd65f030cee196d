"""What a store of keys raises, and the check that a file of secrets was nobody else's.

Rules: a file that group or others could read is refused, not repaired, since it may already have been copied;
so is one that belongs to another user, who could change it.

Example:
    pin = read_private(home / "keys" / "pin", next_step="write it with mode 0600")
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from device.errors import EdgeError
from protocol.limits import KEY_FILE_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

FOREIGN_BITS = stat.S_IRWXG | stat.S_IRWXO


class KeyStoreError(EdgeError):
    """A key is missing, unsafe, not one of ours, or its chip refuses."""


def read_private(path: Path, *, next_step: str) -> bytes:
    """Return the content of a file that only its owner can read.

    Args:
        path: not a link.
        next_step: what to do when others could have read it.

    Raises:
        OSError: it cannot be read.
        KeyStoreError: it is open to others, or belongs to another user.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & FOREIGN_BITS:
            raise KeyStoreError(
                f"key is open to others: {path} has mode {stat.filemode(status.st_mode)}",
                is_transient=False,
                meaning="it may have been copied, so it proves nothing any more",
                next_step=next_step,
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise KeyStoreError(
                f"key belongs to another user: {path} (uid {status.st_uid})",
                is_transient=False,
                meaning="that user can change it",
                next_step="run the agent as the user who enrolled it",
            )
        return file.read(KEY_FILE_BYTES_MAX)
