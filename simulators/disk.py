"""Disks that fail: full for one process, or swapped for an older image.

Rules: a full disk is the kernel refusing to let a file of one process grow (`RLIMIT_FSIZE`), so the process
meets real failing writes, nobody else does, and no privilege is needed. What the process already has can
still be read and overwritten. An image is a consistent copy of an SQLite database, taken while it is in use
or not; putting one back needs the database closed, as swapping a disk needs the box off.

It does not make reads fail and does not tear writes.

Example:
    with full_disk(agent.pid):
        ...  # the agent can store nothing now
    image = DatabaseImage.take(home / "spool.sqlite", scratch / "old.sqlite")
    image.put_back()
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIDE_FILES = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database


@contextlib.contextmanager
def full_disk(pid: int, *, file_bytes_max: int = 0) -> Iterator[None]:
    """Let no file that this process writes grow beyond `file_bytes_max` while the block runs.

    Args:
        pid: a process of ours; Python ignores the signal that comes with it, so its writes fail with EFBIG.
        file_bytes_max: 0 for a disk without a free byte.
    """
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes_max, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have been killed meanwhile
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseImage:
    """A copy of an SQLite database as it was at one moment."""

    database: Path
    image: Path

    @classmethod
    def take(cls, database: Path, image: Path) -> DatabaseImage:
        """Copy the database into `image` (overwritten), committed transactions only."""
        image.unlink(missing_ok=True)
        with (
            contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(image)) as copy,
        ):
            source.backup(copy)
        return cls(database=database, image=image)

    def put_back(self) -> None:
        """Make the database what it was; whoever uses it must have closed it."""
        for suffix in SIDE_FILES:
            self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self.image, self.database)
