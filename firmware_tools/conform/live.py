"""The order vectors, made anew for the device at hand: its epoch, counters, challenge, head and time.

Rules: what a vector changes against the good order stays changed; what the device's own state fills in is
filled in anew; then the same keys sign the same roles again. A vector that must get a link code goes as it
is: nothing in it is authentic, so no state of a device makes it right. Vectors that need another state of the
device are `states`'.

Example:
    >>> len(as_they_are()) > 30, len(to_make_anew()) > 30
    (True, True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol import cose_sign, orders_payload
from protocol.envelope import Kind
from protocol.orders import OrderSigner, Role, SignKind, assemble, sign_document, sign_part
from protocol.vectors.keys import NAMES, published_signer
from protocol.vectors.orders_refused import refused_orders
from protocol.vectors.orders_rejected import rejected_orders
from protocol.vectors.orders_story import CHALLENGE, CHALLENGE_TICK_S, EPOCH, NOW_S, PREV

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_tools.conform.subject import Subject
    from protocol.vectors.orders_tried import Tried

HEADS: Final = (10, 20, 30)
_TIMES: Final = (10, 11, 12)
_SIGNERS: Final = {published_signer(name).kid: published_signer(name) for name in NAMES}
_CLASS: Final = {1: 0, 3: 0, 5: 0, 2: 1, 4: 1, 9: 1}


def as_they_are() -> list[Tried]:
    """Return the vectors that get a link code whatever the device's state."""
    cases = (*refused_orders(), *rejected_orders())
    return [case for case in cases if case.outcome == "LINK" and not case.changes]


def to_make_anew() -> list[Tried]:
    """Return the vectors that get a signed rejection of a bound car in its ordinary state."""
    cases = (*refused_orders(), *rejected_orders())
    return [case for case in cases if case.outcome == "REJECT" and not _is_of_another_state(case)]


def of_other_states() -> dict[str, Tried]:
    """Return the vectors that need a device in another state, by name."""
    return {case.name: case for case in (*refused_orders(), *rejected_orders()) if _is_of_another_state(case)}


def _is_of_another_state(case: Tried) -> bool:
    """Return whether a device that runs cannot be put there; nor can a second be hit on which a life ends."""
    return bool(case.changes) or case.name.startswith("time/perhaps")


def made_anew(
    message: bytes,
    subject: Subject,
    challenge: tuple[bytes, int],
    *,
    heads: Sequence[int] = HEADS,
    challenge_tick_s: int = CHALLENGE_TICK_S,
    from_s: int = NOW_S,
) -> bytes:
    """Return a vector's message for the device at hand.

    Args:
        message: the vector's.
        subject: the device.
        challenge: its open challenge and the tick of it.
        heads: counters of the vector's device.
        challenge_tick_s: of the vector's device.
        from_s: UTC of the vector's device.
    """
    payload, signers = cose_sign.read_sign(message)
    order, _ = orders_payload.read_order(payload)
    fields = dict(order)
    status = subject.status
    klass = _CLASS.get(fields[3], 2)
    fields[2] = subject.fresh_id()
    fields[9] = max(0, status[8][klass] + fields[9] - heads[klass])
    if fields[8] == EPOCH:
        fields[8] = status[3]
    shift = subject.now_s - from_s
    for key in _TIMES:
        if fields.get(key) is not None:
            fields[key] += shift
    if fields.get(13) == CHALLENGE:
        fields[13] = challenge[0]
    if fields.get(14) is not None:
        fields[14] += challenge[1] - challenge_tick_s
    if fields.get(25) is not None:
        fields[25] = _ticket_anew(fields[25], challenge[0], shift)
    if fields.get(21) == PREV:
        fields[21] = status[9]
    return signed_by(fields, [as_signer(signer) for signer in signers])


def changed(message: bytes, changes: Mapping[int, object]) -> bytes:
    """Return an order with other fields, signed by the same again."""
    payload, signers = cose_sign.read_sign(message)
    order, _ = orders_payload.read_order(payload)
    return signed_by({**order, **changes}, [as_signer(signer) for signer in signers])


def _ticket_anew(data: bytes, challenge: bytes, shift_s: int) -> bytes:
    """Return a ticket of the gate for this visit; one of another visit stays so."""
    fields = dict(orders_payload.read_document("ticket", cose_sign.read_sign1(data)[2]))
    fields[6] += shift_s
    if fields[4] == CHALLENGE:
        fields[4] = challenge
    return sign_document(Kind.TICKET, fields, published_signer("gate-1"))


def signed_by(fields: dict[int, object], signers: list[OrderSigner]) -> bytes:
    """Sign a payload, also one of a type that this version does not know."""
    payload = cose_payload(fields)
    return assemble(payload, [sign_part(SignKind.COMMAND, payload, by) for by in signers])


def cose_payload(fields: dict[int, object]) -> bytes:
    """Return the encoding of a payload."""
    return bytes(orders_payload.strict_cbor.dumps(fields))


def as_signer(signer: cose_sign.Signer) -> OrderSigner:
    """Return who signed, able to sign again."""
    return OrderSigner(
        signer=_SIGNERS[signer.kid],
        role=Role(signer.role),
        delegation=signer.delegation,
        log_ref=signer.log_ref,
        attestation=signer.attestation,
    )
