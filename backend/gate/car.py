"""What the car said when it was asked for a challenge, and whether it would accept the order now.

Rules (C-21; §4.4 step 2): the challenge is signed by D1, whose thumbprint is the order's mcu_id; epoch,
counters and `prev` are its. The gate then reads the finished order with the car's own reader, in the state
the challenge describes: what the car would refuse is not signed.

The gate does not know the car's VIN: `vin_bind` is the car's to compare.

Example:
    >>> judge_challenge(order, challenge, mcu_key)
    {1: 1, 2: b'...', ...}
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from backend.gate.authority import AuthorityBook
from backend.gate.rules import No, Rule
from protocol import cose_sign, orders_payload, orders_reader
from protocol.orders import check_signature
from protocol.orders_vocabulary import ACTIVE

_SIGNATURES = 16


def open_by_car(kind: str, data: bytes, mcu_key: bytes, mcu_id: bytes) -> dict[int, Any] | str:
    """Return a document that a car signed, or what is wrong with it.

    Args:
        kind: challenge, go-request, disposition.
        data: the COSE_Sign1.
        mcu_key: COSE_Key of D1, 75 bytes.
        mcu_id: what its thumbprint must be.
    """
    if hashlib.sha256(mcu_key).digest() != mcu_id:
        return "the key is not the car's"
    try:
        kid, protected, payload, signature = cose_sign.read_sign1(data)
        fields: dict[int, Any] = orders_payload.read_document(kind, payload)
        xy = cose_sign.key_xy(mcu_key)
    except ValueError as error:
        return f"{kind}: {error}"
    digest = cose_sign.signed1_digest(kind, payload, protected)
    if kid != mcu_id or check_signature(xy, digest, signature) != "OK":
        return f"{kind}: not signed by the car"
    return fields


def judge_challenge(order: Mapping[int, Any], data: bytes, mcu_key: bytes) -> dict[int, Any] | No:
    """Return a challenge that fits an order, or what speaks against it."""
    found = open_by_car("challenge", data, mcu_key, order[5])
    if isinstance(found, str):
        return No(rule=Rule.CHALLENGE, detail=found)
    if found[2] != order[5] or found[4] != order[13]:
        return No(rule=Rule.CHALLENGE, detail="the order is for another challenge")
    if found[9] != ACTIVE:
        return No(rule=Rule.CAR, detail="the car measures only, or is not bound")
    pack = found[10]
    if pack is not None and pack[0] != order[18]:
        return No(rule=Rule.CAR, detail="the car is registered for another jurisdiction")
    return found


def car_no(
    message: bytes,
    order: Mapping[int, Any],
    challenge: Mapping[int, Any],
    mcu_key: bytes,
    *,
    book: AuthorityBook,
    now_s: int,
) -> No | None:
    """Return why the car would refuse a finished order; None when its reader accepts.

    The order may begin later than now: it is read as the car will read it then, with the delegations of then.
    """
    device = orders_reader.Device(order[5], cose_sign.key_xy(mcu_key))
    device.mode, device.epoch, device.heads = challenge[9], challenge[3], list(challenge[6])
    device.prev, device.chal, device.chal_tick = challenge[7], challenge[4], challenge[5]
    device.tick = challenge[5]
    device.lender_id, device.vin_bind = order[4], order[6]
    device.contract_ref, device.jur = order[7], order[18]
    device.earliest = device.latest = max(now_s, order[11])
    device.roots, device.delegations = book.roots, book.delegations
    device.signatures_left = _SIGNATURES
    answer = orders_reader.read_order(message, device, check_signature)
    if answer.outcome == orders_reader.ACCEPT:
        return None
    return No(rule=Rule.CAR, detail=f"the car would answer {answer.code} {answer.detail}".rstrip())
