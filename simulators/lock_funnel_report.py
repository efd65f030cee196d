"""What a run of the lock funnel says: how many locked in time, why the others did not, signatures, releases.

Rules: the clock of the goal starts with the maker's first signature under a LOCK and ends at the same time of
day three business days later. *Eligible*: nothing was paid or on its way, and no promise, dispute or stay
began, until then. *Lockable*: the car has a starter to inhibit and its box was not unplugged or wrapped until
then. Every other loan is named with its cause too, those never signed as well. Causes of a miss are the car's
own words for why it waited, by the time it waited for each.

It changes nothing.

Example:
    report = of_run(funnel)     # a `Funnel` that has run
    report.share_locked         # between 0 and 1; the goal is 0.9
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from simulators.lock_funnel_lives import DAY_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulators.lock_funnel import Funnel
    from simulators.lock_funnel_desk import Case

BUSINESS_DAYS, CYCLES = 3, 2  # CYCLES: README §1.13
GOAL_LOCKED, GOAL_RELEASE_S = 0.9, 60.0
PAID, BLOCKED, FOILED = (
    "paid or paying in time",
    "promise, dispute or stay in time",
    "antenna unplugged or wrapped",
)
RESTS = (
    "IN_MOTION",
    "ENGINE_RUNNING",
    "IGN_ON",
)  # every parking begins with them; they count where all is rest
WAITS = {
    "ZONE_UNKNOWN": "parked under a roof: no fix of the last 30 minutes",
    "NO_LOCK_ZONE": "parked within or at a protected place",
    "SOURCES_INSUFFICIENT": "no second source says that it stands (no wheel speed, no fix)",
    "TEMP_RANGE": "forecast beyond -10 to 38 °C",
    "QUIET_HOURS": "parked only outside the hours of business days",
    "IN_MOTION": "never parked for ten minutes within the hours",
    "ENGINE_RUNNING": "never parked for ten minutes within the hours",
    "IGN_ON": "never parked for ten minutes within the hours",
    "MOTION_DISAGREE": "sources disagree on whether it stands",
    "NO_GO": "no go token came while it was parked",
    "NOT_WARNED": "not warned long enough",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Payment posted → released, of cars that were locked then.

    Attributes: cars, p50_s, p95_s, p99_s, longest_s.
    """

    cars: int
    p50_s: float
    p95_s: float
    p99_s: float
    longest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run in figures.

    Attributes:
        cars, days, seed: what was run.
        signed: loans with a maker's signature under a LOCK.
        left_out: of these, not eligible or not lockable, by reason.
        eligible: the rest: the denominator of the goal.
        in_time: of these, locked within three business days.
        later: locked after that.
        causes: of those not in time.
        by_kind: [in time, eligible] by how the car is used.
        never_signed: loans without a LOCK signature, by reason.
        hours: from first signature to lock, quantiles 0.5, 0.9, 0.95 of those locked.
        warned_days: from the first WARN signature to the lock, median.
        locks_per_car, warns_per_car: orders that a maker signed, a locked car.
        human_per_lock: signatures of makers and checkers under LOCKs, a locked car; with WARNs beside.
        human_with_warns: see there.
        refusals: answers of the gate that were no, by step and rule.
        ends: how LOCK orders ended.
        reachable, unreachable: releases after a payment.
        wrongful: cars that locked though the loan system knew of a payment when the gate gave its token.
        inhibited: starts that a locked car did not make.
    """

    cars: int
    days: int
    seed: int
    signed: int
    left_out: dict[str, int]
    eligible: int
    in_time: int
    later: int
    causes: dict[str, int]
    by_kind: dict[str, list[int]]
    never_signed: dict[str, int]
    hours: dict[str, float]
    warned_days: float
    locks_per_car: dict[str, int]
    human_per_lock: float
    human_with_warns: float
    refusals: dict[str, int]
    ends: dict[str, int]
    reachable: Release
    unreachable: Release
    wrongful: int
    inhibited: int

    @property
    def share_locked(self) -> float:
        """In time, of the eligible and lockable."""
        return self.in_time / self.eligible if self.eligible else 0.0

    def missed(self) -> list[str]:
        """Return the goals that this run misses."""
        goals = (
            (self.share_locked >= GOAL_LOCKED, "locked in time"),
            (self.wrongful == 0, "no wrongful lock"),
            (self.reachable.p99_s <= GOAL_RELEASE_S, "released within a minute"),
        )
        return [name for is_met, name in goals if not is_met]

    def as_json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self) | {"share_locked": round(self.share_locked, 4)}


def of_run(funnel: Funnel, *, seed: int = 1) -> Report:
    """Judge a run that is over."""
    cases = list(funnel.desk.cases.values())
    signed = [case for case in cases if case.first_lock_s is not None]
    left_out = {id(case): why for case in signed if (why := _left_out(funnel, case)) is not None}
    eligible = [case for case in signed if id(case) not in left_out]
    late = [case for case in eligible if not _in_time(funnel, case)]
    locked = [case for case in signed if case.locked_s is not None]
    waits = sorted((case.locked_s - case.first_lock_s) / HOUR_S for case in locked)  # type: ignore[operator]
    warned = sorted((case.locked_s - case.first_warn_s) / DAY_S for case in locked if case.first_warn_s)  # type: ignore[operator]
    by_kind: dict[str, list[int]] = {}
    for case in eligible:
        row = by_kind.setdefault(case.car.life.kind.value, [0, 0])
        row[0] += _in_time(funnel, case)
        row[1] += 1
    signatures: Counter[str] = Counter()
    for case in locked:
        signatures.update(case.signatures)
    human = {
        kind: sum(count for name, count in signatures.items() if name.startswith(kind) and "gate" not in name)
        for kind in ("LOCK", "WARN")
    }
    return Report(
        cars=len(cases),
        days=funnel.calendar.days,
        seed=seed,
        signed=len(signed),
        left_out=_sorted(Counter(left_out.values())),
        eligible=len(eligible),
        in_time=len(eligible) - len(late),
        later=sum(1 for case in late if case.locked_s is not None),
        causes=_sorted(Counter(cause_of(case) for case in late)),
        by_kind=dict(sorted(by_kind.items())),
        never_signed=_sorted(Counter(_never(case) for case in cases if case.first_lock_s is None)),
        hours={f"p{round(q * 100)}": round(quantile(waits, q), 1) for q in (0.5, 0.9, 0.95)},
        warned_days=round(quantile(warned, 0.5), 1),
        locks_per_car={
            str(count): cars
            for count, cars in sorted(Counter(case.signatures["LOCK maker"] for case in locked).items())
        },
        human_per_lock=round(human["LOCK"] / max(1, len(locked)), 2),
        human_with_warns=round((human["LOCK"] + human["WARN"]) / max(1, len(locked)), 2),
        refusals=_sorted(sum((case.refusals for case in cases), Counter())),
        ends=_sorted(
            Counter(end for case in cases for sent in case.sent if sent.type == 1 for end in sent.ends)
        ),
        reachable=_release(cases, reachable=True),
        unreachable=_release(cases, reachable=False),
        wrongful=sum(1 for case in locked if is_wrongful(case)),
        inhibited=sum(case.car.inhibited for case in cases),
    )


def is_wrongful(case: Case) -> bool:
    """Return whether a car locked on a token that the gate gave after the loan system knew of a payment."""
    if case.locked_s is None or case.known_paid_s is None:
        return False
    gone = [at_s for at_s, verdict in case.go if verdict == "GO" and at_s <= case.locked_s]
    return bool(gone) and case.known_paid_s < gone[-1]


def quantile(values: Sequence[float], share: float) -> float:
    """Return a sorted list's quantile, the next value above; 0 of none."""
    if not values:
        return 0.0
    return values[min(len(values) - 1, max(0, -int(-len(values) * share // 1) - 1))]


def _in_time(funnel: Funnel, case: Case) -> bool:
    return case.locked_s is not None and case.locked_s <= _deadline_s(funnel, case)


def _deadline_s(funnel: Funnel, case: Case) -> float:
    assert case.first_lock_s is not None, "it was signed"
    return funnel.calendar.later(case.first_lock_s, BUSINESS_DAYS)


def _left_out(funnel: Funnel, case: Case) -> str | None:
    """Return why a signed loan is not in the denominator."""
    if case.locked_s is not None and case.locked_s <= _deadline_s(funnel, case):
        return None
    until_s = min(_deadline_s(funnel, case), case.locked_s or float("inf"))
    life = case.car.life
    if case.known_paid_s is not None and case.known_paid_s <= until_s:
        return PAID
    if case.blocked_s is not None and case.blocked_s <= until_s:
        return BLOCKED
    return FOILED if life.foil_s is not None and life.foil_s <= until_s else None


def cause_of(case: Case) -> str:
    """Return why a signed car did not lock in time: what it waited for longest, or that it was not heard."""
    accepted = [sent for sent in case.sent if sent.type == 1 and sent.out_s is not None]
    if not accepted:
        return "no order left the desk: the gate refused, or the breaker was full"
    if not case.car.waits:
        return "order not delivered before its end: no signal where it parks, or asleep"
    waits = {name: spent_s for name, spent_s in case.car.waits.items() if name not in RESTS} or case.car.waits
    word = max(waits, key=lambda name: waits[name])
    return WAITS.get(word, word)


def _never(case: Case) -> str:
    """Return why nobody signed a LOCK."""
    life = case.car.life
    reasons = (
        (case.known_paid_s is not None, "paid before"),
        (life.start_type == "ready", "hybrid or electric: the device only measures"),
        (case.blocked_s is not None, "promise, dispute or stay"),
        (life.foil_s is not None, FOILED),
        (case.first_warn_s is None, "never heard: no challenge came"),
        (len(case.heard_s) < CYCLES, "warned on fewer than two ignition cycles before the episode's end"),
    )
    return next(
        (why for holds, why in reasons if holds), "no fresh challenge in office hours, or the episode's end"
    )


def _release(cases: Sequence[Case], *, reachable: bool) -> Release:
    """Return how long locked cars stayed locked after the payment was posted."""
    spans = sorted(
        case.released_s - case.posted_s
        for case in cases
        if case.released_s is not None
        and case.posted_s is not None
        and case.locked_s is not None
        and case.locked_s <= case.posted_s < case.released_s
        and case.posted_reachable is reachable
    )
    return Release(
        cars=len(spans),
        p50_s=round(quantile(spans, 0.5), 1),
        p95_s=round(quantile(spans, 0.95), 1),
        p99_s=round(quantile(spans, 0.99), 1),
        longest_s=round(spans[-1] if spans else 0.0, 1),
    )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())


def as_text(report: Report) -> str:
    """Return the report as people read it."""
    lines = [
        f"{report.cars} loans over {report.days} days, seed {report.seed}",
        f"LOCK signed by a maker: {report.signed}; of these eligible and lockable: {report.eligible}",
        f"locked within {BUSINESS_DAYS} business days: {report.in_time} = {report.share_locked:.1%}",
        f"  goal: {GOAL_LOCKED:.0%}; locked later: {report.later}",
        f"hours from the first signature to the lock: {report.hours}",
        f"days from the first WARN's signature to the lock, median: {report.warned_days}",
        f"people's signatures a lock: {report.human_per_lock}, with WARNs {report.human_with_warns}",
        f"LOCK orders a locked car: {report.locks_per_car}",
        f"wrongful: {report.wrongful}; starts inhibited: {report.inhibited}",
        f"payment posted to released, reachable: {report.reachable}",
        f"payment posted to released, unreachable then: {report.unreachable}",
    ]
    for title, table in (
        ("not locked in time, by cause", report.causes),
        ("left out of the share", report.left_out),
        ("never signed", report.never_signed),
        ("in time / eligible by use", report.by_kind),
        ("the gate's noes", report.refusals),
        ("how LOCK orders ended", report.ends),
    ):
        lines += ["", title, *(f"  {value!s:>10}  {name}" for name, value in table.items())]
    return "\n".join(lines)
