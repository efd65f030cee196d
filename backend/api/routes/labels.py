"""Labels of boxes, registered by the depot."""

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from backend.api.deps import CurrentCaller, NowUs, allow
from backend.api.idempotency import Repeated
from backend.api.install_schemas import CoseKey, Word
from backend.api.openapi import problems
from backend.api.order_schemas import EXAMPLE_HASH, Hash
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.store.labels import Label
from backend.usecases.register_label import AskedLabel, register_label

router = APIRouter(tags=["installation"])

_ICCID = "89882390000012345678"


class LabelIn(BaseModel):
    """What the depot has put into a box, and stuck on it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "label": "TB-000123-Y",
                    "device": EXAMPLE_DEVICE,
                    "mcu_id": EXAMPLE_HASH,
                    "iccid": _ICCID,
                    "report_sha256": EXAMPLE_HASH,
                }
            ]
        },
    )

    label: Word = Field(description="The serial on the sticker.")
    device: Hash = Field(description="Device id: thumbprint of the first D2.")
    mcu_id: Hash = Field(description="Thumbprint of D1.")
    mcu_key: CoseKey | None = Field(default=None, description="D1 as COSE_Key, 75 bytes, hex.")
    iccid: Annotated[str, Field(pattern="^[0-9]{18,22}$")] | None = Field(
        default=None, description="Number of its SIM; null without one."
    )
    report_sha256: Hash = Field(description="SHA-256 of the depot's test report.")


class LabelOut(BaseModel):
    """A label that is registered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "TB-000123-Y",
                    "device": EXAMPLE_DEVICE,
                    "mcu_id": EXAMPLE_HASH,
                    "iccid": _ICCID,
                    "created_at": EXAMPLE_TIME,
                }
            ]
        }
    )

    label: str = Field(description="The serial, in its one spelling.")
    device: str = Field(description="The box.")
    mcu_id: str = Field(description="Its microcontroller.")
    iccid: str | None = Field(description="Its SIM.")
    created_at: UtcTime

    @classmethod
    def of(cls, row: Label) -> Self:
        """Show a row."""
        return cls(
            label=row.label,
            device=row.box,
            mcu_id=row.mcu_id,
            iccid=row.iccid,
            created_at=to_datetime(row.created_us),
        )


@router.post(
    "/labels",
    summary="Register a label",
    status_code=201,
    response_model=LabelOut,
    responses=problems(409),
    dependencies=[allow(Permission.LABEL_REGISTER)],
)
def post_label(caller: CurrentCaller, label: LabelIn, repeated: Repeated, now_us: NowUs) -> JSONResponse:
    """Register which keys and which SIM are behind a label; before or after the box is enrolled."""
    asked = AskedLabel(
        label=label.label,
        device_id=label.device,
        mcu_id=label.mcu_id,
        mcu_key=None if label.mcu_key is None else bytes.fromhex(label.mcu_key),
        iccid=label.iccid,
        report_sha256=label.report_sha256,
    )
    return repeated.answer(
        201,
        LabelOut.of,
        lambda: register_label(repeated.session, caller=caller, asked=asked, now_us=now_us),
    )
