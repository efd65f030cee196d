"""The papers of an installation: the BIND payload that others sign, and the record's payload.

Rules: BIND is filled from the ticket, the car's challenge and the VIN found; the box signs none of it. The
record says how each step ended, whatever that is, and `bound` only when a disposition took the BIND.

Example: see `tests/unit/test_commissioning_papers.py`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from protocol import cose_sign
from protocol.errors import ProtocolError, Reject
from protocol.install_record import Record, encode_record
from protocol.install_vocabulary import STEPS, Act, Verdict, VinSource
from protocol.orders import OrderType, Role, encode_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.commissioning.progress import Progress
    from device.orders.link import Part, Status
    from protocol.ids import DeviceId
    from protocol.install_forms import WorkTicket

BIND_LIFE_S = 14_400  # an office that is slow, and no longer: the challenge bounds it as well


def bind_payload(
    ticket: WorkTicket, vin: str, status: Status, challenge: Mapping[int, Any], *, cmd_id: bytes, now_s: int
) -> bytes:
    """Return the payload of a BIND for this car.

    Args:
        ticket: names lender, contract and place.
        vin: as found.
        status: names the microcontroller and its counters.
        challenge: its fields, see SPEC §18.6.
        cmd_id: 16 bytes, new.
        now_s: POSIX seconds.
    """
    return encode_order(
        {
            1: 1,
            2: cmd_id,
            3: int(OrderType.BIND),
            4: ticket.lender_id,
            5: status.mcu_id,
            6: hashlib.sha256(ticket.vin_salt + vin.encode()).digest(),
            7: ticket.contract_ref,
            8: status.epoch,
            9: status.heads[2] + 1,
            10: now_s,
            12: now_s + BIND_LIFE_S,
            13: challenge[4],
            14: challenge[5] + BIND_LIFE_S,
            18: ticket.jurisdiction,
            25: None,
        }
    )


def with_part(message: bytes, payload: bytes, part: Part) -> bytes:
    """Return a BIND with the microcontroller's signature beside those that came.

    Raises:
        ProtocolError: BAD_ENVELOPE for no COSE_Sign; BAD_FIELD for another payload.
    """
    try:
        found, signers = cose_sign.read_sign(message)
    except ValueError as error:
        raise ProtocolError(Reject.BAD_ENVELOPE, f"bind: {error}") from error
    if found != payload:
        raise ProtocolError(Reject.BAD_FIELD, "bind: of another payload")
    others = [(signer.protected, signer.signature) for signer in signers if signer.role != Role.MCU]
    return bytes(cose_sign.write_sign(payload, [*others, (part.protected, part.signature)]))


def record_payload(
    progress: Progress,
    ticket: WorkTicket,
    status: Status,
    *,
    act: Act,
    device: DeviceId,
    box_kid: bytes,
    installer: bytes,
    ended_s: int | None,
) -> bytes:
    """Return the payload that box, installer and microcontroller sign."""
    vin = progress.facts.get("vin")
    source = progress.facts.get("vin_source")
    is_bound = progress.bind is not None and progress.bound is not None
    verdict = Verdict.BOUND if is_bound else Verdict.MONITOR_ONLY
    card = ticket.wiring
    return encode_record(
        Record(
            ticket_id=ticket.ticket_id,
            job_id=ticket.job_id,
            device=device,
            box_kid=box_kid,
            installer=installer,
            mcu_id=status.mcu_id,
            epoch=status.epoch,
            act=act,
            facts=dict(progress.facts),
            vin=vin,
            vin_source=None if vin is None or source is None else VinSource(source),
            lender_id=ticket.lender_id,
            contract_ref=ticket.contract_ref,
            jurisdiction=ticket.jurisdiction,
            start_type=ticket.start_type,
            profile=progress.facts.get("profile"),
            wiring=(card.ignition_wire, card.crank_wire, card.start_note),
            steps=tuple(progress.steps[step] for step in STEPS),
            photos=tuple(progress.photos),
            consent=progress.consent,
            began_s=progress.began_s,
            ended_s=ended_s,
            bind=(progress.bind, progress.bound) if progress.bind and progress.bound else None,
            verdict=Verdict.REMOVED if act is Act.REMOVE else verdict,
        )
    )
