"""Conversions of an MF4 file: known ones give what asammdf gives, others do not pass as raw numbers."""

from __future__ import annotations

import struct
import warnings
from typing import TYPE_CHECKING

import can
import numpy as np
import pytest
from asammdf.blocks.v4_blocks import ChannelConversion

from device.adapters.log_files import LogError, LogReader
from device.adapters.mf4_fields import conversion_of
from tests.builders.logs import frames_of, messages

if TYPE_CHECKING:
    from pathlib import Path

CHANNEL, CONVERSION = b"##CN", b"##CC"
MASTER = 2
LINEAR, RATIONAL, FORMULA, INTERPOLATED, TABLE, RANGES = 1, 2, 3, 4, 5, 6


def with_time_conversion(folder: Path, kind: int, values: tuple[float, ...]) -> Path:
    """A log whose times have a conversion: a block at the end that each time channel names."""
    path = folder / "drive.mf4"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with can.Logger(path) as logger:
            for message in messages(20):
                logger.on_message_received(message)
    data = bytearray(path.read_bytes())
    data += bytes(-len(data) % 8)
    address, place, changed = len(data), 0, 0
    while (place := data.find(CHANNEL, place)) >= 0:
        links = struct.unpack_from("<Q", data, place + 16)[0]
        if data[place + 24 + 8 * links] == MASTER:
            struct.pack_into("<Q", data, place + 24 + 8 * 4, address)
            changed += 1
        place += 4
    assert changed
    body = struct.pack("<BBHHHdd", kind, 0, 0, 0, len(values), 0, 0)
    body += struct.pack(f"<{len(values)}d", *values)
    data += struct.pack("<4s4xQQ32x", CONVERSION, 24 + 32 + len(body), 4) + body
    path.write_bytes(data)
    return path


def test_a_table_with_interpolation_gives_what_asammdf_gives() -> None:
    pairs = [(0.0, 5.0), (10.0, 7.0), (25.0, -4.0)]
    named = {f"raw_{i}": raw for i, (raw, _) in enumerate(pairs)}
    named |= {f"phys_{i}": value for i, (_, value) in enumerate(pairs)}
    oracle = ChannelConversion(conversion_type=INTERPOLATED, val_param_nr=2 * len(pairs), **named)
    raw = np.linspace(-3.0, 30.0, 67)
    ours = conversion_of(INTERPOLATED, tuple(number for pair in pairs for number in pair))
    assert ours is not None
    np.testing.assert_allclose(ours.of(raw), oracle.convert(raw), rtol=1e-15)


def test_times_of_a_table_with_interpolation_lie_between_its_keys(tmp_path: Path) -> None:
    plain = frames_of(LogReader(with_time_conversion(tmp_path, LINEAR, (0.0, 1.0))).lots())
    twice = frames_of(LogReader(with_time_conversion(tmp_path, INTERPOLATED, (-1e9, -2e9, 1e9, 2e9))).lots())
    assert [frame[1] - plain[0][1] for frame in plain] == [1_000 * number for number in range(20)]
    assert [frame[1] - twice[0][1] for frame in twice] == [2_000 * number for number in range(20)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (RATIONAL, (0.0, 2.0, 0.0, 0.0, 0.0, 1.0)),
        (FORMULA, ()),
        (RANGES, (0.0, 1.0, 5.0, 0.0)),
        (LINEAR, (1.0,)),
    ],
)
def test_a_conversion_that_is_not_known_is_refused_by_its_kind(
    tmp_path: Path, kind: int, values: tuple[float, ...]
) -> None:
    with pytest.raises(LogError, match=f"conversion of kind {kind} .*at byte"):
        list(LogReader(with_time_conversion(tmp_path, kind, values)).lots())
