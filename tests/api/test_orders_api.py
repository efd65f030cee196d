"""Orders over the API: who may bring what, once each, one restriction per car, and never a word too much."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.domain.access import Role
from protocol.base64url import to_bytes, to_text
from protocol.orders import OrderType
from protocol.topics import Up
from protocol.vectors.orders_story import documents, revocation, signer
from tests.builders.backend import problem
from tests.builders.orders import answer as car_answer
from tests.builders.orders import device as waiting_car
from tests.builders.orders_backend import OrderWorld, part_of

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld.make(tmp_path)
    yield made
    made.close()


# --- the whole way ---


def test_a_lock_goes_from_maker_to_car_and_is_unknown_until_the_car_has_signed(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    cmd_id = world.request(payload).json()["cmd_id"]
    world.drive()
    assert world.gate.asked["screen"] == 1
    assert world.approve(payload).json()["stage"] == "AWAITING_LOG"
    world.drive(2)
    assert world.order(cmd_id)["stage"] == "QUEUED"
    world.dispatch()
    shown = world.order(cmd_id)
    assert (shown["stage"], shown["reported_state"], world.command()["reported_state"]) == (
        "SENT",
        "UNKNOWN",
        "UNKNOWN",
    )
    assert shown["log"]["proof"] == [hash_.hex() for hash_ in world.gate.logs[0].proof]  # type: ignore[union-attr]
    (message,) = world.sent_on("order")
    assert to_text(message) == shown["message"]
    world.hears(Up.DISPOSITION, world.car.says(payload, 3), world.car.says(payload, 6))
    shown = world.order(cmd_id)
    assert (shown["stage"], shown["reported_state"]) == ("ANSWERED", "LOCKED")
    assert world.command()["reported_state"] == "LOCKED"
    stages = [item["stage"] for item in shown["stages"]]
    assert stages == ["AWAITING_CHECKER", "AWAITING_LOG", "AWAITING_GATE", "QUEUED", "SENT", "ANSWERED"]


def test_what_is_sent_is_what_the_car_accepts(world: OrderWorld) -> None:
    world.locked()
    (message,) = world.sent_on("order")
    assert car_answer(message, waiting_car()) == ("ACCEPT", "OK")


def test_an_unlock_is_queued_in_its_request_and_takes_the_lock_out_of_the_way(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    lock = world.request(payload).json()["cmd_id"]
    answer = world.request(OrderType.UNLOCK, by="checker", headers=world.checker)
    assert (answer.status_code, answer.json()["stage"]) == (201, "QUEUED")
    assert world.order(lock)["stage"] == "SUPERSEDED"
    assert problem(world.approve(payload)) == "wrong-stage"


def test_an_unlock_goes_out_with_gate_and_ledger_down_and_the_kill_switch_on(world: OrderWorld) -> None:
    world.gate.is_away = True
    admin = world.key(world.backend.admin)
    turned = world.client.post("/v1/kill-switch", json={"on": True, "reason": "test"}, headers=admin)
    assert turned.status_code == 200
    with world.database.writing() as session, session.begin():
        session.connection().exec_driver_sql("UPDATE ledger_head SET halted = 'test'")
    assert problem(world.request(OrderType.LOCK)) == "kill-switch-on"
    assert world.request(OrderType.UNLOCK).status_code == 201
    world.drive()
    world.dispatch()
    assert len(world.sent_on("order")) == 1


# --- one restriction for each car ---


def test_a_second_restriction_is_refused_until_the_first_is_over_or_named(world: OrderWorld) -> None:
    first = world.request(OrderType.LOCK).json()["cmd_id"]
    second = world.payload(OrderType.WARN)
    assert problem(world.request(second)) == "order-open"
    naming = world.payload(OrderType.WARN, key_22=bytes.fromhex(first))
    assert world.request(naming).status_code == 201
    assert world.order(first)["stage"] == "SUPERSEDED"


def test_what_is_withdrawn_frees_the_car_and_what_was_sent_is_not_withdrawn(world: OrderWorld) -> None:
    first = world.request(OrderType.LOCK).json()["cmd_id"]
    path = f"/v1/orders/{first}/withdraw"
    assert world.client.post(path, headers=world.key(world.maker)).json()["stage"] == "WITHDRAWN"
    warn = world.payload(OrderType.WARN)
    sent = world.request(warn).json()["cmd_id"]
    world.approve(warn)
    world.drive(2)
    world.dispatch()
    answer = world.client.post(f"/v1/orders/{sent}/withdraw", headers=world.key(world.maker))
    assert (answer.status_code, problem(answer)) == (409, "wrong-stage")


# --- two people ---


@pytest.mark.parametrize(
    ("by", "word"),
    [("maker-as-checker", "same-person"), ("same-person", "same-person"), ("maker", "bad-part")],
)
def test_the_checker_is_another_person_with_another_key(world: OrderWorld, by: str, word: str) -> None:
    payload = world.payload(OrderType.LOCK)
    cmd_id = world.request(payload).json()["cmd_id"]
    assert problem(world.approve(payload, by=by)) == word
    assert world.order(cmd_id)["stage"] == "AWAITING_CHECKER"


def test_no_other_role_requests_approves_or_unlocks(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    in_turn = sorted(Role, key=lambda role: role is Role.OFFICER_MAKER)  # the maker last: he succeeds
    roles = {role: world.backend.key(role) for role in in_turn}
    for role, headers in roles.items():
        may_release = role in {Role.OFFICER_MAKER, Role.OFFICER_CHECKER, Role.SAFETY_OFFICER, Role.OMBUDS}
        answer = world.request(payload, headers=headers)
        expected = 201 if role is Role.OFFICER_MAKER else 422 if may_release else 403
        assert answer.status_code == expected, role
        answer = world.request(OrderType.QUERY, by="ombuds", headers=headers)
        assert answer.status_code == (201 if may_release else 403), role
    for role, headers in roles.items():
        allowed = role is Role.OFFICER_CHECKER
        assert (world.approve(payload, headers=headers).status_code == 201) == allowed, role


# --- what the car would refuse ---


@pytest.mark.parametrize(
    ("changes", "word", "code"),
    [
        ({"key_9": 10}, "not-for-this-car", "REPLAY_CTR"),
        ({"key_8": bytes(16)}, "not-for-this-car", "WRONG_EPOCH"),
        ({"key_5": bytes(32)}, "not-for-this-car", "WRONG_DEVICE"),
        ({"key_6": bytes(32)}, "not-for-this-car", "VIN_MISMATCH"),
        ({"key_7": bytes(32)}, "not-for-this-car", "WRONG_LENDER"),
        ({"key_13": bytes(16)}, "not-for-this-car", "CHALLENGE"),
        ({"key_16": 2}, "not-for-this-car", "REASON_REFUSED"),
        ({"key_17": bytes(32)}, "not-for-this-car", "BASIS"),
        ({"key_18": "US-NV"}, "not-for-this-car", "WRONG_JURISDICTION"),
        ({"key_21": bytes(32)}, "not-for-this-car", "CHAIN_GAP"),
    ],
)
def test_what_the_car_would_refuse_is_refused_with_its_code(
    world: OrderWorld, changes: dict[str, object], word: str, code: str
) -> None:
    answer = world.request(world.payload(OrderType.LOCK, **changes))
    assert problem(answer) == word
    assert answer.json()["detail"].startswith(code)
    assert world.command()["open_order"] is None


def test_a_signature_that_does_not_verify_is_not_stored(world: OrderWorld) -> None:
    lock, warn = world.payload(OrderType.LOCK), world.payload(OrderType.WARN)
    stolen = to_text(bytes(64))
    answer = world.request(
        lock, part={"protected": part_of(warn, signer("maker"))["protected"], "signature": stolen}
    )
    assert (problem(answer), answer.json()["detail"].split(":")[0]) == ("bad-part", "BAD_SIG")
    assert world.client.get("/v1/orders", headers=world.maker).json()["items"] == []


@pytest.mark.parametrize("by", ["maker-of-other-lender", "installer", "ombuds"])
def test_who_has_not_been_given_it_does_not_begin_a_lock(world: OrderWorld, by: str) -> None:
    assert world.request(OrderType.LOCK, by=by).status_code == 422


def test_a_revoked_person_begins_nothing_and_releases_nothing(world: OrderWorld) -> None:
    assert world.bring("revocation", revocation(1, "person maker-1")).status_code == 201
    for order_type in (OrderType.LOCK, OrderType.UNLOCK):
        answer = world.request(order_type)
        assert (problem(answer), answer.json()["detail"][:11]) == ("not-delegated", "KEY_REVOKED")


# --- idempotency ---


def test_the_same_request_gets_the_same_answer_and_another_with_its_key_is_refused(
    world: OrderWorld,
) -> None:
    payload = world.payload(OrderType.LOCK)
    first = world.request(payload, key="the-same-key")
    repeat = world.client.post(
        str(first.request.url), content=first.request.content, headers=dict(first.request.headers)
    )
    assert (repeat.status_code, repeat.content) == (201, first.content)
    assert len(world.order(first.json()["cmd_id"])["parts"]) == 1
    other = world.request(OrderType.UNLOCK, key="the-same-key")
    assert (other.status_code, problem(other)) == (409, "idempotency-key-reused")


def test_a_refusal_is_not_remembered(world: OrderWorld) -> None:
    first = world.request(OrderType.LOCK).json()["cmd_id"]
    warn = world.payload(OrderType.WARN)
    refused = world.request(warn, key="asked-again")
    assert refused.status_code == 409
    world.client.post(f"/v1/orders/{first}/withdraw", headers=world.key(world.maker))
    again = world.client.post(
        str(refused.request.url), content=refused.request.content, headers=dict(refused.request.headers)
    )
    assert again.status_code == 201


def test_without_a_key_nothing_is_ordered(world: OrderWorld) -> None:
    answer = world.client.post(f"/v1/devices/{world.device}/orders", json={}, headers=world.maker)
    assert answer.status_code == 422


# --- organisations ---


def test_another_organisation_sees_and_moves_nothing(world: OrderWorld) -> None:
    payload = world.payload(OrderType.LOCK)
    cmd_id = world.request(payload).json()["cmd_id"]
    other = world.backend.organisation("Another Lender")
    maker = world.backend.key(Role.OFFICER_MAKER, org_id=other)
    checker = world.backend.key(Role.OFFICER_CHECKER, org_id=other)
    get = world.client.get
    missing = "00" * 16
    for path in (f"/v1/orders/{cmd_id}", f"/v1/orders/{missing}"):
        assert get(path, headers=maker).status_code == 404
    assert get("/v1/orders", headers=maker).json()["items"] == []
    assert world.approve(payload, headers=checker).status_code == 404
    assert world.client.post(f"/v1/orders/{cmd_id}/withdraw", headers=world.key(maker)).status_code == 404
    digest = world.order(cmd_id)["parts"][0]["delegation"]
    assert get(f"/v1/authority/documents/{digest}", headers=maker).status_code == 404
    assert get(f"/v1/authority/documents/{digest}", headers=world.maker).status_code == 200
    lender = "/v1/authority/issuers/lender:" + world.command()["lender_id"]
    assert get(lender, headers=maker).status_code == 404
    assert get("/v1/authority/issuers/platform", headers=maker).status_code == 200


def test_documents_come_back_as_they_were_signed(world: OrderWorld) -> None:
    issuer = world.client.get("/v1/authority/issuers/platform", headers=world.maker).json()
    assert to_bytes(issuer["document"]) == documents()["authority/platform"]
    assert (issuer["version"], issuer["threshold"], len(issuer["keys"])) == (1, 3, 5)
    assert world.bring("snapshot", documents()["authority/platform"]).json()["is_new"] is False
