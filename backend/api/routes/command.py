"""A car as orders see it: its microcontroller, its challenge, what it has signed."""

import secrets
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlmodel import Session

from backend.api.deps import CurrentCaller, NowUs, OwnDevice, ReadSession, WriteSession, allow
from backend.api.openapi import problems
from backend.api.order_schemas import (
    EXAMPLE_HASH,
    EXAMPLE_ID,
    EXAMPLE_MESSAGE,
    EXAMPLE_SUMMARY,
    DispositionOut,
    Hash,
    Id16,
    Message,
)
from backend.api.paging import Page, Paging
from backend.api.problems import REFUSALS, ProblemError, from_refusal
from backend.api.routes.orders import OrderOut
from backend.api.schemas import EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.refusal import Reason, Refusal
from backend.store.contention import in_transaction
from backend.store.dispositions import list_dispositions
from backend.store.mcus import Mcu, McuChallenge, find_challenge, find_mcu
from backend.store.orders import counters_used, find_slot_holder
from backend.usecases.ask_challenge import ask_challenge
from backend.usecases.register_mcu import AskedMcu, register_by_hand
from backend.usecases.show_order import car_state
from protocol import orders_payload
from protocol.base64url import to_bytes, to_text
from protocol.orders_vocabulary import CLASS

router = APIRouter(tags=["orders"])

_MODES = ("COMMISSIONING", "ACTIVE", "MONITOR")
_MCU_EXAMPLE: dict[str, JsonValue] = {
    "cose_key": "a401022001215820" + "00" * 32 + "225820" + "00" * 32,
    "epoch": EXAMPLE_ID,
    "vin_bind": EXAMPLE_HASH,
    "contract_ref": EXAMPLE_HASH,
    "lender_id": "e6289ebb27e83335",
    "jurisdiction": "US-CA",
    "challenge": EXAMPLE_MESSAGE,
}


class McuIn(BaseModel):
    """A box's microcontroller, and what its orders must name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_MCU_EXAMPLE]})

    cose_key: str = Field(
        pattern="^[0-9a-f]{150}$",
        description="Public key D1 as COSE_Key, hex: it gives the mcu_id.",
    )
    epoch: Id16 = Field(description="Its epoch, 16 bytes, hex.")
    vin_bind: Hash = Field(description="SHA-256(device salt ‖ VIN), hex.")
    contract_ref: Hash = Field(description="Salted commitment to the contract, hex.")
    lender_id: str = Field(pattern="^[0-9a-f]{16}$", description="The lender, 8 bytes, hex.")
    jurisdiction: str = Field(
        pattern=r"^[A-Z0-9-]{2,6}$", description="The pack it is registered for, ISO 3166-2."
    )
    challenge: Message = Field(
        description="A challenge of this epoch, signed by the microcontroller: it shows that it is there."
    )


class ChallengeOut(BaseModel):
    """The car's newest challenge."""

    document: str = Field(description="The COSE_Sign1 by the microcontroller, base64url.")
    received_at: UtcTime
    is_used: bool = Field(description="Whether an order with it was accepted: ask for another.")

    @classmethod
    def of(cls, row: McuChallenge) -> Self:
        """Show a row."""
        return cls(
            document=to_text(row.document), received_at=to_datetime(row.received_us), is_used=row.is_used
        )


class CommandOut(BaseModel):
    """A car as whoever writes an order for it needs it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "mcu_id": EXAMPLE_HASH,
                    "lender_id": "e6289ebb27e83335",
                    "vin_bind": EXAMPLE_HASH,
                    "contract_ref": EXAMPLE_HASH,
                    "epoch": EXAMPLE_ID,
                    "jur": "US-CA",
                    "cose_key": _MCU_EXAMPLE["cose_key"],
                    "heads": [10, 20, 30],
                    "counters_used": [10, 20, 30],
                    "prev": EXAMPLE_HASH,
                    "mode": "ACTIVE",
                    "challenge": {
                        "document": EXAMPLE_MESSAGE,
                        "received_at": EXAMPLE_TIME,
                        "is_used": False,
                    },
                    "reported_state": "UNKNOWN",
                    "reported_at": None,
                    "open_order": EXAMPLE_SUMMARY,
                }
            ]
        }
    )

    mcu_id: str = Field(description="Thumbprint of the microcontroller's key D1, hex.")
    cose_key: str = Field(description="D1 as COSE_Key, hex; a tool compares it with the one it has pinned.")
    lender_id: str = Field(description="The lender, hex.")
    vin_bind: str = Field(description="Binding of the VIN, hex.")
    contract_ref: str = Field(description="Commitment to the contract, hex.")
    epoch: str = Field(description="Its epoch, hex.")
    jur: str = Field(description="Jurisdiction pack.")
    heads: list[int] = Field(description="Last counters that the car has accepted: classes A, B, C.")
    counters_used: list[int] = Field(
        description="Highest counters of orders known here, by class; a new order takes a higher one."
    )
    prev: str = Field(description="cmd_hash of the last order that the car has accepted, hex.")
    mode: str | None = Field(description="`COMMISSIONING`, `ACTIVE`, `MONITOR`; null until the car says it.")
    challenge: ChallengeOut | None = Field(description="Its newest challenge; null until one has come.")
    reported_state: str = Field(description="What the car has signed of its lock; `UNKNOWN` until it has.")
    reported_at: Annotated[UtcTime | None, Field(description="When that arrived.")]
    open_order: OrderOut | None = Field(description="The restrictive order that holds the vehicle's slot.")


class AskedOut(BaseModel):
    """A question is on its way."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"asked": True}]})

    asked: bool = Field(description="True: look at `command` for the answer.")


