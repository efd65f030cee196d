"""`tbox-v1.cddl` describes every good order and document, and refuses mutated ones.

pycddl takes any map for `{}` and does not count the items of a list with a range; there the vectors stand in.
"""

from collections.abc import Iterator
from typing import Any

import pycddl
import pytest

from protocol import codec, cose_sign, strict_cbor
from protocol.vectors import generate
from protocol.vectors.orders_good import good_documents, good_orders
from protocol.vectors.orders_story import documents

CDDL = (generate.FOLDER.parent / "tbox-v1.cddl").read_text(encoding="utf-8")
OPTIONAL = {"signer-header": (cose_sign.DELEGATION, cose_sign.LOG_REF, cose_sign.ATTESTATION)}


def conforms(rule: str, data: bytes) -> bool:
    try:
        pycddl.Schema(f"start = {rule}\n{CDDL}").validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


def layers() -> Iterator[tuple[str, str, bytes]]:
    """Yield name, rule and bytes of each layer."""
    signed = {name: message for name, (message, _) in good_orders().items()} | dict(documents())
    for name, message in signed.items():
        payload, signers = cose_sign.read_sign(message)
        yield name, "cose-sign", message
        kind = name.partition("/")[0]
        yield f"{name}: payload", kind if kind in ("authority", "delegation") else f"{kind}-order", payload
        yield f"{name}: signer", "signer-header", signers[-1].protected
    for name, message in good_documents().items():
        _, protected, payload, _ = cose_sign.read_sign1(message)
        yield name, "sign1", message
        yield f"{name}: protected", "protected-header", protected
        yield f"{name}: payload", name, payload


LAYERS = list(layers())
MAPS = [layer for layer in LAYERS if layer[1] not in ("cose-sign", "sign1")]


def mutants(rule: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the map with a key taken out, a key more, or a float, which no field is."""
    value: Any = strict_cbor.loads(data)
    for key in value:
        if key not in OPTIONAL.get(rule, ()):
            yield f"without {key}", strict_cbor.dumps({k: v for k, v in value.items() if k != key})
        yield f"{key} a float", codec.encode(value | {key: 1.5})
    yield "with a key more", strict_cbor.dumps(value | {99: None})
    yield "another type", strict_cbor.dumps("text")


@pytest.mark.parametrize(("name", "rule", "data"), LAYERS, ids=[name for name, _, _ in LAYERS])
def test_a_good_order_or_document_conforms_layer_by_layer(name: str, rule: str, data: bytes) -> None:
    assert conforms(rule, data), name


@pytest.mark.parametrize(("name", "rule", "data"), MAPS, ids=[name for name, _, _ in MAPS])
def test_a_mutated_one_does_not_conform(name: str, rule: str, data: bytes) -> None:
    for change, mutant in mutants(rule, data):
        assert not conforms(rule, mutant), f"{name}: {change}"


def test_an_order_of_one_type_is_none_of_another() -> None:
    rules = sorted({f"{name.partition('/')[0]}-order" for name in good_orders()})
    for name, (message, _) in good_orders().items():
        payload, _ = cose_sign.read_sign(message)
        assert [rule for rule in rules if conforms(rule, payload)] == [f"{name.partition('/')[0]}-order"]


def test_a_container_of_another_form_does_not_conform() -> None:
    message = good_orders()["lock"][0]
    body, unprotected, payload, signers = strict_cbor.loads(message[2:])
    for parts in (
        [b"", unprotected, payload, signers],
        [body, unprotected, None, signers],
        [body, unprotected, payload, []],
        [body, unprotected, payload],
        [body, unprotected, payload, [[signers[0][0], {}, signers[0][2][:63]]]],
    ):
        assert not conforms("cose-sign", cose_sign.TAG_SIGN + strict_cbor.dumps(parts))
    assert not conforms("cose-sign", message[2:])
