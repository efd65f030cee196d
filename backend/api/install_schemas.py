"""What goes in and out of the routes of installation. Ids and hashes are hex, messages base64url."""

import json
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from backend.api.order_schemas import EXAMPLE_HASH, EXAMPLE_ID, EXAMPLE_MESSAGE
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.store.jobs import JobEvent
from backend.store.vehicles import Vehicle, VehicleBinding
from protocol.base64url import to_bytes, to_text
from protocol.install_report import InstallReport, StepRow
from protocol.install_vocabulary import Act
from protocol.limits import INSTALL_WORD_BYTES_MAX, SIGN1_BYTES_MAX

EXAMPLE_VIN = "WVWZZZ1KZAW000001"
VIN_PATTERN = "^[A-HJ-NPR-Z0-9]{17}$"


def _is_base64url(text: str) -> str:
    to_bytes(text)
    return text


Signed = Annotated[
    str,
    Field(min_length=1, max_length=-(-SIGN1_BYTES_MAX * 4 // 3), pattern=r"^[A-Za-z0-9_-]*$"),
    AfterValidator(_is_base64url),
]
CoseKey = Annotated[str, Field(pattern="^[0-9a-f]{150}$")]
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Word = Annotated[str, Field(min_length=1, max_length=INSTALL_WORD_BYTES_MAX, pattern=r"^[\x20-\x7e]+$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]

EXAMPLE_WIRING: dict[str, JsonValue] = {
    "ignition_wire": "black/blue, D+ at the ignition switch, pin 3",
    "crank_wire": "black/yellow, terminal 50, pin 5",
    "start_note": "turn-key; clutch pressed",
}
EXAMPLE_VEHICLE_IN: dict[str, JsonValue] = {
    "vin": EXAMPLE_VIN,
    "lender_id": "e6289ebb27e83335",
    "contract_ref": EXAMPLE_HASH,
    "jurisdiction": "US-CA",
    "start_type": "turn-key",
    "profile": "demo",
    **EXAMPLE_WIRING,
}


class VehicleIn(BaseModel):
    """A vehicle that is to get a box."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_VEHICLE_IN]})

    vin: str = Field(pattern=VIN_PATTERN, description="Vehicle identification number, 17 characters.")
    lender_id: str = Field(pattern="^[0-9a-f]{16}$", description="The lender, 8 bytes, hex.")
    contract_ref: str = Field(
        pattern="^[0-9a-f]{64}$", description="Salted commitment to the contract, 32 bytes, hex."
    )
    jurisdiction: str = Field(pattern=r"^[A-Z0-9-]{2,6}$", description="Its pack, ISO 3166-2.")
    start_type: str = Field(
        pattern="^(turn-key|one-touch|ready)$", description="`turn-key`, `one-touch` or `ready`."
    )
    profile: Word | None = Field(default=None, description="Vehicle profile expected; null for unknown.")
    ignition_wire: Words = Field(description="Where the ignition wire is: colour, place, pin.")
    crank_wire: Words = Field(description="Where the crank wire is.")
    start_note: Words = Field(default="", description="What is special about starting it.")


class BindingOut(BaseModel):
    """A box that is or was in the vehicle."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "device": EXAMPLE_DEVICE,
                    "mcu_id": EXAMPLE_HASH,
                    "record_sha256": EXAMPLE_HASH,
                    "from": EXAMPLE_TIME,
                    "to": None,
                    "ended_by": None,
                }
            ]
        },
        populate_by_name=True,
    )

    device: str = Field(description="The box.")
    mcu_id: str = Field(description="Its microcontroller.")
    record_sha256: str = Field(description="The record that began it.")
    begun_at: UtcTime = Field(serialization_alias="from", description="Since when, UTC.")
    ended_at: datetime | None = Field(serialization_alias="to", description="Until when; null: still there.")
    ended_by: str | None = Field(description="The record or disposition that ended it.")

    @classmethod
    def of(cls, row: VehicleBinding) -> Self:
        """Show a row."""
        return cls(
            device=row.device_id,
            mcu_id=row.mcu_id,
            record_sha256=row.record_sha256,
            begun_at=to_datetime(row.begun_us),
            ended_at=optional_time(row.ended_us),
            ended_by=row.ended_by,
        )


