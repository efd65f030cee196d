"""Files of the officer's tool: bounded reads, secrets only from files that are closed to others.

Rules: a new file never overwrites one; what replaces a file does so whole; a file with a secret has mode 0600
or is refused with the command that closes it. Errors name the path and never the content.

Example:
    >>> write_new(folder / "maker.key", b"...", mode=PRIVATE)
"""

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, Final

from backend.lender.errors import KeyFileError, LenderError
from backend.lender.limits import FILE_BYTES_MAX

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
_OTHERS: Final = 0o077
_FOLDER: Final = 0o700


def read_file(path: Path, *, max_bytes: int = FILE_BYTES_MAX) -> bytes:
    """Read a file of bounded size.

    Raises:
        LenderError: it cannot be read, or is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as failed:
        raise LenderError(f"{path} cannot be read: {failed.strerror}") from failed
    if len(data) > max_bytes:
        raise LenderError(f"{path} is longer than {max_bytes} bytes, so it is not the file meant")
    return data


def read_secret(path: Path) -> bytes:
    """Read a file that only its owner can read.

    Raises:
        KeyFileError: it is missing or open to others.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as failed:
        raise KeyFileError(f"{path} cannot be read: {failed.strerror}") from failed
    if mode & _OTHERS:
        raise KeyFileError(f"{path} is open to others (mode {mode:04o})", next_step=f"chmod 600 {path}")
    return read_file(path)


def write_new(path: Path, content: bytes, *, mode: int = PUBLIC) -> None:
    """Write a file that does not exist yet, durably, with its mode from the first byte on.

    Raises:
        LenderError: it exists, or cannot be written.
    """
    part = _write_part(path, content, mode)
    try:
        os.link(part, path)  # fails when `path` exists, so nothing is ever overwritten
    except FileExistsError as failed:
        raise LenderError(f"{path} exists already", next_step="name another file") from failed
    except OSError as failed:
        raise LenderError(f"{path} cannot be written: {failed.strerror}") from failed
    finally:
        part.unlink()


def write_over(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Write a file in place of any older one; a reader sees the old or the new one whole."""
    _write_part(path, content, mode).replace(path)


def read_json(path: Path, mark: str) -> dict[str, Any]:
    """Read a JSON object of ours: the member `mark` says what it is and must be 1.

    Raises:
        LenderError: it is another file.
    """
    try:
        value = json.loads(read_file(path))
    except ValueError as broken:
        raise LenderError(f"{path} is not JSON") from broken
    if not isinstance(value, dict) or value.get(mark) != 1:
        raise LenderError(f"{path} is not a {mark.removeprefix('tbox_').replace('_', ' ')} of this tool")
    return value


def to_json(value: object) -> bytes:
    """Return a value as text that people can read and mail programs leave alone."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _write_part(path: Path, content: bytes, mode: int) -> Path:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as failed:
        raise LenderError(f"{path} cannot be written: {failed.strerror}") from failed
    return part
