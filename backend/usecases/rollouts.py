"""A release reaches the fleet in stages, and stops by itself when vehicles suffer.

Rules: an organisation has one open rollout. Whoever makes it is not who approves its next stage. Thresholds
are judged whenever a box asks or somebody looks, within that transaction: no worker has to run for a rollout
to stop. A box gets a number only while the rollout runs or waits; what it has taken it keeps.

Example:
    >>> made = make_rollout(session, caller=caller, release=7, stages=(1, 10, 100), now_us=utc_us())
    >>> answer_question(session, message=message, now_us=utc_us())
    7
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from sqlmodel import Session

from backend.domain.device_life import DeviceEvent, DeviceStatus, is_legal
from backend.domain.refusal import Reason, Refusal
from backend.domain.rollout import (
    SILENT_US,
    STAGES_DEFAULT,
    THRESHOLDS,
    TOLD_BY_PEOPLE,
    RolloutEvent,
    RolloutState,
    StageCount,
    VehicleOutcome,
    are_stages,
    crossed,
    follow,
    is_in_part,
    is_over,
)
from backend.store.batch_signers import AGENT_ROLE
from backend.store.devices import Device, find_device, locate_device, locate_device_key
from backend.store.rollouts import (
    BoxRelease,
    ReleaseOutcome,
    Rollout,
    RolloutBox,
    RolloutTurn,
    count_outcomes,
    find_rollout,
    fleet_ids,
    is_release_used,
    note_outcome,
    open_rollout,
    state_of,
)
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose
from protocol.limits import UPDATE_NUMBER_MAX
from protocol.update_forms import UpdateQuestion, open_question

_ID_BYTES = 16
_NOT_BY_BOXES = (VehicleOutcome.NO_START, VehicleOutcome.FALSE_LOCK, VehicleOutcome.SILENT)
_TOLD_BY_BOXES = {outcome.value: outcome for outcome in VehicleOutcome if outcome not in _NOT_BY_BOXES}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """A rollout and what is known of its boxes."""

    rollout: Rollout
    stages: tuple[int, ...]
    thresholds: Mapping[VehicleOutcome, int]
    expected: int
    count: StageCount


def make_rollout(
    session: Session,
    *,
    org_id: str,
    by: str,
    release: int,
    now_us: int,
    stages: Sequence[int] = STAGES_DEFAULT,
    thresholds: Mapping[VehicleOutcome, int] = THRESHOLDS,
) -> Rollout | Refusal:
    """Begin a rollout, in the caller's transaction.

    Args:
        session: writes.
        org_id: whose fleet.
        by: the key, or the operator, who makes it.
        release: number of a release in the repository.
        now_us: when.
        stages: parts in percent, growing to 100.
        thresholds: per mille by outcome; NO_START and FALSE_LOCK are never above 0.
    """
    is_strict = all(
        thresholds.get(kind, 0) == 0 for kind in (VehicleOutcome.NO_START, VehicleOutcome.FALSE_LOCK)
    )
    if not are_stages(stages) or not 0 < release <= UPDATE_NUMBER_MAX or not is_strict:
        detail = "stages grow to 100; a car that will not start, or is locked wrongly, always stops it"
        return Refusal(reason=Reason.BAD_ROLLOUT, detail=detail)
    if open_rollout(session, org_id=org_id, lock=True) is not None:
        return Refusal(reason=Reason.ROLLOUT_OPEN, detail="finish or stop the open one first")
    if is_release_used(session, org_id=org_id, release=release):
        return Refusal(reason=Reason.ROLLOUT_OPEN, detail="this release had its rollout: give a new number")
    rollout = Rollout(
        rollout_id=secrets.token_hex(_ID_BYTES),
        org_id=org_id,
        release=release,
        stages=json.dumps(list(stages)),
        thresholds=json.dumps({**THRESHOLDS, **thresholds}),
        state=RolloutState.RUNNING,
        made_by=by,
        created_us=now_us,
        stage_us=now_us,
    )
    session.add(rollout)
    session.flush()
    return rollout


def turn_rollout(
    session: Session, *, org_id: str, rollout_id: str, event: RolloutEvent, by: str, reason: str, now_us: int
) -> RolloutView | Refusal:
    """Pause, resume, stop it, or approve its next stage, in the caller's transaction."""
    rollout = find_rollout(session, org_id=org_id, rollout_id=rollout_id, lock=True)
    if rollout is None:
        return Refusal(reason=Reason.ROLLOUT_UNKNOWN, detail="it is not of this organisation")
    judge_rollout(session, rollout, now_us=now_us)
    if follow(state_of(rollout), event) is None:
        return Refusal(reason=Reason.ROLLOUT_STATE, detail=f"it is {rollout.state}: it cannot {event} now")
    if event is RolloutEvent.APPROVE:
        if by == rollout.made_by:
            return Refusal(reason=Reason.SAME_PERSON, detail="another key than the maker's approves")
        rollout.stage, rollout.stage_us = rollout.stage + 1, now_us
    _turn(session, rollout, event, by=by, reason=reason, now_us=now_us)
    return view_rollout(session, rollout, now_us=now_us)


