"""Whatever the wires do: no watch says PASS without having seen its evidence, and none outlives an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

LEVEL = st.sampled_from([True, False, None])
QUARTER_US = 250_000


@st.composite
def stories(draw: st.DrawFn) -> list[Sight]:
    """Runs of equal sights: wires stay where they are for a moment, and then anything may change."""
    sights: list[Sight] = []
    for _ in range(draw(st.integers(1, 12))):
        kind = Sight(
            t_us=0,
            supply_mv=draw(st.sampled_from([None, 400, 11_200, 12_600, 14_200, 16_000])),
            ignition=draw(LEVEL),
            crank=draw(LEVEL),
            engine=draw(LEVEL),
            accel=draw(st.sampled_from([None, "still", "moving", "failed"])),
            is_coil_on=draw(st.booleans()),
            is_contact_open=draw(LEVEL),
        )
        for _ in range(draw(st.integers(1, 20))):
            sights.append(
                Sight(
                    t_us=len(sights) * QUARTER_US,
                    supply_mv=kind.supply_mv,
                    ignition=kind.ignition,
                    crank=kind.crank,
                    engine=kind.engine,
                    accel=kind.accel,
                    is_coil_on=kind.is_coil_on,
                    is_contact_open=kind.is_contact_open,
                )
            )
    return sights


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


@settings(max_examples=80, deadline=None)
@given(stories())
def test_supply_passes_only_within_its_range(story: list[Sight]) -> None:
    outcome, seen = told(SupplyWatch(), story)
    if outcome.state is StepState.PASS:
        values = [sight.supply_mv for sight in seen if sight.supply_mv is not None]
        assert len(values) == 3
        assert all(SUPPLY_MV_MIN <= value <= SUPPLY_MV_MAX for value in values)


@settings(max_examples=80, deadline=None)
@given(stories())
def test_ignition_passes_only_after_off_on_off_with_the_supply_alive(story: list[Sight]) -> None:
    outcome, seen = told(IgnitionWatch(), story)
    if outcome.state is StepState.PASS:
        assert follows([sight.ignition for sight in seen], [False, False, True, True, False, False])
        assert all(
            sight.supply_mv is None or sight.supply_mv >= DEAD_MV for sight in seen if sight.ignition is False
        )


@settings(max_examples=80, deadline=None)
@given(stories())
def test_crank_passes_only_after_rest_with_the_key_on_then_live_then_rest(story: list[Sight]) -> None:
    outcome, seen = told(CrankWatch(), story)
    if outcome.state is StepState.PASS:
        assert follows([sight.crank for sight in seen], [False, False, True, False, False])
        assert any(sight.ignition is True and sight.crank is False for sight in seen)


@settings(max_examples=80, deadline=None)
@given(stories())
def test_a_held_relay_passes_only_when_cranked_under_the_coil_without_an_engine(story: list[Sight]) -> None:
    outcome, seen = told(HeldWatch(), story)
    held = [sight for sight in seen if sight.is_coil_on]
    if outcome.state is StepState.PASS:
        assert any(sight.crank is True for sight in held)
        assert all(sight.engine is False for sight in held)
        assert held[-1].is_contact_open is not False
    if any(sight.engine is True for sight in held):
        assert outcome.state is StepState.FAIL


@settings(max_examples=80, deadline=None)
@given(stories())
def test_a_free_relay_passes_only_when_a_start_was_seen_without_the_coil(story: list[Sight]) -> None:
    outcome, seen = told(FreeWatch(), story)
    if outcome.state is StepState.PASS:
        free = [sight for sight in seen if not sight.is_coil_on]
        assert any(sight.crank is True for sight in free)
        assert seen[-1].engine is True
        assert not seen[-1].is_coil_on


@settings(max_examples=80, deadline=None)
@given(stories())
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


@pytest.mark.parametrize(
    "make", [SupplyWatch, IgnitionWatch, CrankWatch, AttitudeWatch, HeldWatch, FreeWatch, RunningWatch]
)
@settings(max_examples=25, deadline=None)
@given(story=stories())
def test_every_end_has_its_sentence_and_time_alone_never_passes(
    make: type[Watch], story: list[Sight]
) -> None:
    outcome, _ = told(make(), story)
    assert outcome.state in (StepState.PASS, StepState.FAIL)
    assert outcome.code in ("", *FINDINGS)
    assert (outcome.state is StepState.FAIL) == bool(outcome.code)
    assert make().late().state is StepState.FAIL
