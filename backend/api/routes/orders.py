"""Orders: brought signed, approved, withdrawn, shown with all that is known of them.

There is no route for several cars at once, and none that makes a signature.
"""

from typing import Annotated, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session
from starlette.responses import JSONResponse

from backend import ledger
from backend.api.deps import CurrentCaller, CurrentServices, NowUs, OwnDevice, ReadSession, allow
from backend.api.idempotency import Repeated
from backend.api.openapi import problems
from backend.api.order_schemas import (
    EXAMPLE_HASH,
    EXAMPLE_ID,
    EXAMPLE_MESSAGE,
    EXAMPLE_PART,
    EXAMPLE_STAGE,
    EXAMPLE_SUMMARY,
    Bundle,
    DispositionOut,
    Message,
    PartIn,
)
from backend.api.paging import Page, Paging
from backend.api.problems import BAD_CURSOR, REFUSALS, ProblemError
from backend.api.schemas import EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.domain.access import Caller, Permission
from backend.domain.order_flow import Stage
from backend.domain.refusal import Reason
from backend.store.dispositions import list_dispositions
from backend.store.orders import (
    GateAnswer,
    Order,
    OrderPart,
    OrderStage,
    find_order,
    list_answers,
    list_orders,
    list_parts,
    list_stages,
)
from backend.usecases.approve_order import approve_order, withdraw_order
from backend.usecases.request_order import AskedOrder, request_order
from backend.usecases.show_order import reported_state, waits_for
from protocol.base64url import to_bytes, to_text
from protocol.checker_reasons import CheckerReason
from protocol.limits import PAGE_ITEMS_MAX
from protocol.orders import Code, Role

router = APIRouter(tags=["orders"])

_SCOPE = "orders"

CmdPath = Annotated[
    str, Path(pattern="^[0-9a-f]{32}$", description="The order's id, 32 hex digits.", examples=[EXAMPLE_ID])
]


class OrderIn(BaseModel):
    """An order as its first signer made it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "payload": EXAMPLE_MESSAGE,
                    "part": EXAMPLE_PART,
                    "delegation": EXAMPLE_MESSAGE,
                    "basis": None,
                }
            ]
        },
    )

    payload: Message = Field(description="The order's payload, base64url: what all its signers sign.")
    part: PartIn = Field(description="The signer's part.")
    delegation: Message = Field(description="The whole delegation that the part names, base64url.")
    basis: Bundle | None = Field(
        default=None, description="The bundle whose SHA-256 is the payload's key 17, base64url."
    )


class ApprovalIn(BaseModel):
    """The checker's part."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"part": EXAMPLE_PART, "delegation": EXAMPLE_MESSAGE, "reason_code": "ACCOUNT"}]
        },
    )

    part: PartIn = Field(description="The checker's part, over the same payload.")
    delegation: Message = Field(description="The whole delegation that the part names, base64url.")
    reason_code: str = Field(
        pattern=f"^({'|'.join(CheckerReason.__members__)})$",
        description="The checker's own reason, independent of the maker's: what he looked at himself.",
    )


