"""Each bound of the comparisons from both sides: the last value that is accepted, the first that is not."""

from typing import Any

import pytest

from protocol import cose_sign, orders_payload, orders_reader
from protocol.orders import OrderSigner, OrderType, Role, sign_order
from protocol.orders_checks import all_failures
from protocol.vectors.orders_good import (
    COMMISSIONING,
    administering,
    commissioning,
    good_documents,
    good_orders,
    lock_signers,
    releasing,
    restricting,
    ticket,
)
from protocol.vectors.orders_story import CHALLENGE_TICK_S, DAY_S, NOW_S, TICK_S, signer
from tests.builders.orders import CHAL2, CHAL2_TICK_S, answer, device, go_answer, lock_hash

NBF_S, EXP_S = NOW_S - 300, NOW_S - 600 + DAY_S  # of the good LOCK
DELEGATED_FROM_S, DELEGATED_TO_S = NOW_S - DAY_S, NOW_S + 20 * DAY_S
SNAPSHOT_TO_S = NOW_S + 7 * DAY_S


def between(earliest_s: int | None, latest_s: int | None) -> dict[str, Any]:
    return {"earliest": earliest_s, "latest": latest_s}


@pytest.mark.parametrize(
    ("known", "code"),
    [
        (between(EXP_S - 3, EXP_S - 1), "OK"),
        (between(EXP_S - 1, EXP_S), "CLOCK_UNCERTAIN"),
        (between(EXP_S, EXP_S), "EXPIRED"),
        (between(NBF_S, NBF_S + 2), "OK"),
        (between(NBF_S - 1, NBF_S), "CLOCK_UNCERTAIN"),
        (between(NBF_S - 2, NBF_S - 1), "NOT_YET"),
        (between(NOW_S, NOW_S + 300), "OK"),
        (between(NOW_S, NOW_S + 301), "CLOCK_UNCERTAIN"),
    ],
)
def test_a_lock_lives_between_nbf_and_exp_by_the_whole_interval(known: dict[str, Any], code: str) -> None:
    assert answer(good_orders()["lock"][0], device(known))[1] == code


@pytest.mark.parametrize(
    ("tick_s", "code"), [(CHALLENGE_TICK_S + DAY_S, "OK"), (CHALLENGE_TICK_S + DAY_S + 1, "EXPIRED")]
)
def test_a_lock_lives_to_its_last_tick(tick_s: int, code: str) -> None:
    assert answer(good_orders()["lock"][0], device({"tick": tick_s}))[1] == code


@pytest.mark.parametrize(
    ("ctr", "code"),
    [
        (20, "REPLAY_CTR"),
        (21, "OK"),
        (20 + 4_294_967_296, "OK"),
        (20 + 4_294_967_297, "CTR_JUMP"),
    ],
)
def test_a_counter_rises_by_one_or_more_but_not_by_everything(ctr: int, code: str) -> None:
    order = sign_order(releasing(OrderType.UNLOCK, ctr), signer("ombuds"))
    assert answer(order, device())[1] == code


def test_classes_count_apart() -> None:
    """An UNLOCK never waits for the counter of a LOCK (README §1.8)."""
    at = device({"heads": [1_000, 20, 2_000]})
    assert answer(good_orders()["unlock/ombuds"][0], at) == ("ACCEPT", "OK")
    read = orders_reader.read_order(good_orders()["unlock/ombuds"][0], at, lambda *_: "OK")
    assert orders_reader.heads_after(read.order, at) == [1_000, 21, 2_000]


@pytest.mark.parametrize(("tick_s", "code"), [(TICK_S + 90, "OK"), (TICK_S + 91, "EXPIRED")])
def test_a_bench_test_ends_with_its_two_minutes(tick_s: int, code: str) -> None:
    """The challenge of the car being fitted was opened 30 s ago."""
    at = device({**COMMISSIONING, "tick": tick_s})
    assert answer(good_orders()["bench"][0], at)[1] == code


@pytest.mark.parametrize(("tick_s", "code"), [(TICK_S + 30, "OK"), (TICK_S + 31, "EXPIRED")])
def test_a_ticket_ends_with_its_own_seconds(tick_s: int, code: str) -> None:
    order = sign_order(commissioning(OrderType.BENCH, ticket(key_5=60)), signer("installer"))
    assert answer(order, device({**COMMISSIONING, "tick": tick_s}))[1] == code


