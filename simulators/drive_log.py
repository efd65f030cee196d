r"""A simulated drive as the two files that a logger would have written: candump and NMEA.

Rules: candump's own text form, `(seconds.microseconds) bus id#data`, time in UTC; NMEA lines as the
receiver said them. The same seed writes the same bytes. Nothing is added: no comment lines, no header, as
`candump -L` writes none.

Example:
    >>> candump_line(CanFrame(t_us=1_500_000, can_id=0x123, data=bytes([1, 255])), utc_start_us=1_000_000)
    '(0000000002.500000) can0 123#01FF\n'
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.bus_traffic import BUS_NAME, EXTENDED, CanFrame
from simulators.virtual_clock import SECOND_US

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.car import Car


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveLog:
    """What was written: frames and receiver lines."""

    frames: int
    nmea_lines: int


def candump_line(frame: CanFrame, *, utc_start_us: int) -> str:
    """Return one line of `candump -L`, for a world that began at `utc_start_us`."""
    seconds, microseconds = divmod(utc_start_us + frame.t_us, SECOND_US)
    is_long = bool(frame.can_id & EXTENDED)
    can_id = f"{frame.can_id & ~EXTENDED:08X}" if is_long else f"{frame.can_id:03X}"
    return f"({seconds:010d}.{microseconds:06d}) {BUS_NAME} {can_id}#{frame.data.hex().upper()}\n"


def write_drive(car: Car, *, seconds: int, out: Path, nmea: Path | None = None) -> DriveLog:
    """Drive for `seconds` and write what was said.

    Args:
        car: not yet driven.
        seconds: of the car's time; takes about a hundredth of it.
        out: the candump file.
        nmea: the receiver's file, when wanted.
    """
    frames = lines = 0
    with contextlib.ExitStack() as files:
        can_file = files.enter_context(out.open("w", encoding="ascii", newline=""))
        nmea_file = files.enter_context(nmea.open("wb")) if nmea is not None else None
        for item in car.until(seconds * SECOND_US):
            if isinstance(item, CanFrame):
                can_file.write(candump_line(item, utc_start_us=car.clock.utc_start_us))
                frames += 1
            elif nmea_file is not None:
                nmea_file.writelines(item.lines)
                lines += len(item.lines)
    return DriveLog(frames=frames, nmea_lines=lines)
