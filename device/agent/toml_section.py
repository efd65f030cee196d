"""One table of a TOML file, read value by value; what is wrong is noted, and reading goes on.

Rules: a missing value takes its default, or is a problem where there is none. Whatever was not asked for when
the reading ends is an unknown key, and a problem.

Example:
    >>> problems: list[str] = []
    >>> section = Section("broker", {"port": "x", "prot": 1}, problems)
    >>> section.integer("port", 8883, low=1, high=65535)
    8883
    >>> section.finish()
    >>> problems
    ['broker.port: a whole number 1…65535 is expected', 'broker.prot: unknown']
"""

from __future__ import annotations


class Section:
    """A table, and the list that its problems go to.

    Args:
        name: dotted name for messages, empty for the top.
        values: the table.
        problems: shared list, appended to.
    """

    def __init__(self, name: str, values: dict[str, object], problems: list[str]) -> None:
        self._name = name
        self._values = dict(values)
        self._problems = problems

    def has(self, key: str) -> bool:
        """Whether the key is there and not yet read."""
        return key in self._values

    def refuse(self, key: str, why: str) -> None:
        """Note a key that is known and has no place here; nothing when it is not there."""
        if self.has(key):
            del self._values[key]
            self._wrong(key, why)

    def text(self, key: str, default: str | None) -> str | None:
        """Return a text; an empty default stands for "none", a None default for "must be there"."""
        value = self._values.pop(key, default)
        if not isinstance(value, str) or (default is None and not value):
            self._wrong(key, "a text is expected")
            return None
        return value or None

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """Return one of a few words."""
        value = self._values.pop(key, default)
        if isinstance(value, str) and value in choices:
            return value
        self._wrong(key, f"one of {', '.join(choices)} is expected")
        return default

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number within bounds."""
        value = self._values.pop(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self._wrong(key, f"a whole number {low}…{high} is expected")
        return default

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        """Return a number within bounds."""
        value = self._values.pop(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self._wrong(key, f"a number {low}…{high} is expected")
        return default

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._values.pop(key, default)
        if isinstance(value, bool):
            return value
        self._wrong(key, "true or false is expected")
        return default

    def section(self, key: str) -> Section:
        """Return a table within this one, an empty one when it is not there."""
        value = self._values.pop(key, {})
        if not isinstance(value, dict):
            self._wrong(key, "a table is expected")
            value = {}
        return Section(self._dotted(key), value, self._problems)

    def sections(self, key: str, *, most: int) -> list[Section]:
        """Return the tables of an array."""
        value = self._values.pop(key, [])
        if (
            not isinstance(value, list)
            or not all(isinstance(item, dict) for item in value)
            or len(value) > most
        ):
            self._wrong(key, f"at most {most} tables [[{key}]] are expected")
            return []
        return [
            Section(f"{self._dotted(key)}[{place}]", item, self._problems) for place, item in enumerate(value)
        ]

    def scalars(self) -> dict[str, str | int | float | bool]:
        """Return all that is left, which must be texts, numbers and truths."""
        left, self._values = self._values, {}
        for key, value in left.items():
            if not isinstance(value, str | int | float | bool):
                self._wrong(key, "a text, a number, true or false is expected")
        return {key: value for key, value in left.items() if isinstance(value, str | int | float | bool)}

    def finish(self) -> None:
        """Note what was never asked for."""
        for key in self._values:
            self._wrong(key, "unknown")

    def _wrong(self, key: str, what: str) -> None:
        self._problems.append(f"{self._dotted(key)}: {what}")

    def _dotted(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key
