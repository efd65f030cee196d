r"""NMEA 0183 bytes to fixes, one for each epoch of the receiver.

Rules:
- A sentence counts only whole: `$…*HH` with a checksum that matches and values that can be, written as the
  standard says (`nmea_fields`). All else is counted as garbled and never becomes a position. Bytes may be
  torn anywhere between two calls.
- Binary protocols between sentences are skipped and counted as foreign bytes. A `$` in them is no sentence:
  the address after it would be text.
- RMC, GGA, GNS, GLL, ZDA, GSA, GSV and VTG of every satellite talker are read; other sentences, and those of
  other talkers (a chart display repeats positions that it did not measure), are counted.
- An epoch begins with a sentence of a new time (more than 10 ms apart) or one that the open epoch already
  has, and ends when the next one begins, or at `flush`. GSA, GSV and VTG carry no time and belong to the open
  epoch. What an epoch amounts to stands in `nmea_epoch`.
- GLL only repeats what RMC, GGA or GNS say, and some receivers send it a second off: it may join their epoch
  and cannot end it. A receiver that sends nothing else has epochs of GLL.
- A lost fix is a fix of mode 1 without coordinates; old coordinates are never repeated.

It does not judge plausibility, smooth or fill in, and knows no clock: `t_us` is the caller's. The time of a
fix is that of its epoch's first sentence.

Example:
    >>> reader = NmeaReader()
    >>> reader.feed(b"$GPRMC,102929.00,A,5327.04024,N,00214.41560,W,0.273,,070321,,,A*62\r\n", 5_000_000)
    []
    >>> [fix] = reader.flush()
    >>> fix.lat_e7, fix.lon_e7, fix.speed_mm_s, fix.t_us
    (534506707, -22402600, 140, 5000000)

Source: NMEA 0183 v4.11.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pynmeagps import VALMSGID, NMEAMessageError, NMEAParseError, NMEAReader, NMEATypeError
from pynmeagps.nmeatypes_core import NMEA_MSGIDS

from device.acquisition.gnss import GarbledError, GnssCounts
from device.acquisition.nmea_epoch import Epoch
from device.acquisition.nmea_fields import fields_of
from device.acquisition.nmea_timed import TIMED, Timed, are_one_instant, field_of
from protocol.limits import NMEA_SENTENCE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynmeagps import NMEAMessage

    from protocol.fixes import Fix

READ: Final = TIMED | {"GSA", "GSV", "VTG"}

# GPS, combined, GLONASS, Galileo, BeiDou (new and old), QZSS (three spellings in use), NavIC.
# Source: NMEA 0183 v4.11 table of talkers; QZ and PQ are Quectel's and u-blox's earlier ones.
SATELLITE_TALKERS: Final = frozenset({"GP", "GN", "GL", "GA", "GB", "BD", "GQ", "QZ", "PQ", "GI"})

_BETTER: Final = TIMED - {"GLL", "ZDA"}

# What ends a sentence: its line end, or the next one's start when it was torn.
_END = re.compile(rb"[$\n]")

# Talker and identifier: shorter ones are not a sentence, and all of it is text.
_HEADER_CHARS = 5
_ADDRESS = re.compile(rb"\$[ -~]{1,5}")

# Two flips of one bit cancel out in the checksum; most of them leave a control character.
_TEXT = re.compile(rb"[ -~]+")


class NmeaReader:
    """Turns a receiver's bytes into fixes; `counts` says what happened to every sentence."""

    def __init__(self) -> None:
        self.counts = GnssCounts()
        self._pending = b""
        self._epoch: Epoch | None = None

    def feed(self, data: bytes, t_us: int) -> list[Fix]:
        """Take bytes as they were read.

        Args:
            data: Any number of bytes, torn anywhere.
            t_us: When they were read, µs; non-decreasing from call to call.

        Returns:
            The fixes of the epochs that these bytes ended, in order; usually none or one.
        """
        fixes: list[Fix] = []
        stream, self._pending = self._pending + data, b""
        here = 0
        while (start := stream.find(b"$", here)) >= 0:
            self._count_foreign(stream[here:start])
            end = _END.search(stream, start + 1)
            stop = len(stream) if end is None else end.start()
            if stop - start > NMEA_SENTENCE_BYTES_MAX:
                here = start + NMEA_SENTENCE_BYTES_MAX
                self._refuse(stream[start:here])
            elif end is None:
                self._pending = stream[start:]
                return fixes
            elif end[0] == b"$":  # torn: the next sentence begins before this one's line end
                self._refuse(stream[start:stop])
                here = stop
            else:
                fixes += self._take(stream[start:stop], t_us)
                here = stop
        self._count_foreign(stream[here:])
        return fixes

    def flush(self) -> list[Fix]:
        """End the open epoch: a log is over, or the receiver fell silent.

        Returns:
            Its fix, or nothing when no epoch is open.
        """
        epoch, self._epoch = self._epoch, None
        fix = None if epoch is None else epoch.fix()
        return [] if fix is None else [fix]

    def _count_foreign(self, data: bytes) -> None:
        self.counts.foreign_bytes += len(data) - data.count(b"\r") - data.count(b"\n")

    def _refuse(self, piece: bytes) -> None:
        """Count what began with `$` and is no whole sentence: a garbled one, or binary."""
        if _ADDRESS.fullmatch(piece[: _HEADER_CHARS + 1]):
            self.counts.garbled += 1
        else:
            self._count_foreign(piece)

    def _take(self, sentence: bytes, t_us: int) -> list[Fix]:
        """Read one sentence and count it."""
        content = _content(sentence)
        if content is None:
            self._refuse(sentence)
            return []
        try:
            talker, kind = _address(content)
            if kind not in READ or talker not in SATELLITE_TALKERS:
                if kind in NMEA_MSGIDS:
                    self.counts.unused += 1
                else:
                    self.counts.unknown += 1
                return []
            fixes = self._place(_parse(content), fields_of(content, kind), talker, kind, t_us)
        except GarbledError:
            self.counts.garbled += 1
            return []
        self.counts.parsed += 1
        return fixes

    def _place(
        self, message: NMEAMessage, fields: Mapping[str, str], talker: str, kind: str, t_us: int
    ) -> list[Fix]:
        """Put a parsed sentence into its epoch; a timed one of another time ends the open epoch first."""
        if kind in TIMED:
            said = Timed.of(message, fields, talker, kind)
            is_over = self._ends_epoch(said)
            if kind == "GLL" and ((is_over and self._has_better()) or field_of(message, "status") == ""):
                return []  # before NMEA 2.0 a GLL did not say whether it is valid: nobody can tell
            fixes = self.flush() if is_over else []
            self._epoch = self._epoch or Epoch(t_us=t_us)
            self._epoch.add_timed(said)
            return fixes
        epoch = self._epoch or Epoch(t_us=t_us)
        match kind:
            case "GSA":
                epoch.add_gsa(message, talker)
            case "GSV":
                epoch.add_gsv(message, talker)
            case _:
                epoch.add_vtg(message)
        self._epoch = epoch
        return []

    def _has_better(self) -> bool:
        """Whether the open epoch has a sentence that a GLL only repeats."""
        return self._epoch is not None and any(name[2:] in _BETTER for name in self._epoch.names)

    def _ends_epoch(self, said: Timed) -> bool:
        epoch = self._epoch
        if epoch is None:
            return False
        if said.name in epoch.names:
            return True
        return (
            said.time_us is not None
            and epoch.time_us is not None
            and not are_one_instant(said.time_us, epoch.time_us)
        )


