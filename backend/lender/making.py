"""Payloads of orders: what an officer asks, what the car's signed challenge says, nothing of the server's.

Rules (README §1.5, §1.10): an order that restricts copies epoch, challenge, counter and last order
from the challenge that D1 signed; a release takes POSIX seconds as its counter when that is above the head it
knows, so that it can be written without any network. What was built is read back by the car's reader.

This module asks for no time and no randomness: both are arguments.

Example:
    >>> payload = restricting(ask, car, challenge, lender_id=lender_id, now_s=now)
"""

import hashlib
import secrets
from dataclasses import dataclass, field

from backend.lender.car_word import ACTIVE, MODES, Challenge
from backend.lender.cars import Car
from backend.lender.errors import RefusesError, WrongUsageError
from backend.lender.limits import COUNTER_AHEAD_MAX, LEASE_HOURS_DEFAULT, ORDER_HOURS_MAX
from protocol.limits import CTR_JUMP_MAX
from protocol.orders import OrderType, encode_order
from protocol.orders_forms import ORDER_KEYS

_HOUR_S = 3_600
_DEFAULT_PAYMENT = 1
_UUID_VERSION, _UUID_VARIANT = 0x70, 0x80
NEW_ID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a maker asks of a restricting order.

    Attributes:
        type: LOCK, RENEW or WARN.
        basis: bytes of the basis bundle.
        episode: 16 bytes, of the notices.
        order_hours: life of the order.
        lease_hours: of LOCK and RENEW.
        not_before_s: None for at once.
        warn_lead_s, warn_pattern: of LOCK and WARN.
        override_codes, override_hours: of LOCK.
        pre: conditions beyond the car's own floors, payload key 19.
    """

    type: OrderType
    basis: bytes
    episode: bytes
    order_hours: int = ORDER_HOURS_MAX
    lease_hours: int = LEASE_HOURS_DEFAULT
    not_before_s: int | None = None
    warn_lead_s: int = 72 * _HOUR_S
    warn_pattern: int = 1
    override_codes: int = 3
    override_hours: int = 48
    pre: dict[int, object] = field(default_factory=lambda: {1: 0})


def restricting(
    ask: Ask, car: Car, challenge: Challenge, *, lender_id: bytes, now_s: int, used: int = 0
) -> bytes:
    """Return the payload of a LOCK, RENEW or WARN.

    Raises:
        RefusesError: the car is not active, or its pack is another.
        WrongUsageError: beyond the rules of the form.
    """
    if challenge.mode != ACTIVE:
        raise RefusesError(
            f"the car says {MODES[challenge.mode]}: it accepts no restricting order now",
            next_step="see why with `tbox lender status`; a car on MONITOR needs service",
        )
    if challenge.pack is not None and challenge.pack[0] != car.jur:
        raise RefusesError(f"the car runs the pack {challenge.pack[0]}, this machine pins {car.jur}")
    if not 0 < ask.order_hours <= ORDER_HOURS_MAX:
        raise WrongUsageError(f"an order lives 1 to {ORDER_HOURS_MAX} hours")
    if used - challenge.heads[0] >= COUNTER_AHEAD_MAX:
        raise RefusesError("the server claims counters in use far beyond the one that the car signed")
    counter = max(challenge.heads[0], used) + 1
    fields = _common(ask.type, car, challenge.epoch, counter, lender_id, now_s) | {
        11: now_s if ask.not_before_s is None else ask.not_before_s,
        12: now_s + ask.order_hours * _HOUR_S,
        13: challenge.chal,
        14: challenge.tick_s + ask.order_hours * _HOUR_S,
        15: ask.lease_hours * _HOUR_S,
        16: _DEFAULT_PAYMENT,
        17: hashlib.sha256(ask.basis).digest(),
        18: car.jur,
        19: ask.pre,
        20: {1: ask.warn_lead_s, 2: ask.warn_pattern},
        21: challenge.prev,
        22: None,
        23: {1: ask.override_codes, 2: ask.override_hours * _HOUR_S},
        24: ask.episode,
    }
    return _encoded(fields, ask.type)


def releasing(
    kind: OrderType,
    car: Car,
    *,
    epoch: bytes,
    head: int,
    lender_id: bytes,
    now_s: int,
    cancels: bytes | None = None,
) -> bytes:
    """Return the payload of an UNLOCK, CANCEL or DECOMMISSION.

    Args:
        kind: which.
        car: pinned.
        epoch: the car's newest known.
        head: highest counter of this class known: by the car's word, or used on this machine.
        lender_id: 8 bytes.
        now_s: POSIX seconds.
        cancels: cmd_id of the order that a CANCEL takes back; None for whichever is open.
    """
    counter = max(now_s, head + 1)
    if counter - head > CTR_JUMP_MAX:
        raise RefusesError(
            "this machine's clock is so far ahead that the car would refuse the order's counter",
            next_step="set the clock",
        )
    fields = _common(kind, car, epoch, counter, lender_id, now_s) | {
        12: None,
        13: None,
        14: None,
        22: cancels,
    }
    return _encoded(fields, kind)


def new_order_id(now_ms: int) -> bytes:
    """Return a UUIDv7: sortable by time, unique by 74 random bits.

    Source: RFC 9562 §5.7.
    """
    tail = bytearray(secrets.token_bytes(10))
    tail[0] = _UUID_VERSION | tail[0] & 0x0F
    tail[2] = _UUID_VARIANT | tail[2] & 0x3F
    return now_ms.to_bytes(6, "big") + bytes(tail)


def _common(
    kind: OrderType, car: Car, epoch: bytes, counter: int, lender_id: bytes, now_s: int
) -> dict[int, object]:
    return {
        1: 1,
        2: new_order_id(now_s * 1_000),
        3: int(kind),
        4: lender_id,
        5: car.mcu_id,
        6: car.vin_bind,
        7: car.contract_ref,
        8: epoch,
        9: counter,
        10: now_s,
    }


def _encoded(fields: dict[int, object], kind: OrderType) -> bytes:
    try:
        return encode_order({key: fields[key] for key in ORDER_KEYS[kind]})
    except ValueError as wrong:
        raise WrongUsageError(f"the car would not decode this order: {wrong}") from wrong
