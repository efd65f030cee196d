"""The gate at an installation: ticket and BIND for the job that is shown, its own table of proved cars."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from backend.gate.forms import Answer, BindRequest, CommissioningRequest, TicketRequest, Verdict
from backend.gate.records import DocumentRefusedError
from protocol import orders_payload
from protocol.base64url import to_bytes, to_text
from protocol.cose_sign import read_sign1
from protocol.envelope import Kind, SoftwareSigner
from protocol.ids import cose_key_bytes
from protocol.install_forms import WorkTicket, sign_work_ticket
from protocol.install_record import assemble_record, encode_record, record_part
from protocol.install_report import BenchSeen, StepRow, sign_commissioning
from protocol.install_vocabulary import STEPS, Act, Step, StepState
from protocol.install_vocabulary import Verdict as Outcome
from protocol.limits import BENCH_LIFE_S_MAX, BENCH_TICKETS_A_DAY_MAX, BINDS_A_DAY_MAX
from protocol.orders import OrderType, SignKind, encode_order, sign_document, sign_with_root
from protocol.vectors.installs import INSTALLER, RECORD, TICKET, VIN, commissioning
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import administering
from protocol.vectors.orders_story import (
    ANCHORS,
    EPOCH,
    MCU,
    PLATFORM,
    by_roots,
    documents,
    snapshot_fields,
)
from protocol.vectors.story import DEVICE_SIGNER, fixed_bytes
from tests.builders.gate import CONTRACT, POLICY, GateWorld

HOUR_S = 3_600


def shown(world: GateWorld, **changes: Any) -> WorkTicket:
    """Return a work ticket that is in its time now."""
    now_s = world.clock.now_s()
    return replace(
        TICKET, **({"nbf_s": now_s - 60, "exp_s": now_s + 36_000, "contract_ref": CONTRACT} | changes)
    )


def challenge(chal: bytes = bytes(16), mcu: SoftwareSigner = MCU, **changes: Any) -> bytes:
    fields = {
        1: 1, 2: mcu.kid, 3: EPOCH, 4: chal, 5: 100, 6: [0, 0, 0], 7: bytes(32), 8: 0, 9: 0, 10: None,
        11: None, 12: None,
    }  # fmt: skip
    return sign_document(
        Kind.CHALLENGE, fields | {int(k.removeprefix("key_")): v for k, v in changes.items()}, mcu
    )


def asks(
    world: GateWorld, job: WorkTicket | None = None, said: bytes | None = None, **changes: Any
) -> dict[str, str]:
    body = {
        "work_ticket": to_text(sign_work_ticket(job or shown(world), changes.pop("policy", POLICY))),
        "challenge": to_text(said or challenge()),
        "mcu_key": to_text(cose_key_bytes(MCU.public_key)),
        "delegation": to_text(documents()["delegation/installer"]),
    }
    return body | changes


def ticket(world: GateWorld, **changes: Any) -> Answer:
    return world.gate.ticket(TicketRequest(**asks(world, **changes)))


def bind_payload(job: WorkTicket, **changes: Any) -> bytes:
    fields = administering(OrderType.BIND, 1) | {
        4: job.lender_id,
        5: MCU.kid,
        6: hashlib.sha256(job.vin_salt + VIN.encode()).digest(),
        7: job.contract_ref,
        8: EPOCH,
        13: bytes(16),
        14: 1_000,
        18: job.jurisdiction,
        25: None,
    }
    return encode_order(fields | {int(k.removeprefix("key_")): v for k, v in changes.items()})


def bind(world: GateWorld, payload: bytes | None = None, **changes: Any) -> Answer:
    job = changes.get("job") or shown(world)
    made = payload or bind_payload(job)
    return world.gate.bind(BindRequest(**asks(world, **changes), payload=to_text(made)))


def record(**changes: Any) -> CommissioningRequest:
    """Return a record with its relay proof, and fields replaced; `benches` and `mcu` are the D1's."""
    benches = changes.pop("benches", (seen(crank_s=3), seen(engine_s=9)))
    steps = tuple(StepRow(step=step, state=StepState.PASS) for step in STEPS)
    made = replace(RECORD, **({"steps": steps} | changes))
    payload = encode_record(made)
    said = replace(commissioning(), record_sha256=hashlib.sha256(payload).digest(), benches=benches)
    message = assemble_record(payload, record_part(payload, DEVICE_SIGNER), record_part(payload, INSTALLER))
    return CommissioningRequest(
        record=to_text(message),
        attestation=to_text(sign_commissioning(said, MCU)),
        mcu_key=to_text(cose_key_bytes(MCU.public_key)),
        box_key=to_text(cose_key_bytes(DEVICE_SIGNER.public_key)),
        delegation=to_text(documents()["delegation/installer"]),
    )


