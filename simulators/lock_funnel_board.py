"""The board of a car of the lock funnel, in plain memory, and the key in its secure element.

Rules: the calls are those of `device.mcu.board_rp2`; nothing fails here and no power is lost: storage that is
cut at every byte is the matter of other simulators. Wires are attributes.

Example:
    >>> board = Board(seed=1)
    >>> board.ignition(), board.supply_mv()
    (False, 12500)
"""

from __future__ import annotations

import itertools
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from protocol import cose_sign
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes

SUPPLY_MV, CHARGING_MV, WEAK_MV = 12_500, 14_200, 11_700  # at rest, engine running, below the supply limit


class Board:
    """The board's calls in plain memory; wires are attributes."""

    def __init__(self, seed: int) -> None:
        self.now_ms = 0
        self.slots: list[bytes | None] = [None, None]
        self.blobs: dict[str, bytes] = {}
        self.supply, self.is_on, self.is_cranking, self.is_running = SUPPLY_MV, False, False, False
        self.acceleration = "still"
        self.coil = self.warn = self.linux = self.lamp = False
        self._count = itertools.count(seed << 32)

    def ticks_ms(self) -> int:
        """Return ms since power-on."""
        return self.now_ms

    def rtc_s(self) -> int:
        """Return the coin cell's count."""
        return 1_000_000 + self.now_ms // 1_000

    def supply_mv(self) -> int:
        """Return mV."""
        return self.supply

    def ignition(self) -> bool:
        """Return the wire."""
        return self.is_on

    def crank(self) -> bool:
        """Return the wire."""
        return self.is_cranking

    def engine_running(self) -> bool:
        """Return the sense."""
        return self.is_running

    def button(self) -> bool:
        """Return that nobody presses it: emergency starts are `seeded lives`' matter."""
        return False

    def accel(self) -> str:
        """Return the accelerometer's word."""
        return self.acceleration

    def relay_sensed(self) -> bool:
        """Return the read-back."""
        return self.coil

    def warn_heard(self) -> bool:
        """Return the buzzer's feedback."""
        return self.warn

    def set_coil(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Switch the coil."""
        self.coil = on

    def set_warn(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Switch the buzzer."""
        self.warn = on

    def set_lamp(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Light the lamp on the box."""
        self.lamp = on

    def wake_linux(self, on: bool) -> None:  # noqa: FBT001 - the board's interface
        """Switch Linux."""
        self.linux = on

    def feed(self) -> None:
        """Feed the watchdog."""

    def random(self, count: int) -> bytes:
        """Return seeded bytes."""
        return sha256(next(self._count).to_bytes(8, "big")).digest()[:count]

    def slot_read(self, index: int) -> bytes | None:
        """Return a slot."""
        return self.slots[index]

    def slot_write(self, index: int, data: bytes) -> None:
        """Write a slot."""
        self.slots[index] = data

    def blob_read(self, name: str) -> bytes | None:
        """Return a blob."""
        return self.blobs.get(name)

    def blob_write(self, name: str, data: bytes) -> None:
        """Write a blob."""
        self.blobs[name] = data

    def reset_cause(self) -> str:
        """Return that it never was reset."""
        return "power"


class Key:
    """D1 in a secure element: the brain's `key`."""

    def __init__(self, scalar_seed: str) -> None:
        scalar = int.from_bytes(sha256(scalar_seed.encode()).digest(), "big") >> 1 | 1
        self.signer = SoftwareSigner(derive_private_key(scalar, SECP256R1()))
        self.public = cose_key_bytes(self.signer.public_key)
        self.xy, self.kid, self.feed = cose_sign.key_xy(self.public), self.signer.kid, None

    def sign(self, message: bytes) -> bytes:
        """Return r‖s."""
        return self.signer.sign(message)
