"""The fields of a DBC statement as values.

Rules: a number that has a sign, a fraction or more than 64 bits where none may be is no number; an identifier
is one that a frame can have; a unit that needs care in its quotes is left out of a loose statement.

Example:
    >>> whole("8"), whole("8.0"), hex(with_flag(0x18FEF100)), with_flag(0x4000_0000)
    (8, None, '0x98fef100', None)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from device.acquisition.lot import EXTENDED
from device.dbc_findings import is_showable
from device.dbc_grammar import LIKE_A_MESSAGE, LIKE_A_SIGNAL, LOOSE, SECOND_SIGNAL, SIMPLE_STRING

if TYPE_CHECKING:
    from device.dbc_statements import Statement

STANDARD_MAX, EXTENDED_MAX = 0x7FF, 0x1FFF_FFFF

_WORDS_OF_A_SIGNAL = 2  # keyword and name before the colon; a multiplexed one has a mark between
_DIGITS_MAX = 20  # of 64 bits


def understood(statement: Statement) -> re.Match[str] | None:
    """Return the loose form of a statement, None when it has none or a name cannot be shown."""
    form = LOOSE[statement.keyword].match(statement.text)
    return form if form is not None and is_showable(form["name"]) else None


def may_be_switch(text: str) -> bool:
    """Say whether a broken statement may have been a multiplexer switch.

    Surely none is what has a name and a colon after its keyword, or a mark such as `m3` between them, and a
    number behind the colon. The keyword may be the part that is missing: then `M` is no name.
    """
    head, colon, rest = text.partition(":")
    words = head.split()
    if not colon or ":" in rest or not re.match(r"\s*\d", rest) or len(words) < _WORDS_OF_A_SIGNAL:
        return True
    if len(words) == _WORDS_OF_A_SIGNAL:
        return words[0] != "SG_" and re.fullmatch(r"M|m\d*M?", words[1]) is not None
    return re.fullmatch(r"m\d+", words[-1]) is None


def is_like_a_signal(line: str) -> bool:
    """Say whether a broken line was one signal and nothing else."""
    return (
        LIKE_A_SIGNAL.search(line) is not None
        and line.count(":") <= 1
        and SECOND_SIGNAL.match(line.strip()) is None
        and LIKE_A_MESSAGE.match(line.strip()) is None
    )


def with_flag(dbc_id: int) -> int | None:
    """Return an identifier as DBC writes it with the flag of extended ones, None when it can be none."""
    if dbc_id & EXTENDED:
        return dbc_id if dbc_id - EXTENDED <= EXTENDED_MAX else None
    if dbc_id > EXTENDED_MAX:
        return None
    return dbc_id if dbc_id <= STANDARD_MAX else dbc_id | EXTENDED


def whole(text: str) -> int | None:
    """Return a number without sign or fraction, None when it is something else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else None


def number(text: str) -> str:
    """Return the text of a number with a digit before its point."""
    return re.sub(r"^([-+]?)\.", r"\g<1>0.", text)


def unit_of(form: re.Match[str]) -> str:
    """Return the unit of a signal in its quotes."""
    if "unit" in form.groupdict():
        return form["unit"]
    found = SIMPLE_STRING.search(form["rest"])
    return found.group() if found else '""'
