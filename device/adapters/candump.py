"""Lines of `candump` to columns: fast where lines look alike, careful where they do not.

Rules:
- A line is `(seconds.fraction) interface id#payload`. A number before it is ignored, so is what follows a
  blank after it, unless that is another frame: then a line end is missing. An identifier of 3 hex digits is a
  standard one, of 8 an extended one (with bit 29 set: an error frame). `#R` is a remote frame, `##f` a CAN FD
  frame with one digit of flags; payload bytes may be parted by dots.
- What candump shows on a terminal with `-t a` is read too: `(seconds.fraction)  interface  id   [n]  bytes`.
- Time is taken digit by digit: microseconds are exact, further digits are cut off.
- A line that is not of this form is reported with its number and costs nothing but itself.

How: lines of equal length that have the same punctuation and interface as their first are read together as a
matrix of bytes; the rest go through a regular expression one by one.

It opens no file (`log_files` does) and knows no DBC.

Example:
    >>> parsed = parse_lines([b"(1.000002) can0 123#0102"])
    >>> parsed.t_us.tolist(), parsed.bus_names, parsed.data[0, :2].tolist()
    ([1000002], ['can0'], [1, 2])

Source: can-utils, `lib.h` ("CAN frame formats") and candump's -l option.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import CLASSIC_BYTES, EXTENDED, FD_BYTES, FrameFlag
from protocol.limits import LOG_LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BUS = rb"[^\s\x00-\x1f\x7f]{1,64}"  # a name with control characters is damage, as elsewhere in texts
_LINE = re.compile(
    rb"(?:\d{1,12}\s+)?\((?P<seconds>\d{1,12})\.(?P<fraction>\d{1,9})\) +(?P<bus>" + _BUS + rb") +"
    rb"(?P<id>[0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})#"
    rb"(?:R(?P<remote>[0-9A-Fa-f]?)|#(?P<fd>[0-9A-Fa-f])(?P<fd_data>(?:[0-9A-Fa-f]{2}\.?){0,64})"
    rb"|(?P<data>(?:[0-9A-Fa-f]{2}\.?){0,8}))(?:_[0-9A-Fa-f])?(?:[ \t\r](?!.*\(\d+\.\d).*)?"
)
# On a terminal: `(1.000000)  can0  123   [2]  11 22`, with -x the direction before the identifier. Two digits
# of length mean CAN FD.
_TERMINAL = re.compile(
    rb"\s*\((?P<seconds>\d{1,12})\.(?P<fraction>\d{1,9})\)\s+(?P<bus>"
    + _BUS
    + rb")\s+(?:[TR]X\s+\S+\s+\S+\s+)?"
    rb"(?P<id>[0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})\s+\[(?P<length>\d{1,2})\]"
    rb"(?:\s+(?P<remote>remote request)|(?P<data>(?:\s+[0-9A-Fa-f]{2})*))(?:[ \t\r](?!.*\(\d+\.\d).*)?"
)
# The common form, of which a matrix can be made: six digits after the point, no dots in the payload.
_PLAIN = re.compile(
    rb"\((\d{1,12})\.(\d{6})\) (" + _BUS + rb") ([0-9A-F]{3}|[0-9A-F]{8})#((?:[0-9A-F]{2}){0,8})",
    re.IGNORECASE,
)

_ERROR_BIT = 0x2000_0000  # CAN_ERR_FLAG of SocketCAN, as candump writes it
_ID_MAX_STANDARD, _ID_MAX_EXTENDED = 0x7FF, 0x1FFF_FFFF
_STANDARD_DIGITS = 3
_FRACTION_DIGITS = 6

# Different forms of one line length before the rest is read line by line; a real log has one to four.
_FORMS_MAX = 16

_NOT_HEX = 255
_HEX = np.full(256, _NOT_HEX, np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    _HEX[_digit] = _value
    _HEX[ord(chr(_digit).upper())] = _value


@dataclass(slots=True, eq=False)
class Parsed:
    """The lines of one call as columns; a row is a line.

    Attributes:
        is_frame: Whether the line was understood; the other columns say nothing where it was not.
        bus: Index into `bus_names`.
        bus_names: Interfaces in order of appearance; what no terminal prints is written as Python does.
        t_us: int64, µs of the log's time.
        can_id: uint32, bit 31 set for extended identifiers.
        flags: uint8, bits of `FrameFlag`.
        length: uint8, payload bytes.
        data: uint8 (n, 64), zero padded.
    """

    is_frame: NDArray[np.bool_]
    bus: NDArray[np.int64]
    bus_names: list[str]
    t_us: NDArray[np.int64]
    can_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]
    _bus_index: dict[bytes, int] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Payload columns that the frames need: 8 or 64."""
        longest = int(self.length.max(initial=0))
        return CLASSIC_BYTES if longest <= CLASSIC_BYTES else FD_BYTES

    def bus_index(self, name: bytes) -> int:
        """Return the index of an interface, new or known."""
        index = self._bus_index.setdefault(name, len(self.bus_names))
        if index == len(self.bus_names):
            text = name.decode(errors="backslashreplace")
            shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
            self.bus_names.append(shown)  # people read it on a terminal, which must not obey it
        return index


