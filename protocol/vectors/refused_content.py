"""What must be refused inside a good envelope: altered sections, impossible fields, bombs, foreign keys.

Rules: see `refused`.

Example:
    >>> next(batch_cases())[0]
    'other-device-topic'
"""

from collections.abc import Iterator
from typing import Any, cast

from protocol import codec
from protocol.envelope import Kind, read_sign1, sign1
from protocol.errors import Reject
from protocol.limits import PAYLOAD_BYTES_MAX, SIGN1_BYTES_MAX
from protocol.vectors.forge import flipped
from protocol.vectors.good import good_messages, receipt
from protocol.vectors.keys import published_signer
from protocol.vectors.story import DEVICE, DEVICE_SIGNER, RECEIPT_SIGNER

Case = tuple[str, str, bytes, Reject]
"""Name, reader, message, reason."""


def batch_cases() -> Iterator[Case]:
    """Yield batches whose parts do not belong together, or not to the device."""
    messages = good_messages()
    whole, sign1_bytes = messages["batch/1"], messages["batch/1/sign1"]
    _, sections = _items(whole)
    facts = sections[1]

    def batch(parts: object, head: bytes = sign1_bytes) -> bytes:
        return codec.encode([head, parts])

    yield "other-device-topic", "batch-of-device-2", whole, Reject.WRONG_DEVICE
    yield "section-altered", "batch", batch(sections | {1: flipped(facts, 200)}), Reject.SECTION_HASH
    yield "salt-altered", "batch", batch(sections | {1: flipped(facts, 0)}), Reject.SECTION_HASH
    yield "section-truncated", "batch", batch(sections | {1: facts[:-1]}), Reject.SECTION_HASH
    yield "sections-swapped", "batch", batch({1: sections[2], 2: sections[1]}), Reject.SECTION_HASH
    yield "section-uncommitted", "batch", batch(sections | {4: facts}), Reject.SECTION_HASH
    yield "header-altered", "batch", batch(sections, flipped(sign1_bytes, 8 * 150)), Reject.BAD_SIG
    yield (
        "signed-by-stranger",
        "batch",
        batch({}, sign1(Kind.BATCH, messages["batch/1/header"], published_signer("stranger"))),
        Reject.UNKNOWN_KEY,
    )
    yield "a-receipt-as-header", "batch", batch({}, messages["receipt"]), Reject.UNKNOWN_KEY
    yield "header-not-wrapped", "batch", codec.encode([[0], {}]), Reject.BAD_ENCODING
    yield "a-map", "batch", codec.encode({0: sign1_bytes, 1: {}}), Reject.BAD_ENCODING
    yield "text-section-id", "batch", batch({"facts": facts}), Reject.BAD_ENCODING
    yield "section-not-bytes", "batch", batch({1: "facts"}), Reject.BAD_ENCODING
    yield "seventeen-sections", "batch", batch(dict.fromkeys(range(1, 18), b"")), Reject.BAD_ENCODING
    yield "truncated", "batch", whole[:-1], Reject.BAD_ENCODING
    yield "too-large", "batch", batch({1: bytes(PAYLOAD_BYTES_MAX)}), Reject.TOO_LARGE


def header_cases() -> Iterator[Case]:
    """Yield headers signed well that say what cannot be."""
    first = _members(good_messages()["batch/1/header"])
    second = _members(good_messages()["batch/2/header"])

    def signed(members: dict[int, Any]) -> bytes:
        return codec.encode([sign1(Kind.BATCH, codec.encode(members), DEVICE_SIGNER), {}])

    yield "version-2", "batch", signed(first | {1: 2}), Reject.UNSUPPORTED_VERSION
    for name, members in (
        ("device-short", first | {2: bytes(31)}),
        ("seq-zero", first | {4: 0}),
        ("seq-float", first | {4: 1.0}),
        ("seq-bool", first | {4: True}),
        ("seq-above-limit", second | {4: 2**53}),
        ("first-with-prev", first | {5: bytes(32)}),
        ("second-without-prev", second | {5: None}),
        ("prev-short", second | {5: bytes(31)}),
        ("time-backwards", first | {7: [2, 1]}),
        ("time-negative", first | {7: [-1, 1]}),
        ("clock-without-error", first | {9: [3]}),
        ("counts-missing", {key: first[key] for key in first.keys() - {10}}),
        ("count-negative", first | {10: {1: -1, 2: 0, 3: 0, 4: 0, 5: 0}}),
        ("gaps-33", first | {11: [[bytes(16), 0, None, 1]] * 33}),
        ("loss-reversed", second | {12: [[5, 4, 1]]}),
        ("section-digest-short", first | {19: {1: [bytes(31), 16]}}),
        ("first-without-origin", first | {20: None}),
        ("second-with-origin", second | {20: [1, None]}),
        ("ended-loss-of-own-chain", second | {21: [[second[3], 1, 1, 1]]}),
        ("ended-loss-reversed", second | {21: [[bytes(16), 5, 4, 1]]}),
        ("ended-losses-33", second | {21: [[bytes(16), 1, 1, 1]] * 33}),
    ):
        yield name, "batch", signed(members), Reject.BAD_FIELD
    yield (
        "not-a-map",
        "batch",
        codec.encode([sign1(Kind.BATCH, b"\x80", DEVICE_SIGNER), {}]),
        Reject.BAD_FIELD,
    )
    yield (
        "not-cbor",
        "batch",
        codec.encode([sign1(Kind.BATCH, b"\xff", DEVICE_SIGNER), {}]),
        Reject.BAD_ENCODING,
    )


