"""Would the car take this? The backend's own look at an order and its parts, by the car's readers.

Rules (C-01, C-02, C-02a, C-06, C-08, C-09, C-12; README §2.9): what is stored has been read by the strict
readers that the car runs, compared with what is known of the car, and every signature verified. A good answer
here gives nobody authority: the car judges again. A bad one saves a person from signing in vain.
A release is compared with who the car is and with its counter, never with a clock.

This module asks for no time and no database.

Example:
    >>> read_payload(b"")
    Refusal(reason=<Reason.BAD_ORDER: 'bad-order'>, detail='BAD_ENCODING: TRUNCATED')
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.domain.order_flow import is_releasing, is_restrictive
from backend.domain.refusal import Reason, Refusal
from protocol import cose_sign, orders_authority, orders_payload
from protocol.orders import OrderType, Role, check_signature
from protocol.orders_checks import ORDER_LIFE_S_MAX
from protocol.orders_vocabulary import CLASS, DEFAULT_PAYMENT, SIGNERS

_BASIS_KEY = 17
_OUTSIDE = frozenset({OrderType.BIND, OrderType.BENCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class CarFacts:
    """What the backend knows of a car that an order names.

    Attributes:
        mcu_id, vin_bind, contract_ref: 32 bytes each.
        lender_id: 8 bytes.
        epoch: 16 bytes.
        jurisdiction: of the pack that is registered.
        heads: last counters that the car has accepted, by class.
        prev: cmd_hash of the last order that it has accepted, as it said.
        chal: its open challenge, None when none is known.
        chal_tick: device's seconds at which that was opened.
    """

    mcu_id: bytes
    lender_id: bytes
    vin_bind: bytes
    contract_ref: bytes
    epoch: bytes
    jurisdiction: str
    heads: tuple[int, ...]
    prev: bytes
    chal: bytes | None
    chal_tick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOrder:
    """A payload as the car reads it."""

    payload: bytes
    fields: Mapping[int, Any]
    type: OrderType
    cmd_hash: bytes

    @property
    def cmd_id(self) -> str:
        """Its id, hex."""
        return bytes(self.fields[2]).hex()

    @property
    def expires_us(self) -> int | None:
        """When it is over, UTC in µs; None for a release."""
        at = self.fields.get(12)
        return None if at is None else int(at) * 1_000_000

    @property
    def supersedes(self) -> str | None:
        """The order that it names in key 22, hex."""
        named = self.fields.get(22)
        return None if named is None else bytes(named).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPart:
    """One signer's part, verified."""

    protected: bytes
    signature: bytes
    kid: bytes
    role: Role
    person: str
    delegation: bytes
    issuer: str


def read_payload(payload: bytes) -> ReadOrder | Refusal:
    """Read an order's payload as the car does."""
    try:
        fields, is_known = orders_payload.read_order(payload)
    except ValueError as broken:
        return Refusal(reason=Reason.BAD_ORDER, detail=f"BAD_ENCODING: {broken.args[0]}")
    if not is_known:
        return Refusal(reason=Reason.BAD_ORDER, detail="UNSUPPORTED: another version, or an unknown type")
    order_type = OrderType(fields[3])
    if order_type in _OUTSIDE:
        return Refusal(
            reason=Reason.BAD_ORDER, detail=f"a {order_type.name} belongs to commissioning, not to a lender"
        )
    return ReadOrder(
        payload=payload, fields=fields, type=order_type, cmd_hash=hashlib.sha256(payload).digest()
    )


def judge_order(order: ReadOrder, car: CarFacts, *, basis: bytes | None, now_s: int) -> Refusal | None:
    """Say why the car would refuse an order, whoever signs it; None when nothing is known against it.

    Args:
        order: What was read.
        car: What is known of the car.
        basis: The bundle whose hash the order carries.
        now_s: POSIX seconds.
    """
    code = _identity(order, car) or _counter(order, car)
    if code is None and not is_releasing(order.type):
        code = _freshness(order, car, now_s=now_s)
    if code is None and is_restrictive(order.type):
        code = _content(order, car)
    if code is None and _BASIS_KEY in order.fields:
        code = _basis(order, basis)
    return None if code is None else Refusal(reason=Reason.NOT_FOR_THIS_CAR, detail=code)


