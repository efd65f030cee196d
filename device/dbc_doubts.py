"""Which signals an unreadable text of a DBC may be about.

Rules:
- A text that looks like a float type or like multiplexer values may say how any signal is to be read whose
  name stands in it. Such a signal is doubtful: no value is better than a wrong one.
- When one number stands before the name and is the identifier of a message that has such a signal, only that
  one is meant; else those of all messages. Where `SG_MUL_VAL_` can be read as far as its signal, the switch
  behind it is not doubtful.
- Texts in quotes are no part of it.

It does not judge texts about anything else, and leaves nothing out itself (`dbc_references`).

Example:
    >>> looks_decisive("", "SIG_ VALTYPE_ 256 F : 1;"), looks_decisive("CM_", 'CM_ "VALTYPE" ')
    (True, False)
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.dbc_fields import whole, with_flag
from device.dbc_grammar import NAMED, SIMPLE_STRING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.dbc_draft import MessageDraft
    from device.dbc_statements import Statement

_KEYWORD_LIKE = re.compile(r"(?:(?<![A-Za-z])|(?<=SG)|(?<=SIG))(?:VAL_?\s*TYPE|MUL_?\s*VAL)", re.IGNORECASE)
_SHAPE = re.compile(r"\d\s+\S+\s*:\s*\d[\d.]*\s*;|\d\s*-\s*\d+\s*[,;]")  # a type, or ranges
_TOKEN = re.compile(r'[^\s:;,="]+')
_PART = re.compile(r"\w+")
_BEFORE_A_WORD = " \t\n;"
_HEXADECIMAL = re.compile(r"0[xX]([0-9a-fA-F]{1,8})")

_IDENTIFIER_CHARS_MAX = 12  # of a 32-bit number however written


def looks_decisive(keyword: str, text: str) -> bool:
    """Say whether a broken statement may say how a signal is to be read.

    Args:
        keyword: What it begins with, empty when that is no keyword.
        text: As it stands.
    """
    bare = SIMPLE_STRING.sub("", text)
    return _KEYWORD_LIKE.search(bare) is not None or (not keyword and _SHAPE.search(bare) is not None)


@dataclass(slots=True)
class Doubts:
    """Collects lines, then says which signals they may be about."""

    _lines: list[tuple[int, str]] = field(default_factory=list)

    def add(self, statement: Statement) -> None:
        """Take a broken statement that looks decisive."""
        bare = SIMPLE_STRING.sub("", statement.text)
        like, shape = _KEYWORD_LIKE.search(bare), _SHAPE.search(bare)
        if like is not None:
            begin = max(bare.rfind(end, 0, like.start()) for end in _BEFORE_A_WORD) + 1
        else:
            begin = 0 if shape is None else bare.rfind("\n", 0, shape.start()) + 1
        first = statement.line + bare.count("\n", 0, begin)
        self._lines.extend((first + number, line) for number, line in enumerate(bare[begin:].split("\n")))

    def settle(self, messages: list[MessageDraft]) -> Iterator[tuple[int, MessageDraft, str]]:
        """Yield line, message and signal name of each that is doubtful."""
        if not self._lines:
            return
        by_id = {message.dbc_id: message for message in messages}
        owners: dict[str, list[MessageDraft]] = defaultdict(list)
        for message in messages:
            for name in message.by_name:
                owners[name].append(message)
        for line, text in self._lines:
            for name, dbc_id in _mentioned(text, by_id):
                mine = None if dbc_id is None else by_id.get(dbc_id)
                if mine is not None and mine.named(name):
                    yield line, mine, name
                elif name in owners:
                    for message in owners.pop(name):
                        yield line, message, name


def _mentioned(text: str, by_id: dict[int, MessageDraft]) -> Iterator[tuple[str, int | None]]:
    """Yield each word that may be a name, with the only number before it as an identifier."""
    if len(_KEYWORD_LIKE.findall(text)) == 1 and text.lstrip().startswith("SG_MUL_VAL_"):
        named = NAMED.match(text.lstrip())
        dbc_id = _identifier(named["id"]) if named else None
        if named and dbc_id in by_id and by_id[dbc_id].named(named["name"]):
            yield named["name"], dbc_id
            return
    identifiers: list[int] = []
    for token in _TOKEN.findall(text):
        only = identifiers[0] if len(identifiers) == 1 else None
        for name in dict.fromkeys([token, *_PART.findall(token)]):
            yield name, only
        identifier = _identifier(token)
        if identifier is not None:
            identifiers.append(identifier)


def _identifier(token: str) -> int | None:
    """Return a number with the flag that its message has, None when it is no number."""
    if len(token) > _IDENTIFIER_CHARS_MAX:
        return None
    hexadecimal = _HEXADECIMAL.fullmatch(token)
    number = int(hexadecimal[1], 16) if hexadecimal else whole(token)
    if number is None:
        return None
    flagged = with_flag(number)
    return number if flagged is None else flagged
