"""Seeded lives: no car is held that must start, every release works, each order ends once."""

from types import SimpleNamespace
from typing import Any

import pytest

from device.mcu import floors as production
from simulators.order_lives.kinds import KINDS
from simulators.order_lives.life import live
from simulators.order_lives.oracle import LifeError

# 20071: two old images; the LOCK ended as EXPIRED in the first, and the second brought it back LOCKED.
FAST, ALL = (*range(20), 20_071), range(20, 200)


@pytest.mark.parametrize("seed", FAST)
def test_a_life_of_faults_never_holds_a_car_that_must_start(seed: int) -> None:
    live(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL)
def test_many_lives_of_faults_never_hold_a_car_that_must_start(seed: int) -> None:
    live(seed)


def test_lives_lock_cars_refuse_starts_and_let_go() -> None:
    seen = sum((live(seed).seen for seed in range(0, 3 * len(KINDS), len(KINDS))), start=live(1).seen)
    assert seen["locked"] >= 3
    assert seen["disposition_RELEASED"] >= 3


def test_the_same_seed_gives_the_same_life() -> None:
    assert live(11) == live(11)


def image(**changes: Any) -> SimpleNamespace:
    """Floors of an image that somebody spoilt."""
    return SimpleNamespace(
        **{name: value for name, value in vars(production).items() if name.isupper()} | changes
    )


SPOILT = {
    "no rest": (image(REST_S=1, DRIVE_CYCLE_S=1), 14, "before the drive cycle ended"),
    "no warning": (image(WARN_CYCLES_MIN=0), 0, "not warned"),
    "endless lease": (image(CONTACT_S_MAX=10**9, LEASE_CAP_S=10**9), 6, "the lock stands"),
    "slow hand": (image(BUTTON_S=60, CYCLES=9), 8, "did not open a window"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPOILT)
def test_checkers_find_an_image_with_spoilt_floors(name: str) -> None:
    floors, first, words = SPOILT[name]
    found = []
    for seed in range(first, first + 60):
        try:
            live(seed, floors=floors)
        except LifeError as wrong:
            found.append(str(wrong))
            if words in found[-1]:
                return
    pytest.fail(f"60 lives did not find it: {found}")
