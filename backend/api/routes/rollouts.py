"""Rollouts of releases: begin, watch, pause, resume, approve, stop; and the question that boxes ask."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backend.api.deps import CurrentCaller, NowUs, ReadSession, WriteSession, allow
from backend.api.openapi import problems
from backend.api.problems import from_refusal
from backend.api.schemas import EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.refusal import Reason, Refusal
from backend.domain.rollout import STAGES_DEFAULT, STAGES_MAX, RolloutEvent, VehicleOutcome
from backend.store.contention import in_transaction
from backend.store.rollouts import find_rollout, list_rollouts, list_turns
from backend.usecases.rollouts import (
    RolloutView,
    answer_question,
    make_rollout,
    report_outcome,
    turn_rollout,
    view_rollout,
)
from protocol.base64url import to_bytes
from protocol.errors import ProtocolError
from protocol.limits import PAGE_ITEMS_MAX, SIGN1_BYTES_MAX, UPDATE_NUMBER_MAX

router = APIRouter(tags=["updates"])

_MESSAGE_CHARS_MAX = -(-SIGN1_BYTES_MAX * 4 // 3)
RolloutPath = Annotated[
    str, Path(pattern="^[0-9a-f]{32}$", description="Id of the rollout.", examples=["5a" * 16])
]
TurnPath = Annotated[
    Literal[RolloutEvent.PAUSE, RolloutEvent.RESUME, RolloutEvent.APPROVE, RolloutEvent.STOP],
    Path(description="What to do with it."),
]
Reasoned = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]


class RolloutIn(BaseModel):
    """A release, and how it is to reach the fleet."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"release": 7, "stages": [1, 10, 50, 100]}]}
    )

    release: int = Field(ge=1, le=UPDATE_NUMBER_MAX, description="Number of a release in the repository.")
    stages: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        default=list(STAGES_DEFAULT),
        min_length=1,
        max_length=STAGES_MAX,
        description="Parts of the fleet in percent, growing to 100.",
    )
    thresholds: dict[VehicleOutcome, Annotated[int, Field(ge=0, le=1_000)]] = Field(
        default={}, description="Per mille of boxes by outcome above which it stops; others stay as they are."
    )


class TurnIn(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "as planned"}]})

    reason: Reasoned = Field(description="For whoever reads it later.")


class OutcomeIn(BaseModel):
    """What a person says of a vehicle after an update."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"device": "9f" * 32, "outcome": "no_start", "note": "towed to the workshop"}]
        },
    )

    device: str = Field(pattern="^[0-9a-f]{64}$", description="The box in that vehicle.")
    outcome: Literal[VehicleOutcome.NO_START, VehicleOutcome.FALSE_LOCK, VehicleOutcome.DRAINS] = Field(
        description="What happened."
    )
    note: Reasoned = Field(description="In a few words.")


class TurnOut(BaseModel):
    """One turn of a rollout."""

    event: RolloutEvent = Field(description="What was done.")
    reason: str | None = Field(description="Why.")
    by: str | None = Field(description="The API key; null when a rule did it.")
    at: UtcTime


_EXAMPLE: dict[str, JsonValue] = {
    "rollout": "5a" * 16,
    "release": 7,
    "state": "running",
    "reason": None,
    "stage": 1,
    "stages": [1, 10, 50, 100],
    "thresholds": {"no_start": 0},
    "expected": 12,
    "given": 9,
    "outcomes": {"confirmed": 8},
    "made_by": "0123456789ab",
    "created_at": EXAMPLE_TIME,
    "stage_at": EXAMPLE_TIME,
}


class RolloutOut(BaseModel):
    """A rollout as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    rollout: str = Field(description="Its id.")
    release: int = Field(description="Number of the release.")
    state: str = Field(description="running, paused, waiting (for approval), stopped, done.")
    reason: str | None = Field(description="The outcome that stopped it, null otherwise.")
    stage: int = Field(description="Which stage it is in, from 1.")
    stages: list[int] = Field(description="Parts of the fleet in percent.")
    thresholds: dict[str, int] = Field(description="Per mille by outcome above which it stops.")
    expected: int = Field(description="Boxes that belong to the stages so far.")
    given: int = Field(description="Boxes that were given the release.")
    outcomes: dict[str, int] = Field(description="Boxes by outcome.")
    made_by: str = Field(description="Who began it; another one approves.")
    created_at: UtcTime
    stage_at: UtcTime

    @classmethod
    def of(cls, view: RolloutView) -> Self:
        """Show a view."""
        row = view.rollout
        return cls(
            rollout=row.rollout_id,
            release=row.release,
            state=row.state,
            reason=row.reason,
            stage=row.stage + 1,
            stages=list(view.stages),
            thresholds={str(name): value for name, value in view.thresholds.items()},
            expected=view.expected,
            given=view.count.given,
            outcomes={str(name): boxes for name, boxes in view.count.outcomes.items() if boxes},
            made_by=row.made_by,
            created_at=to_datetime(row.created_us),
            stage_at=to_datetime(row.stage_us),
        )


class RolloutsOut(BaseModel):
    """The organisation's rollouts."""

    items: list[RolloutOut] = Field(description="Newest first.")


