"""Every order and document of version 1, once, as its signers make it.

Rules: each order is one that the device of `orders_story` accepts, in that state or in the one beside it; the
wrong ones in `orders_refused` are these with one thing changed.

This module writes no file: see `generate`.

Example:
    >>> sorted(good_orders())[:2]
    ['bench', 'bind']
"""

import hashlib
from collections.abc import Mapping
from functools import cache

from protocol.envelope import Kind
from protocol.orders import OrderSigner, OrderType, Role, cmd_hash, encode_order, sign_document, sign_order
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import (
    CHALLENGE,
    CHALLENGE_TICK_S,
    CONTRACT,
    DAY_S,
    EPOCH,
    JURISDICTION,
    LENDER_ID,
    MCU,
    NOW_S,
    PREV,
    TICK_S,
    VIN_BIND,
    digest,
    revocation,
    signer,
)
from protocol.vectors.story import fixed_bytes

CHAL2 = fixed_bytes("go challenge")
CHAL2_TICK_S = TICK_S - 60

COMMISSIONING: Mapping[str, object] = {
    "mode": 0,
    "lender_id": None,
    "vin_bind": None,
    "contract_ref": None,
    "jur": None,
    "heads": [0, 0, 0],
    "prev": bytes(32).hex(),
    "chal_tick": TICK_S - 30,
}
"""What differs in a car that is being fitted."""


def common(order_type: OrderType, ctr: int) -> dict[int, object]:
    """Return the keys that every order has, for the bound car."""
    return {
        1: 1,
        2: fixed_bytes(f"order {order_type.name} {ctr}"),
        3: int(order_type),
        4: LENDER_ID,
        5: MCU.kid,
        6: VIN_BIND,
        7: CONTRACT,
        8: EPOCH,
        9: ctr,
        10: NOW_S - 600,
    }


def restricting(order_type: OrderType, ctr: int = 11) -> dict[int, object]:
    """Return a LOCK, RENEW or WARN that the bound car accepts."""
    fields = common(order_type, ctr) | {
        11: NOW_S - 300,
        12: NOW_S - 600 + DAY_S,
        13: CHALLENGE,
        14: CHALLENGE_TICK_S + DAY_S,
        15: 259_200,
        16: 1,
        17: fixed_bytes("basis", 32),
        18: JURISDICTION,
        19: {1: 0, 2: 600, 3: 600},
        20: {1: 259_200, 2: 1},
        21: PREV,
        22: None,
        23: {1: 3, 2: 86_400},
        24: fixed_bytes("episode"),
    }
    absent = {OrderType.RENEW: (20, 23), OrderType.WARN: (15, 19, 23)}.get(order_type, ())
    return {key: value for key, value in fields.items() if key not in absent}


def releasing(order_type: OrderType, ctr: int = 21) -> dict[int, object]:
    """Return an UNLOCK, CANCEL or DECOMMISSION: nothing in it ever expires."""
    return common(order_type, ctr) | {12: None, 13: None, 14: None, 22: None}


def administering(order_type: OrderType, ctr: int = 31) -> dict[int, object]:
    """Return a QUERY or TRACE, dated by the clock."""
    fields = common(order_type, ctr) | {12: NOW_S + 3_600, 13: None, 14: None}
    if order_type is OrderType.TRACE:
        fields |= {17: fixed_bytes("basis of a trace", 32), 26: [fixed_bytes("chain"), 4, 9, 4]}
    return fields


def commissioning(order_type: OrderType, made_ticket: bytes | None) -> dict[int, object]:
    """Return a BIND or BENCH, bound to the challenge of the car being fitted."""
    life_s = 3_600 if order_type is OrderType.BIND else 120
    fields = common(order_type, 1) | {
        12: NOW_S + life_s,
        13: CHALLENGE,
        14: TICK_S - 30 + life_s,
        25: made_ticket,
    }
    if order_type is OrderType.BIND:
        return fields | {18: JURISDICTION}
    return {key: value for key, value in fields.items() if key not in (4, 6, 7)}


def ticket(**changes: object) -> bytes:
    """Return the gate's ticket for the installer; a change is named by its key, as `key_5=60`."""
    fields: dict[int, object] = {
        1: 1,
        2: MCU.kid,
        3: published_signer("installer-1").kid,
        4: CHALLENGE,
        5: 120,
        6: NOW_S - 30,
        7: digest("gate"),
    }
    fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
    return sign_document(Kind.TICKET, fields, published_signer("gate-1"))


def lock_signers() -> tuple[OrderSigner, OrderSigner, OrderSigner]:
    """Return maker, checker and gate, each with its own key."""
    return signer("maker"), signer("checker"), signer("gate", logged=True)