class OrderStageOut(BaseModel):
    """Where an order stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_STAGE]})

    cmd_id: str = Field(description="Its id, 32 hex digits.")
    cmd_hash: str = Field(description="SHA-256 of its payload, 64 hex digits.")
    stage: Stage = Field(description="Where it stands in the backend; it never says what the car does.")
    reported_state: str = Field(
        description="What the car itself has signed about this order; `UNKNOWN` until it has."
    )

    @classmethod
    def of(cls, row: Order) -> Self:
        """Show a row."""
        return cls(
            cmd_id=row.cmd_id,
            cmd_hash=row.cmd_hash.hex(),
            stage=Stage(row.stage),
            reported_state=reported_state(row),
        )


class OrderOut(OrderStageOut):
    """An order in a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SUMMARY]})

    device: str = Field(description="The box of the car.")
    type: str = Field(description="`LOCK`, `UNLOCK`, `RENEW`, `CANCEL`, `WARN`, `QUERY` …")
    created_at: UtcTime
    expires_at: Annotated[UtcTime | None, Field(description="Not-after; null for a release: it never ends.")]
    overtaken_by: str | None = Field(description="The release or order that took it out of the way.")
    waits_for: str | None = Field(description="What has to happen next, for a person; null when it is over.")

    @classmethod
    def of(cls, row: Order) -> Self:
        """Show a row."""
        return cls(
            **OrderStageOut.of(row).model_dump(),
            device=row.device_id,
            type=row.type.name,
            created_at=to_datetime(row.created_us),
            expires_at=optional_time(row.expires_us),
            overtaken_by=row.overtaken_by,
            waits_for=waits_for(row),
        )


class PartOut(BaseModel):
    """One signer's part, verbatim."""

    role: str = Field(description="`MAKER`, `CHECKER`, `GATE`, `SAFETY_OFFICER`, `OMBUDS`.")
    kid: str = Field(description="Thumbprint of the signing key.")
    person: str = Field(description="The person, as the delegation names him.")
    protected: str = Field(description="Protected header, base64url.")
    signature: str = Field(description="r‖s, base64url.")
    delegation: str = Field(description="SHA-256 of the delegation, hex: see the authority documents.")
    reason_code: str | None = Field(description="The checker's own reason.")
    at: UtcTime

    @classmethod
    def of(cls, row: OrderPart) -> Self:
        """Show a row."""
        return cls(
            role=Role(row.role).name,
            kid=row.kid,
            person=row.person,
            protected=to_text(row.protected),
            signature=to_text(row.signature),
            delegation=row.delegation,
            reason_code=row.reason_code,
            at=to_datetime(row.at_us),
        )


class StageOut(BaseModel):
    """One stage that an order has had."""

    stage: Stage = Field(description="Which.")
    why: str = Field(description="What brought it there.")
    at: UtcTime

    @classmethod
    def of(cls, row: OrderStage) -> Self:
        """Show a row."""
        return cls(stage=Stage(row.stage), why=row.why, at=to_datetime(row.at_us))


class GateOut(BaseModel):
    """What the gate last answered to one question about an order."""

    question: str = Field(description="`screen`, `review` or `release`.")
    verdict: str = Field(description="`ELIGIBLE`, `SIGNED`, `REFUSED` or `HELD`.")
    rule: str | None = Field(description="The rule that said no.")
    detail: str = Field(description="The fact that it looked at, in one sentence.")
    earliest: Annotated[
        UtcTime | None, Field(description="When the rule may say yes; null when time alone does not help.")
    ]
    facts: str | None = Field(description="SHA-256 of the loan facts that were asked for, hex.")
    asked: int = Field(description="How often this was asked.")
    at: UtcTime

    @classmethod
    def of(cls, row: GateAnswer) -> Self:
        """Show a row."""
        return cls(
            question=row.question,
            verdict=row.verdict,
            rule=row.rule,
            detail=row.detail,
            earliest=None if row.earliest_s is None else to_datetime(row.earliest_s * 1_000_000),
            facts=None if row.facts is None else row.facts.hex(),
            asked=row.asked,
            at=to_datetime(row.at_us),
        )


class LogOut(BaseModel):
    """Where an order's leaf stands in the log, and what opens it."""

    index: int = Field(description="Index of the leaf.")
    salt: str = Field(description="16 bytes, hex: leaf commitment = SHA-256(salt ‖ content).")
    size: int | None = Field(description="Leaves of the first checkpoint with it; null until there is one.")
    checkpoint: str | None = Field(description="That checkpoint's signed note.")
    proof: list[str] = Field(description="Inclusion proof in that checkpoint, from the leaf upwards, hex.")


