"""The containers of orders and the forms of their fields: what is one, and every near miss (C-08, C-09)."""

from typing import Any

import pytest

from protocol import cose_sign, orders_payload, strict_cbor
from protocol.orders import OrderType, encode_order
from protocol.vectors.orders_good import administering, good_documents, good_orders
from protocol.vectors.orders_story import ATTESTATION, LOG_REF

KID, HASH = bytes(32), bytes(range(32))
SIGNER = cose_sign.protected_header(KID, 2, delegation=HASH)


def sign(*items: object) -> bytes:
    return bytes(cose_sign.TAG_SIGN + strict_cbor.dumps(list(items)))


def sign1(*items: object) -> bytes:
    return bytes(cose_sign.TAG_SIGN1 + strict_cbor.dumps(list(items)))


ONE = [[SIGNER, {}, bytes(64)]]
SIGN1 = strict_cbor.dumps({1: -9, 4: KID})


@pytest.mark.parametrize("count", range(1, 9))
def test_one_to_eight_signatures_are_a_cose_sign(count: int) -> None:
    payload, signers = cose_sign.read_sign(sign(cose_sign.BODY, {}, b"payload", ONE * count))
    assert (payload, len(signers)) == (b"payload", count)
    assert signers[0].delegation == HASH
    assert signers[0].log_ref is None


def test_a_message_has_at_most_2048_bytes_with_its_tag() -> None:
    for made, read in (
        (lambda n: sign(cose_sign.BODY, {}, bytes(n), ONE), cose_sign.read_sign),
        (lambda n: sign1(SIGN1, {}, bytes(n), bytes(64)), cose_sign.read_sign1),
    ):
        room = strict_cbor.MAX_LEN - len(made(1_000)) + 1_000
        assert len(made(room)) == strict_cbor.MAX_LEN
        read(made(room))
        for more in (1, 2, 3):
            with pytest.raises(strict_cbor.CBORError):
                read(made(room + more))


@pytest.mark.parametrize(
    "message",
    [
        cose_sign.TAG_SIGN + b"\x00",
        cose_sign.TAG_SIGN + b"\xa0",
        cose_sign.TAG_SIGN + b"\x43abc",
        sign(),
        sign(cose_sign.BODY, {}, b"payload"),
        sign(cose_sign.BODY, {}, b"payload", ONE, None),
        sign(b"\xa0", {}, b"payload", ONE),
        sign(cose_sign.BODY, [], b"payload", ONE),
        sign(cose_sign.BODY, {1: 0}, b"payload", ONE),
        sign(cose_sign.BODY, {}, "payload", ONE),
        sign(cose_sign.BODY, {}, b"payload", {}),
        sign(cose_sign.BODY, {}, b"payload", b"signature"),
        sign(cose_sign.BODY, {}, b"payload", []),
        sign(cose_sign.BODY, {}, b"payload", ONE * 9),
        sign(cose_sign.BODY, {}, b"payload", [b"signature"]),
        sign(cose_sign.BODY, {}, b"payload", [[SIGNER, {}]]),
        sign(cose_sign.BODY, {}, b"payload", [[SIGNER, {}, bytes(64), None]]),
        sign(cose_sign.BODY, {}, b"payload", [[SIGNER, {4: b""}, bytes(64)]]),
        sign(cose_sign.BODY, {}, b"payload", [["text", {}, bytes(64)]]),
        sign(cose_sign.BODY, {}, b"payload", [[SIGNER, {}, bytes(65)]]),
        sign(cose_sign.BODY, {}, b"payload", [[SIGNER, {}, "0" * 64]]),
        sign1(cose_sign.BODY, {}, b"payload", bytes(64)),
        b"",
    ],
)
def test_anything_else_is_no_cose_sign(message: bytes) -> None:
    with pytest.raises(cose_sign.CoseError):
        cose_sign.read_sign(message)


GOOD1 = strict_cbor.dumps({1: -9, 4: KID})


def test_a_cose_sign1_gives_kid_header_payload_and_signature() -> None:
    assert cose_sign.read_sign1(sign1(GOOD1, {}, b"payload", bytes(64))) == (
        KID,
        GOOD1,
        b"payload",
        bytes(64),
    )


