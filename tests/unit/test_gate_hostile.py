"""What a hostile reading of the gate found: releases that could be lost, signers revoked, cars of others."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from backend.gate.app import create_gate_app, read_releases
from backend.gate.events import Dropped
from backend.gate.gate import Gate
from backend.gate.trust import Trust
from protocol.envelope import Kind
from protocol.ids import cose_key_bytes
from protocol.limits import PAYLOAD_BYTES_MAX
from protocol.orders import (
    OrderType,
    Role,
    State,
    cmd_hash,
    encode_order,
    sign_document,
    sign_with_root,
)
from protocol.orders import SignKind as Signs
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import disposition_fields
from protocol.vectors.orders_story import (
    ANCHORS,
    LENDER,
    MCU,
    PLATFORM,
    by_roots,
    claims,
    snapshot_fields,
)
from simulators.loan_system import Mode
from tests.builders.gate import CONTRACT, DAY_S, GateWorld, Loans


@pytest.fixture
def world() -> GateWorld:
    made = GateWorld()
    assert made.lock().verdict == "SIGNED"
    return made


def says(world: GateWorld, state: State, by: str | None = None) -> tuple[bool, str]:
    """Let the car, or a stranger in its name, say where the last order stands."""
    signer = MCU if by is None else published_signer(by)
    fields = disposition_fields() | {
        3: world.last_order[2],
        4: cmd_hash(encode_order(world.last_order)),
        5: MCU.kid,
        9: int(state),
    }
    return world.gate.heard(
        sign_document(Kind.DISPOSITION, fields, signer), cose_key_bytes(signer.public_key)
    )


def restarted(world: GateWorld, trust: Trust) -> Gate:
    """Start another gate on the same storage, with nothing shown to it."""
    return Gate(
        trust=trust,
        packs=world.gate.packs,
        signer=world.gate.signer,
        store=world.store,
        loans=Loans(world.system),
        forecasts=world.weather,
        clock=world.clock,
    )


def revoke(world: GateWorld, name: str) -> None:
    """Publish a snapshot of the lender's root that lists a person's key."""
    holder = world.gate.book.holder(world.signer(name).delegation or b"")
    keys, threshold = ANCHORS[LENDER]
    fields = snapshot_fields(LENDER, keys, threshold) | {3: 9, 8: [holder.kid]}
    data = sign_with_root(Signs.AUTHORITY, fields, by_roots(LENDER, *keys[:threshold]))
    with world.store.writing() as at:
        world.gate.records.take_authority(at, "authority", data, world.clock.now_s())


def test_a_release_whose_answer_was_lost_is_still_asked_for_until_the_car_has_said_so(
    world: GateWorld,
) -> None:
    world.record(world.system.pay(CONTRACT, 80_000, is_posted=True))
    assert world.release().verdict == "SIGNED"
    assert len(read_releases(world.gate).items) == 1
    assert says(world, State.RELEASED) == (True, "over")
    assert read_releases(world.gate).items == []


def test_a_payment_that_the_gate_knows_releases_while_the_loan_system_is_silent(world: GateWorld) -> None:
    world.record(world.system.pay(CONTRACT, 80_000, is_posted=True))
    world.system.mode = Mode.SILENT
    assert world.release().verdict == "SIGNED"


def test_a_silent_loan_system_ends_no_order_for_good() -> None:
    world = GateWorld()
    basis = world.basis()
    world.system.mode = Mode.SILENT
    said = world.screen(world.order(basis=basis), basis)
    assert (said.verdict, said.rule, said.earliest) == ("REFUSED", "FACTS", world.clock.now_s() + 60)


def test_a_payment_after_a_release_of_another_reason_does_not_lose_the_order(world: GateWorld) -> None:
    world.loan.due_minor = 0
    assert world.release().verdict == "SIGNED"
    world.record(world.system.pay(CONTRACT, 80_000, is_posted=True))
    assert len(read_releases(world.gate).items) == 1
    assert world.go().verdict == "NO_GO"


@pytest.mark.parametrize("kind", [OrderType.LOCK, OrderType.WARN])
def test_the_part_of_an_order_that_was_paid_since_is_not_given_again(kind: OrderType) -> None:
    world = GateWorld()
    assert world.lock(kind=kind).verdict == "SIGNED"
    assert world.gate.review(world.last_request).verdict == "SIGNED"
    world.record(world.system.pay(CONTRACT, 80_000, is_posted=True))
    again = world.gate.review(world.last_request)
    assert (again.verdict, again.rule, again.part) == ("REFUSED", "LIFE", None)


@pytest.mark.parametrize("name", ["maker", "checker"])
def test_no_go_token_for_an_order_whose_signer_was_revoked_since(world: GateWorld, name: str) -> None:
    assert world.go().verdict == "GO"
    revoke(world, name)
    went = world.go()
    assert (went.verdict, went.rule, went.token) == ("REFUSED", "SIGNERS", None)
    world.gate = restarted(world, world.gate.trust)
    assert world.go().rule == "SIGNERS"


def test_after_an_emergency_window_the_same_lease_gets_a_fresh_go_token(world: GateWorld) -> None:
    assert world.go().verdict == "GO"
    world.clock.wait(2 * DAY_S)  # beyond the order's 24 h
    assert world.go().verdict == "GO"
    world.clock.wait(6 * DAY_S)  # beyond any lease
    assert world.go().verdict == "NO_GO"


def test_an_order_that_got_no_token_in_its_life_gets_none_after(world: GateWorld) -> None:
    world.clock.wait(2 * DAY_S)
    went = world.go()
    assert (went.verdict, went.rule) == ("NO_GO", "LIFE")


def test_nobody_but_the_car_says_that_its_order_is_over(world: GateWorld) -> None:
    assert says(world, State.RELEASED, by="stranger") == (False, "noted")
    assert world.go().verdict == "GO"


def test_a_gate_whose_delegation_is_of_the_roots_that_followed_starts_again() -> None:
    world = GateWorld()
    old, threshold = ANCHORS[PLATFORM]
    new = ("stranger", "receipt-2")
    fields = snapshot_fields(PLATFORM, new, len(new)) | {3: 9}
    rotated = sign_with_root(Signs.AUTHORITY, fields, by_roots(PLATFORM, *old[:threshold], *new))
    with world.store.writing() as at:
        world.gate.records.take_authority(at, "authority", rotated, world.clock.now_s())
    own = claims("gate-1", Role.GATE, (OrderType.LOCK,))
    given = sign_with_root(Signs.DELEGATION, own, by_roots(PLATFORM, *new))
    trust = replace(world.gate.trust, delegation=given)
    gate = restarted(world, trust)
    assert gate.delegation == hashlib.sha256(given).digest()


def test_a_body_without_a_length_is_not_read(world: GateWorld) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    with TestClient(create_gate_app(world.gate, token="t")) as client:
        answer = client.post("/freeze", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_what_is_dropped_before_the_rules_is_counted(world: GateWorld) -> None:
    with TestClient(create_gate_app(world.gate, token="t")) as client:
        told = {"Authorization": "Bearer t"}
        client.get("/status")
        client.post("/review", json={"payload": "!"}, headers=told)
        client.post("/freeze", json={"document": "AAAA"})
        client.post("/freeze", content=b" " * (PAYLOAD_BYTES_MAX + 1))
        counters = client.get("/status", headers=told).json()["counters"]
    assert {drop.value: counters[drop.value] for drop in Dropped} == {
        "request_unauthorised": 1,
        "request_unreadable": 1,
        "document_refused": 1,
        "request_too_large": 1,
    }
