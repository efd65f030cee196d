"""Wycheproof's ECDSA P-256 SHA-256 vectors: all valid signatures verify, no invalid one does."""

import json
from collections import Counter
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from protocol.envelope import is_low_s, normalise_low_s, verify_raw
from protocol.errors import ProtocolError, Reject

pytestmark = pytest.mark.data


def raw_signature(der: bytes) -> bytes:
    """Return r‖s of a strict DER signature, or refuse it as the outer layer of a file or chip driver must."""
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    except (ValueError, OverflowError) as error:
        raise ProtocolError(Reject.BAD_SIG, "not DER of two 256-bit integers") from error


def test_every_valid_signature_verifies_and_no_invalid_one_does(test_data: Path) -> None:
    path = test_data / "vectors" / "wycheproof" / "ecdsa_secp256r1_sha256_test.json"
    vectors = json.loads(path.read_text(encoding="utf-8"))
    seen: Counter[str] = Counter()
    for group in vectors["testGroups"]:
        point = group["publicKey"]
        assert point["curve"] == "secp256r1"
        key: EllipticCurvePublicKey = EllipticCurvePublicNumbers(
            int(point["wx"], 16), int(point["wy"], 16), SECP256R1()
        ).public_key()
        for test in group["tests"]:
            message, der = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            seen[test["result"]] += 1
            if test["result"] == "valid":
                signature = raw_signature(der)
                seen["low" if is_low_s(signature) else "high"] += 1
                low = normalise_low_s(signature)
                assert is_low_s(low)
                verify_raw(key, message, low)
                verify_raw(key, message, signature)
            else:
                with pytest.raises(ProtocolError) as refused:
                    verify_raw(key, message, raw_signature(der))
                assert refused.value.code is Reject.BAD_SIG, test["tcId"]
    assert (seen["valid"], seen["invalid"]) == (174, 310)
    assert seen["low"] > 50, "both halves of s must have been met"
    assert seen["high"] > 50, "both halves of s must have been met"
