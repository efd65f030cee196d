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
        self._buses: dict[bytes, str] = {}
        self._data_at = self._needed_at = 0
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
        places = self._places
        if len(words) <= self._needed_at:
            raise LineError("is no TRC frame")
        kind = words[places[_TYPE]].upper() if _TYPE in places else b"DT"
        if kind in _OTHER_TYPES:
            return None
        if kind == _ERROR_TYPE:  # its identifier may be missing, so only what stands before it counts
            bus = self._bus(words[places[_BUS]] if _BUS in places else b"1")
            return LoggedFrame(bus, self._time(words[places[_OFFSET]]), 0, ERROR, b"")
        if kind not in _FRAME_TYPES or len(words) < self._data_at:
            raise LineError("is no TRC frame")
        identifier = words[places[_ID]]
        if identifier == _STATUS_ID and self._version == (1, 0):
            return None
        try:
            number = int(identifier, 16)
        except ValueError as error:
            raise LineError("has an identifier that is none") from error
        payload = self._payload(kind, words)
        flags = REMOTE if payload is None else FD if kind in _FD_TYPES else 0
        return logged(
            self._bus(words[places[_BUS]] if _BUS in places else b"1"),
            self._time(words[places[_OFFSET]]),
            number,
            payload or b"",
            is_extended=len(identifier) > _STANDARD_DIGITS,
            flags=flags,
        )

    def _payload(self, kind: bytes, words: list[bytes]) -> bytes | None:
        """Return the payload, None of a remote frame."""
        data = words[self._data_at :]
        if kind == _REMOTE_TYPE or data[:1] == [b"RTR"]:
            return None
        is_length = _LENGTH in self._places
        word = words[self._places[_LENGTH if is_length else _CODE]]
        if not word.isdigit() or len(word) > _DIGITS_MAX:
            raise LineError("is no TRC frame")
        count = int(word)
        if kind in _FD_TYPES and not is_length:
            if count >= len(DLC_BYTES):
                raise LineError(f"has a data length code of {count}", LogFault.IMPOSSIBLE)
            count = DLC_BYTES[count]
        payload = hex_bytes(data[:count])
        if len(payload) < count:
            raise LineError(f"has {len(payload)} of {count} payload bytes")
        if len(data) > count + _WORDS_BEHIND_MAX:
            raise LineError("goes on behind its payload")
        return payload

    def _bus(self, word: bytes) -> str:
        name = self._buses.get(word)
        if name is None:
            if not word.isdigit() or len(word) > _DIGITS_MAX:
                raise LineError("is no TRC frame")
            name = self._buses[word] = f"can{int(word)}"
        return name

    def _time(self, word: bytes) -> int:
        whole, _, fraction = word.partition(b".")
        if not whole.isdigit() or len(whole) > _TIME_DIGITS_MAX or not (fraction or b"0").isdigit():
            raise LineError("is no TRC frame")
        return self._start_us + micros(whole, fraction or b"0", digits=3)

    def _set_columns(self, names: tuple[str, ...]) -> None:
        before_data = [name.encode() for name in names if name != "D"]
        self._places = {name: place for place, name in enumerate(before_data)}
        self._data_at = len(before_data)
        self._needed_at = max(self._places.get(name, 0) for name in (_OFFSET, _TYPE, _BUS))

    def _read_heading(self, line: bytes) -> None:
        name, _, value = line[1:].partition(b"=")
        match name.strip().upper():
            case b"$FILEVERSION":
                self._read_version(value.strip())
            case b"$STARTTIME":
                self._read_start(value.strip())
            case b"$COLUMNS":
                names = tuple(value.decode("ascii", errors="replace").strip().split(","))
                if set(names) <= _KNOWN_COLUMNS and {"O", "T", "I"} <= set(names) and {"L", "l"} & set(names):
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
