r"""A lot of frames: what a CAN bus or a log hands over at once, as columns.

Rules:
- One lot belongs to one bus; its rows stand in the order of reception and `t_us` never decreases within a lot
  as long as the driver's time stamps do not.
- The identifier carries bit 31 when it is a 29-bit (extended) one, so standard 0x123 and extended 0x123 are
  different keys everywhere after this point (ISO 11898-1 knows them as different frames).
- Payloads are zero padded to 8 bytes, or to 64 when a payload of the lot is longer than 8; `length` says how
  much is real.

It does not decode, filter or sort. Adapters make lots, `decode` reads them.

Example:
    >>> lot = FrameLot.of("can0", [(1_000, 0x123, b"\x01\x02")])
    >>> lot.size, int(lot.length[0]), lot.data.shape
    (1, 2, (1, 8))
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# Bit 31 of a stored identifier: the frame has a 29-bit identifier (SocketCAN's CAN_EFF_FLAG is the same bit).
EXTENDED = 0x8000_0000

CLASSIC_BYTES = 8
FD_BYTES = 64


class FrameFlag(IntFlag):
    """What kind of frame a row is; 0 is a classic data frame."""

    REMOTE = 1
    ERROR = 2
    FD = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameLot:
    """Frames of one bus in order of reception, as equally long columns.

    Attributes:
        bus: Name of the bus, as the profile calls it.
        t_us: int64 (n,), microseconds; the agent's monotonic clock, or the log's own time.
        can_id: uint32 (n,), identifier with bit 31 set for extended frames.
        flags: uint8 (n,), bits of `FrameFlag`.
        length: uint8 (n,), payload bytes 0…64.
        data: uint8 (n, 8) or (n, 64), C-contiguous, zero padded.
    """

    bus: str
    t_us: NDArray[np.int64]
    can_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def __post_init__(self) -> None:
        count = len(self.t_us)
        assert len(self.can_id) == len(self.flags) == len(self.length) == count
        assert self.data.shape in {(count, CLASSIC_BYTES), (count, FD_BYTES)}
        assert self.t_us.dtype == np.int64
        assert self.can_id.dtype == np.uint32
        assert self.data.dtype == self.length.dtype == self.flags.dtype == np.uint8

    @property
    def size(self) -> int:
        """Number of frames."""
        return len(self.t_us)

    @classmethod
    def of(
        cls, bus: str, frames: Iterable[tuple[int, int, bytes]], flags: Iterable[int] | None = None
    ) -> Self:
        """Make a lot from `(t_us, can_id, payload)` tuples.

        Args:
            bus: Name of the bus.
            frames: Rows in order of reception; payloads of 0…64 bytes.
            flags: One `FrameFlag` value a row; none means all classic or FD data frames by their length.

        Returns:
            The lot, 64 bytes wide when any payload is longer than 8 bytes, else 8 wide.

        Raises:
            ValueError: A payload is longer than 64 bytes.
        """
        rows = list(frames)
        longest = max((len(payload) for _, _, payload in rows), default=0)
        if longest > FD_BYTES:
            raise ValueError(f"payload of {longest} bytes: a CAN FD frame carries at most {FD_BYTES}")
        width = CLASSIC_BYTES if longest <= CLASSIC_BYTES else FD_BYTES
        lengths = [len(payload) for _, _, payload in rows]
        if flags is None:
            flags = (FrameFlag.FD if length > CLASSIC_BYTES else 0 for length in lengths)
        joined = b"".join(payload.ljust(width, b"\0") for _, _, payload in rows)
        return cls(
            bus=bus,
            t_us=np.array([t_us for t_us, _, _ in rows], np.int64),
            can_id=np.array([can_id for _, can_id, _ in rows], np.uint32),
            flags=np.array([int(flag) for flag in flags], np.uint8),
            length=np.array(lengths, np.uint8),
            data=np.frombuffer(joined, np.uint8).reshape(len(rows), width),
        )
