r"""Frames of an MF4 stream and the payloads that stand apart from them, brought together.

Rules:
- A payload is found by the offset that its frame asks for; nothing in the payload itself names its frame.
- Where `_PAIRS` payloads have each followed their frame, the stream goes on so. A second frame while one
  waits, or a frame that asks for another place than where the stream stands, then means lost records: what is
  doubtful is left out and counted, and the new frame says where the stream stands.
- Other streams are held against the highest place asked for when they end: where the two differ, a payload
  was lost somewhere, and all of the stream's frames are counted as doubtful.

It reads no records (`mf4_mixed` does).

Example:
    >>> pairs = Pairs(LogErrors(), length_of=lambda record_id, record: 1)
    >>> pairs.frame(0, (7, 1, b"frame"))
    >>> pairs.payload(b"\x11")
    >>> pairs.take()
    [(7, 1, b'frame', b'\x11')]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.adapters.log_errors import LogErrors, LogFault
from device.adapters.mf4_records import LENGTH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Entry", "LogErrors", "Pairs", "Settled"]

Entry = tuple[int, int, bytes]
"""A frame: place in the file, record id and bytes."""

Settled = tuple[int, int, bytes, bytes]
"""A frame and its payload."""

_PAIRS = 8  # a writer that gathers frames before their payloads does so sooner
_WAITING_MAX = 65_536  # payloads that wait for their frames; writers put them side by side


class Pairs:
    """One stream.

    Args:
        errors: Takes each frame left out.
        length_of: Returns how many payload bytes a record (by id and bytes) says it has.

    Attributes:
        errors: What was left out.
    """

    def __init__(self, errors: LogErrors, length_of: Callable[[int, bytes], int]) -> None:
        self.errors = errors
        self._length_of = length_of
        self._frames: dict[int, Entry] = {}  # by the offset they ask for
        self._payloads: dict[int, bytes] = {}  # by their offset
        self._written: int | None = 0  # offset of the next payload, None when damage made it unknown
        self._most = 0  # frames that ever waited at once: 1 when each payload follows its frame
        self._count = 0  # pairs since the last damage
        self._in_step = 0  # pairs of frames that were each followed by their payload
        self._highest: tuple[int, Entry] | None = None
        self._settled: list[Settled] = []
        self._last_place = -1  # of the last frame settled that no later one has confirmed

    def take(self) -> list[Settled]:
        """Return the pairs found since the last call."""
        settled, self._settled = self._settled, []
        return settled

    def frame(self, asked: int, entry: Entry) -> None:
        """Note a frame that asks for the payload at an offset."""
        if self._written is None:
            if self._most != 1:  # in this file a payload may belong to an earlier frame
                self._leave_out("a frame behind damage whose payload cannot be told")
                return
            self._written = asked
        if self._is_in_step:
            self._resume(asked)
        payload = self._payloads.pop(asked, None)
        if payload is not None:
            self._most = max(self._most, 2)  # payloads stand before their frames here
            self._settle(entry, payload)
        else:
            self._frames[asked] = entry
            self._most = max(self._most, len(self._frames))
            self._bound(self._frames)
        if self._highest is None or asked >= self._highest[0]:
            self._highest = asked, entry

    def payload(self, payload: bytes) -> None:
        """Note the stream's next payload."""
        if self._written is None:
            return  # its frame was lost with the damage
        entry = self._frames.pop(self._written, None)
        if entry is not None:
            self._settle(entry, payload)
            self._last_place = entry[0]
            self._in_step += 1
        elif self._is_in_step:
            self._leave_out("a payload without its frame")
        elif self._frames and self._most == 1:  # the frame before it asks for another one
            self._leave_out("a frame whose payload cannot be told")
            self._frames.clear()
            self._written = None
            return
        else:
            self._payloads[self._written] = payload
            self._bound(self._payloads)
        self._written += LENGTH_BYTES + len(payload)

    def lose(self) -> None:
        """Note damage: nobody knows where the stream stands, and who waits, waits in vain."""
        if self._frames:
            count = len(self._frames)
            self._leave_out(f"{count} frames without their payload", count)
        self._frames.clear()
        self._payloads.clear()
        self._written = self._highest = None
        self._last_place = -1
        self._count = 0

    def finish(self) -> None:
        """Count frames that still wait, and all of a stream whose payloads may be those of others."""
        if self._frames:
            self._leave_out(f"{len(self._frames)} frames without their payload", len(self._frames))
        if self._written is None or self._highest is None:
            return
        asked, (_, record_id, record) = self._highest
        is_even = self._written == asked + LENGTH_BYTES + self._length_of(record_id, record)
        if self._is_in_step:
            if not is_even:
                self._doubt_last()
        elif not is_even and self._count:
            what = (
                f"{self._count} frames whose payloads may be those of others: payloads were lost among them"
            )
            self._leave_out(what, self._count)

    @property
    def _is_in_step(self) -> bool:
        return self._most == 1 and self._in_step >= _PAIRS

    def _resume(self, asked: int) -> None:
        """Take up the stream where a frame says it stands; leave out what shows to be doubtful."""
        if self._frames:
            self._leave_out("a frame without its payload")
            self._frames.clear()
        elif asked != self._written:
            self._doubt_last()
        self._written = asked
        self._last_place = -1

    def _doubt_last(self) -> None:
        """Leave out the last frame: what was lost may lie between it and what was taken for its payload."""
        if self._last_place < 0:
            return
        if self._settled and self._settled[-1][0] == self._last_place:
            self._settled.pop()
        self._leave_out("records are missing behind a frame, whose payload may be another's")

    def _settle(self, entry: Entry, payload: bytes) -> None:
        self._settled.append((*entry, payload))
        self._count += 1

    def _bound(self, waiting: dict[int, bytes] | dict[int, Entry]) -> None:
        if len(waiting) > _WAITING_MAX:
            del waiting[next(iter(waiting))]
            self._leave_out("a frame and a payload that do not find each other")

    def _leave_out(self, what: str, count: int = 1) -> None:
        self.errors.add(what, LogFault.DAMAGED, count=count)