def report_outcome(
    session: Session,
    *,
    org_id: str,
    rollout_id: str,
    device_id: str,
    outcome: VehicleOutcome,
    note: str,
    by: str,
    now_us: int,
) -> RolloutView | Refusal:
    """Take what a person says of a vehicle; it may stop the rollout at once."""
    rollout = find_rollout(session, org_id=org_id, rollout_id=rollout_id, lock=True)
    if rollout is None:
        return Refusal(reason=Reason.ROLLOUT_UNKNOWN, detail="it is not of this organisation")
    if outcome not in TOLD_BY_PEOPLE:
        return Refusal(reason=Reason.BAD_ROLLOUT, detail="people tell: " + ", ".join(TOLD_BY_PEOPLE))
    if find_device(session, org_id=org_id, device_id=device_id) is None:
        return Refusal(reason=Reason.DEVICE_UNKNOWN, detail="it is not of this organisation")
    _note(session, rollout.org_id, device_id, rollout.release, outcome, note=note, by=by, now_us=now_us)
    judge_rollout(session, rollout, now_us=now_us)
    return view_rollout(session, rollout, now_us=now_us)


def answer_question(session: Session, *, message: bytes, now_us: int) -> int | Refusal | None:
    """Return which release a box is to have, None for the one it has; in the caller's transaction."""
    read = _read_question(session, message, now_us=now_us)
    if isinstance(read, Refusal):
        return read
    asked, device = read
    row = session.get(BoxRelease, device.device_id)
    if row is None:
        row = BoxRelease(
            device_id=device.device_id, org_id=device.org_id, running=0, asked_s=-1, heard_us=now_us
        )
        session.add(row)
    if asked.asked_s > row.asked_s:  # an old question, sent again by whoever, changes nothing
        row.running, row.asked_s, row.heard_us = asked.running, asked.asked_s, now_us
        for release, word in asked.outcomes:
            if (outcome := _TOLD_BY_BOXES.get(word)) is not None:  # a newer box knows more words
                _note(session, device.org_id, device.device_id, release, outcome, now_us=now_us)
    session.flush()
    rollout = open_rollout(session, org_id=device.org_id, lock=True)
    return None if rollout is None else _give(session, rollout, device, row, now_us=now_us)


def judge_rollout(session: Session, rollout: Rollout, *, now_us: int) -> None:
    """Stop a rollout whose threshold is crossed, end a stage that has done its work."""
    view = view_rollout(session, rollout, now_us=now_us)
    if state_of(rollout) not in (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.WAITING):
        return
    if (outcome := crossed(view.count, view.thresholds)) is not None:
        rollout.reason = outcome
        _turn(session, rollout, RolloutEvent.STOP, by=None, reason=f"threshold {outcome}", now_us=now_us)
    elif (
        state_of(rollout) is RolloutState.RUNNING
        and view.expected
        and is_over(view.count, expected=view.expected)
    ):
        is_last = rollout.stage + 1 == len(view.stages)
        event = RolloutEvent.LAST_OVER if is_last else RolloutEvent.STAGE_OVER
        _turn(session, rollout, event, by=None, reason=f"stage {rollout.stage + 1}", now_us=now_us)


