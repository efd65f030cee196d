"""Agent and microcontroller of a simulated car become new together, and the car starts all the while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.update_in_car import GOAL_S, once
from device.update.forms import Outcome, Stage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_car_that_is_cranked_in_the_middle_of_its_update_starts(tmp_path: Path) -> None:
    updated = once(tmp_path)
    assert updated.blocked == 0
    assert updated.starts == 1
    assert updated.record.stage is Stage.IDLE
    assert updated.record.untold == ((2, Outcome.CONFIRMED),)
    assert updated.seconds < GOAL_S
