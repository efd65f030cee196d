"""The commissioning record: one payload, signed by box and installer, with the microcontroller's word beside.

Rules: the payload is `strict_cbor` with exactly the keys below. It travels as COSE_Sign with exactly two
signers, the box's D2 first and the installer second; each protected header is exactly {1: -9, 4: kid}, and
the payload names both kids. `commissioning`, by D1, names the payload's SHA-256 and stands beside it. The
file for people is JSON made from these bytes; its readable part is compared, never believed.

This module does not ask whether a key belongs to the box named: the registry does.

Example:
    >>> from protocol.vectors.installs import RECORD, record_message
    >>> from protocol.vectors.keys import published_lookup
    >>> open_record(record_message(), published_lookup("device-1", "installer-1")) == RECORD
    True

Source: RFC 9052 §4.1, §4.4.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from protocol import base64url, codec, strict_cbor
from protocol.cose_sign import BODY, TAG_SIGN
from protocol.envelope import (
    ESP256,
    SIGNATURE_BYTES,
    KeyLookup,
    Kind,
    Signer,
    external_aad,
    is_low_s,
    sig_structure,
    verify_raw,
)
from protocol.errors import ProtocolError, Reject
from protocol.fields import bad_field
from protocol.ids import DeviceId
from protocol.install_reading import (
    HASH,
    ID,
    NULL,
    SECONDS,
    STEP_ROWS,
    TEXT,
    VERSION,
    VERSION_FORM,
    VIN,
    WORD,
    check_facts,
    read_form,
    word,
)
from protocol.install_report import StepRow, open_commissioning, read_row, row_fields
from protocol.install_vocabulary import Act, Verdict, VinSource
from protocol.limits import INSTALL_PHOTOS_MAX, INSTALL_RECORD_BYTES_MAX, SIGN1_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.install_report import Commissioning

FILE_FORMAT: Final = "tbox-commissioning-record/1"
_SIGNERS = 2
_DEPTH = 4

_RECORD = {
    1: VERSION_FORM,
    2: ID,
    3: ID,
    4: HASH,
    5: HASH,
    6: HASH,
    7: HASH,
    8: ID,
    9: WORD,
    11: ("or", NULL, ("tuple", VIN, WORD)),
    12: ("bytes", 8, 8),
    13: HASH,
    14: ("text", 2, 6),
    15: ("text", 1, 16),
    16: ("or", NULL, WORD),
    17: ("map", {1: TEXT, 2: TEXT, 3: TEXT}),
    18: STEP_ROWS,
    19: ("list", HASH, 0, INSTALL_PHOTOS_MAX),
    20: ("or", NULL, ("tuple", WORD, SECONDS)),
    21: ("tuple", ("or", NULL, SECONDS), ("or", NULL, SECONDS)),
    22: ("or", NULL, ("tuple", HASH, HASH)),
    23: WORD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was found and done at one car.

    Attributes:
        ticket_id, job_id: of the work ticket.
        device, box_kid: the box and the key it signs with now.
        installer: kid of the installer.
        mcu_id, epoch: of its microcontroller.
        act: what was done.
        facts: text to text, as in the last report.
        vin, vin_source: None when no VIN is known.
        lender_id, contract_ref, jurisdiction, start_type, profile: of the ticket, profile as recognised.
        wiring: ignition wire, crank wire, note of the start, as carried out.
        steps: how each ended.
        photos: SHA-256 of each.
        consent: version of the text agreed to, and when; None without.
        began_s, ended_s: POSIX seconds; None while the box had no clock.
        bind: hashes of the BIND order and of its disposition; None when nothing was bound.
        verdict: bound, monitor-only or removed.
    """

    ticket_id: bytes
    job_id: bytes
    device: DeviceId
    box_kid: bytes
    installer: bytes
    mcu_id: bytes
    epoch: bytes
    act: Act
    facts: Mapping[str, str]
    vin: str | None
    vin_source: VinSource | None
    lender_id: bytes
    contract_ref: bytes
    jurisdiction: str
    start_type: str
    profile: str | None
    wiring: tuple[str, str, str]
    steps: tuple[StepRow, ...]
    photos: tuple[bytes, ...]
    consent: tuple[str, int] | None
    began_s: int | None
    ended_s: int | None
    bind: tuple[bytes, bytes] | None
    verdict: Verdict