@cache
def good_orders() -> Mapping[str, tuple[bytes, Mapping[str, object]]]:
    """Return each good order and what differs in the device that accepts it."""
    mcu = OrderSigner(signer=MCU, role=Role.MCU)
    installer, gate = signer("installer"), signer("gate")
    three = lock_signers()
    unlock = releasing(OrderType.UNLOCK)
    bind = commissioning(OrderType.BIND, None)
    ticketed = commissioning(OrderType.BIND, ticket())
    bench = commissioning(OrderType.BENCH, ticket())
    decommission = releasing(OrderType.DECOMMISSION)
    return {
        "lock": (sign_order(restricting(OrderType.LOCK), *three), {}),
        "renew": (sign_order(restricting(OrderType.RENEW), *three), {}),
        "warn": (sign_order(restricting(OrderType.WARN), *three), {}),
        **{
            f"unlock/{name}": (sign_order(unlock, signer(name)), {})
            for name in ("maker", "checker", "gate", "safety-officer", "ombuds")
        },
        "cancel": (sign_order(releasing(OrderType.CANCEL), signer("maker")), {}),
        "decommission/maker": (sign_order(decommission, signer("maker"), gate), {}),
        "decommission/checker": (sign_order(decommission, signer("checker"), gate), {}),
        "query": (sign_order(administering(OrderType.QUERY), signer("ombuds")), {}),
        "trace": (sign_order(administering(OrderType.TRACE), *three[:2]), {}),
        "bind": (sign_order(bind, mcu, installer, gate), COMMISSIONING),
        "bind/ticket": (sign_order(ticketed, mcu, installer), COMMISSIONING),
        "bench": (sign_order(bench, installer), COMMISSIONING),
        "unlock/no-clock": (
            sign_order(unlock, signer("ombuds")),
            {"earliest": None, "latest": None, "mode": 2},
        ),
        "unlock/delegation-over": (sign_order(unlock, signer("checker-over")), {}),
        "query/challenge-without-clock": (
            sign_order(
                administering(OrderType.QUERY) | {13: CHALLENGE, 14: CHALLENGE_TICK_S + 3_600},
                signer("ombuds"),
            ),
            {"earliest": None, "latest": None},
        ),
    }


def lock_hash() -> bytes:
    """Return the cmd_hash of the good LOCK."""
    return cmd_hash(encode_order(restricting(OrderType.LOCK)))


def go_fields() -> dict[int, object]:
    """Return the go token of the good LOCK."""
    return {
        1: 1,
        2: MCU.kid,
        3: lock_hash(),
        4: CHAL2,
        5: 1,
        6: NOW_S,
        7: [4, 21],
        8: fixed_bytes("loan facts", 32),
        9: digest("gate"),
    }


def disposition_fields() -> dict[int, object]:
    """Return the device's answer to the good LOCK: accepted, and why it waits."""
    return {
        1: 1,
        2: fixed_bytes("disposition"),
        3: restricting(OrderType.LOCK)[2],
        4: lock_hash(),
        5: MCU.kid,
        6: EPOCH,
        7: 2,
        8: fixed_bytes("disposition before", 32),
        9: 3,
        10: 0,
        11: TICK_S,
        12: [NOW_S - 2, NOW_S + 2, 5],
        13: [["ignition", 1, 0, 2], ["gnss", None, None, 0]],
        14: [False, False],
        15: [True, True],
        16: None,
        17: [0, 3],
        18: True,
        19: [fixed_bytes("firmware", 32), True],
        20: ["log.example/tbox", 42, fixed_bytes("log root", 32)],
    }


@cache
def good_documents() -> Mapping[str, bytes]:
    """Return what travels beside orders, by kind; roots and delegations stand in `orders_story`."""
    gate = published_signer("gate-1")
    challenge = {
        1: 1,
        2: MCU.kid,
        3: EPOCH,
        4: CHALLENGE,
        5: CHALLENGE_TICK_S,
        6: [10, 20, 30],
        7: PREV,
        8: 0,
        9: 1,
        10: [JURISDICTION, 7, fixed_bytes("pack", 32)],
        11: [3, fixed_bytes("zones", 32)],
        12: fixed_bytes("question"),
    }
    go_request = {1: 1, 2: MCU.kid, 3: lock_hash(), 4: CHAL2, 5: CHAL2_TICK_S}
    return {
        "challenge": sign_document(Kind.CHALLENGE, challenge, MCU),
        "go-request": sign_document(Kind.GO_REQUEST, go_request, MCU),
        "go": sign_document(Kind.GO, go_fields(), gate),
        "ticket": ticket(),
        "revocation": revocation(1, "person maker-1", hashlib.sha256(b"a key").digest()),
        "disposition": sign_document(Kind.DISPOSITION, disposition_fields(), MCU),
    }
