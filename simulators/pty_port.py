"""A serial line that is a pseudo-terminal: the simulator holds the master, the product opens the device.

Rules: raw in both directions, never blocking; a write takes what fits and says how much. The device stays
usable over any number of openings, because this side keeps one of its own. A link gives it a stable name in
a configuration.

Example:
    >>> with PtyPort() as port:
    ...     port.write(b"$GNVTG")
    6
"""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import tty
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

READ_BYTES_MAX = 4096
# Linux keeps 64 KiB for an absent reader, ten seconds of old frames; a serial adapter has some hundred bytes.
UNREAD_BYTES_MAX = 2048


class PtyPort:
    """One serial line.

    Args:
        link: where to put a symbolic link to the device; a stale one is replaced.
    """

    def __init__(self, link: Path | None = None) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = Path(os.ttyname(self._slave))
        self.link = link
        if link is not None:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(self.device)

    @property
    def path(self) -> Path:
        """The name to configure: the link when there is one."""
        return self.link or self.device

    def fileno(self) -> int:
        """Return the master's descriptor, to wait for input."""
        return self._master

    def read(self) -> bytes:
        """Return what the other side wrote, or nothing."""
        try:
            return os.read(self._master, READ_BYTES_MAX)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """Write as much as fits and return how many bytes that was."""
        fits = max(0, UNREAD_BYTES_MAX - self._unread())
        try:
            return os.write(self._master, data[:fits]) if data[:fits] else 0
        except BlockingIOError:
            return 0

    def forget(self) -> None:
        """Throw away what waits to be read, as an adapter does when its host is gone."""
        termios.tcflush(self._slave, termios.TCIFLUSH)

    def _unread(self) -> int:
        """Return how many bytes wait on the device's side for someone to read them."""
        return int.from_bytes(fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)), sys.byteorder)

    def close(self) -> None:
        """Hang up and remove the link."""
        os.close(self._master)
        os.close(self._slave)
        if self.link is not None:
            self.link.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the port itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
