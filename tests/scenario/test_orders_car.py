"""Agent and microcontroller together: a lock over a lossy broker, with restarts, and an agent that lies."""

import hashlib

import pytest

from device.at_car import AtCar
from device.events import CodeTyped, OrderHandedOver
from protocol.authority_bundle import DocumentKind, encode_bundle
from protocol.limits import AT_CAR_ORDER_S_MAX
from protocol.orders import Code, State
from protocol.orders_override import code
from protocol.topics import Up
from protocol.vectors.orders_story import digest, documents
from simulators.order_lives.world import K_OVR
from tests.builders.mcu import EPISODE, PARKED_FACTS, Box
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


def test_without_a_backend_nothing_locks() -> None:
    car = Car()
    car.order(car.lock())
    car.hear_warnings()
    car.agent.disconnect()
    car.grants_go = False
    car.run(900)
    assert car.state is not State.LOCKED


def locked_without_a_network() -> tuple[Car, bytes]:
    """A LOCKED car whose agent has lost broker and backend for good, and its LOCK."""
    car = Car()
    lock = car.lock()
    car.order(lock)
    warned_and_parked(car)
    assert car.state is State.LOCKED
    car.agent.disconnect()
    car.grants_go = False
    car.agent.published.clear()
    car.run(60)
    return car, lock


@pytest.mark.parametrize("signer", ["maker", "ombuds"])
def test_an_unlock_in_a_file_handed_over_at_a_locked_car_releases_it_without_a_network(signer: str) -> None:
    car, lock = locked_without_a_network()
    unlock = car.mcu.unlock(signer)
    bundle = encode_bundle([(DocumentKind.DELEGATION, documents()[f"delegation/{signer}"])])
    car.feed(OrderHandedOver(number=7, message=unlock, authority=bundle))
    car.run(30)
    assert car.state is State.NONE
    assert car.mcu.answers(lock)[-1][0] is State.RELEASED
    assert [(told.number, told.word, told.state, told.code) for told in car.agent.told] == [
        (7, AtCar.ANSWERED, "DONE", "OK")
    ]
    assert car.agent.told[0].disposition in car.mcu.dispositions


def test_a_signer_whom_the_car_does_not_know_needs_the_file_beside_the_order() -> None:
    mcu = Box()
    mcu.provision()
    mcu.run(4)
    for name in ("authority/platform", "authority/lender"):
        mcu.give(name)
        mcu.run(40)
    car = Car(mcu)
    car.agent.disconnect()
    unlock = car.mcu.unlock("ombuds")
    car.feed(OrderHandedOver(number=1, message=unlock))
    car.run(AT_CAR_ORDER_S_MAX + 5)
    assert [told.word for told in car.agent.told] == [AtCar.DELEGATION_MISSING]
    bundle = encode_bundle([(DocumentKind.DELEGATION, documents()["delegation/ombuds"])])
    car.feed(OrderHandedOver(number=2, message=unlock, authority=bundle))
    car.run(30)
    assert [(told.number, told.word) for told in car.agent.told[1:]] == [(2, AtCar.ANSWERED)]


def test_a_lock_in_a_file_is_not_taken_by_hand() -> None:
    car = Car()
    car.feed(OrderHandedOver(number=2, message=car.lock()))
    warned_and_parked(car)
    assert car.state is State.NONE
    assert [told.word for told in car.agent.told] == [AtCar.NO_RELEASE]


def test_a_code_of_the_notice_opens_a_locked_car_without_a_network_and_the_engine_cranks() -> None:
    car, lock = locked_without_a_network()
    car.mcu.turn_key(crank=True)
    assert not car.mcu.board.is_running
    car.mcu.park()
    car.run(30)
    for number, word in ((1, AtCar.OPENED), (2, AtCar.NOT_NEEDED)):
        car.feed(CodeTyped(number=number, digits=code(K_OVR, EPISODE, 1)))
        car.run(6)
        assert (car.agent.told[-1].number, car.agent.told[-1].word) == (number, word)
    assert car.state is State.OVERRIDDEN
    assert car.mcu.answers(lock)[-1][0] is State.OVERRIDDEN
    car.mcu.turn_key(crank=True)
    assert car.mcu.board.is_running
    assert not any(Up.DISPOSITION is kind for kind, _ in car.agent.published), "it needed no backend"


def test_wrong_codes_cost_five_free_tries_then_a_wait_and_a_slip_costs_none() -> None:
    car, _ = locked_without_a_network()
    right = code(K_OVR, EPISODE, 1)
    wrong = code(K_OVR, EPISODE, 2)
    said = []
    for digits in (right[:-1], *[wrong] * 5, right):
        car.feed(CodeTyped(number=1, digits=digits))
        car.run(6)
        said.append(car.agent.told[-1].word)
    assert said == [AtCar.MALFORMED, *[AtCar.WRONG] * 5, AtCar.WAIT]
    wait_s = car.agent.told[-1].wait_s
    assert wait_s is not None
    assert 800 < wait_s <= 900
    assert car.state is State.LOCKED
    car.run(wait_s + 2)
    car.feed(CodeTyped(number=2, digits=right))
    car.run(6)
    assert car.agent.told[-1].word is AtCar.OPENED
    assert car.state is State.OVERRIDDEN


def test_a_code_for_a_car_that_is_not_locked_is_not_spent() -> None:
    car = Car()
    car.feed(CodeTyped(number=1, digits=code(K_OVR, EPISODE, 1)))
    car.run(6)
    assert [told.word for told in car.agent.told] == [AtCar.NOT_NEEDED]


def test_the_head_of_the_next_batch_is_the_newest_disposition() -> None:
    car = Car()
    car.order(car.lock())
    car.run(20)
    order_head, disposition_head = car.agent.disk.image.order_head, car.agent.disk.image.disposition_head
    assert disposition_head == hashlib.sha256(car.mcu.dispositions[-1]).digest()
    assert order_head is not None
