"""What a box and its microcontroller say about an installation: the report by D2, `commissioning` by D1.

Rules: COSE_Sign1; a report is sent at each change, and `seq` grows; the steps stand in their order. The
microcontroller's word is about one record, named by the hash of its payload, and says what it saw by itself:
benches, firmware, inputs in both positions.

This module does not decide what a report must contain.

Example:
    >>> from protocol.vectors.installs import REPORT
    >>> from protocol.vectors.keys import published_lookup, published_signer
    >>> open_report(sign_report(REPORT, published_signer("device-1")), published_lookup("device-1")) == REPORT
    True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocol.envelope import KeyLookup, Kind, Signer, open_sign1
from protocol.errors import ProtocolError, Reject
from protocol.ids import DeviceId
from protocol.install_reading import (
    BYTES,
    HASH,
    ID,
    NULL,
    SECONDS,
    STEP_ROWS,
    TEXT,
    UINT,
    VERSION,
    VERSION_FORM,
    WORD,
    check_facts,
    read_form,
    sign_form,
    word,
)
from protocol.install_vocabulary import Need, Stage, Step, StepState
from protocol.limits import COUNT_MAX, SIGN1_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

_REPORT = {
    1: VERSION_FORM,
    2: HASH,
    3: ("or", NULL, ID),
    4: ("uint", 1, COUNT_MAX),
    5: WORD,
    6: STEP_ROWS,
    7: ("or", NULL, TEXT),
    8: WORD,
    9: ("or", NULL, SECONDS),
    11: ("or", NULL, ("list", ("or", UINT, BYTES), 2, 3)),
}
_BENCH = ("tuple", ID, UINT, UINT, UINT, UINT, ("bool",))
_COMMISSIONING = {
    1: VERSION_FORM,
    2: HASH,
    3: ID,
    4: HASH,
    5: ("list", _BENCH, 0, 4),
    6: SECONDS,
    7: ("tuple", HASH, ("bool",)),
    8: ("tuple", ("bool",), ("bool",), ("bool",), ("bool",)),
}
_NEED_SIZES = {Need.BENCH: 2, Need.BIND: 3, Need.RECORD: 2, Need.TAKE: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step as a report and a record show it; `code` is empty or a finding of `install_words`."""

    step: Step
    state: StepState
    code: str = ""
    expected: str = ""
    measured: str = ""
    unit: str = ""
    took_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallReport:
    """Where the box stands.

    Attributes:
        device: the box.
        ticket_id: of the job, None while idle.
        seq: grows with each report.
        stage: of the job.
        steps: in their order.
        asks: what the installer shall do now, a key of `install_words.ASKS`; None when nothing is asked.
        led: the pattern shown now.
        at_s: POSIX seconds; None while the box has no clock.
        facts: what was found out, text to text.
        need: what the box waits for, and the bytes that go with it; None when it waits for nothing.
    """

    device: DeviceId
    ticket_id: bytes | None
    seq: int
    stage: Stage
    steps: tuple[StepRow, ...]
    asks: str | None
    led: str
    at_s: int | None
    facts: Mapping[str, str]
    need: tuple[Need, tuple[bytes, ...]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSeen:
    """What the microcontroller saw during one BENCH: seconds held, crank and engine seconds, starts."""

    cmd_id: bytes
    held_s: int
    crank_s: int
    starts: int
    engine_s: int
    is_contact_open_seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Commissioning:
    """The microcontroller's own word about an installation.

    Attributes:
        mcu_id, record_sha256: 32 bytes.
        epoch: 16 bytes.
        benches: what it saw, oldest first, at most four.
        tick_s: its monotonic seconds.
        firmware: its measurement.
        is_demo: the image is the demonstration's.
        moved: whether ignition, crank, engine and button were seen in both positions.
    """

    mcu_id: bytes
    epoch: bytes
    record_sha256: bytes
    benches: tuple[BenchSeen, ...]
    tick_s: int
    firmware: bytes
    is_demo: bool
    moved: tuple[bool, bool, bool, bool]


def sign_report(report: InstallReport, signer: Signer) -> bytes:
    """Return the message; `signer` is the box's D2."""
    fields = {
        1: VERSION,
        2: bytes.fromhex(report.device),
        3: report.ticket_id,
        4: report.seq,
        5: str(report.stage),
        6: [row_fields(row) for row in report.steps],
        7: report.asks,
        8: report.led,
        9: report.at_s,
        10: dict(report.facts),
        11: None if report.need is None else [int(report.need[0]), *report.need[1]],
    }
    return sign_form(Kind.INSTALL_REPORT, fields, _REPORT, signer, also=check_facts)


def open_report(data: bytes, keys: KeyLookup) -> InstallReport:
    """Read and verify a report.

    Args:
        data: the whole message.
        keys: gives the boxes' D2.

    Raises:
        ProtocolError: as `open_sign1`; BAD_FIELD. That the box named is the one whose key signed is for the
            caller, who knows the registry.
    """
    message = open_sign1(data, Kind.INSTALL_REPORT, keys, max_bytes=SIGN1_BYTES_MAX)
    fields = read_form("install-report", message.payload, _REPORT, also=check_facts)
    return InstallReport(
        device=DeviceId(fields[2].hex()),
        ticket_id=fields[3],
        seq=fields[4],
        stage=word(Stage, fields[5], "install-report[5]"),
        steps=tuple(read_row(row) for row in fields[6]),
        asks=fields[7],
        led=fields[8],
        at_s=fields[9],
        facts=fields[10],
        need=_read_need(fields[11]),
    )


def sign_commissioning(word_of_mcu: Commissioning, signer: Signer) -> bytes:
    """Return the message as the microcontroller's D1 signs it: for simulators and vectors."""
    fields = {
        1: VERSION,
        2: word_of_mcu.mcu_id,
        3: word_of_mcu.epoch,
        4: word_of_mcu.record_sha256,
        5: [
            [seen.cmd_id, seen.held_s, seen.crank_s, seen.starts, seen.engine_s, seen.is_contact_open_seen]
            for seen in word_of_mcu.benches
        ],
        6: word_of_mcu.tick_s,
        7: [word_of_mcu.firmware, word_of_mcu.is_demo],
        8: list(word_of_mcu.moved),
    }
    return sign_form(Kind.COMMISSIONING, fields, _COMMISSIONING, signer)


def open_commissioning(data: bytes, keys: KeyLookup) -> Commissioning:
    """Read and verify the microcontroller's word.

    Args:
        data: the whole message.
        keys: gives D1 for its kid.

    Raises:
        ProtocolError: as `open_sign1`; BAD_FIELD when the form differs, or another key signed than `mcu_id`.
    """
    message = open_sign1(data, Kind.COMMISSIONING, keys, max_bytes=SIGN1_BYTES_MAX)
    fields = read_form("commissioning", message.payload, _COMMISSIONING)
    if fields[2] != message.kid:
        raise ProtocolError(Reject.BAD_FIELD, "commissioning: the device named is not the key that signed")
    return Commissioning(
        mcu_id=fields[2],
        epoch=fields[3],
        record_sha256=fields[4],
        benches=tuple(
            BenchSeen(
                cmd_id=cmd_id,
                held_s=held,
                crank_s=crank,
                starts=starts,
                engine_s=engine,
                is_contact_open_seen=is_open,
            )
            for cmd_id, held, crank, starts, engine, is_open in fields[5]
        ),
        tick_s=fields[6],
        firmware=fields[7][0],
        is_demo=fields[7][1],
        moved=(fields[8][0], fields[8][1], fields[8][2], fields[8][3]),
    )


def row_fields(row: StepRow) -> list[str | int]:
    """Return a step as the list that travels."""
    return [str(row.step), str(row.state), row.code, row.expected, row.measured, row.unit, row.took_ms]


def read_row(row: list[Any]) -> StepRow:
    """Return a step from the list that travels, whose form was checked.

    Raises:
        ProtocolError: BAD_FIELD for a step or state nobody knows.
    """
    name, state, code, expected, measured, unit, took_ms = row
    return StepRow(
        step=word(Step, name, "step"),
        state=word(StepState, state, "step state"),
        code=code,
        expected=expected,
        measured=measured,
        unit=unit,
        took_ms=took_ms,
    )


def _read_need(value: list[Any] | None) -> tuple[Need, tuple[bytes, ...]] | None:
    if value is None:
        return None
    kind, parts = value[0], value[1:]
    is_known = isinstance(kind, int) and kind in set(Need)
    if not is_known or len(value) != _NEED_SIZES[Need(kind)] or not all(type(p) is bytes for p in parts):
        raise ProtocolError(Reject.BAD_FIELD, "install-report[11]")
    return Need(kind), tuple(parts)