class VehicleOut(BaseModel):
    """A vehicle, without its boxes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE_VEHICLE_IN
                | {"vehicle_id": EXAMPLE_ID, "workshop_until": None, "created_at": EXAMPLE_TIME}
            ]
        }
    )

    vehicle_id: str = Field(description="Its id, hex.")
    vin: str = Field(description="Vehicle identification number.")
    lender_id: str = Field(description="The lender, hex.")
    contract_ref: str = Field(description="Commitment to the contract, hex.")
    jurisdiction: str = Field(description="Its pack.")
    start_type: str = Field(description="How it starts.")
    profile: str | None = Field(description="Vehicle profile expected.")
    ignition_wire: str = Field(description="Where the ignition wire is.")
    crank_wire: str = Field(description="Where the crank wire is.")
    start_note: str = Field(description="What is special about starting it.")
    workshop_until: datetime | None = Field(description="End of workshop mode, if it is in it.")
    created_at: UtcTime

    @classmethod
    def of(cls, row: Vehicle) -> Self:
        """Show a row."""
        return cls(
            vehicle_id=row.vehicle_id,
            vin=row.vin,
            lender_id=row.lender_id.hex(),
            contract_ref=row.contract_ref.hex(),
            jurisdiction=row.jurisdiction,
            start_type=row.start_type,
            profile=row.profile,
            ignition_wire=row.ignition_wire,
            crank_wire=row.crank_wire,
            start_note=row.start_note,
            workshop_until=optional_time(row.workshop_until_us),
            created_at=to_datetime(row.created_us),
        )


class IdentityOut(BaseModel):
    """A box said something else than it is registered with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "device": EXAMPLE_DEVICE,
                    "kind": "IDENTITY_CHANGED",
                    "what": "vin",
                    "registered": EXAMPLE_VIN,
                    "said": "WVWZZZ1KZAW000002",
                    "since": EXAMPLE_TIME,
                }
            ]
        }
    )

    device: str = Field(description="The box.")
    kind: str = Field(description="Always `IDENTITY_CHANGED`: shown as another car.")
    what: str = Field(description="`vin`, `iccid` or `mcu_id`.")
    registered: str = Field(description="What was registered then.")
    said: str = Field(description="What the box said.")
    since: UtcTime


class StepOut(BaseModel):
    """One step of an installation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "step": "SUPPLY",
                    "state": "PASS",
                    "code": "",
                    "expected": "11.8 … 14.8",
                    "measured": "12.6",
                    "unit": "V",
                    "took_ms": 900,
                }
            ]
        }
    )

    step: str = Field(description="Its name.")
    state: str = Field(description="WAITING, RUNNING, ASKING, PASS, FAIL, LATER or SKIPPED.")
    code: str = Field(description="What was found, empty for nothing special.")
    expected: str = Field(description="What was expected.")
    measured: str = Field(description="What was measured.")
    unit: str = Field(description="Unit of both.")
    took_ms: int = Field(description="How long it took, ms.")

    @classmethod
    def of(cls, row: StepRow) -> Self:
        """Show a step."""
        return cls(
            step=row.step,
            state=row.state,
            code=row.code,
            expected=row.expected,
            measured=row.measured,
            unit=row.unit,
            took_ms=row.took_ms,
        )


EXAMPLE_REPORT: dict[str, JsonValue] = {
    "device": EXAMPLE_DEVICE,
    "seq": 12,
    "stage": "OPEN",
    "steps": [
        {
            "step": "SUPPLY",
            "state": "PASS",
            "code": "",
            "expected": "11.8 … 14.8",
            "measured": "12.6",
            "unit": "V",
            "took_ms": 900,
        }
    ],
    "asks": "IGNITION_ON",
    "led": "ASK",
    "said_at": EXAMPLE_TIME,
    "received_at": EXAMPLE_TIME,
    "facts": {"vin": EXAMPLE_VIN},
    "need": {"what": "BENCH", "parts": [EXAMPLE_MESSAGE]},
    "message": EXAMPLE_MESSAGE,
}


class NeedOut(BaseModel):
    """What the box waits for from outside."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"what": "BENCH", "parts": [EXAMPLE_MESSAGE]}]})

    what: str = Field(description="BENCH, BIND, RECORD or TAKE.")
    parts: list[str] = Field(description="What goes with it, base64url, in the order of SPEC §22.")


class ReportOut(BaseModel):
    """Where the box stands, by its own signed word."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_REPORT]})

    device: str = Field(description="The box.")
    seq: int = Field(description="Grows with each report.")
    stage: str = Field(description="IDLE, OPEN, FINISHED or ABORTED.")
    steps: list[StepOut] = Field(description="Steps in their order.")
    asks: str | None = Field(description="What the installer shall do now; null for nothing.")
    led: str = Field(description="The pattern that the box shows.")
    said_at: datetime | None = Field(description="By the box's clock; null without one.")
    received_at: UtcTime
    facts: dict[str, str] = Field(description="What was found out.")
    need: NeedOut | None = Field(description="What it waits for; null for nothing.")
    message: str = Field(description="The COSE_Sign1 by the box, base64url.")

    @classmethod
    def of(cls, report: InstallReport, message: str, received_us: int) -> Self:
        """Show a report."""
        need = report.need
        return cls(
            device=report.device,
            seq=report.seq,
            stage=report.stage,
            steps=[StepOut.of(row) for row in report.steps],
            asks=report.asks,
            led=report.led,
            said_at=None if report.at_s is None else to_datetime(report.at_s * 1_000_000),
            received_at=to_datetime(received_us),
            facts=dict(report.facts),
            need=None
            if need is None
            else NeedOut(what=need[0].name, parts=[to_text(part) for part in need[1]]),
            message=message,
        )


class EventOut(BaseModel):
    """Something that happened in a job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": 7, "kind": "report", "body": {"seq": 12, "stage": "OPEN"}, "at": EXAMPLE_TIME}
            ]
        }
    )

    id: int = Field(description="Its number: go on with `after=<id>` or Last-Event-ID.")
    kind: str = Field(
        description="planned, ticket, scan, command, report, photo, record, used-twice or identity."
    )
    body: dict[str, Any] = Field(description="A few words about it; for a report, look at the job.")
    at: UtcTime

    @classmethod
    def of(cls, row: JobEvent) -> Self:
        """Show a row."""
        assert row.event_no is not None, "a row that was read has its number"
        return cls(id=row.event_no, kind=row.kind, body=json.loads(row.body), at=to_datetime(row.at_us))