def section_cases() -> Iterator[Case]:
    """Yield section data that would take too much, or does not fit its own table."""
    # A zstd frame header alone: magic, single segment with an 8-byte content size, and then nothing true.
    bomb = bytes.fromhex("28b52ffde0") + (1 << 40).to_bytes(8, "little")
    sizeless = bytes.fromhex("28b52ffd0058010000")  # an empty raw block, no content size
    table, body = _items(good_messages()["section/signals"])
    precision, rows, columns, frame = _items(good_messages()["section/fixes"])
    yield "facts-bomb", "facts", bomb, Reject.TOO_LARGE
    yield "facts-sizeless", "facts", sizeless, Reject.BAD_ENCODING
    yield "facts-not-zstd", "facts", b"facts", Reject.BAD_ENCODING
    yield "facts-trailing", "facts", good_messages()["section/facts"] + b"\x00", Reject.BAD_ENCODING
    yield "signals-bomb", "signals", codec.encode([[[0, 3, 2, len(bomb)]], bomb]), Reject.TOO_LARGE
    yield "signals-cells", "signals", codec.encode([[[0, 2**23, 512, 0]], b""]), Reject.TOO_LARGE
    yield "signals-table-short", "signals", codec.encode([[], body]), Reject.BAD_FIELD
    yield "signals-rows-wrong", "signals", codec.encode([[[0, 4, 2, len(body)]], body]), Reject.BAD_ENCODING
    yield "signals-columns-513", "signals", codec.encode([[[0, 3, 513, len(body)]], body]), Reject.BAD_FIELD
    yield "signals-body-text", "signals", codec.encode([table, "body"]), Reject.BAD_FIELD
    yield "fixes-rows-wrong", "fixes", codec.encode([precision, rows - 1, columns, frame]), Reject.TOO_LARGE
    yield "fixes-columns-few", "fixes", codec.encode([precision, rows, columns - 1, frame]), Reject.BAD_FIELD


def receipt_cases() -> Iterator[Case]:
    """Yield receipts signed well that say what cannot be."""
    members = _members(good_messages()["receipt/payload"])
    digest = receipt().hash

    def signed(changes: dict[int, Any]) -> bytes:
        return sign1(Kind.RECEIPT, codec.encode(members | changes), RECEIPT_SIGNER)

    yield "version-2", "receipt", signed({1: 2}), Reject.UNSUPPORTED_VERSION
    for name, changes in (
        ("upto-zero-with-hash", {5: 0}),
        ("have-33", {7: [[4, 4, digest]] * 33}),
        ("have-reversed", {7: [[9, 4, digest]]}),
        ("have-without-hash", {7: [[4, 9]]}),
        ("refused-17", {8: [[4, 1]] * 17}),
        ("want-17", {9: [[1, 1]] * 17}),
        ("want-zero", {9: [[0, 1]]}),
        ("issued-null", {10: None}),
        ("answers-short", {11: bytes(15)}),
    ):
        yield name, "receipt", signed(changes), Reject.BAD_FIELD


