"""Officers at work against a server: request, approve, release, look; each by its typed command."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.lender.plain import to_bytes
from protocol import cose_sign, orders_authority, orders_payload
from protocol.authority_bundle import DocumentKind, decode_bundle
from protocol.orders import Code, OrderType, State, check_signature
from tests.builders.lender_world import API_KEY, CONTRACT, LENDER_ID, VIN, World, furnish, world_in


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    return folder


@pytest.fixture
def world(furnished: Path, tmp_path: Path) -> Iterator[World]:
    with world_in(furnished, tmp_path) as made:
        yield made


def _verifies(world: World, cmd_id: str, role: int) -> bool:
    """Whether the server holds a part of a role that verifies over the payload."""
    order = world.server.orders[cmd_id]
    payload = to_bytes(order["payload"], "payload")
    for part in order["parts"]:
        signer = cose_sign.Signer(to_bytes(part["protected"], ""), to_bytes(part["signature"], ""))
        if signer.role == role:
            name = {2: "maker", 3: "checker", 5: "safety", 6: "ombuds"}[role]
            data = (world.desk / f"{name}.delegation").read_bytes()
            claims = orders_payload.read_document("delegation", cose_sign.read_sign(data)[0])
            xy = claims[8][1][-2] + claims[8][1][-3]
            digest = cose_sign.signed_digest("command", payload, signer.protected)
            is_named = signer.delegation == hashlib.sha256(data).digest()
            return is_named and check_signature(xy, digest, signer.signature) == "OK"
    return False


def _fields(world: World, cmd_id: str) -> dict[int, object]:
    return dict(orders_payload.read_order(to_bytes(world.server.orders[cmd_id]["payload"], ""))[0])


def test_a_maker_requests_a_lock_from_the_cars_own_challenge(world: World) -> None:
    cmd_id = world.request()
    order = _fields(world, cmd_id)
    assert (order[3], order[4], order[5]) == (OrderType.LOCK, LENDER_ID, world.car.signer.kid)
    assert (order[8], order[13], order[21]) == (world.car.epoch, world.car.chal, world.car.prev)
    assert order[9] == world.car.heads[0] + 1
    assert order[17] == hashlib.sha256((world.desk / "case.basis").read_bytes()).digest()
    assert order[12] - order[10] <= 86_400  # type: ignore[operator]
    assert _verifies(world, cmd_id, 2)
    assert orders_payload.read_order(to_bytes(world.server.orders[cmd_id]["payload"], ""))[1]


@pytest.mark.parametrize("kind", ["lock", "warn", "renew"])
def test_what_is_requested_is_shown_first_with_the_loan(world: World, kind: str) -> None:
    world.basis()
    said = world.run("maker", "request", kind, world.car.device, "--basis", "case.basis", "--yes").output
    assert said.index(kind.upper()) < said.index("41 (the contract asks for 30)") < said.index("stage")
    assert VIN in said


def test_without_a_yes_nothing_is_signed_or_sent(world: World) -> None:
    world.basis()
    words = ("request", "lock", world.car.device, "--basis", "case.basis")
    world.run("maker", *words, stdin="n\n", exit_code=1)
    assert not world.server.orders


def test_a_checker_approves_what_the_maker_signed(world: World) -> None:
    cmd_id = world.request()
    words = ("approve", cmd_id, "--reason-code", "file")
    said = world.run("checker", *words, stdin=f"{VIN[-4:]}\n").output
    assert said.index("LOCK: inhibit") < said.index("P-maker") < said.index("AWAITING_LOG")
    assert _verifies(world, cmd_id, 2)
    assert _verifies(world, cmd_id, 3)
    assert world.server.orders[cmd_id]["reason_code"] == "FILE"


def test_a_checker_who_types_another_car_signs_nothing(world: World) -> None:
    cmd_id = world.request()
    words = ("approve", cmd_id, "--reason-code", "FILE")
    assert "you typed 9999" in world.run("checker", *words, stdin="9999\n", exit_code=7).output
    assert len(world.server.orders[cmd_id]["parts"]) == 1


def test_approving_twice_sends_the_same_part_under_the_same_key(world: World) -> None:
    cmd_id = world.request()
    words = ("approve", cmd_id, "--reason-code", "FILE", "--yes")
    world.run("checker", *words)
    first = world.server.requests[-1]
    world.server.orders[cmd_id]["parts"].pop()
    world.run("checker", *words)
    again = world.server.requests[-1]
    assert again[3] == first[3]
    assert again[2]["Idempotency-Key"] == first[2]["Idempotency-Key"]


def test_the_maker_cannot_approve_his_own_order(world: World) -> None:
    cmd_id = world.request()
    words = ("approve", cmd_id, "--reason-code", "FILE", "--yes")
    said = world.run("maker", *words, exit_code=7).output
    assert "no delegation on this machine lets this key sign LOCK as checker" in said


def test_one_person_with_two_keys_cannot_be_maker_and_checker(world: World) -> None:
    cmd_id = world.request()
    desk = world.desk
    words = ("--role", "checker", "--person", "P-maker", "--public", "checker.pub", "--out", "two.draft")
    desk.run("delegation", "draft", "--issuer", f"lender:{LENDER_ID.hex()}", *words)
    parts = [desk.sign("delegation", "two.draft", name) for name in ("ann", "bob")]
    desk.run(
        "delegation", "assemble", "two.draft", *parts, "--root", "lender-root.json", "--out", "two.delegation"
    )
    words = ("approve", cmd_id, "--reason-code", "FILE", "--yes", "--delegation", "two.delegation")
    assert "another person has to check" in world.run("checker", *words, exit_code=7).output


def test_an_order_that_got_no_answer_is_sent_again_as_it_was(world: World) -> None:
    world.basis()
    world.server.lies["/orders"] = lambda _: (_ for _ in ()).throw(
        ConnectionError()
    )  # never reached when down
    world.server.lies.clear()
    words = ("request", "lock", world.car.device, "--basis", "case.basis", "--yes")
    answer = world.server._take
    world.server._take = lambda *_: (502, {"title": "bad gateway"})  # type: ignore[method-assign]
    said = world.run("maker", *words, exit_code=8).output
    cmd_id = said.rpartition("tbox lender resend ")[2].split()[0]
    first = world.server.requests[-1]
    assert "NOT_SENT" in world.run("maker", "list").output
    world.server._take = answer  # type: ignore[method-assign]
    world.run("maker", "resend", cmd_id)
    assert world.server.requests[-1][3] == first[3]
    assert world.server.requests[-1][2]["Idempotency-Key"] == first[2]["Idempotency-Key"]
    assert list(world.server.orders) == [cmd_id]
    world.run("maker", "resend", cmd_id, exit_code=6)


@pytest.mark.parametrize(("who", "role"), [("maker", 2), ("checker", 3), ("ombuds", 6), ("safety", 5)])
def test_any_releasing_role_unlocks_with_one_signature(world: World, who: str, role: int) -> None:
    said = json.loads(world.run(who, "unlock", world.car.device, "--yes", "--json").stdout)
    order = _fields(world, said["order"])
    assert said["stage"] == "QUEUED"
    assert (order[3], order[12], order[13], order[14]) == (OrderType.UNLOCK, None, None, None)
    assert abs(order[9] - int(time.time())) < 60  # type: ignore[operator]
    assert _verifies(world, said["order"], role)


def test_an_unlock_offline_is_a_file_that_the_car_reads(world: World) -> None:
    world.request()  # by which the maker's machine learns the epoch from the car
    world.server.down = True
    words = ("unlock", world.car.device, "--offline", "--out", "car.order", "--yes")
    world.run("maker", *words)
    payload, signers = cose_sign.read_sign((world.desk / "car.order").read_bytes())
    order, is_known = orders_payload.read_order(payload)
    assert (is_known, order[3], order[8]) == (True, OrderType.UNLOCK, world.car.epoch)
    ((kind, document),) = decode_bundle((world.desk / "car.order.authority").read_bytes())
    assert kind is DocumentKind.DELEGATION
    assert hashlib.sha256(document).digest() == signers[0].delegation
    xy = orders_authority.Delegation(
        b"", orders_payload.read_document("delegation", cose_sign.read_sign(document)[0])
    ).xy
    digest = cose_sign.signed_digest("command", payload, signers[0].protected)
    assert check_signature(xy, digest, signers[0].signature) == "OK"


def test_an_unlock_whose_server_is_down_leaves_the_signed_file(world: World) -> None:
    world.request()
    world.server.down = True
    said = world.run("maker", "unlock", world.car.device, "--out", "car.order", "--yes", exit_code=8).output
    assert "hand the file over at the car" in said
    assert cose_sign.read_sign((world.desk / "car.order").read_bytes())


def test_a_second_unlock_in_the_same_second_has_a_higher_counter(world: World) -> None:
    orders = [
        json.loads(world.run("maker", "unlock", world.car.device, "--yes", "--json").stdout)["order"]
        for _ in range(2)
    ]
    first, second = (_fields(world, name)[9] for name in orders)
    assert second > first  # type: ignore[operator]


@pytest.mark.parametrize(("ahead_s", "is_followed"), [(3_600, True), (40_000_000, False)])
def test_an_unlock_follows_a_colleague_whose_clock_is_ahead(
    world: World, *, ahead_s: int, is_followed: bool
) -> None:
    world.car.heads[1] = head = int(time.time()) + ahead_s
    order = json.loads(world.run("checker", "unlock", world.car.device, "--yes", "--json").stdout)["order"]
    assert (_fields(world, order)[9] == head + 1) is is_followed


def test_a_cancel_names_its_order(world: World) -> None:
    cmd_id = world.request()
    words = ("cancel", world.car.device, "--order", cmd_id, "--yes", "--json")
    said = json.loads(world.run("checker", *words).stdout)
    assert _fields(world, said["order"])[22] == bytes.fromhex(cmd_id)


def test_an_order_that_is_not_sent_yet_is_withdrawn(world: World) -> None:
    cmd_id = world.request()
    assert "WITHDRAWN" in world.run("maker", "withdraw", cmd_id, "--yes").output


def test_the_state_is_unknown_until_the_car_has_signed(world: World) -> None:
    cmd_id = world.request()
    world.server.lies["/orders"] = lambda value: _named(value, stage="ANSWERED", reported_state="LOCKED")
    said = json.loads(world.run("maker", "status", world.car.device, "--json").stdout)
    assert said["reported"]["state"] == "UNKNOWN"
    assert said["desired"]["cmd_id"] == cmd_id


def test_desired_stands_beside_what_the_car_has_signed_and_what_it_waits_for(world: World) -> None:
    payload = to_bytes(world.server.orders[world.request()]["payload"], "")
    world.car.answer(State.RECEIVED, payload)
    world.car.answer(State.ACCEPTED_PENDING, payload, code=Code.IN_MOTION)
    said = world.run("maker", "status", world.car.device).output
    assert "LOCK AWAITING_CHECKER" in said
    assert "ACCEPTED_PENDING" in said
    assert "the car to stand still" in said
    assert "1 min 30 s ago" in said
    world.car.answer(State.LOCKED, payload, f14=[False, True])
    assert (
        json.loads(world.run("maker", "status", world.car.device, "--json").stdout)["reported"]["state"]
        == "LOCKED"
    )


def test_a_server_that_hides_the_newest_answer_is_found(world: World) -> None:
    payload = to_bytes(world.server.orders[world.request()]["payload"], "")
    world.car.answer(State.RECEIVED, payload)
    world.car.answer(State.LOCKED, payload)
    world.run("maker", "status", world.car.device)
    world.server.lies["/dispositions"] = lambda value: {"items": value["items"][:1]}
    assert "older state" in world.run("maker", "status", world.car.device, exit_code=7).output


def test_an_answer_missing_in_the_middle_is_said(world: World) -> None:
    payload = to_bytes(world.server.orders[world.request()]["payload"], "")
    for state in (State.RECEIVED, State.ACCEPTED_PENDING, State.ARMED):
        world.car.answer(state, payload)
    world.server.lies["/dispositions"] = lambda value: {"items": [value["items"][0], value["items"][2]]}
    assert "1 of the car's answers are missing" in world.run("maker", "status", world.car.device).output


def test_no_secret_is_printed_or_written_down(world: World) -> None:
    said = world.run("maker", "unlock", world.car.device, "--yes").output
    kept = "".join(path.read_text() for path in (world.desk / "state-maker").iterdir())
    for secret in (API_KEY, API_KEY[-48:], world.desk.passphrase_file.read_text()):
        assert secret not in said
        assert secret not in kept


def test_the_contract_of_the_pin_is_in_the_order(world: World) -> None:
    assert _fields(world, world.request())[7] == CONTRACT


def _named(value: dict[str, object], **changes: object) -> dict[str, object]:
    items = [{**one, **changes} for one in value.get("items", [])]  # type: ignore[attr-defined, union-attr]
    return {**value, "items": items} if "items" in value else {**value, **changes}
