r"""Lines of a Vector ASC log (CANalyzer, CANoe): classic and FD frames, remote and error frames.

Rules:
- `base hex` or `base dec` is how identifiers and payloads are written; `timestamps relative` counts each time
  from the event before.
- Times count from the first trigger block's date, else from the header's; another header begins another log,
  as in logs that were joined. The date names no time zone and is taken as UTC; a date that cannot be read
  leaves times that count from the start of the measurement.
- Channel 1 is bus can0, as python-can counts.
- Other events (statistics, bus status, J1939 transport, LIN, comments) are no frames and no errors.

Example:
    >>> AscLines().read(b"   0.019968 1  64              Rx   d 2 64 00")
    LoggedFrame(bus='can0', t_us=19968, can_id=100, flags=0, data=b'd\x00')

Source: Vector, "ASC logging files format"; checked against python-can's reader.
"""

from __future__ import annotations

import datetime as dt
import re

from device.acquisition.lot import CLASSIC_BYTES
from device.adapters.log_errors import LogFault
from device.adapters.log_lines import (
    DLC_BYTES,
    ERROR,
    FD,
    REMOTE,
    LineError,
    LoggedFrame,
    after,
    hex_bytes,
    logged,
    micros,
)

_EVENT = re.compile(rb"\s*(\d{1,12})\.(\d{1,9})\s+(.*)", re.DOTALL)
# The form of nearly all lines; what it does not fit goes the careful way.
_PLAIN = re.compile(
    rb" *(\d{1,12})\.(\d{1,9}) +([1-9]) +([0-9A-Fa-f]{1,8})(x?) +(?:Rx|Tx) +d ([0-8]) "
    rb"((?:[0-9A-Fa-f]{2} ?){1,8})(?: .*)?"
)
_CLASSIC = re.compile(
    rb"(\d{1,3})\s+(?:(ErrorFrame)\b.*|([0-9A-Fa-f]{1,10})(x?)\s+(?:Rx|Tx|TxRq)\s+(?:"
    rb"(r)(?:\s+([0-9A-Fa-f]{1,2}))?|d\s+([0-9A-Fa-f]{1,2})((?:\s+[0-9A-Fa-f]{1,3})*))(?:\s.*)?)",
    re.IGNORECASE | re.DOTALL,
)
_FD = re.compile(
    rb"CANFD\s+(\d{1,3})\s+(?:Rx|Tx|TxRq)\s+(?:(ErrorFrame)\b.*|([0-9A-Fa-f]{1,10})(x?)\s+(?:\S+\s+)??"
    rb"[01]\s+[01]\s+([0-9A-Fa-f]{1,2})\s+(\d{1,2})((?:\s+[0-9A-Fa-f]{1,8})*)(?:\s.*)?)",
    re.IGNORECASE | re.DOTALL,
)
# What was meant to be a frame: a channel, an identifier and a direction or a kind; or CANFD. LIN, FlexRay and
# Ethernet have longer words in place of the channel.
_FRAME_LIKE = re.compile(
    rb"^(?:\S|\d{2,3})\s+(?:\S+\s+(?:Rx|Tx|TxRq)\b|[0-9A-F]+x?\s+\S+\s+[dr]\b|ErrorFrame)|^CANFD\s"
    rb"|\s(?:Rx|Tx|TxRq)\s+[dr]\s",
    re.IGNORECASE,
)
_TRANSPORT = b"J1939TP"  # a message put together of several frames, which stand there too
_HEADING = re.compile(
    rb"(date\s|base\s|//|(no\s+)?internal\s+events|(begin|end)\s+triggerblock|;|\*|$)", re.IGNORECASE
)
_BASE = re.compile(rb"base\s+(hex|dec)(?:\s+timestamps\s+(absolute|relative))?", re.IGNORECASE)
_DATE = re.compile(
    rb"(date|begin\s+triggerblock)\s+\S+\s+(\S{3,8})\s+(\d{1,2})\s+(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))?"
    rb"\s*(am|pm)?\s+(\d{4})",
    re.IGNORECASE,
)
# The first three letters of the months in English and German, as Vector's tools write them.
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan",
            "feb",
            "mar mär mrz",
            "apr",
            "may mai",
            "jun",
            "jul",
            "aug",
            "sep",
            "oct okt",
            "nov",
            "dec dez",
        ),
        1,
    )
    for name in names.split()
}
_HEX, _DEC = 16, 10
_HALF_DAY_H = 12