def other_cases() -> Iterator[Case]:
    """Yield time, proofs, succession and policy from the wrong hand or to the wrong question."""
    messages = good_messages()
    device = bytes.fromhex(DEVICE)
    other = published_signer("device-2")
    enrol = _members(read_sign1(messages["enrol"], max_bytes=SIGN1_BYTES_MAX).payload)
    link = _members(read_sign1(messages["key-succession"], max_bytes=SIGN1_BYTES_MAX).payload)
    policy = _members(messages["policy/payload"])

    def policy_of(changes: dict[int, Any]) -> bytes:
        return sign1(Kind.POLICY, codec.encode(policy | changes), published_signer("policy-1"))

    yield "time-of-another-question", "time-other-nonce", messages["time"], Reject.WRONG_NONCE
    yield (
        "time-request-on-another-topic",
        "time-request-of-device-2",
        messages["time-request"],
        Reject.WRONG_DEVICE,
    )
    yield from standing_cases()
    yield (
        "enrol-under-another-name",
        "enrol",
        sign1(Kind.ENROL, codec.encode(enrol | {2: other.kid}), DEVICE_SIGNER),
        Reject.WRONG_DEVICE,
    )
    yield "enrol-by-another-key", "enrol", sign1(Kind.ENROL, codec.encode(enrol), other), Reject.UNKNOWN_KEY
    yield (
        "enrol-key-malformed",
        "enrol",
        sign1(Kind.ENROL, codec.encode(enrol | {5: bytes(75)}), DEVICE_SIGNER),
        Reject.BAD_FIELD,
    )
    yield (
        "enrol-key-off-curve",
        "enrol",
        sign1(Kind.ENROL, codec.encode(enrol | {5: flipped(enrol[5], 8 * 74)}), DEVICE_SIGNER),
        Reject.BAD_FIELD,
    )
    yield "renew-read-as-enrol", "enrol", messages["renew"], Reject.BAD_FIELD
    yield (
        "renew-by-stranger",
        "renew",
        sign1(
            Kind.RENEW,
            codec.encode({1: 1, 2: device, 3: bytes(32), 4: bytes(16)}),
            published_signer("stranger"),
        ),
        Reject.UNKNOWN_KEY,
    )
    yield (
        "succession-for-policy",
        "key-succession",
        sign1(Kind.KEY_SUCCESSION, codec.encode(link | {2: 2}), RECEIPT_SIGNER),
        Reject.NOT_SUCCESSOR,
    )
    yield (
        "succession-by-its-successor",
        "key-succession",
        sign1(Kind.KEY_SUCCESSION, codec.encode(link), published_signer("receipt-2")),
        Reject.UNKNOWN_KEY,
    )
    yield (
        "policy-by-receipt-key",
        "policy",
        sign1(Kind.POLICY, messages["policy/payload"], RECEIPT_SIGNER),
        Reject.UNKNOWN_KEY,
    )
    yield "policy-cell-too-fine", "policy", policy_of({11: 99}), Reject.BAD_FIELD
    yield "policy-version-2", "policy", policy_of({1: 2}), Reject.UNSUPPORTED_VERSION
    yield "status-not-boolean", "status", codec.encode({1: 1}), Reject.BAD_FIELD


def standing_cases() -> Iterator[Case]:
    """Yield questions for the standing of chains that nobody may ask like this."""
    message = good_messages()["standing-request"]
    members = _members(read_sign1(message, max_bytes=SIGN1_BYTES_MAX).payload)

    def signed(changes: dict[int, Any], kind: Kind = Kind.STANDING_REQUEST) -> bytes:
        return sign1(kind, codec.encode(members | changes), DEVICE_SIGNER)

    reader = "standing-request"
    yield "standing-on-another-topic", "standing-request-of-device-2", message, Reject.WRONG_DEVICE
    yield "standing-signed-as-time-request", reader, signed({}, Kind.TIME_REQUEST), Reject.BAD_SIG
    yield "standing-read-as-time-request", "time-request", message, Reject.BAD_SIG
    yield "standing-version-2", reader, signed({1: 2}), Reject.UNSUPPORTED_VERSION
    yield "standing-nonce-short", reader, signed({3: bytes(15)}), Reject.BAD_FIELD
    yield "standing-chains-33", reader, signed({4: [[bytes(16), 1]] * 33}), Reject.BAD_FIELD
    yield "standing-chain-short", reader, signed({4: [[bytes(15), 1]]}), Reject.BAD_FIELD
    yield "standing-seq-negative", reader, signed({4: [[bytes(16), -1]]}), Reject.BAD_FIELD


def _members(data: bytes) -> dict[int, Any]:
    """Return a good message's map, to be changed by one member."""
    return cast("dict[int, Any]", codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX))


def _items(data: bytes) -> list[Any]:
    """Return a good message's array, to be changed by one item."""
    return cast("list[Any]", codec.decode(data, max_bytes=PAYLOAD_BYTES_MAX))
