"""One life of a box in a process of its own, to be killed: says on its output what the spool called stored.

Numbered frames go in without end; the disk's thread is kept busy and never waited for, so that a kill finds
it anywhere. Run as `python -m tests.builders.spool_life HOME BOOTS_BEFORE FIRST_NUMBER`.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from device.effects import Effect, PersistTick
from device.events import Tick, Urgent
from tests.builders.engine import SECOND, Box


def say(*words: object) -> None:
    """One line for whoever is going to kill us."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


# Whoever should kill us may itself be gone: no life outlasts this.
SECONDS_MAX = 60


class BusyBox(Box):
    """Takes the spool's answers as they come, and tells them."""

    def settle(self) -> None:
        while self._answers:
            self.take_answer()
            for batch in self.take_stored():
                say("stored", batch.key.seq, batch.mono_end_us)
        if self.engine.is_congested:
            super().settle()

    def _carry_out(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, PersistTick):
                say("tick", effect.mark.tick_us)
        return super()._carry_out(effects)


def main(home: Path, boots_before: int, number: int) -> None:
    signal.alarm(SECONDS_MAX)
    box = BusyBox(home, boots_before=boots_before)
    while True:
        box.frames(range(number, number + 3))
        number += 3
        say("fed", number)
        if number % 2:
            box.handle(Urgent(reason="x"))
        else:
            box.now_us += SECOND
            box.handle(Tick())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
