"""`tbox conform` passes our firmware and catches firmware that is wrong on purpose."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firmware_tools.conform import live, states
from firmware_tools.conform.cli import app
from firmware_tools.image import Floors, build
from protocol.vectors.keys import published_scalar
from simulators.mcu_bench import McuBench
from simulators.mcu_board import McuBoard
from tests.builders.mcu_conform import (
    ACTS_ON_REPLAYS,
    FORGETS_PLACES,
    FORGETS_RELEASES,
    ONE_SIGNER_IS_ENOUGH,
    SIGNS_FOR_ANYONE,
    WRITES_NOTHING,
    judge,
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("mcu") / "image", Floors.DEMO).folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_our_firmware_passes_every_check(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", cuts=4)
    assert [result for result in results if not result.passed] == []
    assert {result.group for result in results} == {
        "commissioning", "line", "unsigned", "rejected", "accepted", "replay", "states", "fitting",
        "interlock", "lock", "power", "restored", "revoked", "chain",
    }  # fmt: skip
    assert len(results) > 150


def test_our_firmware_passes_replays_and_the_line(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", groups=("line", "replay"))
    assert [result for result in results if not result.passed] == []


def test_firmware_that_acts_on_a_replay_is_caught(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", groups=("replay",), program=ACTS_ON_REPLAYS)
    failed = {result.name for result in results if not result.passed}
    assert failed & {"the LOCK after its UNLOCK", "the UNLOCK of before, while the LOCK is open"}


def test_firmware_that_takes_one_signature_for_three_is_caught(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", groups=("accepted",), program=ONE_SIGNER_IS_ENOUGH)
    failed = {result.name for result in results if not result.passed}
    assert "BIND without the gate" in failed


@pytest.mark.slow
def test_every_signer_set_that_it_takes_wrongly_is_named(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", groups=("rejected/signers",), program=ONE_SIGNER_IS_ENOUGH)
    failed = {result.name for result in results if not result.passed}
    assert {"signers/gate-alone", "signers/no-checker", "signers/no-gate", "signers/no-maker"} <= failed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_firmware_that_forgets_a_row_of_the_interlock_is_caught(image: Path, tmp_path: Path) -> None:
    rows = ("interlock/within", "interlock/the hazard")
    results = judge(image, tmp_path / "flash", groups=rows, program=FORGETS_PLACES)
    failed = {result.name for result in results if not result.passed}
    assert "within a protected place" in failed
    assert "the hazard lights are on" not in failed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_firmware_that_forgets_at_a_power_cut_is_caught(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", groups=("power",), program=WRITES_NOTHING)
    assert {result.group for result in results if not result.passed} & {"power", "chain"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_firmware_that_an_old_storage_locks_again_is_caught(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", groups=("lock", "restored"), program=FORGETS_RELEASES)
    failed = {result.name for result in results if not result.passed}
    assert "the storage of the locked car: locked" in failed


@pytest.mark.slow
def test_firmware_that_signs_a_bond_for_anyone_is_caught(image: Path, tmp_path: Path) -> None:
    results = judge(image, tmp_path / "flash", groups=("fitting",), program=SIGNS_FOR_ANYONE)
    failed = {result.name for result in results if not result.passed}
    assert failed >= {"a part of a BIND of another epoch", "a part of a BIND once bound"}


def test_every_vector_of_another_state_is_tried_or_left_out_with_its_reason() -> None:
    tried = {f"commissioning/{name}" for name in states.FITTED} | set(states.BOUND) | set(states.REVOKED)
    tried |= {"trap/checker-unknown", "content/no-lender-snapshot"}
    assert tried | set(states.LEFT_OUT) == set(live.of_other_states())
    assert not tried & set(states.LEFT_OUT)


def test_the_command_judges_over_a_serial_line_and_says_what_it_left_out(image: Path, tmp_path: Path) -> None:
    board = McuBoard(image, tmp_path / "flash", key=published_scalar("mcu-1"))
    with McuBench(board, speed=40) as bench:
        ran = CliRunner().invoke(app, ["--port", str(bench.line), "--only", "accepted", "--json"])
    report = json.loads(ran.stdout)
    assert (ran.exit_code, report["failed"], report["trouble"]) == (0, 0, None), report
    assert report["passed"] >= 10
    assert report["left_out"]


def test_a_unit_with_a_key_of_its_own_is_not_tried(image: Path, tmp_path: Path) -> None:
    with McuBench(McuBoard(image, tmp_path / "flash"), speed=20) as bench:
        ran = CliRunner().invoke(app, ["--port", str(bench.line)])
    assert ran.exit_code == 2
    assert "mcu-1" in ran.stderr


def test_a_line_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["--port", str(tmp_path / "nothing")])
    assert ran.exit_code == 2
    assert "nothing" in ran.stderr
