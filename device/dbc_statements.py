r"""A DBC text split into its statements, each one well-formed or known to be broken.

Rules:
- Reading goes from statement to statement; strings and comments are skipped as cantools skips them.
- A message or signal that has not its exact form ends with its line, or before the next statement in it: what
  follows may be a message of its own. So does an exact one that took a word of the next line for its own.
- Anything else that is no statement in its exact form reaches to the next line that begins with a keyword. So
  a quote that is never closed costs the lines up to the next keyword.
- It takes time in proportion to the text and yields one statement at a time.

It judges no statement's sense.

Example:
    >>> [(item.keyword, item.line, item.form is not None) for item in statements("BS_:\nBO_ 1 M 8\n")]
    [('BS_', 1, True), ('BO_', 2, False)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.dbc_grammar import END_IN_LINE, EXACT, GAP, KEYWORD, NEXT_STATEMENT

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_SHOWN_CHARS = 60

_OF_ONE_LINE = {"BO_", "SG_"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement, or what stands in its place.

    Attributes:
        keyword: What it begins with, empty when that is no keyword.
        line: Line number of its begin, from 1.
        text: As it stands.
        form: The exact form that it has, None when it is broken.
        is_on_its_own: Whether no statement begins before it in its line.
    """

    keyword: str
    line: int
    text: str
    form: re.Match[str] | None
    is_on_its_own: bool

    @property
    def shown(self) -> str:
        """Its begin, for a message to a person."""
        text = " ".join(self.text[: 4 * _SHOWN_CHARS].split())
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a text in order."""
    place, line, counted, begun = 0, 1, 0, 0
    while True:
        gap = GAP.match(text, place)
        assert gap is not None, "a gap may be empty"
        place = gap.end()
        if place == len(text):
            return
        line += text.count("\n", counted, place)
        counted = place
        begin = KEYWORD.match(text, place)
        keyword = begin.group() if begin else ""
        form = EXACT[keyword].match(text, place) if keyword in EXACT else None
        if form is not None and keyword in _OF_ONE_LINE and _is_in_words_of_the_next_line(text, form):
            form = None
        if form is not None:
            end = form.end()
        elif keyword in _OF_ONE_LINE:
            following = END_IN_LINE.search(text, place + len(keyword))
            end = following.start() if following else len(text)
        else:
            following = NEXT_STATEMENT.search(text, _next_line(text, place))
            end = following.start() if following else len(text)
        yield Statement(
            keyword=keyword,
            line=line,
            text=text[place:end].rstrip(),
            form=form,
            is_on_its_own=line > begun,
        )
        place, begun = end, line


def _is_in_words_of_the_next_line(text: str, form: re.Match[str]) -> bool:
    """Say whether a statement of several lines ends within a line of words that are no statement."""
    if "\n" not in form.group():
        return False
    gap = GAP.match(text, form.end())
    assert gap is not None, "a gap may be empty"
    is_at_end = gap.end() == len(text) or "\n" in gap.group()
    return not is_at_end and KEYWORD.match(text, gap.end()) is None


def _next_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end + 1
