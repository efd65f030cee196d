"""Rebuild every vector, and the worked examples of SPEC.md and docs/orders.md, byte for byte.

Rules: nothing random, nothing from a clock; signatures are deterministic (RFC 6979) and keys are derived from
published names. The zstd frames inside sections depend on the pinned version of libzstd; readers must accept
any frame, only the rebuild compares bytes. A test rebuilds all files and compares; changing a vector on
purpose means running this module and reading the difference.

Example:
    python -m protocol.vectors.generate

Source: RFC 6979 (deterministic ECDSA), RFC 8949 §4.2.1 (deterministic encoding).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from protocol.compression import decompress
from protocol.envelope import Kind, external_aad, read_sign1, sig_structure
from protocol.ids import cose_key_bytes
from protocol.install_record import record_payload
from protocol.limits import FACTS_BYTES_MAX, SIGN1_BYTES_MAX
from protocol.mcu_link import encode_frame
from protocol.orders import OrderType
from protocol.topics import Down, Up, down_topic, up_topic
from protocol.vectors import evidence
from protocol.vectors.annotate import annotate
from protocol.vectors.good import good_messages
from protocol.vectors.keys import NAMES, published_scalar, published_signer
from protocol.vectors.labels import LABELS
from protocol.vectors.link import FRAMES
from protocol.vectors.link import content as link_lines
from protocol.vectors.orders import ACCEPTED, REFUSED
from protocol.vectors.orders_examples import orders_example, states_table
from protocol.vectors.orders_messages import content as order_messages
from protocol.vectors.readers import READERS
from protocol.vectors.refused import refusals
from protocol.vectors.story import DEVICE

FOLDER = Path(__file__).parent
SPEC = FOLDER.parent / "SPEC.md"
EVIDENCE = FOLDER.parent / "SPEC-evidence.md"
ORDERS_PAGE = FOLDER.parents[1] / "docs" / "orders.md"

_LONG_BYTES = 4_096
_ZERO_RUN = re.compile(rb"\x00{64,}")
_STATES = re.compile(r"```states (?P<type>[A-Z]+)\n.*?```\n", re.DOTALL)
_EXAMPLE = re.compile(r"```tbox (?P<name>\S+)(?: (?P<labels>\S+))?\n(?P<block>.*?)```\n", re.DOTALL)


def build() -> dict[str, object]:
    """Return the content of each JSON file by name."""
    return {
        "keys.json": [_key(name) for name in NAMES],
        "good.json": [_good(name, message) for name, message in good_messages().items()],
        "refused.json": [
            {"name": case.name, "reader": case.reader, "reject": case.reject} | _hex(case.message)
            for case in refusals()
        ],
        "orders.json": [{"hex": text} for text in ACCEPTED]
        + [{"hex": text, "refused": word} for word, texts in REFUSED.items() for text in texts],
        "order-messages.json": order_messages(),
        "link.json": link_lines(),
        "topics.json": [up_topic(DEVICE, kind) for kind in Up] + [down_topic(DEVICE, kind) for kind in Down],
    }


def render(content: object) -> str:
    """Return a file's text."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def refresh_spec(text: str) -> str:
    """Return SPEC.md with each worked example and each table of states written anew."""
    return _STATES.sub(_states, _EXAMPLE.sub(_example, text))


