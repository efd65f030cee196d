"""Signed records at the gate that are no orders: freeze, its end, a breaker limit, counsel's opinion.

Rules (README §1.16, P-08): COSE_Sign1 in strict CBOR, kind `gate-record`, exactly the keys of the form. Key 5
names the delegation of the person who signs; it is null where a pinned key signs (counsel, and the gate for
the lift of a freeze). A record has an id of its own, so that the same one sent again changes nothing.

This module does not know whose key may sign which record: the gate does.

Example:
    >>> RecordType.FREEZE, Scope.LENDER
    (<RecordType.FREEZE: 1>, <Scope.LENDER: 2>)

Source: RFC 9052 §4.2; SPEC §21.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from protocol import orders_payload, strict_cbor
from protocol.envelope import KeyLookup, Kind, Sign1, Signer, read_sign1, sign1, verify_sign1
from protocol.errors import ProtocolError, Reject
from protocol.limits import GATE_RECORD_BYTES_MAX
from protocol.orders_forms import BYTES16, COUNT_MAX, HASH, SECONDS_MAX

_COUNT, _SECONDS = ("uint", 0, COUNT_MAX), ("uint", 0, SECONDS_MAX)
_REASON = ("text", 1, 256)
_NULL = ("null",)


class RecordType(IntEnum):
    """Key 2."""

    FREEZE = 1  # by any safety officer or ombuds: no signature, no go token
    UNFREEZE = 2  # by a safety officer; the gate's operator must lift too
    LIMIT = 3  # by the safety officer, seven days ahead
    OPINION = 4  # by counsel, about one pack
    LIFT = 5  # by the gate, at its operator's word: the freeze is over


class Scope(IntEnum):
    """What a freeze is over; body key 1. The id of key 2 is null for ALL."""

    ALL = 1
    LENDER = 2
    CONTRACT = 3
    VEHICLE = 4


HEAD: Mapping[int, tuple[Any, ...]] = {
    1: ("uint", 1, 1),
    2: ("uint", 1, len(RecordType)),
    3: BYTES16,  # record id
    4: _SECONDS,  # written
    5: ("or", _NULL, HASH),  # delegation
}
BODIES: Mapping[RecordType, Mapping[int, tuple[Any, ...]]] = {
    RecordType.FREEZE: {
        1: ("uint", 1, len(Scope)),
        2: ("or", _NULL, ("bytes", 8, 8), HASH),  # lender_id, contract_ref or mcu_id
        3: _REASON,
    },
    RecordType.UNFREEZE: {1: BYTES16, 2: _REASON},
    RecordType.LIMIT: {
        1: ("bytes", 8, 8),  # lender_id
        2: _COUNT,  # cars of its fleet
        3: ("or", _NULL, _COUNT),  # LOCKs a day; null for the default
        4: _SECONDS,  # from when
    },
    RecordType.OPINION: {
        1: ("text", 2, 6),  # jurisdiction, as orders name it
        2: HASH,  # of the pack's bytes
        3: _SECONDS,  # until
        4: ("text", 1, 64),  # counsel's own file number
    },
    RecordType.LIFT: {1: BYTES16, 2: BYTES16, 3: ("text", 1, 64)},  # freeze, unfreeze, operator
}
_BODY = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecord:
    """A record, read.

    Attributes:
        type: which.
        record_id: 16 bytes.
        written_s: POSIX seconds, by the signer's clock.
        delegation: of the signer, SHA-256; None for a pinned key.
        body: the fields of its type, see BODIES.
    """

    type: RecordType
    record_id: bytes
    written_s: int
    delegation: bytes | None
    body: Mapping[int, Any]


def sign_gate_record(record: GateRecord, signer: Signer) -> bytes:
    """Return a record, signed.

    Raises:
        ValueError: not of its type's form.
    """
    head = {1: 1, 2: int(record.type), 3: record.record_id, 4: record.written_s, 5: record.delegation}
    _require("gate-record", head, HEAD)
    _require("gate-record[6]", record.body, BODIES[record.type])
    payload = bytes(strict_cbor.dumps(head | {_BODY: dict(record.body)}))
    return sign1(Kind.GATE_RECORD, payload, signer)


def read_gate_record(data: bytes) -> tuple[GateRecord, Sign1]:
    """Read a record without believing it; verify it with the key that its delegation or type asks for.

    Raises:
        ProtocolError: not a COSE_Sign1; BAD_ENCODING, BAD_FIELD.
    """
    message = read_sign1(data, max_bytes=GATE_RECORD_BYTES_MAX)
    try:
        fields = strict_cbor.loads(message.payload)
    except ValueError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"gate-record: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError(Reject.BAD_FIELD, "gate-record: not a map")
    body = fields.pop(_BODY, None)
    try:
        _require("gate-record", fields, HEAD)
        kind = RecordType(fields[2])
        if not isinstance(body, dict):
            raise ValueError("gate-record[6]")  # noqa: TRY301, TRY004  # one way out for every wrong form
        _require("gate-record[6]", body, BODIES[kind])
        if kind is RecordType.FREEZE and not _names_its_scope(body):
            raise ValueError("gate-record[6][2]")  # noqa: TRY301  # see above
    except ValueError as error:
        raise ProtocolError(Reject.BAD_FIELD, str(error)) from error
    record = GateRecord(type=kind, record_id=fields[3], written_s=fields[4], delegation=fields[5], body=body)
    return record, message


def open_gate_record(data: bytes, keys: KeyLookup) -> GateRecord:
    """Read a record and verify it by a pinned key.

    Raises:
        ProtocolError: as `read_gate_record`; UNKNOWN_KEY, BAD_SIG, HIGH_S.
    """
    record, message = read_gate_record(data)
    key = keys(message.kid)
    if key is None:
        raise ProtocolError(Reject.UNKNOWN_KEY, f"no key {message.kid.hex()}")
    verify_sign1(message, Kind.GATE_RECORD, key)
    return record


def _names_its_scope(body: Mapping[int, Any]) -> bool:
    lengths = {Scope.ALL: 0, Scope.LENDER: 8, Scope.CONTRACT: 32, Scope.VEHICLE: 32}
    return len(body[2] or b"") == lengths[Scope(body[1])]


def _require(name: str, fields: Mapping[int, object], forms: Mapping[int, tuple[Any, ...]]) -> None:
    for key in sorted(set(fields) ^ set(forms), key=str):
        raise ValueError(f"{name}[{key}]")
    for key, form in forms.items():
        if not orders_payload.fits(fields[key], form):
            raise ValueError(f"{name}[{key}]")