def _content(sentence: bytes) -> bytes | None:
    """Return what stands between `$` and `*`; None when it is no text or its checksum is wrong or missing."""
    content, star, given = sentence[1:].rstrip().rpartition(b"*")
    if not star or len(content) < _HEADER_CHARS or not _TEXT.fullmatch(content):
        return None
    return content if given.upper() == b"%02X" % _checksum(content) else None


def _address(content: bytes) -> tuple[str, str]:
    """Return talker and kind; a proprietary sentence's talker is `P` and its maker is part of the kind."""
    address = content.split(b",", 1)[0].decode()
    if address.startswith("P") and address[:2] not in SATELLITE_TALKERS:
        return "P", address[1:]
    return address[:2], address[2:]


def _checksum(content: bytes) -> int:
    computed = 0
    for byte in content:
        computed ^= byte
    return computed


def _parse(content: bytes) -> NMEAMessage:
    """Return the parser's message, its talker made GN: the parser does not know them all.

    Raises:
        GarbledError: The parser refuses a value.
    """
    renamed = b"GN" + content[2:]
    try:
        message = NMEAReader.parse(b"$%b*%02X" % (renamed, _checksum(renamed)), validate=VALMSGID)
    except (NMEAMessageError, NMEAParseError, NMEATypeError) as error:
        raise GarbledError from error
    assert message is not None, "the parser knows every kind that is read"
    return message
