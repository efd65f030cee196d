"""A DBC file as cantools reads it, or one clear error.

Rules:
- cantools reads the file, strictly first; when its layout checks refuse it (signals that overlap or do not
  fit), leniently, and what was forgiven becomes a warning.
- A file that cannot be read at all raises one `DbcError` with file, line where known, and what to do.
- KCD and SYM files are read too, since cantools reads them; a suffix it does not know is read as DBC.

Only the compiler and tests import this module: the running agent has no cantools.

Example:
    >>> database, warnings = load_database(path, read_dbc(path))                        # doctest: +SKIP
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cantools
from cantools.database.can import Database

from device.errors import EdgeError
from protocol.limits import DBC_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What cantools raises on broken text besides its own errors: its parser assumes well-formed numbers and
# names.
_PARSER_FAILURES = (
    cantools.Error,
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)

_FORMATS = {".dbc": ("dbc", "cp1252"), ".kcd": ("kcd", "utf-8"), ".sym": ("sym", "cp1252")}


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


def read_dbc(path: Path) -> bytes:
    """Return the bytes of a DBC file.

    Raises:
        DbcError: It is missing, unreadable or above `DBC_BYTES_MAX`.
    """
    try:
        size = path.stat().st_size
        if size > DBC_BYTES_MAX:
            raise DbcError(
                path,
                f"{size} bytes, at most {DBC_BYTES_MAX}: this is hardly a DBC",
                "Name the DBC, not a log.",
            )
        return path.read_bytes()
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise DbcError(path, cause, "Check the path and its permissions.") from error


def load_database(path: Path, content: bytes) -> tuple[Database, list[str]]:
    """Parse with cantools, strictly, then leniently.

    Returns:
        The database, and as warnings what the strict reading objected to and what cantools logged.

    Raises:
        DbcError: cantools refuses it either way.
    """
    database_format, encoding = _FORMATS.get(path.suffix.lower(), _FORMATS[".dbc"])
    text = content.decode(encoding, errors="replace")
    warnings: list[str] = []
    for is_strict in (True, False):
        heard: list[str] = []
        try:
            with _listening(heard):
                database = cantools.database.load_string(text, database_format, strict=is_strict)
        except _PARSER_FAILURES as error:
            cause = _first_cause(error)
            if not is_strict:
                raise DbcError(
                    path,
                    f"not readable as {database_format.upper()}: {cause}",
                    "Correct that line (cantools refuses it even when lenient), or leave the message out.",
                    _line_of(cause, text),
                ) from error
            warnings = [f"read leniently: {cause}"]
        else:
            assert isinstance(database, Database), "DBC, KCD and SYM describe a bus"
            return database, warnings + heard
    raise AssertionError("unreachable: the lenient reading returns or raises")


@contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """Collect what cantools logs (overwritten identifiers and names) instead of printing it."""
    logger = logging.getLogger("cantools")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    was_propagating, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = was_propagating


def _first_cause(error: BaseException) -> str:
    """Return the parser's own sentence without the format prefix and quotes that cantools wraps around it."""
    sentence = str(error) or type(error).__name__
    if isinstance(error, KeyError):
        sentence = f"{sentence} is used but not defined"
    wrapped = re.fullmatch(r'[A-Z]+: "(.*)"', sentence, re.DOTALL)
    return " ".join((wrapped.group(1) if wrapped else sentence).split())


def _line_of(cause: str, text: str) -> int | None:
    """Return the line that the sentence gives, or that of the message it names."""
    given = re.search(r"\bline (\d+)", cause)
    if given:
        return int(given.group(1))
    named = re.search(r"in message (\w+)", cause)
    if named is None:
        return None
    definition = re.search(rf"^BO_ \d+ {re.escape(named.group(1))}\b", text, re.MULTILINE)
    return None if definition is None else text.count("\n", 0, definition.start()) + 1
