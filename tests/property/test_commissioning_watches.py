"""Whatever the wires do: no watch says PASS without having seen its evidence, and none outlives an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.commissioning.relay import RUN_S, FreeWatch, HeldWatch, RunningWatch
from device.commissioning.sight import Outcome, Sight
from device.commissioning.wires import (
    DEAD_MV,
    SUPPLY_MV_MAX,
    SUPPLY_MV_MIN,
    AttitudeWatch,
    CrankWatch,
    IgnitionWatch,
    SupplyWatch,
)
from protocol.install_vocabulary import StepState
from protocol.install_words import ASKS, FINDINGS

if TYPE_CHECKING:
    from device.commissioning.sight import Watch

QUARTER_US = 250_000


REST = {"supply_mv": 12_600, "ignition": False, "crank": False, "engine": False, "accel": "still"}
ON = REST | {"ignition": True}
CRANKING = ON | {"crank": True}
RUNNING = ON | {"engine": True, "supply_mv": 14_200}
HELD = {"is_coil_on": True, "is_contact_open": True}
GOOD: dict[type[Watch], list[dict[str, Any]]] = {
    SupplyWatch: [REST],
    IgnitionWatch: [REST, ON, REST],
    CrankWatch: [ON, CRANKING, RUNNING],
    AttitudeWatch: [REST],
    HeldWatch: [REST, ON | HELD, CRANKING | HELD, ON | HELD],
    FreeWatch: [ON, CRANKING, RUNNING],
    RunningWatch: [RUNNING, RUNNING | HELD, RUNNING | HELD],
}
ANY: dict[str, list[Any]] = {
    "supply_mv": [None, 400, 11_200, 12_600, 14_200, 16_000],
    "ignition": [True, False, None],
    "crank": [True, False, None],
    "engine": [True, False, None],
    "accel": [None, "still", "moving", "failed"],
    "is_coil_on": [True, False],
    "is_contact_open": [True, False, None],
}


def sights(moments: list[tuple[dict[str, Any], int]]) -> list[Sight]:
    """Return each moment for so many quarters of a second."""
    flat = [wires for wires, count in moments for _ in range(count)]
    return [Sight(t_us=at * QUARTER_US, **wires) for at, wires in enumerate(flat)]


@st.composite
def stories(draw: st.DrawFn, make: type[Watch]) -> list[Sight]:
    """A step as it should go, with moments left out, repeated, cut short, and wires that are otherwise."""
    moments: list[tuple[dict[str, Any], int]] = []
    for wires in GOOD[make] * draw(st.integers(1, 2)):
        if draw(st.integers(0, 7)) == 0:
            continue
        changed = dict(wires)
        for name in draw(st.lists(st.sampled_from(sorted(ANY)), max_size=2)):
            changed[name] = draw(st.sampled_from(ANY[name]))
        moments.append((draw(st.sampled_from([wires, wires, changed])), draw(st.integers(1, 9))))
    return sights(moments)


@pytest.mark.parametrize("make", GOOD)
def test_a_step_that_goes_as_asked_passes(make: type[Watch]) -> None:
    outcome, _ = told(make(), sights([(wires, 8) for wires in GOOD[make]]))
    assert outcome.state is StepState.PASS


def told(watch: Watch, story: list[Sight]) -> tuple[Outcome, list[Sight]]:
    """Show a story until the watch ends; return how, and what it had seen."""
    for at, sight in enumerate(story):
        assert watch.asks in ASKS
        outcome = watch.look(sight)
        if outcome is not None:
            return outcome, story[: at + 1]
    return watch.late(), story


def follows(levels: list[bool | None], wanted: list[bool]) -> bool:
    """Whether wanted levels occur in this order."""
    at = 0
    for level in levels:
        if at < len(wanted) and level is wanted[at]:
            at += 1
    return at == len(wanted)


@settings(max_examples=60, deadline=None)
@given(stories(SupplyWatch))
def test_supply_passes_only_within_its_range(story: list[Sight]) -> None:
    outcome, seen = told(SupplyWatch(), story)
    if outcome.state is StepState.PASS:
        values = [sight.supply_mv for sight in seen if sight.supply_mv is not None]
        assert len(values) == 3
        assert all(SUPPLY_MV_MIN <= value <= SUPPLY_MV_MAX for value in values)


@settings(max_examples=60, deadline=None)
@given(stories(IgnitionWatch))
def test_ignition_passes_only_after_off_on_off_with_the_supply_alive(story: list[Sight]) -> None:
    outcome, seen = told(IgnitionWatch(), story)
    if outcome.state is StepState.PASS:
        assert follows([sight.ignition for sight in seen], [False, False, True, True, False, False])
        assert all(
            sight.supply_mv is None or sight.supply_mv >= DEAD_MV for sight in seen if sight.ignition is False
        )


@settings(max_examples=60, deadline=None)
@given(stories(CrankWatch))
def test_crank_passes_only_after_rest_with_the_key_on_then_live_then_rest(story: list[Sight]) -> None:
    outcome, seen = told(CrankWatch(), story)
    if outcome.state is StepState.PASS:
        assert follows([sight.crank for sight in seen], [False, False, True, False, False])
        assert any(sight.ignition is True and sight.crank is False for sight in seen)


@settings(max_examples=60, deadline=None)
@given(stories(HeldWatch))
def test_a_held_relay_passes_only_when_cranked_under_the_coil_without_an_engine(story: list[Sight]) -> None:
    outcome, seen = told(HeldWatch(), story)
    held = [sight for sight in seen if sight.is_coil_on]
    if outcome.state is StepState.PASS:
        assert any(sight.crank is True for sight in held)
        assert all(sight.engine is False for sight in held)
        assert held[-1].is_contact_open is not False
    if any(sight.engine is True for sight in held):
        assert outcome.state is StepState.FAIL


@settings(max_examples=60, deadline=None)
@given(stories(FreeWatch))
def test_a_free_relay_passes_only_when_a_start_was_seen_without_the_coil(story: list[Sight]) -> None:
    outcome, seen = told(FreeWatch(), story)
    if outcome.state is StepState.PASS:
        free = [sight for sight in seen if not sight.is_coil_on]
        assert any(sight.crank is True for sight in free)
        assert seen[-1].engine is True
        assert not seen[-1].is_coil_on


@settings(max_examples=60, deadline=None)
@given(stories(RunningWatch))
def test_a_running_engine_passes_only_when_it_ran_on_under_the_coil(story: list[Sight]) -> None:
    watch = RunningWatch()
    watch.is_handed_on = True
    outcome, seen = told(watch, story)
    held = [sight for sight in seen if sight.is_coil_on]
    if outcome.state is StepState.PASS:
        assert held[-1].t_us - held[0].t_us >= RUN_S * 1_000_000
        assert all(sight.engine is True for sight in held)
    if any(sight.engine is not True for sight in held):
        assert outcome.state is StepState.FAIL


@pytest.mark.parametrize("make", GOOD)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_every_end_has_its_sentence_and_time_alone_never_passes(
    make: type[Watch], data: st.DataObject
) -> None:
    outcome, _ = told(make(), data.draw(stories(make)))
    assert outcome.state in (StepState.PASS, StepState.FAIL)
    assert outcome.code in ("", *FINDINGS)
    assert (outcome.state is StepState.FAIL) == bool(outcome.code)
    assert make().late().state is StepState.FAIL
