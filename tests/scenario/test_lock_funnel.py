"""The lock funnel over the real gate, brain and floors: who locks in time, who never, and why.

The whole funnel is `make bench ONLY=funnel`; here a small one, and single lives with one thing changed.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from protocol.orders import State
from simulators.lock_funnel import Funnel
from simulators.lock_funnel_lives import (
    DAY_S,
    HOUR_S,
    START_S,
    Calendar,
    Life,
    PaidBy,
    Payment,
    Place,
    life_of,
)
from simulators.lock_funnel_races import run_races
from simulators.lock_funnel_report import GOAL_LOCKED, GOAL_RELEASE_S, Report, cause_of, of_run

if TYPE_CHECKING:
    from simulators.lock_funnel_desk import Case

DAYS = 21
OPEN = Place(is_roofed=False, has_signal=True, is_zone=False, flickers=False)
CALENDAR = Calendar.of(START_S, days=DAYS)


def commuter(**changes: object) -> Life:
    """A commuter who parks in the open, pays nothing, and is past due soon after the span begins."""
    life = next(life for number in range(50) if (life := life_of(number, CALENDAR)).kind == "office")
    plain = replace(
        life,
        due_since_s=CALENDAR.midnight_s(1) - 10 * DAY_S,
        drives=[drive._replace(place=OPEN) for drive in life.drives],
        home=OPEN,
        climate="coast",
        start_type="turn-key",
        is_weak=False,
        payment=None,
        after_lock_s=None,
        blocks=[],
        foil_s=None,
        bounced=frozenset(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def lived(life: Life) -> tuple[Funnel, Case]:
    funnel = Funnel(lives=[life], days=DAYS)
    funnel.run()
    return funnel, next(iter(funnel.desk.cases.values()))


@pytest.fixture(scope="module")
def locked() -> tuple[Funnel, Case]:
    return lived(commuter())


@pytest.fixture(scope="module")
def report() -> Report:
    funnel = Funnel(cars=80, days=24)
    funnel.run()
    return of_run(funnel)


def test_three_business_days_skip_the_weekend_and_a_holiday() -> None:
    friday_noon_s = CALENDAR.midnight_s(4) + 12 * HOUR_S
    thursday_s = CALENDAR.midnight_s(10) + 12 * HOUR_S  # the day after is Juneteenth, kept on the 18th

    assert CALENDAR.later(friday_noon_s, 3) == CALENDAR.midnight_s(9) + 12 * HOUR_S
    assert CALENDAR.later(thursday_s, 1) == CALENDAR.midnight_s(14) + 12 * HOUR_S


def test_drives_of_a_life_follow_each_other() -> None:
    for number in range(20):
        drives = life_of(number, CALENDAR).drives
        assert drives
        assert all(before.end_s < after.start_s for before, after in pairwise(drives))


def test_a_commuter_in_the_open_is_warned_then_locked_and_cannot_start(locked: tuple[Funnel, Case]) -> None:
    funnel, case = locked

    assert case.locked_s is not None
    assert case.first_lock_s is not None
    assert case.locked_s - case.heard_s[0] >= funnel.calendar.pack.lead_s
    assert len(case.heard_s) > 1
    assert case.car.inhibited > 0


def test_a_lock_that_nobody_pays_for_ends_with_its_lease(locked: tuple[Funnel, Case]) -> None:
    _, case = locked

    assert case.locked_s is not None
    assert case.released_s is not None
    assert case.released_s - case.locked_s == pytest.approx(72 * HOUR_S, rel=0.01)
    assert case.car.state is State.NONE


def test_who_parks_at_protected_places_alone_is_never_locked() -> None:
    life = commuter()
    zone = OPEN._replace(is_zone=True)
    life = replace(life, home=zone, drives=[drive._replace(place=zone) for drive in life.drives])

    _, case = lived(life)

    assert case.first_lock_s is not None
    assert case.locked_s is None
    assert cause_of(case) == "parked within or at a protected place"


def test_nobody_signs_a_lock_of_a_car_that_only_measures() -> None:
    _, case = lived(commuter(start_type="ready"))

    assert not case.sent
    assert case.locked_s is None


def test_a_wrapped_antenna_before_the_warning_leaves_the_car_alone() -> None:
    _, case = lived(commuter(foil_s=CALENDAR.midnight_s(-3)))

    assert case.first_lock_s is None
    assert case.locked_s is None


def test_a_payment_on_its_way_stops_the_lock_and_a_payment_after_it_releases() -> None:
    pending = Payment(CALENDAR.midnight_s(2), PaidBy.TRANSFER, 3)
    _, stopped = lived(commuter(payment=pending))
    _, released = lived(commuter(after_lock_s=5 * HOUR_S, paid_by=PaidBy.CARD))

    assert stopped.locked_s is None
    assert released.posted_s is not None
    assert released.released_s is not None
    assert 0 < released.released_s - released.posted_s <= GOAL_RELEASE_S


@pytest.mark.slow
def test_nine_in_ten_of_the_eligible_and_lockable_lock_in_three_business_days(report: Report) -> None:
    assert report.eligible > 20
    assert report.share_locked >= GOAL_LOCKED
    assert report.wrongful == 0


@pytest.mark.slow
def test_every_loan_stands_in_one_row_of_the_report(report: Report) -> None:
    assert report.signed + sum(report.never_signed.values()) == report.cars
    assert report.eligible + sum(report.left_out.values()) == report.signed
    assert report.in_time + sum(report.causes.values()) == report.eligible
    assert sum(row[1] for row in report.by_kind.values()) == report.eligible


@pytest.mark.slow
def test_a_posted_payment_releases_cars_within_reach_in_a_minute(report: Report) -> None:
    assert report.reachable.cars > 0
    assert report.reachable.p99_s <= GOAL_RELEASE_S


@pytest.mark.slow
def test_no_payment_between_signature_and_lock_leaves_a_car_locked() -> None:
    raced = run_races(races=16, seed=3)

    assert raced.wrongful == 0
    assert raced.unlocked + raced.crossed == raced.races
    assert 0 < raced.pending < raced.races