@pytest.mark.parametrize(
    "message",
    [
        b"",
        cose_sign.TAG_SIGN1 + b"\x00",
        cose_sign.TAG_SIGN1 + b"\xa4\x01\x01\x02\x02\x03\x03\x04\x04",
        sign1(),
        sign1(GOOD1, {}, b"payload"),
        sign1(GOOD1, {}, b"payload", bytes(64), None),
        sign1(GOOD1, {4: KID}, b"payload", bytes(64)),
        sign1(GOOD1, [], b"payload", bytes(64)),
        sign1(GOOD1, {}, None, bytes(64)),
        sign1(GOOD1, {}, "payload", bytes(64)),
        sign1(GOOD1, {}, b"payload", bytes(63)),
        sign1(GOOD1, {}, b"payload", "0" * 64),
        sign1(GOOD1.decode("latin-1"), {}, b"payload", bytes(64)),
        sign1(strict_cbor.dumps({1: -7, 4: KID}), {}, b"payload", bytes(64)),
        sign1(strict_cbor.dumps({1: -9, 4: KID[:31]}), {}, b"payload", bytes(64)),
        sign1(strict_cbor.dumps({1: -9, 4: KID, 5: 0}), {}, b"payload", bytes(64)),
        sign1(GOOD1 + b"\x00", {}, b"payload", bytes(64)),
        sign1(GOOD1[:-1], {}, b"payload", bytes(64)),
        sign1(b"\x00" * 38, {}, b"payload", bytes(64)),
        sign(GOOD1, {}, b"payload", bytes(64)),
    ],
)
def test_anything_else_is_no_cose_sign1(message: bytes) -> None:
    with pytest.raises(cose_sign.CoseError):
        cose_sign.read_sign1(message)


def header(**changes: Any) -> bytes:
    named = {"kid": KID, "role": 4, "delegation": HASH, "log_ref": list(LOG_REF)}
    attestation = [ATTESTATION[0], list(ATTESTATION[1]), ATTESTATION[2]]
    return bytes(cose_sign.protected_header(**(named | {"attestation": attestation} | changes)))


COUNT_MAX = 2**53 - 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"log_ref": ["o", 0, 1, HASH]},
        {"log_ref": ["o" * 256, COUNT_MAX - 1, COUNT_MAX, HASH]},
        {"attestation": [0, [], 0]},
        {"attestation": [COUNT_MAX, [COUNT_MAX], COUNT_MAX]},
        {"log_ref": None, "attestation": None},
        {"role": 0},
        {"role": 8},
    ],
)
def test_a_signer_header_may_say(changes: dict[str, Any]) -> None:
    assert cose_sign.Signer(header(**changes), bytes(64)).kid == KID


@pytest.mark.parametrize(
    "changes",
    [
        {"role": 9},
        {"role": -1},
        {"role": True},
        {"kid": bytes(33)},
        {"kid": "0" * 32},
        {"delegation": bytes(31)},
        {"delegation": "0" * 32},
        {"attestation": None},
        {"log_ref": None},
        {"log_ref": {}},
        {"log_ref": ["o", 0, 1]},
        {"log_ref": ["", 0, 1, HASH]},
        {"log_ref": ["o" * 257, 0, 1, HASH]},
        {"log_ref": [b"o", 0, 1, HASH]},
        {"log_ref": ["o", 1, 1, HASH]},
        {"log_ref": ["o", -1, 1, HASH]},
        {"log_ref": ["o", 0, COUNT_MAX + 1, HASH]},
        {"log_ref": ["o", 0, 1, HASH[:31]]},
        {"attestation": {}},
        {"attestation": [0, []]},
        {"attestation": [0, {}, 0]},
        {"attestation": [0, [-1], 0]},
        {"attestation": [0, ["rule"], 0]},
        {"attestation": [COUNT_MAX + 1, [], 0]},
        {"attestation": [0, [], COUNT_MAX + 1]},
        {"attestation": [False, [], 0]},
    ],
)
def test_a_signer_header_may_not_say(changes: dict[str, Any]) -> None:
    with pytest.raises(cose_sign.CoseError):
        cose_sign.Signer(header(**changes), bytes(64))