class PhotoOut(BaseModel):
    """A picture that is stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"sha256": EXAMPLE_HASH, "media_type": "image/jpeg", "bytes": 2_100_000, "at": EXAMPLE_TIME}
            ]
        }
    )

    sha256: str = Field(description="SHA-256 of the picture.")
    media_type: str = Field(description="image/jpeg or image/png.")
    bytes: int = Field(description="Its size.")
    at: UtcTime


class JobIn(BaseModel):
    """An appointment."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "vehicle": EXAMPLE_VIN,
                    "acts": ["install"],
                    "installer": "Avery Fitter",
                    "from": EXAMPLE_TIME,
                    "to": "2026-11-24T12:00:00.000000Z",
                    "label": "TB-000123-Y",
                }
            ]
        },
    )

    vehicle: str = Field(pattern=VIN_PATTERN, description="VIN of a vehicle that was entered.")
    acts: list[Act] = Field(min_length=1, max_length=len(Act), description="What is to be done.")
    installer: Name = Field(description="The person, as the delegation of his key names him.")
    installer_key: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{12}$",
        description="API key id with which he sees the job; null: any key of that name.",
    )
    begins_at: AwareDatetime = Field(alias="from", description="Not before, RFC 3339 with an offset.")
    ends_at: AwareDatetime = Field(alias="to", description="Not after; at most 14 h later.")
    label: Word | None = Field(default=None, description="Serial of the box meant; null for any.")
    workshop_until: AwareDatetime | None = Field(
        default=None, description="End of workshop mode; with the act `workshop` only."
    )


EXAMPLE_JOB: dict[str, JsonValue] = {
    "job_id": EXAMPLE_ID,
    "vin": EXAMPLE_VIN,
    "acts": ["install"],
    "installer": "Avery Fitter",
    "from": EXAMPLE_TIME,
    "to": "2026-11-24T12:00:00.000000Z",
    "state": "PLANNED",
    "label": "TB-000123-Y",
    "device": None,
    "ticket": "none",
    "start_type": "turn-key",
    "wiring": EXAMPLE_WIRING,
}


class WiringOut(BaseModel):
    """The wiring card."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_WIRING]})

    ignition_wire: str = Field(description="Where the ignition wire is.")
    crank_wire: str = Field(description="Where the crank wire is.")
    start_note: str = Field(description="What is special about starting it.")


class JobOut(BaseModel):
    """A job in the list of a day."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_JOB]})

    job_id: str = Field(description="Its id, hex.")
    vin: str = Field(description="The vehicle.")
    acts: list[str] = Field(description="What is to be done.")
    installer: str = Field(description="Who does it.")
    begins_at: UtcTime = Field(serialization_alias="from", description="Not before, UTC.")
    ends_at: UtcTime = Field(serialization_alias="to", description="Not after, UTC.")
    state: str = Field(description="PLANNED, OPEN, AT_WORK, DONE or ABORTED.")
    label: str | None = Field(description="Serial of the box meant.")
    device: str | None = Field(description="The box that was scanned or began.")
    ticket: str = Field(description="`none`, `issued` or `used`.")
    start_type: str = Field(description="How the vehicle starts.")
    wiring: WiringOut = Field(description="The wiring card.")


class JobsOut(BaseModel):
    """The jobs of a day."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [EXAMPLE_JOB]}]})

    items: list[JobOut] = Field(description="By their beginning.")


class TicketOut(BaseModel):
    """A work ticket."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ticket_id": EXAMPLE_ID,
                    "installer": EXAMPLE_HASH,
                    "ticket": EXAMPLE_MESSAGE,
                    "qr": f"TBOX-WT1:{EXAMPLE_MESSAGE}",
                }
            ]
        }
    )

    ticket_id: str = Field(description="Its id, hex.")
    installer: str = Field(description="kid of the key that may act under it, hex.")
    ticket: str = Field(description="The COSE_Sign1 by the backend's policy key, base64url.")
    qr: str = Field(description="Text of its QR code.")


class CommandIn(BaseModel):
    """What the installer's key has signed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"command": EXAMPLE_MESSAGE}]})

    command: Signed = Field(description="An install-command, base64url.")


class RelayedOut(BaseModel):
    """A command is on its way."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"command_id": EXAMPLE_ID, "device": EXAMPLE_DEVICE}]}
    )

    command_id: str = Field(description="Its id, hex.")
    device: str = Field(description="The box it goes to.")