def test_a_bench_test_of_121_s_is_too_long() -> None:
    order = commissioning(OrderType.BENCH, ticket()) | {14: TICK_S - 30 + 121}
    assert answer(sign_order(order, signer("installer")), device(COMMISSIONING))[1] == "TTL_TOO_LONG"


def lock_around(now_s: int, *signers: OrderSigner) -> bytes:
    fresh = {10: now_s - 60, 11: now_s - 60, 12: now_s + 60}
    return sign_order(restricting(OrderType.LOCK) | fresh, *(signers or lock_signers()))


@pytest.mark.parametrize(
    ("earliest_s", "latest_s", "code"),
    [
        (DELEGATED_FROM_S, DELEGATED_FROM_S, "OK"),
        (DELEGATED_FROM_S - 1, DELEGATED_FROM_S, "DELEGATION_SCOPE"),
    ],
)
def test_a_delegation_is_in_force_from_its_first_second(earliest_s: int, latest_s: int, code: str) -> None:
    assert answer(lock_around(latest_s), device(between(earliest_s, latest_s)))[1] == code


@pytest.mark.parametrize(
    ("latest_s", "code"), [(DELEGATED_TO_S - 1, "METADATA_STALE"), (DELEGATED_TO_S, "DELEGATION_SCOPE")]
)
def test_a_delegation_is_in_force_before_its_last_second(latest_s: int, code: str) -> None:
    """By then the snapshots are over: the failure named first tells the two apart."""
    assert answer(lock_around(latest_s), device(between(latest_s, latest_s)))[1] == code


@pytest.mark.parametrize(("latest_s", "code"), [(SNAPSHOT_TO_S - 1, "OK"), (SNAPSHOT_TO_S, "METADATA_STALE")])
def test_metadata_is_in_force_before_its_last_second(latest_s: int, code: str) -> None:
    assert answer(lock_around(latest_s), device(between(latest_s, latest_s)))[1] == code


@pytest.mark.parametrize(
    ("tick_s", "code"), [(CHAL2_TICK_S, "OK"), (CHAL2_TICK_S + 900, "OK"), (CHAL2_TICK_S + 901, "NO_GO")]
)
def test_a_go_token_is_at_most_a_quarter_of_an_hour_old(tick_s: int, code: str) -> None:
    assert go_answer(good_documents()["go"], device({"tick": tick_s})) == ("GO", code)


def test_a_go_token_from_before_its_question_is_none() -> None:
    assert go_answer(good_documents()["go"], device({"tick": CHAL2_TICK_S - 1})) == ("GO", "NO_GO")


def test_a_go_token_needs_the_time_a_key_in_force_and_room_for_one_signature() -> None:
    go = good_documents()["go"]
    assert go_answer(go, device({"earliest": None, "latest": None})) == ("GO", "CLOCK_UNCERTAIN")
    assert go_answer(go, device({"signatures_left": 1})) == ("GO", "OK")
    assert go_answer(go, device({"signatures_left": 0})) == ("LINK", "BUSY")
    missing = device({"missing": ["delegation/gate"]})
    assert go_answer(go, missing) == ("LINK", "DELEGATION_MISSING")
    code, token = orders_reader.read_go(go, device(), lock_hash(), CHAL2, CHAL2_TICK_S, lambda *_: "HIGH_S")
    assert (code, token) == ("HIGH_S", None)


def test_a_release_is_not_stopped_by_any_doubt_about_time_or_metadata() -> None:
    """Nothing dated, nothing stale, nothing uncertain keeps a car locked (README §1.8, §2.11)."""
    for changes in (
        {"earliest": None, "latest": None},
        between(0, 1 << 39),
        between(NOW_S + 400 * DAY_S, NOW_S + 400 * DAY_S),
        {"missing": ["authority/other-lender"], "chal": None},
        {"tick": 1 << 39},
        {"mode": 2},
    ):
        assert answer(good_orders()["unlock/checker"][0], device(changes)) == ("ACCEPT", "OK"), changes


@pytest.mark.parametrize(
    ("name", "changes", "wanted"),
    [("lock", {}, 3), ("bench", COMMISSIONING, 2), ("bind/ticket", COMMISSIONING, 3)],
)
def test_every_signature_is_counted_the_ticket_s_too(name: str, changes: dict[str, Any], wanted: int) -> None:
    message = good_orders()[name][0]
    assert answer(message, device({**changes, "signatures_left": wanted})) == ("ACCEPT", "OK")
    assert answer(message, device({**changes, "signatures_left": wanted - 1})) == ("LINK", "BUSY")


