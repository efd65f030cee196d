"""What the running agent says of car and health, in one small file beside its status.

Rules: the agent replaces `vitals.json` whole every few seconds; the keeper believes it only while it is fresh
and of the very process that the keeper started. Whatever is missing or wrong in it is unknown.

Example:
    >>> read_vitals(Path("/does/not/exist"), pid=1, now_s=0.0)
    (None, None)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from device.update.forms import Car, Health, read_health
from protocol.limits import SETTINGS_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME: Final = "vitals.json"
AGE_S_MAX: Final = 20.0
"""Age of the file in s above which nobody says anything: it is written each 5."""


def write_vitals(home: Path, *, pid: int, car: Mapping[str, object], health: Mapping[str, object]) -> None:
    """Replace the file; a disk that refuses costs the vitals and nothing else."""
    beside = home / f".{NAME}.new"
    try:
        beside.write_text(json.dumps({"pid": pid, "car": car, "health": health}))
        beside.replace(home / NAME)
    except OSError:
        beside.unlink(missing_ok=True)


def read_vitals(home: Path, *, pid: int, now_s: float) -> tuple[Car | None, Health | None]:
    """Return what the agent of this process last said.

    Args:
        home: the agent's.
        pid: of the agent that the keeper started.
        now_s: UTC in s, by the clock that dates files.
    """
    path = home / NAME
    try:
        is_fresh = abs(now_s - path.stat().st_mtime) <= AGE_S_MAX
        with path.open("rb") as file:
            content = json.loads(file.read(SETTINGS_BYTES_MAX))
        if not is_fresh or content["pid"] != pid:
            return None, None
        return Car(**content["car"]), read_health(content["health"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
