"""The agent on a box, as the depot calls it: its commands over the box's shell, its answers as JSON.

Rules: what it refuses is said in its own words, with its own next step. A token goes into its environment and
stands on no command line.

Example:
    agent = BoxAgent(root=root, program="/opt/tbox/bin/tbox", user="tbox")
    agent.asked(["keys", "--home", "/var/lib/tbox"], DepotCode.KEYS)["device"]
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from firmware_tools.cli_errors import Exit, ToolError

if TYPE_CHECKING:
    from firmware_tools.depot_codes import DepotCode
    from firmware_tools.linux_side_roots import Root

_ID = re.compile(r"[0-9a-f]{64}")
_NOT_NOW: Final = 4  # of `tbox agent`: trying again later may help
_NEXT: Final = "Next step: "


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxAgent:
    """The agent of one box.

    Attributes:
        root: the box.
        program: its path there.
        user: who runs it there.
    """

    root: Root
    program: str
    user: str

    def asked(self, words: list[str], code: DepotCode, *, secret: str = "") -> dict[str, Any]:
        """Run a command of `tbox agent` and return what it printed.

        Raises:
            ToolError: it failed, with its own sentence under this code.
        """
        ran = self.root.run(self._words(words), user=self.user, secret=secret)
        if ran.code:
            lines = [line for line in ran.err.splitlines() if line.strip()] or ["no reason given"]
            step = next((line.removeprefix(_NEXT) for line in lines if line.startswith(_NEXT)), "")
            said = f"{lines[0]}; {step}" if step else lines[0]
            is_later = ran.code == _NOT_NOW
            raise ToolError(code, f"The box says: {said}", Exit.CUT_SHORT if is_later else Exit.REFUSED)
        return _object(ran.out)

    def is_enrolled(self, home: str) -> bool:
        """Whether a home on the box is enrolled."""
        ran = self.root.run(self._words(["status", "--home", home]), user=self.user)
        return _object(ran.out).get("enrolled") is True

    def _words(self, words: list[str]) -> list[str]:
        return [self.program, "agent", *words, "--json"]


def named(said: dict[str, Any], name: str, code: DepotCode) -> str:
    """Return an id that the agent named.

    Raises:
        ToolError: it named none.
    """
    value = said.get(name)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ToolError(code, f"The box's agent names no {name}: is its software the one of this depot?")
    return value


def last_line(err: str) -> str:
    """Return the last thing a program complained of."""
    return next((line.strip() for line in reversed(err.splitlines()) if line.strip()), "no reason given")


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
