"""A car is fitted from the work ticket to a record that box, installer and microcontroller signed; or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device.car_questions import Heard
from protocol import cose_sign
from protocol.install_record import (
    open_whole_record,
    read_record_file,
    record_part,
    write_record_file,
)
from protocol.install_vocabulary import (
    MAY_BE_LATER,
    RELAY_PROOF,
    STEPS,
    Act,
    Need,
    Stage,
    Step,
    StepState,
    Verb,
    Verdict,
    VinSource,
)
from protocol.install_words import FINDINGS
from protocol.vectors.installs import TICKET, VIN
from protocol.vectors.keys import published_lookup, published_signer
from protocol.vectors.orders_story import MCU
from tests.builders.fitting import KNOWN_IDS, MCU_ROLE, Site, roles_of

WIRES = (Step.SUPPLY, Step.IGNITION_WIRE, Step.CRANK_WIRE)
PEOPLE = published_lookup("device-1", "installer-1")


FAST = (10,)  # while the relay is tried; all others in the slow tier
EVERY_POINT = [at if at in FAST else pytest.param(at, marks=pytest.mark.slow) for at in range(len(STEPS) - 1)]


def wired(**options: set[str]) -> Site:
    site = Site(**options)
    assert site.begin() is None
    return site


def fit_until(site: Site, last: Step) -> None:
    for step in STEPS[: STEPS.index(last)]:
        if step in MAY_BE_LATER:
            site.do(Verb.SKIP, str(step))
        else:
            assert site.fit(step).state is StepState.PASS, site.row(step)


def test_the_whole_list_ends_in_a_record_that_all_three_signed() -> None:
    site = wired()
    site.do(Verb.PHOTO, bytes(32))
    site.fit_all()
    need, (record, attestation) = site.report.need or (None, (b"", b""))
    assert need is Need.TAKE
    found, said = open_whole_record(
        record, attestation, people=PEOPLE, microcontrollers=published_lookup("mcu-1")
    )
    assert (found.verdict, found.vin, found.vin_source) == (Verdict.BOUND, VIN, VinSource.BOTH)
    assert {row.step for row in found.steps if row.state is StepState.PASS} >= set(RELAY_PROOF)
    assert found.photos == (bytes(32),)
    assert found.consent is not None
    assert said.mcu_id == MCU.kid
    held, running = said.benches
    assert held.crank_s >= 1
    assert held.starts == 0
    assert running.engine_s >= 3
    assert said.moved[:3] == (True, True, True)
    assert site.box.brain.record.mode == 1
    assert not site.board.coil
    text = write_record_file(record=record, attestation=attestation, ticket=site.desk.progress.ticket)
    assert read_record_file(text)[0] == record


def test_the_binding_carries_the_microcontroller_s_part_and_not_a_key_more() -> None:
    site = wired()
    site.fit_all()
    orders = [body for kind, body in site.box.received if kind == 0x82]
    assert orders
    handed = [
        bytes.fromhex(str(entry[2])) for entry in site.box.script if entry[0] == "message" and entry[1] == 2
    ]
    binds = [body for body in handed if len(roles_of(body)) == 3]
    assert binds
    assert sorted(roles_of(binds[0])) == sorted([MCU_ROLE, 7, 4])
    assert cose_sign.read_sign(binds[0])[1][-1].kid == MCU.kid


@pytest.mark.parametrize(
    ("wrong", "step", "code"),
    [
        ("swapped", Step.IGNITION_WIRE, "WIRES_SWAPPED"),
        ("constant", Step.IGNITION_WIRE, "IGNITION_CONSTANT"),
        ("weak", Step.SUPPLY, "BATTERY_WEAK"),
        ("switched", Step.SUPPLY, "SUPPLY_SWITCHED"),
        ("accessory", Step.CRANK_WIRE, "CRANK_ON_ACCESSORY"),
        ("no-crank", Step.CRANK_WIRE, "CRANK_DEAD"),
        ("coil", Step.RELAY_HELD, "COIL_OPEN"),
        ("bridged", Step.RELAY_HELD, "RELAY_BRIDGED"),
    ],
)
def test_a_mistake_of_wiring_is_named_and_nothing_is_bound(wrong: str, step: Step, code: str) -> None:
    site = wired(wrong={wrong})
    for before in WIRES:
        if before is step:
            break
        site.fit(before)
    row = site.fit(step)
    assert (row.state, row.code) == (StepState.FAIL, code)
    assert code in FINDINGS
    assert site.desk.progress.bind is None


def test_a_relay_that_stops_a_running_engine_ends_the_test_at_once_and_is_never_bound() -> None:
    site = wired()
    fit_until(site, Step.RELAY_RUNNING)
    site.wrong.add("ignition-line")
    row = site.fit(Step.RELAY_RUNNING)
    assert (row.state, row.code) == (StepState.FAIL, "RELAY_STOPS_ENGINE")
    site.run(1)
    assert not site.board.coil, "the coil is let go at once, not at the end of the bench"
    assert site.fit(Step.CONSENT).state is StepState.PASS
    assert site.fit(Step.BIND).code == "BIND_NOT_PROVED"
    assert site.fit(Step.RECORD).state is StepState.PASS
    _, (record, attestation) = site.report.need or (None, (b"", b""))
    found, _ = open_whole_record(
        record, attestation, people=PEOPLE, microcontrollers=published_lookup("mcu-1")
    )
    assert found.verdict is Verdict.MONITOR_ONLY
    assert site.box.brain.record.mode == 0


def test_the_relay_is_not_tried_before_the_wires_passed() -> None:
    site = wired()
    for step in RELAY_PROOF:
        assert site.fit(step).code == "WIRES_FIRST"
    assert not any(entry[0] == "message" and entry[1] == 2 for entry in site.box.script[-200:])


@pytest.mark.parametrize(
    ("heard", "code"),
    [
        ((Heard(bitrate=500_000, frames=0, errors=0),), "CAN_SILENT"),
        ((Heard(bitrate=500_000, frames=2, errors=40),), "CAN_ERRORS"),
        (
            (
                Heard(bitrate=500_000, frames=90, errors=0, ids=KNOWN_IDS),
                Heard(bitrate=250_000, frames=90, errors=0, ids=KNOWN_IDS),
            ),
            "CAN_DOUBT",
        ),
        (
            (Heard(bitrate=500_000, frames=90, errors=0, ids=KNOWN_IDS, conflicts=frozenset({0x101})),),
            "TWO_TALKERS",
        ),
        ((Heard(bitrate=500_000, frames=90, errors=0, ids=KNOWN_IDS | {0x7E0}),), "OTHER_TRACKER"),
        ((Heard(bitrate=500_000, frames=90, errors=0, ids=frozenset({0x98DB33F1})),), "OTHER_TRACKER"),
    ],
)
def test_a_bus_in_doubt_is_named_and_asked_nothing(heard: tuple[Heard, ...], code: str) -> None:
    site = wired()
    site.heard = heard
    assert site.fit(Step.CAN_BITRATE).code == code
    for step in (Step.PROFILE, Step.VIN_OBD, Step.VIN_UDS, Step.DTC_BEFORE, Step.ODOMETER, Step.DTC_AFTER):
        assert site.fit(step).code == "BITRATE_FIRST"
    assert site.ecu.asked == {}
    assert site.agent.jobs == []


def test_two_vins_another_car_s_vin_and_one_by_hand() -> None:
    site = wired()
    site.fit(Step.CAN_BITRATE)
    site.ecu.facts.vin = "TBXTEST0000000077"
    assert site.fit(Step.VIN_OBD).code == "VIN_OTHER_CAR"
    assert "vin" not in site.report.facts
    assert site.do(Verb.ANSWER, f"VIN_OBD={VIN}") is None
    assert (site.row(Step.VIN_OBD).state, site.row(Step.VIN_OBD).code) == (
        StepState.SKIPPED,
        "VIN_BY_HAND",
    )
    assert site.report.facts["vin_source"] == VinSource.PHOTO
    assert site.fit(Step.VIN_UDS).code == "VIN_UNEQUAL"
    assert site.do(Verb.REDO, str(Step.VIN_UDS)) is None
    assert "vin" not in site.report.facts


def test_a_fault_code_that_came_with_the_work_is_named() -> None:
    site = wired()
    site.fit(Step.CAN_BITRATE)
    site.fit(Step.DTC_BEFORE)
    site.ecu.facts.codes = ("P0420", "U0100")
    row = site.fit(Step.DTC_AFTER)
    assert row.code == "CODES_NEW"
    assert "U0100" in row.measured


def test_network_and_fix_are_later_under_a_roof() -> None:
    site = wired()
    for step, code in ((Step.NETWORK, "NO_NETWORK"), (Step.FIX, "NO_FIX")):
        row = site.fit(step)
        assert (row.state, row.code) == (StepState.LATER, code)


def test_the_customer_s_no_binds_nothing() -> None:
    site = wired()
    fit_until(site, Step.CONSENT)
    site.do(Verb.RUN, str(Step.CONSENT))
    site.do(Verb.ANSWER, "CONSENT=no")
    assert site.row(Step.CONSENT).code == "CONSENT_REFUSED"
    assert site.fit(Step.BIND).code == "BIND_NOT_PROVED"


@pytest.mark.parametrize("at", EVERY_POINT)
def test_abort_at_every_point_leaves_the_car_as_it_was_found(at: int) -> None:
    site = wired()
    step = STEPS[at]
    fit_until(site, step)
    site.do(Verb.RUN, str(step))
    for _ in range(4):
        if site.board.coil or site.report.need is not None:
            break
        site.obey()
    if site.report.need is not None and site.report.need[0] is Need.BENCH:
        site.obey()
    was_coil_on = site.board.coil
    assert site.do(Verb.ABORT) is None
    if was_coil_on:
        assert site.report.stage is Stage.OPEN, "aborted is said when the coil is off, not before"
        assert site.report.asks == "WAIT_COIL"
    site.run(40)
    assert site.report.stage is Stage.ABORTED
    assert not site.board.coil
    assert site.agent.jobs == []
    assert site.agent.lets_go >= 1
    assert site.box.brain.record.mode == 0
    assert site.begin() is None, "the same ticket may begin again"


def test_a_job_that_is_bound_is_not_aborted() -> None:
    site = wired()
    fit_until(site, Step.RECORD)
    assert site.do(Verb.ABORT) == "ALREADY_BOUND"
    assert site.do(Verb.REDO, str(Step.RELAY_HELD)) == "ALREADY_BOUND"


@pytest.mark.parametrize("at", EVERY_POINT)
def test_a_restart_at_every_point_goes_on_where_it_stood(at: int) -> None:
    site = wired()
    step = STEPS[at]
    fit_until(site, step)
    before = {row.step: row.state for row in site.report.steps if row.step is not step}
    site.do(Verb.RUN, str(step))
    site.run(1)
    site.restart()
    assert site.report.stage is Stage.OPEN
    assert {row.step: row.state for row in site.report.steps if row.step is not step} == before
    for left in STEPS[at:]:
        if left in MAY_BE_LATER:
            site.do(Verb.SKIP, str(left))
        else:
            site.run(40 if left in RELAY_PROOF else 1)  # a bench that was open ends by itself
            assert site.fit(left).state is StepState.PASS, site.row(left)
    assert site.report.stage is Stage.FINISHED


def test_foreign_expired_used_and_copied_tickets_wrong_keys_and_stale_commands_are_refused_and_counted() -> (
    None
):
    site = Site()
    stranger = published_signer("stranger")
    now_s = site.box.now_s
    for ticket, code in (
        (replace(TICKET, nbf_s=now_s + 3_600, exp_s=now_s + 7_200), "TICKET_NOT_YET"),
        (replace(TICKET, nbf_s=now_s - 7_200, exp_s=now_s - 1), "TICKET_EXPIRED"),
        (replace(TICKET, label="TB-000043"), "WRONG_BOX"),
        (replace(TICKET, acts=(Act.WORKSHOP,)), "TICKET_ACT"),
        (replace(TICKET, acts=(Act.REMOVE,)), "TICKET_ACT"),
    ):
        assert site.begin(ticket) == code
    assert site.do(Verb.RUN, str(Step.SUPPLY)) == "NO_JOB"
    assert site.begin() is None
    run = site.command(Verb.RUN, str(Step.SUPPLY))
    assert site.say(run) is None
    assert site.say(run) is None, "the same command again changes nothing"
    assert site.do(Verb.RUN, str(Step.SUPPLY), seq=1) == "STALE_SEQ"
    assert site.do(Verb.RUN, str(Step.SUPPLY), ticket_id=bytes(16)) == "TICKET_FOREIGN"
    assert site.do(Verb.RUN, str(Step.SUPPLY), device="00" * 32) == "WRONG_BOX"
    assert site.say(run[:-1] + bytes([run[-1] ^ 1])) == "TAMPERED"
    site.installer = stranger
    assert site.do(Verb.RUN, str(Step.SUPPLY)) == "WRONG_INSTALLER"
    metrics = site.agent.box.metrics()
    for code in ("ticket_expired", "ticket_not_yet", "wrong_box", "stale_seq", "tampered", "wrong_installer"):
        assert metrics[f"install_refused_{code}"] >= 1, code
    assert metrics["install_commands_repeated"] == 1


def test_a_used_ticket_is_void_also_after_a_restart() -> None:
    site = wired()
    site.fit_all()
    assert site.begin() == "TICKET_USED"
    site.restart()
    assert site.begin() == "TICKET_USED"
    fresh = replace(TICKET, ticket_id=bytes(16))
    assert site.begin(fresh) == "ALREADY_BOUND", "a bound box takes no second installation"


def test_a_removal_is_signed_only_when_the_microcontroller_is_bound_no_more() -> None:
    site = wired()
    site.fit_all()
    removal = replace(TICKET, ticket_id=bytes(16), acts=(Act.REMOVE,))
    site.seq = 0
    assert site.begin(removal) is None
    assert site.do(Verb.RUN, str(Step.RECORD), ticket_id=removal.ticket_id) is None
    assert site.row(Step.RECORD).code == "STILL_BOUND"
    site.box.brain.record.mode, site.box.brain.record.binding = 2, None  # as DECOMMISSION leaves it
    site.run(2)
    assert site.do(Verb.REDO, str(Step.RECORD), ticket_id=removal.ticket_id) is None
    site.run(3)
    need, (payload,) = site.report.need or (None, (b"",))
    assert need is Need.RECORD
    part = record_part(payload, site.installer)
    assert site.do(Verb.FINISH, part, ticket_id=removal.ticket_id) is None
    _, (record, attestation) = site.report.need or (None, (b"", b""))
    found, _ = open_whole_record(
        record, attestation, people=PEOPLE, microcontrollers=published_lookup("mcu-1")
    )
    assert found.verdict is Verdict.REMOVED


def test_a_record_signed_by_another_hand_is_not_finished() -> None:
    site = wired()
    site.do(Verb.RUN, str(Step.RECORD))
    site.run(3)
    need, (payload,) = site.report.need or (None, (b"",))
    assert need is Need.RECORD
    assert site.do(Verb.FINISH, record_part(payload, published_signer("stranger"))) == "BAD_PART"
    assert site.do(Verb.FINISH, record_part(payload, MCU)) == "BAD_PART"
    assert site.report.stage is Stage.OPEN


def test_steps_are_not_run_two_at_a_time_nor_left_out_where_that_is_not_allowed() -> None:
    site = wired()
    site.do(Verb.RUN, str(Step.IGNITION_WIRE))
    assert site.do(Verb.RUN, str(Step.SUPPLY)) == "STEP_BUSY"
    assert site.do(Verb.SKIP, str(Step.CRANK_WIRE)) == "NOT_SKIPPABLE"
    assert site.do(Verb.BENCH, b"\xd8\x62") == "NOT_ASKED"
    assert site.do(Verb.BIND, b"\xd8\x62") == "NOT_ASKED"
    assert site.do(Verb.FINISH, b"x") == "NOT_ASKED"
    assert site.do(Verb.RUN, "LOCK") == "BAD_ARGUMENT"
    assert site.do(Verb.PHOTO, b"short") == "BAD_ARGUMENT"


def test_a_permission_for_another_challenge_fails_the_step_and_moves_nothing() -> None:
    site = wired()
    fit_until(site, Step.RELAY_HELD)
    site.do(Verb.RUN, str(Step.RELAY_HELD))
    site.board.turn("off")
    site.run(8)
    need, (challenge,) = site.report.need or (None, (b"",))
    assert need is Need.BENCH
    order = site.bench(challenge, permitted=bytes(16))
    assert site.do(Verb.BENCH, order) is None
    site.run(4)
    assert site.row(Step.RELAY_HELD).code == "BENCH_REFUSED"
    assert not site.board.coil


def test_finger_buzzes_without_moving_a_step() -> None:
    site = wired()
    assert site.do(Verb.FINGER) is None
    site.run(1)
    assert site.box.brain.lamp.sounds