class RolloutDetailOut(RolloutOut):
    """A rollout with its turns."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"turns": []}]})

    turns: list[TurnOut] = Field(description="Oldest first.")


class QuestionIn(BaseModel):
    """What a box asks."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "0oRYKKIBKAR"}]})

    message: str = Field(
        max_length=_MESSAGE_CHARS_MAX,
        pattern="^[A-Za-z0-9_-]+$",
        description="COSE_Sign1 of kind update-question by D2.",
    )


class ReleaseOut(BaseModel):
    """Which release a box is to have."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"release": 7}]})

    release: int | None = Field(description="Its number; null for the one it has.")


@router.post(
    "/rollouts",
    summary="Begin a rollout",
    status_code=201,
    responses=problems(409),
    dependencies=[allow(Permission.ROLLOUT_MANAGE)],
)
def post_rollout(
    wanted: RolloutIn, caller: CurrentCaller, session: WriteSession, now_us: NowUs
) -> RolloutOut:
    """Let a release reach the first stage. One rollout at a time; a release has one in its life."""

    def work() -> RolloutView | Refusal:
        made = make_rollout(
            session,
            org_id=caller.org_id,
            by=caller.key_id,
            release=wanted.release,
            stages=tuple(wanted.stages),
            thresholds=wanted.thresholds,
            now_us=now_us,
        )
        return made if isinstance(made, Refusal) else view_rollout(session, made, now_us=now_us)

    return _shown(in_transaction(session, work))


@router.get("/rollouts", summary="List rollouts", dependencies=[allow(Permission.ROLLOUT_READ)])
def read_rollouts(caller: CurrentCaller, session: ReadSession, now_us: NowUs) -> RolloutsOut:
    """Return the organisation's rollouts, newest first."""
    rows = list_rollouts(session, org_id=caller.org_id, limit=PAGE_ITEMS_MAX)
    return RolloutsOut(items=[RolloutOut.of(view_rollout(session, row, now_us=now_us)) for row in rows])


@router.get(
    "/rollouts/{rollout_id}",
    summary="Show a rollout",
    responses=problems(404),
    dependencies=[allow(Permission.ROLLOUT_READ)],
)
def read_rollout(
    rollout_id: RolloutPath, caller: CurrentCaller, session: ReadSession, now_us: NowUs
) -> RolloutDetailOut:
    """Return one rollout with its turns."""
    row = find_rollout(session, org_id=caller.org_id, rollout_id=rollout_id)
    if row is None:
        raise from_refusal(Refusal(reason=Reason.ROLLOUT_UNKNOWN, detail="it is not of this organisation"))
    shown = RolloutOut.of(view_rollout(session, row, now_us=now_us))
    turns = [
        TurnOut(
            event=RolloutEvent(turn.event), reason=turn.reason, by=turn.key_id, at=to_datetime(turn.at_us)
        )
        for turn in list_turns(session, rollout_id=rollout_id)
    ]
    return RolloutDetailOut(**shown.model_dump(), turns=turns)


@router.post(
    "/rollouts/{rollout_id}/{event}",
    summary="Turn a rollout",
    responses=problems(404, 409),
    dependencies=[allow(Permission.ROLLOUT_MANAGE)],
)
def post_turn(
    rollout_id: RolloutPath,
    event: TurnPath,
    wanted: TurnIn,
    caller: CurrentCaller,
    session: WriteSession,
    now_us: NowUs,
) -> RolloutOut:
    """Pause it, resume it, stop it for good, or approve its next stage with another key than the maker's."""
    return _shown(
        in_transaction(
            session,
            lambda: turn_rollout(
                session,
                org_id=caller.org_id,
                rollout_id=rollout_id,
                event=event,
                by=caller.key_id,
                reason=wanted.reason,
                now_us=now_us,
            ),
        )
    )


@router.put(
    "/rollouts/{rollout_id}/outcomes",
    summary="Say what a release did to a vehicle",
    responses=problems(404),
    dependencies=[allow(Permission.ROLLOUT_REPORT)],
)
def put_outcome(
    rollout_id: RolloutPath,
    told: OutcomeIn,
    caller: CurrentCaller,
    session: WriteSession,
    now_us: NowUs,
) -> RolloutOut:
    """Take what a person saw. One car that does not start stops the rollout at once."""
    return _shown(
        in_transaction(
            session,
            lambda: report_outcome(
                session,
                org_id=caller.org_id,
                rollout_id=rollout_id,
                device_id=told.device,
                outcome=told.outcome,
                note=told.note,
                by=caller.key_id,
                now_us=now_us,
            ),
        )
    )


@router.post("/updates", summary="Ask which release is mine", responses=problems(403))
def post_question(asked: QuestionIn, session: WriteSession, now_us: NowUs) -> ReleaseOut:
    """Answer a box. Its question says how earlier releases ended on it."""
    try:
        message = to_bytes(asked.message)
    except (ProtocolError, ValueError):
        raise from_refusal(Refusal(reason=Reason.BAD_PROOF, detail="not base64url")) from None
    answer = in_transaction(session, lambda: answer_question(session, message=message, now_us=now_us))
    if isinstance(answer, Refusal):
        raise from_refusal(answer)
    return ReleaseOut(release=answer)


def _shown(outcome: RolloutView | Refusal) -> RolloutOut:
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return RolloutOut.of(outcome)
