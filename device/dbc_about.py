"""What a statement of a DBC says about one signal.

Rules:
- A statement whose numbers make no sense says nothing.
- A range of selector values is inclusive and does not run backwards.

It knows no messages (`dbc_references`).

Example:
    >>> from device.dbc_grammar import EXACT
    >>> form = EXACT["SG_MUL_VAL_"].match("SG_MUL_VAL_ 100 A S 1-3, 7-7;")
    >>> said_by("SG_MUL_VAL_", form, 12).switch
    (12, 'S', [(1, 3), (7, 7)])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device.dbc_fields import whole
from device.dbc_grammar import VALUE_TEXT

if TYPE_CHECKING:
    import re

Ranges = list[tuple[int, int]]


@dataclass(slots=True, kw_only=True)
class About:
    """What is said about one signal, with the line for each.

    Attributes:
        type: Number of its SIG_VALTYPE_.
        switch: Its switch and the selector values as inclusive ranges.
        texts: Pairs of a value and its text in quotes.
    """

    type: tuple[int, int] | None = None
    switch: tuple[int, str, Ranges] | None = None
    texts: tuple[int, list[tuple[int, str]]] | None = None


def parts_of(about: About) -> tuple[tuple[str, tuple[Any, ...] | None], ...]:
    """Return what is said about a signal by keyword, each with its line first."""
    return ("VAL_", about.texts), ("SIG_VALTYPE_", about.type), ("SG_MUL_VAL_", about.switch)


def said_by(keyword: str, form: re.Match[str], line: int) -> About | None:
    """Return what a statement says, None when its numbers make no sense."""
    if whole(form["id"]) is None:
        return None
    match keyword:
        case "VAL_":
            pairs = [(_integer(pair[1]), pair[2]) for pair in VALUE_TEXT.finditer(form["pairs"])]
            known = [(number, text) for number, text in pairs if number is not None]
            return About(texts=(line, known)) if len(known) == len(pairs) else None
        case "SIG_VALTYPE_":
            kind = whole(form["type"])
            return None if kind is None else About(type=(line, kind))
        case _:
            ranges = _ranges(form["ranges"])
            return None if ranges is None else About(switch=(line, form["switch"], ranges))


def _ranges(text: str) -> Ranges | None:
    ranges: Ranges = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low, high = whole(first.strip()), whole(last.strip())
        if not dash or low is None or high is None or high < low:
            return None
        ranges.append((low, high))
    return ranges


def _integer(text: str) -> int | None:
    digits = text.lstrip("+-")
    return int(text) if whole(digits) is not None else None