def test_what_an_order_costs_is_taken_from_what_is_left() -> None:
    at = device({"signatures_left": 5})
    orders_reader.read_order(good_orders()["lock"][0], at, lambda *_: "OK")
    assert at.signatures_left == 2


def with_ticket(**gate: object) -> Any:
    """Return the car being fitted, with something changed in the gate's delegation."""
    at = device(COMMISSIONING)
    for holder in at.delegations.values():
        if holder.role == int(Role.GATE):
            for name, value in gate.items():
                setattr(holder, name, value)
    return at


def test_the_gate_behind_a_ticket_must_be_another_person_and_key_than_the_installer() -> None:
    installer = next(h for h in device().delegations.values() if h.role == int(Role.INSTALLER))
    for name in ("bench", "bind/ticket"):
        message = good_orders()[name][0]
        assert answer(message, with_ticket()) == ("ACCEPT", "OK")
        assert answer(message, with_ticket(person=installer.person)) == ("REJECT", "ROLE_CONFLICT")


def test_the_delegation_behind_a_ticket_must_be_in_force_like_any_other() -> None:
    for name in ("bench", "bind/ticket"):
        message = good_orders()[name][0]
        assert answer(message, with_ticket(exp=NOW_S)) == ("REJECT", "DELEGATION_SCOPE")
        assert answer(message, with_ticket(types=[int(OrderType.LOCK)])) == ("REJECT", "DELEGATION_SCOPE")


def test_a_question_without_a_challenge_needs_the_time_even_if_it_names_a_tick() -> None:
    """Only a matching challenge bounds an order when the time is unknown; a tick alone bounds nothing."""
    query = administering(OrderType.QUERY) | {13: None, 14: TICK_S + 60}
    message = sign_order(query, signer("ombuds"))
    assert answer(message, device()) == ("ACCEPT", "OK")
    assert answer(message, device(between(None, None)))[1] == "CLOCK_UNCERTAIN"


def test_all_that_is_wrong_is_named_in_the_order_of_the_comparisons() -> None:
    """For whoever shows why; a known time is a condition of the last comparison only."""
    order = restricting(OrderType.LOCK) | {9: 1, 16: 2, 21: bytes(32)}
    message = sign_order(order, *lock_signers())
    payload, signers = cose_sign.read_sign(message)
    read, _ = orders_payload.read_order(payload)
    holders = [None for _ in signers]
    at = device()
    stale = ["REPLAY_CTR", "REASON_REFUSED"]
    assert all_failures(read, signers, holders, None, at) == stale
    at.roots = {}
    assert all_failures(read, signers, holders, None, at) == [*stale, "METADATA_STALE"]
    at.earliest = at.latest = None
    assert all_failures(read, signers, holders, None, at) == [
        "REPLAY_CTR",
        "CLOCK_UNCERTAIN",
        "REASON_REFUSED",
    ]


def test_a_go_token_takes_one_signature_of_those_left() -> None:
    at = device({"signatures_left": 5})
    assert go_answer(good_documents()["go"], at) == ("GO", "OK")
    assert at.signatures_left == 4


def test_a_device_that_was_just_made_knows_nothing_and_takes_no_restriction() -> None:
    fresh = orders_reader.Device(bytes(32), bytes(64))
    assert (fresh.mode, fresh.heads, fresh.tick, fresh.chal_tick) == (0, [0, 0, 0], 0, 0)
    unknown = (fresh.lender_id, fresh.vin_bind, fresh.contract_ref, fresh.jur, fresh.epoch, fresh.chal)
    assert {*unknown, fresh.earliest, fresh.latest} == {None}
    assert fresh.signatures_left == 16
    at = device()
    for name, value in vars(fresh).items():
        if name not in ("mcu_id", "xy", "roots", "delegations"):
            setattr(at, name, value)
    assert answer(good_orders()["lock"][0], at)[0] == "REJECT"


def test_a_message_that_is_no_order_is_answered_with_what_it_is_not() -> None:
    read = orders_reader.read_order(b"\x00", device(), lambda *_: "OK")
    assert (read.outcome, read.code, read.detail) == ("LINK", "BAD_ENCODING", "NOT_COSE_SIGN")


def test_before_the_first_order_prev_is_zeros() -> None:
    order = sign_order(restricting(OrderType.LOCK) | {21: bytes(32)}, *lock_signers())
    assert answer(order, device({"prev": orders_reader.NO_PREV.hex()})) == ("ACCEPT", "OK")
    assert orders_reader.Device(bytes(32), bytes(64)).prev == bytes(32)
