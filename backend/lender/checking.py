"""What a checker's machine verifies before it shows an order for signing: everything, from the signed bytes.

Rules (C-02, C-02a, C-08, C-12, README §2.14): the payload is decoded again by the car's reader; the maker's
part verifies under a delegation that the pinned lender's root signed, for a maker, in force, not revoked, and
of another key and person than the checker's; car, contract and jurisdiction are the pinned ones; challenge,
epoch, counter and last order are what the car's D1 signed; the basis has the hash that the order names and
the loan system's signature. Each failure is one sentence, and nothing of the server's own words is shown.

This module signs nothing and asks nobody.

Example:
    >>> checked = check_order(answer, asked=cmd_id, against=pins, now_s=now)
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from backend.lender import order_text
from backend.lender.basis_text import OpenedBasis, open_basis
from backend.lender.car_word import Challenge, read_challenge
from backend.lender.cars import Car, Cars
from backend.lender.errors import RefusesError
from backend.lender.limits import COUNTER_AHEAD_MAX, ORDER_CLOCK_SLACK_S
from backend.lender.output import shown_time
from backend.lender.plain import shown
from backend.lender.trust import Delegation, Trust
from backend.lender.words import FIELDS
from protocol import cose_sign
from protocol.limits import ORDER_LIFE_S_MAX
from protocol.orders import OrderType, Role, check_signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What this machine holds against the server's word.

    Attributes:
        cars, trust: pinned cars and roots.
        loan_key: the loan system's integration key.
    """

    cars: Cars
    trust: Trust
    loan_key: EllipticCurvePublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """An order as the server offers it, before anything of it is believed.

    Attributes:
        cmd_id: the id that was asked for.
        cmd_hash: hex, as the server states it.
        device: the id under which the server lists it.
        payload: what the maker signed.
        parts: protected header and signature of each signer so far.
        delegations: documents that the parts name, by hash.
        basis: the bundle.
        challenge: the car's signed challenge.
    """

    cmd_id: bytes
    cmd_hash: str
    device: str
    payload: bytes
    parts: Sequence[tuple[bytes, bytes]]
    delegations: Mapping[bytes, bytes]
    basis: bytes
    challenge: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An order of which everything verifies, and what it means.

    Attributes:
        payload: the bytes that will be signed.
        order: its fields.
        car: pinned.
        basis: opened.
        maker: the maker's delegation.
    """

    payload: bytes
    order: Mapping[int, Any]
    car: Car
    basis: OpenedBasis
    maker: Delegation

    @property
    def cmd_id(self) -> bytes:
        """The order's id."""
        return bytes(self.order[2])


def check_order(offered: Offered, pins: Pins, *, now_s: int) -> Checked:
    """Verify an order that waits for a checker.

    Raises:
        RefusesError: the first thing that is not as pinned or signed.
        NotThereError: the car is not pinned.
    """
    order = order_text.decode(offered.payload)
    _check_name(offered, order)
    car = pins.cars.by_mcu(order[5])
    _check_car(offered, order, car, pins.trust)
    _check_time(order, now_s)
    maker = _check_maker(offered, order, pins.trust, now_s)
    if order_text.is_restricting(order):
        pins.trust.require_current(now_s)
        _check_challenge(order, car, read_challenge(offered.challenge, car))
    basis = open_basis(offered.basis, car, pins.loan_key, expected=order[17])
    if order_text.is_restricting(order) and basis.episode != order[24]:
        raise RefusesError("the notices are of another episode than the order names")
    return Checked(payload=offered.payload, order=order, car=car, basis=basis, maker=maker)


def check_pair(maker: Delegation, checker: Delegation) -> None:
    """Refuse to be maker and checker at once (C-02a).

    Raises:
        RefusesError: same key or same person.
    """
    if maker.kid == checker.kid:
        raise RefusesError(
            "the maker signed with this very key; the checker is another person with another key"
        )
    if maker.person == checker.person:
        raise RefusesError(f"the maker is {shown(maker.person)}, and so are you; another person has to check")


def _check_name(offered: Offered, order: Mapping[int, Any]) -> None:
    if order[2] != offered.cmd_id:
        raise RefusesError(f"the server shows the order {order[2].hex()} under the id {offered.cmd_id.hex()}")
    if hashlib.sha256(offered.payload).hexdigest() != offered.cmd_hash:
        raise RefusesError("the server states a cmd_hash that is not of the payload it shows")
    if OrderType(order[3]) not in (OrderType.LOCK, OrderType.RENEW, OrderType.WARN, OrderType.TRACE):
        raise RefusesError(f"{OrderType(order[3]).name} needs no checker: one signature is enough")


