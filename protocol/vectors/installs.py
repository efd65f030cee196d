"""One installation, signed once each: ticket, commands, report, commissioning, record; and near misses.

Rules: see `story`; nothing random, nothing from a clock. The ticket is by `policy-1`.

Example:
    >>> sorted(install_messages())[:2]
    ['commissioning', 'commissioning-record']
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

from protocol import strict_cbor
from protocol.envelope import Kind, read_sign1, sign1
from protocol.errors import Reject
from protocol.ids import cose_key_bytes
from protocol.install_forms import (
    InstallCommand,
    Wiring,
    WorkTicket,
    sign_command,
    sign_work_ticket,
)
from protocol.install_record import Record, assemble_record, encode_record, record_part
from protocol.install_report import (
    BenchSeen,
    Commissioning,
    InstallReport,
    StepRow,
    sign_commissioning,
    sign_report,
)
from protocol.install_vocabulary import Act, Need, Stage, Step, StepState, Verb, Verdict, VinSource
from protocol.limits import SIGN1_BYTES_MAX
from protocol.vectors.forge import flipped
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import CONTRACT, EPOCH, JURISDICTION, LENDER_ID, MCU, NOW_S
from protocol.vectors.story import DEVICE, DEVICE_SIGNER, fixed_bytes

INSTALLER = published_signer("installer-1")
POLICY_SIGNER = published_signer("policy-1")
VIN = "TBXTEST0000000042"

TICKET = WorkTicket(
    ticket_id=fixed_bytes("work ticket"),
    job_id=fixed_bytes("job"),
    installer=INSTALLER.kid,
    nbf_s=NOW_S - 600,
    exp_s=NOW_S + 36_000,
    acts=(Act.INSTALL,),
    vin=VIN,
    label="TB-000042",
    lender_id=LENDER_ID,
    contract_ref=CONTRACT,
    jurisdiction=JURISDICTION,
    start_type="turn-key",
    profile="reference-car",
    vin_salt=fixed_bytes("vin salt"),
    wiring=Wiring(ignition_wire="X1/7 black", crank_wire="X1/3 red-black", start_note="at the column"),
)
COMMAND = InstallCommand(
    command_id=fixed_bytes("command"),
    ticket_id=TICKET.ticket_id,
    device=DEVICE,
    seq=2,
    verb=Verb.RUN,
    argument=str(Step.SUPPLY),
    sent_s=NOW_S,
    installer_key=cose_key_bytes(INSTALLER.public_key),
)
STEPS = (
    StepRow(
        step=Step.SUPPLY,
        state=StepState.PASS,
        expected="11500 to 15000",
        measured="12480",
        unit="mV",
        took_ms=4_000,
    ),
    StepRow(
        step=Step.CRANK_WIRE,
        state=StepState.FAIL,
        code="WIRES_SWAPPED",
        expected="off at ignition on",
        measured="on",
        took_ms=1_200,
    ),
)
REPORT = InstallReport(
    device=DEVICE,
    ticket_id=TICKET.ticket_id,
    seq=9,
    stage=Stage.OPEN,
    steps=STEPS,
    asks="CRANK_ONCE",
    led="ask",
    at_s=NOW_S,
    facts={"mcu_id": MCU.kid.hex(), "vin": VIN},
    need=(Need.BENCH, (b"challenge document",)),
)
RECORD = Record(
    ticket_id=TICKET.ticket_id,
    job_id=TICKET.job_id,
    device=DEVICE,
    box_kid=DEVICE_SIGNER.kid,
    installer=INSTALLER.kid,
    mcu_id=MCU.kid,
    epoch=EPOCH,
    act=Act.INSTALL,
    facts={"supply_mv": "12480"},
    vin=VIN,
    vin_source=VinSource.BOTH,
    lender_id=LENDER_ID,
    contract_ref=CONTRACT,
    jurisdiction=JURISDICTION,
    start_type="turn-key",
    profile="reference-car",
    wiring=("X1/7 black", "X1/3 red-black", "at the column"),
    steps=STEPS[:1],
    photos=(fixed_bytes("photo", 32),),
    consent=("1", NOW_S + 100),
    began_s=NOW_S,
    ended_s=NOW_S + 500,
    bind=(fixed_bytes("bind order", 32), fixed_bytes("bind disposition", 32)),
    verdict=Verdict.BOUND,
)


def record_message() -> bytes:
    """Return the record with both signatures."""
    payload = encode_record(RECORD)
    return assemble_record(payload, record_part(payload, DEVICE_SIGNER), record_part(payload, INSTALLER))


def commissioning() -> Commissioning:
    """Return the microcontroller's word about the record."""
    seen = BenchSeen(
        cmd_id=fixed_bytes("bench"), held_s=14, crank_s=3, starts=0, engine_s=0, is_contact_open_seen=True
    )
    return Commissioning(
        mcu_id=MCU.kid,
        epoch=EPOCH,
        record_sha256=hashlib.sha256(encode_record(RECORD)).digest(),
        benches=(seen,),
        tick_s=4_000,
        firmware=fixed_bytes("firmware", 32),
        is_demo=False,
        moved=(True, True, True, True),
    )


