"""The bytes of a log, once from start to end: a file, a packed file (gzip) or a pipe.

Rules:
- Memory is bounded whatever comes: bytes are handed out in the pieces that are asked for.
- A gzip file is recognised by its first bytes and unpacked on the way. One that is torn or damaged ends
  there; `fault` says so, and what was unpacked before counts.
- `bytes_read` of `bytes_total` are bytes of the file itself; of a pipe the total is not known (0).
- The disk's own failures raise `LogError`.

It knows no format.

Example:
    >>> with LogSource(Path("drive.log.gz")).open() as source:                          # doctest: +SKIP
    ...     head = source.read(64)
"""

from __future__ import annotations

import stat
import zlib
from typing import TYPE_CHECKING, BinaryIO, Self

from device.adapters.log_errors import LogError, LogFault

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib: a gzip header and trailer are expected
_PIECE_BYTES = 1 << 18


class LogSource:
    """One pass over a log's bytes; a context manager.

    Attributes:
        path: The file.
        bytes_total: Its size, 0 for a pipe.
        bytes_read: How much of it was read.
        fault: Why the unpacked bytes end before their time, None when they do not.
        is_packed: It is a gzip file.
    """

    def __init__(self, path: Path) -> None:
        """Find the file.

        Raises:
            LogError: It is missing, a folder, or may not be read.
        """
        self.path = path
        self.bytes_read = 0
        self.fault: tuple[LogFault, str] | None = None
        self.is_packed = False
        self._file: BinaryIO | None = None
        self._ready = b""
        self._inflater: zlib._Decompress | None = None
        try:
            found = path.stat()
            self.is_regular = stat.S_ISREG(found.st_mode)
            if self.is_regular:  # a pipe can be opened once only, and opening it waits for its writer
                with path.open("rb"):
                    pass
            elif stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(21, "Is a directory")
        except OSError as error:
            raise _disk_error(path, error, "Check the path and its permissions.") from error
        self.bytes_total = found.st_size if self.is_regular else 0

    def open(self) -> Self:
        """Open it at its start.

        Raises:
            LogError: The disk does not let us.
        """
        assert self._file is None, "opened once"
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise _disk_error(self.path, error) from error
        self._ready = self._read_file(len(_GZIP_MAGIC))
        self.is_packed = self._ready == _GZIP_MAGIC
        if self.is_packed:
            self._inflater = zlib.decompressobj(_GZIP_WINDOW)
            packed, self._ready = self._ready, b""
            self._inflate(packed)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def file(self) -> BinaryIO:
        """The open file itself, for a reader that must seek."""
        assert self._file is not None
        return self._file

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only at the end.

        Raises:
            LogError: The disk failed.
        """
        parts = [self._ready[:count]]
        self._ready = self._ready[count:]
        missing = count - len(parts[0])
        while missing:
            part = self._more(missing)
            if not part:
                break
            parts.append(part[:missing])
            self._ready = part[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def unread(self, data: bytes) -> None:
        """Put bytes back before the next ones."""
        self._ready = data + self._ready

    def _more(self, count: int) -> bytes:
        if self._inflater is None:
            return self._read_file(count)
        while not self._ready and self.fault is None:
            packed = (
                self._inflater.unconsumed_tail or self._inflater.unused_data or self._read_file(_PIECE_BYTES)
            )
            if not packed:
                if not self._inflater.eof:
                    self.fault = (LogFault.TORN, f"the gzip file ends early, after {self.bytes_read} bytes")
                break
            if self._inflater.eof:  # another member follows
                self._inflater = zlib.decompressobj(_GZIP_WINDOW)
            self._inflate(packed)
        ready, self._ready = self._ready, b""
        return ready

    def _inflate(self, packed: bytes) -> None:
        assert self._inflater is not None
        try:
            self._ready = self._inflater.decompress(packed, _PIECE_BYTES)
        except zlib.error as error:
            self.fault = (
                LogFault.DAMAGED,
                f"the gzip file is damaged before byte {self.bytes_read}: {error}",
            )

    def _read_file(self, count: int) -> bytes:
        assert self._file is not None
        try:
            data = self._file.read(count)
        except OSError as error:
            raise _disk_error(self.path, error) from error
        self.bytes_read += len(data)
        return data


def _disk_error(path: Path, error: OSError, next_step: str = "Check the disk.") -> LogError:
    return LogError(path, error.strerror or type(error).__name__, next_step)
