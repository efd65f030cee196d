"""The open batch: collects rows, raw frames, fixes, facts and counts until it is closed into a draft.

Rules:
- A batch is full by age, by an upper bound of its bytes, by rows, fixes or facts. The bound counts content
  as if nothing could be compressed, so a closed batch always fits the wire.
- Coverage is without holes: a batch begins where the one before it was closed, or at its earliest sample.
- Frames are accounted: received = decoded + dropped, within each batch.
- Facts that find no room are counted, and the batch says how many.
- Ageing is monotonic; UTC is mapped once, when the batch is closed.

It does not decide when to close (`outbox`), number or sign (`seal`).

Example:
    >>> builder = BatchBuilder(BatchLimits(), opened_us=0)
    >>> builder.count_frames(received=3, decoded=2, drops={DropCause.SHORT: 1})
    >>> builder.is_empty
    False
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from device.config import BatchLimits
from device.delivery.announce import definition_bytes
from device.delivery.clip import clipped, clipped_scalar, clipped_text
from device.delivery.draft import Draft
from device.delivery.precision import coarsened
from device.state import SpoolClass
from protocol.batch import Counts, DropCause, Section
from protocol.facts import Event, Facts
from protocol.fixes import Precision, encode_fixes
from protocol.frames import RawFrames, encode_frames
from protocol.limits import EVENTS_MAX, FIXES_MAX, HEALTH_MAX
from protocol.signals import GroupRows, encode_signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from device.config import EngineConfig
    from protocol.clock import Instant
    from protocol.fixes import Fix
    from protocol.signals import GroupDef

__all__ = ["BatchBuilder", "BatchLimits", "DropCause", "frames_bytes", "row_bytes"]

TIME_BYTES = 8  # a time difference at its widest
GROUP_BYTES = 64  # table entry, column heads' share and zstd frame around a group
COLUMN_BYTES = 9  # width and first value
FIX_BYTES = 64  # eleven columns at their widest
FRAME_BYTES = 20  # time, identifier, length and place of arrival; the payload comes on top
EVENT_BYTES = 32  # CBOR around an event and each of its fields
EVENTS_SPARE = 128  # room that sealing may need for facts of its own
# A full batch that cannot be sealed yet (the disk refuses) still takes a few facts, what one lot may bring;
# beyond that they are left out and counted, or a flapping bus would make it too large to be sealed at all.
EVENTS_OVER = 48
EVENT_BYTES_OVER = 16 * 1024


def row_bytes(group: GroupDef) -> int:
    """Return an upper bound of one uncompressed row: differences need one bit more than values."""
    return TIME_BYTES + sum(min(8, column.bits // 8 + 1) for column in group.columns)


def frames_bytes(frames: RawFrames) -> int:
    """Return an upper bound of raw frames, uncompressed."""
    return GROUP_BYTES + len(frames.t_us) * (FRAME_BYTES + int(frames.data.shape[1]))


def _event_bytes(event: Event) -> int:
    values = [value for value in event.fields.values() if isinstance(value, str)]
    texts = [event.name, *event.fields, *values]
    return EVENT_BYTES * (1 + len(event.fields)) + sum(len(text.encode()) for text in texts)


def _joined(bus: str, parts: list[RawFrames]) -> RawFrames:
    """Return all raw frames of a bus as one lot, as wide as its widest part."""
    width = max(part.data.shape[1] for part in parts)
    return RawFrames(
        bus=bus,
        t_us=np.concatenate([part.t_us for part in parts]),
        can_id=np.concatenate([part.can_id for part in parts]),
        length=np.concatenate([part.length for part in parts]),
        data=np.concatenate([np.pad(part.data, ((0, 0), (0, width - part.data.shape[1]))) for part in parts]),
    )


class BatchBuilder:
    """One open batch.

    Args:
        limits: When it is full.
        opened_us: Monotonic time at which it was opened.
    """

    def __init__(self, limits: BatchLimits, *, opened_us: int) -> None:
        self._limits = limits
        self._opened_us = opened_us
        self._earliest_us = opened_us
        self._latest_us = opened_us
        self._first_us: int | None = None  # when the first content came: the batch ages from here
        self._rows: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
        self._groups: dict[int, GroupDef] = {}
        self._frames: dict[str, list[RawFrames]] = {}
        self._fixes: list[Fix] = []
        self._events: list[Event] = []
        self._left_out = 0
        self._health: dict[str, int | float | str | None] = {}
        self._drops: Counter[int] = Counter()
        self._received = self._decoded = self._row_count = self._samples = 0
        self._bytes = 0
        self.is_alarm = False

    @property
    def is_empty(self) -> bool:
        """Nothing came in since it was opened."""
        return self._first_us is None

    @property
    def opened_us(self) -> int:
        """Monotonic time at which it was opened."""
        return self._opened_us

    @property
    def bytes_used(self) -> int:
        """Upper bound of the content, before compression."""
        return self._bytes

    def is_due(self, now_us: int) -> bool:
        """It is old enough to be closed."""
        return self._first_us is not None and now_us - self._first_us >= self._limits.age_us

    @property
    def is_full(self) -> bool:
        """It may not grow further."""
        return (
            self._bytes >= self._limits.raw_bytes
            or self._row_count >= self._limits.rows
            or len(self._fixes) >= FIXES_MAX
            or len(self._events) >= EVENTS_MAX - EVENTS_SPARE
        )

    def has_room(self, size: int) -> bool:
        """Content of this upper bound still fits."""
        return not self.is_full and self._bytes + size <= self._limits.raw_bytes

    def cost(self, group: GroupDef, rows: int, *, is_announced: bool) -> int:
        """Return the upper bound that `rows` rows of a group would add."""
        head = 0 if group.gid in self._groups else GROUP_BYTES + COLUMN_BYTES * (len(group.columns) + 1)
        explained = is_announced or group.gid in self._groups
        return rows * row_bytes(group) + head + (0 if explained else definition_bytes(group))

    def add_rows(
        self, group: GroupDef, t_us: NDArray[np.int64], raw: NDArray[np.int64], *, is_announced: bool
    ) -> None:
        """Add rows of a group: `t_us` int64 (n,), `raw` int64 (columns, n)."""
        count = len(t_us)
        if not count:
            return
        self._bytes += self.cost(group, count, is_announced=is_announced)
        self._groups[group.gid] = group
        self._rows.setdefault(group.gid, []).append((t_us, raw))
        self._row_count += count
        self._samples += count * len(group.columns)
        self._touch(int(t_us.min()), int(t_us.max()))

    def add_frames(self, frames: RawFrames) -> None:
        """Add raw frames that stay behind decisive signals."""
        if len(frames.t_us):
            self._bytes += frames_bytes(frames)
            self._frames.setdefault(frames.bus, []).append(frames)
            self._touch(int(frames.t_us.min()), int(frames.t_us.max()))

    def add_fix(self, fix: Fix) -> None:
        """Add one fix."""
        self._bytes += FIX_BYTES
        self._fixes.append(fix)
        self._touch(fix.t_us, fix.t_us)

    def add_event(self, event: Event) -> None:
        """Add one fact, cut to what the wire can carry; without room it is only counted."""
        event = clipped(event)
        size = _event_bytes(event)
        has_place = len(self._events) < EVENTS_MAX - EVENTS_SPARE + EVENTS_OVER
        if not has_place or self._bytes + size > self._limits.raw_bytes + EVENT_BYTES_OVER:
            self._left_out += 1
            return
        self._bytes += size
        self._events.append(event)
        self._touch(event.t_us, event.t_us)

    def set_health(self, values: Mapping[str, int | float | str | None]) -> None:
        """Note readings of the box; alone they do not make a batch worth closing."""
        for name, value in values.items():
            if name in self._health or len(self._health) < HEALTH_MAX:
                self._health[clipped_text(name)] = clipped_scalar(value)

    def count_frames(self, *, received: int, decoded: int, drops: Mapping[DropCause, int]) -> None:
        """Account for frames: `received == decoded + sum(drops)` for those that reached the engine."""
        self._received += received
        self._decoded += decoded
        self._drops.update({int(cause): number for cause, number in drops.items() if number})
        if received or any(drops.values()):
            self._touch(self._latest_us, self._latest_us)

    def close(self, now: Instant, config: EngineConfig) -> Draft:
        """Return the content; the builder must not be used afterwards.

        Args:
            now: The moment of closing, with the best UTC known.
            config: Boot, precision and the hashes in force.
        """
        end_us = max(now.mono_us, self._latest_us)
        start_us = min(max(self._earliest_us, 0), end_us)
        utc_us = now.utc_us
        has_fixes = bool(self._fixes) and config.precision != Precision.NONE
        return Draft(
            boot=config.boot,
            mono_start_us=start_us,
            mono_end_us=end_us,
            utc_start_us=None if utc_us is None else utc_us - (now.mono_us - start_us),
            utc_end_us=None if utc_us is None else utc_us - (now.mono_us - end_us),
            clock=now.clock,
            clock_error_us=now.error_us,
            counts=Counts(
                frames_received=self._received,
                frames_decoded=self._decoded,
                samples=self._samples,
                fixes=len(self._fixes) if has_fixes else 0,
                rows=self._row_count,
            ),
            drops=dict(sorted(self._drops.items())),
            sections=self._sections(config.precision if has_fixes else None),
            facts=Facts(dictionary=(), events=self._all_events(end_us), health=dict(self._health)),
            gids=frozenset(self._groups),
            rank=self._rank(),
            room_bytes=max(0, self._limits.raw_bytes - self._bytes),
            policy=config.policy_hash,
            profile=config.profile_hash,
        )

    def _sections(self, precision: Precision | None) -> dict[int, bytes]:
        sections: dict[int, bytes] = {}
        if self._rows:
            sections[Section.SIGNALS] = encode_signals(
                [
                    GroupRows(
                        gid=gid,
                        t_us=np.concatenate([t_us for t_us, _ in parts]),
                        raw=np.concatenate([raw for _, raw in parts], axis=1),
                    )
                    for gid, parts in sorted(self._rows.items())
                ]
            )
        if self._frames:
            sections[Section.FRAMES] = encode_frames(
                [_joined(bus, parts) for bus, parts in sorted(self._frames.items())]
            )
        if precision is not None:
            sections[Section.FIXES] = encode_fixes(
                [coarsened(fix, precision) for fix in self._fixes], precision
            )
        return sections

    def _all_events(self, end_us: int) -> tuple[Event, ...]:
        if not self._left_out:
            return tuple(self._events)
        said = Event(t_us=end_us, name="facts_left_out", fields={"count": self._left_out})
        return (*self._events, said)

    def _rank(self) -> SpoolClass:
        if self.is_alarm:
            return SpoolClass.ALARM
        if self._events:
            return SpoolClass.FACTS
        return SpoolClass.BULK if self._rows or self._frames else SpoolClass.STATE

    def _touch(self, first_us: int, last_us: int) -> None:
        self._earliest_us = min(self._earliest_us, first_us)
        self._latest_us = max(self._latest_us, last_us)
        if self._first_us is None:
            self._first_us = max(first_us, self._opened_us)
