r"""Lines of a PEAK TRC log (PCAN-View, PCAN-Explorer), versions 1.0 to 2.1.

Rules:
- `;$FILEVERSION` says how lines are laid out (without it: 1.0), in version 2 `;$COLUMNS` does.
- Times are milliseconds after `;$STARTTIME` (days since 1899-12-30, without a time zone: taken as UTC);
  without it they count from the start of the recording.
- Bus status, warnings and events are no frames and no errors; an ER record is an error frame.
- A log without a bus column is bus can1, as python-can counts.

Example:
    >>> TrcLines().read(b"     1)     17535  00000100  2  0A 0B")
    LoggedFrame(bus='can1', t_us=17535000, can_id=2147483904, flags=0, data=b'\n\x0b')

Source: PEAK-System, "PEAK CAN TRC File Format", 2023; checked against python-can's reader.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from device.adapters.log_errors import LogFault
from device.adapters.log_lines import (
    DLC_BYTES,
    ERROR,
    FD,
    REMOTE,
    LineError,
    LoggedFrame,
    hex_bytes,
    logged,
    micros,
)

# Columns by name, as version 2 calls them: N number, O offset, B bus, T type, d direction, I identifier,
# R reserved, L data length code, l data length, D data. In version 1 the type of a frame is Rx or Tx.
_COLUMNS = {
    (1, 0): ("N", "O", "I", "L"),
    (1, 1): ("N", "O", "T", "I", "L"),
    (1, 2): ("N", "O", "B", "T", "I", "L"),
    (1, 3): ("N", "O", "B", "T", "I", "R", "L"),
}
_KNOWN_COLUMNS = frozenset("NOBTdIRLlD")
_FRAME_TYPES = frozenset({b"DT", b"FD", b"FB", b"FE", b"BI", b"RR", b"RX", b"TX"})
_FD_TYPES = frozenset({b"FD", b"FB", b"FE", b"BI"})
_ERROR_TYPE, _REMOTE_TYPE = b"ER", b"RR"
# Other record types, and in version 1 the words in the type column.
_OTHER_TYPES = frozenset({b"ST", b"EC", b"EV", b"WARNG", b"WARNING", b"ERROR", b"EVENT"})
_STATUS_ID = b"FFFFFFFF"  # version 1.0 writes a bus status under this identifier
_STANDARD_DIGITS = 4
_NUMBER = re.compile(rb"\d{1,12}\)?")
_OFFSET, _BUS, _TYPE, _ID, _CODE, _LENGTH = (name.encode() for name in "OBTILl")
_WORDS_BEHIND_MAX = 3  # more than that is another record: a line end is missing
_DIGITS_MAX, _TIME_DIGITS_MAX = 3, 13
_US_PER_DAY = 86_400_000_000
_DAYS_TO_1970 = 25_569  # from 1899-12-30
_DAYS_MAX = 100_000  # the year 2173


class TrcLines:
    """Reads the lines of one log.

    Attributes:
        has_date: Times are an epoch: a start time was found.
    """

    def __init__(self) -> None:
        self.has_date = False
        self._start_us = 0
        self._version = (1, 0)
        self._places: dict[bytes, int] = {}
        self._data_at = 0
        self._set_columns(_COLUMNS[self._version])

    def read(self, line: bytes) -> LoggedFrame | None:
        """As `LineForm.read`."""
        line = line.strip()
        if not line:
            return None
        if line.startswith(b";"):
            self._read_heading(line)
            return None
        words = line.split()
        if not _NUMBER.fullmatch(words[0]):
            raise LineError("is no line of a TRC log")
        return self._record(words)

    def _record(self, words: list[bytes]) -> LoggedFrame | None:
        kind = self._word(words, _TYPE, b"DT").upper()
        if kind in _OTHER_TYPES:
            return None
        if kind == _ERROR_TYPE:  # its identifier may be missing, so only what stands before it counts
            return LoggedFrame(self._bus(words), self._time(words), 0, ERROR, b"")
        if kind not in _FRAME_TYPES:
            raise LineError("is no TRC frame")
        identifier = self._word(words, _ID, b"")
        if self._version == (1, 0) and identifier == _STATUS_ID:
            return None
        is_fd = kind in _FD_TYPES
        count, data = self._length(words, is_fd=is_fd), words[self._data_at :]
        if kind == _REMOTE_TYPE or data[:1] == [b"RTR"]:
            flags, payload = REMOTE, b""
        else:
            flags, payload = FD if is_fd else 0, hex_bytes(data[:count])
            if len(payload) < count:
                raise LineError(f"has {len(payload)} of {count} payload bytes")
            if len(data) > count + _WORDS_BEHIND_MAX:
                raise LineError("goes on behind its payload")
        try:
            number = int(identifier, 16)
        except ValueError as error:
            raise LineError("has an identifier that is none") from error
        is_extended = len(identifier) > _STANDARD_DIGITS
        return logged(
            self._bus(words), self._time(words), number, payload, is_extended=is_extended, flags=flags
        )

    def _word(self, words: list[bytes], column: bytes, default: bytes) -> bytes:
        place = self._places.get(column)
        if place is None:
            return default
        if place >= len(words):
            raise LineError("is no TRC frame")
        return words[place]

    def _length(self, words: list[bytes], *, is_fd: bool) -> int:
        is_length = _LENGTH in self._places
        word = self._word(words, _LENGTH if is_length else _CODE, b"")
        if not word.isdigit() or len(word) > _DIGITS_MAX:
            raise LineError("is no TRC frame")
        number = int(word)
        if is_length or not is_fd:
            return number
        if number >= len(DLC_BYTES):
            raise LineError(f"has a data length code of {number}", LogFault.IMPOSSIBLE)
        return DLC_BYTES[number]

    def _bus(self, words: list[bytes]) -> str:
        word = self._word(words, _BUS, b"1")
        if not word.isdigit() or len(word) > _DIGITS_MAX:
            raise LineError("is no TRC frame")
        return f"can{int(word)}"

    def _time(self, words: list[bytes]) -> int:
        whole, _, fraction = self._word(words, _OFFSET, b"").partition(b".")
        if not whole.isdigit() or len(whole) > _TIME_DIGITS_MAX or not (fraction or b"0").isdigit():
            raise LineError("is no TRC frame")
        return self._start_us + micros(whole, fraction or b"0", digits=3)

    def _set_columns(self, names: tuple[str, ...]) -> None:
        before_data = [name.encode() for name in names if name != "D"]
        self._places = {name: place for place, name in enumerate(before_data)}
        self._data_at = len(before_data)

    def _read_heading(self, line: bytes) -> None:
        name, _, value = line[1:].partition(b"=")
        match name.strip().upper():
            case b"$FILEVERSION":
                self._read_version(value.strip())
            case b"$STARTTIME":
                self._read_start(value.strip())
            case b"$COLUMNS":
                names = tuple(value.decode("ascii", errors="replace").strip().split(","))
                if set(names) <= _KNOWN_COLUMNS and {"O", "T", "I"} <= set(names):
                    self._set_columns(names)

    def _read_version(self, value: bytes) -> None:
        major, _, minor = value.partition(b".")
        if major.isdigit() and minor.isdigit():
            self._version = (int(major[:3]), int(minor[:3]))
            if self._version in _COLUMNS:
                self._set_columns(_COLUMNS[self._version])

    def _read_start(self, value: bytes) -> None:
        try:
            days = Decimal(value.decode("ascii"))
        except (InvalidOperation, UnicodeDecodeError):
            return
        if days.is_finite() and 0 < days < _DAYS_MAX:
            self._start_us = round((days - _DAYS_TO_1970) * _US_PER_DAY)
            self.has_date = self._start_us > 0
            self._start_us = max(0, self._start_us)
