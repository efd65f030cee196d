"""Whether a car's probation is passed, from what is stored; and whether it may be restricted at all.

Rules (README §2.4; ADR 0053): a car without an accepted record is not commissioned. Conditions are looked for
in what the box has sent since its record; what was seen once stays seen, with its time. Nothing is decided by
a person. A car in workshop mode is not restricted, whatever its probation.

- sleep: no batch for half an hour, and then one; crank: an engine ran (its speed was reported above idle);
- drive: minutes in which the car's own speed and the receiver's agree; night: six hours with the supply at or
  above 11.8 V at both ends and in between;
- bind: the microcontroller has signed that it is active; relay proof: see `backend.domain.relay_proof`.

Example:
    >>> judge_restriction(session, mcu=mcu, asks_probation=True, now_us=utc_us())
    Refusal(reason=<Reason.PROBATION: 'probation'>, detail='…')
"""

import json
from collections.abc import Mapping

from sqlmodel import Session

from backend.domain.installing import (
    PROBATION_US,
    Condition,
    ProbationState,
    Seen,
    judge_conditions,
)
from backend.domain.refusal import Reason, Refusal
from backend.store.install_records import Probation, find_probation
from backend.store.mcus import Mcu
from backend.store.vehicles import find_vehicle_by_id, open_binding_of_device
from backend.usecases.probation_evidence import find_evidence
from protocol.orders_vocabulary import ACTIVE


def judge_restriction(session: Session, *, mcu: Mcu, asks_probation: bool, now_us: int) -> Refusal | None:
    """Return why a car may not be restricted, or None.

    Args:
        session: In a writing transaction: what is seen is kept.
        mcu: The car's microcontroller as registered.
        asks_probation: False where a demonstration's setting says that its cars have passed.
        now_us: UTC in µs.
    """
    bound = open_binding_of_device(session, org_id=mcu.org_id, device_id=mcu.device_id)
    if bound is not None:
        vehicle = find_vehicle_by_id(session, org_id=mcu.org_id, vehicle_id=bound.vehicle_id)
        if (
            vehicle is not None
            and vehicle.workshop_until_us is not None
            and vehicle.workshop_until_us > now_us
        ):
            return Refusal(reason=Reason.WORKSHOP, detail="workshop mode: nothing is locked until it ends")
    if not asks_probation:
        return None
    row = find_probation(session, device_id=mcu.device_id, mcu_id=mcu.mcu_id, epoch=mcu.epoch)
    if row is None or bound is None:
        return Refusal(reason=Reason.PROBATION, detail="no commissioning record of this car was accepted")
    state = look_again(session, row, mcu=mcu, now_us=now_us)
    if state is ProbationState.PASSED:
        return None
    missing = ", ".join(item for item in Condition if item not in seen_of(row))
    return Refusal(reason=Reason.PROBATION, detail=f"{state}: not seen yet: {missing}")


def look_again(session: Session, row: Probation, *, mcu: Mcu | None, now_us: int) -> ProbationState:
    """Look for what has not been seen yet, keep it in the caller's transaction, and return the state."""
    seen = dict(seen_of(row))
    if row.state == ProbationState.RUNNING:
        if now_us >= row.begun_us + PROBATION_US:
            seen.setdefault(Condition.HOURS_48, Seen(since_us=row.begun_us + PROBATION_US, words="48 h over"))
        if mcu is not None and mcu.mode == ACTIVE and (mcu.mcu_id, mcu.epoch) == (row.mcu_id, row.epoch):
            words = "the microcontroller has signed that it is active"
            seen.setdefault(Condition.BIND, Seen(since_us=now_us, words=words))
        wanted = [item for item in Condition if item not in seen]
        seen |= find_evidence(session, row, wanted=wanted, now_us=now_us)
        row.evidence = json.dumps({item: [found.since_us, found.words] for item, found in seen.items()})
        state = judge_conditions(seen, can_pass=True)
        if state is not ProbationState.RUNNING:
            row.state, row.ended_us = state, now_us
        session.add(row)
        session.flush()
    return ProbationState(row.state)


def seen_of(row: Probation) -> Mapping[Condition, Seen]:
    """Return the conditions that were seen."""
    stored = json.loads(row.evidence)
    return {
        Condition(name): Seen(since_us=since_us, words=words) for name, (since_us, words) in stored.items()
    }
