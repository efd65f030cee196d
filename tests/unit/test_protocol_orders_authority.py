"""Roots, snapshots, revocations, delegations: exact thresholds, rising versions (C-02a, K-03, K-05)."""

import hashlib
from typing import Any

import pytest

from protocol import orders_authority
from protocol.ids import cose_key_bytes
from protocol.orders import OrderSigner, OrderType, Role, SignKind, check_signature, sign_with_root
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import (
    DAY_S,
    LENDER,
    LENDER_ROOT,
    NOW_S,
    OTHER_LENDER,
    PLATFORM,
    PLATFORM_ROOT,
    by_roots,
    claims,
    cohort,
    delegate,
    documents,
    revocation,
    snapshot_fields,
)
from tests.builders.orders import anchor, roots


def snapshot(signers: list[str], **changes: Any) -> bytes:
    fields = snapshot_fields(PLATFORM, PLATFORM_ROOT, 3) | {3: 2}
    fields |= {int(key.removeprefix("key_")): value for key, value in changes.items()}
    return sign_with_root(SignKind.AUTHORITY, fields, by_roots(PLATFORM, *signers))


def keys(*names: str) -> list[bytes]:
    return [cose_key_bytes(published_signer(name).public_key) for name in names]


def read(data: bytes, known: Any) -> Any:
    return orders_authority.read_snapshot(data, known, check_signature)


def refusal(data: bytes, known: Any) -> str:
    with pytest.raises(orders_authority.AuthorityError) as refused:
        read(data, known)
    return str(refused.value.args[0])


def test_a_snapshot_comes_into_force_by_three_of_five() -> None:
    new = read(documents()["authority/platform"], anchor(PLATFORM))
    assert (new.version, new.expires, new.threshold) == (1, NOW_S + 7 * DAY_S, 3)


def test_the_snapshot_in_force_sent_again_changes_nothing() -> None:
    known = read(documents()["authority/platform"], anchor(PLATFORM))
    assert read(documents()["authority/platform"], known) is known


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        (["platform-root-1", "platform-root-2"], "SIGNER_SET"),
        (["platform-root-1", "platform-root-1", "platform-root-2"], "SIGNER_SET"),
        (["platform-root-1", "platform-root-2", "platform-root-3", "platform-root-4"], "SIGNER_SET"),
        (["platform-root-1", "platform-root-2", "stranger"], "UNKNOWN_KEY"),
        (["lender-root-1", "lender-root-2", "platform-root-1"], "UNKNOWN_KEY"),
    ],
)
def test_any_other_set_of_signers_is_refused(signers: list[str], code: str) -> None:
    assert refusal(snapshot(signers), anchor(PLATFORM)) == code


def test_an_older_or_equal_version_is_refused() -> None:
    known = read(snapshot(list(PLATFORM_ROOT[:3])), anchor(PLATFORM))
    assert known.version == 2
    for version in (1, 2):
        older = snapshot(list(PLATFORM_ROOT[:3]), key_3=version, key_4=NOW_S)
        assert refusal(older, known) == "REPLAY_CTR"


def test_another_issuer_s_snapshot_is_refused() -> None:
    assert refusal(documents()["authority/lender"], anchor(PLATFORM)) == "WRONG_DEVICE"


def test_a_snapshot_with_a_key_twice_or_too_high_a_threshold_is_no_root() -> None:
    twice = snapshot(list(PLATFORM_ROOT[:3]), key_6=keys("platform-root-1", "platform-root-1"), key_7=2)
    assert refusal(twice, anchor(PLATFORM)) == "BAD_ENCODING"
    unreachable = snapshot(list(PLATFORM_ROOT[:3]), key_6=keys("platform-root-1"), key_7=2)
    assert refusal(unreachable, anchor(PLATFORM)) == "BAD_ENCODING"


def test_a_signature_that_does_not_verify_is_refused() -> None:
    data = snapshot(list(PLATFORM_ROOT[:3]))
    assert refusal(data[:-1] + bytes([data[-1] ^ 1]), anchor(PLATFORM)) == "BAD_SIG"