class OrderDetailOut(OrderOut):
    """An order with all that is known of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                EXAMPLE_SUMMARY
                | {
                    "payload": EXAMPLE_MESSAGE,
                    "basis": EXAMPLE_MESSAGE,
                    "challenge": EXAMPLE_MESSAGE,
                    "message": None,
                    "parts": [
                        EXAMPLE_PART
                        | {
                            "role": "MAKER",
                            "kid": EXAMPLE_HASH,
                            "person": "maker-7",
                            "delegation": EXAMPLE_HASH,
                            "reason_code": None,
                            "at": EXAMPLE_TIME,
                        }
                    ],
                    "stages": [
                        {
                            "stage": "AWAITING_CHECKER",
                            "why": "signed by maker maker-7",
                            "at": EXAMPLE_TIME,
                        }
                    ],
                    "gate": [],
                    "log": None,
                    "dispositions": [],
                    "code": None,
                    "sends": 0,
                }
            ]
        }
    )

    payload: str = Field(description="The payload, base64url.")
    basis: str | None = Field(description="The bundle it rests on, base64url.")
    challenge: str | None = Field(description="The car's signed challenge it was written for, base64url.")
    message: str | None = Field(description="The whole COSE_Sign once all have signed, base64url.")
    parts: list[PartOut] = Field(description="The parts, maker first.")
    stages: list[StageOut] = Field(description="The stages it had, with times.")
    gate: list[GateOut] = Field(description="What the gate answered.")
    log: LogOut | None = Field(description="Its place in the log.")
    dispositions: list[DispositionOut] = Field(description="What the car signed about it, as it came.")
    code: str | None = Field(description="The code of the car's last answer.")
    sends: int = Field(description="How often it went out.")


@router.post(
    "/devices/{device_id}/orders",
    summary="Bring an order",
    status_code=201,
    response_model=OrderStageOut,
    responses=problems(409),
    dependencies=[allow(Permission.ORDER_RELEASE)],
)
def post_order(
    device: OwnDevice,
    caller: CurrentCaller,
    services: CurrentServices,
    order: OrderIn,
    repeated: Repeated,
    now_us: NowUs,
) -> JSONResponse:
    """Bring an order that you have signed with your own key, for one car.

    LOCK, RENEW, WARN and TRACE are brought by a maker and wait for a checker; a DECOMMISSION waits for the
    gate. UNLOCK, CANCEL and QUERY go out at once, by any role that may sign them.
    """
    return repeated.answer(
        201,
        OrderStageOut.of,
        lambda: request_order(
            repeated.session,
            device=device,
            caller=caller,
            asked=_asked(order),
            asks_probation=not services.settings.demo_probation_passed,
            now_us=now_us,
        ),
    )


@router.post(
    "/orders/{cmd_id}/approvals",
    summary="Approve an order",
    status_code=201,
    response_model=OrderStageOut,
    responses=problems(409),
    dependencies=[allow(Permission.ORDER_APPROVE)],
)
def post_approval(
    cmd_id: CmdPath, caller: CurrentCaller, approval: ApprovalIn, repeated: Repeated, now_us: NowUs
) -> JSONResponse:
    """Bring the checker's part: another person than the maker, with another key and another API key."""
    return repeated.answer(
        201,
        OrderStageOut.of,
        lambda: approve_order(
            repeated.session,
            caller=caller,
            cmd_id=cmd_id,
            protected=to_bytes(approval.part.protected),
            signature=to_bytes(approval.part.signature),
            delegation=to_bytes(approval.delegation),
            reason_code=approval.reason_code,
            now_us=now_us,
        ),
    )


