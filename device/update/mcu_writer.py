"""Writes an image to the microcontroller by a program that the keeper's settings name.

Rules: the program gets the image's folder and the port, has a limit of time, and ends with 0 when the board
has the image and has said so by its hashes. It refuses a board that holds a lock, by a word in its JSON; that
refusal is not a failure. Whatever else it says, something may have been written. Nothing of it runs in a
shell, and its words go to the log.

Which program: `tbox install flash`, whose image on the board is old or new at every moment, or the maker's
loader of another board. It knows no board itself.

Example:
    writer = McuWriter(("tbox", "install", "flash", "--release", "{image}", "--port", "/dev/ttyACM0"))
    writer.write(Path("/var/lib/tbox/update/releases/7/mcu"), back=False)
"""

from __future__ import annotations

import json
import logging
import subprocess
from typing import TYPE_CHECKING, Final

from device.update.forms import McuResult
from protocol.limits import UPDATE_MCU_WAIT_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_log = logging.getLogger("tbox.update")

NOT_NOW: Final = frozenset({"LOCKED"})
SAID_CHARS_MAX = 400


class McuWriter:
    """The program.

    Args:
        forth: its words; `{image}` stands for the folder.
        back: its words for an older image; the same when empty.
    """

    def __init__(self, forth: Sequence[str], back: Sequence[str] = ()) -> None:
        self._forth, self._back = tuple(forth), tuple(back or forth)

    def write(self, image: Path, *, back: bool) -> McuResult:
        """Write an image, and return what came of it."""
        words = [word.replace("{image}", str(image)) for word in (self._back if back else self._forth)]
        try:
            done = subprocess.run(  # noqa: S603 - the settings' own program, and no shell
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=UPDATE_MCU_WAIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as failure:
            _log.warning("image not written: %s", failure)
            return McuResult.FAILED
        if done.returncode == 0:
            return McuResult.DONE
        said = (done.stdout.strip() or done.stderr.strip())[-SAID_CHARS_MAX:]
        _log.warning("image not written: code=%d said=%s", done.returncode, said)
        return McuResult.LOCKED if _word(done.stdout) in NOT_NOW else McuResult.FAILED


def _word(text: str) -> str | None:
    """Return the code of `tbox install`'s JSON, of the one board it was about."""
    try:
        said = json.loads(text)
        boards = said.get("boards") or [said]
        return str(boards[0].get("error"))
    except (ValueError, AttributeError, LookupError, TypeError):
        return None
