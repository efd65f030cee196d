"""The server's rules, without a database: roles, tokens, keys, a box's life, nonces, published keys."""

from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from backend.api.problems import REFUSALS
from backend.clock import from_datetime, to_datetime
from backend.domain.access import GRANTABLE, GRANTS, Permission, Purpose, Role, is_allowed
from backend.domain.api_key import format_api_key, is_in_force, parse_api_key
from backend.domain.device_life import (
    TRANSITIONS,
    DeviceEvent,
    DeviceStatus,
    IllegalDeviceEventError,
    is_legal,
    next_status,
)
from backend.domain.enrolment import (
    TokenFacts,
    format_token,
    is_token,
    judge_issue,
    judge_owner,
    judge_rate,
    judge_token,
)
from backend.domain.published_keys import is_published
from backend.domain.refusal import Reason
from backend.domain.renewal_nonce import make_nonce, nonce_expiry_us
from protocol.limits import (
    ENROLMENT_TOKEN_LIFE_S_MAX,
    ENROLMENT_TOKENS_OPEN_MAX,
    ENROLMENT_TOKENS_PER_REQUEST_MAX,
    ENROLMENTS_PER_HOUR_MAX,
    RENEWAL_NONCE_LIFE_S_MAX,
)
from protocol.vectors.keys import NAMES, published_scalar

DEVICE = "9f" * 32
OTHER_DEVICE = "9e" * 32


# --- roles ---


def test_every_role_stands_in_the_table() -> None:
    assert set(GRANTS) == set(Role)


@pytest.mark.parametrize(
    "role", [Role.OFFICER_MAKER, Role.OFFICER_CHECKER, Role.SAFETY_OFFICER, Role.INSTALLER]
)
def test_who_signs_or_installs_sees_no_exact_positions(role: Role) -> None:
    assert not is_allowed(role, Permission.POSITION_READ)
    assert not is_allowed(role, Permission.EVIDENCE_EXPORT)


def test_the_platforms_administrator_reads_no_traces() -> None:
    forbidden = {Permission.TELEMETRY_READ, Permission.POSITION_READ, Permission.EVIDENCE_EXPORT}
    assert not forbidden & GRANTS[Role.PLATFORM_ADMIN]


def test_the_platforms_administrator_is_not_made_over_the_api() -> None:
    assert Role.PLATFORM_ADMIN not in GRANTABLE


def test_only_administrators_revoke_boxes_and_make_keys() -> None:
    admins = {Role.ORG_ADMIN, Role.PLATFORM_ADMIN}
    for permission in (Permission.DEVICE_REVOKE, Permission.KEY_MANAGE):
        assert {role for role in Role if is_allowed(role, permission)} == admins


def test_no_purpose_allows_selling_positions() -> None:
    words = {word for purpose in Purpose for word in purpose.split("-")}
    assert not words & {"marketing", "credit", "insurance", "sale", "broker", "analytics"}


def test_every_reason_of_refusal_has_a_status() -> None:
    assert set(REFUSALS) == set(Reason)


# --- API keys ---


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=24, max_size=24))
def test_a_key_reads_back_as_it_was_written(key_id: bytes, secret: bytes) -> None:
    parsed = parse_api_key(format_api_key(key_id=key_id.hex(), secret=secret.hex()))
    assert parsed is not None
    assert (parsed.key_id, parsed.secret) == (key_id.hex(), secret.hex())


@given(st.text())
def test_a_text_of_another_form_is_no_key(text: str) -> None:
    assert parse_api_key(text) is None


def test_a_key_has_one_spelling() -> None:
    key = "tbox_0123456789ab_" + "0" * 48
    assert parse_api_key(key) is not None
    for other in (key.upper(), key + "\n", key[:-1], " " + key, key.replace("_", "-")):
        assert parse_api_key(other) is None


def test_a_parsed_key_does_not_show_its_secret() -> None:
    parsed = parse_api_key("tbox_0123456789ab_" + "7" * 48)
    assert "777" not in repr(parsed)


@pytest.mark.parametrize(("expires_us", "revoked_us"), [(None, None), (11, None)])
def test_a_key_is_in_force_before_its_end(expires_us: int | None, revoked_us: int | None) -> None:
    assert is_in_force(expires_us=expires_us, revoked_us=revoked_us, now_us=10)


@pytest.mark.parametrize(("expires_us", "revoked_us"), [(10, None), (None, 5), (11, 5), (11, 99)])
def test_a_key_that_ended_or_was_revoked_is_not_in_force(
    expires_us: int | None, revoked_us: int | None
) -> None:
    assert not is_in_force(expires_us=expires_us, revoked_us=revoked_us, now_us=10)


# --- a box's life ---


@pytest.mark.parametrize(("status", "event"), list(product(DeviceStatus, DeviceEvent)))
def test_the_table_decides_every_event_in_every_state(status: DeviceStatus, event: DeviceEvent) -> None:
    if (status, event) in TRANSITIONS:
        assert is_legal(status, event)
        assert next_status(status, event) is TRANSITIONS[status, event]
    else:
        assert not is_legal(status, event)
        with pytest.raises(IllegalDeviceEventError):
            next_status(status, event)


def test_no_event_brings_a_revoked_box_back() -> None:
    reached = {after for (before, _), after in TRANSITIONS.items() if before is DeviceStatus.REVOKED}
    assert reached == {DeviceStatus.REVOKED}


