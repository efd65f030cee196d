r"""Lines of a BUSMASTER log.

Rules:
- Lines that begin with `***` are headings: they say the number base, the mode of the times and the date.
- SYSTEM mode writes times of day, which count from the date of the start (without a time zone: taken as UTC)
  and go on past midnight; ABSOLUTE counts from the start; RELATIVE from the frame before.
- The channel's number is the bus's: channel 1 is can1.

Example:
    >>> BusmasterLines().read(b"22:20:14:992 Rx 0 0000021A s 2 FE 36 ")
    LoggedFrame(bus='can0', t_us=80414992000, can_id=538, flags=0, data=b'\xfe6')

Source: BUSMASTER, log files it writes (version 2.4 and later).
"""

from __future__ import annotations

import datetime as dt
import re

from device.adapters.log_errors import LogFault
from device.adapters.log_lines import FD, REMOTE, LineError, LoggedFrame, after, logged, micros

_FRAME = re.compile(
    rb"\s*(\d{1,3}):(\d{2}):(\d{2}):(\d{1,6})\s+(?:Rx|Tx)\s+(\d{1,3})\s+(?:0x)?([0-9A-Fa-f]{1,10})\s+"
    rb"([sx])(r?)(?:-fd)?\s+(\d{1,2})((?:\s+[0-9A-Fa-f]{1,3})*)\s*",
    re.IGNORECASE,
)
_START = re.compile(
    rb"\*\*\*START DATE AND TIME (\d{1,2}):(\d{1,2}):(\d{4}) (\d{1,2}):(\d{1,2}):(\d{1,2}):(\d{1,6})\*\*\*"
)
_MODE = re.compile(rb"\*\*\*(SYSTEM|ABSOLUTE|RELATIVE) MODE\*\*\*")
_BASE = re.compile(rb"\*\*\*(HEX|DEC)\*\*\*")
_DAY_US = 86_400_000_000
_HEX, _DEC = 16, 10


class BusmasterLines:
    """Reads the lines of one log.

    Attributes:
        has_date: Times are an epoch.
    """

    def __init__(self) -> None:
        self.has_date = False
        self._base = _HEX
        self._mode = b"SYSTEM"
        self._day_us = 0
        self._start_us = 0
        self._before_us = 0

    def read(self, line: bytes) -> LoggedFrame | None:
        """As `LineForm.read`."""
        if not line or line.isspace():
            return None
        if line.startswith(b"***"):
            self._read_heading(line.strip())
            return None
        found = _FRAME.fullmatch(line)
        if found is None:
            raise LineError("is no BUSMASTER frame")
        hours, minutes, seconds, fraction, channel, identifier, kind, remote, length, words = found.groups()
        whole = int(hours) * 3_600 + int(minutes) * 60 + int(seconds)
        t_us = self._time(micros(str(whole).encode(), fraction))
        try:
            number = int(identifier, self._base)
            payload = bytes([int(word, self._base) for word in words.split()[: int(length)]])
        except ValueError as error:
            raise LineError("has a number that is none") from error
        flags = REMOTE if remote else 0
        if remote:
            payload = b""
        elif len(payload) < int(length):
            raise LineError(f"has {len(payload)} of {int(length)} payload bytes")
        elif len(payload) > 8:  # noqa: PLR2004 (only an FD frame is longer)
            flags = FD
        return logged(
            f"can{int(channel)}", t_us, number, payload, is_extended=kind.lower() == b"x", flags=flags
        )

    def _time(self, t_us: int) -> int:
        if self._mode == b"RELATIVE":
            self._before_us = after(self._before_us, t_us)
            return self._start_us + self._before_us
        if self._mode == b"ABSOLUTE":
            return self._start_us + t_us
        if t_us < self._before_us - _DAY_US // 2:  # past midnight
            self._day_us += _DAY_US
        self._before_us = t_us
        return self._day_us + t_us

    def _read_heading(self, line: bytes) -> None:
        if found := _BASE.match(line):
            self._base = _DEC if found[1] == b"DEC" else _HEX
        elif found := _MODE.match(line):
            self._mode, self._before_us = found[1], 0
        elif found := _START.match(line):
            day, month, year, hour, minute, second, fraction = found.groups()
            try:
                moment = dt.datetime(
                    int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=dt.UTC
                )
            except ValueError as error:
                raise LineError("has a date that is none", LogFault.IMPOSSIBLE) from error
            seconds = int(moment.timestamp())
            if seconds < 0:
                return
            self.has_date = True
            self._start_us = micros(str(seconds).encode(), fraction)
            self._day_us = self._start_us // _DAY_US * _DAY_US
            self._before_us = 0