class AscLines:
    """Reads the lines of one log.

    Attributes:
        has_date: Times are an epoch: a date was found and understood.
    """

    def __init__(self) -> None:
        self.has_date = False
        self._base = _HEX
        self._is_relative = False
        self._start_us = 0
        self._is_triggered = False
        self._t_us = 0

    def read(self, line: bytes) -> LoggedFrame | None:
        """As `LineForm.read`."""
        if self._base == _HEX and not self._is_relative and (found := _PLAIN.fullmatch(line)):
            seconds, fraction, channel, identifier, extended, length, words = found.groups()
            payload = bytes.fromhex(words.decode())
            if len(payload) >= int(length):
                t_us = self._start_us + micros(seconds, fraction)
                number, data = int(identifier, _HEX), payload[: int(length)]
                return logged(f"can{int(channel) - 1}", t_us, number, data, is_extended=bool(extended))
        event = _EVENT.match(line)
        if event is None:
            self._read_heading(line.strip())
            return None
        t_us = micros(event[1], event[2])
        self._t_us = after(self._t_us, t_us) if self._is_relative else t_us
        rest = event[3]
        if found := _CLASSIC.fullmatch(rest):
            return self._classic(found)
        if found := _FD.fullmatch(rest):
            return self._fd(found)
        if _FRAME_LIKE.search(rest) and _TRANSPORT not in rest:
            raise LineError("is no ASC frame")
        return None

    def _classic(self, found: re.Match[bytes]) -> LoggedFrame:
        channel, error, identifier, extended, remote, _, length, words = found.groups()
        if error:
            return self._frame(channel, b"0", b"", b"", ERROR)
        if remote:
            return self._frame(channel, identifier, extended, b"", REMOTE)
        code = self._number(length)
        if code >= len(DLC_BYTES):
            raise LineError(f"has a data length code of {code}", LogFault.IMPOSSIBLE)
        count = min(CLASSIC_BYTES, DLC_BYTES[code])
        return self._frame(channel, identifier, extended, self._payload(words, count), 0)

    def _fd(self, found: re.Match[bytes]) -> LoggedFrame:
        channel, error, identifier, extended, code, length, words = found.groups()
        if error:
            return self._frame(channel, b"0", b"", b"", ERROR | FD)
        if int(length) == 0 and int(code, _HEX) != 0:
            return self._frame(channel, identifier, extended, b"", REMOTE | FD)
        payload = self._payload(words, int(length))
        return self._frame(channel, identifier, extended, payload, FD)

    def _frame(
        self, channel: bytes, identifier: bytes, extended: bytes, payload: bytes, flags: int
    ) -> LoggedFrame:
        bus = f"can{max(1, int(channel)) - 1}"
        t_us = self._start_us + self._t_us
        number = self._number(identifier)
        return logged(bus, t_us, number, payload, is_extended=bool(extended), flags=flags)

    def _payload(self, words: bytes, count: int) -> bytes:
        parts = words.split()[:count]
        if len(parts) < count:
            raise LineError(f"has {len(parts)} of {count} payload bytes")
        if self._base == _HEX and len(b"".join(parts)) == 2 * count:
            return hex_bytes(parts)
        values = [self._number(word) for word in parts]
        if any(value > 0xFF for value in values):  # noqa: PLR2004 (a byte)
            raise LineError("has a payload byte above 255", LogFault.IMPOSSIBLE)
        return bytes(values)

    def _number(self, word: bytes) -> int:
        try:
            return int(word, self._base)
        except ValueError as error:
            raise LineError("has a number of another base") from error

    def _read_heading(self, line: bytes) -> None:
        if not _HEADING.match(line):
            raise LineError("is no line of an ASC log")
        if found := _BASE.match(line):
            self._base = _DEC if found[1].lower() == b"dec" else _HEX
            self._is_relative = (found[2] or b"").lower() == b"relative"
        elif found := _DATE.match(line):
            self._read_date(found)

    def _read_date(self, found: re.Match[bytes]) -> None:
        what, month, day, hour, minute, second, fraction, half, year = found.groups()
        is_trigger = what.lower() != b"date"
        if not is_trigger:  # a header: of the log, or of another one that was put behind it
            self._is_triggered = False
            self._t_us = self._start_us = 0
        if self._is_triggered:
            return
        hours = int(hour)
        if half:
            hours = hours % _HALF_DAY_H + (_HALF_DAY_H if half.lower() == b"pm" else 0)
        number = _MONTHS.get(_text(month).lower()[:3])
        try:
            moment = dt.datetime(
                int(year), number or 0, int(day), hours, int(minute), int(second), tzinfo=dt.UTC
            )
        except ValueError:
            if self.has_date and not is_trigger:  # frames before had one: they are of two reckonings
                raise LineError("has a date that is none", LogFault.IMPOSSIBLE) from None
            return
        self._is_triggered = is_trigger
        self.has_date = True
        self._start_us = micros(str(int(moment.timestamp())).encode(), fraction or b"0")


def _text(word: bytes) -> str:
    """Return a word of a log whose encoding nobody says: UTF-8 or code page 1252."""
    try:
        return word.decode()
    except UnicodeDecodeError:
        return word.decode("cp1252", errors="replace")
