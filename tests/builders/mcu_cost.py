"""What a verification costs on the MicroPython unix port, measured: `python -m tests.builders.mcu_cost`.

Rules: time is the best of many runs in one process, since a shared machine only ever adds; heap is the
smallest one, found by halving, in which the module compiles from source and verifies repeatedly. Nothing here
says what a board needs; ADR 0040 says what may be concluded.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from protocol.ids import cose_key_bytes
from protocol.vectors.keys import published_signer
from tests.builders.micropython import HEAP_KB, fits_in, run_micropython

VERIFY_HEAP_KB_MAX: Final = 64
"""A third of the board's heap: the rest is for the order, its delegations and the program itself."""

PROGRAM = """
import time, hashlib
from device.mcu import p256
key = bytes.fromhex(sys.stdin.readline())
digest = bytes.fromhex(sys.stdin.readline())
signature = bytes.fromhex(sys.stdin.readline())
feeds = [0]
def feed():
    feeds[0] += 1
best = 1 << 29
for _ in range(int(sys.stdin.readline())):
    feeds[0] = 0
    start = time.ticks_us()
    assert p256.verify(key, digest, signature, feed) == p256.OK
    best = min(best, time.ticks_diff(time.ticks_us(), start))
print(best, feeds[0])
"""

# A published test key (SPEC §14) and its signature over 32 zero bytes taken as a message.
_KEY = "stranger"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyCost:
    """What was measured.

    Attributes:
        best_us: shortest verification, µs.
        heap_kb: smallest heap in which it ran, KB; the step of the search is 1 KB.
        feeds: calls of the watchdog hook in one verification.
    """

    best_us: int
    heap_kb: int
    feeds: int

    def line(self) -> str:
        """Return the line of a report."""
        return (
            f"P-256 verification on the MicroPython unix port: best {self.best_us / 1000:.1f} ms, "
            f"smallest heap {self.heap_kb} KB of {HEAP_KB}, watchdog hook {self.feeds} times"
        )


def verify_cost(*, times: int) -> VerifyCost:
    """Measure; `times` verifications for the time, as many again for each heap tried."""
    lines = [*_signature(), str(times)]
    best_us, feeds = (int(word) for word in run_micropython(PROGRAM, lines)[0].split())
    low, high = 0, HEAP_KB
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits_in(PROGRAM, lines, heap_kb=middle) else (middle, high)
    return VerifyCost(best_us=best_us, heap_kb=high, feeds=feeds)


def _signature() -> list[str]:
    """Return key, digest and signature in hex."""
    signer = published_signer(_KEY)
    cose_key = cose_key_bytes(signer.public_key)
    message = bytes(32)
    return [
        (cose_key[8:40] + cose_key[43:]).hex(),
        hashlib.sha256(message).hexdigest(),
        signer.sign(message).hex(),
    ]


if __name__ == "__main__":
    print(verify_cost(times=100).line())  # noqa: T201 - this is its output
