"""Delegations, snapshots and revocations in words, from the bytes that are signed.

Rules: every field of the payload has its line; a field without a line would be signed unseen, and a test
looks for one.

Example:
    >>> for name, value in describe("delegation", fields):
    ...     print(name, value)
"""

from collections.abc import Mapping
from typing import Any, assert_never

from backend.lender.output import shown_span, shown_time
from protocol import strict_cbor
from protocol.cose_sign import thumbprint
from protocol.orders import OrderType, Role, SignKind

Lines = list[tuple[str, str]]


def describe(kind: SignKind, fields: Mapping[int, Any]) -> Lines:
    """Return the lines of a document, name and value."""
    match kind:
        case SignKind.DELEGATION:
            return _delegation(fields)
        case SignKind.AUTHORITY:
            return _snapshot(fields)
        case SignKind.COMMAND:
            raise AssertionError("an order is described by `order_text`")
        case _:
            assert_never(kind)


def _delegation(claims: Mapping[int, Any]) -> Lines:
    key = bytes(strict_cbor.dumps(claims[8][1]))
    cohort = claims[-65542]
    return [
        ("issuer", claims[1]),
        ("person", claims[2]),
        ("role", Role(claims[-65537]).name),
        ("key (kid)", thumbprint(key).hex()),
        ("may sign", ", ".join(_type_name(one) for one in claims[-65541])),
        ("from", _time(claims[5])),
        ("until", f"{_time(claims[4])}, after {shown_span(max(0, claims[4] - claims[5]))}"),
        ("orders a day", str(claims[-65543])),
        ("cars", "all of the platform" if cohort is None else f"those bound to the lender ({cohort.hex()})"),
        ("serial", claims[7].hex()),
    ]


def _snapshot(fields: Mapping[int, Any]) -> Lines:
    keys = [thumbprint(key).hex() for key in fields[6]]
    pack, zones = fields[10], fields[11]
    return [
        ("form", f"version {fields[1]}"),
        ("issuer", fields[2]),
        ("number", str(fields[3])),
        ("issued", _time(fields[4])),
        ("expires", _time(fields[5])),
        *((f"root key {number}", kid) for number, kid in enumerate(keys, start=1)),
        ("threshold", f"{fields[7]} of {len(keys)}"),
        ("revoked", ", ".join(map(_entry, fields[8])) or "nobody"),
        ("online key", "none" if fields[9] is None else thumbprint(fields[9]).hex()),
        ("pack", "none" if pack is None else f"{pack[0]} version {pack[1]}, {pack[2].hex()}"),
        ("zones", "none" if zones is None else f"version {zones[0]}, {zones[1].hex()}"),
        ("metadata", fields[12].hex()),
        ("additions taken in", f"up to number {fields[13]}"),
    ]


def _entry(entry: bytes | str) -> str:
    return f"key {entry.hex()}" if isinstance(entry, bytes) else f"person {entry!r}"


def _type_name(number: int) -> str:
    return OrderType(number).name if number in set(OrderType) else f"unknown type {number}"


def _time(instant_s: int) -> str:
    return f"{shown_time(instant_s)} ({instant_s})"
