"""Every example of RFC 8949 appendix A, by both codecs: read and written again, or refused and why."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from protocol import codec, strict_cbor
from protocol.errors import ProtocolError, Reject

pytestmark = pytest.mark.data

EXAMPLES = 82  # in the file; a shorter file must not pass


def examples(test_data: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        (test_data / "vectors" / "cbor" / "rfc_appendix_a.json").read_text(encoding="utf-8")
    )
    assert len(found) == EXAMPLES
    return found


def why_refused(data: bytes, *, is_roundtrip: bool) -> str | None:
    """Return why a codec of ours must refuse an example, by its outermost type and its round-trip flag."""
    major, info = data[0] >> 5, data[0] & 31
    if major == 6:
        return "tag"
    if major == 7 and info in (25, 26, 27):
        return "longer float than needed" if not is_roundtrip else "float"
    if major == 7 and info not in (20, 21, 22):
        return "simple value"
    return None if is_roundtrip else "indefinite length"


def test_telemetry_reads_what_is_deterministic_and_ours(test_data: Path) -> None:
    outcomes: Counter[str] = Counter()
    for example in examples(test_data):
        data = bytes.fromhex(str(example["hex"]))
        reason = why_refused(data, is_roundtrip=bool(example["roundtrip"]))
        if reason in (None, "float"):
            value = codec.decode(data, max_bytes=100)
            assert codec.encode(value) == data
            if "decoded" in example:
                assert value == example["decoded"] or str(example["hex"]) == "f97e00"
            outcomes["read"] += 1
        else:
            with pytest.raises(ProtocolError) as refused:
                codec.decode(data, max_bytes=100)
            assert refused.value.code is Reject.BAD_ENCODING
            outcomes[str(reason)] += 1
    assert outcomes == {
        "read": 53,
        "tag": 8,
        "longer float than needed": 6,
        "simple value": 4,
        "indefinite length": 11,
    }


def test_orders_read_the_same_but_no_floats(test_data: Path) -> None:
    words = {
        "tag": strict_cbor.TAG,
        "float": strict_cbor.FLOAT,
        "longer float than needed": strict_cbor.FLOAT,
        "simple value": strict_cbor.SIMPLE,
        "indefinite length": strict_cbor.INDEFINITE,
    }
    outcomes: Counter[str] = Counter()
    for example in examples(test_data):
        data = bytes.fromhex(str(example["hex"]))
        reason = why_refused(data, is_roundtrip=bool(example["roundtrip"]))
        if reason is None:
            value = strict_cbor.loads(data)
            assert strict_cbor.dumps(value) == data
            assert value == codec.decode(data, max_bytes=100)
            outcomes["read"] += 1
        else:
            with pytest.raises(strict_cbor.CBORError) as refused:
                strict_cbor.loads(data)
            assert refused.value.args == (words[reason],)
            outcomes[reason] += 1
    assert outcomes.total() == EXAMPLES
    assert outcomes["read"] == 37


def test_the_decoded_values_of_the_rfc_are_ours(test_data: Path) -> None:
    compared = 0
    for example in examples(test_data):
        data = bytes.fromhex(str(example["hex"]))
        if example["roundtrip"] and "decoded" in example and data[0] >> 5 != 6:
            value = codec.decode(data, max_bytes=100)
            wanted = example["decoded"]
            assert value == wanted or (isinstance(value, float) and math.isnan(value))
            compared += 1
    assert compared > 30
