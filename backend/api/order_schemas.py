"""What goes in and out of the routes of orders. Ids and hashes are hex, messages base64url."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.store.dispositions import StoredDisposition
from protocol.base64url import to_bytes, to_text
from protocol.limits import AUTHORITY_BUNDLE_BYTES_MAX, BASIS_BYTES_MAX, ORDER_BYTES_MAX
from protocol.orders import Code, State

EXAMPLE_ID = "019abf00000070008000000000000001"
EXAMPLE_HASH = "5f" * 32
EXAMPLE_MESSAGE = "2GKEQ6EDGDyg"


def _is_base64url(text: str) -> str:
    to_bytes(text)
    return text


def _chars(bytes_max: int) -> int:
    return -(-bytes_max * 4 // 3)


_BASE64URL = r"^[A-Za-z0-9_-]*$"

Message = Annotated[
    str,
    Field(min_length=1, max_length=_chars(ORDER_BYTES_MAX), pattern=_BASE64URL),
    AfterValidator(_is_base64url),
]
Bundle = Annotated[
    str,
    Field(min_length=1, max_length=_chars(BASIS_BYTES_MAX), pattern=_BASE64URL),
    AfterValidator(_is_base64url),
]
Document = Annotated[
    str,
    Field(min_length=1, max_length=_chars(AUTHORITY_BUNDLE_BYTES_MAX), pattern=_BASE64URL),
    AfterValidator(_is_base64url),
]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Id16 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class PartIn(BaseModel):
    """One signer's part."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"protected": EXAMPLE_MESSAGE, "signature": EXAMPLE_MESSAGE}]},
    )

    protected: Message = Field(description="The signer's protected header, base64url.")
    signature: Message = Field(description="r‖s, 64 bytes, base64url.")


class DispositionOut(BaseModel):
    """One signed answer of the car."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cmd_id": EXAMPLE_ID,
                    "seq": 2,
                    "epoch": EXAMPLE_ID,
                    "state": "ACCEPTED_PENDING",
                    "code": "OK",
                    "digest": EXAMPLE_HASH,
                    "document": EXAMPLE_MESSAGE,
                    "received_at": EXAMPLE_TIME,
                }
            ]
        }
    )

    cmd_id: str = Field(description="The order it is about.")
    seq: int = Field(description="Its number in the chain of this epoch, from 1 without gaps.")
    epoch: str = Field(description="The epoch, hex.")
    state: str = Field(description="State of the order in the car.")
    code: str = Field(description="Why.")
    digest: str = Field(description="SHA-256 of the document: what the next one names.")
    document: str = Field(description="The COSE_Sign1 by the microcontroller, base64url.")
    received_at: UtcTime

    @classmethod
    def of(cls, row: StoredDisposition) -> Self:
        """Show a row."""
        return cls(
            cmd_id=row.cmd_id,
            seq=row.seq,
            epoch=row.epoch.hex(),
            state=State(row.state).name,
            code=Code(row.code).name,
            digest=row.digest.hex(),
            document=to_text(row.document),
            received_at=to_datetime(row.received_us),
        )


EXAMPLE_PART: dict[str, JsonValue] = {"protected": EXAMPLE_MESSAGE, "signature": EXAMPLE_MESSAGE}
EXAMPLE_STAGE: dict[str, JsonValue] = {
    "cmd_id": EXAMPLE_ID,
    "cmd_hash": EXAMPLE_HASH,
    "stage": "AWAITING_CHECKER",
    "reported_state": "UNKNOWN",
}
EXAMPLE_SUMMARY: dict[str, JsonValue] = EXAMPLE_STAGE | {
    "device": EXAMPLE_DEVICE,
    "type": "LOCK",
    "created_at": EXAMPLE_TIME,
    "expires_at": EXAMPLE_TIME,
    "overtaken_by": EXAMPLE_ID,
    "waits_for": "the checker's signature",
}
