"""What must be refused of what carries orders: bundles and questions that are not exactly of their form.

Rules: see `refused`.

Example:
    >>> next(bundle_cases())[0]
    'empty'
"""

from collections.abc import Iterator

from protocol import strict_cbor
from protocol.errors import Reject
from protocol.limits import AUTHORITY_BUNDLE_BYTES_MAX, ORDER_BYTES_MAX
from protocol.vectors.good import good_messages
from protocol.vectors.orders_story import MCU

Case = tuple[str, str, bytes, Reject]
"""Name, reader, message, reason."""


def bundle_cases() -> Iterator[Case]:
    """Yield bundles of documents that no box may read."""
    good = good_messages()["authority-bundle"]
    for name, documents in (
        ("empty", []),
        ("seventeen", [[1, b"d"]] * 17),
        ("kind-0", [[0, b"d"]]),
        ("kind-7", [[7, b"d"]]),
        ("kind-true", [[True, b"d"]]),
        ("no-document", [[1]]),
        ("document-empty", [[1, b""]]),
        ("document-null", [[1, None]]),
        ("document-too-long", [[1, bytes(ORDER_BYTES_MAX + 1)]]),
        ("three-items", [[1, b"d", 0]]),
        ("a-map", {1: b"d"}),
    ):
        yield name, "authority-bundle", strict_cbor.dumps(documents), Reject.BAD_FIELD
    yield "truncated", "authority-bundle", good[:-1], Reject.BAD_ENCODING
    yield "trailing", "authority-bundle", good + b"\x00", Reject.BAD_ENCODING
    yield "indefinite", "authority-bundle", b"\x9f" + good[1:] + b"\xff", Reject.BAD_ENCODING
    yield "nested", "authority-bundle", strict_cbor.dumps([[1, [b"d"]]]), Reject.BAD_ENCODING
    large = strict_cbor.dumps([[4, bytes(AUTHORITY_BUNDLE_BYTES_MAX)]])
    yield "too-large", "authority-bundle", large, Reject.TOO_LARGE


def question_cases() -> Iterator[Case]:
    """Yield questions that nobody may answer."""
    mcu, digest = MCU.kid, bytes(32)
    for name, fields in (
        ("version-2", {1: 2, 2: mcu, 3: []}),
        ("mcu-id-short", {1: 1, 2: mcu[1:], 3: []}),
        ("nine-hashes", {1: 1, 2: mcu, 3: [digest] * 9}),
        ("hash-short", {1: 1, 2: mcu, 3: [digest[1:]]}),
        ("key-more", {1: 1, 2: mcu, 3: [], 4: None}),
        ("key-fewer", {1: 1, 2: mcu}),
        ("an-array", [1, mcu, []]),
    ):
        yield name, "authority-question", strict_cbor.dumps(fields), Reject.BAD_FIELD
    for name, fields in (
        ("nonce-short", {1: 1, 2: mcu, 3: bytes(15)}),
        ("nonce-null", {1: 1, 2: mcu, 3: None}),
        ("key-more", {1: 1, 2: mcu, 3: bytes(16), 4: None}),
    ):
        yield f"challenge-{name}", "challenge-question", strict_cbor.dumps(fields), Reject.BAD_FIELD
    too_long = bytes(ORDER_BYTES_MAX + 1)
    yield "too-long", "authority-question", too_long, Reject.TOO_LARGE
    yield "challenge-too-long", "challenge-question", too_long, Reject.TOO_LARGE