def _check_car(offered: Offered, order: Mapping[int, Any], car: Car, trust: Trust) -> None:
    if offered.device != car.device:
        raise RefusesError(
            f"the server lists the order under the box {shown(offered.device)[:16]}…, "
            f"the signed bytes are for the car …{car.last4}"
        )
    expected = {4: trust.lender.lender_id, 6: car.vin_bind, 7: car.contract_ref}
    if order_text.is_restricting(order):
        expected[18] = car.jur.encode()
    for key, value in expected.items():
        said = order[key].encode() if isinstance(order[key], str) else order[key]
        if said != value:
            name = FIELDS[key]["en"]
            raise RefusesError(f"the order's {name} is not the one pinned for the car …{car.last4}")


def _check_time(order: Mapping[int, Any], now_s: int) -> None:
    written, end = order[10], order[12]
    if end is None or end - written > ORDER_LIFE_S_MAX:
        raise RefusesError("the order would live longer than 24 hours")
    if now_s >= end:
        raise RefusesError(
            f"the order ended at {shown_time(end)}",
            next_step="the maker requests it afresh if it is still due",
        )
    if written > now_s + ORDER_CLOCK_SLACK_S:
        raise RefusesError(f"the order was written at {shown_time(written)}, which is still to come")


def _check_maker(offered: Offered, order: Mapping[int, Any], trust: Trust, now_s: int) -> Delegation:
    try:
        signers = [cose_sign.Signer(*part) for part in offered.parts]
    except ValueError as broken:
        raise RefusesError(f"a signer's header cannot be read: {broken}") from broken
    makers = [signer for signer in signers if signer.role == Role.MAKER]
    if len(makers) != 1 or len(signers) != 1:
        raise RefusesError(f"the order carries {len(signers)} signatures, not exactly the maker's")
    maker = makers[0]
    document = offered.delegations.get(maker.delegation or b"")
    if document is None or hashlib.sha256(document).digest() != maker.delegation:
        raise RefusesError("the server does not show the delegation that the maker's signature names")
    delegation = trust.delegation(document)
    if delegation.kid != maker.kid or delegation.issuer != trust.lender.issuer:
        raise RefusesError("the maker's delegation is of another key or of another lender")
    if delegation.role != Role.MAKER or order[3] not in delegation.types:
        raise RefusesError(f"the maker {shown(delegation.person)} may not sign {OrderType(order[3]).name}")
    require_in_force(delegation, now_s)
    digest = cose_sign.signed_digest("command", offered.payload, maker.protected)
    if check_signature(delegation.xy, digest, maker.signature) != "OK":
        raise RefusesError(
            "the maker's signature does not verify over the payload shown",
            meaning="what the server shows is not what the maker signed",
        )
    return delegation


def require_in_force(delegation: Delegation, now_s: int) -> None:
    """Refuse a delegation that has not begun or has ended.

    Raises:
        RefusesError: it has.
    """
    if not delegation.nbf <= now_s < delegation.exp:
        raise RefusesError(
            f"the delegation of {shown(delegation.person)} runs from {shown_time(delegation.nbf)} "
            f"to {shown_time(delegation.exp)}, not now",
            next_step="its lender's root officers make the next one: tbox lender delegation draft",
        )


def _check_challenge(order: Mapping[int, Any], car: Car, challenge: Challenge) -> None:
    differing = [
        name
        for name, mine, cars in (
            ("challenge", order[13], challenge.chal),
            ("epoch", order[8], challenge.epoch),
            ("last accepted order", order[21], challenge.prev),
        )
        if mine != cars
    ]
    if differing:
        raise RefusesError(f"the order's {differing[0]} is not what the car …{car.last4} signed")
    if not 0 < order[9] - challenge.heads[0] <= COUNTER_AHEAD_MAX:
        raise RefusesError(f"the order's counter is not what the car …{car.last4} signed")
    if order[14] is None or order[14] > challenge.tick_s + ORDER_LIFE_S_MAX:
        raise RefusesError("the order would outlive the car's challenge by more than 24 hours")
