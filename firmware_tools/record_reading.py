"""A commissioning record from its file, and whether its signatures hold: offline, by keys that one trusts.

Rules: the file's bytes count, its readable part is only compared. A key is believed when the trust file has
it; box, microcontroller and installer are named in the record by the thumbprints of their keys, and the work
ticket must be the backend's, of the same job and for the same installer. What fails is one sentence.

This module does not ask a server, and does not judge whether the installation was a good one: `verdict` says.

Example:
    $ cat trust.json
    {"keys": ["a60102…"], "policy_keys": ["a60102…"]}

Source: SPEC §22; RFC 9052 §4.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_tools.cli_errors import Common, ToolError
from protocol.errors import ProtocolError, Reject
from protocol.ids import public_key_from_cose, thumbprint
from protocol.install_forms import open_work_ticket
from protocol.install_record import (
    decode_record,
    open_whole_record,
    read_record_file,
    record_payload,
)

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.envelope import KeyLookup
    from protocol.install_forms import WorkTicket
    from protocol.install_record import Record
    from protocol.install_report import Commissioning

RECORD_FILE_BYTES_MAX: Final = 262_144
"""Bytes of a record's file: three messages of at most 16 KiB in base64url and the same in words."""


class RecordCode(StrEnum):
    """What can be wrong with a record."""

    NOT_A_RECORD = "NOT_A_RECORD"
    RECORD_CHANGED = "RECORD_CHANGED"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    SIGNATURE_WRONG = "SIGNATURE_WRONG"
    OTHER_TICKET = "OTHER_TICKET"
    BAD_TRUST = "BAD_TRUST"


SIGNATURE_FAULTS: Final = {Reject.BAD_SIG, Reject.HIGH_S}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFile:
    """The messages of a record, read but not verified.

    Attributes:
        record, commissioning, ticket: whole messages.
        content: what the record says.
        sha256: of the payload that all sign; the record's name.
    """

    record: bytes
    commissioning: bytes
    ticket: bytes
    content: Record
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose signatures count: key id to key."""

    signers: KeyLookup
    policy: KeyLookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A record whose signatures hold."""

    file: RecordFile
    microcontroller: Commissioning
    ticket: WorkTicket


def read_record(path: Path) -> RecordFile:
    """Read a record's JSON file.

    Raises:
        ToolError: there is none, it is none, or its readable part was changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ToolError(
            Common.NO_FILE, f"{path} cannot be read ({error.strerror}): name the record's file."
        ) from error
    if len(data) > RECORD_FILE_BYTES_MAX:
        raise ToolError(RecordCode.NOT_A_RECORD, f"{path} is too large for a record: name the JSON file.")
    try:
        record, attestation, ticket = read_record_file(data.decode("utf-8", "replace"))
        payload = record_payload(record)
        content = decode_record(payload)
    except ProtocolError as error:
        is_changed = error.code is Reject.BAD_FIELD
        code = RecordCode.RECORD_CHANGED if is_changed else RecordCode.NOT_A_RECORD
        hint = "ask for the file as the box wrote it" if is_changed else "name the JSON file of a record"
        raise ToolError(code, f"{path.name}: {error.detail or error.code}; {hint}.") from error
    return RecordFile(
        record=record,
        commissioning=attestation,
        ticket=ticket,
        content=content,
        sha256=hashlib.sha256(payload).digest(),
    )


def read_trust(path: Path) -> Trust:
    """Read a trust file: `keys` of boxes, microcontrollers, installers; `policy_keys` of the backend.

    Raises:
        ToolError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        found = {name: [bytes.fromhex(key) for key in content[name]] for name in ("keys", "policy_keys")}
        keys = {name: [public_key_from_cose(key) for key in value] for name, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, ProtocolError) as error:
        sentence = f"{path} is no trust file ({error}): it needs keys and policy_keys, COSE_Keys in hex."
        raise ToolError(RecordCode.BAD_TRUST, sentence) from error
    signers = {thumbprint(key): key for key in keys["keys"]}
    policy = {thumbprint(key): key for key in keys["policy_keys"]}
    return Trust(signers=signers.get, policy=policy.get)


def verify_record(file: RecordFile, trust: Trust) -> Verified:
    """Verify every signature of a record, and that they speak of one installation.

    Raises:
        ToolError: one does not hold, is by a key that is not trusted, or speaks of something else.
    """
    try:
        _, said = open_whole_record(
            file.record, file.commissioning, people=trust.signers, microcontrollers=trust.signers
        )
        ticket = open_work_ticket(file.ticket, trust.policy)
    except ProtocolError as error:
        raise _not_verified(error) from error
    content = file.content
    same = (ticket.ticket_id, ticket.job_id, ticket.installer, ticket.lender_id, ticket.contract_ref)
    ours = (content.ticket_id, content.job_id, content.installer, content.lender_id, content.contract_ref)
    is_of_this_vin = ticket.vin is None or ticket.vin == content.vin
    if same != ours or content.act not in ticket.acts or not is_of_this_vin:
        sentence = "The work ticket in the file is for another installation: refuse this record."
        raise ToolError(RecordCode.OTHER_TICKET, sentence)
    return Verified(file=file, microcontroller=said, ticket=ticket)


def _not_verified(error: ProtocolError) -> ToolError:
    if error.code is Reject.UNKNOWN_KEY:
        sentence = f"A signer is not in the trust file ({error.detail}): add the key if you believe it."
        return ToolError(RecordCode.KEY_UNKNOWN, sentence)
    if error.code in SIGNATURE_FAULTS:
        return ToolError(RecordCode.SIGNATURE_WRONG, "A signature does not hold: refuse this record.")
    return ToolError(
        RecordCode.RECORD_CHANGED, f"The record contradicts itself ({error.detail}): refuse this record."
    )