def seen(**fields: Any) -> BenchSeen:
    base = {"held_s": 14, "crank_s": 0, "starts": 0, "engine_s": 0, "is_contact_open_seen": True}
    return BenchSeen(cmd_id=fixed_bytes("bench"), **(base | fields))


# --- BENCH ---


def test_a_ticket_is_for_the_jobs_installer_and_the_challenge_that_was_shown() -> None:
    world = GateWorld()
    answer = ticket(world)
    assert answer.verdict is Verdict.SIGNED, answer
    assert answer.token is not None
    fields = orders_payload.read_document("ticket", read_sign1(to_bytes(answer.token))[2])
    assert (fields[2], fields[3], fields[4]) == (MCU.kid, INSTALLER.kid, bytes(16))
    assert 1 <= fields[5] <= BENCH_LIFE_S_MAX
    assert fields[7] == world.gate.delegation


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"policy": published_signer("stranger")}, "JOB"),
        ({"delegation": to_text(documents()["delegation/maker"])}, "SIGNERS"),
        ({"said": challenge(key_9=1)}, "CAR"),
        ({"said": challenge(mcu=published_signer("device-2"))}, "CHALLENGE"),
    ],
    ids=["foreign ticket", "not the installer", "a car that is bound", "another microcontroller"],
)
def test_no_ticket_without_a_job_a_person_and_a_car_in_commissioning(
    changes: dict[str, Any], rule: str
) -> None:
    answer = ticket(GateWorld(), **changes)
    assert (answer.verdict, answer.rule, answer.token) == (Verdict.REFUSED, rule, None)


@pytest.mark.parametrize(
    "wrong", [{"nbf_s": 1, "exp_s": 2}, {"acts": (Act.REMOVE,)}], ids=["over", "a removal"]
)
def test_no_ticket_for_a_job_that_is_over_or_does_not_install(wrong: dict[str, Any]) -> None:
    world = GateWorld()
    assert ticket(world, job=shown(world, **wrong)).rule == "JOB"


def test_no_ticket_for_a_lender_that_the_gate_does_not_know() -> None:
    world = GateWorld()
    assert ticket(world, job=shown(world, lender_id=bytes(8))).rule == "LENDER"


def test_tickets_of_a_car_are_counted_a_day_and_the_same_challenge_counts_once() -> None:
    world = GateWorld()
    for number in range(BENCH_TICKETS_A_DAY_MAX):
        said = challenge(number.to_bytes(16, "big"))
        first = ticket(world, said=said)
        assert first.verdict is Verdict.SIGNED
        assert ticket(world, said=said).token == first.token
    over = ticket(world, said=challenge(b"x" * 16))
    assert (over.verdict, over.rule) == (Verdict.REFUSED, "JOB_DAY")
    world.clock.wait(24 * HOUR_S + 1)
    assert ticket(world, said=challenge(b"x" * 16)).verdict is Verdict.SIGNED


# --- BIND ---


