"""The two windows over all their inputs, each held for ten minutes, and looked at more than once a second."""

from itertools import product
from typing import Any

import pytest

from device.mcu import floors
from device.mcu.at_rest import AtRest, Motion
from device.mcu.drive_cycle import DriveCycle
from device.mcu.interlock_watch import Watch
from device.mcu.sources import ABSENT, AGREES, DISAGREES, FAILED, JAMMED, LOST, Seen

SECONDS = [second for second in range(0, 601, 10) for _ in range(2)]
"""Two looks at each: the firmware looks twenty times a second."""

AT_REST = {(AGREES, AGREES, AGREES), (AGREES, AGREES, ABSENT), (AGREES, ABSENT, AGREES)}
VERDICTS = (ABSENT, LOST, AGREES, DISAGREES, JAMMED, FAILED)
MAYBE = (True, False, None)


def held(rest: Any, seconds: list[int], said: tuple[int, int, int]) -> int:
    for now_s in seconds:
        rest.feed(now_s, *said)
    assert isinstance(rest.held_s, int)
    return rest.held_s


def test_three_triples_of_verdicts_are_at_rest_and_no_other() -> None:
    for said in product(VERDICTS, repeat=3):
        assert held(AtRest(floors), SECONDS, said) == (600 if said in AT_REST else 0), said


def test_any_other_triple_in_between_begins_the_window_again() -> None:
    for said in product(VERDICTS, repeat=3):
        rest = AtRest(floors)
        held(rest, [s for s in SECONDS if s < 300], (AGREES, AGREES, AGREES))
        rest.feed(300, *said)
        assert held(rest, [310, 320], (AGREES, AGREES, AGREES)) == (320 if said == (AGREES,) * 3 else 10), (
            said
        )


@pytest.mark.parametrize("source", [0, 1, 2])
def test_what_is_heard_and_gone_is_lost_once_and_then_absent(source: int) -> None:
    rest = AtRest(floors)
    said = [AGREES, AGREES, AGREES]
    held(rest, [0, 5], (AGREES, AGREES, AGREES))
    said[source] = ABSENT
    found = []
    for now_s in (10, 11, 12):
        rest.feed(now_s, *said)
        found.append((rest.verdicts[source], rest.held_s))
    assert found == [(LOST, 0), (ABSENT, 0), (ABSENT, 1 if source else 0)]


def ends(
    *, ignition: Any, engine: Any, ignition_bus: Any, engine_bus: Any, asleep: bool, moving: bool
) -> bool:
    """The rule as it is written, of a car that stayed so for ten minutes."""
    runs = engine is True or engine_bus is True or moving
    off = ignition is False and ignition_bus is not True
    another = engine is False or engine_bus is False or ignition_bus is False or asleep
    return off and another and not runs


def test_a_drive_cycle_ends_by_the_ignition_wire_and_one_more_source_and_no_contradiction() -> None:
    ended = 0
    for ignition, engine, ignition_bus, engine_bus in product(MAYBE, repeat=4):
        for asleep, moving in product((True, False), repeat=2):
            cycle = DriveCycle(floors)
            for now_s in SECONDS:
                cycle.feed(now_s, ignition, engine, ignition_bus, engine_bus, asleep, moving)
            expected = ends(
                ignition=ignition, engine=engine, ignition_bus=ignition_bus, engine_bus=engine_bus,
                asleep=asleep, moving=moving,
            )  # fmt: skip
            assert cycle.ended == expected, (ignition, engine, ignition_bus, engine_bus, asleep, moving)
            ended += expected
    assert ended > 0


def test_what_would_not_end_a_drive_cycle_for_want_of_knowledge_opens_one_that_ended() -> None:
    for ignition, engine, ignition_bus, engine_bus in product(MAYBE, repeat=4):
        for asleep, moving in product((True, False), repeat=2):
            cycle = DriveCycle(floors, ended=True)
            cycle.feed(0, ignition, engine, ignition_bus, engine_bus, asleep, moving)
            runs = engine is True or engine_bus is True or moving
            bus_off = ignition is False and (asleep or ignition_bus is False)
            stands = engine is False or engine_bus is False or bus_off
            assert cycle.ended == (stands and not runs)


def test_a_count_that_goes_back_by_one_second_begins_both_windows_again() -> None:
    rest, cycle = AtRest(floors), DriveCycle(floors)
    ignition = engine = asleep = moving = False
    for now_s in [*SECONDS, 599]:
        rest.feed(now_s, AGREES, AGREES, AGREES)
        cycle.feed(now_s, ignition, engine, None, None, asleep, moving)
    assert (rest.held_s, cycle.ran_s, cycle.ended) == (0, 0, False)


def test_a_car_that_nobody_looked_at_yet_refuses_everything() -> None:
    seen, cycle, motion, watch = Seen(), DriveCycle(floors), Motion(floors), Watch(floors)
    assert (seen.mode_active, seen.warned, seen.rest_s, seen.cycle_ended, seen.ran_s) == (
        False,
        0,
        0,
        False,
        0,
    )
    assert (cycle.ended, cycle.ran_s, motion.is_moving) == (False, 0, False)
    assert (watch.moving, watch.crash, watch.local_minute) == (False, False, None)
    assert watch.seen(0).mode_active is False
