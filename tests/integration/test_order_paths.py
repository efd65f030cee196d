"""Each type of order on its own way through API, worker, log, gate and line; and two workers on one order."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import ledger
from protocol.orders import OrderType, Role, cmd_hash
from protocol.topics import Up
from protocol.vectors.orders_story import NOW_S
from protocol.vectors.story import fixed_bytes
from tests.builders.backend import problem
from tests.builders.orders import answer as car_answer
from tests.builders.orders import device as waiting_car
from tests.builders.orders_backend import OrderWorld

pytestmark = pytest.mark.usefixtures("each_database")

CHALLENGE_2 = fixed_bytes("a second challenge")
ACCEPTED, LOCKED, DONE = 3, 6, 14


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld.make(tmp_path)
    yield made
    made.close()


def stages(world: OrderWorld, cmd_id: str) -> list[str]:
    return [item["stage"] for item in world.order(cmd_id)["stages"]]


def leaves(world: OrderWorld) -> list[str]:
    with world.database.reading() as session:
        size, _ = ledger.tree_head(session)
        found = [ledger.read_leaf(session, index) for index in range(size)]
    return [ledger.LeafType(leaf.leaf_type).name for leaf in found if leaf is not None]


def test_a_warning_needs_all_three_and_gets_a_token_of_nobody(world: OrderWorld) -> None:
    payload = world.payload(OrderType.WARN)
    cmd_id = world.request(payload).json()["cmd_id"]
    world.approve(payload)
    world.drive(3)
    world.dispatch()
    assert stages(world, cmd_id) == [
        *("AWAITING_CHECKER", "AWAITING_LOG", "AWAITING_GATE", "QUEUED", "SENT"),
    ]
    (message,) = world.sent_on("order")
    assert car_answer(message, waiting_car()) == ("ACCEPT", "OK")
    world.hears(Up.DISPOSITION, world.car.says(payload, ACCEPTED))
    assert (world.order(cmd_id)["reported_state"], world.command()["reported_state"]) == (
        "ACCEPTED_PENDING",
        "UNKNOWN",
    )


def test_a_locked_car_is_renewed_by_new_signatures_over_a_new_challenge(world: OrderWorld) -> None:
    lock = world.locked()
    world.hears(Up.DISPOSITION, world.car.says(lock, ACCEPTED), world.car.says(lock, LOCKED))
    renewal = {"key_21": cmd_hash(lock), "key_13": CHALLENGE_2}
    assert problem(world.request(world.payload(OrderType.RENEW, 12, **renewal))) == "not-for-this-car"
    world.hears(
        Up.CHALLENGE, world.car.challenge(key_4=CHALLENGE_2, key_6=[11, 20, 30], key_7=cmd_hash(lock))
    )
    payload = world.payload(OrderType.RENEW, 12, **renewal)
    cmd_id = world.request(payload).json()["cmd_id"]
    assert world.approve(payload).status_code == 201
    world.drive(3)
    world.dispatch()
    assert world.order(cmd_id)["stage"] == "SENT"
    assert world.hears(Up.REQUEST, world.car.go_request(payload)).outcomes == {"go_request": 1}
    world.drive()
    world.dispatch()
    assert len(world.sent_on("go")) == 1
    assert world.command()["reported_state"] == "LOCKED"


def test_a_decommission_waits_for_the_gate_alone_and_takes_the_lock_out_of_the_way(world: OrderWorld) -> None:
    lock = world.request(OrderType.LOCK).json()["cmd_id"]
    payload = world.payload(OrderType.DECOMMISSION)
    assert problem(world.request(payload, by="checker", headers=world.checker)) == "bad-part"
    cmd_id = world.request(payload).json()["cmd_id"]
    assert world.order(lock)["stage"] == "SUPERSEDED"
    world.drive(3)
    world.dispatch()
    assert stages(world, cmd_id) == ["AWAITING_GATE", "QUEUED", "SENT"]
    assert world.order(cmd_id)["log"]["index"] == leaves(world).index("ORDER")
    assert (world.gate.logs, [part["role"] for part in world.order(cmd_id)["parts"]]) == (
        [None],
        ["MAKER", "GATE"],
    )
    (message,) = world.sent_on("order")
    assert car_answer(message, waiting_car()) == ("ACCEPT", "OK")


def test_a_trace_is_logged_before_it_is_sent_and_the_gate_is_not_asked(world: OrderWorld) -> None:
    payload = world.payload(OrderType.TRACE, key_17=hashlib.sha256(b"basis").digest())
    answer = world.request(payload)
    assert answer.status_code == 201, answer.text
    cmd_id = answer.json()["cmd_id"]
    world.drive(2)
    world.dispatch()
    assert world.sent_on("order") == []
    world.approve(payload)
    world.drive(2)
    world.dispatch()
    assert stages(world, cmd_id) == ["AWAITING_CHECKER", "AWAITING_LOG", "QUEUED", "SENT"]
    assert (world.gate.asked["review"], world.order(cmd_id)["log"]["index"]) == (
        0,
        leaves(world).index("ORDER"),
    )
    (message,) = world.sent_on("order")
    assert car_answer(message, waiting_car()) == ("ACCEPT", "OK")


def test_a_lock_that_names_the_one_that_was_sent_takes_its_place(world: OrderWorld) -> None:
    first = world.locked()
    name = bytes.fromhex(world.command()["open_order"]["cmd_id"])
    second = world.payload(OrderType.LOCK, 12, key_22=name, key_2=fixed_bytes("second lock"))
    assert world.request(second).status_code == 201
    assert world.order(name.hex())["stage"] == "SUPERSEDED"
    world.backend.clock.pass_seconds(120)
    assert world.dispatch()["sent_order"] == 0
    world.hears(Up.DISPOSITION, world.car.says(first, ACCEPTED))
    assert world.order(name.hex())["reported_state"] == "ACCEPTED_PENDING"


def test_the_kill_switch_keeps_the_gate_from_being_asked(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    cmd_id = world.request(payload).json()["cmd_id"]
    turn = {"on": True, "reason": "test"}
    world.client.post("/v1/kill-switch", json=turn, headers=world.key(world.backend.admin))
    world.drive(3)
    assert problem(world.approve(payload)) == "kill-switch-on"
    assert (world.gate.asked["screen"], world.order(cmd_id)["stage"]) == (0, "AWAITING_CHECKER")
    world.client.post("/v1/kill-switch", json=turn | {"on": False}, headers=world.key(world.backend.admin))
    assert world.approve(payload).status_code == 201
    world.drive(3)
    assert world.order(cmd_id)["stage"] == "QUEUED"


@pytest.mark.parametrize("question", ["releases", "screen", "review", "go"])
def test_two_workers_that_meet_over_a_question_do_each_thing_once(world: OrderWorld, question: str) -> None:
    payload = world.payload(OrderType.LOCK)
    cmd_id = world.request(payload).json()["cmd_id"]
    now_us = NOW_S * 1_000_000

    def meet(asked: str) -> None:
        if asked == question:
            world.driver.round(now_us=now_us)
        else:
            world.gate.while_asked = meet

    world.gate.while_asked = meet
    world.driver.round(now_us=now_us)
    world.approve(payload)
    for _ in range(3):
        world.driver.round(now_us=now_us)
    world.dispatch()
    world.hears(Up.REQUEST, world.car.go_request(payload))
    world.driver.round(now_us=world.backend.clock())
    world.dispatch()
    assert world.gate.while_asked is None, "they have met"
    assert stages(world, cmd_id) == [
        *("AWAITING_CHECKER", "AWAITING_LOG", "AWAITING_GATE", "QUEUED", "SENT"),
    ]
    assert [part["role"] for part in world.order(cmd_id)["parts"]] == [
        role.name for role in (Role.MAKER, Role.CHECKER, Role.GATE)
    ]
    assert leaves(world).count("ORDER") == 1
    assert (len(world.sent_on("order")), len(world.sent_on("go"))) == (1, 1)
