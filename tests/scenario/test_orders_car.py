"""Agent and microcontroller together: a lock over a lossy broker, with restarts, and an agent that lies."""

import hashlib

import pytest

from protocol.orders import Code, State
from protocol.topics import Up
from protocol.vectors.orders_story import digest
from tests.builders.mcu import PARKED_FACTS, Box
from tests.builders.orders_car import Car


def warned_and_parked(car: Car) -> None:
    car.hear_warnings()
    car.run(660)


def test_a_lock_completes_and_the_backend_has_every_step() -> None:
    car = Car()
    order = car.lock()
    car.order(order)
    warned_and_parked(car)
    assert car.state is State.LOCKED, car.agent.box.words()
    car.order(car.mcu.unlock())
    assert car.state is State.NONE
    steps = [state for state, _ in car.mcu.answers(order)]
    assert steps[-3:] == [State.ARMED, State.LOCKED, State.RELEASED]
    assert set(car.mcu.dispositions) >= set(car.stored.values())
    assert max(car.stored) == car.mcu.last.sequence


def test_missing_delegations_reach_the_microcontroller_by_question_and_bundle() -> None:
    mcu = Box()
    mcu.provision()
    car = Car(mcu)
    car.run(120)
    assert car.mcu.brain.record.roots["platform"].version == 1
    car.mcu.ask_challenge()
    car.order(car.mcu.unlock("ombuds"))
    car.run(120)
    assert digest("ombuds") in car.mcu.brain.authority.known
    assert car.agent.uplinked(Up.REQUEST)


@pytest.mark.parametrize("seed", range(4))
def test_a_lossy_broker_and_restarts_delay_a_lock_and_change_nothing_else(seed: int) -> None:
    car = Car(loss=0.15, seed=seed)
    order = car.lock()
    car.order(order, tries=20)
    car.crash_agent()
    car.hear_warnings()
    car.reset_mcu()
    car.crash_agent()
    car.run(1_500)
    states = [state for state, _ in car.mcu.answers(order)]
    assert states.count(State.LOCKED) == 1
    unlock = car.mcu.unlock("ombuds")
    car.order(unlock, tries=20)
    assert car.state is State.NONE
    assert car.mcu.answers(unlock) == [(State.DONE, Code.OK)]
    car.loss = 0.0
    car.run(600)
    assert set(car.stored.values()) <= set(car.mcu.dispositions)
    assert max(car.stored) == car.mcu.last.sequence
    assert car.agent.disk.image.arrivals == ()


def test_an_agent_that_swears_parked_does_not_lock_a_car_whose_ignition_is_on() -> None:
    car = Car()
    car.order(car.lock())
    car.hear_warnings()
    car.mcu.board.is_on = True
    car.facts = dict(PARKED_FACTS)
    car.run(3_600)
    assert car.state is not State.LOCKED
    assert car.mcu.board.coil_log == [] or not any(car.mcu.board.coil_log)
    assert car.mcu.status[15] == int(Code.IGN_ON)


def test_an_agent_that_swears_parked_does_not_lock_a_moving_car() -> None:
    car = Car()
    car.order(car.lock())
    car.hear_warnings()
    car.mcu.board.acceleration = "moving"
    car.facts = dict(PARKED_FACTS)
    car.run(3_600)
    assert car.state is not State.LOCKED


def test_an_agent_that_gives_a_token_for_another_parking_locks_nothing() -> None:
    car = Car()
    car.grants_go = False
    car.order(car.lock())
    warned_and_parked(car)
    assert car.state is State.ARMED
    old = car.mcu.go_token()
    car.mcu.board.is_on = True
    car.run(30)
    car.mcu.board.is_on = False
    car.run(700)
    assert car.mcu.go_token() != old
    car.mcu.brain.receive(3, old)
    car.run(10)
    assert car.state is not State.LOCKED


def test_without_a_backend_nothing_locks_and_an_unlock_by_hand_over_still_releases() -> None:
    car = Car()
    car.order(car.lock())
    car.hear_warnings()
    car.agent.disconnect()
    car.grants_go = False
    car.run(900)
    assert car.state is not State.LOCKED


def test_the_head_of_the_next_batch_is_the_newest_disposition() -> None:
    car = Car()
    car.order(car.lock())
    car.run(20)
    order_head, disposition_head = car.agent.disk.image.order_head, car.agent.disk.image.disposition_head
    assert disposition_head == hashlib.sha256(car.mcu.dispositions[-1]).digest()
    assert order_head is not None
