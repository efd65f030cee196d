"""Frames of a log whose time cannot be: left out and counted, so that one torn digit moves no other frame.

Rules:
- A frame stands between its neighbours in the log, or at most `NEAR_US` outside them: buses are interleaved,
  logs may be written backwards or joined, and pauses may be long; none of this is an error.
- The log's first and last frame have neighbours on one side only; they may stand a day apart from them.
- A frame that does not is left out, for nobody knows when it was; it is an error of the log.

It corrects no time: two or more wrong times in a row are believed, as a log that was joined is.

Example:
    >>> errors = LogErrors()
    >>> times = [1_000_000, 9_999_000_000_000_000, 1_020_000]
    >>> lots = [FrameLot.of("can0", [(t_us, 0x123, b"") for t_us in times])]
    >>> [lot.t_us.tolist() for lot in credible(lots, errors)], errors.count
    ([[1000000, 1020000]], 1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import FrameLot
from device.adapters.log_errors import LogErrors, LogFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["FrameLot", "LogErrors", "credible", "without"]

NEAR_US = 60_000_000  # far more than buses of one recorder are apart, far less than a wrong digit makes
END_US = 86_400_000_000  # first and last frame: a parked car's next frame may be hours away
_BEFORE = 2  # times that are remembered from lot to lot


def credible(lots: Iterable[FrameLot], errors: LogErrors) -> Iterator[FrameLot]:
    """Yield the lots without the frames whose time cannot be.

    Args:
        lots: in the order of the log.
        errors: takes each frame left out.
    """
    before = np.empty(0, np.int64)
    held: FrameLot | None = None
    for lot in lots:
        if not lot.size:
            continue
        if held is not None:
            yield _judged(held, before, lot.t_us[:1], errors)
            before = np.concatenate((before, held.t_us))[-_BEFORE:]
        held = lot
    if held is not None:
        yield _judged(held, before, held.t_us[:0], errors)


def without(
    lot: FrameLot, is_left_out: NDArray[np.bool_], errors: LogErrors, why: str, cause: LogFault
) -> FrameLot:
    """Return the lot without some of its frames, which are counted as errors of the log."""
    if not is_left_out.any():
        return lot
    for t_us in lot.t_us[is_left_out].tolist():
        errors.add(f"frame on {lot.bus} at {t_us / 1e6:.6f} s left out: {why}", cause)
    keep = ~is_left_out
    return FrameLot(
        bus=lot.bus,
        t_us=lot.t_us[keep],
        can_id=lot.can_id[keep],
        flags=lot.flags[keep],
        length=lot.length[keep],
        data=lot.data[keep],
    )


def _judged(
    lot: FrameLot, before: NDArray[np.int64], after: NDArray[np.int64], errors: LogErrors
) -> FrameLot:
    times = np.concatenate((before, lot.t_us, after))
    is_odd = _is_odd(times)[len(before) : len(before) + lot.size]
    return without(lot, is_odd, errors, "its time does not fit its neighbours", LogFault.ODD_TIME)


def _is_odd(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each time lies outside the times beside it by more than the margin."""
    odd = np.zeros(len(times), np.bool_)
    if len(times) <= _BEFORE:  # which of two is wrong, nobody can say
        return odd
    left, here, right = times[:-2], times[1:-1], times[2:]
    low, high = np.minimum(left, right) - NEAR_US, np.maximum(left, right) + NEAR_US
    odd[1:-1] = (here < low) | (here > high)
    for end, near in ((0, times[1:3]), (-1, times[-3:-1])):
        odd[end] = bool(times[end] < near.min() - END_US or times[end] > near.max() + END_US)
    return odd
