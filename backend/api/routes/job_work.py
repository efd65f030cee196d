"""Doing a job: the box scanned, photos kept, the gate asked, the record brought."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session
from starlette.responses import Response

from backend.api.deps import CurrentServices, NowUs, ReadSession, WriteSession, allow
from backend.api.install_schemas import (
    EXAMPLE_VIN,
    VIN_PATTERN,
    CoseKey,
    PhotoOut,
    Signed,
)
from backend.api.job_deps import VisibleJob, held
from backend.api.openapi import Responses, problems
from backend.api.order_schemas import EXAMPLE_HASH, EXAMPLE_MESSAGE, EXAMPLE_PART, Message, PartIn
from backend.api.problems import NOT_FOUND, REFUSALS, ProblemError, from_refusal
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.refusal import Reason, Refusal
from backend.store.contention import in_transaction
from backend.store.install_records import InstallRecord, list_job_records
from backend.store.jobs import Job, JobPhoto, find_photo, list_photos
from backend.store.labels import Label
from backend.usecases.fit_box import ask_gate, find_mcu_key, show_job_to_gate
from backend.usecases.gate_port import FittingGate, ShownJob
from backend.usecases.keep_photo import keep_photo
from backend.usecases.scan_box import scan_box
from backend.usecases.show_job import report_of
from backend.usecases.take_record import BroughtRecord, UsedTwice, take_record
from protocol.base64url import to_bytes, to_text
from protocol.envelope import read_sign1
from protocol.errors import ProtocolError
from protocol.install_record import decode_record, record_payload
from protocol.install_vocabulary import Need
from protocol.limits import SIGN1_BYTES_MAX

router = APIRouter(tags=["installation"])

Outcome = TypeVar("Outcome")

HashPath = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the picture.", examples=[EXAMPLE_HASH])
]


class ScanIn(BaseModel):
    """What the installer has before him."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"label": "TB-000123-Y", "vin": EXAMPLE_VIN}]}
    )

    label: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="Text of the label's code, or the serial as typed.",
    )
    vin: str = Field(pattern=VIN_PATTERN, description="As read from the car.")


class ScanOut(BaseModel):
    """Box and car belong to the job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"label": "TB-000123-Y", "device": EXAMPLE_DEVICE, "mcu_id": EXAMPLE_HASH, "iccid": None}
            ]
        }
    )

    label: str = Field(description="The serial.")
    device: str = Field(description="The box.")
    mcu_id: str = Field(description="Its microcontroller.")
    iccid: str | None = Field(description="Its SIM.")


class BenchIn(BaseModel):
    """What the box waits for with need BENCH."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"challenge": EXAMPLE_MESSAGE}]}
    )

    challenge: Message = Field(description="The microcontroller's challenge, from the report's need.")
    mcu_key: CoseKey | None = Field(
        default=None, description="D1 as COSE_Key, hex; null: as the depot or a registration told it."
    )


class BenchOut(BaseModel):
    """The gate's ticket."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ticket": EXAMPLE_MESSAGE, "delegation": EXAMPLE_MESSAGE}]}
    )

    ticket: str = Field(description="Key 25 of the BENCH order, base64url: good for 60 s.")
    delegation: str | None = Field(description="The gate's delegation, base64url.")


class BindIn(BenchIn):
    """What the box waits for with need BIND."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"challenge": EXAMPLE_MESSAGE, "payload": EXAMPLE_MESSAGE}]},
    )

    payload: Message = Field(description="The unsigned BIND payload, from the report's need.")


class BindOut(BaseModel):
    """The gate's part."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"part": EXAMPLE_PART, "delegation": EXAMPLE_MESSAGE}]}
    )

    part: PartIn = Field(description="The gate's protected header and signature.")
    delegation: str = Field(description="The gate's delegation, base64url.")


class RecordIn(BaseModel):
    """A commissioning record; without its parts it is taken from the box's newest report."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"record": EXAMPLE_MESSAGE, "attestation": EXAMPLE_MESSAGE, "from": "report"}]
        },
    )

    record: Signed | None = Field(default=None, description="COSE_Sign by box and installer, base64url.")
    attestation: Signed | None = Field(default=None, description="`commissioning` by D1, base64url.")
    mcu_key: CoseKey | None = Field(
        default=None, description="D1 as COSE_Key, hex; null: as the depot or a registration told it."
    )
    came_from: Literal["file", "report"] = Field(
        default="report", alias="from", description="Where it comes from; kept with it."
    )


