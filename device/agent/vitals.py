"""What an update is compared with: what the running agent sees of car and box, kept for the keeper.

Rules: an identifier counts as seen when it came in at least half of the ten-second pieces of the bus's
present, or last, stretch awake: what comes once a drive proves nothing by its absence. A drain is the fall of
the supply since the ignition went off, and is known after half an hour. What nobody says is unknown.

It judges nothing (`device.update.health`).

Example:
    vitals = Vitals()
    vitals.note_frames("can0", lot.can_id, now_us)
    vitals.write(home, status=box.mcu_status, metrics=box.metrics(), now_us=now_us)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from device.update.vitals import write_vitals
from protocol.limits import UPDATE_DRAIN_WINDOW_S, UPDATE_IDS_MAX, UPDATE_REST_HEALTH_S_MAX
from protocol.orders import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from device.orders.link import Status

SECOND_US = 1_000_000
ASLEEP_US = 30 * SECOND_US  # a bus that only pauses between two messages is back long before
PIECE_US = 10 * SECOND_US
FIX_US = 10 * SECOND_US
HOUR_US = 3_600 * SECOND_US
OPEN_STATES = (State.ACCEPTED_PENDING, State.WARNING, State.ARMED, State.LOCKED, State.OVERRIDDEN)


class Vitals:
    """One life of the agent, as an update sees it."""

    def __init__(self) -> None:
        self._pieces: dict[str, int] = {}  # by identifier: in how many pieces it came
        self._in_piece: set[str] = set()
        self._began_us = self._piece_us = self._frame_us = -ASLEEP_US
        self._fix_us: int | None = None
        self._receipted = 0
        self._receipt_us: int | None = None
        self._rest: tuple[int, int] | None = None  # when the ignition went off, and the supply then

    def note_frames(self, bus: str, can_id: NDArray[np.uint32], now_us: int) -> None:
        """Frames came."""
        if now_us - self._frame_us >= ASLEEP_US:  # awake again: a new stretch
            self._pieces, self._in_piece, self._began_us, self._piece_us = {}, set(), now_us, now_us
        if now_us - self._piece_us >= PIECE_US:
            self._in_piece, self._piece_us = set(), now_us
        self._frame_us = now_us
        for number in np.unique(can_id).tolist():
            name = f"{bus}:{number:X}"
            if name not in self._in_piece and (name in self._pieces or len(self._pieces) < UPDATE_IDS_MAX):
                self._in_piece.add(name)
                self._pieces[name] = self._pieces.get(name, 0) + 1

    def note_fix(self, now_us: int) -> None:
        """The receiver had a position."""
        self._fix_us = now_us

    def write(self, home: Path, *, status: Status | None, metrics: Mapping[str, int], now_us: int) -> None:
        """Tell the keeper."""
        receipted = metrics.get("batches_receipted", 0)
        if receipted > self._receipted:
            self._receipted, self._receipt_us = receipted, now_us
        car = self.car(status, is_order_waiting=metrics.get("orders_waiting", 0) > 0)
        write_vitals(home, pid=os.getpid(), car=car, health=self.health(status, car["supply_mv"], now_us))

    def car(self, status: Status | None, *, is_order_waiting: bool) -> dict[str, int | bool | None]:
        """Return the car as `device.update.forms.Car` has it."""
        inputs = None if status is None else status.inputs
        moving = None if inputs is None else {"moving": True, "still": False}.get(inputs.accel or "")
        is_open = None
        if status is not None:
            is_open = is_order_waiting or status.open_cmd_id is not None or status.state in OPEN_STATES
        return {
            "is_ignition_on": None if inputs is None else inputs.ignition,
            "is_moving": moving,
            "supply_mv": None if inputs is None else inputs.supply_mv,
            "is_order_open": is_open,
            "is_mcu_up": status is not None,
        }

    def health(self, status: Status | None, supply_mv: int | None, now_us: int) -> dict[str, object]:
        """Return the health as `device.update.forms.Health` has it."""
        pieces = max(1, -(-(self._frame_us - self._began_us + 1) // PIECE_US))
        is_awake = now_us - self._frame_us < ASLEEP_US
        return {
            "firmware": None if status is None else status.firmware.hex(),
            "is_read_back": status is not None and status.is_relay_sensed == status.is_coil_on,
            "has_fix": self._fix_us is not None and now_us - self._fix_us <= FIX_US,
            "is_receipted": self._receipt_us is not None
            and now_us - self._receipt_us <= UPDATE_REST_HEALTH_S_MAX * SECOND_US,
            "ids": sorted(name for name, count in self._pieces.items() if 2 * count >= pieces),
            "awake_s": (now_us - self._began_us) // SECOND_US if is_awake else 0,
            "drain_mv_h": self._drain(status, supply_mv, now_us),
        }

    def _drain(self, status: Status | None, supply_mv: int | None, now_us: int) -> int | None:
        ignition = None if status is None or status.inputs is None else status.inputs.ignition
        if ignition is not False or supply_mv is None:
            self._rest = None
            return None
        if self._rest is None:
            self._rest = now_us, supply_mv
        began_us, first_mv = self._rest
        rested_us = now_us - began_us
        if rested_us < UPDATE_DRAIN_WINDOW_S * SECOND_US:
            return None
        return round((first_mv - supply_mv) * HOUR_US / rested_us)
