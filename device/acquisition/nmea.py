r"""NMEA 0183 bytes to fixes, one for each epoch of the receiver.

Rules:
- A sentence counts only whole: `$…*HH` with a checksum that matches and values the parser accepts. All else
  is counted as garbled and never becomes a position. Bytes may be torn anywhere between two calls.
- RMC, GGA, GSA, GSV and VTG of every talker are read; other sentences are counted.
- An epoch begins with an RMC or GGA of a new time and ends when the next one begins, or at `flush`. GSA, GSV
  and VTG carry no time and belong to the epoch that is open. What an epoch amounts to stands in `nmea_epoch`.
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pynmeagps import VALCKSUM, VALMSGID, NMEAMessageError, NMEAParseError, NMEAReader, NMEATypeError
from pynmeagps.nmeatypes_core import NMEA_MSGIDS

from device.acquisition.nmea_epoch import Epoch, GarbledError, Timed
from protocol.limits import NMEA_SENTENCE_BYTES_MAX

if TYPE_CHECKING:
    from pynmeagps import NMEAMessage

    from protocol.fixes import Fix

READ: Final = frozenset({"RMC", "GGA", "GSA", "GSV", "VTG"})

# What ends a sentence: its line end, or the next one's start when it was torn.
_END = re.compile(rb"[$\n]")

# Talker and identifier: shorter ones are not a sentence.
_HEADER_CHARS = 5


@dataclass(slots=True, kw_only=True)
class NmeaCounts:
    """What became of the bytes since the reader was made.

    Attributes:
        parsed: Sentences that were read.
        garbled: Sentences torn, too long, with a wrong or no checksum, or with impossible values.
        unused: Good sentences of a standard kind that is not read.
        unknown: Good sentences of no standard kind (proprietary ones).
        foreign_bytes: Bytes outside sentences (binary protocols, comments), line ends apart.
    """

    parsed: int = 0
    garbled: int = 0
    unused: int = 0
    unknown: int = 0
    foreign_bytes: int = 0


class NmeaReader:
    """Turns a receiver's bytes into fixes; `counts` says what happened to every sentence."""

    def __init__(self) -> None:
        self.counts = NmeaCounts()
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
                self.counts.garbled += 1
                here = start + NMEA_SENTENCE_BYTES_MAX
            elif end is None:
                self._pending = stream[start:]
                return fixes
            elif end[0] == b"$":  # torn: the next sentence begins before this one's line end
                self.counts.garbled += 1
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

    def _take(self, sentence: bytes, t_us: int) -> list[Fix]:
        """Read one sentence and count it."""
        try:
            kind = _kind(sentence)
            if kind not in READ:
                if kind in NMEA_MSGIDS:
                    self.counts.unused += 1
                else:
                    self.counts.unknown += 1
                return []
            fixes = self._place(_parse(sentence), kind, t_us)
        except GarbledError:
            self.counts.garbled += 1
            return []
        self.counts.parsed += 1
        return fixes

    def _place(self, message: NMEAMessage, kind: str, t_us: int) -> list[Fix]:
        """Put a parsed sentence into its epoch; a timed one of another time ends the open epoch first."""
        if kind in {"RMC", "GGA"}:
            said = Timed.of(message, kind)
            fixes = self.flush() if self._ends_epoch(said) else []
            self._epoch = self._epoch or Epoch(t_us=t_us)
            self._epoch.add_timed(said)
            return fixes
        epoch = self._epoch or Epoch(t_us=t_us)
        match kind:
            case "GSA":
                epoch.add_gsa(message)
            case "GSV":
                epoch.add_gsv(message)
            case _:
                epoch.add_vtg(message)
        self._epoch = epoch
        return []

    def _ends_epoch(self, said: Timed) -> bool:
        epoch = self._epoch
        if epoch is None:
            return False
        is_other_time = None not in {said.time, epoch.time} and said.time != epoch.time
        return is_other_time or said.name in epoch.names


def _kind(sentence: bytes) -> str:
    """Return the kind of a well-framed sentence.

    Raises:
        GarbledError: It has no checksum or a wrong one, or is no text.
    """
    content, star, given = sentence[1:].rstrip().rpartition(b"*")
    if not star or len(content) < _HEADER_CHARS or not content.isascii():
        raise GarbledError
    computed = 0
    for byte in content:
        computed ^= byte
    if given.upper() != b"%02X" % computed:
        raise GarbledError
    address = content.split(b",", 1)[0].decode()
    return address[1:] if address.startswith("P") else address[2:]


def _parse(sentence: bytes) -> NMEAMessage:
    """Return the parser's message.

    Raises:
        GarbledError: The parser refuses a value.
    """
    try:
        message = NMEAReader.parse(sentence, validate=VALCKSUM | VALMSGID)
    except (NMEAMessageError, NMEAParseError, NMEATypeError) as error:
        raise GarbledError from error
    assert message is not None, "the parser knows every kind that is read"
    return message
