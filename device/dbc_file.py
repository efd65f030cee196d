"""A DBC file as cantools reads it, or one clear error.

Rules:
- The text is read statement by statement first (`dbc_repair`): the common sins of public files are understood
  and noted, sizes are bounded. cantools sees the text as it stands when there is nothing to note.
- Layout (signals that overlap or do not fit) is no reason to refuse a file; the compiler notes it.
- A file that cannot be read at all raises one `DbcError` with file, line where known, and what to do.
- KCD and SYM files are read too, since cantools reads them; nothing is repaired in them, and only small ones
  are taken. Any other suffix is refused by name.

Only the compiler and tests import this module: the running agent has no cantools.

Example:
    >>> dbc = read_database(path, read_dbc(path))                                       # doctest: +SKIP
    >>> dbc.database.messages[0].name, [str(finding) for finding in dbc.findings]        # doctest: +SKIP
    ('Motion', [])
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cantools
from cantools.database.can import Database

from device.dbc_error import DbcError
from device.dbc_findings import Finding, FindingKind, Findings
from device.dbc_repair import Repaired, repair
from device.dbc_text import decode_text
from protocol.limits import DBC_BYTES_MAX, DBC_MESSAGE_BYTES_MAX, DBC_SIGNALS_MAX, DBC_VERBATIM_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DbcError", "DbcFile", "load_database", "read_database", "read_dbc"]

# What cantools raises on broken text besides its own errors: its parser assumes well-formed numbers and
# names.
_PARSER_FAILURES = (
    cantools.Error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)

_OTHER_FORMATS = {".kcd": ("kcd", "utf-8"), ".sym": ("sym", "cp1252")}

# A signal's name and its colon: attributes and comments of signals have none.
_SIGNAL = re.compile(rb"SG_\s++[^\s:\"]++\s*+(?:[^\s:\"]++\s*+)?:")


@dataclass(frozen=True, slots=True, kw_only=True)
class DbcFile:
    """A file that could be read.

    Attributes:
        database: cantools' database, with the names of the file.
        findings: What was odd, in order of the lines.
        lines: Line number by identifier (bit 31 set for extended) and signal name, None for the message.
    """

    database: Database
    findings: tuple[Finding, ...]
    lines: dict[tuple[int, str | None], int]


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


def read_database(path: Path, content: bytes) -> DbcFile:
    """Parse a file.

    Args:
        path: Its name; the suffix says the format.
        content: Its bytes, at most `DBC_BYTES_MAX`.

    Raises:
        DbcError: It is beyond a limit, of another format, or nothing of it can be read.
    """
    suffix = path.suffix.lower()
    if suffix in _OTHER_FORMATS:
        return _read_other(path, content, *_OTHER_FORMATS[suffix])
    if suffix not in {".dbc", ""}:
        known = "DBC (and KCD and SYM files as far as cantools reads them)"
        raise DbcError(path, f"{suffix} is no format that is read here", f"Convert it to {known}.")
    n_signals = sum(1 for _ in _SIGNAL.finditer(content))
    if n_signals > DBC_SIGNALS_MAX:
        cause = f"{n_signals} signals, at most {DBC_SIGNALS_MAX} are supported"
        raise DbcError(path, cause, "Keep the messages you need in a smaller DBC.")
    findings = Findings()
    repaired = repair(path, decode_text(content, findings), findings)
    database = _parsed(path, repaired, findings)
    _restore_names(database, repaired.names)
    return DbcFile(database=database, findings=findings.all(), lines=repaired.lines)


def load_database(path: Path, content: bytes) -> tuple[Database, list[str]]:
    """Parse a file; return the database and the findings as sentences (see `read_database`)."""
    dbc = read_database(path, content)
    return dbc.database, [str(finding) for finding in dbc.findings]


def _parsed(path: Path, repaired: Repaired, findings: Findings) -> Database:
    """Let cantools read the text; when it stumbles over what does not matter, without that."""
    for is_last, text in ((False, repaired.text), (True, repaired.bare)):
        try:
            return _load(text, "dbc")
        except _PARSER_FAILURES as error:
            cause = _first_cause(error)
            if is_last and not text.strip():
                cause = "there is no message in it"
            if is_last:
                raise DbcError(
                    path,
                    f"not readable as DBC: {cause}",
                    "Correct that line, or leave the message out.",
                    _line_of(cause, repaired),
                ) from error
            line = _line_of(cause, repaired) if repaired.is_original else None
            findings.add(FindingKind.ATTRIBUTE, line, cause, "read without comments and attributes")
    raise AssertionError("unreachable: the last text returns or raises")


def _load(text: str, database_format: str) -> Database:
    with _silenced():
        database = cantools.database.load_string(text, database_format, strict=False)
    assert isinstance(database, Database), "DBC, KCD and SYM describe a bus"
    return database


def _read_other(path: Path, content: bytes, database_format: str, encoding: str) -> DbcFile:
    if len(content) > DBC_VERBATIM_CHARS_MAX:
        cause = f"{len(content)} bytes, at most {DBC_VERBATIM_CHARS_MAX} of this format"
        raise DbcError(path, cause, "Convert it to DBC.")
    text = content.decode(encoding, errors="replace")
    limit = 8 * DBC_MESSAGE_BYTES_MAX
    # Lengths stand in attributes or after `Len=`; cantools makes tables as long as they say.
    for said in re.finditer(r"(?:length|offset|count|[lL]en)\s*=\s*[\"']?(\d+)", text):
        if len(said[1]) > len(str(limit)) or int(said[1]) > limit:
            line = text.count("\n", 0, said.start()) + 1
            raise DbcError(path, f"{said[0]}: beyond any message", "Correct that line.", line)
    try:
        database = _load(text, database_format)
    except _PARSER_FAILURES as error:
        cause = _first_cause(error)
        given = re.search(r"\bline (\d+)", cause)
        line_number = int(given[1]) if given else None
        next_step = "Correct that line, or convert the file to DBC."
        kind = database_format.upper()
        raise DbcError(path, f"not readable as {kind}: {cause}", next_step, line_number) from error
    return DbcFile(database=database, findings=(), lines={})


def _restore_names(database: Database, names: dict[str, str]) -> None:
    """Give messages and signals the names of the file again."""
    if not names:
        return
    for message in database.messages:
        message.name = names.get(message.name, message.name)
        for signal in message.signals:
            signal.name = names.get(signal.name, signal.name)
            if signal.multiplexer_signal is not None:
                signal.multiplexer_signal = names.get(signal.multiplexer_signal, signal.multiplexer_signal)
    with _silenced():
        database.refresh()


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep cantools from logging what our findings say with a line number."""
    logger, handler = logging.getLogger("cantools"), logging.NullHandler()
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


def _line_of(cause: str, repaired: Repaired) -> int | None:
    """Return the line that the sentence gives, or that of the message it names."""
    given = re.search(r"\bline (\d+)", cause)
    if given:
        return int(given[1])
    named = re.search(r"in message (\w+)", cause)
    definition = (
        re.search(rf"^BO_ (\d+) {re.escape(named[1])}\b", repaired.bare, re.MULTILINE) if named else None
    )
    return None if definition is None else repaired.lines.get((int(definition[1]), None))
