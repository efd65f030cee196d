"""A server that lies, and officers who may not sign: each is refused with one sentence; nothing is signed.

What a compromised server could show otherwise than what was signed is shown otherwise here, one thing each.
It holds no officer's key (B-01).
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.lender.plain import to_bytes
from protocol import orders_payload, strict_cbor
from protocol.base64url import to_text
from protocol.loan_facts import Flag
from protocol.orders import OrderSigner, Role, SignKind, encode_order, sign_part
from tests.builders.lender_world import CONTRACT, SignedCar, World, furnish, new_signer, world_in

APPROVE = ("--reason-code", "FILE", "--yes")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    return folder


@pytest.fixture
def world(furnished: Path, tmp_path: Path) -> Iterator[World]:
    with world_in(furnished, tmp_path) as made:
        yield made


def _refused(world: World, *words: object, exit_code: int = 7, who: str = "checker") -> str:
    """Run a command that must be refused: one sentence, no signature handed in."""
    before = sum(len(order["parts"]) for order in world.server.orders.values())
    said: str = world.run(who, *words, exit_code=exit_code).stderr
    assert sum(len(order["parts"]) for order in world.server.orders.values()) == before
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    return said


def _payload(value: Json) -> dict[int, Any]:
    return dict(orders_payload.read_order(to_bytes(value["payload"], ""))[0])


def _with_payload(value: Json, change: Callable[[dict[int, Any]], dict[int, Any]]) -> Json:
    """Return an order shown with another payload, and a cmd_hash that fits it."""
    payload = bytes(strict_cbor.dumps(change(_payload(value))))
    return value | {"payload": to_text(payload), "cmd_hash": hashlib.sha256(payload).hexdigest()}


PAYLOADS: dict[str, tuple[Callable[[dict[int, Any]], dict[int, Any]], str]] = {
    "a longer lease": (lambda order: order | {15: order[15] + 1}, "signature does not verify"),
    "another type": (
        lambda order: {key: value for key, value in order.items() if key not in (20, 23)} | {3: 3},
        "signature does not verify",
    ),
    "a field that nobody knows": (lambda order: order | {99: 1}, "cannot be decoded"),
    "a field too few": (
        lambda order: {key: value for key, value in order.items() if key != 24},
        "cannot be decoded",
    ),
    "an unknown type": (lambda order: order | {3: 77}, "type 77 is none"),
    "another version": (lambda order: order | {1: 2}, "version 2"),
    "a type of the installer": (
        lambda order: {key: order[key] for key in (1, 2, 3, 5, 8, 9, 10, 12, 13, 14)} | {3: 12, 25: b"x"},
        "type 12 is none",
    ),
    "another reason": (lambda order: order | {16: 2}, "reason 2 is none"),
    "another contract": (lambda order: order | {7: bytes(32)}, "contract (commitment) is not the one pinned"),
    "another VIN": (lambda order: order | {6: bytes(32)}, "bound VIN (hash) is not the one pinned"),
    "another lender": (lambda order: order | {4: bytes(8)}, "lender is not the one pinned"),
    "another jurisdiction": (lambda order: order | {18: "YY"}, "jurisdiction is not the one pinned"),
    "a car that is not pinned": (lambda order: order | {5: bytes(32)}, "is not pinned on this machine"),
    "a longer life": (lambda order: order | {12: order[12] + 1}, "longer than 24 hours"),
    "an order that has ended": (
        lambda order: order | {10: order[10] - 90_000, 12: order[12] - 90_000},
        "the order ended",
    ),
    "an order of tomorrow": (
        lambda order: order | {10: order[10] + 9_000, 12: order[12] + 9_000},
        "still to come",
    ),
    "another order's id": (lambda order: order | {2: bytes(16)}, "shows the order 0000"),
}


@pytest.mark.parametrize("lie", PAYLOADS)
def test_a_payload_that_the_maker_did_not_sign_is_refused(world: World, lie: str) -> None:
    cmd_id = world.request()
    change, reason = PAYLOADS[lie]
    world.server.lies[f"/orders/{cmd_id}"] = lambda value: _with_payload(value, change)
    exit_code = 6 if "not pinned on" in reason else 7
    assert reason in _refused(world, "approve", cmd_id, *APPROVE, exit_code=exit_code)


ANSWERS: dict[str, tuple[Callable[[Json], Json], str]] = {
    "another cmd_hash": (
        lambda value: value | {"cmd_hash": "00" * 32},
        "cmd_hash that is not of the payload",
    ),
    "another device": (lambda value: value | {"device": "ab" * 32}, "under the box abab"),
    "another basis": (lambda value: value | {"basis": to_text(b"\xa0")}, "its hash differs"),
    "no basis": (lambda value: value | {"basis": None}, "its hash differs"),
    "no part": (lambda value: value | {"parts": []}, "0 signatures, not exactly the maker's"),
    "the maker's part twice": (
        lambda value: value | {"parts": value["parts"] * 2},
        "2 signatures, not exactly the maker's",
    ),
    "a signature of zeros": (
        lambda value: value | {"parts": [value["parts"][0] | {"signature": to_text(bytes(64))}]},
        "signature does not verify",
    ),
    "a header of zeros": (
        lambda value: value | {"parts": [value["parts"][0] | {"protected": to_text(bytes(8))}]},
        "header cannot be read",
    ),
    "another car's challenge": (
        lambda value: value | {"challenge": to_text(SignedCar().challenge())},
        "not signed by the pinned key",
    ),
    "no challenge": (lambda value: value | {"challenge": None}, "not signed by the pinned key"),
}


@pytest.mark.parametrize("lie", ANSWERS)
def test_what_stands_beside_the_payload_and_does_not_fit_is_refused(world: World, lie: str) -> None:
    cmd_id = world.request()
    change, reason = ANSWERS[lie]
    world.server.lies[f"/orders/{cmd_id}"] = change
    assert reason in _refused(world, "approve", cmd_id, *APPROVE)


CHALLENGES = {
    "challenge": {"f4": bytes(16)},
    "epoch": {"f3": bytes(16)},
    "last accepted order": {"f7": b"\x01" * 32},
    "counter": {"f6": [5, 7, 2]},
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_an_order_for_another_challenge_of_the_car_is_refused(world: World, name: str) -> None:
    cmd_id = world.request()
    other = to_text(world.car.challenge(**CHALLENGES[name]))
    world.server.lies[f"/orders/{cmd_id}"] = lambda value: value | {"challenge": other}
    assert f"the order's {name} is not what the car" in _refused(world, "approve", cmd_id, *APPROVE)


def test_an_altered_challenge_is_not_written_into_a_request(world: World) -> None:
    world.basis()
    altered = bytearray(world.car.challenge())
    altered[60] ^= 1
    lie = {"document": to_text(bytes(altered)), "received_at": "2026-11-24T12:00:00Z"}
    world.server.lies["/command"] = lambda value: value | {"challenge": lie}
    words = ("request", "lock", world.car.device, "--basis", "case.basis", "--yes")
    assert "not signed by the pinned key" in _refused(world, *words, who="maker")


@pytest.mark.parametrize("name", ["mcu_id", "vin_bind", "contract_ref", "lender_id", "epoch", "jur"])
def test_a_server_that_says_other_than_pin_and_car_gets_no_request(world: World, name: str) -> None:
    world.basis()
    world.server.lies["/command"] = lambda value: value | {name: "00"}
    words = ("request", "lock", world.car.device, "--basis", "case.basis", "--yes")
    assert f"the server says {name} 00" in _refused(world, *words, who="maker")


def test_a_car_that_accepts_nothing_is_not_asked(world: World) -> None:
    world.basis()
    world.car.mode = 2
    words = ("request", "lock", world.car.device, "--basis", "case.basis", "--yes")
    assert "the car says MONITOR" in _refused(world, *words, who="maker")


BASES: dict[str, tuple[dict[str, Any], str]] = {
    "another loan system": ({"key": new_signer()}, "not signed by the pinned loan system"),
    "another contract": ({"contract_ref": bytes(32)}, "is of another contract"),
}


@pytest.mark.parametrize("wrong", BASES)
def test_a_basis_that_does_not_belong_to_the_car_is_refused(world: World, wrong: str) -> None:
    changes, reason = BASES[wrong]
    world.basis(**changes)
    words = ("request", "lock", world.car.device, "--basis", "case.basis", "--yes")
    assert reason in _refused(world, *words, who="maker")


def test_a_hold_and_a_payment_are_called_out_before_signing(world: World) -> None:
    world.basis(flags=frozenset({Flag.HARDSHIP}), pending=((5_000, int(time.time())),))
    words = ("request", "lock", world.car.device, "--basis", "case.basis")
    said = world.run("maker", *words, stdin="n\n", exit_code=1).output
    assert "! The loan has a hold" in said
    assert "! A payment has arrived" in said


def test_a_revoked_maker_is_refused(world: World) -> None:
    cmd_id = world.request()
    desk = world.desk
    words = ("--key", "online.key", "--passphrase-file", desk.passphrase_file, "--out", "r.cose", "--yes")
    desk.run("revoke", "--issuer", "lender:00112233aabbccdd", "--number", 1, "--person", "P-maker", *words)
    world.run("checker", "authority", "publish", "r.cose")
    assert "revoked" in _refused(world, "approve", cmd_id, *APPROVE)
    world.server.documents = {
        name: one for name, one in world.server.documents.items() if one["kind"] != "revocation"
    }
    said = _refused(world, "approve", cmd_id, *APPROVE)
    assert "revoked" in said, "a server that forgets the revocation changes nothing"


def test_a_forged_snapshot_is_refused(world: World) -> None:
    cmd_id = world.request()
    desk = world.desk
    desk.root("lender:00112233aabbccdd", ("mal", "lory"), threshold=2, out="evil.json")
    words = ("--root", "evil.json", "--number", 9, "--out", "evil.draft")
    desk.run("root", "snapshot", *words)
    parts = [desk.sign("root", "evil.draft", name) for name in ("mal", "lory")]
    desk.run("root", "assemble", "evil.draft", *parts, "--root", "evil.json", "--out", "evil.snapshot")
    forged = to_text((desk / "evil.snapshot").read_bytes())
    world.server.lies["/issuers/lender"] = lambda value: value | {"document": forged}
    assert "a snapshot of lender:00112233aabbccdd is refused" in _refused(world, "approve", cmd_id, *APPROVE)


def _delegated(world: World, name: str, *more: object) -> None:
    """Make a delegation for the key of `name`, beside the one it has."""
    desk = world.desk
    words = ("--role", name, "--person", f"P-{name}", "--public", f"{name}.pub", "--out", "x.draft")
    desk.run("delegation", "draft", "--issuer", "lender:00112233aabbccdd", *words, *more)
    parts = [desk.sign("delegation", "x.draft", officer) for officer in ("ann", "bob")]
    words = ("--root", "lender-root.json", "--out", f"{name}-x.delegation")
    desk.run("delegation", "assemble", "x.draft", *parts, *words)


def test_an_expired_delegation_restricts_nothing_and_still_releases(world: World) -> None:
    _delegated(world, "checker", "--from", "2026-01-01", "--days", 3)
    cmd_id = world.request()
    words = ("approve", cmd_id, *APPROVE, "--delegation", "checker-x.delegation")
    assert "not now" in _refused(world, *words)
    words = ("unlock", world.car.device, "--yes", "--delegation", "checker-x.delegation")
    assert "QUEUED" in world.run("checker", *words).output


def test_an_order_of_an_expired_maker_is_refused(world: World) -> None:
    _delegated(world, "maker", "--from", "2026-01-01", "--days", 3)
    cmd_id = world.request()
    document = (world.desk / "maker-x.delegation").read_bytes()
    digest = hashlib.sha256(document).digest()
    world.server._keep("delegation", document)
    part = world.server.orders[cmd_id]["parts"][0]
    part["protected"] = to_text(_header(part["protected"], digest))
    assert "not now" in _refused(world, "approve", cmd_id, *APPROVE)


def test_a_delegation_that_another_root_signed_is_refused(world: World) -> None:
    desk = world.desk
    desk.root("lender:00112233aabbccdd", ("mal", "lory"), threshold=2, out="evil.json")
    desk.delegate(
        "eve", "maker", issuer="lender:00112233aabbccdd", root="evil.json", officers=("mal", "lory")
    )
    cmd_id = world.request()
    document = (desk / "eve.delegation").read_bytes()
    world.server._keep("delegation", document)
    part = world.server.orders[cmd_id]["parts"][0]
    part["protected"] = to_text(_header(part["protected"], hashlib.sha256(document).digest()))
    assert "a delegation is refused" in _refused(world, "approve", cmd_id, *APPROVE)


def test_a_forger_who_holds_the_server_but_no_key_gets_no_second_signature(world: World) -> None:
    """The server writes an order itself, signs it with a key of its own, and names the maker's delegation."""
    cmd_id = world.request()
    order = _payload(world.server.orders[cmd_id]) | {15: 604_800}
    payload, forger = encode_order(order), new_signer()
    digest = hashlib.sha256((world.desk / "maker.delegation").read_bytes()).digest()
    by = OrderSigner(signer=forger, role=Role.MAKER, delegation=digest)
    protected, signature = sign_part(SignKind.COMMAND, payload, by)
    part = {"protected": to_text(protected), "signature": to_text(signature)}
    forged = {"payload": to_text(payload), "cmd_hash": hashlib.sha256(payload).hexdigest(), "parts": [part]}
    world.server.orders[cmd_id] |= forged
    assert "of another key" in _refused(world, "approve", cmd_id, *APPROVE)


