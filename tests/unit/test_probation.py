"""Probation: signs of a living installation, what passes it, and what is refused until then."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.domain.installing import Condition, ProbationState
from backend.domain.probation_signs import MINUTE_US, find_crank, find_drive, find_night, find_sleep
from backend.domain.refusal import Reason, Refusal
from backend.errors import SettingsError
from backend.settings import load_settings
from backend.store.install_records import find_probation
from backend.store.mcus import locate_mcu
from backend.usecases.judge_probation import judge_restriction
from backend.usecases.tell_commissionings import tell_commissionings
from protocol.install_vocabulary import Act, Verdict
from protocol.orders import OrderType
from protocol.topics import Up
from protocol.vectors.orders_story import EPOCH, MCU
from tests.builders.backend import DAY, problem
from tests.builders.installs_backend import VIN, InstallWorld
from tests.builders.orders_backend import FakeCar, FakeGate, OrderWorld

HOUR = 60


@pytest.fixture
def world(tmp_path: Path) -> Iterator[InstallWorld]:
    made = InstallWorld.make(tmp_path)
    yield made
    made.close()


# --- signs ---


def test_a_sleep_is_a_silence_of_half_an_hour_and_a_life_after_it() -> None:
    minute = MINUTE_US
    assert find_sleep([(0, minute), (minute, 2 * minute), (40 * minute, 41 * minute)]) == 40 * minute
    assert find_sleep([(0, minute), (30 * minute, 31 * minute)]) is None
    assert find_sleep([(0, 60 * minute), (5 * minute, 6 * minute)]) is None


def test_a_crank_is_an_engine_that_stood_still_and_runs() -> None:
    assert find_crank([(1, 0.0), (2, 250.0), (3, 820.0)]) == 4 * MINUTE_US
    assert find_crank([(1, 820.0), (2, 900.0)]) is None


def test_a_drive_is_three_minutes_of_agreeing_speeds() -> None:
    car = [(minute, 50.0) for minute in range(4)]
    assert find_drive(car, {0: 51.0, 1: 47.0, 2: 52.0}) == 3 * MINUTE_US
    assert find_drive(car, {0: 51.0, 1: 20.0, 2: 52.0, 3: 50.0}) is None
    assert find_drive([(minute, 5.0) for minute in range(9)], dict.fromkeys(range(9), 5.0)) is None


def test_a_night_is_six_hours_in_which_the_supply_held() -> None:
    assert find_night([(0, 12.5), (3 * HOUR, 12.3), (6 * HOUR, 12.1)]) == (6 * HOUR + 1) * MINUTE_US
    assert find_night([(0, 12.5), (3 * HOUR, 11.2), (6 * HOUR, 12.1)]) is None


# --- orders ---


def test_a_car_that_was_registered_by_hand_is_not_restricted(tmp_path: Path) -> None:
    world = OrderWorld.make(tmp_path, is_past_probation=False)
    refused = world.request(OrderType.LOCK)
    assert (refused.status_code, problem(refused)) == (409, "probation")
    assert world.request(OrderType.UNLOCK).status_code == 201
    world.close()


def judged(world: InstallWorld) -> Refusal | None:
    with world.database.writing() as session, session.begin():
        mcu = locate_mcu(session, device_id=world.device)
        assert mcu is not None
        return judge_restriction(session, mcu=mcu, asks_probation=True, now_us=world.now_us)


def fitted(world: InstallWorld) -> None:
    job = world.job()
    assert world.bring(job, world.record(world.ticket(job))).status_code == 200


def test_class_a_waits_for_every_condition_and_names_what_is_missing(world: InstallWorld) -> None:
    fitted(world)
    first = judged(world)
    assert first is not None
    assert first.reason is Reason.PROBATION
    assert "hours-48, sleep, crank, drive, night-supply, bind" in first.detail
    world.hears(FakeCar().challenge(), kind=Up.CHALLENGE)
    world.backend.clock.now_us += 2 * DAY
    second = judged(world)
    assert second is not None
    assert "not seen yet: sleep, crank, drive, night-supply" in second.detail
    with world.database.writing() as session, session.begin():
        row = find_probation(session, device_id=world.device, mcu_id=MCU.kid.hex(), epoch=EPOCH)
        assert row is not None
        rest = (Condition.SLEEP, Condition.CRANK, Condition.DRIVE, Condition.NIGHT_SUPPLY)
        row.evidence = json.dumps(json.loads(row.evidence) | {item: [1, "seen"] for item in rest})
        session.add(row)
    assert judged(world) is None
    shown = world.get(f"/vehicles/{VIN}/probation")
    assert (shown["state"], shown["ended_at"] is None) == (ProbationState.PASSED, False)


def test_in_workshop_mode_nothing_is_restricted_until_it_ends(world: InstallWorld) -> None:
    fitted(world)
    shop = world.job(("workshop",), workshop_until="2026-12-01T00:00:00Z")
    ticket = world.ticket(shop)
    record = world.record(ticket, act=Act.WORKSHOP, verdict=Verdict.MONITOR_ONLY, bind=None)
    assert world.bring(shop, record).status_code == 200
    during = judged(world)
    assert during is not None
    assert during.reason is Reason.WORKSHOP
    world.backend.clock.now_us += 30 * DAY
    after = judged(world)
    assert after is not None
    assert after.reason is Reason.PROBATION


def test_another_epoch_needs_another_record(world: InstallWorld) -> None:
    fitted(world)
    world.hears(FakeCar(epoch=b"n" * 16).challenge(), kind=Up.CHALLENGE)
    refused = judged(world)
    assert refused is not None
    assert "no commissioning record" in refused.detail


def test_the_setting_that_passes_probation_refuses_outside_of_a_demonstration(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="demonstration only"):
        load_settings(home=tmp_path, demo_probation_passed=True)
    assert load_settings(home=tmp_path, demo_probation_passed=True, demo=True).demo_probation_passed


def test_the_gate_is_told_of_a_record_that_came_after_its_installers_delegation_was_over(
    world: InstallWorld,
) -> None:
    job = world.job()
    record = world.record(world.ticket(job))
    world.backend.clock.now_us += 60 * DAY
    assert world.bring(job, record).status_code == 200
    gate, counts = FakeGate(), Counter[str]()
    tell_commissionings(world.database, gate, counts, now_us=world.now_us)
    assert (counts["commissioning_told"], len(gate.records)) == (1, 1)


def test_the_gate_is_told_each_record_once_it_answers(world: InstallWorld) -> None:
    fitted(world)
    gate, counts = FakeGate(is_away=True), Counter[str]()
    tell_commissionings(world.database, gate, counts, now_us=world.now_us)
    assert counts == {"gate_away": 1}
    gate.is_away = False
    for _ in range(2):
        tell_commissionings(world.database, gate, counts, now_us=world.now_us)
    assert (counts["commissioning_told"], len(gate.records)) == (1, 1)
