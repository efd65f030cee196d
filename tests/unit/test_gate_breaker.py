"""The breaker's arithmetic, and what it does to an order: held, shown, never signed."""

import pytest

from backend.gate.breaker import Asked, Signed, judge, limits_at, limits_for
from protocol.gate_records import RecordType
from protocol.orders import OrderType, Role
from protocol.vectors.orders_story import LENDER_ID
from tests.builders.gate import DAY_S, GateWorld, pack

HOUR_S = 3_600
NOW_S = 1_000_000_000


@pytest.mark.parametrize(
    ("fleet", "asked", "day", "hour", "warn"),
    [
        (0, None, 2, 1, 10),
        (100, None, 2, 1, 10),
        (2_999, None, 2, 1, 10),
        (3_000, None, 3, 1, 15),
        (8_000, None, 8, 2, 40),
        (100_000, None, 100, 25, 500),
        (10_000, 25, 25, 6, 125),
        (10_000, 26, 25, 6, 125),  # never above 0.25 %
        (10_000, 0, 0, 1, 0),
        (799, 5, 2, 1, 10),  # a quarter of a percent of a small fleet is less than the default
        (1_200, 5, 3, 1, 15),
    ],
)
def test_a_fleet_s_limits(fleet: int, asked: int | None, day: int, hour: int, warn: int) -> None:
    limits = limits_for(fleet=fleet, asked=asked)
    assert (limits.day, limits.hour, limits.warn_day) == (day, hour, warn)


def test_a_limit_holds_seven_days_after_it_came_and_not_earlier() -> None:
    record = Asked(fleet=10_000, day=25, received_s=NOW_S, from_s=NOW_S)
    assert limits_at([record], NOW_S + 7 * DAY_S - 1).day == 2
    assert limits_at([record], NOW_S + 7 * DAY_S).day == 25
    later = Asked(fleet=10_000, day=5, received_s=NOW_S + 1, from_s=NOW_S + 30 * DAY_S)
    assert limits_at([record, later], NOW_S + 29 * DAY_S).day == 25
    assert limits_at([record, later], NOW_S + 30 * DAY_S).day == 5


def signed(*ages_s: int, kind: OrderType = OrderType.LOCK, maker: str = "m") -> list[Signed]:
    return [Signed(at_s=NOW_S - age, type=kind, mcu_id=b"car", maker=maker) for age in ages_s]


def says(
    kind: OrderType, before: list[Signed], *, fleet: int = 40_000, maker_day: int = 99, locked: int = 3
) -> list[int | None]:
    """Return when each no ends; nothing is a yes."""
    limits = limits_for(fleet=fleet, asked=None)
    nos = judge(kind, before, limits, now_s=NOW_S, maker="m", maker_day=maker_day, locked=locked)
    return [no.earliest_s for no in nos]


def test_an_hour_and_a_day_are_rolling_windows() -> None:
    assert says(OrderType.LOCK, signed(*range(10), maker="other")) == [NOW_S - 9 + HOUR_S]
    assert says(OrderType.LOCK, signed(*range(9), maker="other")) == []
    assert says(OrderType.LOCK, signed(*([HOUR_S] * 10), maker="other")) == []
    assert says(OrderType.LOCK, signed(*([DAY_S - 1] * 40), maker="other")) == [NOW_S + 1]
    assert says(OrderType.LOCK, signed(*([DAY_S] * 40), maker="other")) == []


def test_ten_locks_a_day_and_maker_and_what_the_maker_s_delegation_says() -> None:
    assert says(OrderType.LOCK, signed(*([5 * HOUR_S] * 10))) == [NOW_S + 19 * HOUR_S]
    assert says(OrderType.LOCK, signed(*([5 * HOUR_S] * 10), maker="other")) == []
    assert says(OrderType.LOCK, signed(*([5 * HOUR_S] * 4)), maker_day=4) == [NOW_S + 19 * HOUR_S]
    assert says(OrderType.WARN, signed(*([5 * HOUR_S] * 4)), maker_day=4) == [NOW_S + 19 * HOUR_S]


