"""Dispositions: the microcontroller's signed answer to one step of an order, with what it saw.

Rules: COSE_Sign1 by D1, kind `disposition`; its payload was read by the strict reader of orders, so a reader
refuses unknown keys. `disp_seq` has no gaps and `previous` is the hash of the whole message before, null for
the first: whoever holds the chain can say that nothing was accepted in between. No disposition means unknown,
never "not executed".

This module does not decide a state: the microcontroller does.

Example:
    >>> from protocol.vectors.keys import published_lookup
    >>> from protocol.vectors.orders_good import good_documents
    >>> found = open_disposition(good_documents()["disposition"], published_lookup("mcu-1"))
    >>> found.state.name, found.code.name, found.sequence
    ('ACCEPTED_PENDING', 'OK', 2)

Source: RFC 9052 §4.2.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from protocol import orders_payload
from protocol.envelope import KeyLookup, Kind, open_sign1
from protocol.errors import ProtocolError, Reject
from protocol.limits import ORDER_BYTES_MAX
from protocol.orders import Code, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """What one source said when the step was taken.

    Attributes:
        name: of the source, as the SPEC's truth table names it.
        value: what it said, in the source's own unit; None when it said nothing.
        age_s: seconds since; None when it said nothing.
        verdict: 0 absent, 1 lost, 2 agrees, 3 disagrees, 4 jammed, 5 self-check failed.
    """

    name: str
    value: int | None
    age_s: int | None
    verdict: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """One signed answer of the microcontroller.

    Attributes:
        disposition_id, cmd_id, epoch: 16 bytes each.
        cmd_hash, mcu_id: 32 bytes each.
        sequence: from 1, without gaps.
        previous: hash of the message before; None for the first.
        state, code: where the order stands, and why.
        tick_s: the device's monotonic seconds.
        earliest_s, latest_s: POSIX seconds between which it happened; None while unknown.
        clock_sources: bits: 1 GNSS, 2 signed time, 4 RTC.
        sources: what each source said.
        relay_commanded, relay_sensed: whether the coil is energised; sensed is None without feedback.
        ignition_on, engine_running: by the device's own wires; None when not sensed.
        lease_end_tick_s: None without a lease.
        overrides_used, overrides_left: of this episode.
        agent_seen: whether the Linux side answered.
        firmware: its measurement, 32 bytes.
        is_demo: whether the image is the demo's, with its own floors.
        checkpoint: origin, size and root of the last log checkpoint seen, or None.
        digest: SHA-256 of the message: the next one's `previous`.
    """

    disposition_id: bytes
    cmd_id: bytes
    cmd_hash: bytes
    mcu_id: bytes
    epoch: bytes
    sequence: int
    previous: bytes | None
    state: State
    code: Code
    tick_s: int
    earliest_s: int | None
    latest_s: int | None
    clock_sources: int
    sources: tuple[SourceReading, ...]
    relay_commanded: bool
    relay_sensed: bool | None
    ignition_on: bool | None
    engine_running: bool | None
    lease_end_tick_s: int | None
    overrides_used: int
    overrides_left: int
    agent_seen: bool
    firmware: bytes
    is_demo: bool
    checkpoint: tuple[str, int, bytes] | None
    digest: bytes


def open_disposition(data: bytes, keys: KeyLookup) -> Disposition:
    """Read and verify a disposition.

    Args:
        data: the tagged COSE_Sign1.
        keys: gives D1 for its kid, or None.

    Raises:
        ProtocolError: as `open_sign1`; BAD_FIELD when the payload is not exactly of its form, or the device
            it names is not the one whose key signed.
    """
    message = open_sign1(data, Kind.DISPOSITION, keys, max_bytes=ORDER_BYTES_MAX)
    try:
        fields: dict[int, Any] = orders_payload.read_document("disposition", message.payload)
    except ValueError as error:
        raise ProtocolError(Reject.BAD_FIELD, f"disposition: {error}") from error
    if fields[5] != message.kid:
        raise ProtocolError(Reject.BAD_FIELD, "the device named is not the key that signed")
    earliest, latest, clock_sources = fields[12]
    return Disposition(
        disposition_id=fields[2],
        cmd_id=fields[3],
        cmd_hash=fields[4],
        mcu_id=fields[5],
        epoch=fields[6],
        sequence=fields[7],
        previous=fields[8],
        state=State(fields[9]),
        code=Code(fields[10]),
        tick_s=fields[11],
        earliest_s=earliest,
        latest_s=latest,
        clock_sources=clock_sources,
        sources=tuple(
            SourceReading(name=name, value=value, age_s=age, verdict=verdict)
            for name, value, age, verdict in fields[13]
        ),
        relay_commanded=fields[14][0],
        relay_sensed=fields[14][1],
        ignition_on=fields[15][0],
        engine_running=fields[15][1],
        lease_end_tick_s=fields[16],
        overrides_used=fields[17][0],
        overrides_left=fields[17][1],
        agent_seen=fields[18],
        firmware=fields[19][0],
        is_demo=fields[19][1],
        checkpoint=None if fields[20] is None else (fields[20][0], fields[20][1], fields[20][2]),
        digest=hashlib.sha256(data).digest(),
    )


def follows(later: Disposition, earlier: Disposition | None) -> bool:
    """Return whether a disposition is the next of the same device after another; None is before the first."""
    if earlier is None:
        return later.sequence == 1 and later.previous is None
    is_same_device = later.mcu_id == earlier.mcu_id
    return is_same_device and later.sequence == earlier.sequence + 1 and later.previous == earlier.digest
