r"""The bench's CAN adapter: one whose bit rate can be wrong, on a bus that suffers from it.

Rules: a channel opened at another rate than the bus's hears nothing that decodes and reports bus errors
(`F`); whoever sends at the wrong rate disturbs the whole bus, which is counted, as no box may do it.

Example:
    >>> adapter = BenchAdapter(bus_bitrate=250_000)
    >>> adapter.hear(b"S6\rL\r"), adapter.is_in_step
    (b'\r\r', False)

Source: LAWICEL CANUSB manual v1.0D, commands S, L, F.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.ecu import END, SlcanAdapter

if TYPE_CHECKING:
    from simulators.bus_traffic import CanFrame

BITRATES: Final = {
    "0": 10_000,
    "1": 20_000,
    "2": 50_000,
    "3": 100_000,
    "4": 125_000,
    "5": 250_000,
    "6": 500_000,
    "7": 800_000,
    "8": 1_000_000,
}
BUS_ERROR: Final = b"F80" + END
FINE: Final = b"F00" + END


@dataclass(slots=True, kw_only=True)
class BenchAdapter(SlcanAdapter):
    """The adapter.

    Attributes:
        bus_bitrate: of the car, bit/s.
        bitrate: that the channel was set to.
        disturbed: frames that were sent at the wrong rate: each is error frames for the whole car.
        undecoded: frames of the car that went by at the wrong rate.
    """

    bus_bitrate: int = 500_000
    bitrate: int = 500_000
    disturbed: int = 0
    undecoded: int = 0

    @property
    def is_in_step(self) -> bool:
        """The channel's rate is the bus's."""
        return self.bitrate == self.bus_bitrate

    def say(self, frame: CanFrame) -> bool:
        """Offer a frame of the bus; at the wrong rate nobody hears it."""
        if self.is_open and not self.is_in_step:
            self.undecoded += 1
            return True
        return SlcanAdapter.say(self, frame)

    def _obey(self, command: bytes) -> bytes:
        name, rest = command[:1], command[1:].decode("ascii", "replace")
        if name == b"S" and rest in BITRATES:
            self.bitrate = BITRATES[rest]
        if name == b"F":
            return FINE if self.is_in_step or not self.undecoded else BUS_ERROR
        return SlcanAdapter._obey(self, command)  # noqa: SLF001 - `super()` knows no slotted dataclass

    def _take(self, command: bytes) -> bytes:
        if self.is_open and not self.is_listening_only and not self.is_in_step:
            self.disturbed += 1
            return (b"Z" if command[:1] in b"TR" else b"z") + END
        return SlcanAdapter._take(self, command)  # noqa: SLF001 - as above