def test_an_expired_snapshot_restricts_nothing(world: World) -> None:
    cmd_id = world.request()
    state = world.desk / "state-checker"
    assert not state.exists() or not list(state.iterdir())
    world.server.documents = {
        name: one for name, one in world.server.documents.items() if one["kind"] != "snapshot"
    }
    assert "METADATA_STALE" in _refused(world, "approve", cmd_id, *APPROVE)


def test_a_wrong_passphrase_signs_nothing(world: World) -> None:
    cmd_id = world.request()
    world.desk.passphrase_file.write_text("four words somebody else said")
    assert "does not open" in _refused(world, "approve", cmd_id, *APPROVE, exit_code=5)


def test_what_a_server_says_reaches_the_terminal_as_text_only(world: World) -> None:
    world.request()
    world.server.lies["/orders"] = lambda value: {
        "items": [one | {"stage": "\x1b[2J\u202eLOCKED\nreported LOCKED"} for one in value["items"]]
    }
    said = world.run("maker", "list").output
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize("body", [[], "x", {"items": 7}, {"items": None}, {}])
def test_an_answer_of_another_form_is_one_sentence(world: World, body: Any) -> None:
    world.server.lies["/orders"] = lambda _: body
    assert "server" in _refused(world, "list", exit_code=8, who="maker")


def test_the_wrong_api_key_is_told_without_it(world: World) -> None:
    world.desk.secret("api.key", "tbox_0123456789ab_" + "00" * 24)
    said = _refused(world, "list", exit_code=8, who="maker")
    assert "401" in said
    assert "00" * 24 not in said


def test_show_has_only_what_is_signed(world: World) -> None:
    cmd_id = world.request()
    shown = json.loads(world.run("checker", "show", cmd_id, "--json").stdout)
    assert shown["fields"]["7"]["value"] == CONTRACT.hex()
    assert set(map(int, shown["fields"])) == set(_payload(world.server.orders[cmd_id]))


def _header(protected: str, delegation: bytes) -> bytes:
    fields = strict_cbor.loads(to_bytes(protected, ""))
    return bytes(strict_cbor.dumps(fields | {-65538: delegation}))