def encode_record(record: Record) -> bytes:
    """Return the payload that all three sign.

    Raises:
        ValueError: a field out of its form, or more than INSTALL_RECORD_BYTES_MAX.
    """
    fields = {
        1: VERSION,
        2: record.ticket_id,
        3: record.job_id,
        4: bytes.fromhex(record.device),
        5: record.box_kid,
        6: record.installer,
        7: record.mcu_id,
        8: record.epoch,
        9: str(record.act),
        10: dict(record.facts),
        11: None if record.vin is None else [record.vin, str(record.vin_source or VinSource.PHOTO)],
        12: record.lender_id,
        13: record.contract_ref,
        14: record.jurisdiction,
        15: record.start_type,
        16: record.profile,
        17: dict(enumerate(record.wiring, 1)),
        18: [row_fields(row) for row in record.steps],
        19: list(record.photos),
        20: None if record.consent is None else list(record.consent),
        21: [record.began_s, record.ended_s],
        22: None if record.bind is None else list(record.bind),
        23: str(record.verdict),
    }
    payload = bytes(strict_cbor.dumps(fields))
    try:
        decode_record(payload)
    except ProtocolError as error:
        raise ValueError(str(error)) from error
    return payload


def decode_record(payload: bytes) -> Record:
    """Read a payload strictly; it is not signed by itself.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, UNSUPPORTED_VERSION, BAD_FIELD.
    """
    if len(payload) > INSTALL_RECORD_BYTES_MAX:
        raise ProtocolError(
            Reject.TOO_LARGE, f"record of {len(payload)} B, at most {INSTALL_RECORD_BYTES_MAX} B"
        )
    fields = read_form("commissioning-record", payload, _RECORD, also=check_facts)
    vin, card, consent, bind = fields[11], fields[17], fields[20], fields[22]
    verdict = word(Verdict, fields[23], "commissioning-record[23]")
    if (verdict is Verdict.BOUND) != (bind is not None):
        bad_field("commissioning-record[22]", "the BIND exactly when the verdict is bound")
    return Record(
        ticket_id=fields[2],
        job_id=fields[3],
        device=DeviceId(fields[4].hex()),
        box_kid=fields[5],
        installer=fields[6],
        mcu_id=fields[7],
        epoch=fields[8],
        act=word(Act, fields[9], "commissioning-record[9]"),
        facts=fields[10],
        vin=None if vin is None else vin[0],
        vin_source=None if vin is None else word(VinSource, vin[1], "commissioning-record[11]"),
        lender_id=fields[12],
        contract_ref=fields[13],
        jurisdiction=fields[14],
        start_type=fields[15],
        profile=fields[16],
        wiring=(card[1], card[2], card[3]),
        steps=tuple(read_row(row) for row in fields[18]),
        photos=tuple(fields[19]),
        consent=None if consent is None else (consent[0], consent[1]),
        began_s=fields[21][0],
        ended_s=fields[21][1],
        bind=None if bind is None else (bind[0], bind[1]),
        verdict=verdict,
    )


def record_part(payload: bytes, signer: Signer) -> bytes:
    """Return one signer's part: the installer's is the argument of `finish`."""
    protected = codec.encode({1: ESP256, 4: signer.kid})
    signature = signer.sign(_signed(protected, payload))
    return bytes(strict_cbor.dumps([protected, signature]))


