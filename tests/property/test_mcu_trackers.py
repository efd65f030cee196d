"""The windows of at rest and drive cycle against their definitions, over whole histories with gaps and
jumps."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from device.mcu import floors
from device.mcu.at_rest import AtRest, Motion
from device.mcu.drive_cycle import DriveCycle
from device.mcu.sources import ABSENT, AGREES, DISAGREES, FAILED, JAMMED, LOST

# Long calm stretches, else no window would ever fill: (seconds between looks, looks, what is said)
calm = st.sampled_from([(AGREES, AGREES, ABSENT), (AGREES, AGREES, AGREES), (AGREES, ABSENT, AGREES)])
wild = st.tuples(*[st.sampled_from([ABSENT, LOST, AGREES, DISAGREES, JAMMED, FAILED])] * 3)
gaps = st.sampled_from([1, 1, 9, 10, 11, 600, -5, 2**33])
histories = st.lists(
    st.one_of(
        st.tuples(st.just(10), st.integers(50, 70), calm),
        st.tuples(gaps, st.integers(1, 3), calm),
        st.tuples(gaps, st.integers(1, 2), wild),
    ),
    max_size=8,
)


def looks(history: list[tuple[int, int, Any]], start: int) -> list[tuple[int, Any]]:
    at, found = start, []
    for step, times, said in history:
        for _ in range(times):
            at += step
            found.append((at, said))
    return found


def rest_by_definition(seen: list[tuple[int, Any]]) -> tuple[list[int], int]:
    """Return verdicts of the last look, and the seconds at rest, from the whole history read forwards."""
    heard, since, before = [False] * 3, None, None
    verdicts: list[int] = []
    for at, said in seen:
        verdicts = [LOST if now == ABSENT and was else now for now, was in zip(said, heard, strict=True)]
        unbroken = before is not None and 0 <= at - before <= 10
        rests = (
            verdicts[0] == AGREES and AGREES in verdicts[1:] and all(v in (AGREES, ABSENT) for v in verdicts)
        )
        if not rests:
            since = None
        elif since is None or not unbroken:
            since = at
        if since is None or since == at:
            heard = [False] * 3
        heard = [was or now not in (ABSENT, LOST) for now, was in zip(verdicts, heard, strict=True)]
        before = at
    return verdicts, 0 if since is None else seen[-1][0] - since


@given(history=histories, start=st.sampled_from([0, 5_000, 2**40]))
def test_at_rest_is_what_its_definition_says(history: list[Any], start: int) -> None:
    seen = looks(history, start)
    rest = AtRest(floors)
    for index, (at, said) in enumerate(seen):
        rest.feed(at, *said)
        if index % 25 == 0 or index == len(seen) - 1:
            assert (rest.verdicts, rest.held_s) == rest_by_definition(seen[: index + 1])
        assert rest.is_fresh(at)
        assert rest.is_fresh(at + 10)
        assert not rest.is_fresh(at + 11)
        assert not rest.is_fresh(at - 1)


@given(history=histories)
def test_who_says_at_rest_has_600_calm_seconds_behind_it(history: list[Any]) -> None:
    seen = looks(history, 0)
    rest = AtRest(floors)
    for index, (at, said) in enumerate(seen):
        rest.feed(at, *said)
        if rest.held_s < floors.REST_S:
            continue
        window = unbroken(seen[: index + 1], 600)
        assert all(accel == AGREES and AGREES in (wheel, gnss) for _, (accel, wheel, gnss) in window)
        assert all(not {DISAGREES, JAMMED, FAILED, LOST} & set(said) for _, said in window)
        for source in range(3):
            assert len({said[source] == ABSENT for _, said in window}) == 1 or window[0][1][source] == ABSENT


def test_a_fresh_tracker_has_seen_nothing() -> None:
    rest = AtRest(floors)
    assert (rest.held_s, rest.verdicts, rest.is_fresh(0)) == (0, [ABSENT] * 3, False)


Drive = tuple[Any, Any, Any, Any, bool, bool]
OFF: Drive = (False, False, None, None, False, False)
drives = st.lists(
    st.one_of(
        st.tuples(st.just(10), st.integers(58, 64), st.just(OFF)),
        st.tuples(
            st.sampled_from([1, 10, 11, -3, 2**33]),
            st.integers(1, 4),
            st.tuples(
                *[st.sampled_from([True, False, None])] * 4,
                st.booleans(),
                st.sampled_from([False, False, True]),
            ),
        ),
    ),
    max_size=8,
)


def ended_by_definition(seen: list[tuple[int, Drive]]) -> tuple[bool, int]:
    ended, ran_at, before = False, None, None
    for at, (ignition, engine, ignition_bus, engine_bus, asleep, moving) in seen:
        runs = engine is True or engine_bus is True or moving
        bus_off = ignition is False and (asleep or ignition_bus is False)
        stands = engine is False or engine_bus is False or bus_off
        unbroken = before is None or 0 <= at - before <= 10
        before = at
        if runs or not stands or not unbroken:
            ended, ran_at = False, at
            continue
        ran_at = at if ran_at is None else ran_at
        ended = ended or (at - ran_at >= 600 and ignition is False and ignition_bus is not True)
    return ended, 0 if ran_at is None or before is None else before - ran_at


@given(history=drives, start=st.sampled_from([0, 7, 2**40]))
def test_a_drive_cycle_ends_as_its_definition_says(history: list[Any], start: int) -> None:
    seen = looks(history, start)
    cycle = DriveCycle(floors)
    for index, (at, said) in enumerate(seen):
        cycle.feed(at, *said)
        if index % 20 == 0 or index == len(seen) - 1:
            assert (cycle.ended, cycle.ran_s) == ended_by_definition(seen[: index + 1])


def unbroken(seen: list[tuple[int, Any]], seconds: int) -> list[tuple[int, Any]]:
    """Return the last looks, back to the first so many seconds ago; none far from the one before."""
    window = [seen[-1]]
    for look in reversed(seen[:-1]):
        if window[0][0] <= seen[-1][0] - seconds:
            break
        assert 0 <= window[0][0] - look[0] <= 10
        window.insert(0, look)
    return window


@given(history=drives)
def test_whoever_says_ended_heard_no_engine_for_600_seconds(history: list[Any]) -> None:
    seen = looks(history, 0)
    cycle = DriveCycle(floors)
    was_ended = False
    for index, (at, said) in enumerate(seen):
        cycle.feed(at, *said)
        if cycle.ended and not was_ended:
            window = unbroken(seen[: index + 1], 600)
            assert at - 610 <= window[0][0] <= at - 600
            assert all(True not in (engine, bus, moving) for _, (_, engine, _, bus, _, moving) in window[1:])
            assert said[0] is False, "its own ignition wire is one of the two"
        was_ended = cycle.ended


def test_only_a_reset_of_its_own_brings_an_ended_drive_cycle_back() -> None:
    ignition = engine = moving = asleep = False
    off = (ignition, engine, None, None, asleep, moving)
    lost_power, own_reset = DriveCycle(floors), DriveCycle(floors, ended=True)
    for cycle in (lost_power, own_reset):
        cycle.feed(10, *off)
    assert (lost_power.ended, own_reset.ended) == (False, True)


def test_motion_is_wheels_at_once_and_the_others_when_they_insist() -> None:
    motion = Motion(floors)

    def said(now_s: int, accel: int = AGREES, wheel: int = AGREES, gnss: int = ABSENT) -> bool:
        motion.feed(now_s, accel, wheel, gnss)
        return bool(motion.is_moving)

    assert not said(0)
    assert said(1, wheel=DISAGREES)
    assert not said(2), "standing again"
    assert [said(10 + second, accel=DISAGREES) for second in range(5)] == [False, False, False, True, True]
    assert not said(15)
    assert [said(20 + second, gnss=DISAGREES) for second in range(4)] == [False, False, False, True]
    assert not said(24)
    assert [said(30 + s, accel=DISAGREES if s % 2 else AGREES) for s in range(9)] == [False] * 9
    assert not said(40, accel=DISAGREES)
    assert not said(20, accel=DISAGREES), "a count that went back starts again"
    assert not said(22, accel=DISAGREES)
    assert said(23, accel=DISAGREES)
    assert not said(24, accel=JAMMED, gnss=JAMMED), "what is no word of motion is none"


def test_driven_is_wheels_or_receiver_and_never_the_accelerometer_alone() -> None:
    """An idling engine shakes it, and a fitter's bench goes on."""
    motion = Motion(floors)
    assert not motion.is_driven

    def said(
        now_s: int, accel: int = DISAGREES, wheel: int = AGREES, gnss: int = ABSENT
    ) -> tuple[bool, bool]:
        motion.feed(now_s, accel, wheel, gnss)
        return bool(motion.is_moving), bool(motion.is_driven)

    assert [said(second) for second in range(5)] == [(False, False)] * 3 + [(True, False)] * 2
    assert said(5, wheel=DISAGREES) == (True, True)
    assert said(6) == (True, False)
    assert [said(7 + s, gnss=DISAGREES)[1] for s in range(4)] == [False, False, False, True]
    assert [said(20 + s, accel=AGREES, gnss=DISAGREES) for s in range(3)] == [(True, True)] * 3
    assert said(30, accel=AGREES) == (False, False)
