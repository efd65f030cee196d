"""Values of a profile's tables: each is checked for its type, and what is wrong is noted.

Rules: a wrong value reads as a harmless one, so that one reading finds every problem. It knows no key of a
profile: `profile_reader` does.

Example:
    >>> tables = Tables()
    >>> tables.number({"min": "low"}, "bus.can0", "min"), tables.problems
    (None, ['[bus.can0] min must be a finite number'])
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_Kind = TypeVar("_Kind")

# One day: a longer period or interval is a slip of the unit.
_TIME_MS_MAX = 86_400_000

_KIND_NAMES: Final[Mapping[type, str]] = {str: "text", bool: "true or false", int: "a whole number"}


class Tables:
    """Reads values and collects what is wrong with them.

    Attributes:
        problems: One sentence each, in order.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, where: str, sentence: str) -> None:
        """Note a problem; `where` is the table, empty for the top."""
        self.problems.append(f"[{where}] {sentence}" if where else sentence)

    def only(self, table: Mapping[str, object], where: str, allowed: set[str]) -> None:
        """Note every key that is not allowed."""
        for key in table.keys() - allowed:
            self.say(where, f"unknown key {key!r} (known: {', '.join(sorted(allowed))})")

    def table(self, table: Mapping[str, object], where: str, key: str) -> Mapping[str, object]:
        """Return a table, empty when it is missing."""
        value = table.get(key, {})
        if isinstance(value, dict):
            return value
        self.say(where, f"{key} must be a table")
        return {}

    def text(self, table: Mapping[str, object], where: str, key: str) -> str:
        """Return a text that must be there."""
        value = self.optional(table, where, key, str)
        if not value:
            self.say(where, f"{key} is missing or empty")
        return value or ""

    def texts(self, table: Mapping[str, object], where: str, key: str) -> list[str]:
        """Return a list of texts, empty when it is missing."""
        value = table.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.say(where, f"{key} must be a list of names")
        return []

    def number(self, table: Mapping[str, object], where: str, key: str) -> float | None:
        """Return a finite number, None when it is missing."""
        value = table.get(key)
        if value is None:
            return None
        if type(value) not in {int, float} or not math.isfinite(float(str(value))):
            self.say(where, f"{key} must be a finite number")
            return None
        return float(str(value))

    def milliseconds(self, table: Mapping[str, object], where: str, key: str) -> int | None:
        """Return a time in µs, None when it is missing."""
        value = self.optional(table, where, key, int)
        if value is not None and not 1 <= value <= _TIME_MS_MAX:
            self.say(where, f"{key} must be 1 to {_TIME_MS_MAX}")
            return None
        return None if value is None else value * 1_000

    def optional(self, table: Mapping[str, object], where: str, key: str, kind: type[_Kind]) -> _Kind | None:
        """Return a value of exactly this type, None when it is missing."""
        value = table.get(key)
        if value is None or type(value) is kind:
            return value
        self.say(where, f"{key} must be {_KIND_NAMES[kind]}, not {value!r}")
        return None