class RecordOut(BaseModel):
    """A record that is accepted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sha256": EXAMPLE_HASH,
                    "act": "install",
                    "verdict": "bound",
                    "device": EXAMPLE_DEVICE,
                    "mcu_id": EXAMPLE_HASH,
                    "leaf": 42,
                    "record": EXAMPLE_MESSAGE,
                    "attestation": EXAMPLE_MESSAGE,
                    "missing_photos": [],
                    "accepted_at": EXAMPLE_TIME,
                }
            ]
        }
    )

    sha256: str = Field(description="SHA-256 of its payload.")
    act: str = Field(description="install, swap, remove or workshop.")
    verdict: str = Field(description="bound, monitor-only or removed.")
    device: str = Field(description="The box.")
    mcu_id: str = Field(description="Its microcontroller.")
    leaf: int | None = Field(description="Its place in the log; null while the log waits.")
    record: str = Field(description="As it came, base64url.")
    attestation: str = Field(description="As it came, base64url.")
    missing_photos: list[str] = Field(description="Photos it names that have not been sent.")
    accepted_at: UtcTime


class RecordsOut(BaseModel):
    """The records of a job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"items": [RecordOut.model_config["json_schema_extra"]["examples"][0]]}]  # type: ignore[index]
        }
    )

    items: list[RecordOut] = Field(description="Oldest first.")


@router.post(
    "/jobs/{job_id}/scan",
    summary="Check box and car",
    responses=problems(409),
    dependencies=[allow(Permission.INSTALL_WORK)],
)
def post_scan(job: VisibleJob, scan: ScanIn, session: WriteSession, now_us: NowUs) -> ScanOut:
    """Check that label, keys, SIM, box and VIN belong together and to this job; 409 says what does not."""

    def work() -> Label | Refusal:
        return scan_box(session, job=held(session, job), qr=scan.label, vin=scan.vin, now_us=now_us)

    label = _done(session, work)
    return ScanOut(label=label.label, device=label.box, mcu_id=label.mcu_id, iccid=label.iccid)


@router.post(
    "/jobs/{job_id}/bench-ticket",
    summary="Get a BENCH ticket of the gate",
    responses=problems(409),
    dependencies=[allow(Permission.INSTALL_WORK)],
)
def post_bench_ticket(
    job: VisibleJob, asked: BenchIn, session: ReadSession, services: CurrentServices, now_us: NowUs
) -> BenchOut:
    """Ask the gate for a ticket: its own checks decide, and 409 says which one spoke against it."""
    gate, shown = _shown(job, asked, session, services.gate, now_us)
    said = ask_gate(lambda: gate.ticket(shown))
    if isinstance(said, Refusal):
        raise from_refusal(said)
    if said.token is None:
        raise ProblemError(REFUSALS[Reason.GATE_AWAY])
    return BenchOut(
        ticket=to_text(said.token), delegation=None if said.delegation is None else to_text(said.delegation)
    )


@router.post(
    "/jobs/{job_id}/bind-part",
    summary="Get the gate's part of a BIND",
    responses=problems(409),
    dependencies=[allow(Permission.INSTALL_WORK)],
)
def post_bind_part(
    job: VisibleJob, asked: BindIn, session: ReadSession, services: CurrentServices, now_us: NowUs
) -> BindOut:
    """Ask the gate to sign the BIND beside installer and microcontroller."""
    gate, shown = _shown(job, asked, session, services.gate, now_us)
    said = ask_gate(lambda: gate.bind(shown, to_bytes(asked.payload)))
    if isinstance(said, Refusal):
        raise from_refusal(said)
    if said.part is None:
        raise ProblemError(REFUSALS[Reason.GATE_AWAY])
    part = PartIn(protected=to_text(said.part.protected), signature=to_text(said.part.signature))
    return BindOut(part=part, delegation=to_text(said.part.delegation))


def _shown(
    job: Job, asked: BenchIn, session: Session, gate: FittingGate | None, now_us: int
) -> tuple[FittingGate, ShownJob]:
    key = None if asked.mcu_key is None else bytes.fromhex(asked.mcu_key)
    shown = show_job_to_gate(
        session, job=job, challenge=to_bytes(asked.challenge), mcu_key=key, now_us=now_us
    )
    session.close()  # the gate may take its time: no connection waits with us
    if isinstance(shown, Refusal):
        raise from_refusal(shown)
    if gate is None:
        raise ProblemError(REFUSALS[Reason.GATE_AWAY], "this server's settings name no gate: set gate_url")
    return gate, shown


@router.put(
    "/jobs/{job_id}/record",
    summary="Bring the commissioning record",
    responses=problems(409),
    dependencies=[allow(Permission.INSTALL_WORK)],
)
def put_record(
    job: VisibleJob, asked: RecordIn, session: WriteSession, services: CurrentServices, now_us: NowUs
) -> RecordOut:
    """Bring the record that box, installer and microcontroller have signed; the same again is no other.

    Accepted, it ends the job, registers the microcontroller, and begins probation.
    """

    def work() -> RecordOut | UsedTwice | Refusal:
        row = held(session, job)
        brought = _brought(session, row, asked)
        if isinstance(brought, Refusal):
            return brought
        taken = take_record(session, job=row, brought=brought, is_demo=services.settings.demo, now_us=now_us)
        return _record(session, taken) if isinstance(taken, InstallRecord) else taken

    outcome = in_transaction(session, work)
    if isinstance(outcome, UsedTwice):
        raise from_refusal(outcome.refusal)
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return outcome


