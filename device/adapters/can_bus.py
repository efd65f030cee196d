"""CAN buses through python-can: one thread owns each bus and hands over lots of frames.

Rules:
- A lot leaves every 25 ms, or when it holds `CAN_LOT_FRAMES_MAX` frames. Nothing is sent on the bus; where
  the driver offers listen-only it is asked for, unless the settings say otherwise.
- Error, remote and FD frames are kept with their flag; counting and refusing them is the engine's work.
- A driver's time stamp is wall-clock time. It is turned into `mono_us` by the difference between the two
  clocks when the lot was read, and believed only when it lies within the lot's own reach; else the time of
  reading stands.
- A bus that fails is closed and opened again with a growing wait. Down and up are each told once.
- A full queue drops the newest lot and counts its frames (`take_dropped`).

It does not decode and does not filter: what is not in the DBC is counted, too.

Example:
    settings = CanSettings(bus="can0", interface="slcan", channel="/dev/ttyACM0", bitrate=500_000)
    reader = CanReader(settings, clock, inbox.put)
    reader.start()
    ...
    reader.stop()
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from device.acquisition.lot import CLASSIC_BYTES, EXTENDED, FD_BYTES, FrameFlag, FrameLot
from device.adapters.back_off import BackOff
from device.adapters.owner_thread import OwnerThread
from device.adapters.python_can import can
from protocol.limits import CAN_LOT_FRAMES_MAX, DEVICE_REOPEN_WAIT_S_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

LOT_US = 25_000  # hand-over period: 20-50 ms keeps latency low and the cost a lot small
RECEIVE_WAIT_S = 0.025  # an idle bus wakes its thread 40 times a second, so that a stop is quick
STAMP_AGE_MAX_US = 5_000_000  # a driver's buffer older than this is not a buffer but another clock
REOPEN_FIRST_S = 0.5
MALFORMED_REOPEN = (
    64  # so many unreadable lines in a row are a wrong bit rate or a wrong device, not line noise
)

# How each driver is asked to stay silent; one that is missing here cannot be asked (SocketCAN: `ip link set …
# listen-only on`).
LISTEN_ONLY: Mapping[str, Mapping[str, bool]] = {
    "slcan": {"listen_only": True},
    "vector": {"listen_only": True},
    "nixnet": {"listen_only": True},
    "cantact": {"monitor": True},
}

# What a driver needs to behave well, unless the settings say otherwise.
DEFAULT_OPTIONS: Mapping[str, Mapping[str, float]] = {
    # slcan waits two seconds after opening by default, for boards that reboot then; and reads byte by byte
    # with a 1 ms time-out, which costs a thousand wake-ups a second on an idle bus.
    "slcan": {"sleep_after_open": 0.05, "timeout": 0.02},
}

_Bits = TypeVar("_Bits", np.uint8, np.uint32)


class Clock(Protocol):
    """What a reader asks of the clock."""

    def mono_us(self) -> int:
        """Microseconds since boot."""

    def wall_us(self) -> int:
        """The wall clock that drivers stamp with, microseconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanSettings:
    """One bus.

    Attributes:
        bus: the name that profile and traces use.
        interface: python-can's name of the driver: slcan, socketcan, virtual, …
        channel: what the driver opens: a device path, an interface name.
        bitrate: bit/s, None when the driver or the network set-up knows it.
        listen_only: stay silent where the driver can.
        options: more keywords for the driver.
    """

    bus: str
    interface: str
    channel: str
    bitrate: int | None = None
    listen_only: bool = True
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def keywords(self) -> dict[str, str | int | float | bool]:
        """Return the keywords for `can.Bus`."""
        chosen: dict[str, str | int | float | bool] = {"interface": self.interface, "channel": self.channel}
        chosen |= DEFAULT_OPTIONS.get(self.interface, {})
        if self.bitrate is not None:
            chosen["bitrate"] = self.bitrate
        if self.listen_only:
            chosen |= LISTEN_ONLY.get(self.interface, {})
        return chosen | dict(self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusState:
    """A bus went up or down; `reason` says why it is down."""

    bus: str
    is_up: bool
    reason: str | None = None


class CanReader(OwnerThread):
    """The thread that owns one bus.

    Args:
        settings: which bus.
        clock: the agent's clock.
        put: takes a lot or a state from this thread; False when it has no room.
    """

    def __init__(
        self, settings: CanSettings, clock: Clock, put: Callable[[FrameLot | BusState], bool]
    ) -> None:
        super().__init__(f"can-{settings.bus}")
        self.settings = settings
        self._clock = clock
        self._put = put
        self._back_off = BackOff(first_s=REOPEN_FIRST_S, longest_s=DEVICE_REOPEN_WAIT_S_MAX)
        self._is_down_told = False
        self.malformed = 0  # lines the driver could not read

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                bus = can.Bus(**self.settings.keywords())  # type: ignore[arg-type] # each driver its own
            except (can.CanError, OSError, ValueError, TypeError, ImportError) as failure:
                self._went_down(str(failure))
                self._stopping.wait(self._back_off.next_s())
                continue
            try:
                self._came_up()
                self._read(bus)
            except (can.CanError, OSError) as failure:
                self._went_down(str(failure))
                self._stopping.wait(self._back_off.next_s())
            finally:
                _close(bus)

    def _read(self, bus: can.BusABC) -> None:
        """Read until told to stop, or until the bus fails."""
        in_a_row = 0
        rows: list[can.Message] = []
        opened_us = self._clock.mono_us()
        try:
            while not self._stopping.is_set():
                try:
                    message = bus.recv(RECEIVE_WAIT_S)
                    in_a_row = 0
                except (ValueError, IndexError, KeyError) as unreadable:  # a line that is not a frame
                    self.malformed += 1
                    in_a_row += 1
                    if in_a_row >= MALFORMED_REOPEN:
                        raise can.CanOperationError(f"unreadable input: {unreadable}") from unreadable
                    message = None
                now = self._clock.mono_us()
                if message is not None:
                    rows.append(message)
                    self._back_off.succeeded()
                if len(rows) >= CAN_LOT_FRAMES_MAX or now - opened_us >= LOT_US:
                    self._hand_over(rows)
                    rows, opened_us = [], now
        finally:
            self._hand_over(rows)

    def _hand_over(self, rows: Sequence[can.Message]) -> None:
        if not rows:
            return
        mono, wall = self._clock.mono_us(), self._clock.wall_us()
        lot = lot_of(self.settings.bus, rows, mono_us=mono, wall_us=wall)
        if not self._put(lot):
            self._drop(lot.size)

    def _went_down(self, reason: str) -> None:
        if not self._is_down_told:
            _log.warning(
                "bus down: bus=%s interface=%s reason=%s", self.settings.bus, self.settings.interface, reason
            )
            self._is_down_told = self._put(BusState(bus=self.settings.bus, is_up=False, reason=reason))

    def _came_up(self) -> None:
        _log.info("bus up: bus=%s interface=%s", self.settings.bus, self.settings.interface)
        self._put(BusState(bus=self.settings.bus, is_up=True))
        self._is_down_told = False


def lot_of(bus: str, rows: Sequence[can.Message], *, mono_us: int, wall_us: int) -> FrameLot:
    """Make a lot of what python-can received.

    Args:
        bus: name of the bus.
        rows: messages in order of reception, at least one.
        mono_us: the agent's clock when the last of them had been read.
        wall_us: the wall clock at the same moment.

    Returns:
        The lot; `t_us` never decreases in it.
    """
    # Column by column: ten times as fast as looking at each message once, and receiving is half of the work.
    count = len(rows)
    data = [row.data for row in rows]
    lengths = np.fromiter(map(len, data), np.uint8, count)
    width = CLASSIC_BYTES if lengths.max() <= CLASSIC_BYTES else FD_BYTES
    payloads = np.frombuffer(b"".join(data), np.uint8)
    if lengths.min() == width:
        padded = payloads.reshape(count, width)
    else:
        padded = np.zeros((count, width), np.uint8)
        padded[np.arange(width, dtype=np.uint8) < lengths[:, None]] = payloads
    stamps = np.rint(np.fromiter([row.timestamp for row in rows], np.float64, count) * 1e6)
    ids = np.fromiter([row.arbitration_id for row in rows], np.uint32, count)
    ids |= _bit([row.is_extended_id for row in rows], np.uint32(EXTENDED))
    flags = _bit([row.is_remote_frame for row in rows], np.uint8(FrameFlag.REMOTE))
    flags |= _bit([row.is_error_frame for row in rows], np.uint8(FrameFlag.ERROR))
    flags |= _bit([row.is_fd for row in rows], np.uint8(FrameFlag.FD))
    return FrameLot(
        bus=bus,
        t_us=_to_mono(stamps.astype(np.int64), mono_us=mono_us, wall_us=wall_us),
        can_id=ids,
        flags=flags,
        length=lengths,
        data=padded,
    )


def _to_mono(stamps: NDArray[np.int64], *, mono_us: int, wall_us: int) -> NDArray[np.int64]:
    """Turn wall-clock stamps into `mono_us`; a stamp from another clock becomes the time of reading."""
    age = wall_us - stamps
    is_ours = (age >= 0) & (age <= STAMP_AGE_MAX_US)
    # Never before the boot of the agent: a kernel buffer may hold frames from before it.
    mono = np.where(is_ours, np.maximum(mono_us - age, 0), mono_us)
    return np.maximum.accumulate(mono)


def _bit(are_set: list[bool], bit: _Bits) -> NDArray[_Bits]:
    """Return the bit for each row in which it is set, else 0."""
    return np.fromiter(are_set, bool, len(are_set)) * bit


def _close(bus: can.BusABC) -> None:
    """Close the driver; one that is already gone has nothing left to say."""
    try:
        bus.shutdown()
    except (can.CanError, OSError, ValueError) as failure:
        _log.debug("bus closed with an error: %s", failure)
