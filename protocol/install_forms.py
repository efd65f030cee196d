"""What an installer holds and asks: the work ticket and the command.

Rules: COSE_Sign1 of the usual profile (`envelope`), each under its own kind; the payload is `strict_cbor`
with exactly the keys below. A work ticket is signed by the backend's policy key and is permission to
commission, never authority over a lock. A command carries the installer's public key; its thumbprint is the
`kid` that signed and the one that the ticket names, so that a box needs no list of installers. Times are
POSIX seconds. The other forms: `install_report` (report, the microcontroller's word), `install_record`.

This module does not compare with a clock, a ticket already used or a sequence: that is the reader's.

Example:
    >>> from protocol.vectors.installs import COMMAND, INSTALLER
    >>> opened = open_command(sign_command(COMMAND, INSTALLER))
    >>> opened.command.verb, opened.kid == INSTALLER.kid
    (<Verb.RUN: 'run'>, True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol import base64url
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, read_sign1, verify_sign1
from protocol.errors import ProtocolError, Reject
from protocol.ids import COSE_KEY_BYTES, DeviceId, public_key_from_cose, thumbprint
from protocol.install_reading import (
    BYTES,
    HASH,
    ID,
    NULL,
    SECONDS,
    TEXT,
    UINT,
    VERSION,
    VERSION_FORM,
    VIN,
    WORD,
    read_form,
    sign_form,
    word,
)
from protocol.install_vocabulary import Act, Verb
from protocol.limits import COUNT_MAX, SIGN1_BYTES_MAX, WORK_TICKET_BYTES_MAX, WORK_TICKET_LIFE_S_MAX

TICKET_PREFIX: Final = "TBOX-WT1:"

_TICKET = {
    1: VERSION_FORM,
    2: ID,
    3: ID,
    4: HASH,
    5: SECONDS,
    6: SECONDS,
    7: ("list", WORD, 1, len(Act)),
    8: ("or", NULL, VIN),
    9: ("or", NULL, WORD),
    10: ("bytes", 8, 8),
    11: HASH,
    12: ("text", 2, 6),
    13: ("text", 1, 16),
    14: ("or", NULL, WORD),
    15: ID,
    16: ("map", {1: TEXT, 2: TEXT, 3: TEXT}),
}
_COMMAND = {
    1: VERSION_FORM,
    2: ID,
    3: ID,
    4: HASH,
    5: ("uint", 1, COUNT_MAX),
    6: WORD,
    7: ("or", NULL, UINT, BYTES, TEXT),
    8: SECONDS,
    9: ("bytes", COSE_KEY_BYTES, COSE_KEY_BYTES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The wiring card: which wire is the ignition, which the crank, and how this car starts."""

    ignition_wire: str
    crank_wire: str
    start_note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTicket:
    """What lets one installer act on one vehicle, once, between two times.

    Attributes:
        ticket_id, job_id: 16 bytes.
        installer: kid of the installer's key, 32 bytes.
        nbf_s, exp_s: POSIX seconds, at most WORK_TICKET_LIFE_S_MAX apart.
        acts: what is allowed.
        vin: the vehicle meant; None when the lender does not know it.
        label: of the box meant; None for any box of the installer's.
        lender_id, contract_ref, jurisdiction: as in BIND.
        start_type: `turn-key`, `one-touch` or `ready`.
        profile: name of the vehicle profile expected, or None.
        vin_salt: 16 bytes; BIND's key 6 is SHA-256(salt ‖ VIN).
        wiring: the card.
    """

    ticket_id: bytes
    job_id: bytes
    installer: bytes
    nbf_s: int
    exp_s: int
    acts: tuple[Act, ...]
    vin: str | None
    label: str | None
    lender_id: bytes
    contract_ref: bytes
    jurisdiction: str
    start_type: str
    profile: str | None
    vin_salt: bytes
    wiring: Wiring


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallCommand:
    """One thing that an installer asks for.

    Attributes:
        command_id, ticket_id: 16 bytes.
        device: the box meant.
        seq: grows with each command of a ticket.
        verb: what is asked.
        argument: see SPEC §22.2.
        sent_s: POSIX seconds by the installer's phone, for the record only.
        installer_key: the public key as a COSE_Key, 75 bytes.
    """

    command_id: bytes
    ticket_id: bytes
    device: DeviceId
    seq: int
    verb: Verb
    argument: str | int | bytes | None
    sent_s: int
    installer_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCommand:
    """A command whose signature holds under the key it carries; `kid` is that key's thumbprint."""

    command: InstallCommand
    kid: bytes