NEXT_ROOT = ("platform-root-2", "platform-root-3", "platform-root-4", "platform-root-6")


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        (["platform-root-2", "platform-root-3", "platform-root-4"], None),  # they count in both
        (
            ["platform-root-1", "platform-root-2", "platform-root-3", "platform-root-6"],
            None,
        ),
        (["platform-root-1", "platform-root-2", "platform-root-3"], "SIGNER_SET"),  # two of the new root
        (["platform-root-2", "platform-root-3", "platform-root-6"], "SIGNER_SET"),  # two of the old root
        (
            ["platform-root-2", "platform-root-3", "platform-root-4", "platform-root-6"],
            "SIGNER_SET",
        ),  # one too many
    ],
)
def test_a_new_root_needs_the_thresholds_of_the_old_and_the_new_one(
    signers: list[str], code: str | None
) -> None:
    rotated = snapshot(signers, key_6=keys(*NEXT_ROOT))
    known = read(documents()["authority/platform"], anchor(PLATFORM))
    if code is not None:
        assert refusal(rotated, known) == code
    else:
        new = read(rotated, known)
        assert [orders_authority.cose_sign.thumbprint(key) for key in new.keys] == [
            published_signer(name).kid for name in NEXT_ROOT
        ]


def test_after_a_rotation_the_old_keys_sign_nothing() -> None:
    rotated = snapshot(["platform-root-2", "platform-root-3", "platform-root-4"], key_6=keys(*NEXT_ROOT))
    new = read(rotated, anchor(PLATFORM))
    late = snapshot(["platform-root-1", "platform-root-5", "platform-root-2"], key_3=3)
    assert refusal(late, new) == "SIGNER_SET"


# --- Revocations


def test_an_online_key_adds_revocations_and_a_repeat_adds_nothing() -> None:
    lender = roots()[LENDER]
    data = revocation(1, "person maker-1")
    assert orders_authority.read_revocation(data, lender, check_signature)
    assert lender.is_revoked("person maker-1")
    assert not orders_authority.read_revocation(data, lender, check_signature)


def test_an_online_key_cannot_publish_a_snapshot() -> None:
    """Un-revoking needs the offline root (README §2.3)."""
    assert refusal(snapshot(["online-1"]), anchor(PLATFORM)) == "UNKNOWN_KEY"


def test_a_snapshot_drops_only_the_additions_it_says_it_has_seen() -> None:
    lender = roots()[LENDER]
    for number, person in ((1, "early"), (2, "late")):
        orders_authority.read_revocation(revocation(number, person), lender, check_signature)
    fields = snapshot_fields(LENDER, LENDER_ROOT, 2) | {3: 2, 8: ["listed"], 13: 1}
    new = read(sign_with_root(SignKind.AUTHORITY, fields, by_roots(LENDER, *LENDER_ROOT[:2])), lender)
    assert [new.is_revoked(person) for person in ("early", "late", "listed")] == [False, True, True]


def test_revocations_by_another_key_for_another_root_or_beyond_the_room_are_refused() -> None:
    found = roots()

    def refused(data: bytes, root: Any) -> str:
        with pytest.raises(orders_authority.AuthorityError) as error:
            orders_authority.read_revocation(data, root, check_signature)
        return str(error.value.args[0])

    assert refused(revocation(1, "anyone"), found[PLATFORM]) == "WRONG_DEVICE"
    assert refused(revocation(1, "anyone"), anchor(LENDER)) == "UNKNOWN_KEY", "no snapshot has named the key"
    data = revocation(1, "anyone")
    assert refused(data[:-1] + bytes([data[-1] ^ 1]), found[LENDER]) == "BAD_SIG"
    for number in range(4):
        many = revocation(number + 1, *(f"person {number} {place}" for place in range(16)))
        orders_authority.read_revocation(many, found[LENDER], check_signature)
    assert refused(revocation(5, "one more"), found[LENDER]) == "REVOCATIONS_FULL"
    assert found[LENDER].is_revoked("person 0 0"), "nothing was dropped to make room"


# --- Delegations


def delegation_refusal(data: bytes) -> str:
    with pytest.raises(orders_authority.AuthorityError) as refused:
        orders_authority.read_delegation(data, roots(), check_signature)
    return str(refused.value.args[0])


