"""The officers' commands through the real API, log and gate to a real brain, and its word back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.loan_facts import Basis, Flag, encode_basis, read_basis
from protocol.orders import State
from tests.builders.lender_world import CONTRACT, LENDER_ID
from tests.builders.lock_line import LockLine
from tests.builders.mcu import EPISODE


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LockLine]:
    made = LockLine.make(tmp_path)
    with made.serving():
        yield made
    made.close()


def test_a_lock_goes_from_the_makers_command_to_the_car_and_an_unlock_lets_it_go(line: LockLine) -> None:
    cmd_id = line.request("lock")
    assert line.order(cmd_id)["stage"] == "AWAITING_CHECKER"
    line.drive()
    line.pass_time(6)
    assert line.approve(cmd_id)["stage"] == "AWAITING_LOG"
    assert line.status()["reported"]["state"] == "UNKNOWN"
    line.drive(3)
    assert line.order(cmd_id)["gate"][-1]["verdict"] == "SIGNED", line.order(cmd_id)["gate"]
    assert line.status()["reported"]["state"] == "ACCEPTED_PENDING"
    line.car.hear_warnings()
    for _ in range(8):
        line.drive()
    assert line.car.state is State.LOCKED, (line.order(cmd_id), line.car.link_codes())
    assert line.status()["reported"]["state"] == "LOCKED"
    line.officer("maker", "unlock", line.box.device_id, "--yes")
    line.drive()
    assert line.status()["reported"]["state"] == "RELEASED"


def test_status_proves_the_orders_place_in_the_log_by_the_pinned_key(line: LockLine) -> None:
    cmd_id = line.request("lock")
    assert line.status()["log"] == "no checkpoint was signed yet"
    line.drive()
    line.pass_time(6)
    line.approve(cmd_id)
    line.drive(3)
    index = line.order(cmd_id)["log"]["index"]
    assert line.status()["log"].startswith(f"leaf {index} of ")
    line.officer("maker", "unlock", line.box.device_id, "--yes")
    line.drive()
    assert line.status()["log"].startswith("not among the ")
    state = line.desk / "state-maker" / "log.json"
    seen = json.loads(state.read_text())
    ((origin, (size, root)),) = seen["heads"].items()
    state.write_text(json.dumps(seen | {"heads": {origin: [size, "00" * 32]}}))
    refused = line.officer("maker", "status", line.box.device_id, exit_code=7)
    assert "does not begin with" in refused.output
    state.write_text(json.dumps(seen | {"heads": {origin: [size + 5, root]}}))
    refused = line.officer("maker", "status", line.box.device_id, exit_code=7)
    assert f"this machine has seen {size + 5}" in refused.output


@pytest.mark.slow
def test_a_loan_that_is_paid_off_ends_the_lenders_authority_in_the_car(line: LockLine) -> None:
    refused = line.officer("maker", "decommission", line.box.device_id, "--yes")["order"]
    line.drive(3)
    assert line.order(refused)["stage"] == "REFUSED_BY_GATE"
    line.system.loans[CONTRACT].flags.add(Flag.PAID_OFF)
    done = line.officer("maker", "decommission", line.box.device_id, "--yes")["order"]
    line.drive(4)
    assert (line.order(done)["stage"], line.order(done)["reported_state"]) == ("ANSWERED", "DONE")
    record = line.car.brain.record
    assert (record.binding, record.mode) == (None, 2)  # nothing left to obey, and monitoring only


@pytest.mark.slow
def test_a_freeze_at_the_real_gate_holds_what_two_people_signed(line: LockLine) -> None:
    cmd_id = line.request("lock")
    line.drive()
    line.pass_time(6)
    line.approve(cmd_id)
    line.officer("safety", "freeze", "--reason", "injected locks", "--lender", LENDER_ID.hex(), "--yes")
    line.drive(3)
    assert line.order(cmd_id)["stage"] == "HELD"


@pytest.mark.slow
def test_a_basis_of_the_loan_systems_signed_files_carries_an_order(line: LockLine) -> None:
    found = read_basis(line.system.basis(CONTRACT))
    (line.desk / "facts.cose").write_bytes(found.facts)
    words = []
    for number, record in enumerate(found.records):
        (line.desk / f"{number}.cose").write_bytes(record)
        words += ["--record", f"{number}.cose"]
    made = line.officer(
        "maker",
        *("basis", "new", line.box.device_id, "--facts", "facts.cose", *words, "--out", "made.basis"),
    )
    assert made["episode"] == EPISODE.hex()
    assert (line.desk / "made.basis").read_bytes() == encode_basis(
        Basis(facts=found.facts, records=found.records, pack=None, opinion=None)
    )
    (line.desk / "facts.cose").write_bytes(found.records[0])
    words = ["basis", "new", line.box.device_id, "--facts", "facts.cose", "--out", "other.basis"]
    line.officer("maker", *words, exit_code=7)
