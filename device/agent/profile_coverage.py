"""What a recording contains, in terms of a profile: identifiers, rates, signals seen and signals missing.

Rules:
- Every frame is counted under its bus and identifier, known or not.
- A signal is seen when a row of its group was decoded; what was seen is told with its least and greatest
  value, so that a wrong scale shows at once.
- A state of the car (ignition on, …) is seen when its signal is, and told with the share of rows in which it
  held.

It samples nothing and sends nothing.

Example:
    coverage = BusCoverage(bus_profile, table, plan, states)
    coverage.take(lot)
    coverage.signals()[0].path
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import EXTENDED, FrameFlag
from protocol.signals import physical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from device.acquisition.decode import DecodedGroup
    from device.acquisition.lot import FrameLot
    from device.acquisition.table import DecodeTable
    from device.intake import BusPlan
    from device.profile import BusProfile, StateRule
    from protocol.signals import ColumnDef


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenId:
    """An identifier of the recording: `message` is None when the DBC does not know it."""

    can_id: int
    frames: int
    message: str | None

    @property
    def text(self) -> str:
        """The identifier as people write it: three hex digits, or eight for an extended one."""
        is_extended = self.can_id & EXTENDED
        return f"0x{self.can_id & ~EXTENDED:08X}" if is_extended else f"0x{self.can_id:03X}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSignal:
    """A signal that the profile has a rule for: rows 0 when it is missing."""

    name: str
    path: str | None
    unit: str | None
    rows: int
    least: float | None
    greatest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenState:
    """A state of the car: rows of its signal, and in how many of them it held."""

    name: str
    signal: str
    rows: int
    held: int


@dataclass(slots=True)
class _Range:
    rows: int = 0
    least: float | None = None
    greatest: float | None = None

    def take(self, values: NDArray[np.float64]) -> None:
        self.rows += len(values)
        finite = values[np.isfinite(values)]
        if len(finite):
            least, greatest = float(finite.min()), float(finite.max())
            self.least = least if self.least is None else min(self.least, least)
            self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)


class BusCoverage:
    """Watches one bus of a recording.

    Args:
        profile: What the profile says about the bus.
        table: Compiled from its DBC.
        plan: The same as the engine's.
        states: Those whose signal is on this bus.
    """

    def __init__(
        self, profile: BusProfile, table: DecodeTable, plan: BusPlan, states: Mapping[str, StateRule]
    ) -> None:
        self.bus = profile.bus
        self.frames = 0
        self._profile = profile
        self._plan = plan
        self._states = dict(states)
        self._messages = {message.can_id: message.name for message in table.messages}
        self._ids: Counter[int] = Counter()
        self._dbc_ids: dict[int, int] = {}  # J1939 messages answer to other identifiers than the DBC's
        self._ranges: dict[str, _Range] = {name: _Range() for name in profile.signals}
        self._held: dict[str, _Range] = {name: _Range() for name in states}
        self._held_rows: Counter[str] = Counter()
        self._units: dict[str, str | None] = {}
        for group in plan.groups:
            for column in group.columns:
                self._units[f"{group.message}.{column.signal}"] = column.unit

    def take(self, lot: FrameLot) -> None:
        """Take the next frames of this bus."""
        self.frames += lot.size
        is_data = (lot.flags & (FrameFlag.REMOTE | FrameFlag.ERROR)) == 0
        ids, counts = np.unique(lot.can_id[is_data], return_counts=True)
        self._ids.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        self._dbc_ids.update(zip(ids.tolist(), self._plan.decoder.dbc_ids(ids).tolist(), strict=True))
        for group in self._plan.decoder.decode(lot).groups:
            self._take_group(group)

    def ids(self) -> list[SeenId]:
        """Return the identifiers seen, by number."""
        return [
            SeenId(can_id=can_id, frames=frames, message=self._messages.get(self._dbc_ids[can_id]))
            for can_id, frames in sorted(self._ids.items())
        ]

    def messages_missing(self) -> list[str]:
        """Return the messages of the DBC that never came."""
        seen = {one.message for one in self.ids()}
        return [name for name in self._messages.values() if name not in seen]

    def signals(self) -> list[SeenSignal]:
        """Return the signals of the profile, in its order."""
        return [
            SeenSignal(
                name=name,
                path=rule.path,
                unit=self._units.get(name),
                rows=self._ranges[name].rows,
                least=self._ranges[name].least,
                greatest=self._ranges[name].greatest,
            )
            for name, rule in self._profile.signals.items()
        ]

    def states(self) -> list[SeenState]:
        """Return the states of the profile on this bus."""
        return [
            SeenState(name=name, signal=rule.signal, rows=self._held[name].rows, held=self._held_rows[name])
            for name, rule in self._states.items()
        ]

    def _take_group(self, rows: DecodedGroup) -> None:
        group = self._plan.groups[rows.index]
        for number, column in enumerate(group.columns):
            name = f"{group.message}.{column.signal}"
            states = [state for state, rule in self._states.items() if rule.signal == name]
            if name not in self._ranges and not states:
                continue
            values = _values(column, rows.raw[number])
            if name in self._ranges:
                self._ranges[name].take(values)
            for state in states:
                self._held[state].take(values)
                self._held_rows[state] += int(np.count_nonzero(_holds(self._states[state], values)))


def _values(column: ColumnDef, raw: NDArray[np.int64]) -> NDArray[np.float64]:
    return physical(column, raw).astype(np.float64)


def _holds(rule: StateRule, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return in which rows a state holds, as `StateRule.holds` says it of one value."""
    return values > rule.above if rule.above is not None else np.isin(values, rule.values)
