"""What was odd about a DBC file, where, and what was done about it.

Rules:
- Whatever is read otherwise than the file says, or left out, is a finding; a reader that says nothing read
  everything as it stands.
- A finding can be printed: no character of the file moves a cursor or paints a screen.
- A finding changes no value of what was read: it either explains a reading or names what is missing.

Example:
    >>> print(Finding(kind=FindingKind.NAME, line=12, what="signal 0_X", done="read"))
    line 12: signal 0_X: read
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from protocol.limits import DBC_FINDINGS_MAX


def is_showable(text: str) -> bool:
    """Say whether a text has only characters that a screen shows and that move nothing on it."""
    return not any(unicodedata.category(character).startswith("C") for character in text)


def shown(text: str) -> str:
    """Return a text with U+FFFD for each character that a screen does not show or that moves its cursor."""
    if is_showable(text):
        return text
    return "".join(character if is_showable(character) else "\N{REPLACEMENT CHARACTER}" for character in text)


class FindingKind(StrEnum):
    """What is odd."""

    ENCODING = "encoding"  # the text is not in the code page 1252 of DBC files
    SYNTAX = "syntax"  # a statement does not follow the format
    IDENTIFIER = "identifier"  # a 29-bit identifier without its flag, or one that cannot be
    NAME = "name"  # a name that the format does not allow
    DUPLICATE = "duplicate"  # a message or signal is there more than once
    REFERENCE = "reference"  # a statement about a message or signal that is not there
    LAYOUT = "layout"  # signals overlap, do not fit, or have an impossible size
    MULTIPLEXING = "multiplexing"  # a switch is missing, or not to be relied on
    LIMIT = "limit"  # beyond what this reader takes
    ATTRIBUTE = "attribute"  # comments and attributes that do not fit together
    J1939 = "j1939"  # how frames are matched to messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One odd thing.

    Attributes:
        kind: What is odd, for counting.
        line: Line number from 1, None when it concerns no single line.
        what: Where and what, such as `signal 0_COUNTER of STEERING`.
        done: What the reader did, such as `left out`.
    """

    kind: FindingKind
    line: int | None
    what: str
    done: str

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.what}: {self.done}"


class Findings:
    """Collects findings, at most `DBC_FINDINGS_MAX` of them; the rest is counted."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._beyond = 0

    def add(self, kind: FindingKind, line: int | None, what: str, done: str) -> None:
        """Note one."""
        if len(self._kept) < DBC_FINDINGS_MAX:
            self._kept.append(Finding(kind=kind, line=line, what=shown(what), done=done))
        else:
            self._beyond += 1

    def all(self) -> tuple[Finding, ...]:
        """Return them in order of their lines, those of no line first."""
        ordered = sorted(self._kept, key=lambda finding: finding.line or 0)
        if self._beyond:
            more = Finding(
                kind=FindingKind.LIMIT, line=None, what=f"{self._beyond} more findings", done="not listed"
            )
            ordered.append(more)
        return tuple(ordered)