def parse_lines(lines: Sequence[bytes]) -> Parsed:
    """Read lines without their line ends.

    Args:
        lines: Any number of lines.

    Returns:
        One row a line.
    """
    count = len(lines)
    parsed = Parsed(
        is_frame=np.zeros(count, bool),
        bus=np.zeros(count, np.int64),
        bus_names=[],
        t_us=np.zeros(count, np.int64),
        can_id=np.zeros(count, np.uint32),
        flags=np.zeros(count, np.uint8),
        length=np.zeros(count, np.uint8),
        data=np.zeros((count, FD_BYTES), np.uint8),
    )
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, line in enumerate(lines):
        by_length[len(line)].append(row)
    slow: list[int] = []
    for length, rows in by_length.items():
        if length > LOG_LINE_BYTES_MAX:
            continue
        slow += _parse_alike(lines, np.array(rows), length, parsed)
    for row in sorted(slow):
        _parse_one(lines[row], row, parsed)
    return parsed


def _parse_alike(lines: Sequence[bytes], rows: NDArray[np.int64], length: int, parsed: Parsed) -> list[int]:
    """Read lines of one length form by form; return the rows left over for the careful way."""
    left: list[int] = []
    for _ in range(_FORMS_MAX):
        if not len(rows):
            return left
        form = _PLAIN.match(lines[rows[0]])
        line = lines[rows[0]]
        is_plain = form is not None and (form.end() == length or line[form.end()] in b" \t\r")
        is_plain = is_plain and b"(" not in line[1:]
        if form is None or not is_plain:
            left.append(int(rows[0]))
            rows = rows[1:]
            continue
        matrix = np.frombuffer(b"".join(lines[row] for row in rows.tolist()), np.uint8).reshape(-1, length)
        is_read = _parse_form(form, matrix, rows, parsed)
        assert is_read[0], "a form reads its own line"
        rows = rows[~is_read]
    left.extend(rows.tolist())
    return left


