"""What the agent tells the keeper of car and health."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.agent.vitals import Vitals
from device.orders.link import Inputs, Mode, Status
from device.update.forms import Car, Health
from device.update.vitals import AGE_S_MAX, read_vitals
from protocol.orders import State

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000
PARKED = Inputs(supply_mv=12_600, ignition=False, crank=False, engine=False, accel="still", button=False)
STATUS = Status(
    mcu_id=bytes(32),
    epoch=bytes(16),
    mode=Mode.ACTIVE,
    state=State.NONE,
    open_cmd_id=None,
    tick_s=1,
    heads=(0, 0, 0),
    prev=bytes(32),
    last=None,
    nonce=None,
    wants=(),
    wait="OK",
    is_coil_on=False,
    is_relay_sensed=False,
    firmware=bytes([7]) * 32,
    inputs=PARKED,
)


def told(vitals: Vitals, home: Path, status: Status | None, now_s: int, **metrics: int) -> tuple[Car, Health]:
    vitals.write(home, status=status, metrics=metrics, now_us=now_s * SECOND)
    at = (home / "vitals.json").stat().st_mtime
    car, health = read_vitals(home, pid=os.getpid(), now_s=at)
    assert car is not None
    assert health is not None
    return car, health


def frames(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(numbers, dtype=np.uint32)


def test_a_parked_car_is_told_as_one(tmp_path: Path) -> None:
    car, health = told(Vitals(), tmp_path, STATUS, 1)
    assert car == Car(
        is_ignition_on=False, is_moving=False, supply_mv=12_600, is_order_open=False, is_mcu_up=True
    )
    assert health == Health(firmware="07" * 32, is_read_back=True)


def test_without_the_microcontroller_everything_is_unknown(tmp_path: Path) -> None:
    assert told(Vitals(), tmp_path, None, 1) == (Car(), Health())
    assert told(Vitals(), tmp_path, replace(STATUS, inputs=None), 2)[0].is_ignition_on is None
    failed = replace(STATUS, inputs=replace(PARKED, accel="failed"))
    assert told(Vitals(), tmp_path, failed, 3)[0].is_moving is None


@pytest.mark.parametrize(
    "state", [State.ACCEPTED_PENDING, State.WARNING, State.ARMED, State.LOCKED, State.OVERRIDDEN]
)
def test_whatever_is_under_way_is_an_open_order(tmp_path: Path, state: State) -> None:
    assert told(Vitals(), tmp_path, replace(STATUS, state=state), 1)[0].is_order_open is True


def test_an_order_that_waits_in_the_agent_is_an_open_order(tmp_path: Path) -> None:
    assert told(Vitals(), tmp_path, STATUS, 1, orders_waiting=1)[0].is_order_open is True
    assert told(Vitals(), tmp_path, replace(STATUS, open_cmd_id=bytes(16)), 1)[0].is_order_open is True


def test_identifiers_that_come_all_the_time_count_and_rare_ones_do_not(tmp_path: Path) -> None:
    vitals = Vitals()
    for second in range(100):
        rare = (0x7E8,) if second == 50 else ()
        vitals.note_frames("can0", frames(0x130, 0x1A0, *rare), second * SECOND)
    health = told(vitals, tmp_path, STATUS, 100)[1]
    assert (health.ids, health.awake_s) == (frozenset({"can0:130", "can0:1A0"}), 100)
    asleep = told(vitals, tmp_path, STATUS, 200)[1]
    assert (asleep.ids, asleep.awake_s) == (health.ids, 0)  # of the last drive
    vitals.note_frames("can0", frames(0x130), 300 * SECOND)
    assert told(vitals, tmp_path, STATUS, 300)[1].ids == {"can0:130"}


def test_fix_and_receipt_age(tmp_path: Path) -> None:
    vitals = Vitals()
    vitals.note_fix(5 * SECOND)
    now = told(vitals, tmp_path, STATUS, 6, batches_receipted=1)[1]
    assert (now.has_fix, now.is_receipted) == (True, True)
    later = told(vitals, tmp_path, STATUS, 607, batches_receipted=1)[1]
    assert (later.has_fix, later.is_receipted) == (False, False)


def test_a_drain_is_measured_at_rest_over_half_an_hour(tmp_path: Path) -> None:
    vitals = Vitals()
    assert told(vitals, tmp_path, STATUS, 0)[1].drain_mv_h is None
    lower = replace(STATUS, inputs=replace(PARKED, supply_mv=12_550))
    assert told(vitals, tmp_path, lower, 1_799)[1].drain_mv_h is None
    assert told(vitals, tmp_path, lower, 1_800)[1].drain_mv_h == 100
    driving = replace(STATUS, inputs=replace(PARKED, ignition=True))
    assert told(vitals, tmp_path, driving, 1_900)[1].drain_mv_h is None
    assert told(vitals, tmp_path, lower, 3_600)[1].drain_mv_h is None


def test_an_old_file_or_another_process_says_nothing(tmp_path: Path) -> None:
    told(Vitals(), tmp_path, STATUS, 1)
    at = (tmp_path / "vitals.json").stat().st_mtime
    assert read_vitals(tmp_path, pid=os.getpid() + 1, now_s=at) == (None, None)
    assert read_vitals(tmp_path, pid=os.getpid(), now_s=at + AGE_S_MAX + 1) == (None, None)
    (tmp_path / "vitals.json").write_text('{"pid": 1, "car": {"wings": 2}, "health": {}}')
    assert read_vitals(tmp_path, pid=1, now_s=at) == (None, None)
