"""The microcontroller's P-256 on the real MicroPython: every Wycheproof vector, and what one costs."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from device.mcu import p256
from protocol.envelope import is_low_s
from tests.builders.mcu_cost import VERIFY_HEAP_KB_MAX, order_cost, verify_cost
from tests.builders.micropython import HEAP_KB, run_cpython, run_micropython

# A line is key, message, signature in hex; the answer is one word.
PROGRAM = """
import hashlib
from device.mcu import p256
for line in sys.stdin:
    key, message, signature = [bytes.fromhex(part) for part in line.rstrip("\\n").split(",")]
    print(p256.verify(key, hashlib.sha256(message).digest(), signature))
"""


def raw_signature(der: bytes) -> bytes | None:
    """Return r‖s of a strict DER signature; None where the outer layer of a file or chip must refuse it."""
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    except (ValueError, OverflowError):
        return None


@pytest.mark.data
def test_every_wycheproof_vector_gets_its_answer_on_both_interpreters(test_data: Path) -> None:
    path = test_data / "vectors" / "wycheproof" / "ecdsa_secp256r1_sha256_test.json"
    lines, expected, seen = [], [], Counter[str]()
    for group in json.loads(path.read_text(encoding="utf-8"))["testGroups"]:
        point = group["publicKey"]["uncompressed"]
        assert point[:2] == "04"
        for test in group["tests"]:
            seen[test["result"]] += 1
            signature = raw_signature(bytes.fromhex(test["sig"]))
            if signature is None:
                assert test["result"] == "invalid"
                seen["not DER"] += 1
                continue
            lines.append(f"{point[2:]},{test['msg']},{signature.hex()}")
            if test["result"] == "invalid":
                expected.append(p256.BAD_SIG)
            else:
                expected.append(p256.OK if is_low_s(signature) else p256.HIGH_S)
    assert (seen["valid"], seen["invalid"]) == (174, 310)
    assert Counter(expected)[p256.OK] > 50, "both halves of s must have been met"
    assert Counter(expected)[p256.HIGH_S] > 50, "both halves of s must have been met"
    assert Counter(expected)[p256.BAD_SIG] > 50, "the curve's own edge cases must have been met"
    assert run_micropython(PROGRAM, lines) == expected
    assert run_cpython(PROGRAM, lines) == expected


def test_a_verification_fits_the_heap_of_a_small_board(
    record_property: Callable[[str, object], None],
) -> None:
    cost = verify_cost(times=5)
    record_property("mcu_p256_verify", cost.line())
    assert cost.heap_kb <= VERIFY_HEAP_KB_MAX
    assert cost.feeds == p256.FEEDS
    assert 0 < cost.best_us < 1_000_000, "seconds on a desk would be minutes in the car"
    assert cost.gap_us < cost.best_us, "the watchdog must be fed in between, not at the end"


def test_a_lock_with_unknown_signers_fits_the_heap_of_a_small_board(
    record_property: Callable[[str, object], None],
) -> None:
    """Fifteen signatures: two snapshots, three delegations, the order; compiled from source beside them."""
    cost = order_cost(times=2)
    record_property("mcu_order", cost.line())
    assert cost.heap_kb <= HEAP_KB * 3 // 4
    assert 0 < cost.order_us < cost.snapshots_us + cost.delegations_us


def test_it_imports_nothing() -> None:
    text = Path(p256.__file__).read_text(encoding="utf-8")
    assert "\nimport " not in text
    assert "\nfrom " not in text
