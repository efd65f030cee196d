"""What a hostile reading of the worker found: releases that were lost, delayed or carried along too far."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, select

from backend.store.orders import Order, list_due
from backend.usecases.gate_port import GateAwayError, GateSaid, GateUnreadableError, PaidOrder
from protocol.base64url import to_text
from protocol.envelope import Kind
from protocol.ids import cose_key_bytes
from protocol.limits import ORDERS_DRIVEN_MAX
from protocol.orders import Code, OrderType, State, cmd_hash, sign_document
from protocol.orders_checks import CTR_JUMP_MAX
from protocol.orders_payload import read_order
from protocol.topics import Up
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import MCU
from tests.builders.backend import problem
from tests.builders.orders import answer as car_answer
from tests.builders.orders import device as waiting_car
from tests.builders.orders_backend import OrderWorld

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld.make(tmp_path)
    yield made
    made.close()


def in_the_car(world: OrderWorld, state: State = State.LOCKED) -> bytes:
    """Bring a LOCK as far as the car, which says that it has locked."""
    payload = world.locked()
    world.hears(Up.DISPOSITION, world.car.says(payload, 3), world.car.says(payload, int(state)))
    return payload


def paid(payload: bytes) -> PaidOrder:
    return PaidOrder(cmd_hash=cmd_hash(payload), mcu_id=MCU.kid)


def halt(world: OrderWorld) -> None:
    with world.database.writing() as session, session.begin():
        session.connection().exec_driver_sql("UPDATE ledger_head SET halted = 'test'")


def test_a_halted_log_keeps_a_go_token_back_and_the_worker_alive(world: OrderWorld) -> None:
    payload = in_the_car(world, State.ARMED)
    world.hears(Up.REQUEST, world.car.go_request(payload))
    halt(world)
    world.gate.paid = []
    assert world.drive()["ledger_away"] == 1
    world.gate.paid = [paid(payload)]
    assert world.drive()["release_queued"] == 1
    world.dispatch()
    assert (world.sent_on("go"), len(world.sent_on("order"))) == ([], 2)


def test_a_cancel_of_a_locked_car_is_no_release_and_a_payment_still_unlocks(world: OrderWorld) -> None:
    payload = in_the_car(world)
    assert world.request(OrderType.CANCEL).status_code == 201
    world.gate.paid = [paid(payload)]
    assert world.drive(3)["release_queued"] == 1


def test_an_order_that_has_expired_here_is_released_once(world: OrderWorld) -> None:
    payload = world.locked()
    world.backend.clock.pass_seconds(90_000)
    world.drive()
    world.gate.paid = [paid(payload)]
    assert world.drive(5)["release_queued"] == 1


def test_nobody_takes_back_an_unlock_that_another_has_signed(world: OrderWorld) -> None:
    in_the_car(world)
    unlock = world.request(OrderType.UNLOCK).json()["cmd_id"]
    headers = world.key(world.checker)
    assert world.client.post(f"/v1/orders/{unlock}/withdraw", json={}, headers=headers).status_code == 409
    assert world.dispatch()["sent_order"] == 1


def test_what_the_car_has_ended_is_not_released_again(world: OrderWorld) -> None:
    payload = in_the_car(world, State.LEASE_EXPIRED)
    world.gate.paid = [paid(payload)]
    assert (world.drive(2)["release_queued"], world.gate.asked["release"]) == (0, 0)


@pytest.mark.parametrize("leap", [CTR_JUMP_MAX, CTR_JUMP_MAX + 100])
def test_an_officer_s_counter_beyond_the_car_s_reach_carries_no_release_along(
    world: OrderWorld, leap: int
) -> None:
    payload = in_the_car(world)
    far = world.payload(OrderType.UNLOCK, ctr=20 + leap)
    assert world.request(far).status_code == 201
    world.hears(Up.DISPOSITION, world.car.says(far, int(State.REJECTED), int(Code.CTR_JUMP)))
    world.gate.paid = [paid(payload)]
    world.drive(2)
    world.dispatch()
    assert car_answer(world.sent_on("order")[-1], waiting_car()) == ("ACCEPT", "OK")


def test_one_release_without_an_answer_keeps_no_other_back(world: OrderWorld) -> None:
    payload = in_the_car(world)
    world.gate.paid = [paid(payload)]
    failing = iter([True])
    answering = world.gate.release

    def release(*, payload: bytes) -> GateSaid:
        if next(failing, False):
            raise GateAwayError("status 422")
        return answering(payload=payload)

    world.gate.release = release  # type: ignore[method-assign]
    world.gate.paid = [paid(payload), paid(payload)]
    counts = world.drive()
    assert (counts["gate_away"], counts["release_queued"]) == (1, 1)


def test_two_workers_at_one_payment_send_one_release(world: OrderWorld) -> None:
    payload = in_the_car(world)
    world.gate.paid = [paid(payload)]
    answering = world.gate.release

    def release(*, payload: bytes) -> GateSaid:
        world.gate.release = answering  # type: ignore[method-assign]
        world.drive()  # the other worker, meanwhile
        return answering(payload=payload)

    world.gate.release = release  # type: ignore[method-assign]
    world.drive()
    world.dispatch()
    assert len(world.sent_on("order")) == 2  # the LOCK, one UNLOCK


def test_orders_that_a_kill_switch_keeps_back_stand_in_nobody_s_way(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    world.request(payload)
    world.approve(payload)
    body = {"on": True, "reason": "test"}
    admin = world.key(world.backend.admin)
    assert world.client.post("/v1/kill-switch", json=body, headers=admin).status_code == 200
    world.drive()
    with world.database.reading() as session:
        due = list_due(session, now_us=world.backend.clock() - 1_000_000, limit=ORDERS_DRIVEN_MAX)
    assert list(due) == []


@pytest.mark.parametrize(
    "changes", [{"epoch": "ee" * 16}, {"contract_ref": "ee" * 32}, {"vin_bind": "ee" * 32}]
)
def test_no_registration_keeps_a_release_from_a_car_that_has_spoken(
    world: OrderWorld, changes: dict[str, str]
) -> None:
    in_the_car(world)
    assert world.register(**changes).status_code == 422
    assert world.request(OrderType.UNLOCK).status_code == 201
    world.dispatch()
    assert car_answer(world.sent_on("order")[-1], waiting_car()) == ("ACCEPT", "OK")


def test_another_key_by_hand_takes_no_car_away(world: OrderWorld) -> None:
    """An administrator with a key of his own cannot interrupt the way to a car, not even for a while."""
    in_the_car(world)
    stranger = published_signer("stranger")
    body = {"cose_key": cose_key_bytes(stranger.public_key).hex(), "epoch": "ee" * 16}
    assert problem(world.register(**body)) == "bad-mcu"
    fields = {
        1: 1,
        2: stranger.kid,
        3: bytes.fromhex("ee" * 16),
        4: bytes(16),
        5: 1,
        6: [0, 0, 0],
        7: bytes(32),
    }
    shown = sign_document(Kind.CHALLENGE, fields | {8: 0, 9: 1, 10: None, 11: None, 12: None}, stranger)
    answer = world.register(**body, challenge=to_text(shown))
    assert (answer.status_code, problem(answer)) == (409, "mcu-by-record")
    assert world.request(OrderType.UNLOCK).status_code == 201


def test_an_order_that_breaks_the_worker_stops_no_other(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    world.request(payload)
    world.approve(payload)
    with world.database.writing() as session, session.begin():
        session.connection().exec_driver_sql("DELETE FROM authority_document WHERE kind = 'delegation'")
    assert world.drive()["order_failed"] == 1
    with world.database.reading() as session:
        due = list_due(session, now_us=world.backend.clock() - 1_000_000, limit=ORDERS_DRIVEN_MAX)
    assert list(due) == []


def test_an_answer_that_the_gate_never_takes_holds_up_no_later_one(world: OrderWorld) -> None:
    in_the_car(world, State.ARMED)
    refusals = [GateUnreadableError("status 422")]

    def refuse_once(question: str) -> None:
        if question == "disposition":
            raise refusals.pop()
        world.gate.while_asked = refuse_once

    world.gate.while_asked = refuse_once
    assert world.drive()["gate_unreadable"] == 1
    assert (refusals, len(world.gate.told)) == ([], 1)
    assert world.drive()["gate_unreadable"] == 0


def unlocks(world: OrderWorld) -> list[bytes]:
    with world.database.reading() as session:
        mine = select(Order.payload).where(Order.order_type == int(OrderType.UNLOCK))
        return list(session.exec(mine.order_by(col(Order.order_no))))


def test_a_payment_releases_a_car_that_took_orders_which_no_server_has_seen(world: OrderWorld) -> None:
    """A CANCEL handed over at the kerb has the time as its counter, by a clock that may be a day ahead."""
    lock = in_the_car(world)
    head = world.backend.clock() // 1_000_000 + 86_400
    world.hears(Up.DISPOSITION, world.car.says(world.payload(OrderType.CANCEL, head), int(State.DONE)))
    world.gate.paid = [paid(lock)]
    tried: list[int] = []
    for _ in range(200):
        world.drive(5)
        for payload in unlocks(world)[len(tried) :]:
            tried.append(read_order(payload)[0][9])
            state, code = (State.RELEASED, Code.OK) if tried[-1] > head else (State.REJECTED, Code.REPLAY_CTR)
            about = lock if tried[-1] > head else payload
            world.hears(Up.DISPOSITION, world.car.says(about, int(state), int(code)))
    assert tried[-1] > head
    assert 2 <= len(tried) <= 7, "each refusal adds more, and the pause before the next doubles"


def test_a_payment_after_a_kerbside_order_of_a_right_clock_is_taken_at_once(world: OrderWorld) -> None:
    lock = in_the_car(world)
    kerb = world.payload(OrderType.CANCEL, world.backend.clock() // 1_000_000 - 1)
    world.hears(Up.DISPOSITION, world.car.says(kerb, int(State.DONE)))
    world.gate.paid = [paid(lock)]
    world.drive(2)
    assert [read_order(payload)[0][9] > read_order(kerb)[0][9] for payload in unlocks(world)] == [True]
