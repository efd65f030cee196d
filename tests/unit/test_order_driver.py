"""The worker and the line: gate and log away, held and refused, lives that end, payments, sending again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend import ledger
from backend.domain.batch_time import TimeSource
from backend.store.latest import LatestFix, put_fix
from backend.store.log_keys import load_log_signer
from backend.usecases.gate_port import PaidOrder
from protocol.checker_reasons import CheckerReason
from protocol.checkpoint import NoteSigner, cosign
from protocol.fixes import Fix, Precision
from protocol.limits import PLACE_AGE_S_MAX
from protocol.orders import OrderType, cmd_hash
from protocol.topics import Up
from protocol.vectors.orders_story import MCU, NOW_S
from tests.builders.orders import answer as car_answer
from tests.builders.orders import device as waiting_car
from tests.builders.orders_backend import OrderWorld

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld.make(tmp_path)
    yield made
    made.close()


def signed_by_two(world: OrderWorld) -> tuple[bytes, str]:
    payload = world.payload(OrderType.LOCK)
    cmd_id = world.request(payload).json()["cmd_id"]
    assert world.approve(payload).status_code == 201
    return payload, cmd_id


def test_while_the_gate_is_away_an_order_waits_and_then_goes_on(world: OrderWorld) -> None:
    _, cmd_id = signed_by_two(world)
    world.gate.is_away = True
    counts = world.drive(5)
    assert counts["gate_away"] > 0
    assert world.order(cmd_id)["stage"] == "AWAITING_GATE"
    world.gate.is_away = False
    world.backend.clock.pass_seconds(40)
    world.drive()
    assert world.order(cmd_id)["stage"] == "QUEUED"


def test_without_the_log_nothing_restrictive_moves(world: OrderWorld) -> None:
    _, cmd_id = signed_by_two(world)
    with world.database.writing() as session, session.begin():
        session.connection().exec_driver_sql("UPDATE ledger_head SET halted = 'test'")
    assert world.drive(3)["ledger_away"] > 0
    assert (world.order(cmd_id)["stage"], world.gate.asked["review"]) == ("AWAITING_LOG", 0)
    with world.database.writing() as session, session.begin():
        session.connection().exec_driver_sql("UPDATE ledger_head SET halted = NULL")
    world.backend.clock.pass_seconds(40)
    world.drive(2)
    assert world.order(cmd_id)["stage"] == "QUEUED"


def test_what_the_gate_holds_is_never_sent_and_frees_the_car(world: OrderWorld) -> None:
    _, cmd_id = signed_by_two(world)
    world.gate.verdict = "HELD"
    world.drive(2)
    world.gate.verdict = "SIGNED"
    world.backend.clock.pass_seconds(3_600)
    world.drive(2)
    world.dispatch()
    shown = world.order(cmd_id)
    assert (shown["stage"], shown["gate"][-1]["rule"], world.sent) == ("HELD", "RULE", [])
    assert world.command()["open_order"] is None


def test_a_refusal_that_time_can_lift_is_asked_again_then(world: OrderWorld) -> None:
    _, cmd_id = signed_by_two(world)
    world.gate.verdict, world.gate.earliest_s = "REFUSED", NOW_S + 600
    world.drive(4)
    assert (world.gate.asked["review"], world.order(cmd_id)["stage"]) == (1, "AWAITING_GATE")
    world.gate.verdict = "SIGNED"
    world.backend.clock.pass_seconds(600)
    world.drive()
    assert world.order(cmd_id)["stage"] == "QUEUED"


def test_what_the_gate_refuses_at_the_screen_is_never_signed_afterwards(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    cmd_id = world.request(payload).json()["cmd_id"]
    world.gate.screen_verdict = "REFUSED"
    world.drive()
    assert world.order(cmd_id)["stage"] == "REFUSED_BY_GATE"
    assert world.approve(payload).status_code == 409
    world.backend.clock.pass_seconds(80_000)
    world.drive(2)
    assert (world.gate.asked["review"], world.command()["open_order"]) == (0, None)


def test_who_unlocks_while_the_gate_signs_wins(world: OrderWorld) -> None:
    _, cmd_id = signed_by_two(world)
    world.drive()
    signing = world.gate._sign

    def unlock_first(payload: bytes, *, logged: bool) -> object:
        world.request(OrderType.UNLOCK)
        return signing(payload, logged=logged)

    world.gate._sign = unlock_first  # type: ignore[method-assign, assignment]
    assert world.drive()["gate_too_late"] == 1
    assert (world.order(cmd_id)["stage"], world.order(cmd_id)["message"]) == ("SUPERSEDED", None)


def test_an_order_ends_with_its_life_and_a_release_never_does(world: OrderWorld) -> None:
    _, cmd_id = signed_by_two(world)
    world.drive(2)
    world.backend.clock.pass_seconds(86_400)
    world.drive()
    assert world.dispatch()["sent_order"] == 0
    assert (world.order(cmd_id)["stage"], world.command()["open_order"]) == ("EXPIRED", None)
    unlock = world.request(OrderType.UNLOCK).json()["cmd_id"]
    world.backend.clock.pass_seconds(200 * 86_400)
    world.drive()
    assert world.dispatch()["sent_order"] == 1
    assert world.order(unlock)["stage"] == "SENT"


def test_an_order_is_sent_again_until_the_car_answers(world: OrderWorld) -> None:
    payload = world.locked()
    for seconds in (1, 5, 10, 20):
        world.backend.clock.pass_seconds(seconds)
        world.dispatch()
    assert len(world.sent_on("order")) == 4
    world.hears(Up.DISPOSITION, world.car.says(payload, 3))
    world.backend.clock.pass_seconds(600)
    world.dispatch()
    assert len(world.sent_on("order")) == 4


def test_a_release_leaves_before_what_was_queued_earlier(world: OrderWorld) -> None:
    world.client.post(f"/v1/devices/{world.device}/challenge", json={}, headers=world.maker)
    world.request(OrderType.QUERY, by="maker")
    world.request(OrderType.UNLOCK)
    world.dispatch()
    kinds = [topic.rsplit("/", 1)[1] for topic, _ in world.sent]
    assert kinds == ["authority", "order", "challenge", "authority", "order"]


def test_what_the_line_did_not_take_is_sent_when_it_is_back(world: OrderWorld) -> None:
    world.is_line_up = False
    cmd_id = world.request(OrderType.UNLOCK).json()["cmd_id"]
    assert world.dispatch()["unsent"] > 0
    assert world.order(cmd_id)["stage"] == "SENT"  # it may have left
    world.is_line_up = True
    world.backend.clock.pass_seconds(1)
    assert world.dispatch()["sent_order"] == 1


def test_the_kill_switch_keeps_a_queued_lock_back_and_lets_it_go_when_it_is_off(world: OrderWorld) -> None:
    signed_by_two(world)
    world.drive(2)

    def turn(*, on: bool) -> None:
        body = {"on": on, "reason": "test"}
        admin = world.key(world.backend.admin)
        assert world.client.post("/v1/kill-switch", json=body, headers=admin).status_code == 200

    turn(on=True)
    assert world.dispatch()["order_killed"] == 1
    assert world.sent_on("order") == []
    turn(on=False)
    world.backend.clock.pass_seconds(10)
    assert world.dispatch()["sent_order"] == 1


def test_a_posted_payment_releases_the_car_within_two_rounds(world: OrderWorld) -> None:
    payload = world.locked()
    world.hears(Up.DISPOSITION, world.car.says(payload, 3), world.car.says(payload, 6))
    world.gate.paid = [PaidOrder(cmd_hash=cmd_hash(payload), mcu_id=MCU.kid)]
    world.drive(2)
    world.dispatch()
    unlock = world.sent_on("order")[-1]
    assert car_answer(unlock, waiting_car()) == ("ACCEPT", "OK")
    assert (world.gate.asked["release"], len(world.sent_on("order"))) == (1, 2)


def test_the_gate_is_told_what_cars_said_once(world: OrderWorld) -> None:
    payload = world.locked()
    said = world.car.says(payload, 3)
    world.hears(Up.DISPOSITION, said)
    world.drive(2)
    assert world.gate.told == [said]


# --- seams to the gate ---


def test_the_gate_hears_the_checkers_own_reason_by_its_number(world: OrderWorld) -> None:
    signed_by_two(world)
    world.drive(2)
    assert world.gate.reasons == [CheckerReason.ACCOUNT]


@pytest.mark.parametrize(
    ("age_s", "place"), [(PLACE_AGE_S_MAX, (341, -1_183)), (PLACE_AGE_S_MAX + 60, None), (-60, None)]
)
def test_a_go_request_brings_the_cell_in_which_the_car_was_last_seen_and_nothing_finer(
    world: OrderWorld, age_s: int, place: tuple[int, int] | None
) -> None:
    payload = world.locked()
    with world.database.writing() as session, session.begin():
        fix = Fix(t_us=0, utc_us=0, mode=3, lat_e7=341_412_345, lon_e7=-1_182_654_321)
        seen_us = world.backend.clock() - age_s * 1_000_000
        latest = LatestFix(fix=fix, utc_us=seen_us, precision=Precision.EXACT, time_source=TimeSource.DEVICE)
        put_fix(session, latest, org_id=world.backend.org_id, device_id=world.device)
    world.hears(Up.REQUEST, world.car.go_request(payload))
    world.driver.round(now_us=world.backend.clock())
    assert world.gate.places == [place]


def test_with_witnesses_configured_the_gate_is_not_asked_before_one_has_cosigned(world: OrderWorld) -> None:
    _, cmd_id = signed_by_two(world)
    driver = world.driver
    driver.witnessed_min = 1
    for _ in range(2):
        counts = driver.round(now_us=world.backend.clock())
        world.backend.clock.pass_seconds(60)
    assert counts["ledger_away"] == 1
    assert (world.order(cmd_id)["stage"], world.gate.asked["review"]) == ("AWAITING_GATE", 0)
    witness = NoteSigner.of_witness("witness.example/w1", Ed25519PrivateKey.generate())
    with world.database.writing() as session, session.begin():
        signed = ledger.latest_checkpoint(session)
        assert signed is not None
        line = cosign(signed.note, witness, at_s=world.backend.clock() // 1_000_000)
        settings = world.backend.settings
        log = load_log_signer(settings.log_key_path, origin=settings.log_origin).key
        ledger.add_cosignatures(session, signed.size, [line], log=log, witnesses=[witness.key])
    driver.round(now_us=world.backend.clock())
    assert world.order(cmd_id)["stage"] == "QUEUED"
