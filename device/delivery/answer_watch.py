"""Does anybody answer behind the broker? Said once when nobody does, and once when somebody does again.

Rules: three batches in a row with PUBACK and without receipt are a silence (`uplink`); any receipt ends it. A
broker that takes what it may not pass on, a bridge that is down, a box that was revoked: all look the same
from here. The batches are kept either way; this only tells.

Example:
    >>> watch = AnswerWatch()
    >>> [report.phrase for report in watch.look(unanswered=3, pending=40)]
    ['no receipts come']
    >>> watch.look(unanswered=4, pending=41)
    []
"""

from __future__ import annotations

from device.delivery.uplink import SILENT_AFTER
from device.effects import Report, ReportLevel


class AnswerWatch:
    """Remembers what was said last."""

    def __init__(self) -> None:
        self._is_silent = False

    def look(self, *, unanswered: int, pending: int) -> list[Report]:
        """Return what there is to say.

        Args:
            unanswered: batches in a row that the broker took and nobody receipted.
            pending: batches kept without a receipt.
        """
        is_silent = unanswered >= SILENT_AFTER
        if is_silent == self._is_silent:
            return []
        self._is_silent = is_silent
        fields = {"pending": pending}
        if is_silent:
            return [Report(level=ReportLevel.WARNING, phrase="no receipts come", fields=fields)]
        return [Report(level=ReportLevel.INFO, phrase="receipts come again", fields=fields)]
