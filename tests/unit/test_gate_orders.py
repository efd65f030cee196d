"""The gate from screen to go token: what is signed, and what every step asks again."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from protocol import cose_sign
from protocol.base64url import to_bytes
from protocol.loan_facts import Flag, Purpose
from protocol.orders import OrderType, assemble, cmd_hash, encode_order
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import LENDER_ID
from simulators.loan_system import Mode
from tests.builders.gate import CONTRACT, GateWorld, pack, token_fields


def test_an_eligible_lock_gets_the_third_signature_and_a_go_token() -> None:
    world = GateWorld()
    answer = world.lock()
    assert (world.last_screen.verdict, answer.verdict) == ("ELIGIBLE", "SIGNED"), answer.detail
    go = world.go()
    assert go.verdict == "GO", go.detail
    assert token_fields(go)[5] == 1
    assert token_fields(go)[7] == [4, 19]


def test_the_signed_header_says_where_the_order_is_logged_and_which_rules_passed() -> None:
    world = GateWorld()
    answer = world.lock()
    assert answer.part is not None
    signer = cose_sign.Signer(to_bytes(answer.part.protected), to_bytes(answer.part.signature))
    assert signer.log_ref[:3] == ["log.example/tbox", 1, 2]
    assert signer.attestation == [pack("zz").version, answer.rules, 0]
    assert len(set(answer.rules)) == len(answer.rules) > 20


def test_the_loan_system_is_asked_at_each_step_with_a_fresh_nonce() -> None:
    world = GateWorld()
    world.lock()
    world.go()
    asked = world.system.questions
    assert [question.purpose for question in asked] == [Purpose.SCREEN, Purpose.REVIEW, Purpose.GO]
    assert len({question.nonce for question in asked}) == 3


def test_the_same_order_asked_again_gets_the_same_part_also_after_a_crash() -> None:
    world = GateWorld()
    first = world.lock()
    world.clock.restart()
    world.gate = world.open()
    assert world.gate.review(world.last_request).part == first.part
    assert world.gate.review(world.last_request).verdict == "SIGNED"
    with world.store.writing() as at:
        assert len(at.signed_since(LENDER_ID, 0, {})) == 1


def test_ten_minutes_pass_between_the_signatures_as_the_gate_saw_them() -> None:
    world = GateWorld(jur="US-NJ", packs=[pack("us-nj")])
    world.load_opinion("US-NJ", pack("us-nj"))
    answer = world.lock(wait_s=599)
    assert (answer.verdict, answer.rule) == ("REFUSED", "TEN_MINUTES")
    assert answer.earliest == world.clock.now_s() + 1
    world.clock.wait(1)
    assert world.gate.review(world.last_request).verdict == "SIGNED"


def test_a_clock_put_forward_does_not_shorten_the_ten_minutes() -> None:
    world = GateWorld(jur="US-NJ", packs=[pack("us-nj")])
    world.load_opinion("US-NJ", pack("us-nj"))
    world.lock(wait_s=0)
    world.clock.wall_s += 700
    answer = world.gate.review(world.last_request)
    assert answer.verdict == "REFUSED"
    assert "CLOCK" in answer.detail
    assert "TEN_MINUTES" in answer.detail


@pytest.mark.parametrize("step_s", [-400, 400])
def test_a_stepped_clock_signs_nothing_until_the_gate_starts_again(step_s: int) -> None:
    world = GateWorld()
    world.lock()
    world.clock.wall_s += step_s
    assert world.lock().rule == "CLOCK"
    assert world.go().verdict == "REFUSED"


def test_a_clock_behind_what_the_gate_has_seen_signs_nothing_even_after_a_restart() -> None:
    world = GateWorld()
    world.lock()
    world.clock.wall_s -= 3_600
    world.clock.restart()
    world.gate = world.open()
    assert world.lock().rule == "CLOCK"


def test_an_order_that_is_not_logged_as_it_was_signed_is_refused() -> None:
    world = GateWorld()
    world.lock()
    other = world.order(basis=world.basis())
    request = world.review_request(other, world.basis())
    swapped = request.model_copy(update={"log": world.last_request.log})
    assert "LOG" in world.gate.review(swapped).detail


def test_a_checkpoint_that_no_witness_has_seen_is_refused() -> None:
    world = GateWorld()
    basis = world.basis()
    order = world.order(basis=basis)
    world.screen(order, basis)
    world.clock.wait(600)
    request = world.review_request(order, basis)
    parts = [(to_bytes(part.protected), to_bytes(part.signature)) for part in request.parts]
    unseen = world.log.prove(assemble(encode_order(order), parts), world.clock.now_s(), witnessed=False)
    answer = world.gate.review(request.model_copy(update={"log": unseen}))
    assert (answer.verdict, answer.rule) == ("REFUSED", "LOG")


@pytest.mark.parametrize(
    "people",
    [
        ("maker",),
        ("checker", "checker"),
        ("maker", "maker"),
        ("maker", "maker-as-checker"),
        ("maker", "same-person"),
        ("maker", "checker-unlock-only"),
        ("maker", "checker-over"),
        ("maker", "checker-early"),
        ("maker-of-other-lender", "checker"),
        ("maker", "gate"),
        ("maker", "ombuds"),
    ],
)
def test_only_two_people_of_two_roles_are_a_maker_and_a_checker(people: tuple[str, ...]) -> None:
    world = GateWorld()
    basis = world.basis()
    order = world.order(basis=basis)
    world.screen(order, basis)
    world.clock.wait(600)
    answer = world.gate.review(world.review_request(order, basis, people=people))
    assert answer.verdict == "REFUSED"
    assert "SIGNERS" in answer.detail


def test_a_service_account_signs_for_nobody() -> None:
    world = GateWorld(officers=frozenset({"person maker-1"}))
    assert world.lock().rule == "NATURAL_PERSON"


@pytest.mark.parametrize(
    "change",
    [
        lambda world, order: {"challenge": world.challenge(order, key_4=bytes(16))},
        lambda world, order: {"challenge": world.challenge(order, key_9=2)},
        lambda world, order: {"challenge": world.challenge(order, key_10=["US-CA", 1, bytes(32)])},
        lambda world, order: {"challenge": world.challenge(order, published_signer("stranger"))},
        lambda world, order: {"challenge": world.challenge(order, key_6=[order[9], 0, 0])},
        lambda world, order: {"challenge": world.challenge(order, key_7=bytes(32))},
    ],
)
def test_what_the_car_would_refuse_is_not_signed(
    change: Callable[[GateWorld, dict[int, Any]], dict[str, Any]],
) -> None:
    world = GateWorld()
    basis = world.basis()
    order = world.order(basis=basis)
    world.screen(order, basis)
    world.clock.wait(600)
    answer = world.gate.review(world.review_request(order, basis, **change(world, order)))
    assert (answer.verdict, answer.rule in ("CAR", "CHALLENGE")) == ("REFUSED", True), answer.detail


def test_an_order_that_rests_on_something_else_is_refused() -> None:
    world = GateWorld()
    assert world.lock(key_17=hashlib.sha256(b"other").digest()).rule == "BASIS"


def test_facts_of_half_an_hour_ago_are_no_basis() -> None:
    world = GateWorld()
    basis = world.basis()
    world.clock.wait(1_800)
    order = world.order(basis=basis)
    assert world.screen(order, basis).rule == "BASIS"


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.REPLAYING, Mode.BACKDATED, Mode.STALE])
def test_a_loan_system_that_is_silent_stale_or_repeats_itself_gets_no_go_token(mode: Mode) -> None:
    world = GateWorld()
    assert world.lock().verdict == "SIGNED"
    world.clock.wait(1_000)
    world.loan.revision += 1
    world.system.mode = mode
    if mode is Mode.BACKDATED:
        world.system.pay(CONTRACT, 1, is_posted=True)
        world.system.mode = Mode.HONEST
        world.go()
        world.system.mode = Mode.BACKDATED
    assert world.go().token is None or token_fields(world.go())[5] == 2


def test_a_go_request_of_another_car_or_for_an_unsigned_order_gets_nothing() -> None:
    world = GateWorld()
    world.lock()
    assert world.go(mcu=published_signer("stranger")).rule == "SIGNED_ORDER"
    assert world.go(world.order(basis=world.basis())).rule == "SIGNED_ORDER"


def test_without_a_forecast_the_token_carries_none() -> None:
    world = GateWorld()
    world.lock()
    world.weather.range = None
    assert token_fields(world.go())[7] is None


def test_a_payment_after_the_signature_ends_the_order_and_asks_for_its_release() -> None:
    world = GateWorld()
    world.lock()
    assert world.release().rule == "RELEASE"
    paid = world.system.pay(CONTRACT, 80_000, is_posted=True)
    assert world.record(paid) == (True, "1 orders to release")
    go = world.go()
    assert (go.verdict, token_fields(go)[5]) == ("NO_GO", 2)
    world.system.mode = Mode.SILENT
    assert world.release(paid).verdict == "SIGNED"
    assert world.go().verdict == "NO_GO"


def test_a_renew_needs_a_lock_that_got_its_token() -> None:
    world = GateWorld()
    assert world.lock(kind=OrderType.RENEW).rule == "LOCKED_CAR"
    assert world.lock().verdict == "SIGNED"
    assert world.go().verdict == "GO"
    renewed = world.lock(kind=OrderType.RENEW)
    assert renewed.verdict == "SIGNED", renewed.detail
    assert world.go().verdict == "GO"


def test_a_warn_passes_the_same_chain_and_needs_no_go_token() -> None:
    world = GateWorld()
    assert world.lock(kind=OrderType.WARN).verdict == "SIGNED"
    assert world.go().verdict == "NO_GO"
    world.system.block(CONTRACT, Flag.DISPUTE)
    assert world.lock(kind=OrderType.WARN).rule == "BLOCK"


def test_every_answer_is_in_the_journal_and_the_journal_cannot_be_changed() -> None:
    world = GateWorld()
    world.lock()
    world.go()
    with world.store.writing() as at:
        lines = at.journal()
        events = [line.event for line in lines if line.subject == cmd_hash(encode_order(world.last_order))]
    assert events == ["screened", "signed", "go"]
    with pytest.raises(Exception, match="only appended to"), world.store.writing() as at:
        at._db.execute("DELETE FROM journal")
