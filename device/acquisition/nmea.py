"""NMEA 0183 bytes to fixes (signatures first; the reader follows)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.fixes import Fix


@dataclass(slots=True, kw_only=True)
class NmeaCounts:
    """Sentences since the reader was made."""

    parsed: int = 0
    garbled: int = 0
    unknown: int = 0
    unused: int = 0


class NmeaReader:
    """`counts` is live; bytes may be torn anywhere between two calls."""

    counts: NmeaCounts

    def feed(self, data: bytes, t_us: int) -> list[Fix]:
        """Return the fixes that these bytes completed (one an epoch, mode 1 without coordinates when lost)."""
        raise NotImplementedError

    def flush(self) -> list[Fix]:
        """Return the epoch still open, at the end of a log or when the receiver went silent."""
        raise NotImplementedError
