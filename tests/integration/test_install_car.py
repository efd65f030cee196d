"""`tbox install car` against a box's socket: what it sends for what the box reports, and how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from firmware_tools.install_car import app
from firmware_tools.install_moves import AtTheCar, Begin, Decide, Keep, Over, Run, Wait, next_move
from protocol.ids import cose_key_bytes
from protocol.install_forms import sign_work_ticket, ticket_qr
from protocol.install_record import encode_record, record_part
from protocol.install_report import InstallReport, StepRow
from protocol.install_vocabulary import STEPS, Need, Stage, Step, StepState, Verb
from protocol.vectors.installs import (
    INSTALLER,
    POLICY_SIGNER,
    RECORD,
    TICKET,
    install_messages,
)
from protocol.vectors.keys import published_scalar, published_signer
from protocol.vectors.story import DEVICE, DEVICE_SIGNER
from tests.builders.install_box import PlayedBox, failed, report

if TYPE_CHECKING:
    from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

GOOD = install_messages()
PAYLOAD = encode_record(RECORD)
KEEP = report(
    done=len(STEPS),
    stage=Stage.FINISHED,
    need=(Need.TAKE, (GOOD["commissioning-record"], GOOD["commissioning"])),
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "me.pem"
    private = derive_private_key(published_scalar("installer-1"), SECP256R1())
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


def run(
    tmp_path: Path,
    key: Path,
    *replies: InstallReport | tuple[str, str],
    answers: str = "",
    more: tuple[str, ...] = (),
    ticket: bytes = GOOD["work-ticket"],
) -> tuple[int, dict[str, Any], list[tuple[Verb, Any]]]:
    qr, file = tmp_path / "ticket.qr", tmp_path / "answers.toml"
    qr.write_text(ticket_qr(ticket), "ascii")
    file.write_text(answers, "utf-8")
    with PlayedBox(tmp_path / "run" / "install.sock", list(replies)) as box:
        words = ["--home", tmp_path, "--key", key, "--ticket", qr, "--answers", file, "--json", *more]
        words += ["--out", tmp_path / "out", "--device", DEVICE]
        words += ["--box-key", cose_key_bytes(DEVICE_SIGNER.public_key).hex()]
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        asked = [(command.verb, command.argument) for command in box.asked]
        assert [command.seq for command in box.asked] == sorted({command.seq for command in box.asked})
    return done.exit_code, json.loads(done.stdout.splitlines()[-1]), asked


def test_from_an_idle_box_to_a_record_on_disk(tmp_path: Path, key: Path) -> None:
    consent = StepRow(step=Step.CONSENT, state=StepState.ASKING)
    code, found, asked = run(
        tmp_path,
        key,
        report(stage=Stage.IDLE),
        report(),
        report(done=16, row=consent, asks="CONSENT"),
        report(done=17, need=(Need.RECORD, (PAYLOAD,))),
        KEEP,
        answers='[answers]\nCONSENT = "yes"\n',
    )
    assert code == 0, found
    assert asked == [
        (Verb.BEGIN, GOOD["work-ticket"]),
        (Verb.RUN, "SUPPLY"),
        (Verb.ANSWER, "CONSENT=yes"),
        (Verb.FINISH, record_part(PAYLOAD, INSTALLER)),
    ]
    assert (tmp_path / "out" / "record.json").exists()
    assert (tmp_path / "out" / "record.pdf").read_bytes().startswith(b"%PDF-")
    assert found["verdict"] == "bound"


def test_a_step_that_failed_ends_the_run_with_its_own_sentence(tmp_path: Path, key: Path) -> None:
    code, found, asked = run(tmp_path, key, report(done=2, row=failed(Step.CRANK_WIRE, "CRANK_ON_ACCESSORY")))
    assert (code, asked) == (1, [])
    assert found["finding"] == "CRANK_ON_ACCESSORY"
    assert "move it to terminal 50" in found["message"]
    assert (found["expected"], found["measured"]) == ("this", "that")


def test_a_step_is_done_again_three_times_and_no_more(tmp_path: Path, key: Path) -> None:
    bad = report(done=2, row=failed(Step.CRANK_WIRE, "CRANK_DEAD"))
    replies = [bad, *(part for _ in range(3) for part in (report(done=2), bad))]
    code, found, asked = run(tmp_path, key, *replies, answers='on_failure = "redo"\n')
    assert (code, found["finding"]) == (1, "CRANK_DEAD")
    assert asked == [(Verb.REDO, "CRANK_WIRE"), (Verb.RUN, "CRANK_WIRE")] * 3


def test_only_what_may_be_left_out_is(tmp_path: Path, key: Path) -> None:
    profile = failed(Step.PROFILE, "PROFILE_UNKNOWN")
    code, _, asked = run(
        tmp_path, key, report(done=4, row=profile), KEEP, answers='skip = ["PROFILE", "SUPPLY"]\n'
    )
    assert (code, asked) == (0, [(Verb.SKIP, "PROFILE")])
    (tmp_path / "run" / "install.sock").unlink()
    supply = report(row=failed(Step.SUPPLY, "BATTERY_WEAK"))
    code, found, asked = run(tmp_path, key, supply, answers='skip = ["SUPPLY"]\n')
    assert (code, found["finding"], asked) == (1, "BATTERY_WEAK", [])


def test_redo_and_abort_are_the_first_thing_sent(tmp_path: Path, key: Path) -> None:
    code, _, asked = run(tmp_path, key, report(done=12), KEEP, more=("--redo", "RELAY_HELD"))
    assert (code, asked) == (0, [(Verb.REDO, "RELAY_HELD")])
    (tmp_path / "run" / "install.sock").unlink()
    code, found, asked = run(tmp_path, key, report(done=12), report(stage=Stage.ABORTED), more=("--abort",))
    assert (code, found, asked) == (0, {"stage": "ABORTED"}, [(Verb.ABORT, None)])


def test_what_the_box_refuses_is_said_in_its_own_words(tmp_path: Path, key: Path) -> None:
    code, found, _ = run(tmp_path, key, report(stage=Stage.IDLE), ("TICKET_USED", "used"))
    assert (code, found["error"]) == (1, "TICKET_USED")
    assert "ask the office for a new one" in found["message"]


def test_the_relay_test_without_an_office_says_where_to_go(tmp_path: Path, key: Path) -> None:
    waiting = report(done=12, need=(Need.BENCH, (b"challenge",)))
    code, found, asked = run(tmp_path, key, waiting)
    assert (code, found["error"], asked) == (3, "NO_OFFICE", [])


def test_a_question_without_an_answer_is_not_guessed(tmp_path: Path, key: Path) -> None:
    asking = report(done=16, row=StepRow(step=Step.CONSENT, state=StepState.ASKING), asks="CONSENT")
    code, found, asked = run(tmp_path, key, asking)
    assert (code, found["error"], asked) == (1, "NO_ANSWER", [])


def test_a_ticket_for_another_installer_is_refused_before_the_box_is_asked(tmp_path: Path, key: Path) -> None:
    other = sign_work_ticket(replace(TICKET, installer=published_signer("stranger").kid), POLICY_SIGNER)
    code, found, asked = run(tmp_path, key, report(stage=Stage.IDLE), ticket=other)
    assert (code, found["error"], asked) == (1, "NOT_YOUR_TICKET", [])


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, key: Path) -> None:
    key.chmod(0o644)
    assert run(tmp_path, key, report())[1]["error"] == "KEY_NOT_PRIVATE"


def test_a_box_that_is_not_there_is_said_so(tmp_path: Path, key: Path) -> None:
    qr = tmp_path / "ticket.qr"
    qr.write_text(ticket_qr(GOOD["work-ticket"]), "ascii")
    box_key = cose_key_bytes(DEVICE_SIGNER.public_key).hex()
    words = [
        "--home",
        tmp_path,
        "--key",
        key,
        "--ticket",
        qr,
        "--device",
        DEVICE,
        "--box-key",
        box_key,
        "--json",
    ]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (3, "BOX_AWAY")


@pytest.mark.parametrize(
    "text", ["on_failure = 7", "who = 1", 'bench = "nowhere:x"', "answers = 3", "[[", 'on_failure = "hope"']
)
def test_a_file_of_answers_with_something_else_in_it_is_refused(tmp_path: Path, key: Path, text: str) -> None:
    assert run(tmp_path, key, report(), answers=text)[1]["error"] == "BAD_ANSWERS"


def test_the_next_move_follows_from_the_report_alone() -> None:
    asking = StepRow(step=Step.IGNITION_WIRE, state=StepState.ASKING)
    running = replace(asking, state=StepState.RUNNING)
    later = StepRow(step=Step.FIX, state=StepState.LATER)
    assert next_move(report(stage=Stage.IDLE)) == Begin()
    assert next_move(report(done=1, row=asking, asks="KEY_ON")) == AtTheCar(Step.IGNITION_WIRE, "KEY_ON")
    assert next_move(report(done=1, row=running, asks="WAIT")) == Wait()
    assert next_move(report(done=10, row=later)) == Run(Step.ATTITUDE)
    assert isinstance(next_move(report(row=failed(Step.SUPPLY, "BATTERY_WEAK"))), Decide)
    assert isinstance(next_move(KEEP), Keep)
    assert next_move(report(stage=Stage.ABORTED)) == Over(Stage.ABORTED)