def sign_work_ticket(ticket: WorkTicket, signer: Signer) -> bytes:
    """Return the message; `signer` is the backend's policy key."""
    card = {1: ticket.wiring.ignition_wire, 2: ticket.wiring.crank_wire, 3: ticket.wiring.start_note}
    fields = {
        1: VERSION,
        2: ticket.ticket_id,
        3: ticket.job_id,
        4: ticket.installer,
        5: ticket.nbf_s,
        6: ticket.exp_s,
        7: [str(act) for act in ticket.acts],
        8: ticket.vin,
        9: ticket.label,
        10: ticket.lender_id,
        11: ticket.contract_ref,
        12: ticket.jurisdiction,
        13: ticket.start_type,
        14: ticket.profile,
        15: ticket.vin_salt,
        16: card,
    }
    return sign_form(Kind.WORK_TICKET, fields, _TICKET, signer)


def open_work_ticket(data: bytes, keys: KeyLookup) -> WorkTicket:
    """Read and verify a work ticket.

    Args:
        data: the whole message.
        keys: gives the backend's policy keys.

    Raises:
        ProtocolError: as `open_sign1`; BAD_FIELD for another form, an act nobody knows, or a life that is
            empty or longer than WORK_TICKET_LIFE_S_MAX.
    """
    message = open_sign1(data, Kind.WORK_TICKET, keys, max_bytes=WORK_TICKET_BYTES_MAX)
    fields = read_form("work-ticket", message.payload, _TICKET)
    if not 0 < fields[6] - fields[5] <= WORK_TICKET_LIFE_S_MAX:
        raise ProtocolError(Reject.BAD_FIELD, "work-ticket: no life, or too long a one")
    card = fields[16]
    return WorkTicket(
        ticket_id=fields[2],
        job_id=fields[3],
        installer=fields[4],
        nbf_s=fields[5],
        exp_s=fields[6],
        acts=tuple(word(Act, act, "work-ticket[7]") for act in fields[7]),
        vin=fields[8],
        label=fields[9],
        lender_id=fields[10],
        contract_ref=fields[11],
        jurisdiction=fields[12],
        start_type=fields[13],
        profile=fields[14],
        vin_salt=fields[15],
        wiring=Wiring(ignition_wire=card[1], crank_wire=card[2], start_note=card[3]),
    )


def ticket_qr(message: bytes) -> str:
    """Return the text of a ticket's QR code."""
    return TICKET_PREFIX + base64url.to_text(message)


def ticket_from_qr(text: str) -> bytes:
    """Return the message in a QR code's text; its signature is not looked at.

    Raises:
        ProtocolError: BAD_ENCODING when the text is no work ticket's.
    """
    if not text.startswith(TICKET_PREFIX):
        raise ProtocolError(Reject.BAD_ENCODING, f"the code does not begin with {TICKET_PREFIX}")
    try:
        return base64url.to_bytes(text.removeprefix(TICKET_PREFIX))
    except ValueError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"work ticket: {error}") from error


def sign_command(command: InstallCommand, signer: Signer) -> bytes:
    """Return the message; `signer` holds the key that the command carries."""
    fields = {
        1: VERSION,
        2: command.command_id,
        3: command.ticket_id,
        4: bytes.fromhex(command.device),
        5: command.seq,
        6: str(command.verb),
        7: command.argument,
        8: command.sent_s,
        9: command.installer_key,
    }
    return sign_form(Kind.INSTALL_COMMAND, fields, _COMMAND, signer)


def open_command(data: bytes) -> OpenedCommand:
    """Read a command and verify it by the key it carries; whether that key may is for the ticket to say.

    Raises:
        ProtocolError: as `open_sign1`; BAD_FIELD; UNKNOWN_KEY when another key signed.
    """
    message = read_sign1(data, max_bytes=SIGN1_BYTES_MAX)
    fields = read_form("install-command", message.payload, _COMMAND)
    key = public_key_from_cose(fields[9])
    if thumbprint(key) != message.kid:
        raise ProtocolError(Reject.UNKNOWN_KEY, "install-command: signed by another key than it carries")
    verify_sign1(message, Kind.INSTALL_COMMAND, key)
    command = InstallCommand(
        command_id=fields[2],
        ticket_id=fields[3],
        device=DeviceId(fields[4].hex()),
        seq=fields[5],
        verb=word(Verb, fields[6], "install-command[6]"),
        argument=fields[7],
        sent_s=fields[8],
        installer_key=fields[9],
    )
    return OpenedCommand(command=command, kid=message.kid)