def test_types_are_counted_apart() -> None:
    locks = signed(*([5 * HOUR_S] * 40), maker="other")
    assert says(OrderType.WARN, locks) == []
    assert says(OrderType.RENEW, locks) == []
    warns = signed(*([5 * HOUR_S] * 200), kind=OrderType.WARN, maker="other")
    assert says(OrderType.WARN, warns) == [NOW_S + 19 * HOUR_S]
    assert says(OrderType.WARN, warns[1:]) == []


def test_no_more_renewals_than_cars_are_locked() -> None:
    renews = signed(5, 6, kind=OrderType.RENEW, maker="other")
    assert says(OrderType.RENEW, renews, locked=3) == []
    assert says(OrderType.RENEW, renews, locked=2) == [NOW_S - 6 + DAY_S]
    assert says(OrderType.RENEW, [], locked=0) == [None]


def test_above_the_limit_an_order_is_held_shown_and_never_signed() -> None:
    world = GateWorld()
    assert world.lock().verdict == "SIGNED"
    first_s = world.clock.now_s()
    held = world.lock()
    assert (held.verdict, held.rule, held.earliest) == ("HELD", "BREAKER", first_s + HOUR_S)
    request, order = world.last_request, world.last_order
    world.clock.wait(2 * HOUR_S)
    again = world.gate.review(request)
    assert (again.verdict, again.rule, again.part) == ("HELD", "HELD", None)
    with world.store.writing() as at:
        assert [kept.rule for kept in at.held(0)] == ["BREAKER"]
    assert world.lock(key_13=order[13]).rule == "CHALLENGE"
    assert world.lock().verdict == "SIGNED"
    assert world.lock().verdict == "HELD"  # two a day


def test_refused_orders_do_not_count() -> None:
    world = GateWorld()
    for _ in range(5):
        assert world.lock(key_24=bytes(16)).verdict == "REFUSED"
    assert world.lock().verdict == "SIGNED"


def test_the_safety_officer_s_limit_holds_after_seven_days() -> None:
    world = GateWorld(jur="US-NJ", is_demo=False)
    world.load_opinion("US-NJ", pack("us-nj"))
    body = {1: LENDER_ID, 2: 40_000, 3: 60, 4: world.clock.now_s() - 30 * DAY_S}
    world.gate_record(RecordType.LIMIT, body)
    assert [world.lock().verdict for _ in range(2)] == ["SIGNED", "HELD"]
    with world.store.writing() as at:  # as if it had come a week ago
        at._db.execute("UPDATE gate_records SET at_s = at_s - ?", (7 * DAY_S,))
    answers = [world.lock().verdict for _ in range(10)]
    assert answers == ["SIGNED"] * 9 + ["HELD"]  # ten a day and maker


def test_a_second_key_gives_its_person_no_second_ten_a_day() -> None:
    world = GateWorld(jur="US-NJ", is_demo=False)
    world.enlist("second-key", "checker-2", Role.MAKER, person="person maker-1")
    world.enlist("other-person", "checker-2", Role.MAKER, person="another")
    world.load_opinion("US-NJ", pack("us-nj"))
    world.gate_record(RecordType.LIMIT, {1: LENDER_ID, 2: 40_000, 3: 60, 4: 0})
    with world.store.writing() as at:  # as if it had come a week ago
        at._db.execute("UPDATE gate_records SET at_s = at_s - ?", (7 * DAY_S,))
    assert [world.lock().verdict for _ in range(10)] == ["SIGNED"] * 10
    world.gate = world.open()  # also after a restart
    held = world.lock(maker="second-key")
    assert (held.verdict, held.rule) == ("HELD", "BREAKER")
    assert "10 LOCK signed, 10 a day and maker" in (held.detail or "")
    assert world.lock(maker="other-person").verdict == "SIGNED"


def test_a_demonstration_s_limit_needs_no_week() -> None:
    world = GateWorld()
    world.gate_record(RecordType.LIMIT, {1: LENDER_ID, 2: 40_000, 3: 60, 4: 0})
    world.clock.wait(1)
    assert [world.lock(wait_s=10).verdict for _ in range(2)] == ["SIGNED", "SIGNED"]
