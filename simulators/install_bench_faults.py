"""What can be wrong with a car, its wiring or its surroundings when a box is fitted: faults as data.

Rules: a fault is a member of `BenchFault`; what it does stands in the part that suffers it
(`install_bench_wires`, `install_bench_bus`, `install_bench_ecu`, `install_bench`). Any number may
be combined. A bench without faults is a healthy car, wired as the card says.

Example:
    >>> of_names(["swapped-wires", "no-fix"]) == {BenchFault.SWAPPED_WIRES, BenchFault.NO_FIX}
    True
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class BenchFault(StrEnum):
    """One thing that is wrong."""

    SWAPPED_WIRES = "swapped-wires"
    CRANK_ON_ACCESSORY = "crank-on-accessory"
    CONSTANT_IGNITION = "constant-ignition"
    SWITCHED_SUPPLY = "switched-supply"
    RELAY_IN_IGNITION_LINE = "relay-in-ignition-line"
    RELAY_BRIDGED = "relay-bridged"
    COIL_OPEN = "coil-open"
    WEAK_BATTERY = "weak-battery"
    CAN_SILENT = "can-silent"
    WRONG_BITRATE = "wrong-bitrate"
    TWO_TALKERS = "two-talkers"
    OTHER_TRACKER = "other-tracker"
    VIN_DIFFERS = "vin-differs"
    VIN_UNREADABLE = "vin-unreadable"
    NO_NETWORK = "no-network"
    NO_FIX = "no-fix"
    CLOCK_WRONG = "clock-wrong"


DOES: Final[dict[BenchFault, str]] = {
    BenchFault.SWAPPED_WIRES: "the ignition wire is on terminal 50 and the crank wire on terminal 15",
    BenchFault.CRANK_ON_ACCESSORY: "the crank wire is on the accessory line, which is dead while cranking",
    BenchFault.CONSTANT_IGNITION: "the ignition wire is on a line that is always live",
    BenchFault.SWITCHED_SUPPLY: "the box's supply goes away with the key",
    BenchFault.RELAY_IN_IGNITION_LINE: "the relay cuts the ignition, not the starter: a running engine stops",
    BenchFault.RELAY_BRIDGED: "a wire around the relay feeds the starter whatever the relay does",
    BenchFault.COIL_OPEN: "the relay's coil is not connected: it never pulls in",
    BenchFault.WEAK_BATTERY: "11.2 V at rest, 7.8 V while cranking",
    BenchFault.CAN_SILENT: "nothing is said on the bus: the wires end in the wrong plug",
    BenchFault.WRONG_BITRATE: "the bus runs at 250 kbit/s and the settings say 500",
    BenchFault.TWO_TALKERS: "two nodes send the same identifiers, with other contents and lengths",
    BenchFault.OTHER_TRACKER: "somebody else asks the engine's controller for speed and VIN, once a second",
    BenchFault.VIN_DIFFERS: "OBD 09 02 and UDS F190 give two VINs",
    BenchFault.VIN_UNREADABLE: "neither OBD nor UDS answers for the VIN",
    BenchFault.NO_NETWORK: "the mobile network is not there",
    BenchFault.NO_FIX: "the receiver sees no satellites",
    BenchFault.CLOCK_WRONG: "the receiver's date is 1024 weeks old",
}


def of_names(names: Iterable[str]) -> frozenset[BenchFault]:
    """Return faults by their names.

    Raises:
        ValueError: there is no such fault; names those that there are.
    """
    try:
        return frozenset(BenchFault(name) for name in names)
    except ValueError as wrong:
        raise ValueError(f"{wrong}: there are {', '.join(BenchFault)}") from wrong
