"""Ceremonies end to end: what officers assemble, the car's own reader believes; nothing less does."""

import json
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backend.lender.key_file import open_key_file
from backend.lender.roots import read_root_file
from protocol import orders_authority, strict_cbor
from protocol.cose_sign import read_sign
from protocol.orders import check_signature
from tests.builders.lender import LENDER, PASSPHRASE, Desk

OFFICERS = ("ann", "bob", "eve")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.root(LENDER, OFFICERS, threshold=2, out="root.json")
    return made


def _read(desk: Desk, name: str) -> Any:
    root = read_root_file(desk / "root.json").to_root()
    return orders_authority.read_delegation((desk / name).read_bytes(), {LENDER: root}, check_signature)


def _draft(desk: Desk, *more: object) -> None:
    desk.key("max")
    words = (
        "--issuer",
        LENDER,
        "--role",
        "maker",
        "--person",
        "M-17",
        "--public",
        "max.pub",
        "--out",
        "max.draft",
    )
    desk.run("delegation", "draft", *words, *more)


def test_a_delegation_of_two_officers_is_believed_by_the_car(desk: Desk) -> None:
    desk.delegate("max", "maker", issuer=LENDER, root="root.json", officers=("ann", "eve"))
    found = _read(desk, "max.delegation")
    assert (found.person, found.role, found.issuer) == ("P-max", 2, LENDER)
    assert found.kid == open_key_file(desk / "max.key", PASSPHRASE).kid


def test_three_delegations_of_one_ceremony_follow_one_another(desk: Desk) -> None:
    _draft(desk, "--count", 3, "--days", 30, "--from", "2026-12-01")
    parts = [desk.sign("delegation", "max.draft", officer) for officer in ("ann", "bob")]
    desk.run("delegation", "assemble", "max.draft", *parts, "--root", "root.json", "--out", "max.delegation")
    lives = [(one.nbf, one.exp) for one in (_read(desk, f"max-{number}.delegation") for number in (1, 2, 3))]
    assert lives[0][0] == 1_796_083_200  # 2026-12-01 00:00 UTC
    assert all(end - begin == 30 * 86_400 for begin, end in lives)
    assert all(earlier[1] == later[0] for earlier, later in pairwise(lives))


def test_of_three_parts_exactly_the_threshold_is_taken(desk: Desk) -> None:
    desk.delegate("max", "maker", issuer=LENDER, root="root.json", officers=OFFICERS)
    assert len(read_sign((desk / "max.delegation").read_bytes())[1]) == 2


@pytest.mark.parametrize("officers", [("ann",), ("ann", "ann")])
def test_one_officer_alone_makes_no_delegation(desk: Desk, officers: tuple[str, ...]) -> None:
    _draft(desk)
    part = desk.sign("delegation", "max.draft", officers[0])
    words = ("--root", "root.json", "--out", "max.delegation")
    ended = desk.run("delegation", "assemble", "max.draft", *(part for _ in officers), *words, exit_code=7)
    assert "SIGNER_SET" in ended.output
    assert not (desk / "max.delegation").exists()


def test_a_stranger_is_no_officer(desk: Desk) -> None:
    _draft(desk)
    desk.key("mallory")
    parts = [desk.sign("delegation", "max.draft", name) for name in ("ann", "mallory")]
    words = ("--root", "root.json", "--out", "max.delegation")
    assert (
        "UNKNOWN_KEY" in desk.run("delegation", "assemble", "max.draft", *parts, *words, exit_code=7).output
    )


def test_a_part_of_another_draft_is_named(desk: Desk) -> None:
    _draft(desk)
    parts = [desk.sign("delegation", "max.draft", "ann")]
    words = ("--role", "checker", "--person", "C-1", "--public", "max.pub", "--out", "other.draft")
    desk.run("delegation", "draft", "--issuer", LENDER, *words)
    parts.append(desk.sign("delegation", "other.draft", "bob"))
    ended = desk.run(
        "delegation", "assemble", "max.draft", *parts, "--root", "root.json", "--out", "x", exit_code=7
    )
    assert "signed for another draft" in ended.output


def test_a_draft_that_cannot_be_decoded_is_not_signed(desk: Desk) -> None:
    _draft(desk)
    draft = json.loads((desk / "max.draft").read_text())
    draft["payloads"] = ["oQE="]
    (desk / "max.draft").write_text(json.dumps(draft))
    words = ("--key", "ann.key", "--passphrase-file", desk.passphrase_file, "--out", "x.part", "--yes")
    assert "cannot be decoded" in desk.run("delegation", "sign", "max.draft", *words, exit_code=7).output
    assert not (desk / "x.part").exists()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (("--role", "gate"), "cannot make a gate"),
        (("--role", "king"), "there is no role"),
        (("--days", 31), "equal to 30"),
        (("--count", 4), "equal to 3"),
        (("--may", "BIND"), "never signs BIND"),
        (("--person", ""), "delegation[2]"),
        (("--person", "x" * 33), "delegation[2]"),
    ],
)
def test_what_a_car_would_refuse_is_not_drafted(desk: Desk, changed: tuple[object, ...], reason: str) -> None:
    desk.key("max")
    words = ["--issuer", LENDER, "--role", "maker", "--person", "M-17", "--public", "max.pub", "--out", "d"]
    assert reason in desk.run("delegation", "draft", *words, *changed, exit_code=2).output
    assert not (desk / "d").exists()


