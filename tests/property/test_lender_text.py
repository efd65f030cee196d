"""What an officer is shown: payloads that differ are never shown alike, nothing is shown by halves."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.lender.errors import RefusesError
from backend.lender.order_text import SIGNABLE, decode, headline, lines
from backend.lender.plain import shown
from backend.lender.words import FIELDS, HEADLINES, LANGUAGES, PRE_FIELDS, STATES, TYPE_WORDS
from protocol import strict_cbor
from protocol.orders import OrderType, State
from protocol.orders_forms import ORDER_KEYS
from protocol.vectors.orders_good import administering, releasing, restricting

GOOD: Mapping[OrderType, dict[int, Any]] = {
    **{kind: restricting(kind) for kind in (OrderType.LOCK, OrderType.RENEW, OrderType.WARN)},
    **{kind: releasing(kind) for kind in (OrderType.UNLOCK, OrderType.CANCEL, OrderType.DECOMMISSION)},
    **{kind: administering(kind) for kind in (OrderType.QUERY, OrderType.TRACE)},
}
VALUES = st.one_of(
    st.none(),
    st.integers(min_value=0, max_value=(1 << 53) - 1),
    st.binary(min_size=0, max_size=40),
    st.text(max_size=6),
    st.dictionaries(
        st.integers(min_value=1, max_value=9), st.integers(min_value=0, max_value=700_000), max_size=3
    ),
)


def _shown(payload: bytes, language: str) -> tuple[tuple[int, str], ...] | None:
    """Return key and value of each line, or None for a refusal."""
    try:
        order = decode(payload)
    except RefusesError:
        return None
    assert headline(order, language)
    return tuple((line.key, line.value) for line in lines(order, language))


@given(
    kind=st.sampled_from(sorted(GOOD)),
    key=st.integers(min_value=1, max_value=30),
    value=VALUES,
    language=st.sampled_from(LANGUAGES),
)
def test_any_other_field_is_shown_otherwise_or_refused(
    kind: OrderType, key: int, value: object, language: str
) -> None:
    good = GOOD[kind]
    payload, other = (bytes(strict_cbor.dumps(one)) for one in (good, good | {key: value}))
    if other != payload:
        assert _shown(other, language) != _shown(payload, language)


@given(
    kind=st.sampled_from(sorted(GOOD)), at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7)
)
def test_any_flipped_bit_is_shown_or_refused(kind: OrderType, at: int, bit: int) -> None:
    payload = bytes(strict_cbor.dumps(GOOD[kind]))
    changed = bytearray(payload)
    changed[at % len(payload)] ^= 1 << bit
    assert _shown(bytes(changed), "en") != _shown(payload, "en")


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_every_field_of_every_type_has_its_line_in_both_languages(kind: OrderType) -> None:
    order = decode(bytes(strict_cbor.dumps(GOOD[kind])))
    for language in LANGUAGES:
        assert [line.key for line in lines(order, language)] == sorted(ORDER_KEYS[kind])
        assert all(line.name and line.value for line in lines(order, language))


def test_the_words_are_whole() -> None:
    assert set(HEADLINES) == SIGNABLE == set(TYPE_WORDS)
    assert set(STATES) == set(State)
    assert set(PRE_FIELDS) == set(range(1, 9))
    for words in (*FIELDS.values(), *HEADLINES.values(), *STATES.values()):
        assert set(words) == set(LANGUAGES)


@given(st.text())
def test_foreign_text_is_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()
