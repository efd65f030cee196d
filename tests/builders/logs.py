"""Logs for tests: frames as plain tuples, and logs of every form with known frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.limits import LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device.acquisition.lot import FrameLot

# Bus, time in µs, identifier (bit 31 for extended), flags, payload.
Frame = tuple[str, int, int, int, bytes]


def frames_of(lots: Iterable[FrameLot]) -> list[Frame]:
    """Return the frames of lots, and check that each lot is one that the decoder may be given."""
    frames: list[Frame] = []
    for lot in lots:
        assert 0 < lot.size <= LOT_FRAMES_MAX
        columns = zip(
            lot.t_us.tolist(),
            lot.can_id.tolist(),
            lot.flags.tolist(),
            lot.length.tolist(),
            lot.data,
            strict=True,
        )
        for t_us, can_id, flags, length, data in columns:
            assert not data[length:].any(), "payloads are zero padded"
            frames.append((lot.bus, t_us, can_id, flags, data[:length].tobytes()))
    return frames
