"""`tbox demo --once --story lock` runs from a late payment to an unlocked car, and every check holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from simulators.processes import run, tbox

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = {
    "notices_served",
    "maker_cannot_approve",
    "checker_sees",
    "logged_before_gate",
    "gate_asked_again",
    "waits_aloud",
    "warned",
    "lying_linux",
    "payment_in_time",
    "forged_order",
    "one_signer_twice",
    "replay_ignored",
    "moving_waits",
    "go_and_locked",
    "crank_inhibited",
    "emergency_start",
    "one_signature_unlocks",
    "cranks_again",
    "released_stays_released",
    "signed_chain",
    "ledger_proofs",
    "orders_evidence",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_lock_story_holds_from_a_late_payment_to_an_unlocked_car(tmp_path: Path) -> None:
    done = run(tbox("demo", "--once", "--story", "lock", "--json", "--home", str(tmp_path), "--seed", "11"))
    outcome = json.loads(done.output.splitlines()[-1])
    failed = {check["id"]: check["detail"] for check in outcome["checks"] if not check["ok"]}
    assert failed == {}, done.errors
    assert {check["id"] for check in outcome["checks"]} == EXPECTED
    assert outcome["ok"]
    assert done.exit_code == 0


def test_the_lock_story_is_told_to_its_end_only(tmp_path: Path) -> None:
    done = run(tbox("demo", "--story", "lock", "--home", str(tmp_path)))
    assert done.exit_code == 2
    assert "--once" in done.errors
