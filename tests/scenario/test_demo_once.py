"""`tbox demo --once` runs its story to the end, every check holds, and no process is left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from simulators.processes import run, tbox

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = {
    "enrolled",
    "mtls_only",
    "can_frames_decoded",
    "gnss_fixes",
    "batches_signed",
    "stored_verified",
    "accounting",
    "trace_matches_car",
    "rollups",
    "agent_killed_and_resumed",
    "broker_outage_survived",
    "replayed_batch_ignored",
    "receipts_free_spool",
    "export_verified",
    "tampered_export_contradicted",
    "revoked_device_refused",
}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_telemetry_story_holds_from_bus_to_evidence(tmp_path: Path) -> None:
    done = run(
        tbox("demo", "--once", "--story", "telemetry", "--json", "--home", str(tmp_path), "--seed", "11")
    )
    outcome = json.loads(done.output.splitlines()[-1])
    failed = {check["id"]: check["detail"] for check in outcome["checks"] if not check["ok"]}
    assert failed == {}, done.errors
    assert {check["id"] for check in outcome["checks"]} == EXPECTED
    assert outcome["ok"]
    assert done.exit_code == 0