@pytest.mark.parametrize("encoded", [b"\x00", b"\x80", b"\xa0", b"\x43abc"])
def test_a_signer_header_is_a_map_with_an_algorithm(encoded: bytes) -> None:
    with pytest.raises(cose_sign.CoseError):
        cose_sign.Signer(encoded, bytes(64))


def test_a_key_has_one_form() -> None:
    good = cose_sign._KEY_HEAD + HASH + cose_sign._KEY_MIDDLE + KID
    assert cose_sign.key_xy(good) == HASH + KID
    for wrong in (
        good[:-1],
        good + b"\x00",
        b"\x00" + good[1:],
        good[:40] + b"\x00" + good[41:],
        "0" * 75,
        None,
    ):
        with pytest.raises(cose_sign.CoseError):
            cose_sign.key_xy(wrong)


def test_what_is_signed_is_the_structure_of_the_standard() -> None:
    """RFC 9052 §4.4: context, body header, signer's header, external_aad, payload."""
    assert strict_cbor.loads(cose_sign.sig_structure("command", b"payload", SIGNER)) == [
        "Signature", b"\xa1\x03\x18\x3c", SIGNER, b"tbox/command/1", b"payload",
    ]  # fmt: skip


def test_a_message_is_read_from_a_view_of_its_buffer_as_well() -> None:
    order, go = good_orders()["lock"][0], good_documents()["go"]
    assert cose_sign.read_sign(memoryview(bytearray(order)))[0] == cose_sign.read_sign(order)[0]
    assert cose_sign.read_sign1(memoryview(bytearray(go))) == cose_sign.read_sign1(go)


# --- Forms of fields


@pytest.mark.parametrize("data", [b"\x00", b"\x80", b"\x60", b"\xf6"])
def test_a_payload_is_a_map(data: bytes) -> None:
    with pytest.raises(orders_payload.FieldError):
        orders_payload.read_order(data)
    with pytest.raises(orders_payload.FieldError):
        orders_payload.read_document("go", data)


@pytest.mark.parametrize(
    ("form", "fitting", "other"),
    [
        (("uint", 0, 1), [0, 1], [2, -1, True, False, None, "0", b"0", []]),
        (("int", -1, 1), [-1, 1], [-2, 2, False, None]),
        (("bytes", 1, 2), [b"a", b"ab"], [b"", b"abc", "a", None, [1]]),
        (("text", 1, 2), ["a", "ü"], ["", "abc", "üü", b"a", None]),
        (("bool",), [True, False], [0, 1, None]),
        (("null",), [None], [0, False, b"", []]),
        (("or", ("null",), ("uint", 1, 1)), [None, 1], [0, False]),
        (
            ("tuple", ("uint", 0, 1), ("null",)),
            [[0, None]],
            [[0], [0, None, None], [None, 0], {0: None}, b"ab"],
        ),
        (("list", ("uint", 0, 1), 1, 2), [[0], [0, 1]], [[], [0, 1, 0], [2], {0: 0}, b"\x00"]),
        (
            ("map", {1: ("null",), 2: ("null",)}),
            [{1: None, 2: None}],
            [{1: None}, {1: None, 3: None}, {}, [], 1],
        ),
        (("some", {1: ("null",), 2: ("null",)}), [{}, {2: None}], [{3: None}, {1: 1}, [], None]),
    ],
    ids=lambda form: str(form[0]) if isinstance(form, tuple) else "",
)
def test_a_form_fits_what_it_names_and_nothing_else(form: Any, fitting: list[Any], other: list[Any]) -> None:
    assert all(orders_payload.fits(value, form) for value in fitting)
    assert not [value for value in other if orders_payload.fits(value, form)]


def test_a_trace_of_one_batch_is_a_range() -> None:
    order = administering(OrderType.TRACE) | {26: [bytes(16), 4, 4, 1]}
    assert encode_order(order)