def _parse_form(
    form: re.Match[bytes], matrix: NDArray[np.uint8], rows: NDArray[np.int64], parsed: Parsed
) -> NDArray[np.bool_]:
    """Read all lines of a matrix that have the form's punctuation and interface; return which they are."""
    seconds, fraction, identifier, payload = (slice(*form.span(group)) for group in (1, 2, 4, 5))
    decimals = np.concatenate((matrix[:, seconds], matrix[:, fraction]), axis=1) - ord("0")
    digits = _HEX[np.concatenate((matrix[:, identifier], matrix[:, payload]), axis=1)]
    fixed = np.ones(matrix.shape[1], bool)
    for varying in (seconds, fraction, identifier, payload):
        fixed[varying] = False
    fixed[form.end() :] = False  # what follows the payload is ignored, but must be apart from it
    fixed[form.end() : form.end() + 1] = True
    is_read: NDArray[np.bool_] = (matrix[:, fixed] == matrix[0, fixed]).all(axis=1)
    is_read &= (decimals <= 9).all(axis=1)  # noqa: PLR2004  (bytes below "0" wrap to large ones)
    is_read &= (digits != _NOT_HEX).all(axis=1)
    is_read &= (matrix[:, form.end() :] != ord("(")).all(axis=1)
    chosen = rows[is_read]
    id_digits = identifier.stop - identifier.start
    numbers = _base(digits[is_read, :id_digits], 16)
    nibbles = digits[is_read, id_digits:]
    payload_bytes = nibbles.shape[1] // 2
    parsed.t_us[chosen] = _base(decimals[is_read], 10)
    parsed.bus[chosen] = parsed.bus_index(form.group(3))
    parsed.length[chosen] = payload_bytes
    parsed.data[chosen, :payload_bytes] = nibbles[:, ::2] << 4 | nibbles[:, 1::2]
    _set_identifiers(parsed, chosen, numbers, is_extended=id_digits > _STANDARD_DIGITS)
    return is_read


def _set_identifiers(
    parsed: Parsed, rows: NDArray[np.int64], numbers: NDArray[np.int64], *, is_extended: bool
) -> None:
    """Store identifiers; a standard one above 0x7FF or an extended one above 29 bits is no frame."""
    is_error = (numbers & _ERROR_BIT != 0) & is_extended
    highest = _ID_MAX_EXTENDED if is_extended else _ID_MAX_STANDARD
    parsed.is_frame[rows] = is_error | (numbers <= highest)
    bare = np.where(is_error, numbers & _ID_MAX_EXTENDED, numbers)
    parsed.can_id[rows] = (bare | (EXTENDED if is_extended else 0)) & 0xFFFF_FFFF
    parsed.flags[rows] |= np.where(is_error, int(FrameFlag.ERROR), 0).astype(np.uint8)


def _parse_one(line: bytes, row: int, parsed: Parsed) -> None:
    """Read one line of any form that candump writes."""
    form = _LINE.fullmatch(line)
    if form is not None:
        text = form["fd_data"] if form["fd"] is not None else form["data"]
        payload = bytes.fromhex((text or b"").replace(b".", b"").decode())
        flags = FrameFlag.FD if form["fd"] is not None else FrameFlag(0)
        flags |= FrameFlag.REMOTE if form["remote"] is not None else FrameFlag(0)
    else:
        form = _TERMINAL.fullmatch(line)
        if form is None:
            return
        flags = FrameFlag.FD if len(form["length"]) > 1 else FrameFlag(0)
        flags |= FrameFlag.REMOTE if form["remote"] else FrameFlag(0)
        payload = bytes.fromhex((form["data"] or b"").decode())
        is_short = len(payload) < int(form["length"]) and not form["remote"]
        if is_short or len(payload) > (FD_BYTES if flags & FrameFlag.FD else CLASSIC_BYTES):
            return
        payload = payload[: int(form["length"])]
    fraction = form["fraction"].ljust(_FRACTION_DIGITS, b"0")[:_FRACTION_DIGITS]
    parsed.t_us[row] = int(form["seconds"]) * 10**_FRACTION_DIGITS + int(fraction)
    parsed.bus[row] = parsed.bus_index(form["bus"])
    parsed.length[row] = len(payload)
    parsed.data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
    parsed.flags[row] |= int(flags)
    is_extended = len(form["id"]) > _STANDARD_DIGITS
    _set_identifiers(parsed, np.array([row]), np.array([int(form["id"], 16)]), is_extended=is_extended)


def _base(digits: NDArray[np.uint8], base: int) -> NDArray[np.int64]:
    """Return the numbers whose digits stand in the rows."""
    weights = np.array([base**power for power in range(digits.shape[1] - 1, -1, -1)], np.int64)
    return digits.astype(np.int64) @ weights
