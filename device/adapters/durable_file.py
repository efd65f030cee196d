"""Write a small file so that a power cut leaves either the old content or the new, never half of one.

Rules: write beside the target, fsync, rename over it, fsync the directory. The mode is set before a byte is
written, so a secret is never readable by others, not even for a moment.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "trust.json")
    ...     write_durably(path, b"{}", mode=0o600)
    ...     (path.read_bytes(), oct(path.stat().st_mode & 0o777))
    (b'{}', '0o600')
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`, on stable storage when this returns.

    Raises:
        OSError: the disk refused; the old content, if any, is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(
            descriptor, mode
        )  # the umask may have taken bits from the mode, a left-over file may have others
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable: a rename alone may be lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