def test_a_bind_is_signed_as_the_job_says() -> None:
    world = GateWorld()
    answer = bind(world)
    assert answer.verdict is Verdict.SIGNED, answer
    assert answer.part is not None
    assert bind(world).part == answer.part


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"key_6": bytes(32)}, "JOB"),
        ({"key_7": bytes(32)}, "JOB"),
        ({"key_18": "US-TX"}, "JOB"),
        ({"key_13": b"another chal 16B"}, "CHALLENGE"),
        ({"key_8": bytes(16)}, "CHALLENGE"),
    ],
)
def test_a_bind_that_says_something_else_than_the_job_or_the_car_is_refused(
    changes: dict[str, Any], rule: str
) -> None:
    world = GateWorld()
    answer = bind(world, bind_payload(shown(world), **changes))
    assert (answer.verdict, answer.rule, answer.part) == (Verdict.REFUSED, rule, None)


def test_binds_of_a_car_are_counted_a_day() -> None:
    world = GateWorld()
    job = shown(world)
    for number in range(1, BINDS_A_DAY_MAX + 1):
        assert bind(world, bind_payload(job, key_9=number)).verdict is Verdict.SIGNED
    assert bind(world, bind_payload(job, key_9=9)).rule == "JOB_DAY"


# --- commissioning ---


def test_an_order_that_restricts_needs_a_record_and_48_hours_since_the_gate_had_it() -> None:
    world = GateWorld(asks_probation=True)
    basis = world.basis()
    order = world.order(basis=basis)
    assert world.screen(order, basis).rule == "PROBATION"
    assert world.gate.commissioned(record()) == (True, "commissioned")
    assert world.gate.commissioned(record()) == (False, "commissioned")
    early = world.screen(order, basis)
    assert (early.rule, early.earliest) == ("PROBATION", world.clock.now_s() + 48 * HOUR_S)
    world.clock.wait(48 * HOUR_S)
    later = world.screen(world.order(basis=basis), basis)
    assert later.rule != "PROBATION"
    assert "PROBATION" not in later.detail


def test_a_removed_box_and_another_epoch_have_no_record() -> None:
    world = GateWorld(asks_probation=True)
    basis = world.basis()
    world.gate.commissioned(record())
    world.clock.wait(48 * HOUR_S)
    other = world.screen(world.order(basis=basis, key_8=bytes(16)), basis)
    assert "PROBATION: no commissioning record" in other.detail
    assert world.gate.commissioned(record(verdict=Outcome.REMOVED, bind=None, act=Act.REMOVE))[1] == "removed"
    assert "PROBATION: no commissioning record" in world.screen(world.order(basis=basis), basis).detail


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"benches": (seen(engine_s=9),)}, "saw no crank"),
        ({"benches": (seen(crank_s=3, starts=1), seen(engine_s=9))}, "started while"),
        ({"benches": (seen(crank_s=3, is_contact_open_seen=False), seen(engine_s=9))}, "not seen open"),
        ({"benches": (seen(crank_s=3),)}, "no engine"),
        ({"steps": (StepRow(step=Step.RELAY_HELD, state=StepState.PASS),)}, "a step"),
        ({"verdict": Outcome.MONITOR_ONLY, "bind": None}, "monitor-only"),
    ],
)
def test_a_record_without_the_whole_relay_proof_is_not_taken(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DocumentRefusedError, match=says):
        GateWorld().gate.commissioned(record(**changes))


def test_a_record_with_one_byte_changed_is_not_taken() -> None:
    good = record()
    data = bytearray(to_bytes(good.record))
    data[100] ^= 1
    with pytest.raises(DocumentRefusedError, match="does not hold"):
        GateWorld().gate.commissioned(good.model_copy(update={"record": to_text(bytes(data))}))


def test_no_record_and_no_ticket_of_an_installer_who_was_revoked() -> None:
    world = GateWorld()
    keys, threshold = ANCHORS[PLATFORM]
    fields = snapshot_fields(PLATFORM, keys, threshold) | {3: 99, 8: ["person installer-1"]}
    newer = sign_with_root(SignKind.AUTHORITY, fields, by_roots(PLATFORM, *keys[:threshold]))
    with world.store.writing() as at:
        world.gate.records.take_authority(at, "authority", newer, world.clock.now_s())
    with pytest.raises(DocumentRefusedError, match="revoked"):
        world.gate.commissioned(record())
    assert ticket(world).rule == "SIGNERS"
