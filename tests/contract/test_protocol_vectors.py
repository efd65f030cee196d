"""The vectors are what the generator makes, readers agree with them, and SPEC.md shows the same bytes."""

import json
import re
from typing import Any

import pytest

from protocol import strict_cbor
from protocol.errors import ProtocolError, Reject
from protocol.ids import cose_key_bytes, thumbprint
from protocol.topics import parse_topic
from protocol.vectors import generate
from protocol.vectors.annotate import hex_of
from protocol.vectors.keys import published_signer
from protocol.vectors.readers import READERS


def vectors(name: str) -> list[Any]:
    loaded: list[Any] = json.loads((generate.FOLDER / name).read_text(encoding="utf-8"))
    return loaded


def message_of(vector: dict[str, Any]) -> bytes:
    if "runs" in vector:
        return b"".join(bytes.fromhex(text) * times for text, times in vector["runs"])
    return bytes.fromhex(vector["hex"])


def test_the_files_are_rebuilt_byte_for_byte() -> None:
    for name, content in generate.build().items():
        written = (generate.FOLDER / name).read_text(encoding="utf-8")
        assert written == generate.render(content), (
            f"{name}: run `python -m protocol.vectors.generate` and read the diff"
        )


def test_the_generator_makes_every_json_file_there_is() -> None:
    assert {path.name for path in generate.FOLDER.glob("*.json")} == set(generate.build())


@pytest.mark.parametrize("vector", vectors("good.json"), ids=lambda vector: vector["name"])
def test_a_good_message_is_read_as_stated(vector: dict[str, Any]) -> None:
    if vector["reader"] is not None:
        read = generate.readable(READERS[vector["reader"]](message_of(vector)))
        assert json.loads(json.dumps(read)) == vector["reads"]


@pytest.mark.parametrize("vector", vectors("refused.json"), ids=lambda vector: vector["name"])
def test_a_must_refuse_message_is_refused_for_the_reason_stated(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as refused:
        READERS[vector["reader"]](message_of(vector))
    assert refused.value.code is Reject(vector["reject"])


def test_most_reasons_have_a_vector() -> None:
    """The rest are chain rules and topics, which no single message shows."""
    shown = {vector["reject"] for vector in vectors("refused.json")}
    assert set(Reject) - shown == {
        Reject.CONFLICT,
        Reject.FORK,
        Reject.BAD_ORIGIN,
        Reject.BAD_TOPIC,
        Reject.TOO_DEEP,
    }


@pytest.mark.parametrize("vector", vectors("orders.json"), ids=lambda vector: vector["hex"][:40] or "empty")
def test_an_order_encoding_is_read_or_refused_as_stated(vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["hex"])
    if "refused" in vector:
        with pytest.raises(strict_cbor.CBORError) as refused:
            strict_cbor.loads(data)
        assert refused.value.args == (vector["refused"],)
    else:
        assert strict_cbor.dumps(strict_cbor.loads(data)) == data


def test_every_word_of_refusal_has_a_vector() -> None:
    words = {name for name in vars(strict_cbor) if re.fullmatch(r"[A-Z][A-Z0-9_]+", name)} - {
        "MAX_LEN",
        "MAX_DEPTH",
    }
    assert {vector["refused"] for vector in vectors("orders.json") if "refused" in vector} == words


def test_published_keys_have_the_names_stated() -> None:
    for key in vectors("keys.json"):
        signer = published_signer(key["name"])
        assert cose_key_bytes(signer.public_key).hex() == key["cose_key"]
        assert thumbprint(signer.public_key).hex() == key["thumbprint"] == signer.kid.hex()


def test_topics_are_read_as_stated() -> None:
    for topic in vectors("topics.json"):
        device, direction, kind = parse_topic(topic)
        assert f"tbox/1/{device}/{direction}/{kind}" == topic


def test_spec_shows_the_bytes_that_are_made() -> None:
    text = generate.SPEC.read_text(encoding="utf-8")
    examples = list(generate.spec_examples(text))
    assert len(examples) >= 15
    for name, block in examples:
        assert hex_of(block) == generate.example_bytes(name), name
    assert generate.refresh_spec(text) == text, "run `python -m protocol.vectors.generate` and read the diff"


def test_spec_shows_every_signed_kind() -> None:
    shown = {name for name, _ in generate.spec_examples(generate.SPEC.read_text(encoding="utf-8"))}
    assert {
        "batch/1/sign1",
        "receipt",
        "standing-request",
        "time-request",
        "time",
        "policy",
        "enrol",
        "renew",
        "key-succession",
    } <= shown