def read_part(  # noqa: PLR0911  # one return for each way in which a part can be wrong
    order: ReadOrder,
    *,
    protected: bytes,
    signature: bytes,
    delegation: bytes,
    roots: Mapping[str, Any],
    lender_id: bytes,
    now_s: int,
) -> ReadPart | Refusal:
    """Verify one part and the delegation that it names, against the roots in force.

    Args:
        order: What was signed.
        protected: The signer's protected header.
        signature: 64 bytes.
        delegation: The whole delegation.
        roots: By issuer, as far as they are known.
        lender_id: The car's lender.
        now_s: POSIX seconds; looked at only for what restricts.
    """
    if len(signature) != 64:  # noqa: PLR2004  # r‖s of P-256
        return _bad("BAD_ENCODING: a signature has 64 bytes")
    try:
        signer = cose_sign.Signer(protected, signature)
    except ValueError as broken:
        return _bad(f"BAD_ENCODING: {broken.args[0]}")
    if signer.delegation != hashlib.sha256(delegation).digest():
        return _bad("DELEGATION_MISSING: the part names another delegation than the one that came with it")
    try:
        holder = orders_authority.read_delegation(delegation, roots, check_signature)
    except orders_authority.AuthorityError as refused:
        return Refusal(
            reason=Reason.NOT_DELEGATED,
            detail=f"{refused.args[0]}: the delegation does not hold against the roots known here",
        )
    if holder.kid != signer.kid:
        return _bad("UNKNOWN_KEY: the delegation is of another key")
    digest = cose_sign.signed_digest("command", order.payload, protected)
    word = check_signature(holder.xy, digest, signature)
    if word != "OK":
        return _bad(f"{'HIGH_S' if word == 'HIGH_S' else 'BAD_SIG'}: the signature does not verify")
    scope = _scope(order, signer, holder, roots=roots, lender_id=lender_id, now_s=now_s)
    if scope is not None:
        return Refusal(reason=Reason.NOT_DELEGATED, detail=scope)
    return ReadPart(
        protected=protected,
        signature=signature,
        kid=signer.kid,
        role=Role(signer.role),
        person=holder.person,
        delegation=holder.digest,
        issuer=holder.issuer,
    )


def judge_roles(order: ReadOrder, roles: list[Role]) -> Refusal | None:
    """Say whether these roles can still become one of the sets that the type asks for."""
    if any(set(roles) <= set(wanted) for wanted in SIGNERS[order.type]) and len(set(roles)) == len(roles):
        return None
    names = " + ".join(role.name.lower() for role in roles)
    return Refusal(reason=Reason.BAD_PART, detail=f"SIGNER_SET: {names} do not sign a {order.type.name}")


def _bad(detail: str) -> Refusal:
    return Refusal(reason=Reason.BAD_PART, detail=detail)


def _identity(order: ReadOrder, car: CarFacts) -> str | None:
    for key, known, code in (
        (5, car.mcu_id, "WRONG_DEVICE: another microcontroller"),
        (6, car.vin_bind, "VIN_MISMATCH: another vehicle"),
        (4, car.lender_id, "WRONG_LENDER: another lender"),
        (7, car.contract_ref, "WRONG_LENDER: another contract"),
        (8, car.epoch, "WRONG_EPOCH: the car has another epoch now"),
    ):
        if order.fields[key] != known:
            return code
    return None


def _counter(order: ReadOrder, car: CarFacts) -> str | None:
    head = car.heads[CLASS[order.type]]
    if order.fields[9] <= head:
        return f"REPLAY_CTR: the car has accepted counter {head} of this class"
    return None


def _freshness(order: ReadOrder, car: CarFacts, *, now_s: int) -> str | None:
    fields = order.fields
    if fields[12] - fields[10] > ORDER_LIFE_S_MAX:
        return "TTL_TOO_LONG: not-after is more than 24 h after it was written"
    if fields[12] <= now_s:
        return "EXPIRED: not-after has passed"
    if fields[13] is None:
        return "CHALLENGE: none is given" if is_restrictive(order.type) else None
    if car.chal is None or fields[13] != car.chal:
        return "CHALLENGE: not the one that the car has open; ask for it and write the order anew"
    if fields[14] is None or not 0 <= fields[14] - car.chal_tick <= ORDER_LIFE_S_MAX:
        return "TTL_TOO_LONG: the last tick is more than 24 h after the challenge"
    return None


def _content(order: ReadOrder, car: CarFacts) -> str | None:
    if order.fields[16] != DEFAULT_PAYMENT:
        return "REASON_REFUSED: only default of payment"
    if order.fields[18] != car.jurisdiction:
        return f"WRONG_JURISDICTION: the car is registered in {car.jurisdiction}"
    if order.fields[21] != car.prev:
        return "CHAIN_GAP: the car has accepted another order since; write this one anew"
    return None


def _basis(order: ReadOrder, basis: bytes | None) -> str | None:
    if basis is None or hashlib.sha256(basis).digest() != order.fields[_BASIS_KEY]:
        return "BASIS: the bundle that came is not the one whose hash the order carries"
    return None


def _scope(  # noqa: PLR0911  # one return for each way
    order: ReadOrder,
    signer: Any,  # noqa: ANN401  # a `cose_sign.Signer`
    holder: Any,  # noqa: ANN401  # an `orders_authority.Delegation`
    *,
    roots: Mapping[str, Any],
    lender_id: bytes,
    now_s: int,
) -> str | None:
    if orders_authority.is_revoked(holder, roots):
        return "KEY_REVOKED: key or person is revoked"
    if signer.role != holder.role or int(order.type) not in holder.types:
        return "DELEGATION_SCOPE: another role or type than the delegation gives"
    if holder.cohort is not None and holder.cohort != orders_authority.lender_cohort(lender_id):
        return "DELEGATION_SCOPE: another lender's cars"
    if is_releasing(order.type):
        return None  # a release looks at no date
    if not holder.nbf <= now_s < holder.exp:
        return "DELEGATION_SCOPE: not within the delegation's dates"
    if is_restrictive(order.type):
        for issuer in (orders_authority.PLATFORM, orders_authority.lender_issuer(lender_id)):
            root = roots.get(issuer)
            if root is None or now_s >= root.expires:
                return f"METADATA_STALE: the snapshot of {issuer} is missing or over"
    return None