@router.get(
    "/jobs/{job_id}/records", summary="List a job's records", dependencies=[allow(Permission.INSTALL_READ)]
)
def read_records(job: VisibleJob, session: ReadSession) -> RecordsOut:
    """Return the accepted records of a job, verbatim."""
    rows = list_job_records(session, org_id=job.org_id, job_id=job.job_id)
    return RecordsOut(items=[_record(session, row) for row in rows])


def _brought(session: Session, job: Job, asked: RecordIn) -> BroughtRecord | Refusal:
    """Return what was sent, or what the box's newest report hands over."""
    record, attestation = asked.record, asked.attestation
    if record is None or attestation is None:
        report = report_of(session, job)
        if report is None or report.need is None or report.need[0] is not Need.TAKE:
            return Refusal(reason=Reason.BAD_INSTALL, detail="the box hands no record over: send it")
        parts = report.need[1]
    else:
        parts = (to_bytes(record), to_bytes(attestation))
    try:
        mcu_id = read_sign1(parts[1], max_bytes=SIGN1_BYTES_MAX).kid.hex()
    except ProtocolError as wrong:
        return Refusal(reason=Reason.BAD_INSTALL, detail=f"record: {wrong.code}")
    key = (
        bytes.fromhex(asked.mcu_key)
        if asked.mcu_key is not None
        else find_mcu_key(session, org_id=job.org_id, mcu_id=mcu_id)
    )
    if key is None:
        return Refusal(reason=Reason.BAD_INSTALL, detail="send the microcontroller's public key as mcu_key")
    return BroughtRecord(record=parts[0], attestation=parts[1], mcu_key=key, came_from=asked.came_from)


def _record(session: Session, row: InstallRecord) -> RecordOut:
    stored = {name for name, *_ in list_photos(session, org_id=row.org_id, job_id=row.job_id)}
    named = [photo.hex() for photo in decode_record(record_payload(row.record)).photos]
    return RecordOut(
        sha256=row.sha256,
        act=row.act,
        verdict=row.verdict,
        device=row.device_id,
        mcu_id=row.mcu_id,
        leaf=row.leaf_index,
        record=to_text(row.record),
        attestation=to_text(row.attestation),
        missing_photos=[name for name in named if name not in stored],
        accepted_at=to_datetime(row.at_us),
    )


# --- photos -------------------------------------------------------------------------------------------------

_PICTURE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}, "example": "…"}
_PICTURES: Responses = {
    200: {
        "description": "The picture, as it was sent.",
        "content": {"image/jpeg": _PICTURE, "image/png": _PICTURE},
    }
}
_BODY = {"requestBody": {"required": True, "content": {"image/jpeg": _PICTURE, "image/png": _PICTURE}}}


async def _picture(request: Request) -> tuple[str, bytes]:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return kind, await request.body()


Picture = Annotated[tuple[str, bytes], Depends(_picture)]


@router.put(
    "/jobs/{job_id}/photos/{sha256}",
    summary="Keep a photo",
    responses=problems(409, 413),
    openapi_extra=_BODY,
    dependencies=[allow(Permission.INSTALL_WORK)],
)
def put_photo(
    job: VisibleJob, sha256: HashPath, picture: Picture, session: WriteSession, now_us: NowUs
) -> PhotoOut:
    """Keep a JPEG or PNG of at most 4 MiB under its hash; what is stored already need not be sent again."""
    kind, content = picture
    if kind not in {"image/jpeg", "image/png"}:
        raise ProblemError(REFUSALS[Reason.BAD_PHOTO], "send image/jpeg or image/png")

    def work() -> JobPhoto | Refusal:
        return keep_photo(
            session,
            job=held(session, job),
            sha256=sha256,
            media_type=kind,
            content=content,
            now_us=now_us,
        )

    return _photo(_done(session, work))


@router.get(
    "/jobs/{job_id}/photos/{sha256}",
    summary="Show a photo",
    response_class=Response,
    responses=_PICTURES,
    dependencies=[allow(Permission.INSTALL_READ)],
)
def read_photo(job: VisibleJob, sha256: HashPath, session: ReadSession) -> Response:
    """Return a picture as it was sent."""
    found = find_photo(session, org_id=job.org_id, job_id=job.job_id, sha256=sha256)
    if found is None:
        raise ProblemError(NOT_FOUND)
    return Response(found.content, media_type=found.media_type)


def _photo(row: JobPhoto) -> PhotoOut:
    return PhotoOut(sha256=row.sha256, media_type=row.media_type, bytes=row.size, at=to_datetime(row.at_us))


def _done(session: Session, work: Callable[[], Outcome | Refusal]) -> Outcome:
    """Do the work in a transaction; a no is a problem, and what was written on the way to it stays out."""
    outcome = in_transaction(session, work)
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return outcome