def view_rollout(session: Session, rollout: Rollout, *, now_us: int) -> RolloutView:
    """Return a rollout with its counts."""
    stages = tuple(json.loads(rollout.stages))
    given, outcomes = count_outcomes(session, rollout=rollout, silent_before_us=now_us - SILENT_US)
    percent = stages[rollout.stage]
    ids = fleet_ids(session, org_id=rollout.org_id)
    expected = sum(is_in_part(rollout.rollout_id, device, percent=percent) for device in ids)
    return RolloutView(
        rollout=rollout,
        stages=stages,
        thresholds={VehicleOutcome(name): value for name, value in json.loads(rollout.thresholds).items()},
        expected=expected,
        count=StageCount(given=given, outcomes=outcomes, lasted_us=now_us - rollout.stage_us),
    )


def _give(session: Session, rollout: Rollout, device: Device, row: BoxRelease, *, now_us: int) -> int | None:
    box = session.get(RolloutBox, (rollout.rollout_id, device.device_id))
    if box is not None:
        box.heard_us = now_us
    judge_rollout(session, rollout, now_us=now_us)
    if (
        state_of(rollout) not in (RolloutState.RUNNING, RolloutState.WAITING)
        or row.running >= rollout.release
    ):
        return None
    percent = json.loads(rollout.stages)[rollout.stage]
    if not is_in_part(rollout.rollout_id, device.device_id, percent=percent):
        return None
    if box is None:
        box = RolloutBox(
            rollout_id=rollout.rollout_id,
            device_id=device.device_id,
            org_id=device.org_id,
            given_us=now_us,
            heard_us=now_us,
        )
        session.add(box)
        session.flush()
    return rollout.release


def _read_question(
    session: Session, message: bytes, *, now_us: int
) -> tuple[UpdateQuestion, Device] | Refusal:
    signers: list[str] = []

    def look_up(kid: bytes) -> EllipticCurvePublicKey | None:
        row = locate_device_key(session, kid=kid.hex())
        if row is None or row.role != AGENT_ROLE or not row.is_in_force(now_us):
            return None
        signers.append(row.device_id)
        return public_key_from_cose(row.cose_key)

    try:
        asked = open_question(message, look_up)
    except ProtocolError as wrong:
        return Refusal(reason=Reason.BAD_PROOF, detail=str(wrong.code))
    device = locate_device(session, device_id=asked.device)
    if device is None or signers[0] != asked.device:
        return Refusal(reason=Reason.BAD_PROOF, detail="it is signed by another box")
    if not is_legal(DeviceStatus(device.status), DeviceEvent.RENEW):
        return Refusal(reason=Reason.DEVICE_REVOKED, detail="a revoked box gets no release")
    return asked, device


def _note(
    session: Session,
    org_id: str,
    device_id: str,
    release: int,
    outcome: VehicleOutcome,
    *,
    now_us: int,
    note: str | None = None,
    by: str | None = None,
) -> None:
    note_outcome(
        session,
        ReleaseOutcome(
            org_id=org_id,
            device_id=device_id,
            release=release,
            outcome=outcome,
            note=note,
            key_id=by,
            at_us=now_us,
        ),
    )


def _turn(
    session: Session, rollout: Rollout, event: RolloutEvent, *, by: str | None, reason: str, now_us: int
) -> None:
    after = follow(state_of(rollout), event)
    assert after is not None, "asked before"
    rollout.state = after
    session.add(
        RolloutTurn(
            org_id=rollout.org_id,
            rollout_id=rollout.rollout_id,
            event=event,
            reason=reason,
            key_id=by,
            at_us=now_us,
        )
    )
    session.flush()
