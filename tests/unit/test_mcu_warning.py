"""Warnings in the car, and the two holds: seldom, by day, counted by ears."""

from typing import Any

import pytest

from device.mcu import floors
from device.mcu.interlock_holds import Holds
from device.mcu.warning import Warnings

EPISODE, OTHER = b"e" * 16, b"f" * 16
DAY = 86_400
MINUTES = [(420, True), (1_319, True), (419, False), (1_320, False), (None, False)]


def begun(kept: Any = None) -> Any:
    warnings = Warnings(floors, kept)
    warnings.begin(EPISODE)
    return warnings


def feed(warnings: Any, tick: int, **changes: Any) -> bool:
    values: dict[str, Any] = {"ignition": True, "local_minute": 600, "heard": False, "wants": True}
    answer = warnings.feed(tick, *(values | changes).values())
    assert answer is True or answer is False
    return answer


def plays(warnings: Any, tick: int, *, heard: bool = True, **changes: Any) -> bool:
    """Switch the ignition off and on; return whether it plays."""
    assert not feed(warnings, tick - floors.WARN_OFF_S, ignition=False)
    found = feed(warnings, tick, **changes)
    feed(warnings, tick + 1, heard=heard and found, **changes)
    return found


def test_it_plays_once_at_each_ignition_on_and_ends_by_itself() -> None:
    warnings = begun()
    assert not feed(warnings, 0), "on since before anybody looked"
    assert not feed(warnings, 1, ignition=False)
    assert [feed(warnings, 11 + second) for second in (0, 1, 9, 10, 11, 500)] == [True] * 3 + [False] * 3
    assert not feed(warnings, 600, ignition=None)
    assert not feed(warnings, 601), "a wire that was not sensed was not off"


def test_it_is_looked_at_many_times_a_second() -> None:
    warnings = begun()
    feed(warnings, 5, ignition=False)
    assert [feed(warnings, 15) for _ in range(3)] == [True] * 3
    assert (warnings.heard_cycles, Warnings(floors).heard_cycles) == (0, 0)


def test_the_count_of_heard_cycles_fits_one_byte() -> None:
    warnings = begun([EPISODE, 254, []])
    plays(warnings, 100)
    assert warnings.heard_cycles == 255
    plays(warnings, 200)
    assert warnings.heard_cycles == 255


def test_it_stops_with_the_ignition_or_with_its_order() -> None:
    for change in ({"ignition": False}, {"ignition": None}, {"wants": False}):
        warnings = begun()
        feed(warnings, 0, ignition=False)
        assert feed(warnings, 10)
        assert not feed(warnings, 11, **change)
        assert not feed(warnings, 12, **change)
    warnings = begun()
    feed(warnings, 90, ignition=False)
    assert feed(warnings, 100)
    assert not feed(warnings, 99), "a count that went back"


def test_an_ignition_that_was_off_for_less_than_ten_seconds_is_no_other_cycle() -> None:
    for off_s, expected in ((0, False), (9, False), (10, True), (11, True)):
        warnings = begun()
        feed(warnings, 100, ignition=False)
        feed(warnings, 100 + off_s // 2, ignition=False)
        assert feed(warnings, 100 + off_s) is expected, off_s
        assert not feed(begun(), 100 + off_s), "nobody saw it off"
    warnings = begun()
    feed(warnings, 100, ignition=False)
    feed(warnings, 95, ignition=False)
    assert not feed(warnings, 104), "a count that went back begins again"
    feed(warnings, 105, ignition=False)
    feed(warnings, 106, ignition=None)
    assert feed(warnings, 115)


def test_feedback_counts_after_it_has_sounded_for_a_second() -> None:
    """A contact that bounces lets the buzzer click: nobody has heard a warning then."""
    warnings = begun()
    for tick in (100, 200):
        feed(warnings, tick - 10, ignition=False)
        assert feed(warnings, tick)
        assert feed(warnings, tick, heard=True)
        feed(warnings, tick, ignition=False, heard=True)
    assert (warnings.heard_cycles, warnings.was_heard()) == (0, False)
    feed(warnings, 290, ignition=False)
    assert feed(warnings, 300)
    feed(warnings, 301, ignition=False, heard=True)
    assert (warnings.heard_cycles, warnings.was_heard()) == (1, True)


def test_two_heard_cycles_count_and_an_unheard_one_does_not() -> None:
    warnings = begun()
    assert plays(warnings, 100, heard=False)
    assert (warnings.heard_cycles, warnings.was_heard()) == (0, False)
    assert plays(warnings, 200)
    assert (warnings.heard_cycles, warnings.was_heard(), warnings.was_heard()) == (1, True, False)
    feed(warnings, 202, heard=True)
    assert warnings.heard_cycles == 1, "one ignition cycle counts once"
    assert plays(warnings, 300)
    assert warnings.heard_cycles == floors.WARN_CYCLES_MIN


def test_noise_while_nothing_plays_is_not_heard() -> None:
    warnings = begun()
    feed(warnings, 0, heard=True)
    feed(warnings, 1, ignition=False, heard=True)
    feed(warnings, 2, heard=True, wants=False)
    feed(warnings, 3, heard=True, wants=False)
    assert (warnings.heard_cycles, warnings.was_heard()) == (0, False)


def test_three_a_day_and_the_day_rolls() -> None:
    warnings = begun()
    assert [plays(warnings, tick) for tick in (0, 1_000, 2_000, 3_000)] == [True] * 3 + [False]
    assert not plays(begun(warnings.dump()), DAY - 1), "over a reset too"
    assert plays(warnings, DAY)
    assert not plays(warnings, DAY + 999)
    assert plays(warnings, DAY + 1_000)
    assert not plays(warnings, 50), "a count that went back is no new day"


@pytest.mark.parametrize(("minute", "expected"), MINUTES)
def test_never_between_22_and_7_nor_without_a_local_time(minute: int | None, *, expected: bool) -> None:
    assert plays(begun(), 100, local_minute=minute) is expected


def test_without_an_order_or_an_episode_nothing_plays() -> None:
    assert not plays(begun(), 100, wants=False)
    assert not plays(begun(), 100, wants=None)
    assert not plays(Warnings(floors), 100)


def test_what_was_heard_belongs_to_its_episode_and_survives_resets() -> None:
    warnings = begun()
    plays(warnings, 100)
    again = begun(warnings.dump())
    assert again.heard_cycles == 1
    assert again.dump() == [EPISODE, 1, [100]]
    again.begin(OTHER)
    assert again.dump() == [OTHER, 0, [100]]


def test_a_crash_holds_arming_for_three_days() -> None:
    holds = Holds(floors)
    assert (holds.crash_left_s(0), holds.rate_left_s(0), holds.dump()) == (0, 0, [None, None])
    holds.crashed(100)
    assert [holds.crash_left_s(100 + s) for s in (0, 3 * DAY - 1, 3 * DAY, 9 * DAY)] == [3 * DAY, 1, 0, 0]
    assert holds.rate_left_s(100) == 0
    assert Holds(floors, holds.dump()).crash_left_s(101) == 3 * DAY - 1
    assert holds.crash_left_s(5) == 3 * DAY, "a count that went back has not passed"


def test_one_lock_in_seven_days() -> None:
    holds = Holds(floors)
    holds.locked(100)
    assert [holds.rate_left_s(100 + s) for s in (0, 7 * DAY - 1, 7 * DAY)] == [7 * DAY, 1, 0]
    assert (holds.crash_left_s(100), holds.dump()) == (0, [None, 100])
