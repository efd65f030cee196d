"""Topics, receipts, time, enrolment, keys and policy: what each accepts and what it refuses by name."""

from typing import Any

import pytest

from protocol import codec
from protocol.clock import ClockClass, Instant
from protocol.enrolment import (
    RenewalProof,
    enrolment_proof,
    open_enrolment_proof,
    open_renewal_proof,
    sign_enrolment_proof,
    sign_renewal_proof,
)
from protocol.envelope import Kind, sign1
from protocol.errors import ProtocolError, Reject
from protocol.fixes import Precision
from protocol.ids import cose_key_bytes, device_id
from protocol.key_succession import KeyRole, KeySuccession, open_key_succession, sign_key_succession
from protocol.limits import (
    POLICY_BYTES_MAX,
    RECEIPT_HAVE_MAX,
    RECEIPT_REFUSED_MAX,
    RECEIPT_WANT_MAX,
    SEQ_MAX,
    SIGN1_BYTES_MAX,
    TIME_US_MAX,
)
from protocol.policy import LoanStage, Policy, Quotas, SampleRule, StatePlan, VehicleState
from protocol.policy_codec import (
    decode_policy,
    encode_policy,
    is_in_force,
    open_policy,
    policy_hash,
    sign_policy,
)
from protocol.receipts import (
    Have,
    RefusalCode,
    Stream,
    decode_receipt,
    encode_receipt,
    open_receipt,
    sign_receipt,
)
from protocol.signed_time import (
    TimeRequest,
    TimeToken,
    open_time_request,
    open_time_token,
    sign_time_request,
    sign_time_token,
    time_from,
)
from protocol.topics import (
    ALL_UP,
    Direction,
    Down,
    Up,
    decode_status,
    down_filter,
    down_topic,
    encode_status,
    parse_topic,
    up_filter,
    up_topic,
)
from protocol.vectors.keys import published_lookup
from protocol.vectors.story import POLICY
from tests.builders.protocol import a_receipt, a_signer

DEVICE = device_id(a_signer().public_key)
OTHER = device_id(a_signer("device-2").public_key)


def refused(reject: Reject) -> Any:
    """A context in which exactly this refusal must come."""
    return pytest.raises(ProtocolError, match=f"^{reject}:")


# --- Topics -------------------------------------------------------------------------------------------------


def test_every_topic_reads_back() -> None:
    for up in Up:
        assert parse_topic(up_topic(DEVICE, up)) == (DEVICE, Direction.UP, up)
        assert up_topic(DEVICE, up).startswith(up_filter(DEVICE)[:-1])
    for down in Down:
        assert parse_topic(down_topic(DEVICE, down)) == (DEVICE, Direction.DOWN, down)
        assert down_topic(DEVICE, down).startswith(down_filter(DEVICE)[:-1])
    assert ALL_UP == "tbox/1/+/up/#"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "tbox/1",
        f"tbox/2/{DEVICE}/up/batch",
        f"box/1/{DEVICE}/up/batch",
        f"tbox/1/{DEVICE}/up/receipt",
        f"tbox/1/{DEVICE}/down/batch",
        f"tbox/1/{DEVICE}/side/batch",
        f"tbox/1/{DEVICE}/up/batch/",
        f"/tbox/1/{DEVICE}/up/batch",
        f"tbox/1/{DEVICE.upper()}/up/batch",
        "tbox/1/+/up/batch",
        f"tbox/1/{DEVICE}/up/#",
        f"tbox/1/{DEVICE}/up/" + "x" * 300,
    ],
)
def test_a_topic_of_another_form_is_refused(topic: str) -> None:
    with refused(Reject.BAD_TOPIC):
        parse_topic(topic)


def test_status_is_a_small_hint() -> None:
    for is_online in (True, False):
        assert decode_status(encode_status(is_online=is_online)) is is_online
    with refused(Reject.TOO_LARGE):
        decode_status(codec.encode({1: True, 2: "x" * 100}))
    with refused(Reject.BAD_FIELD):
        decode_status(codec.encode({2: True}))


# --- Receipts -----------------------------------------------------------------------------------------------


def test_a_receipt_by_anyone_but_the_receipt_key_is_refused() -> None:
    receipt = a_receipt(upto=3, hash=bytes(32))
    assert (
        open_receipt(sign_receipt(receipt, a_signer("receipt-1")), published_lookup("receipt-1")) == receipt
    )
    for forger in ("device-1", "policy-1", "stranger"):
        with refused(Reject.UNKNOWN_KEY):
            open_receipt(sign_receipt(receipt, a_signer(forger)), published_lookup("receipt-1"))


