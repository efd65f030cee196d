"""An order in words, from the bytes that are signed, in English and Chinese.

Rules (C-08, README §2.14): the car's own strict reader decodes the payload; a field that it or this table
does not know is a refusal, never left out. Each field has one line and two different values never read alike:
instants stand with their seconds, ids in full. The headline says what happens to the car, from the same map.

This module trusts nobody and compares nothing: see `checking`.

Example:
    >>> order = decode(payload)
    >>> headline(order, "en")[:4]
    'LOCK'
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from backend.lender.errors import RefusesError
from backend.lender.output import shown_span, shown_time
from backend.lender.plain import shown
from backend.lender.words import FIELDS, HEADLINES, PRE_FIELDS, TYPE_WORDS
from protocol import orders_payload
from protocol.orders import OrderType
from protocol.orders_vocabulary import CLASS, CLASS_A

SIGNABLE: Final = frozenset(
    {
        *(OrderType.LOCK, OrderType.UNLOCK, OrderType.RENEW, OrderType.CANCEL, OrderType.WARN),
        *(OrderType.QUERY, OrderType.DECOMMISSION, OrderType.TRACE),
    }
)
"""What a lender's officer may sign at all; BIND and BENCH are an installer's."""

_REASON, _WARN, _OVERRIDE = 16, 20, 23
_REASONS = {1: "DEFAULT_PAYMENT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One field as it is shown.

    Attributes:
        key: payload key.
        name: what it is called.
        value: what it says, in words.
    """

    key: int
    name: str
    value: str


def decode(payload: bytes) -> Mapping[int, Any]:
    """Return an order's fields, decoded as the car would.

    Raises:
        RefusesError: the car would not decode it, or this tool cannot show all of it.
    """
    try:
        order, is_known = orders_payload.read_order(payload)
    except ValueError as unknown:
        raise RefusesError(f"the order cannot be decoded, so it cannot be shown: {unknown}") from unknown
    if not is_known or order[3] not in SIGNABLE:
        raise RefusesError(
            f"an order of version {order[1]} and type {order[3]} is none that an officer signs"
        )
    unnamed = set(order) - set(FIELDS)
    if unnamed:
        raise RefusesError(f"this tool has no words for field {min(unnamed)} of the order")
    if order.get(_REASON) not in (None, *_REASONS):
        raise RefusesError(f"reason {order[_REASON]} is none for which a car may be restricted")
    fields: Mapping[int, Any] = order
    return fields


def lines(order: Mapping[int, Any], language: str) -> list[Line]:
    """Return every field of a decoded order, in the order of its keys."""
    return [
        Line(key=key, name=FIELDS[key][language], value=_value(key, order, language)) for key in sorted(order)
    ]


def headline(order: Mapping[int, Any], language: str) -> str:
    """Return one sentence that says what the order does to the car."""
    kind = OrderType(order[3])
    words = {
        "type": TYPE_WORDS[kind][language],
        "hold": shown_span(order.get(15, 0)),
        "until": shown_time(order.get(12)) or "",
        "lead": shown_span(order[_WARN][1]) if _WARN in order else "",
        "window": shown_span(order[_OVERRIDE][2]) if _OVERRIDE in order else "",
    }
    return HEADLINES[kind][language].format(**words)


def is_restricting(order: Mapping[int, Any]) -> bool:
    """Return whether an order restricts (class A)."""
    return bool(CLASS[order[3]] == CLASS_A)


def _value(key: int, order: Mapping[int, Any], language: str) -> str:
    value = order[key]
    if value is None:
        return {"en": "none", "zh": "无"}[language]
    if key in _WAYS:
        return _WAYS[key](value, language)
    return value.hex() if isinstance(value, bytes) else shown(value)


def _type(value: int, language: str) -> str:
    return f"{OrderType(value).name} {TYPE_WORDS[OrderType(value)][language]} ({value})"


def _span(seconds: int) -> str:
    return f"{shown_span(seconds)} ({seconds} s)"


def _instant(value: int, language: str) -> str:
    del language
    return f"{shown_time(value)} ({value})"


def _pre(key: int, value: Any, language: str) -> str:  # noqa: ANN401  # of the form that the strict reader checked
    if key not in PRE_FIELDS:
        raise RefusesError(f"this tool has no words for precondition {key} of the order")
    text = " – ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{PRE_FIELDS[key][language]}: {text}"


_WAYS: Final[Mapping[int, Callable[[Any, str], str]]] = {
    3: _type,
    10: _instant,
    11: _instant,
    12: _instant,
    14: lambda value, _: f"{value} s",
    15: lambda value, _: _span(value),
    16: lambda value, _: f"{_REASONS[value]} ({value})",
    19: lambda value, language: "; ".join(_pre(one, value[one], language) for one in sorted(value)) or "—",
    20: lambda value, _: f"{_span(value[1])}, {value[2]}",
    23: lambda value, _: f"{value[1]}; {_span(value[2])}",
    26: lambda value, _: f"{value[0].hex()}: {value[1]} – {value[2]}, {value[3]}",
}
"""How a field that is no plain number, text or id is shown."""