@router.post(
    "/orders/{cmd_id}/withdraw",
    summary="Withdraw an order",
    response_model=OrderStageOut,
    responses=problems(409),
    dependencies=[allow(Permission.ORDER_RELEASE)],
)
def post_withdrawal(
    cmd_id: CmdPath, caller: CurrentCaller, repeated: Repeated, now_us: NowUs
) -> JSONResponse:
    """End an order that has not been sent. One that has may be in the car: send a CANCEL or UNLOCK."""
    return repeated.answer(
        200,
        OrderStageOut.of,
        lambda: withdraw_order(repeated.session, caller=caller, cmd_id=cmd_id, now_us=now_us),
    )


@router.get("/orders", summary="List orders", dependencies=[allow(Permission.ORDER_READ)])
def read_orders(
    caller: CurrentCaller,
    session: ReadSession,
    paging: Paging,
    device: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="Only orders for this box.")
    ] = None,
    stage: Annotated[Stage | None, Query(description="Only orders in this stage.")] = None,
    after: Annotated[
        str | None,
        Query(pattern="^[0-9a-f]{32}$", description="Only orders older than the one of this id."),
    ] = None,
) -> Page[OrderOut]:
    """Return the organisation's orders, newest first."""
    below = paging.after_number(_SCOPE)
    if after is not None:
        known = find_order(session, org_id=caller.org_id, cmd_id=after)
        if known is None:
            raise ProblemError(BAD_CURSOR)
        below = known.order_no if below is None else below
    rows = list_orders(
        session, org_id=caller.org_id, device_id=device, stage=stage, after=below, limit=paging.limit + 1
    )
    return paging.page(rows, scope=_SCOPE, key=lambda row: [row.order_no or 0], show=OrderOut.of)


@router.get("/orders/{cmd_id}", summary="Show an order", dependencies=[allow(Permission.ORDER_READ)])
def read_order(cmd_id: CmdPath, caller: CurrentCaller, session: ReadSession) -> OrderDetailOut:
    """Return an order with parts, stages, the gate's answers, its place in the log, and the car's answers."""
    order = find_order(session, org_id=caller.org_id, cmd_id=cmd_id)
    if order is None:
        raise ProblemError(REFUSALS[Reason.ORDER_UNKNOWN])
    return _detail(session, order, caller)


def _asked(order: OrderIn) -> AskedOrder:
    return AskedOrder(
        payload=to_bytes(order.payload),
        protected=to_bytes(order.part.protected),
        signature=to_bytes(order.part.signature),
        delegation=to_bytes(order.delegation),
        basis=None if order.basis is None else to_bytes(order.basis),
    )


def _detail(session: Session, order: Order, caller: Caller) -> OrderDetailOut:
    number = order.order_no
    assert number is not None, "a row that was read has its number"
    return OrderDetailOut(
        **OrderOut.of(order).model_dump(),
        payload=to_text(order.payload),
        basis=None if order.basis is None else to_text(order.basis),
        challenge=None if order.challenge is None else to_text(order.challenge),
        message=None if order.message is None else to_text(order.message),
        parts=[PartOut.of(row) for row in list_parts(session, order_no=number)],
        stages=[StageOut.of(row) for row in list_stages(session, order_no=number)],
        gate=[GateOut.of(row) for row in list_answers(session, order_no=number)],
        log=_log(session, order),
        dispositions=[
            DispositionOut.of(row)
            for row in list_dispositions(
                session, org_id=caller.org_id, cmd_id=order.cmd_id, limit=PAGE_ITEMS_MAX
            )
        ],
        code=None if order.car_code is None else Code(order.car_code).name,
        sends=order.sends,
    )


def _log(session: Session, order: Order) -> LogOut | None:
    if order.leaf_index is None or order.leaf_salt is None:
        return None
    found = ledger.first_checkpoint_with(session, order.leaf_index)
    proof = [] if found is None else ledger.prove_inclusion(session, order.leaf_index, found.size)
    return LogOut(
        index=order.leaf_index,
        salt=order.leaf_salt.hex(),
        size=None if found is None else found.size,
        checkpoint=None if found is None else found.note.decode(),
        proof=[hash_.hex() for hash_ in proof],
    )