@cache
def install_messages() -> Mapping[str, bytes]:
    """Return every good message of an installation by name."""
    idle = replace(
        REPORT, ticket_id=None, seq=1, stage=Stage.IDLE, steps=(), asks=None, at_s=None, facts={}, need=None
    )
    begin = replace(COMMAND, seq=1, verb=Verb.BEGIN, argument=sign_work_ticket(TICKET, POLICY_SIGNER))
    return {
        "work-ticket": sign_work_ticket(TICKET, POLICY_SIGNER),
        "install-command": sign_command(COMMAND, INSTALLER),
        "install-command/begin": sign_command(begin, INSTALLER),
        "install-report": sign_report(REPORT, DEVICE_SIGNER),
        "install-report/idle": sign_report(idle, DEVICE_SIGNER),
        "commissioning": sign_commissioning(commissioning(), MCU),
        "commissioning-record": record_message(),
    }


def install_cases() -> Iterator[tuple[str, str, bytes, Reject]]:
    """Yield name, reader, message and reason of what must be refused."""
    good = install_messages()
    stranger = published_signer("stranger")

    def changed(kind: Kind, key: int, value: object) -> bytes:
        signer = {Kind.WORK_TICKET: POLICY_SIGNER, Kind.INSTALL_COMMAND: INSTALLER, Kind.COMMISSIONING: MCU}
        fields = strict_cbor.loads(read_sign1(good[kind], max_bytes=SIGN1_BYTES_MAX).payload)
        return sign1(kind, strict_cbor.dumps(fields | {key: value}), signer.get(kind, DEVICE_SIGNER))

    ticket, command, report = Kind.WORK_TICKET, Kind.INSTALL_COMMAND, Kind.INSTALL_REPORT
    yield "ticket-of-a-stranger", ticket, sign_work_ticket(TICKET, stranger), Reject.UNKNOWN_KEY
    yield "ticket-altered", ticket, flipped(good[ticket], 8 * 300), Reject.BAD_SIG
    yield "ticket-for-a-week", ticket, changed(ticket, 6, NOW_S + 604_800), Reject.BAD_FIELD
    yield "ticket-act-unknown", ticket, changed(ticket, 7, ["lock"]), Reject.BAD_FIELD
    yield "ticket-version-2", ticket, changed(ticket, 1, 2), Reject.UNSUPPORTED_VERSION
    yield "ticket-key-more", ticket, changed(ticket, 17, 0), Reject.BAD_FIELD
    yield "command-key-of-another", command, sign_command(COMMAND, stranger), Reject.UNKNOWN_KEY
    yield "command-seq-zero", command, changed(command, 5, 0), Reject.BAD_FIELD
    yield "command-verb-unknown", command, changed(command, 6, "unlock"), Reject.BAD_FIELD
    yield "command-as-report", report, good[command], Reject.UNKNOWN_KEY
    yield (
        "report-step-unknown",
        report,
        changed(report, 6, [["X", "PASS", "", "", "", "", 0]]),
        Reject.BAD_FIELD,
    )
    yield "report-need-short", report, changed(report, 11, [2, b"x"]), Reject.BAD_FIELD
    yield "report-facts-number", report, changed(report, 10, {"vin": 7}), Reject.BAD_FIELD
    other = changed(Kind.COMMISSIONING, 2, bytes(32))
    yield "commissioning-of-another", Kind.COMMISSIONING, other, Reject.BAD_FIELD
    yield from _record_cases()


def _record_cases() -> Iterator[tuple[str, str, bytes, Reject]]:
    payload = encode_record(RECORD)
    box, installer = record_part(payload, DEVICE_SIGNER), record_part(payload, INSTALLER)
    kind = Kind.COMMISSIONING_RECORD
    yield "record-signers-exchanged", kind, assemble_record(payload, installer, box), Reject.BAD_FIELD
    yield "record-box-twice", kind, assemble_record(payload, box, box), Reject.BAD_FIELD
    yield (
        "record-of-another-box",
        kind,
        assemble_record(payload, record_part(payload, published_signer("stranger")), installer),
        Reject.UNKNOWN_KEY,
    )
    lacking = encode_record(replace(RECORD, photos=()))
    yield "record-part-of-another", kind, assemble_record(lacking, box, installer), Reject.BAD_SIG
    yield "record-untagged", kind, record_message()[2:], Reject.BAD_ENVELOPE
