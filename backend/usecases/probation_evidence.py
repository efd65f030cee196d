"""What a box has sent since its record, looked through for the signs of a living installation.

Rules: only stored, verified batches; at most PROBATION_LOOK_DAYS days, so that a look stays short. Of fixes
the speed alone is used, by minute: no position leaves this module, so nothing is logged as a position read.
Signals are found by their catalogue path; a car without one of them has not shown that sign.

Example:
    >>> find_evidence(session, row, wanted=[Condition.SLEEP], now_us=utc_us())
    {<Condition.SLEEP: 'sleep'>: Seen(since_us=…, words='…')}
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import select
from sqlmodel import Session

from backend.domain.installing import Condition, Seen
from backend.domain.probation_signs import MINUTE_US, find_crank, find_drive, find_night, find_sleep
from backend.domain.rollup import MinuteValues
from backend.store.batches import BATCH
from backend.store.chains import CHAIN
from backend.store.install_records import Probation
from backend.usecases.query_state import read_rollups
from backend.usecases.query_trace import read_fixes
from protocol.limits import PROBATION_BATCHES_MAX, PROBATION_LOOK_DAYS, PROBATION_MINUTES_MAX

SPEED: Final = "Vehicle.Speed"
ENGINE: Final = "Vehicle.Powertrain.CombustionEngine.Speed"
SUPPLY: Final = "Vehicle.LowVoltageBattery.CurrentVoltage"

_DAY_US = 86_400_000_000
_KMH_OF_MM_S = 0.0036
_WORDS: Final[Mapping[Condition, str]] = {
    Condition.SLEEP: "silent for half an hour, and awake again",
    Condition.CRANK: "the engine stood still, then ran",
    Condition.DRIVE: "the car's speed and the receiver's agreed",
    Condition.NIGHT_SUPPLY: "six hours with the supply held",
}


def find_evidence(
    session: Session, row: Probation, *, wanted: Collection[Condition], now_us: int
) -> dict[Condition, Seen]:
    """Return those of the wanted conditions that have been seen since the record.

    Args:
        session: Reads.
        row: The probation.
        wanted: What has not been seen yet.
        now_us: UTC in µs.
    """
    span = (row.begun_us, min(now_us, row.begun_us + PROBATION_LOOK_DAYS * _DAY_US))
    found: dict[Condition, int | None] = {}
    if Condition.SLEEP in wanted:
        found[Condition.SLEEP] = find_sleep(_spans(session, row, span))
    if Condition.CRANK in wanted:
        found[Condition.CRANK] = find_crank(
            [(at.minute, at.most) for at in _minutes(session, row, span, ENGINE)]
        )
    if Condition.NIGHT_SUPPLY in wanted:
        supply = [(at.minute, at.least) for at in _minutes(session, row, span, SUPPLY)]
        found[Condition.NIGHT_SUPPLY] = find_night(supply)
    if Condition.DRIVE in wanted:
        speed = [(at.minute, at.mean) for at in _minutes(session, row, span, SPEED)]
        found[Condition.DRIVE] = find_drive(speed, _ground_speeds(session, row, span)) if speed else None
    return {
        name: Seen(since_us=at_us, words=_WORDS[name]) for name, at_us in found.items() if at_us is not None
    }


def _spans(session: Session, row: Probation, span: tuple[int, int]) -> list[tuple[int, int]]:
    rows = session.connection().execute(
        select(BATCH.c.utc_start_us, BATCH.c.utc_end_us)
        .join(CHAIN, CHAIN.c.chain_ref == BATCH.c.chain_ref)
        .where(
            CHAIN.c.org_id == row.org_id,
            CHAIN.c.device_id == row.device_id,
            BATCH.c.utc_start_us >= span[0],
            BATCH.c.utc_start_us < span[1],
            BATCH.c.utc_end_us.is_not(None),
        )
        .order_by(BATCH.c.utc_start_us)
        .limit(PROBATION_BATCHES_MAX)
    )
    return [(begin, end) for begin, end in rows]


def _minutes(session: Session, row: Probation, span: tuple[int, int], signal: str) -> list[MinuteValues]:
    rows = read_rollups(
        session,
        org_id=row.org_id,
        device_id=row.device_id,
        from_us=span[0],
        to_us=span[1],
        signals=[signal],
        after=None,
        limit=PROBATION_MINUTES_MAX,
    )
    return [values for _, values in rows]


def _ground_speeds(session: Session, row: Probation, span: tuple[int, int]) -> dict[int, float]:
    sums: defaultdict[int, list[float]] = defaultdict(list)
    fixes = read_fixes(session, org_id=row.org_id, device_id=row.device_id, from_us=span[0], to_us=span[1])
    for utc_us, fix, _, _ in fixes:
        if fix.speed_mm_s is not None:
            sums[utc_us // MINUTE_US].append(fix.speed_mm_s * _KMH_OF_MM_S)
    return {minute: sum(speeds) / len(speeds) for minute, speeds in sums.items()}