def test_a_full_receipt_stays_below_the_limit_of_its_envelope() -> None:
    receipt = a_receipt(
        upto=SEQ_MAX,
        hash=bytes(32),
        have=(Have(first=SEQ_MAX, last=SEQ_MAX, hash=bytes(32)),) * RECEIPT_HAVE_MAX,
        refused=((SEQ_MAX, RefusalCode.BAD_ORIGIN),) * RECEIPT_REFUSED_MAX,
        want=((SEQ_MAX, SEQ_MAX),) * RECEIPT_WANT_MAX,
        issued_us=TIME_US_MAX,
    )
    assert len(sign_receipt(receipt, a_signer("receipt-1"))) < SIGN1_BYTES_MAX // 4


@pytest.mark.parametrize(
    "changes",
    [
        {"upto": -1},
        {"upto": 0, "hash": bytes(32)},
        {"upto": 1, "hash": b"short"},
        {"have": (Have(first=1, last=1, hash=bytes(32)),) * (RECEIPT_HAVE_MAX + 1)},
        {"refused": ((1, 1),) * (RECEIPT_REFUSED_MAX + 1)},
        {"want": ((1, 1),) * (RECEIPT_WANT_MAX + 1)},
        {"want": ((2, 1),)},
        {"refused": ((0, 1),)},
        {"issued_us": -1},
        {"stream": 0},
    ],
)
def test_a_receipt_that_no_reader_would_take_is_never_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no reader would accept"):
        encode_receipt(a_receipt(**changes))


def test_a_receipt_keeps_codes_and_streams_it_does_not_know() -> None:
    receipt = a_receipt(stream=9, refused=((4, 77), (5, RefusalCode.FORK)))
    read = decode_receipt(encode_receipt(receipt))
    assert (read.stream, read.refused) == (9, ((4, 77), (5, RefusalCode.FORK)))
    assert decode_receipt(encode_receipt(a_receipt())).stream is Stream.BATCH


def test_a_refusal_code_is_named_like_the_reason_it_states() -> None:
    for code in RefusalCode:
        assert RefusalCode.of(Reject(code.name)) is code
    assert RefusalCode.of(Reject.BAD_SIG) is None


def test_no_reason_of_damage_can_be_stated_in_a_receipt() -> None:
    assert not [
        reject for reject in Reject if reject.is_transit_damage and RefusalCode.of(reject) is not None
    ]


# --- Time ---------------------------------------------------------------------------------------------------


def test_an_answer_counts_only_for_the_open_question() -> None:
    message = sign_time_token(TimeToken(nonce=b"n" * 16, utc_us=5), a_signer("receipt-1"))
    keys = published_lookup("receipt-1")
    assert open_time_token(message, keys, nonce=b"n" * 16).utc_us == 5
    with refused(Reject.WRONG_NONCE):
        open_time_token(message, keys, nonce=b"m" * 16)


def test_a_question_is_one_device_s() -> None:
    request = TimeRequest(nonce=b"n" * 16, device=DEVICE)
    message = sign_time_request(request, a_signer())
    keys = published_lookup("device-1")
    assert open_time_request(message, keys, device=DEVICE) == request == open_time_request(message, keys)
    with refused(Reject.WRONG_DEVICE):
        open_time_request(message, keys, device=OTHER)
    with refused(Reject.BAD_SIG):
        open_time_token(message, keys, nonce=b"n" * 16)


@pytest.mark.parametrize(("round_trip_us", "half_us"), [(0, 0), (1, 1), (40, 20), (41, 21)])
def test_the_round_trip_is_the_error_of_a_signed_time(round_trip_us: int, half_us: int) -> None:
    token = TimeToken(nonce=bytes(16), utc_us=1_000)
    now = time_from(token, asked_mono_us=10, now_mono_us=10 + round_trip_us)
    assert now == Instant(
        mono_us=10 + round_trip_us, utc_us=1_000 + half_us, clock=ClockClass.NETWORK, error_us=half_us
    )


# --- Enrolment and renewal ----------------------------------------------------------------------------------


def test_an_enrolment_proof_speaks_for_the_key_it_carries_and_no_other() -> None:
    proof = enrolment_proof(a_signer().public_key, csr_der=b"csr", token="token")
    assert open_enrolment_proof(sign_enrolment_proof(proof, a_signer())) == proof
    assert proof.device == DEVICE
    with refused(Reject.UNKNOWN_KEY):
        open_enrolment_proof(sign_enrolment_proof(proof, a_signer("device-2")))


def test_nobody_enrols_under_another_s_name() -> None:
    proof = enrolment_proof(a_signer().public_key, csr_der=b"csr", token="token")
    payload = codec.encode({1: 1, 2: bytes.fromhex(OTHER), 3: bytes(32), 4: bytes(32), 5: proof.agent_key})
    with refused(Reject.WRONG_DEVICE):
        open_enrolment_proof(sign1(Kind.ENROL, payload, a_signer()))


def test_a_rotated_key_renews_under_the_permanent_name() -> None:
    proof = RenewalProof(device=DEVICE, csr_sha256=bytes(32), nonce=bytes(16))
    message = sign_renewal_proof(proof, a_signer("device-1-rotated"))
    assert open_renewal_proof(message, published_lookup("device-1-rotated")) == proof
    with refused(Reject.UNKNOWN_KEY):
        open_renewal_proof(message, published_lookup("device-1"))