def spec_examples(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and block of each worked example in SPEC.md."""
    for found in _EXAMPLE.finditer(text):
        yield found["name"], found["block"]


def example_bytes(name: str) -> bytes:
    """Return the bytes of a worked example.

    Args:
        name: a good message, or one seen through a prefix: `sha256:` its hash, `payload:` what it signs,
            `signed:` its Sig_structure, `unpacked:` without zstd, `key:` a published key, `frame:` a frame
            of the link; orders and what goes with them as `orders_examples` names them.
    """
    view, _, subject = name.rpartition(":")
    if view.startswith(("order", "document")):
        return orders_example(view, subject)
    if view == "frame":
        frame: bytes = encode_frame(*FRAMES[subject])
        return frame
    return _good_example(view, subject)


def _good_example(view: str, subject: str) -> bytes:
    match view:
        case "key":
            return cose_key_bytes(published_signer(subject).public_key)
        case "sha256":
            return hashlib.sha256(good_messages()[subject]).digest()
        case "payload":
            message = good_messages()[subject]
            is_record = subject == Kind.COMMISSIONING_RECORD
            return (
                record_payload(message)
                if is_record
                else read_sign1(message, max_bytes=SIGN1_BYTES_MAX).payload
            )
        case "signed":
            return _signed(Kind(subject))
        case "unpacked":
            return decompress(good_messages()[subject], max_bytes=FACTS_BYTES_MAX)
        case _:
            return good_messages()[subject]


def main() -> None:
    """Write all files."""
    for name, content in build().items():
        (FOLDER / name).write_text(render(content), encoding="utf-8")
    SPEC.write_text(refresh_spec(SPEC.read_text(encoding="utf-8")), encoding="utf-8")
    ORDERS_PAGE.write_text(refresh_spec(ORDERS_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    EVIDENCE.write_text(evidence.refresh_spec(EVIDENCE.read_text(encoding="utf-8")), encoding="utf-8")


def _example(found: re.Match[str]) -> str:
    name, labels = found["name"], found["labels"]
    data = example_bytes(name)
    if name.startswith("sha256:") or labels == "raw":
        block = "\n".join(data[start : start + 16].hex(" ") for start in range(0, len(data), 16))
    else:
        block = annotate(data, LABELS.get(labels or "", {}))
    return f"```tbox {name}{f' {labels}' if labels else ''}\n{block}\n```\n"


def _states(found: re.Match[str]) -> str:
    return f"```states {found['type']}\n{states_table(OrderType[found['type']])}\n```\n"


def _signed(kind: Kind) -> bytes:
    message = read_sign1(good_messages()[kind], max_bytes=SIGN1_BYTES_MAX)
    return sig_structure("Signature1", message.protected, external_aad(kind), message.payload)


def _key(name: str) -> dict[str, str]:
    signer = published_signer(name)
    return {
        "name": name,
        "private": published_scalar(name).to_bytes(32, "big").hex(),
        "cose_key": cose_key_bytes(signer.public_key).hex(),
        "thumbprint": signer.kid.hex(),
    }


def _good(name: str, message: bytes) -> dict[str, object]:
    reader = name.removeprefix("section/").partition("/")[0]
    is_whole = reader in READERS and not name.endswith(("/header", "/sign1", "/payload"))
    return {"name": name, "reader": reader if is_whole else None, "hex": message.hex()} | (
        {"reads": readable(READERS[reader](message))} if is_whole else {}
    )


def _hex(message: bytes) -> dict[str, object]:
    """Return a message as hex, or as runs of [hex, times] when most of it is zeros."""
    if len(message) <= _LONG_BYTES:
        return {"hex": message.hex()}
    runs: list[tuple[str, int]] = []
    at = 0
    for zeros in _ZERO_RUN.finditer(message):
        runs += [(message[at : zeros.start()].hex(), 1), ("00", len(zeros[0]))]
        at = zeros.end()
    return {"runs": [*runs, (message[at:].hex(), 1)]}


def readable(value: object) -> object:
    """Return what a reader read as JSON: bytes as hex, arrays as lists, enums as their wire values."""
    match value:
        case bytes():
            plain: object = value.hex()
        case np.ndarray():
            plain = value.tolist()
        case Enum():
            plain = value.value
        case Mapping():
            plain = {str(readable(key)): readable(item) for key, item in value.items()}
        case list() | tuple():
            plain = [readable(item) for item in value]
        case frozenset():
            plain = sorted(readable(item) for item in value)  # type: ignore[type-var]  # numbers of one enum
        case _ if is_dataclass(value):
            plain = {field.name: readable(getattr(value, field.name)) for field in fields(value)}
        case _:
            plain = value
    return plain


if __name__ == "__main__":
    main()
