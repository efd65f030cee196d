"""The COSE working group's examples, checked below our profile: same Sig_structure, same verdict.

Our profile is narrower than COSE (one algorithm number, kid in the protected header, nothing unprotected), so
each example is also shown to be refused by `read_sign1`. Here a small lenient reader takes the message apart
and hands the parts to `sig_structure` and `verify_raw`. In scope: every signature by ES256, which is ESP256's
ECDSA on P-256 with SHA-256. Out of scope and counted: EdDSA and ES512 signatures, MACs and encryption.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from protocol.envelope import read_sign1, sig_structure, verify_raw
from protocol.errors import ProtocolError, Reject

pytestmark = pytest.mark.data

ES256 = -7
SIGN1, SIGN = "sign0", "sign"
TAGS = {SIGN1: 18, SIGN: 98}


def load(test_data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((test_data / "vectors" / "cose").rglob("*.json")):
        yield f"{path.parent.name}/{path.stem}", json.loads(path.read_text(encoding="utf-8"))


def public_key(jwk: dict[str, str]) -> EllipticCurvePublicKey:
    def number(text: str) -> int:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")

    return EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), SECP256R1()).public_key()


def algorithms(example: dict[str, Any], form: str) -> list[str]:
    inner = example["input"][form]
    return [inner["alg"]] if form == SIGN1 else [signer["protected"]["alg"] for signer in inner["signers"]]


def verify(example: dict[str, Any], form: str) -> list[bytes | None]:
    """Verify every ES256 signature of an example; return the signed bytes, None for a signature out of scope.

    Raises:
        ProtocolError: the tag, the algorithm or a signature is wrong.
    """
    inner = example["input"][form]
    message = cbor2.loads(bytes.fromhex(example["output"]["cbor"]))
    if isinstance(message, cbor2.CBORTag):
        if message.tag != TAGS[form]:
            raise ProtocolError(Reject.BAD_ENVELOPE, f"tag {message.tag}")
        message = message.value
    body_protected, unprotected, payload, tail = message
    body = normal(body_protected)
    if form == SIGN1:
        signers = [(body_protected, unprotected, tail, inner["key"], inner.get("external", ""))]
    else:
        signers = [
            (*signature, given["key"], given.get("external", ""))
            for signature, given in zip(tail, inner["signers"], strict=True)
        ]
    signed: list[bytes | None] = []
    for (protected, loose, signature, jwk, external), algorithm in zip(
        signers, algorithms(example, form), strict=True
    ):
        if algorithm != "ES256":
            signed.append(None)
            continue
        header = (cbor2.loads(protected) if protected else {}) | dict(loose)
        if header.get(1) != ES256:
            raise ProtocolError(Reject.BAD_ALG, f"algorithm {header.get(1)}")
        aad = bytes.fromhex(external)
        if form == SIGN1:
            data = sig_structure("Signature1", body, aad, payload)
        else:
            data = sig_structure("Signature", body, aad, payload, sign_protected=normal(protected))
        verify_raw(public_key(jwk), data, signature)
        signed.append(data)
    return signed


def normal(protected: bytes) -> bytes:
    """An empty protected header is signed as an empty string (RFC 9052 §4.4)."""
    return b"" if protected == b"\xa0" else protected


def sort_out(example: dict[str, Any]) -> str:
    form = next((form for form in (SIGN1, SIGN) if form in example["input"]), None)
    if form is None:
        return "out of scope: MAC or encryption"
    if "ES256" not in algorithms(example, form):
        return "out of scope: another signature algorithm"
    return "must fail" if example.get("fail") else "must pass"


def test_each_es256_example_has_the_verdict_its_authors_gave_it(test_data: Path) -> None:
    seen: Counter[str] = Counter()
    for name, example in load(test_data):
        group = sort_out(example)
        seen[group] += 1
        if group.startswith("out of scope"):
            continue
        form = SIGN1 if SIGN1 in example["input"] else SIGN
        if group == "must fail":
            with pytest.raises(ProtocolError):
                verify(example, form)
            continue
        signed = verify(example, form)
        middle = example["intermediates"]
        stated = [middle] if form == SIGN1 else middle["signers"]
        for data, item in zip(signed, stated, strict=True):
            assert data is None or data.hex().upper() == item["ToBeSign_hex"], name
            seen["signature verified" if data else "signature out of scope"] += 1
    assert seen == {
        "must pass": 12,
        "must fail": 12,
        "signature verified": 12,
        "signature out of scope": 1,
        "out of scope: another signature algorithm": 4,
        "out of scope: MAC or encryption": 41,
    }


def test_no_example_of_another_profile_is_read_as_one_of_ours(test_data: Path) -> None:
    refused = 0
    for _, example in load(test_data):
        with pytest.raises(ProtocolError):
            read_sign1(bytes.fromhex(example["output"]["cbor"]), max_bytes=10_000)
        refused += 1
    assert refused == 69