def test_a_delegation_names_key_person_role_and_types() -> None:
    data = documents()["delegation/maker"]
    found = orders_authority.read_delegation(data, roots(), check_signature)
    assert found.kid == published_signer("maker-1").kid
    assert found.digest == hashlib.sha256(data).digest()
    assert (found.person, found.role, found.issuer) == ("person maker-1", Role.MAKER, LENDER)
    assert OrderType.LOCK in found.types


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["lender-root-1"], "SIGNER_SET"),  # one officer of the root alone makes nobody a maker
        (["lender-root-1", "lender-root-1"], "SIGNER_SET"),
        (["lender-root-1", "lender-root-2", "lender-root-3"], "SIGNER_SET"),
        (["lender-root-1", "stranger"], "UNKNOWN_KEY"),
        (["lender-root-1", "other-root-1"], "UNKNOWN_KEY"),
    ],
)
def test_a_delegation_by_any_other_set_of_root_keys_is_refused(names: list[str], code: str) -> None:
    fields = claims("maker-1", Role.MAKER, (OrderType.LOCK,))
    data = sign_with_root(SignKind.DELEGATION, fields, by_roots(LENDER, *names))
    assert delegation_refusal(data) == code


@pytest.mark.parametrize(
    "fields",
    [
        claims("maker-1", Role.MAKER, (OrderType.LOCK,), exp_s=NOW_S + 29 * DAY_S + 1),
        claims("maker-1", Role.MAKER, (OrderType.LOCK,), exp_s=NOW_S - DAY_S),
        claims("maker-1", Role.MAKER, (OrderType.LOCK,)) | {-65542: None},
        claims("maker-1", Role.MAKER, (OrderType.LOCK,)) | {-65542: cohort(bytes(8))},
        claims("maker-1", Role.MAKER, (OrderType.BENCH,)),
        claims("gate-1", Role.GATE, (OrderType.LOCK,), issuer=LENDER),
        claims("maker-1", Role.MAKER, (OrderType.LOCK,)) | {1: PLATFORM},
        claims("ombuds-1", Role.OMBUDS, (OrderType.UNLOCK, OrderType.LOCK)),
        claims("installer-1", Role.INSTALLER, (OrderType.UNLOCK,)),
    ],
    ids=[
        "31-days",
        "backwards",
        "no-cohort",
        "foreign-cohort",
        "maker-bench",
        "lender-gate",
        "platform-maker",
        "ombuds-lock",
        "installer-unlock",
    ],
)
def test_a_delegation_beyond_what_its_root_and_role_may_give_is_refused(fields: dict[int, object]) -> None:
    assert delegation_refusal(delegate(fields)) == "DELEGATION_SCOPE"


def test_a_delegation_of_a_root_that_the_device_does_not_know_is_refused() -> None:
    fields = claims("maker-1", Role.MAKER, (OrderType.LOCK,), issuer=OTHER_LENDER)
    found = roots()
    del found[OTHER_LENDER]
    with pytest.raises(orders_authority.AuthorityError, match="UNKNOWN_KEY"):
        orders_authority.read_delegation(delegate(fields), found, check_signature)


def test_a_root_key_with_a_delegation_in_its_header_signs_nothing() -> None:
    fields = claims("maker-1", Role.MAKER, (OrderType.LOCK,))
    signers = [
        OrderSigner(signer=published_signer(name), role=Role.LENDER_ROOT, delegation=bytes(32))
        for name in LENDER_ROOT[:2]
    ]
    assert delegation_refusal(sign_with_root(SignKind.DELEGATION, fields, signers)) == "SIGNER_SET"


def test_a_delegation_is_no_snapshot_and_no_order() -> None:
    as_authority = sign_with_root(
        SignKind.AUTHORITY,
        snapshot_fields(PLATFORM, PLATFORM_ROOT, 3),
        by_roots(PLATFORM, *PLATFORM_ROOT[:3]),
    )
    assert delegation_refusal(as_authority) == "BAD_ENCODING"


@pytest.mark.parametrize(
    ("issuer", "role"),
    [
        ("platform", Role.PLATFORM_ROOT),
        ("lender:0123456789abcdef", Role.LENDER_ROOT),
        ("lender:0123456789ABCDEF", None),
        ("lender:0123456789abcde", None),
        ("lender:", None),
        ("platforms", None),
        ("", None),
    ],
)
def test_an_issuer_s_name_has_one_form(issuer: str, role: Role | None) -> None:
    assert orders_authority.root_role(issuer) == role
