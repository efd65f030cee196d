r"""What all sources of fixes have in common: form, counters, and the port by which the engine reads them.

Rules:
- A form is chosen by the settings, never guessed from the bytes: NMEA proves each sentence by a checksum and
  gpsd's JSON does not, so noise on a serial line must not be able to pass for a report.
- A reader takes bytes torn anywhere, gives one fix for each epoch, and counts what it could not use.

It reads nothing itself: `nmea` and `gpsd` do.

Example:
    >>> from device.acquisition.nmea import NmeaReader
    >>> reader: FixReader = NmeaReader()
    >>> reader.feed(b"noise\r\n", 0), reader.counts.foreign_bytes
    ([], 5)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from protocol.fixes import Fix


class GnssForm(StrEnum):
    """What a receiver's bytes are written in."""

    NMEA = "nmea"
    GPSD = "gpsd"


class GarbledError(Exception):
    """The sentence or report is not to be believed."""


@dataclass(slots=True, kw_only=True)
class GnssCounts:
    """What became of the bytes since the reader was made.

    Attributes:
        parsed: Sentences or reports that were read.
        garbled: Torn, too long, with a wrong or no checksum, or with impossible values.
        unused: Good ones of a known kind that says nothing about the fix, or of another talker.
        unknown: Good ones of no known kind (proprietary sentences).
        foreign_bytes: Bytes outside sentences (binary protocols, comments), line ends apart.
    """

    parsed: int = 0
    garbled: int = 0
    unused: int = 0
    unknown: int = 0
    foreign_bytes: int = 0


class FixReader(Protocol):
    """A source's bytes to fixes."""

    counts: GnssCounts

    def feed(self, data: bytes, t_us: int) -> list[Fix]:
        """Take bytes read at `t_us`; return the fixes of the epochs that they ended."""

    def flush(self) -> list[Fix]:
        """End the open epoch; return its fix, or nothing."""