def check_part(payload: bytes, part: bytes, keys: KeyLookup) -> bytes:
    """Verify one signer's part and return its kid.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_ENVELOPE, UNKNOWN_KEY, BAD_SIG, HIGH_S.
    """
    try:
        value = strict_cbor.loads(part)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"record part: {error}") from error
    match value:
        case [bytes() as protected, bytes() as signature]:
            return _verify(payload, protected, signature, keys)
        case _:
            raise ProtocolError(Reject.BAD_ENVELOPE, "record part: not [protected, signature]")


def assemble_record(payload: bytes, box_part: bytes, installer_part: bytes) -> bytes:
    """Return the COSE_Sign of two parts that were checked."""
    parts = [strict_cbor.loads(part) for part in (box_part, installer_part)]
    signers = [[protected, {}, signature] for protected, signature in parts]
    return bytes(TAG_SIGN + strict_cbor.dumps([BODY, {}, payload, signers]))


def open_record(data: bytes, keys: KeyLookup) -> Record:
    """Read a record and verify both signatures.

    Args:
        data: the COSE_Sign.
        keys: gives the keys of boxes and installers.

    Raises:
        ProtocolError: BAD_ENVELOPE for another container, number or order of signers; UNKNOWN_KEY; BAD_SIG;
            HIGH_S; as `decode_record`; BAD_FIELD when the kids are not those that the payload names.
    """
    payload, signers = _read_container(data)
    kids = [_verify(payload, protected, signature, keys) for protected, signature in signers]
    record = decode_record(payload)
    if kids != [record.box_kid, record.installer]:
        raise ProtocolError(Reject.BAD_FIELD, "record: signed by others than it names")
    return record


def record_payload(data: bytes) -> bytes:
    """Return the payload of a record, whose signatures are not looked at.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_ENVELOPE.
    """
    return _read_container(data)[0]


def open_whole_record(
    data: bytes, attestation: bytes, *, people: KeyLookup, microcontrollers: KeyLookup
) -> tuple[Record, Commissioning]:
    """Verify all three signatures and that they speak of the same thing.

    Args:
        data: the record, COSE_Sign.
        attestation: `commissioning`, COSE_Sign1.
        people: gives keys of boxes and installers.
        microcontrollers: gives D1.

    Raises:
        ProtocolError: as `open_record` and `open_commissioning`; BAD_FIELD when the microcontroller speaks of
            another payload, or the record names another microcontroller or epoch.
    """
    record = open_record(data, people)
    said = open_commissioning(attestation, microcontrollers)
    if said.record_sha256 != hashlib.sha256(record_payload(data)).digest():
        raise ProtocolError(Reject.BAD_FIELD, "commissioning: of another record")
    if (said.mcu_id, said.epoch) != (record.mcu_id, record.epoch):
        raise ProtocolError(Reject.BAD_FIELD, "record: names another microcontroller or epoch")
    return record, said


