"""The section `window`: short high-rate recordings at a fixed period, such as a shock's acceleration.

Rules: a window is named, starts at a monotonic time, has a fixed period and int32 values; physical = value *
scale. The section is the CBOR array of [name, t0_us, period_us, scale, unit, values, frame] per window, where
the zstd frame holds the delta byte planes (see `planes`) of one column.

This module does not trigger or resample anything.

Example:
    >>> shock = Window(
    ...     name="accel_x",
    ...     t0_us=0,
    ...     period_us=1000,
    ...     scale=0.001,
    ...     unit="g",
    ...     values=np.array([1, 2], dtype=np.int32),
    ... )
    >>> decode_windows(encode_windows([shock]))[0].values.tolist()
    [1, 2]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol import codec
from protocol.compression import compress, decompress
from protocol.errors import ProtocolError, Reject
from protocol.fields import array, integer, number, record, text
from protocol.limits import PAYLOAD_BYTES_MAX, TIME_US_MAX, WINDOW_VALUES_MAX, WINDOWS_MAX
from protocol.planes import block_bytes_max, decode_planes, encode_planes

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """One recording.

    Attributes:
        name: what was measured, snake_case.
        t0_us: monotonic µs of the batch's boot, time of the first value.
        period_us: µs between values, ≥ 1.
        scale: physical = value * scale; finite.
        unit: of the physical value, or None.
        values: int32, shape (n,).
    """

    name: str
    t0_us: int
    period_us: int
    scale: int | float
    unit: str | None
    values: NDArray[np.int32]


def encode_windows(windows: Sequence[Window]) -> bytes:
    """Return the section's data.

    Raises:
        ValueError: more windows or values than a reader accepts, or values that are not int32 in one
            dimension.
    """
    if len(windows) > WINDOWS_MAX or sum(window.values.size for window in windows) > WINDOW_VALUES_MAX:
        raise ValueError("more windows or values than one section may hold")
    items: list[list[object]] = []
    for window in windows:
        if window.values.dtype != np.int32 or window.values.ndim != 1:
            raise ValueError(f"{window.name}: int32 of one dimension expected, not {window.values.dtype}")
        frame = compress(encode_planes(window.values.astype(np.int64)[None, :]))
        items.append(
            [
                window.name,
                window.t0_us,
                window.period_us,
                window.scale,
                window.unit,
                window.values.size,
                frame,
            ]
        )
    return codec.encode(items)


def decode_windows(data: bytes) -> list[Window]:
    """Read the section's data.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, or BAD_FIELD for a value out of its range.
    """
    items = array(codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX), "window", most=WINDOWS_MAX)
    windows: list[Window] = []
    left = WINDOW_VALUES_MAX
    for item in items:
        window = _window(item, left)
        left -= window.values.size
        windows.append(window)
    return windows


def _window(item: object, values_max: int) -> Window:
    name, t0_us, period_us, scale, unit, size, frame = record(item, "window", size=7)
    count = integer(size, "window values", least=0, most=WINDOW_VALUES_MAX)
    if count > values_max:
        raise ProtocolError(Reject.TOO_LARGE, f"windows: more than {WINDOW_VALUES_MAX} values")
    if not isinstance(frame, bytes):
        raise ProtocolError(Reject.BAD_FIELD, "window[6]: expected bytes")
    block = decompress(frame, max_bytes=block_bytes_max(columns=1, rows=count))
    column = decode_planes(block, columns=1, rows=count)[0]
    if count and (column.min() < _INT32.min or column.max() > _INT32.max):
        raise ProtocolError(Reject.BAD_FIELD, "window: a value beyond int32")
    return Window(
        name=text(name, "window name"),
        t0_us=integer(t0_us, "window t0", least=0, most=TIME_US_MAX),
        period_us=integer(period_us, "window period", least=1, most=TIME_US_MAX),
        scale=number(scale, "window scale"),
        unit=None if unit is None else text(unit, "window unit"),
        values=column.astype(np.int32),
    )