def test_a_snapshot_a_revocation_and_a_new_root_are_believed_by_the_car(desk: Desk) -> None:
    desk.key("online")
    desk.run(
        "root",
        "snapshot",
        "--root",
        "root.json",
        "--number",
        1,
        "--online",
        "online.pub",
        "--out",
        "s1.draft",
    )
    parts = [desk.sign("root", "s1.draft", name) for name in ("ann", "bob")]
    desk.run("root", "assemble", "s1.draft", *parts, "--root", "root.json", "--out", "s1.cose")
    known = orders_authority.read_snapshot(
        (desk / "s1.cose").read_bytes(), read_root_file(desk / "root.json").to_root(), check_signature
    )
    words = ("--key", "online.key", "--passphrase-file", desk.passphrase_file, "--out", "r1.cose", "--yes")
    desk.run("revoke", "--issuer", LENDER, "--number", 1, "--person", "P-max", *words)
    assert orders_authority.read_revocation((desk / "r1.cose").read_bytes(), known, check_signature)
    assert known.is_revoked("P-max")

    desk.root(LENDER, ("fay", "gus"), threshold=2, out="new-root.json")
    words = ("--root", "root.json", "--new-root", "new-root.json", "--number", 2, "--out", "s2.draft")
    desk.run("root", "snapshot", *words)
    parts = [desk.sign("root", "s2.draft", name) for name in ("ann", "bob", "eve", "fay", "gus")]
    words = ("--root", "root.json", "--previous", "s1.cose", "--out", "s2.cose")
    desk.run("root", "assemble", "s2.draft", *parts, *words)
    later = orders_authority.read_snapshot((desk / "s2.cose").read_bytes(), known, check_signature)
    assert (later.version, later.threshold, len(later.keys)) == (2, 2, 2)
    assert later.is_revoked("P-max"), "a snapshot that has not taken the addition in does not undo it"


def test_a_new_root_needs_officers_of_both(desk: Desk) -> None:
    desk.root(LENDER, ("fay", "gus"), threshold=2, out="new-root.json")
    words = ("--root", "root.json", "--new-root", "new-root.json", "--number", 1, "--out", "s.draft")
    desk.run("root", "snapshot", *words)
    parts = [desk.sign("root", "s.draft", name) for name in ("fay", "gus", "ann")]
    ended = desk.run(
        "root", "assemble", "s.draft", *parts, "--root", "root.json", "--out", "s.cose", exit_code=7
    )
    assert "SIGNER_SET" in ended.output


def test_the_platforms_root_makes_a_gate_and_no_maker(desk: Desk) -> None:
    desk.root("platform", ("p1", "p2", "p3", "p4", "p5"), threshold=3, out="platform.json")
    desk.delegate("gate", "gate", issuer="platform", root="platform.json", officers=("p1", "p3", "p5"))
    root = read_root_file(desk / "platform.json").to_root()
    data = (desk / "gate.delegation").read_bytes()
    assert orders_authority.read_delegation(data, {"platform": root}, check_signature).role == 4


def test_what_is_shown_of_a_delegation_are_its_signed_bytes(desk: Desk) -> None:
    desk.delegate("max", "maker", issuer=LENDER, root="root.json", officers=("ann", "bob"))
    shown = desk.json("delegation", "show", "max.delegation", "--root", "root.json")
    claims = strict_cbor.loads(read_sign((desk / "max.delegation").read_bytes())[0])
    assert shown["verified"] is True
    assert (shown["person"], shown["serial"]) == (claims[2], claims[7].hex())


def test_a_root_of_one_officer_is_not_made(desk: Desk) -> None:
    words = ("--issuer", LENDER, "--officer", "ann.pub", "--threshold", 1, "--out", "small.json")
    desk.run("root", "new", *words, exit_code=2)
    assert not (desk / "small.json").exists()


def test_a_root_file_with_one_digit_changed_is_damaged(desk: Desk) -> None:
    content = json.loads((desk / "root.json").read_text())
    content["threshold"] = 1
    (desk / "root.json").write_text(json.dumps(content))
    assert "damaged" in desk.run("root", "show", "root.json", exit_code=1).output


def test_files_are_never_overwritten_and_keys_are_closed(desk: Desk) -> None:
    assert stat.S_IMODE((desk / "ann.key").stat().st_mode) == 0o600
    ended = desk.run("key", "show", "ann.key", "--out", "ann.pub", exit_code=1)
    assert "exists already" in ended.output
