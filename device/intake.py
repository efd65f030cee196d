"""From bus and receiver to the open batch: decode, check, sample, and account for every frame.

Rules:
- Each frame of a lot ends in exactly one place: decoded (kept or skipped by sampling) or dropped by a named
  cause.
- A lot whose content might not fit is cut in halves; when the spool holds everything up, the frames that
  find no room are counted as BACKPRESSURE, and the time of it becomes a declared gap.
- Raw frames are kept beside the rows for the identifiers that the profile calls decisive.
- A bus without a plan is counted, not guessed at: its frames are UNKNOWN_ID.
- Implausible values are kept as the car sent them and reported as facts.

It does not parse (`acquisition`) or seal (`delivery`); fixes have an intake of their own (`gnss_intake`).

Example: see `tests/unit/test_engine_intake.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from device.acquisition.decode import Decoder
from device.acquisition.lot import FrameFlag, FrameLot
from device.delivery.batch_builder import frames_bytes
from device.gnss_intake import GnssIntake
from protocol.batch import DropCause, Gap, GapCause
from protocol.facts import Event
from protocol.frames import RawFrames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.acquisition.decode import Decoded, DecodedGroup
    from device.acquisition.plausibility import PlausibilityCheck
    from device.acquisition.sample import Sampler
    from device.acquisition.table import DecodeTable
    from device.config import EngineConfig
    from device.delivery.outbox import Outbox
    from device.orders.facts import FactsKeeper
    from protocol.clock import Instant
    from protocol.signals import GroupDef


@dataclass(frozen=True, slots=True, kw_only=True)
class BusPlan:
    """How the frames of one bus become rows.

    Attributes:
        decoder: Executes the bus's table.
        groups: Definition of each group of the table, `gid` 0: the engine numbers them.
        sampler: Chooses rows.
        check: Watches limited columns, None without limits.
        raw_ids: Identifiers of the DBC (bit 31 for extended) whose messages' raw frames are kept.
    """

    decoder: Decoder
    groups: tuple[GroupDef, ...]
    sampler: Sampler
    check: PlausibilityCheck | None = None
    raw_ids: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def of(
        cls,
        bus: str,
        table: DecodeTable,
        *,
        sampler: Sampler,
        paths: Mapping[str, str] | None = None,
        check: PlausibilityCheck | None = None,
        raw_ids: frozenset[int] = frozenset(),
    ) -> Self:
        """Make the plan of one bus.

        Args:
            bus: Its name in the profile.
            table: Compiled DBC.
            sampler: Chooses rows.
            paths: Catalogue path by `Message.Signal`.
            check: Watches limited columns.
            raw_ids: Identifiers whose raw frames are kept.
        """
        groups = tuple(group.definition(0, bus, table.dbc_hash, paths or {}) for group in table.groups)
        return cls(decoder=Decoder(table), groups=groups, sampler=sampler, check=check, raw_ids=raw_ids)


def _part(lot: FrameLot, first: int, last: int) -> FrameLot:
    """Return frames `first…last - 1` of a lot."""
    return FrameLot(
        bus=lot.bus,
        t_us=lot.t_us[first:last],
        can_id=lot.can_id[first:last],
        flags=lot.flags[first:last],
        length=lot.length[first:last],
        data=lot.data[first:last],
    )


def _raw_frames(lot: FrameLot, plan: BusPlan) -> RawFrames | None:
    """Return the data frames of the messages whose raw frames are kept, None when the lot has none."""
    if not plan.raw_ids:
        return None
    is_data = (lot.flags & (FrameFlag.REMOTE | FrameFlag.ERROR)) == 0
    dbc_ids = plan.decoder.dbc_ids(lot.can_id).tolist()
    chosen = [row for row, dbc_id in enumerate(dbc_ids) if dbc_id in plan.raw_ids and is_data[row]]
    if not chosen:
        return None
    return RawFrames(
        bus=lot.bus,
        t_us=lot.t_us[chosen],
        can_id=lot.can_id[chosen],
        length=lot.length[chosen],
        data=lot.data[chosen],
    )


class Intake:
    """Takes lots and fills the outbox's open batch; `gnss` does the same for the receiver's bytes.

    Args:
        config: Keep-all and precision.
        plans: By bus name.
        outbox: Where content goes.
        facts: Hears everything decoded, before sampling; None without a microcontroller.
    """

    def __init__(
        self,
        config: EngineConfig,
        plans: Mapping[str, BusPlan],
        outbox: Outbox,
        *,
        facts: FactsKeeper | None = None,
    ) -> None:
        self._config = config
        self._plans = dict(plans)
        self._outbox = outbox
        self._facts = facts
        self.gnss = GnssIntake(config, outbox, self._make_room, facts=facts)
        self._numbered: dict[tuple[str, int], GroupDef] = {}
        self._blocked_since_us: int | None = None

    def take_lot(self, lot: FrameLot, now: Instant) -> None:
        """Take all frames of a lot."""
        plan = self._plans.get(lot.bus)
        if plan is None:
            drops = {DropCause.UNKNOWN_ID: lot.size}
            self._outbox.builder.count_frames(received=lot.size, decoded=0, drops=drops)
        elif lot.size:
            self._take(lot, plan, now)

    def note_drops(self, cause: DropCause, count: int) -> None:
        """Frames were lost before they reached the engine."""
        self._outbox.builder.count_frames(received=0, decoded=0, drops={cause: count})

    def _take(self, lot: FrameLot, plan: BusPlan, now: Instant) -> None:
        decoded = plan.decoder.decode(lot)
        raw = _raw_frames(lot, plan)
        cost = self._cost(lot.bus, plan, decoded) + (0 if raw is None else frames_bytes(raw))
        if cost > self._config.batch.raw_bytes and lot.size > 1:
            middle = lot.size // 2
            self._take(_part(lot, 0, middle), plan, now)
            self._take(_part(lot, middle, lot.size), plan, now)
            return
        if self._facts is not None:
            for rows in decoded.groups:
                self._facts.take_rows(lot.bus, plan.groups[rows.index], rows.t_us, rows.raw)
        if not self._make_room(cost, now):
            self._outbox.builder.count_frames(
                received=lot.size, decoded=0, drops={DropCause.BACKPRESSURE: lot.size}
            )
            return
        builder = self._outbox.builder
        builder.count_frames(
            received=decoded.counts.received, decoded=decoded.counts.decoded, drops=decoded.counts.drops
        )
        if raw is not None:
            builder.add_frames(raw)
        for group in decoded.groups:
            self._add_group(lot.bus, plan, group)

    def _add_group(self, bus: str, plan: BusPlan, rows: DecodedGroup) -> None:
        builder = self._outbox.builder
        group = self._number(bus, plan, rows.index)
        for finding in () if plan.check is None else plan.check.check(rows):
            column = group.columns[finding.column]
            builder.add_event(
                Event(
                    t_us=max(0, finding.t_us),
                    name="signal_implausible",
                    fields={
                        "signal": f"{bus}.{group.message}.{column.signal}",
                        "kind": finding.kind.value,
                        "value": finding.value,
                    },
                )
            )
        t_us, raw = rows.t_us, rows.raw
        if not self._config.keep_all:
            kept = plan.sampler.select(rows)
            skipped = len(t_us) - int(kept.sum())
            if skipped:
                builder.count_frames(received=0, decoded=0, drops={DropCause.POLICY: skipped})
            t_us, raw = t_us[kept], raw[:, kept]
        builder.add_rows(group, t_us, raw, is_announced=self._outbox.dictionary.is_announced(group.gid))

    def _cost(self, bus: str, plan: BusPlan, decoded: Decoded) -> int:
        """Return the upper bound of everything that was decoded, as if sampling kept all."""
        builder, dictionary = self._outbox.builder, self._outbox.dictionary
        total = 0
        for rows in decoded.groups:
            group = self._number(bus, plan, rows.index)
            total += builder.cost(group, len(rows.t_us), is_announced=dictionary.is_announced(group.gid))
        return total

    def _number(self, bus: str, plan: BusPlan, index: int) -> GroupDef:
        group = self._numbered.get((bus, index))
        if group is None:
            group = self._outbox.dictionary.number(plan.groups[index])
            self._numbered[bus, index] = group
        return group

    def _make_room(self, size: int, now: Instant) -> bool:
        """Whether content of this size may be added; seals the open batch to make room for it."""
        if self._outbox.builder.has_room(size) or self._outbox.seal_open(now):
            self._end_block(now)
            return True
        if self._blocked_since_us is None:
            self._blocked_since_us = now.mono_us
        return False

    def _end_block(self, now: Instant) -> None:
        """The spool takes batches again: the time without is a gap that we declare."""
        if self._blocked_since_us is not None:
            self._outbox.keeper.book.add_gap(
                Gap(
                    boot=self._config.boot,
                    start_us=self._blocked_since_us,
                    end_us=now.mono_us,
                    cause=GapCause.STORAGE,
                )
            )
            self._blocked_since_us = None