# --- enrolment ---


def test_a_token_has_one_spelling() -> None:
    assert is_token(format_token("0" * 48))
    assert not any(
        map(is_token, ("", "tboxe_", "tboxe_" + "0" * 47, "tboxe_" + "0" * 48 + "\n", "TBOXE_" + "0" * 48))
    )


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (None, Reason.ENROLMENT_UNKNOWN),
        (TokenFacts(expires_us=10, used_us=None), Reason.ENROLMENT_EXPIRED),
        (TokenFacts(expires_us=99, used_us=1), Reason.ENROLMENT_USED),
        (TokenFacts(expires_us=5, used_us=1), Reason.ENROLMENT_USED),
        (TokenFacts(expires_us=11, used_us=None), None),
    ],
)
def test_a_token_is_used_once_and_in_time(facts: TokenFacts | None, reason: Reason | None) -> None:
    refusal = judge_token(facts, now_us=10)
    assert (None if refusal is None else refusal.reason) is reason


@pytest.mark.parametrize(
    ("count", "life_s", "open_now", "reason"),
    [
        (1, 1, 0, None),
        (ENROLMENT_TOKENS_PER_REQUEST_MAX, ENROLMENT_TOKEN_LIFE_S_MAX, 0, None),
        (0, 1, 0, Reason.TOO_MANY_TOKENS),
        (ENROLMENT_TOKENS_PER_REQUEST_MAX + 1, 1, 0, Reason.TOO_MANY_TOKENS),
        (1, 0, 0, Reason.BAD_LIFE),
        (1, ENROLMENT_TOKEN_LIFE_S_MAX + 1, 0, Reason.BAD_LIFE),
        (1, 1, ENROLMENT_TOKENS_OPEN_MAX - 1, None),
        (2, 1, ENROLMENT_TOKENS_OPEN_MAX - 1, Reason.TOO_MANY_TOKENS),
    ],
)
def test_tokens_are_issued_within_limits(
    count: int, life_s: int, open_now: int, reason: Reason | None
) -> None:
    refusal = judge_issue(count=count, life_s=life_s, open_now=open_now)
    assert (None if refusal is None else refusal.reason) is reason


def test_an_organisation_enrols_so_many_boxes_an_hour_and_no_more() -> None:
    assert judge_rate(last_hour=ENROLMENTS_PER_HOUR_MAX - 1) is None
    refusal = judge_rate(last_hour=ENROLMENTS_PER_HOUR_MAX)
    assert refusal is not None
    assert refusal.reason is Reason.TOO_MANY_ENROLMENTS


@pytest.mark.parametrize(
    ("owner", "status", "reason"),
    [
        (None, None, None),
        ("mine", DeviceStatus.ENROLLED, None),
        ("mine", DeviceStatus.REVOKED, Reason.DEVICE_REVOKED),
        ("theirs", DeviceStatus.ENROLLED, Reason.DEVICE_ELSEWHERE),
        ("theirs", DeviceStatus.REVOKED, Reason.DEVICE_ELSEWHERE),
    ],
)
def test_a_known_box_enrols_again_only_where_it_belongs(
    owner: str | None, status: DeviceStatus | None, reason: Reason | None
) -> None:
    refusal = judge_owner(owner=owner, status=status, org_id="mine")
    assert (None if refusal is None else refusal.reason) is reason


# --- renewal nonces ---


def _nonce(**changes: object) -> bytes:
    given = {"secret": b"k" * 32, "device_id": DEVICE, "now_us": 7_000_000, "random4": b"abcd"} | changes
    return make_nonce(**given)  # type: ignore[arg-type]


def test_a_nonce_says_when_it_ends() -> None:
    expiry = nonce_expiry_us(_nonce(), secret=b"k" * 32, device_id=DEVICE)
    assert expiry == (7 + RENEWAL_NONCE_LIFE_S_MAX) * 1_000_000


def test_a_nonce_is_for_one_box_and_one_server() -> None:
    assert nonce_expiry_us(_nonce(), secret=b"k" * 32, device_id=OTHER_DEVICE) is None
    assert nonce_expiry_us(_nonce(), secret=b"l" * 32, device_id=DEVICE) is None


@given(st.integers(0, 127))
def test_a_nonce_with_a_flipped_bit_is_none_of_ours(bit: int) -> None:
    flipped = (int.from_bytes(_nonce(), "big") ^ (1 << bit)).to_bytes(16, "big")
    assert nonce_expiry_us(flipped, secret=b"k" * 32, device_id=DEVICE) is None


@given(st.binary(max_size=40))
def test_random_bytes_are_no_nonce(data: bytes) -> None:
    assert nonce_expiry_us(data, secret=b"k" * 32, device_id=DEVICE) is None


# --- published keys ---


@pytest.mark.parametrize("scalar", [1, 7, 2**63, *map(published_scalar, NAMES)])
def test_a_key_that_anyone_knows_is_recognised(scalar: int) -> None:
    assert is_published(ec.derive_private_key(scalar, ec.SECP256R1()))


def test_a_random_key_is_not_a_published_one() -> None:
    assert not is_published(ec.generate_private_key(ec.SECP256R1()))


# --- time ---


@given(st.integers(0, 253_402_300_799_999_999))  # to the end of the year 9999
def test_an_instant_survives_the_way_through_a_datetime(instant_us: int) -> None:
    assert from_datetime(to_datetime(instant_us)) == instant_us