# --- Key succession -----------------------------------------------------------------------------------------


def link_to(name: str, role: int = KeyRole.RECEIPT) -> KeySuccession:
    return KeySuccession(role=role, successor=cose_key_bytes(a_signer(name).public_key), valid_from_us=7)


def test_the_key_in_force_names_its_successor() -> None:
    message = sign_key_succession(link_to("receipt-2"), a_signer("receipt-1"))
    link = open_key_succession(message, published_lookup("receipt-1"), role=KeyRole.RECEIPT)
    assert link == link_to("receipt-2")


def test_a_successor_cannot_name_itself_and_roles_do_not_mix() -> None:
    trusted = published_lookup("receipt-1")
    for message, reject in (
        (sign_key_succession(link_to("receipt-2"), a_signer("receipt-2")), Reject.UNKNOWN_KEY),
        (sign_key_succession(link_to("receipt-1"), a_signer("receipt-1")), Reject.NOT_SUCCESSOR),
        (
            sign_key_succession(link_to("receipt-2", KeyRole.POLICY), a_signer("receipt-1")),
            Reject.NOT_SUCCESSOR,
        ),
        (sign_key_succession(link_to("receipt-2", 99), a_signer("receipt-1")), Reject.NOT_SUCCESSOR),
    ):
        with refused(reject):
            open_key_succession(message, trusted, role=KeyRole.RECEIPT)


# --- Policy -------------------------------------------------------------------------------------------------


def a_policy(**changes: Any) -> Policy:
    fields: dict[str, Any] = {
        "revision": 1,
        "device": None,
        "issued_us": 0,
        "loan_stage": LoanStage.PERFORMING,
        "states": {},
        "triggers": (),
        "quotas": Quotas(spool_bytes=1, bulk_bytes=1, windows_per_day=1),
        "precision": {},
        "areas": (),
        "cell_m": 1_000,
        "month_bytes": 30_000_000,
    }
    return Policy(**(fields | changes))


def test_a_policy_reads_back_with_the_hash_that_headers_name() -> None:
    message = sign_policy(POLICY, a_signer("policy-1"))
    assert open_policy(message, published_lookup("policy-1")) == (POLICY, policy_hash(POLICY))
    with refused(Reject.UNKNOWN_KEY):
        open_policy(sign_policy(POLICY, a_signer("receipt-1")), published_lookup("policy-1"))


def test_the_same_document_signed_again_is_no_change() -> None:
    document = encode_policy(POLICY)
    assert is_in_force(policy_hash(POLICY), document)
    assert not is_in_force(policy_hash(a_policy()), document)
    assert not is_in_force(None, document)


@pytest.mark.parametrize(
    ("stage", "precision", "allowed"),
    [
        (LoanStage.PERFORMING, {}, Precision.NONE),
        (LoanStage.PERFORMING, {LoanStage.PERFORMING: Precision.CELL}, Precision.CELL),
        (LoanStage.DEFAULT, {LoanStage.PERFORMING: Precision.EXACT}, Precision.NONE),
        (99, {LoanStage.PERFORMING: Precision.EXACT}, Precision.NONE),
        (LoanStage.RECOVERY, {LoanStage.RECOVERY: 9}, Precision.NONE),
        (99, {99: Precision.EXACT}, Precision.EXACT),
    ],
)
def test_what_a_policy_does_not_say_is_not_allowed(
    stage: int, precision: dict[int, int], allowed: Precision
) -> None:
    policy = decode_policy(encode_policy(a_policy(loan_stage=stage, precision=precision)))
    assert policy.precision_now is allowed


@pytest.mark.parametrize(
    "changes",
    [
        {"cell_m": 99},
        {"revision": -1},
        {"month_bytes": -1},
        {
            "states": {
                VehicleState.PARKED: StatePlan(
                    batch_age_us=999_999, fix_period_us=None, rules=(), raw_frames=()
                )
            }
        },
        {
            "states": {
                VehicleState.PARKED: StatePlan(
                    batch_age_us=60_000_001, fix_period_us=None, rules=(), raw_frames=()
                )
            }
        },
        {
            "states": {
                VehicleState.PARKED: StatePlan(batch_age_us=10**6, fix_period_us=0, rules=(), raw_frames=())
            }
        },
    ],
)
def test_a_policy_that_no_reader_would_take_is_never_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no reader would accept"):
        encode_policy(a_policy(**changes))


def test_a_policy_above_its_limit_is_never_written() -> None:
    rules = tuple(SampleRule(select="x" * 250) for _ in range(POLICY_BYTES_MAX // 250))
    plan = StatePlan(batch_age_us=10**6, fix_period_us=None, rules=rules, raw_frames=())
    with pytest.raises(ValueError, match="TOO_LARGE"):
        encode_policy(a_policy(states={VehicleState.DRIVING: plan}))
