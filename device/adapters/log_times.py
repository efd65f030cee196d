"""Frames of a log whose time cannot be: left out and counted, so that one torn digit moves no other frame.

Rules:
- A frame stands between its neighbours of the same bus, or at most `NEAR_US` outside them; at the ends of a
  lot, between those of all buses that were read just before, with and just behind it. Buses may be silent for
  long, logs may be written backwards or joined, and pauses may be long; none of this is an error.
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
from protocol.limits import LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["FrameLot", "LogErrors", "credible", "without"]

NEAR_US = 60_000_000  # far more than buses of one recorder are apart, far less than a wrong digit makes
END_US = 86_400_000_000  # first and last frame: a parked car's next frame may be hours away
_REFERENCES_MIN = 2  # times that must agree before a third is called wrong
_BESIDE = 2  # frames of a lot beside its end that are looked at
_NOTHING = np.empty(0, np.int64)


def credible(lots: Iterable[FrameLot], errors: LogErrors) -> Iterator[FrameLot]:
    """Yield the lots without the frames whose time cannot be.

    Args:
        lots: in the order of the log.
        errors: takes each frame left out.
    """
    before = _NOTHING
    held: list[FrameLot] = []
    for group in _groups(lots):
        if held:
            kept = _judged(held, before, _spans(group), errors)
            before = _whole_span(kept, before)
            yield from kept
        held = group
    yield from _judged(held, before, _NOTHING, errors)


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


def _groups(lots: Iterable[FrameLot]) -> Iterator[list[FrameLot]]:
    """Yield lots that were read together: each of another bus, all together as small as one may be."""
    group: list[FrameLot] = []
    for lot in lots:
        if not lot.size:
            continue
        is_full = sum(held.size for held in group) + lot.size > LOT_FRAMES_MAX
        if group and (is_full or any(held.bus == lot.bus for held in group)):
            yield group
            group = []
        group.append(lot)
    if group:
        yield group


def _judged(
    group: list[FrameLot], before: NDArray[np.int64], after: NDArray[np.int64], errors: LogErrors
) -> list[FrameLot]:
    """Return the lots of a group without the frames whose time cannot be.

    Args:
        group: Lots that were read together.
        before: Times between which the group before stands; none at the log's start.
        after: The same of the group behind it; none at the log's end.
        errors: Takes each frame left out.
    """
    kept, spans = [], [_span(lot) for lot in group]
    for number, lot in enumerate(group):
        around = np.concatenate((*spans[:number], *spans[number + 1 :], before, after))
        is_odd = _is_odd(lot.t_us, before, around, after)
        why = "its time does not fit its neighbours"
        kept.append(without(lot, is_odd, errors, why, LogFault.ODD_TIME))
    return kept


def _is_odd(
    times: NDArray[np.int64], before: NDArray[np.int64], around: NDArray[np.int64], after: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each time of a lot lies outside those beside it by more than the margin.

    Args:
        times: Of one bus.
        before: Empty at the log's start.
        around: What the lot's first and last frame stand between beside their neighbours in it: other buses.
        after: Empty at the log's end.
    """
    odd = np.zeros(len(times), np.bool_)
    left, here, right = times[:-2], times[1:-1], times[2:]
    odd[1:-1] = (here < np.minimum(left, right) - NEAR_US) | (here > np.maximum(left, right) + NEAR_US)
    for end, beside, is_outermost in ((0, times[1:3], not len(before)), (-1, times[-3:-1], not len(after))):
        near = np.concatenate((beside if is_outermost else beside[:1] if end == 0 else beside[-1:], around))
        if len(near) < _REFERENCES_MIN:
            continue  # which of two is wrong, nobody can say
        margin = END_US if is_outermost else NEAR_US
        is_out = times[end] < near.min() - margin or times[end] > near.max() + margin
        # A single frame of a lot is its first and its last: neither may speak against the other.
        odd[end] = is_out and (odd[end] or end == 0) if len(times) == 1 else is_out
    return odd


def _spans(lots: Sequence[FrameLot]) -> NDArray[np.int64]:
    """Return times between which lots stand."""
    return np.concatenate([_NOTHING, *(_span(lot) for lot in lots)])


def _span(lot: FrameLot) -> NDArray[np.int64]:
    """Return two times between which a lot stands; of three frames or more one torn time does not count."""
    return np.partition(lot.t_us, (1, -2))[[1, -2]] if lot.size > _BESIDE else lot.t_us


def _whole_span(kept: Sequence[FrameLot], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return first and last of all times that were kept, what was known before when there are none."""
    times = np.concatenate([_NOTHING, *(lot.t_us for lot in kept)])
    return np.array([times.min(), times.max()][: len(times)], np.int64) if len(times) else before
