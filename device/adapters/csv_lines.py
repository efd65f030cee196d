r"""Lines of the two CSV forms in common use: python-can's, and GVRET's (SavvyCAN's own).

Rules:
- python-can: `timestamp,arbitration_id,extended,remote,error,dlc,data`; seconds, payload in base64. It
  names no bus: can0.
- GVRET: a heading that names its columns (`Time Stamp,ID,Extended,Dir,Bus,LEN,D1,…`); microseconds,
  hexadecimal identifiers and payload bytes. Bus 0 is can0.
- Which of the two it is, the heading says; a heading may stand again where logs were joined.

Example:
    >>> CsvLines().read(b"1.5,0x123,0,0,0,2,AQI=")
    LoggedFrame(bus='can0', t_us=1500000, can_id=291, flags=0, data=b'\x01\x02')

Source: python-can, `CSVWriter`; SavvyCAN, "GVRET logs".
"""

from __future__ import annotations

import binascii
import re
from decimal import Decimal, InvalidOperation

from device.acquisition.lot import FD_BYTES
from device.adapters.log_errors import LogFault
from device.adapters.log_lines import ERROR, FD, REMOTE, LineError, LoggedFrame, hex_bytes, logged

_PYTHON_CAN_HEADING = b"timestamp,arbitration_id"
_PYTHON_CAN = re.compile(
    rb"(?P<time>[0-9.eE+-]{1,32}),(?P<id>0[xX][0-9A-Fa-f]{1,8}),(?P<extended>[01]),(?P<remote>[01]),"
    rb"(?P<error>[01]),(?P<dlc>\d{1,2}),(?P<data>[A-Za-z0-9+/=]*)"
)
_GVRET_COLUMNS = ("time stamp", "id", "extended", "dir", "bus", "len")
_GVRET_NEEDED = frozenset({"time stamp", "id", "extended", "bus", "len"})
_GVRET_TIME = re.compile(rb"\d{1,18}")
_HEX = re.compile(rb"(?:0[xX])?[0-9A-Fa-f]{1,8}")
_US_PER_S = 1_000_000
_TIME_S_MAX = 10**12
_REMOTE_BIT = 0x4000_0000  # SavvyCAN keeps SocketCAN's flags in the identifier of a remote frame


class CsvLines:
    """Reads the lines of one log."""

    def __init__(self) -> None:
        self._columns: tuple[str, ...] = _GVRET_COLUMNS
        self._data_at = len(_GVRET_COLUMNS)
        self._words_max = self._data_at + FD_BYTES + 1

    def read(self, line: bytes) -> LoggedFrame | None:
        """As `LineForm.read`."""
        if found := _PYTHON_CAN.fullmatch(line):
            return _python_can(found)
        line = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not line or line.lower().startswith(_PYTHON_CAN_HEADING):
            return None
        if line.lower().startswith(b"time stamp,"):
            self._read_heading(line)
            return None
        return self._gvret([word.strip() for word in line.split(b",")])

    def _read_heading(self, line: bytes) -> None:
        names = [name.strip() for name in line.decode("ascii", errors="replace").lower().split(",")]
        first = next((place for place, name in enumerate(names) if name in {"d1", "d0"}), None)
        columns = tuple(names[:first]) if first is not None else ()
        if set(columns) >= _GVRET_NEEDED:
            self._columns, self._data_at = columns, len(columns)
            self._words_max = len(names) + 1

    def _gvret(self, words: list[bytes]) -> LoggedFrame:
        if not self._data_at <= len(words) <= self._words_max:
            raise LineError("is no CSV frame")
        row = dict(zip(self._columns, words, strict=False))
        extended, length, bus = row["extended"].lower(), row["len"], row["bus"]
        is_form = (
            _GVRET_TIME.fullmatch(row["time stamp"])
            and _HEX.fullmatch(row["id"])
            and extended in {b"true", b"false", b"1", b"0"}
            and length.isdigit()
            and bus.isdigit()
            and len(length) <= 2  # noqa: PLR2004 (at most 64)
            and len(bus) <= 3  # noqa: PLR2004 (buses are few)
        )
        if not is_form:
            raise LineError("is no CSV frame")
        number, is_extended = int(row["id"], 16), extended in {b"true", b"1"}
        flags = REMOTE if number & _REMOTE_BIT else 0
        payload = b""
        if not flags:
            payload = hex_bytes(words[self._data_at : self._data_at + int(length)])
            if len(payload) < int(length):
                raise LineError(f"has {len(payload)} of {int(length)} payload bytes")
            if len(payload) > 8:  # noqa: PLR2004 (only an FD frame is longer)
                flags = FD
        return logged(
            f"can{int(bus)}",
            int(row["time stamp"]),
            number & ~_REMOTE_BIT,
            payload,
            is_extended=is_extended,
            flags=flags,
        )


def _python_can(found: re.Match[bytes]) -> LoggedFrame:
    flags = REMOTE if found["remote"] == b"1" else 0
    flags |= ERROR if found["error"] == b"1" else 0
    payload = b""
    if not flags:
        try:
            payload = binascii.a2b_base64(found["data"], strict_mode=True)
        except binascii.Error as error:
            raise LineError("has a payload that is not base64") from error
        if len(payload) != int(found["dlc"]):
            raise LineError(f"has {len(payload)} of {int(found['dlc'])} payload bytes")
        if len(payload) > 8:  # noqa: PLR2004 (the form does not say FD, but no other frame is longer)
            flags = FD
    return logged(
        "can0",
        _time_us(found["time"]),
        int(found["id"], 16),
        payload,
        is_extended=found["extended"] == b"1",
        flags=flags,
    )


def _time_us(word: bytes) -> int:
    """Return seconds as µs; the form is whatever Python writes for a float."""
    try:
        seconds = Decimal(word.decode("ascii"))
    except InvalidOperation as error:
        raise LineError("has a time that is no number") from error
    if not 0 <= seconds < _TIME_S_MAX:
        raise LineError("has an impossible time", LogFault.IMPOSSIBLE)
    return round(seconds * _US_PER_S)
