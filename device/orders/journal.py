"""The order journal as the engine writes it: one numbered change after the other, each until it is durable.

Rules:
- A change is handed out once; one that the disk refused is handed out again after a pause, with a new number,
  and whoever waits for it waits on.
- What stands in it is decided elsewhere (`arrivals`, `answers`).

It knows no file.

Example:
    >>> writer = JournalWriter(retry_us=5_000_000)
    >>> effect = writer.write(remove=(bytes(32),))
    >>> effect.change.number, writer.waiting
    (1, 1)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from device.effects import Report, ReportLevel, WriteJournal
from device.order_state import JournalChange

if TYPE_CHECKING:
    from device.effects import Effect
    from device.order_state import Answered, Arrival


class JournalWriter:
    """Numbers changes and remembers them until they are written.

    Args:
        retry_us: pause after a refusal of the disk.
    """

    def __init__(self, *, retry_us: int) -> None:
        self._retry_us = retry_us
        self._number = 0
        self._open: dict[int, JournalChange] = {}
        self._failed: list[JournalChange] = []
        self._again_us = 0
        self._is_refused = False
        self.counts: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Changes that are not durable yet."""
        return len(self._open) + len(self._failed)

    def write(
        self,
        *,
        add: tuple[Arrival, ...] = (),
        remove: tuple[bytes, ...] = (),
        answer: tuple[Answered, ...] = (),
        receipted: tuple[bytes, ...] = (),
        reopened: tuple[bytes, ...] = (),
        refused: tuple[bytes, ...] = (),
        forget: tuple[bytes, ...] = (),
        order_head: bytes | None = None,
        disposition_head: bytes | None = None,
    ) -> WriteJournal:
        """Return the effect that makes this change durable."""
        return self._hand_out(
            JournalChange(
                number=0,
                add=add,
                remove=remove,
                answer=answer,
                receipted=receipted,
                reopened=reopened,
                refused=refused,
                forget=forget,
                order_head=order_head,
                disposition_head=disposition_head,
            )
        )

    def note_written(self, number: int) -> tuple[JournalChange | None, list[Effect]]:
        """A change is durable; returns it, None for one that is not ours."""
        change = self._open.pop(number, None)
        if change is None or not self._is_refused:
            return change, []
        self._is_refused = False
        return change, [Report(level=ReportLevel.INFO, phrase="order journal writes again")]

    def note_failed(self, number: int, detail: str, now_us: int) -> list[Effect]:
        """The disk refused a change; it is tried again."""
        change = self._open.pop(number, None)
        if change is None:
            return []
        self._failed.append(change)
        self._again_us = now_us + self._retry_us
        self.counts["journal_failed"] += 1
        if self._is_refused:
            return []
        self._is_refused = True
        return [
            Report(
                level=ReportLevel.ERROR, phrase="order journal refuses to write", fields={"detail": detail}
            )
        ]

    def again(self, now_us: int) -> list[Effect]:
        """Hand out what was refused, when its pause is over."""
        if not self._failed or now_us < self._again_us:
            return []
        failed, self._failed = self._failed, []
        return [self._hand_out(change) for change in failed]

    def _hand_out(self, change: JournalChange) -> WriteJournal:
        self._number += 1
        numbered = replace(change, number=self._number)
        self._open[self._number] = numbered
        return WriteJournal(change=numbered)
