"""What a car says of its orders: verified, kept once in gapless chains; what is false moves nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.authority_bundle import AuthorityQuestion, decode_bundle, encode_authority_question
from protocol.envelope import Kind
from protocol.orders import Code, OrderType, State, sign_document
from protocol.orders_payload import read_order
from protocol.receipts import Receipt, RefusalCode, Stream, open_receipt
from protocol.topics import Down, Up, down_topic
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import disposition_fields
from protocol.vectors.orders_story import EPOCH, MCU, digest, documents
from protocol.vectors.story import fixed_bytes
from tests.builders.orders_backend import FakeCar, OrderWorld

pytestmark = pytest.mark.usefixtures("both_databases")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld.make(tmp_path)
    yield made
    made.close()


def receipt(world: OrderWorld, *dispositions: bytes) -> Receipt:
    taken = world.hears(Up.DISPOSITION, *dispositions)
    (answer,) = taken.answers
    signer = world.backend.identity.receipt_signer
    return open_receipt(answer.payload, {signer.kid: signer.public_key}.get)


def test_dispositions_in_any_order_and_repeated_make_one_chain(world: OrderWorld) -> None:
    payload = world.locked()
    said = [world.car.says(payload, state) for state in (3, 4, 5, 6)]
    first = receipt(world, said[3], said[1])
    assert (first.stream, first.chain, first.upto) == (Stream.DISPOSITION, EPOCH, 0)
    assert [(have.first, have.last) for have in first.have] == [(2, 2), (4, 4)]
    assert world.command()["reported_state"] == "LOCKED"
    whole = receipt(world, said[0], said[1], said[2], said[0])
    assert (whole.upto, whole.have, whole.refused) == (4, (), ())
    assert world.command()["reported_state"] == "LOCKED"
    listed = world.client.get(f"/v1/devices/{world.device}/dispositions", headers=world.maker).json()
    assert sorted(item["seq"] for item in listed["items"]) == [1, 2, 3, 4]


def test_a_forged_disposition_is_counted_and_says_nothing(world: OrderWorld) -> None:
    payload = world.locked()
    good = world.car.would_say(payload, 6)
    fields = disposition_fields() | {7: 1, 8: None, 9: 6}
    by_another = sign_document(Kind.DISPOSITION, fields, published_signer("gate-1"))
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    taken = world.hears(Up.DISPOSITION, by_another, flipped, b"", good[:40])
    assert taken.answers == ()
    assert "disposition" not in taken.outcomes
    assert world.command()["reported_state"] == "UNKNOWN"


def test_a_disposition_that_contradicts_its_chain_is_refused_and_moves_nothing(world: OrderWorld) -> None:
    payload = world.locked()
    receipt(world, world.car.says(payload, 3))
    world.car.seq, world.car.head = 0, None
    other = receipt(world, world.car.says(payload, 6))
    assert (other.upto, other.refused) == (1, ((1, RefusalCode.CONFLICT),))
    unlinked = receipt(world, world.car.says(payload, 6))  # names the head of the refused one
    assert unlinked.refused == ((2, RefusalCode.CONFLICT),)
    assert world.command()["reported_state"] == "ACCEPTED_PENDING"


def test_an_older_disposition_that_comes_later_does_not_turn_the_car_back(world: OrderWorld) -> None:
    payload = world.locked()
    said = [world.car.says(payload, state) for state in (3, 6, 7)]
    receipt(world, said[2])
    receipt(world, said[1])
    receipt(world, said[0])
    assert world.command()["reported_state"] == "RELEASED"


def test_a_replayed_challenge_never_comes_back(world: OrderWorld) -> None:
    old = world.car.challenge()
    newer = world.car.challenge(key_4=b"n" * 16, key_5=49_500, key_6=[11, 20, 30])
    assert world.hears(Up.CHALLENGE, newer).outcomes == {"challenge": 1}
    assert world.hears(Up.CHALLENGE, old, newer).outcomes == {"challenge_old": 1, "challenge_repeated": 1}
    assert world.command()["heads"] == [11, 20, 30]


def test_an_epoch_that_is_over_never_comes_back(world: OrderWorld) -> None:
    world.car.epoch = b"e" * 16
    assert world.hears(Up.CHALLENGE, world.car.challenge()).outcomes == {"challenge": 1, "epoch_begun": 1}
    world.car.epoch = EPOCH
    assert world.hears(Up.CHALLENGE, world.car.challenge()).outcomes == {"challenge_old": 1}
    assert world.command()["epoch"] == (b"e" * 16).hex()
    assert world.register().status_code == 422


def test_an_accepted_order_uses_up_the_challenge_and_moves_the_counter(world: OrderWorld) -> None:
    payload = world.locked()
    world.hears(Up.DISPOSITION, world.car.says(payload, 3))
    command = world.command()
    assert (command["heads"][0], command["challenge"]["is_used"]) == (11, True)


def test_a_question_for_documents_is_answered_with_those_known(world: OrderWorld) -> None:
    world.locked()
    asked = AuthorityQuestion(mcu_id=MCU.kid, digests=(digest("maker"), bytes(32)))
    taken = world.hears(Up.REQUEST, encode_authority_question(asked))
    (answer,) = taken.answers
    assert answer.topic == down_topic(world.device, Down.AUTHORITY)  # type: ignore[arg-type]
    bundle = [data for _, data in decode_bundle(answer.payload)]
    assert bundle == [
        documents()[name] for name in ("authority/platform", "authority/lender", "delegation/maker")
    ]


def test_a_go_request_reaches_the_gate_and_its_token_the_car(world: OrderWorld) -> None:
    payload = world.locked()
    asked = world.car.go_request(payload)
    assert world.hears(Up.REQUEST, asked).outcomes == {"go_request": 1}
    world.drive()
    world.dispatch()
    (token,) = world.sent_on("go")
    assert token.startswith(b"token for")
    assert world.hears(Up.REQUEST, asked).outcomes == {"go_repeated": 1}
    world.drive()
    world.dispatch()
    assert (world.gate.asked["go"], world.sent_on("go")) == (1, [token, token])


def test_no_token_is_fetched_once_an_unlock_is_on_its_way(world: OrderWorld) -> None:
    payload = world.locked()
    world.hears(Up.REQUEST, world.car.go_request(payload))
    world.request(OrderType.UNLOCK)
    world.drive()
    assert world.hears(Up.REQUEST, world.car.go_request(payload, b"2" * 16)).outcomes == {"go_not_open": 1}
    world.drive()
    world.dispatch()
    assert (world.gate.asked["go"], world.sent_on("go")) == (0, [])


def test_a_token_that_the_gate_refused_is_asked_for_again_when_the_car_asks_again(world: OrderWorld) -> None:
    payload = world.locked()
    asked = world.car.go_request(payload)
    world.gate.verdict = "REFUSED"
    world.hears(Up.REQUEST, asked)
    world.drive(3)
    assert world.gate.asked["go"] == 1
    world.gate.verdict = "SIGNED"
    world.hears(Up.REQUEST, asked)
    world.drive()
    assert world.dispatch()["sent_go"] == 1


def test_an_order_of_an_epoch_that_is_over_is_unknown_and_never_locked(world: OrderWorld) -> None:
    lock = world.locked()
    for state in (State.ACCEPTED_PENDING, State.LOCKED):
        world.hears(Up.DISPOSITION, world.car.says(lock, int(state)))
    cmd_id = read_order(lock)[0][2].hex()
    assert world.order(cmd_id)["reported_state"] == "LOCKED"
    fresh = FakeCar(epoch=fixed_bytes("another epoch"))
    nothing = {"key_3": bytes(16), "key_4": bytes(32)}
    lost = fresh.says(None, int(State.FAULT_RELEASED), int(Code.MONITOR_ONLY), **nothing)
    world.hears(Up.DISPOSITION, lost)
    assert world.command()["reported_state"] == "FAULT_RELEASED"
    assert world.order(cmd_id)["reported_state"] == "UNKNOWN"