@router.put(
    "/devices/{device_id}/mcu",
    summary="Register a microcontroller",
    responses=problems(409),
    dependencies=[allow(Permission.MCU_REGISTER)],
)
def put_mcu(device: OwnDevice, asked: McuIn, session: WriteSession, now_us: NowUs) -> CommandOut:
    """Register the microcontroller of a box by hand, or another epoch or contract of it.

    Commissioning does it by its record; by hand the microcontroller shows itself by a signed challenge, and
    another one than the registered is refused. The same again changes nothing.
    """
    wanted = AskedMcu(
        cose_key=bytes.fromhex(asked.cose_key),
        epoch=bytes.fromhex(asked.epoch),
        vin_bind=bytes.fromhex(asked.vin_bind),
        contract_ref=bytes.fromhex(asked.contract_ref),
        lender_id=bytes.fromhex(asked.lender_id),
        jurisdiction=asked.jurisdiction,
    )

    def register() -> CommandOut | Refusal:
        found = register_by_hand(
            session, device=device, asked=wanted, challenge=to_bytes(asked.challenge), now_us=now_us
        )
        return found if isinstance(found, Refusal) else _command(session, found)

    outcome = in_transaction(session, register)
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return outcome


@router.get(
    "/devices/{device_id}/command",
    summary="Show a car as orders see it",
    responses=problems(409),
    dependencies=[allow(Permission.ORDER_READ)],
)
def read_command(device: OwnDevice, session: ReadSession) -> CommandOut:
    """Return what an order for this car must name, its challenge, and what it has signed of its lock."""
    return _command(session, _mcu(session, device.org_id, device.device_id))


@router.post(
    "/devices/{device_id}/challenge",
    summary="Ask a car for its challenge",
    status_code=202,
    responses=problems(409),
    dependencies=[allow(Permission.ORDER_RELEASE)],
)
def post_challenge(device: OwnDevice, session: WriteSession, now_us: NowUs) -> AskedOut:
    """Ask the box for its open challenge; it is in `command` once it has come. Asking twice asks once."""

    def ask() -> Refusal | None:
        mcu = find_mcu(session, org_id=device.org_id, device_id=device.device_id)
        if mcu is None:
            return Refusal(reason=Reason.MCU_UNREGISTERED, detail="commissioning registers it first")
        ask_challenge(session, mcu=mcu, nonce=secrets.token_bytes(16), now_us=now_us)
        return None

    refusal = in_transaction(session, ask)
    if refusal is not None:
        raise from_refusal(refusal)
    return AskedOut(asked=True)


@router.get(
    "/devices/{device_id}/dispositions",
    summary="List a car's dispositions",
    dependencies=[allow(Permission.ORDER_READ)],
)
def read_dispositions(
    device: OwnDevice, caller: CurrentCaller, session: ReadSession, paging: Paging
) -> Page[DispositionOut]:
    """Return what the car has signed, verbatim, in the order of arrival."""
    scope = f"dispositions/{device.device_id}"
    rows = list_dispositions(
        session,
        org_id=caller.org_id,
        device_id=device.device_id,
        after=paging.after_number(scope),
        limit=paging.limit + 1,
    )
    return paging.page(rows, scope=scope, key=lambda row: [row.item_no or 0], show=DispositionOut.of)


def _mcu(session: Session, org_id: str, device_id: str) -> Mcu:
    mcu = find_mcu(session, org_id=org_id, device_id=device_id)
    if mcu is None:
        raise ProblemError(REFUSALS[Reason.MCU_UNREGISTERED], "commissioning registers it first")
    return mcu


def _command(session: Session, mcu: Mcu) -> CommandOut:
    challenge = find_challenge(session, org_id=mcu.org_id, device_id=mcu.device_id)
    used = list(mcu.heads)
    for order_type, payload in counters_used(session, device_id=mcu.device_id):
        fields = orders_payload.read_order(payload)[0]
        if fields[8] == mcu.epoch:
            used[CLASS[order_type]] = max(used[CLASS[order_type]], fields[9])
    holder = find_slot_holder(session, device_id=mcu.device_id)
    return CommandOut(
        mcu_id=mcu.mcu_id,
        cose_key=mcu.cose_key.hex(),
        lender_id=mcu.lender_id.hex(),
        vin_bind=mcu.vin_bind.hex(),
        contract_ref=mcu.contract_ref.hex(),
        epoch=mcu.epoch.hex(),
        jur=mcu.jurisdiction,
        heads=mcu.heads,
        counters_used=used,
        prev=mcu.prev.hex(),
        mode=None if mcu.mode is None else _MODES[mcu.mode],
        challenge=None if challenge is None else ChallengeOut.of(challenge),
        reported_state=car_state(mcu),
        reported_at=optional_time(mcu.reported_us),
        open_order=None if holder is None else OrderOut.of(holder),
    )
