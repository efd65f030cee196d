"""What signatures and orders cost on the MicroPython unix port: `python -m tests.builders.mcu_cost`.

Rules: time is the best of many runs in one process, since a shared machine only ever adds; heap is the
smallest one, found by halving, in which the modules compile from source and do the work. Nothing here says
what a board needs; ADR 0040 says what may be concluded.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocol.ids import cose_key_bytes
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import good_orders
from protocol.vectors.orders_story import ANCHORS, MCU, documents
from tests.builders.micropython import HEAP_KB, fits_in, run_micropython

VERIFY_HEAP_KB_MAX: Final = 64
"""A third of the board's heap: the rest is for the order, its delegations and the program itself."""

VERIFY_PROGRAM = """
import time
from device.mcu import p256
key, digest, signature = [bytes.fromhex(sys.stdin.readline()) for _ in range(3)]
feeds, last, gap = 0, 0, 0
def feed():
    global feeds, last, gap
    now = time.ticks_us()
    gap = max(gap, time.ticks_diff(now, last))
    feeds, last = feeds + 1, now
best, best_gap = 1 << 29, 1 << 29
for _ in range(int(sys.stdin.readline())):
    feeds, gap = 0, 0
    last = start = time.ticks_us()
    assert p256.verify(key, digest, signature, feed) == p256.OK
    best = min(best, time.ticks_diff(time.ticks_us(), start))
    best_gap = min(best_gap, gap)
print(best, best_gap, feeds)
"""

ORDER_PROGRAM = """
import gc, time
from protocol import cose_sign, orders_authority, orders_reader
from device.mcu import p256

def timed(work):
    gc.collect()
    start = time.ticks_us()
    result = work()
    return result, time.ticks_diff(time.ticks_us(), start)

def line():
    return bytes.fromhex(sys.stdin.readline())

times = int(sys.stdin.readline())
mcu = line()
device = orders_reader.Device(cose_sign.thumbprint(mcu), cose_sign.key_xy(mcu))
anchors, snapshots = {}, []
for _ in range(2):
    issuer, threshold, count = sys.stdin.readline().split()
    keys = [line() for _ in range(int(count))]
    anchors[issuer] = orders_authority.Root(issuer, keys, int(threshold))
    snapshots.append((issuer, line()))
delegations = [line() for _ in range(3)]
order = line()
best = [1 << 29, 1 << 29, 1 << 29]

def read_snapshots():
    read = orders_authority.read_snapshot
    return {issuer: read(data, anchors[issuer], p256.verify) for issuer, data in snapshots}

def read_delegations():
    return [orders_authority.read_delegation(data, device.roots, p256.verify) for data in delegations]

for _ in range(times):
    device.roots, spent = timed(read_snapshots)
    best[0] = min(best[0], spent)
    found, spent = timed(read_delegations)
    best[1] = min(best[1], spent)
    device.delegations = {delegation.digest: delegation for delegation in found}
    device.signatures_left = 3
    answer, spent = timed(lambda: orders_reader.read_order(order, device, p256.verify))
    best[2] = min(best[2], spent)
    assert answer.outcome == orders_reader.REJECT, answer.code  # this device is bound to nobody
print(best[0], best[1], best[2])
"""

# A published test key (SPEC §14) and its signature over 32 zero bytes taken as a message.
_KEY = "stranger"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyCost:
    """What one verification was measured to cost.

    Attributes:
        best_us: shortest verification, µs.
        gap_us: longest time between two calls of the watchdog hook, µs, in the run where it was shortest.
        heap_kb: smallest heap in which it ran, KB; the step of the search is 1 KB.
        feeds: calls of the watchdog hook in one verification.
    """

    best_us: int
    gap_us: int
    heap_kb: int
    feeds: int

    def line(self) -> str:
        """Return the line of a report."""
        return (
            f"P-256 verification on the MicroPython unix port: best {self.best_us / 1000:.1f} ms, "
            f"smallest heap {self.heap_kb} KB of {HEAP_KB}, watchdog hook {self.feeds} times, at most "
            f"{self.gap_us} µs apart"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCost:
    """What a LOCK was measured to cost whose signers the device does not know yet.

    Attributes:
        snapshots_us: both roots' snapshots, five signatures.
        delegations_us: maker's, checker's and gate's, seven signatures.
        order_us: the LOCK itself, three signatures.
        heap_kb: smallest heap in which all of it ran, KB.
    """

    snapshots_us: int
    delegations_us: int
    order_us: int
    heap_kb: int

    def line(self) -> str:
        """Return the line of a report."""
        return (
            f"a LOCK on the MicroPython unix port: best {self.order_us / 1000:.1f} ms for 3 signatures, "
            f"{self.delegations_us / 1000:.1f} ms for the delegations' 7, "
            f"{self.snapshots_us / 1000:.1f} ms for the snapshots' 5, smallest heap {self.heap_kb} KB "
            f"of {HEAP_KB}, all compiled from source"
        )


def verify_cost(*, times: int) -> VerifyCost:
    """Measure; `times` verifications for the time, as many again for each heap tried."""
    signer = published_signer(_KEY)
    cose_key = cose_key_bytes(signer.public_key)
    message = bytes(32)
    key = (cose_key[8:40] + cose_key[43:]).hex()
    lines = [key, hashlib.sha256(message).hexdigest(), signer.sign(message).hex(), str(times)]
    best_us, gap_us, feeds = _numbers(VERIFY_PROGRAM, lines)
    heap_kb = _smallest_heap(VERIFY_PROGRAM, lines)
    return VerifyCost(best_us=best_us, gap_us=gap_us, heap_kb=heap_kb, feeds=feeds)


def order_cost(*, times: int) -> OrderCost:
    """Measure; `times` orders for the time, as many again for each heap tried."""
    lines = [str(times), cose_key_bytes(MCU.public_key).hex()]
    for (issuer, (names, threshold)), name in zip(ANCHORS.items(), ("platform", "lender"), strict=False):
        keys = [cose_key_bytes(published_signer(key).public_key).hex() for key in names]
        lines += [f"{issuer} {threshold} {len(keys)}", *keys, documents()[f"authority/{name}"].hex()]
    lines += [documents()[f"delegation/{name}"].hex() for name in ("maker", "checker", "gate")]
    lines.append(good_orders()["lock"][0].hex())
    snapshots_us, delegations_us, order_us = _numbers(ORDER_PROGRAM, lines)
    return OrderCost(
        snapshots_us=snapshots_us,
        delegations_us=delegations_us,
        order_us=order_us,
        heap_kb=_smallest_heap(ORDER_PROGRAM, lines),
    )


def _numbers(program: str, lines: Sequence[str]) -> list[int]:
    return [int(word) for word in run_micropython(program, lines)[0].split()]


def _smallest_heap(program: str, lines: Sequence[str]) -> int:
    low, high = 0, HEAP_KB
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits_in(program, lines, heap_kb=middle) else (middle, high)
    return high


if __name__ == "__main__":
    print(verify_cost(times=200).line())  # noqa: T201 - this is its output
    print(order_cost(times=40).line())  # noqa: T201 - this is its output
