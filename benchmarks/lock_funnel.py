"""FUNNEL: of late loans whose lock was ordered, how many cars lock in time; payment races; time to release.

Measured in virtual time over the product's own gate, reader, brain and floors (`simulators.lock_funnel`): the
figures are the same on every machine, so no slack is due. There is no other side: the goals are shares and
seconds. The table of causes is printed by `tbox sim funnel`.

Source of the goals: issue of lock and unlock, "Reliability to show".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import Bench
from benchmarks.result import Goal, Row, at_least
from simulators.lock_funnel import Funnel
from simulators.lock_funnel_races import run_races
from simulators.lock_funnel_report import GOAL_LOCKED, GOAL_RELEASE_S, of_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Setting
    from benchmarks.result import Line

CARS, DAYS, RACES = 1_000, 60, 500
IN_TIME = at_least(GOAL_LOCKED, "the eligible and lockable")
RELEASED = Goal(text=f"p99 ≤ {GOAL_RELEASE_S:g} s", bound=GOAL_RELEASE_S, is_floor=False)
WRONGFUL = Goal(text="0 wrongful", bound=0, is_floor=False)


def run(setting: Setting) -> Iterator[Line]:
    """Run the funnel, then the races."""
    funnel = Funnel(cars=setting.size(CARS, 12), days=setting.size(DAYS, 21))
    funnel.run()
    report = of_run(funnel)
    causes = "; ".join(f"{count} {cause}" for cause, count in report.causes.items())
    yield Row(
        id="FUNNEL",
        case=f"{report.cars} loans, {report.days} days: locked within three business days",
        goal=IN_TIME,
        measured=f"{report.in_time} of {report.eligible}, {report.human_per_lock} people's signatures a lock",
        baseline=f"{report.signed} signed; left out: {report.left_out or 'none'}",
        ratio=report.share_locked,
        note=f"not in time: {causes or 'none'}",
        is_exact=True,
    )
    release = report.reachable
    yield Row(
        id="FUNNEL",
        case=f"payment posted to released, {release.cars} locked cars within reach",
        goal=RELEASED,
        measured=f"p50 {release.p50_s} s, p95 {release.p95_s} s, p99 {release.p99_s} s",
        baseline=f"longest {release.longest_s} s",
        ratio=release.p99_s,
        is_exact=True,
    )
    raced = run_races(races=setting.size(RACES, 2))
    yield Row(
        id="FUNNEL",
        case=f"{raced.races} payment races, {raced.pending} with a payment on its way",
        goal=WRONGFUL,
        measured=f"{raced.wrongful} wrongful, {raced.crossed} crossed, released in ≤ {raced.longest_s} s",
        baseline=f"{raced.unlocked} never locked",
        ratio=raced.wrongful,
        is_exact=True,
    )


BENCH = Bench(ids=("FUNNEL",), title="late loans to locked cars, payments racing locks", run=run)
