"""One bit, one byte, one signature: no damaged order is ever taken for what was signed (C-01, C-08, C-09)."""

import itertools
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import cose_sign, orders_reader, strict_cbor
from protocol.orders import OrderType, check_signature
from protocol.orders_vocabulary import CLASS, CLASS_A, SIGNERS
from protocol.vectors.forge import flipped
from protocol.vectors.orders_good import (
    CHAL2,
    CHAL2_TICK_S,
    administering,
    good_documents,
    good_orders,
    lock_hash,
    releasing,
    restricting,
)
from protocol.vectors.orders_story import signer
from tests.builders.micropython import run_micropython
from tests.builders.order_vectors import PROGRAM, lines_for, world
from tests.builders.orders import accept, answer, device

NAMES = ("lock", "unlock/ombuds", "decommission/maker", "bind/ticket", "bench", "trace")


def the_device(name: str) -> object:
    return device(good_orders()[name][1])


@pytest.mark.parametrize("name", NAMES)
def test_no_single_flipped_bit_of_an_order_gets_a_signed_answer(name: str) -> None:
    message, at = good_orders()[name][0], the_device(name)
    assert answer(message, at) == ("ACCEPT", "OK")
    for bit in range(8 * len(message)):
        outcome, code = answer(flipped(message, bit), at)
        assert outcome == "LINK", (bit, code)


def test_micropython_refuses_flipped_bits_as_well() -> None:
    message = good_orders()["lock"][0]
    messages = [
        {"reader": "order", "changes": {}, "hex": flipped(message, bit).hex()}
        for bit in range(0, 8 * len(message), 67)
    ]
    answers = run_micropython(PROGRAM, lines_for(world(), messages))
    assert len(answers) == len(messages) > 100
    assert {line.split()[0] for line in answers} == {"LINK"}


@pytest.mark.parametrize("name", NAMES)
def test_an_order_cut_or_prolonged_is_refused(name: str) -> None:
    message, at = good_orders()[name][0], the_device(name)
    for size in range(len(message)):
        assert answer(message[:size], at) == ("LINK", "BAD_ENCODING")
    for extra in range(256):
        assert answer(message + bytes([extra]), at) == ("LINK", "BAD_ENCODING")


def test_no_single_flipped_bit_of_a_go_token_arms() -> None:
    message, at = good_documents()["go"], device()
    for bit in range(8 * len(message)):
        at.signatures_left = 1
        code, token = orders_reader.read_go(
            flipped(message, bit), at, lock_hash(), CHAL2, CHAL2_TICK_S, check_signature
        )
        assert code != "OK"
        assert token is None


@pytest.mark.parametrize("name", good_orders())
def test_an_accepted_order_sent_again_changes_nothing(name: str) -> None:
    """Known it is a repeat; forgotten, its counter is old; nothing acts (README §2.9)."""
    message, changes = good_orders()[name]
    at = device(changes)
    read = orders_reader.read_order(message, at, check_signature)
    assert read.outcome == "ACCEPT"
    accept(read, at)
    assert answer(message, at) == ("REPEAT", "DUPLICATE")
    at.done.clear()
    outcome, code = answer(message, at)
    assert (outcome, code) == ("REJECT", "REPLAY_CTR")


def test_reading_changes_nothing_but_the_signatures_left() -> None:
    at = device()
    before = {key: repr(value) for key, value in vars(at).items() if key != "signatures_left"}
    for message, _ in good_orders().values():
        answer(message, at)
    assert {key: repr(value) for key, value in vars(at).items() if key != "signatures_left"} == before


def test_signatures_are_counted_before_any_is_checked() -> None:
    at, calls = device(), []

    def count(*arguments: object) -> str:
        calls.append(arguments)
        return "BAD_SIG"

    for _ in range(20):
        orders_reader.read_order(good_orders()["lock"][0], at, count)
    assert (len(calls), at.signatures_left) == (5, 1), "one each for five orders of three, then BUSY"


def test_a_busy_reader_checks_nothing() -> None:
    at = device({"signatures_left": 2})
    read = orders_reader.read_order(good_orders()["lock"][0], at, check_signature)
    assert (read.outcome, read.code, at.signatures_left) == ("LINK", "BUSY", 2)


def test_the_watchdog_hook_reaches_every_verification() -> None:
    fed: list[object] = []

    def verify(xy: bytes, digest: bytes, signature: bytes, feed: object) -> str:
        fed.append(feed)
        return check_signature(xy, digest, signature)

    mark = object()
    orders_reader.read_order(good_orders()["lock"][0], device(), verify, mark)
    assert fed == [mark] * 3


def taken_for_good(*_: object) -> str:
    return "OK"


ROLES = ("maker", "checker", "gate", "safety-officer", "ombuds", "installer")
ORDERS = {
    **{t: restricting(t) for t in (OrderType.LOCK, OrderType.RENEW, OrderType.WARN)},
    **{t: releasing(t) for t in (OrderType.UNLOCK, OrderType.CANCEL, OrderType.DECOMMISSION)},
    **{t: administering(t) for t in (OrderType.QUERY, OrderType.TRACE)},
}


@pytest.mark.parametrize("order_type", ORDERS, ids=lambda order_type: order_type.name)
def test_of_all_sets_of_up_to_four_signers_only_the_listed_ones_are_accepted(order_type: OrderType) -> None:
    """The whole space, every signature taken for good: the set alone decides (C-02, C-09)."""
    payload = bytes(strict_cbor.dumps(ORDERS[order_type]))
    at = device()
    accepted = set()
    for count in range(1, 5):
        for names in itertools.combinations_with_replacement(ROLES, count):
            holders = [signer(name, logged=name == "gate" and CLASS[order_type] == CLASS_A) for name in names]
            parts = [
                (
                    cose_sign.protected_header(
                        by.signer.kid, int(by.role), by.delegation, by.log_ref and list(by.log_ref),
                        by.attestation and list(by.attestation),
                    ),
                    bytes(64),
                )
                for by in holders
            ]  # fmt: skip
            at.signatures_left = 16
            read = orders_reader.read_order(cose_sign.write_sign(payload, parts), at, taken_for_good)
            if read.outcome == "ACCEPT":
                accepted.add(tuple(sorted(int(by.role) for by in holders)))
            else:
                assert read.code in {"SIGNER_SET", "BAD_ENCODING"}, (names, read.code)
    assert accepted == set(SIGNERS[order_type])


@given(data=st.binary(max_size=300), place=st.integers(0, 880), size=st.integers(0, 40))
def test_no_bytes_break_the_reader(data: bytes, place: int, size: int) -> None:
    """Garbage, and garbage written over a part of a good order: always an answer, never a signed one."""
    good = good_orders()["lock"][0]
    at = waiting_car()
    for message in (data, cose_sign.TAG_SIGN + data, good[:place] + data[:size] + good[place + size :]):
        if message != good:
            assert answer(message, at)[0] == "LINK"


@cache
def waiting_car() -> object:
    return device()
