"""Whatever comes over the link, the brain goes on: no bytes throw, lock, or keep a release from acting."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.mcu import brain as link
from protocol import cose_sign, strict_cbor
from protocol.orders import State
from protocol.vectors.keys import published_signer
from tests.builders.mcu import PARKED_FACTS, Box

NUMBERS = st.one_of(
    st.integers(-2, 20), st.sampled_from([1 << 31, 1 << 40, 1 << 53, 1 << 56, (1 << 64) - 1, -(1 << 63)])
)
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=20), st.binary(max_size=40), st.just(bytes(16))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.integers(0, 26), st.text(max_size=3)), inner, max_size=6),
    ),
    max_leaves=12,
)
KID = published_signer("receipt-1").kid


@st.composite
def containers(draw: st.DrawFn) -> bytes:
    """Return a COSE_Sign1 or COSE_Sign of right form over a payload of any content."""
    payload = strict_cbor.dumps(draw(VALUES))
    signature = draw(st.binary(min_size=64, max_size=64))
    protected = strict_cbor.dumps({1: -9, 4: KID})
    if draw(st.booleans()):
        return cose_sign.TAG_SIGN1 + strict_cbor.dumps([protected, {}, payload, signature])
    header = strict_cbor.dumps(
        {1: -9, 4: KID, -65537: draw(st.integers(0, 9)), -65538: draw(st.just(bytes(32)))}
    )
    return strict_cbor.dumps([protected, {}, payload, [[header, {}, signature]]])


FACTS = st.dictionaries(st.integers(1, 12), VALUES, max_size=5).map(
    lambda wild: strict_cbor.dumps({**PARKED_FACTS, **wild, 9: False})
)
MESSAGES = st.one_of(
    st.tuples(st.just(link.FACTS), FACTS),
    st.tuples(st.integers(0, 255), VALUES.map(strict_cbor.dumps)),
    st.tuples(st.integers(0, 255), st.binary(max_size=80)),
    st.tuples(st.sampled_from([link.ORDER, link.GO, link.TIME]), containers()),
    st.tuples(
        st.just(link.AUTHORITY),
        st.tuples(st.integers(0, 7), containers()).map(lambda pair: strict_cbor.dumps(list(pair))),
    ),
)


def feed(box: Box, messages: list[tuple[int, Any]]) -> None:
    box.is_agent_alive = False
    for kind, body in messages:
        box.receive(kind, body)
        box.board.now_ms += 1_000
        box.brain.step()
        box.collect()


@pytest.mark.parametrize(
    "make", [Box, Box.bound, Box.armed, Box.locked], ids=["empty", "bound", "armed", "locked"]
)
@settings(max_examples=15, deadline=None)
@given(messages=st.lists(MESSAGES, min_size=5, max_size=40))
def test_no_message_throws_or_locks_and_a_release_works_afterwards(
    make: Any, messages: list[tuple[int, Any]]
) -> None:
    box = make()
    was = box.state
    feed(box, messages)
    assert box.state is not State.LOCKED or was is State.LOCKED
    if make is not Box:
        box.send_order(box.unlock())
        box.run(20)
        assert box.state is State.NONE


def test_a_time_whose_keys_are_of_two_kinds_is_refused_and_throws_nothing() -> None:
    box = Box.bound()
    payload = strict_cbor.dumps({1: 1, 2: bytes(16), "a": 3})
    protected = strict_cbor.dumps({1: -9, 4: KID})
    box.send(link.TIME, cose_sign.TAG_SIGN1 + strict_cbor.dumps([protected, {}, payload, bytes(64)]))
    assert box.brain.counters["time_bad_encoding"] == 1


def test_the_fullest_record_fits_its_slot() -> None:
    box = Box.locked()
    record = box.brain.record
    longest = max((message for _, message in record.ring), key=len)
    for issuer in ("platform", next(name for name in record.roots if name != "platform")):
        record.roots[issuer].added = [(number, "p" * 32) for number in range(1 << 40, (1 << 40) + 64)]
    record.roots["lender:0000000000000000"] = record.roots["platform"]
    record.ring = [[number, longest + bytes(100)] for number in range(12)]
    record.done = [[bytes([number]) * 16, 14, 0, 1 << 40] for number in range(64)]
    record.open = dict.fromkeys(record.open, record.open[1])
    record.time_keys = [[bytes(75), 1 << 40, bytes(32)]] * 4
    assert box.brain.commit()
