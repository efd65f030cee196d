"""Orders as they come down: read strictly, and looked at early for whoever asks why one will be refused.

Rules:
- An order that decodes is handed on whatever is found here: the microcontroller alone answers. One that does
  not decode could get no answer there either; it is counted.
- The comparisons are those of `protocol.orders_checks`, all of them at once. What the agent does not know
  (lender, car and contract are the microcontroller's own) is taken from the order itself, so that it says
  nothing about it. No signature is looked at.
- Reasons are for display, unsigned: they never become a disposition and change nothing.
- UNLOCK, CANCEL and DECOMMISSION are releasing; so is an order whose type is unknown here, since a newer
  microcontroller may know it as one.

Example:
    >>> is_releasing(2), is_releasing(1)
    (True, False)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device.order_state import Arrival
from protocol import cose_sign, orders_payload
from protocol.errors import ProtocolError, Reject
from protocol.limits import ORDER_BYTES_MAX
from protocol.orders_authority import Delegation, Root
from protocol.orders_checks import all_failures
from protocol.orders_reader import Device
from protocol.orders_vocabulary import CLASS, CLASS_B

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.orders.link import Status
    from protocol.clock import Instant

SECOND_US = 1_000_000
_FOREVER_S = (1 << 40) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """An order that decodes.

    Attributes:
        arrival: what the journal keeps of it.
        order: the payload.
        signers: as `cose_sign.read_sign` returns them.
        is_known: version and type are known here.
    """

    arrival: Arrival
    order: Mapping[int, Any]
    signers: tuple[Any, ...] = field(repr=False)
    is_known: bool

    @property
    def named(self) -> tuple[bytes, ...]:
        """Hashes of the delegations that its signers name."""
        return tuple(signer.delegation for signer in self.signers if signer.delegation is not None)


@dataclass(slots=True, kw_only=True)
class Known:
    """What the agent knows of the microcontroller's side.

    Attributes:
        status: as it said last, None before the first.
        challenge: chal and tick of the last challenge seen, None before the first.
        delegations: by hash, read and not verified.
        revoked: kids and persons that snapshots and revocations name.
    """

    status: Status | None = None
    challenge: tuple[bytes, int] | None = None
    delegations: dict[bytes, Delegation] = field(default_factory=dict)
    revoked: set[bytes | str] = field(default_factory=set)


def is_releasing(order_type: int) -> bool:
    """Return whether orders of a type go ahead of everything and wait for nothing."""
    return bool(CLASS.get(order_type, CLASS_B) == CLASS_B)


def read_order(message: bytes) -> Incoming:
    """Read a message on `down/order`.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING: it is no order.
    """
    if len(message) > ORDER_BYTES_MAX:
        raise ProtocolError(Reject.TOO_LARGE, f"an order of {len(message)} B")
    try:
        payload, signers = cose_sign.read_sign(message)
        order, is_known = orders_payload.read_order(payload)
    except ValueError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"order: {error}") from error
    ends = order.get(12) if is_known else None
    arrival = Arrival(
        digest=hashlib.sha256(message).digest(),
        cmd_hash=hashlib.sha256(payload).digest(),
        cmd_id=order[2],
        order_type=order[3],
        ends_s=ends,
        message=message,
    )
    return Incoming(arrival=arrival, order=order, signers=tuple(signers), is_known=is_known)


def early_reasons(incoming: Incoming, known: Known, now: Instant) -> tuple[str, ...]:
    """Return every reason for which the microcontroller will refuse this order, as far as it is known here.

    Args:
        incoming: the order.
        known: what is known of the microcontroller.
        now: the present moment; without a bounded UTC nothing is said about dates.

    Returns:
        Names of `protocol.orders.Code`, in the order of the SPEC; empty when none is known.
    """
    if not incoming.is_known:
        return ("UNSUPPORTED",)
    order, status = incoming.order, known.status
    if status is None:
        return ()
    holders = [_holder(signer, known) for signer in incoming.signers]
    device = _device(order, known, now)
    found = all_failures(order, incoming.signers, holders, None, device)
    return tuple(name for name in found if _is_meant(name, order, device))


def _device(order: Mapping[int, Any], known: Known, now: Instant) -> Device:
    status = known.status
    assert status is not None
    device = Device(status.mcu_id, bytes(64))
    device.mode, device.epoch = int(status.mode), status.epoch
    device.lender_id, device.vin_bind, device.contract_ref = order.get(4), order.get(6), order.get(7)
    device.jur = order.get(18)
    device.heads, device.prev, device.tick = list(status.heads), status.prev, status.tick_s
    if known.challenge is None:
        device.chal, device.chal_tick = order.get(13), status.tick_s
    else:
        device.chal, device.chal_tick = known.challenge
    if now.utc_us is not None and now.error_us is not None:
        device.earliest = (now.utc_us - now.error_us) // SECOND_US
        device.latest = -((-now.utc_us - now.error_us) // SECOND_US)
    issuers = {holder.issuer for holder in known.delegations.values()}
    if device.lender_id is not None:
        issuers |= {"platform", "lender:" + device.lender_id.hex()}
    for issuer in issuers:
        root = Root(issuer, [], 1)
        root.expires, root.listed = _FOREVER_S, list(known.revoked)
        device.roots[issuer] = root
    return device


def _holder(signer: Any, known: Known) -> Delegation | None:  # noqa: ANN401 - signers have no types, see there
    return known.delegations.get(signer.delegation) if signer.delegation is not None else None


def _is_meant(name: str, order: Mapping[int, Any], device: Device) -> bool:
    """Leave out what follows from not knowing: the time, and the gate behind a ticket."""
    if name == "CLOCK_UNCERTAIN":
        return device.earliest is not None
    return name != "SIGNER_SET" or order.get(25) is None