def write_record_file(*, record: bytes, attestation: bytes, ticket: bytes) -> str:
    """Return the JSON file of a record: three messages in base64url, and the same in words."""
    found = decode_record(record_payload(record))
    content = {
        "format": FILE_FORMAT,
        "record": base64url.to_text(record),
        "commissioning": base64url.to_text(attestation),
        "work_ticket": base64url.to_text(ticket),
        "readable": readable_record(found),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_record_file(text: str) -> tuple[bytes, bytes, bytes]:
    """Return record, commissioning and work ticket of a file; verify them next.

    Raises:
        ProtocolError: BAD_ENCODING for another file; BAD_FIELD when the readable part says something else
            than the bytes.
    """
    try:
        content = json.loads(text)
        names = ("record", "commissioning", "work_ticket")
        record, attestation, ticket = (base64url.to_bytes(content[name]) for name in names)
        is_ours = content["format"] == FILE_FORMAT
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(Reject.BAD_ENCODING, "not a file of a commissioning record") from error
    if not is_ours:
        raise ProtocolError(Reject.BAD_ENCODING, f"not {FILE_FORMAT}")
    if content.get("readable") != readable_record(decode_record(record_payload(record))):
        raise ProtocolError(Reject.BAD_FIELD, "the readable part was changed: only the signed bytes count")
    return record, attestation, ticket


def readable_record(record: Record) -> dict[str, Any]:
    """Return a record in words: bytes as hex, times as POSIX seconds."""
    return {
        "ticket_id": record.ticket_id.hex(),
        "job_id": record.job_id.hex(),
        "device": str(record.device),
        "box_key": record.box_kid.hex(),
        "installer": record.installer.hex(),
        "mcu_id": record.mcu_id.hex(),
        "epoch": record.epoch.hex(),
        "act": str(record.act),
        "vin": record.vin,
        "vin_source": None if record.vin_source is None else str(record.vin_source),
        "lender_id": record.lender_id.hex(),
        "contract_ref": record.contract_ref.hex(),
        "jurisdiction": record.jurisdiction,
        "start_type": record.start_type,
        "profile": record.profile,
        "wiring": dict(zip(("ignition_wire", "crank_wire", "start_note"), record.wiring, strict=True)),
        "steps": [
            {
                "step": str(row.step),
                "state": str(row.state),
                "code": row.code,
                "expected": row.expected,
                "measured": row.measured,
                "unit": row.unit,
                "took_ms": row.took_ms,
            }
            for row in record.steps
        ],
        "facts": dict(record.facts),
        "photos": [photo.hex() for photo in record.photos],
        "consent": None if record.consent is None else list(record.consent),
        "began_s": record.began_s,
        "ended_s": record.ended_s,
        "bind": None if record.bind is None else [part.hex() for part in record.bind],
        "verdict": str(record.verdict),
    }


def _signed(protected: bytes, payload: bytes) -> bytes:
    aad = external_aad(Kind.COMMISSIONING_RECORD)
    return sig_structure("Signature", BODY, aad, payload, sign_protected=protected)


def _verify(payload: bytes, protected: bytes, signature: bytes, keys: KeyLookup) -> bytes:
    header = _loads(protected)
    kid = header.get(4) if isinstance(header, dict) else None
    if not isinstance(kid, bytes) or header != {1: ESP256, 4: kid} or len(signature) != SIGNATURE_BYTES:
        raise ProtocolError(Reject.BAD_ENVELOPE, "record: a signer's header is not exactly algorithm and kid")
    key = keys(kid)
    if key is None:
        raise ProtocolError(Reject.UNKNOWN_KEY, f"no key {kid.hex()}")
    verify_raw(key, _signed(protected, payload), signature)
    if not is_low_s(signature):
        raise ProtocolError(Reject.HIGH_S, "the signature verifies, but its s is above n/2")
    return kid


def _read_container(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    if data[: len(TAG_SIGN)] != TAG_SIGN:
        raise ProtocolError(Reject.BAD_ENVELOPE, "record: not a tagged COSE_Sign")
    match _loads(data[len(TAG_SIGN) :]):
        case [bytes() as body, dict() as empty, bytes() as payload, list() as parts]:
            pass
        case _:
            raise ProtocolError(Reject.BAD_ENVELOPE, "record: not [protected, unprotected, payload, signers]")
    signers: list[tuple[bytes, bytes]] = []
    for part in parts:
        match part:
            case [bytes() as protected, dict() as none, bytes() as signature] if not none:
                signers.append((protected, signature))
            case _:
                raise ProtocolError(Reject.BAD_ENVELOPE, "record: not [protected, unprotected, signature]")
    if body != BODY or empty or len(signers) != _SIGNERS:
        raise ProtocolError(Reject.BAD_ENVELOPE, "record: not exactly two signers of our profile")
    return payload, signers


def _loads(data: bytes) -> Any:  # noqa: ANN401  (whatever was encoded; callers look)
    try:
        return strict_cbor.loads(data, SIGN1_BYTES_MAX, _DEPTH)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"record: {error}") from error
