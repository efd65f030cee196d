"""Making orders and reading dispositions: nothing is signed that the car would not read (C-08)."""

import hashlib

import pytest

from protocol import orders_forms, orders_payload, strict_cbor
from protocol.dispositions import follows, open_disposition
from protocol.envelope import Kind
from protocol.errors import ProtocolError, Reject
from protocol.orders import (
    Code,
    OrderType,
    State,
    check_signature,
    cmd_hash,
    encode_order,
    sign_document,
    sign_order,
)
from protocol.vectors.forge import forge
from protocol.vectors.keys import published_lookup, published_signer
from protocol.vectors.orders_good import (
    administering,
    commissioning,
    disposition_fields,
    good_documents,
    good_orders,
    releasing,
    restricting,
    ticket,
)
from protocol.vectors.orders_story import MCU

KEYS = published_lookup("mcu-1")
GOOD = {
    OrderType.LOCK: restricting(OrderType.LOCK),
    OrderType.RENEW: restricting(OrderType.RENEW),
    OrderType.WARN: restricting(OrderType.WARN),
    OrderType.UNLOCK: releasing(OrderType.UNLOCK),
    OrderType.CANCEL: releasing(OrderType.CANCEL),
    OrderType.DECOMMISSION: releasing(OrderType.DECOMMISSION),
    OrderType.QUERY: administering(OrderType.QUERY),
    OrderType.TRACE: administering(OrderType.TRACE),
    OrderType.BIND: commissioning(OrderType.BIND, None),
    OrderType.BENCH: commissioning(OrderType.BENCH, ticket()),
}


@pytest.mark.parametrize("order_type", OrderType, ids=lambda order_type: order_type.name)
def test_an_order_has_exactly_the_keys_of_its_type(order_type: OrderType) -> None:
    order = GOOD[order_type]
    assert set(order) == set(orders_forms.ORDER_KEYS[order_type])
    assert strict_cbor.loads(encode_order(order)) == order
    for key in order:
        with pytest.raises(orders_payload.FieldError):
            encode_order({other: value for other, value in order.items() if other != key})
    for key in set(range(1, 30)) - set(order):
        with pytest.raises(orders_payload.FieldError):
            encode_order(order | {key: None})


@pytest.mark.parametrize("order_type", OrderType, ids=lambda order_type: order_type.name)
def test_no_field_takes_a_value_of_another_type(order_type: OrderType) -> None:
    wrong = (True, -1, "text", b"bytes", [], {}, [[]], {99: 0})
    for key in GOOD[order_type]:
        form = orders_payload.order_form(order_type, key)
        refused = [value for value in wrong if not orders_payload.fits(value, form)]
        assert len(refused) >= len(wrong) - 1, key
        for value in refused:
            with pytest.raises(ValueError, match=r".*"):
                encode_order(GOOD[order_type] | {key: value})


def test_an_order_of_another_version_or_type_is_not_signed() -> None:
    for change in ({1: 2}, {3: 6}, {3: 7}, {3: 10}, {3: 14}):
        with pytest.raises(ValueError, match="no order of this version"):
            encode_order(GOOD[OrderType.UNLOCK] | change)


def test_a_trace_of_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(orders_payload.FieldError):
        encode_order(GOOD[OrderType.TRACE] | {26: [bytes(16), 9, 4, 4]})


def test_the_name_of_an_order_is_the_hash_of_its_payload() -> None:
    payload = encode_order(GOOD[OrderType.LOCK])
    assert cmd_hash(payload) == hashlib.sha256(payload).digest()


def test_an_order_without_signatures_is_not_assembled() -> None:
    with pytest.raises(ValueError, match="NOT_COSE_SIGN"):
        sign_order(GOOD[OrderType.UNLOCK])


def test_a_lock_fits_the_buffer_of_the_reference() -> None:
    """command-authority §4.3: some 830 B before key 24, at most 2,048 B."""
    assert len(good_orders()["lock"][0]) < 1_000


def test_the_check_of_a_signature_answers_as_the_microcontroller_does() -> None:
    key = published_signer("maker-1")
    numbers = key.public_key.public_numbers()
    xy = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    digest = hashlib.sha256(b"order").digest()
    good = key.sign(b"order")
    assert check_signature(xy, digest, good) == "OK"
    assert check_signature(xy, bytes(32), good) == "BAD_SIG"
    assert check_signature(xy, digest, bytes(64)) == "BAD_SIG"
    assert check_signature(bytes(64), digest, good) == "BAD_KEY"
    s = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 - int.from_bytes(good[32:], "big")
    assert check_signature(xy, digest, good[:32] + s.to_bytes(32, "big")) == "HIGH_S"


# --- Dispositions


def test_a_disposition_says_what_the_car_saw() -> None:
    found = open_disposition(good_documents()["disposition"], KEYS)
    assert (found.state, found.code, found.sequence) == (State.ACCEPTED_PENDING, Code.OK, 2)
    assert (found.relay_commanded, found.relay_sensed, found.is_demo) == (False, False, True)
    assert [source.name for source in found.sources] == ["ignition", "gnss"]
    assert found.sources[1].value is None


def test_a_chain_of_dispositions_follows_by_hash_and_number() -> None:
    first = sign_document(Kind.DISPOSITION, disposition_fields() | {7: 1, 8: None}, MCU)
    fields = disposition_fields() | {7: 2, 8: hashlib.sha256(first).digest()}
    second = open_disposition(sign_document(Kind.DISPOSITION, fields, MCU), KEYS)
    opened = open_disposition(first, KEYS)
    assert follows(opened, None)
    assert follows(second, opened)
    assert not follows(second, None)
    assert not follows(opened, second)
    gap = open_disposition(sign_document(Kind.DISPOSITION, fields | {7: 3}, MCU), KEYS)
    assert not follows(gap, opened)
    other = open_disposition(sign_document(Kind.DISPOSITION, fields | {8: bytes(32)}, MCU), KEYS)
    assert not follows(other, opened)


@pytest.mark.parametrize(
    "change",
    [{21: 0}, {9: 15}, {10: 39}, {7: 0}, {14: [1, 0]}, {5: bytes(32)}],
    ids=["unknown-key", "state", "code", "sequence-0", "relay", "another-device"],
)
def test_a_disposition_that_is_not_of_its_form_is_refused(change: dict[int, object]) -> None:
    payload = strict_cbor.dumps(disposition_fields() | change)
    with pytest.raises(ProtocolError) as refused:
        open_disposition(forge(Kind.DISPOSITION, payload, MCU), KEYS)
    assert refused.value.code is Reject.BAD_FIELD


def test_a_disposition_by_another_key_or_of_another_kind_is_refused() -> None:
    stranger = published_signer("stranger")
    with pytest.raises(ProtocolError) as refused:
        open_disposition(sign_document(Kind.DISPOSITION, disposition_fields(), stranger), KEYS)
    assert refused.value.code is Reject.UNKNOWN_KEY
    with pytest.raises(ProtocolError) as refused:
        open_disposition(forge(Kind.GO, strict_cbor.dumps(disposition_fields()), MCU), KEYS)
    assert refused.value.code is Reject.BAD_SIG
