"""Evidence: an interval of a box as one sealed file, and the keys that seal."""

import hashlib

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from backend import ledger
from backend.api.deps import (
    CurrentCaller,
    CurrentServices,
    NowUs,
    OwnDevice,
    PositionAccess,
    ReadSession,
    allow,
)
from backend.api.openapi import problems
from backend.api.problems import from_refusal
from backend.api.ranges import FromTime, ToTime, checked_range
from backend.domain.access import Permission
from backend.domain.refusal import Refusal
from backend.store.contention import in_transaction
from backend.store.service_keys import list_service_keys
from backend.usecases.export_evidence import export_evidence
from backend.usecases.register_service_keys import ServicePurpose
from protocol.limits import TRACE_RANGE_US_MAX

router = APIRouter(tags=["evidence"])

MEDIA_TYPE = "application/cbor-seq"


@router.get(
    "/devices/{device_id}/evidence",
    summary="Evidence of a box as a sealed file",
    dependencies=[allow(Permission.EVIDENCE_EXPORT)],
    response_class=Response,
    responses=problems(400)
    | {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": "(a .tbe file)"}}}},
)
def read_evidence(
    *,
    device: OwnDevice,
    caller: CurrentCaller,
    session: ReadSession,
    services: CurrentServices,
    positions: PositionAccess,
    now_us: NowUs,
    begin: FromTime,
    end: ToTime,
) -> Response:
    """Return what the box recorded in [from, to), at most 31 days, for `tbox evidence verify`.

    The file holds whole batches, so positions too: it needs `Access-Purpose`, and is logged; its hash is a
    leaf of the log.
    """
    wanted = checked_range(begin, end, longest_us=TRACE_RANGE_US_MAX)
    positions.record(
        device_id=device.device_id,
        subject="evidence",
        from_us=wanted.from_us,
        to_us=wanted.to_us,
        permission=Permission.EVIDENCE_EXPORT,
    )
    assert positions.purpose is not None, "without one nothing is recorded"
    file = export_evidence(
        session,
        org_id=caller.org_id,
        device_id=device.device_id,
        from_us=wanted.from_us,
        to_us=wanted.to_us,
        purpose=positions.purpose,
        signer=services.identity.receipt_signer,
        now_us=now_us,
    )
    if isinstance(file, Refusal):
        raise from_refusal(file)
    entry = ledger.Entry(
        leaf_type=ledger.LeafType.EXPORT,
        content=hashlib.sha256(file).digest(),
        org_id=caller.org_id,
        device_id=device.device_id,
    )
    with services.database.writing() as writing:
        in_transaction(writing, lambda: ledger.append_or_queue(writing, entry, at_us=now_us))
    name = f"{device.device_id[:16]}.tbe"
    return Response(
        file, media_type=MEDIA_TYPE, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


class SealKeysOut(BaseModel):
    """Keys that receipt and seal."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"backend_keys": ["a401022001215820" + "00" * 32 + "225820" + "00" * 32]}]
        }
    )

    backend_keys: list[str] = Field(description="COSE_Keys in hex, newest first, retired ones too.")


@router.get(
    "/seal-keys",
    summary="Keys that receipt and seal",
    dependencies=[allow(Permission.SELF_READ)],
)
def read_seal_keys(session: ReadSession) -> SealKeysOut:
    """Return the backend's receipt keys for a verifier's trust file.

    Whoever verifies this server's evidence compares them with what another way has told him.
    """
    rows = list_service_keys(session, purpose=ServicePurpose.RECEIPT)
    return SealKeysOut(backend_keys=[row.cose_key.hex() for row in rows])
