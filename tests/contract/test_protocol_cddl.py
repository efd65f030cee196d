"""`tbox-v1.cddl` describes every good message, layer by layer, and refuses mutated ones.

pycddl looks the other way in two places: it takes any map for `{}`, and any item for one of `[* [...]]`.
There the vectors (`envelope/unprotected-kid`) and the readers' own tests stand in.
"""

from collections.abc import Iterator
from typing import Any

import pycddl
import pytest

from protocol import codec
from protocol.compression import decompress
from protocol.envelope import read_sign1
from protocol.install_record import record_payload
from protocol.limits import FACTS_BYTES_MAX, PAYLOAD_BYTES_MAX, SIGN1_BYTES_MAX
from protocol.vectors import generate
from protocol.vectors.good import good_messages

CDDL = (generate.FOLDER.parent / "tbox-v1.cddl").read_text(encoding="utf-8")
PAYLOAD_RULES = {"batch": "header", "time": "time-token"}  # else the rule has the kind's name

UNSIGNED = {
    "status": "status",
    "authority-bundle": "authority-bundle",
    "authority-question": "authority-question",
    "challenge-question": "challenge-request",
    "facts-question": "facts-question",
    "basis": "basis",
}


def conforms(rule: str, data: bytes) -> bool:
    try:
        pycddl.Schema(f"start = {rule}\n{CDDL}").validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


def layers() -> Iterator[tuple[str, str, bytes]]:
    """Yield name, rule and bytes of each layer of each good message."""
    for name, message in good_messages().items():
        kind, _, part = name.partition("/")
        if name == "section/facts":
            yield name, "facts", decompress(message, max_bytes=FACTS_BYTES_MAX)
        elif kind == "section":
            yield name, part, message
        elif kind == "commissioning-record":
            yield f"{name}: payload", kind, record_payload(message)
        elif kind in UNSIGNED:
            yield name, UNSIGNED[kind], message
        elif part.endswith(("header", "payload")):
            yield name, "header" if part.endswith("header") else kind, message
        elif kind == "batch" and not part.endswith("sign1"):
            yield name, "batch", message
        else:
            sign1 = read_sign1(message, max_bytes=SIGN1_BYTES_MAX)
            yield name, "sign1", message
            yield f"{name}: protected", "protected-header", sign1.protected
            yield f"{name}: payload", PAYLOAD_RULES.get(kind, kind), sign1.payload


LAYERS = list(layers())


def mutants(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the item with one member or item taken out, added, or made a float, which no field of ours is."""
    value: Any = codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX)
    if isinstance(value, dict):
        for key in value:
            yield f"without {key}", codec.encode({other: value[other] for other in value if other != key})
            yield f"{key} a float", codec.encode(value | {key: 1.5})
        yield "with a key more", codec.encode(value | {99: None})
    else:
        for place in range(len(value)):
            yield f"without {place}", codec.encode(value[:place] + value[place + 1 :])
            yield f"{place} a float", codec.encode([*value[:place], 1.5, *value[place + 1 :]])
        yield "with an item more", codec.encode([*value, 1.5])
    yield "another type", codec.encode("text")


@pytest.mark.parametrize(("name", "rule", "data"), LAYERS, ids=[name for name, _, _ in LAYERS])
def test_a_good_message_conforms_layer_by_layer(name: str, rule: str, data: bytes) -> None:
    assert conforms(rule, data), name


@pytest.mark.parametrize(
    ("name", "rule", "data"),
    [layer for layer in LAYERS if layer[1] != "sign1"],
    ids=[name for name, rule, _ in LAYERS if rule != "sign1"],
)
def test_a_mutated_message_does_not_conform(name: str, rule: str, data: bytes) -> None:
    for change, mutant in mutants(data):
        # A list of windows or documents may have several lengths; that an item behind the first is none of
        # them, pycddl does not see.
        is_list = rule in ("window", "authority-bundle")
        if not (is_list and change not in ("0 a float", "another type")):
            assert not conforms(rule, mutant), f"{name}: {change}"


def test_a_signature_of_another_length_or_a_detached_payload_does_not_conform() -> None:
    sign1 = read_sign1(good_messages()["receipt"], max_bytes=SIGN1_BYTES_MAX)
    for parts in (
        [sign1.protected, {}, sign1.payload, sign1.signature[:-1]],
        [sign1.protected, {}, None, sign1.signature],
        [{}, {}, sign1.payload, sign1.signature],
        [sign1.protected, {}, sign1.payload],
    ):
        assert not conforms("sign1", b"\xd2" + codec.encode(parts))
    assert not conforms("sign1", sign1.raw[1:])


def test_every_rule_for_a_message_is_used() -> None:
    used = {rule for _, rule, _ in LAYERS}
    assert used == {
        "batch", "sign1", "protected-header", "header", "facts", "signals", "frames", "fixes", "window",
        "receipt", "standing-request", "time-request", "time-token", "policy", "enrol", "renew",
        "key-succession", "status", "authority-bundle", "authority-question", "challenge-request",
        "facts-question", "loan-facts", "loan-record", "gate-record", "basis",
        "work-ticket", "install-command", "install-report", "commissioning", "commissioning-record",
    }  # fmt: skip
