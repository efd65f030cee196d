"""What the box may ask of a car, and what it heard of its bus: words between engine and adapters.

Rules: a question is a whole OBD-II or UDS request; nothing else is ever sent. What was heard is counted, not
kept.

Example:
    >>> Question.VIN_UDS.request.hex()
    '22f190'

Source: SAE J1979:2017 (services 01, 03, 07, 09), ISO 14229-1:2020 (22, 19).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Question(StrEnum):
    """What is asked of the car; the value is the request as it is printed in the standards."""

    VIN_OBD = "09 02"
    VIN_UDS = "22 F1 90"
    CODES = "03"
    CODES_PENDING = "07"
    CODES_UDS = "19 02 FF"
    ODOMETER = "01 A6"

    @property
    def request(self) -> bytes:
        """The request's bytes."""
        return bytes.fromhex(self.value)

    @property
    def is_uds(self) -> bool:
        """Whether it is of ISO 14229, and so for one control unit."""
        return self.request[0] in (0x19, 0x22)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one bit rate gave.

    Attributes:
        bitrate: bit/s.
        frames: data frames that came.
        errors: error frames and lines that did not read.
        ids: identifiers; bit 31 marks an extended one.
        conflicts: identifiers that came with two lengths.
    """

    bitrate: int
    frames: int
    errors: int
    ids: frozenset[int] = frozenset()
    conflicts: frozenset[int] = frozenset()
